//! The gate and what stands behind it, from the configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use forgeline_auth::audit::AuditLog;
use forgeline_auth::policy::Policy;
use forgeline_auth::{Gate, Issuer, Jwt, Keys, Resource, Times};
use forgeline_mcp_server::{Access, Server};
use forgeline_provision::Provisioner;
use forgeline_upstream::http::{Trust, reqwest_client};
use url::Url;

use super::keeping;
use crate::config::{Config, Inbound, Problem};
use crate::env::Env;

/// The policy of the configuration, checked against the tools of this provisioner. `None`: scopes decide alone.
pub(crate) fn policy(
    inbound: &Inbound,
    provisioner: &Provisioner,
) -> Result<Option<Arc<Policy>>, Vec<Problem>> {
    let Some((path, text)) = &inbound.policy else {
        return Ok(None);
    };
    let policy = Policy::parse(text, &Server::tools(provisioner));
    policy
        .map(|policy| Some(Arc::new(policy)))
        .map_err(|mistakes| {
            let bad = |why: String| {
                let remedy = "mend it; `forgeline policy schema` prints what it may speak of";
                Problem::new(
                    "configuration.invalid",
                    format!("{}: {why}", path.display()),
                    remedy,
                )
            };
            mistakes.into_iter().map(bad).collect()
        })
}

/// The issuer of the configuration; asks nobody yet.
pub(crate) fn issuer(env: &Env, inbound: &Inbound) -> Result<Option<Arc<Issuer>>, Problem> {
    let Some(oidc) = &inbound.oidc else {
        return Ok(None);
    };
    let trust = Config::read(env).trust.unwrap_or_default();
    let http = reqwest_client(&Trust { ..trust }).map_err(|error| {
        let remedy = "correct FORGELINE_CA_FILE";
        Problem::new("configuration.invalid", error.to_string(), remedy)
    })?;
    Ok(Some(Issuer::new(&oidc.issuer, http, Times::default())))
}

/// What decides about calls behind the gate.
pub(crate) fn access(
    env: &Env,
    inbound: &Inbound,
    provisioner: &Provisioner,
    audit: AuditLog,
    read_only: bool,
) -> Result<Access, Vec<Problem>> {
    Ok(Access {
        audit,
        policy: policy(inbound, provisioner)?,
        project_tokens: keeping::project_tokens(env),
        fingerprints: keeping::fingerprints(env),
        read_only,
    })
}

/// The gate of a server that is reached at `address`; the issuer's keys are kept fresh in the background.
pub(crate) fn gate(
    env: &Env,
    inbound: &Inbound,
    access: &Access,
    address: SocketAddr,
) -> Result<Gate, Problem> {
    let issuer = issuer(env, inbound)?;
    let jwt = issuer.zip(inbound.oidc.as_ref()).map(|(issuer, oidc)| {
        tokio::spawn(Arc::clone(&issuer).keep_fresh());
        Jwt::new(issuer, oidc.claims.clone())
    });
    let scheme = if inbound.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let here = Url::parse(&format!("{scheme}://{address}/mcp"));
    let resource = match (&inbound.resource, here) {
        (Some(url), _) => url.clone(),
        (None, Ok(here)) => here,
        (None, Err(_)) => unreachable!("a socket's address makes an address"),
    };
    let issuer = inbound.oidc.as_ref().map(|oidc| oidc.issuer.as_str());
    Ok(Gate::new(Keys {
        tokens: inbound.tokens.clone(),
        projects: Some(access.project_tokens.clone()),
        jwt,
        resource: Resource::new(&resource, issuer, &inbound.asked),
        audit: access.audit.clone(),
        allowance: inbound.allowance,
    }))
}
