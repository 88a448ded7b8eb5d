//! Who may call, what is kept of it, and how tokens fare that may change under a server.

use std::sync::Arc;

use forgeline_auth::Issuer;
use forgeline_auth::audit::{CHECKPOINTS, FILE, Verdict, Verifier};
use forgeline_provision::{Catalogue, Check, registry};

use super::super::{Clients, callers};
use crate::config::{AuditKeys, Config, Inbound};
use crate::env::{Env, Place};

/// The callers and the policy.
pub(super) fn checks(
    env: &Env,
    config: &Config,
    clients: &Clients,
    inbound: &Inbound,
) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.extend(bearers(inbound));
    checks.extend(env.places().map(|(place, found)| secret(place, found)));
    checks.extend(inbound.oidc.as_ref().map(|oidc| {
        let detail = format!(
            "a token is taken when its aud holds {}",
            oidc.claims.audiences.join(" or ")
        );
        Check::ok("auth.audience", "audience", detail)
    }));
    checks.extend(policy(env, config, clients, inbound));
    checks
}

/// A Secret that the configuration refers to: it is there, has the key, and the key is not empty.
fn secret((namespace, name, key): &Place, found: Result<bool, &str>) -> Check {
    let (id, subject) = (
        "token.secret",
        format!("key {key} of Secret {namespace}/{name}"),
    );
    let remedy = "create it, for example with `kubectl create secret generic`, and let forgeline's service account get, list and watch it";
    match found {
        Ok(true) => Check::ok(id, subject, "is there and holds something"),
        Ok(false) => Check::fail(id, subject, "is empty", "put the token into it"),
        Err(why) => Check::fail(id, subject, why, remedy),
    }
}

/// What the issuer answers, and how far its clock is from ours.
pub(super) async fn issuer(issuer: Arc<Issuer>) -> Vec<Check> {
    let (id, subject) = ("auth.issuer", issuer.name().to_owned());
    let found = match issuer.discover().await {
        Ok(found) => found,
        Err(why) => {
            let remedy = "look whether the issuer is up, and whether DEX_ISSUER_URL is what its discovery document says; static bearers work without it";
            return vec![Check::fail(id, subject, why, remedy)];
        }
    };
    let detail = format!(
        "{} key(s) that can verify, from {}",
        found.keys, found.jwks_uri
    );
    let mut checks = vec![Check::ok(id, &subject, detail)];
    checks.extend(found.skew.map(|skew| {
        let detail = format!("its clock is {skew} s from ours");
        match skew.abs() {
            0..=5 => Check::ok("auth.issuer_clock", &subject, detail),
            6..=30 => Check::warn(
                "auth.issuer_clock",
                &subject,
                detail,
                "set both clocks: beyond 30 s tokens are refused",
            ),
            _ => Check::fail(
                "auth.issuer_clock",
                &subject,
                detail,
                "set both clocks: fresh tokens are refused now",
            ),
        }
    }));
    checks
}

fn bearers(inbound: &Inbound) -> Option<Check> {
    let named: Vec<String> = inbound
        .tokens
        .iter()
        .map(|token| {
            let caller = token.caller();
            let scopes: Vec<&str> = caller.scopes.iter().map(|scope| scope.as_str()).collect();
            format!("{} ({})", caller.name, scopes.join(", "))
        })
        .collect();
    let (id, subject) = ("auth.static", "static bearers");
    let powerless = inbound
        .tokens
        .iter()
        .find(|token| token.caller().scopes.is_empty());
    if let Some(token) = powerless {
        let detail = format!("{} has no scope, so it may do nothing", token.caller().name);
        let remedy = "give it scopes in [[auth.static]], or take it out";
        return Some(Check::warn(id, subject, detail, remedy));
    }
    (!named.is_empty()).then(|| Check::ok(id, subject, named.join("; ")))
}

fn policy(env: &Env, config: &Config, clients: &Clients, inbound: &Inbound) -> Option<Check> {
    let (path, _) = inbound.policy.as_ref()?;
    let (id, subject) = ("auth.policy", "policy");
    let registry = registry(&Arc::new(clients.stand_ins(config)));
    // Workflow files with mistakes have a check of their own.
    let catalogue = Catalogue::read(&registry, config.workflows_dir.as_deref()).ok()?;
    let provisioner = super::super::idle(env, catalogue, registry);
    Some(match callers::policy(inbound, &provisioner) {
        Ok(_) => Check::ok(id, subject, format!("{} can be used", path.display())),
        Err(problems) => {
            let all: Vec<String> = problems.into_iter().map(|one| one.message).collect();
            let remedy = "mend it; `forgeline policy schema` prints what it may speak of";
            Check::fail(id, subject, all.join("; "), remedy)
        }
    })
}

/// Tokens whose place holds none now, and those that everybody on this machine can read.
pub(super) fn tokens(env: &Env) -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, token) in env.tokens() {
        let state = token.state();
        if let Some(trouble) = state.trouble {
            let detail = format!("{trouble}; the last good token stays in use");
            checks.push(Check::warn("token.reload", &name, detail, trouble.remedy()));
        } else if state.generation > 0 {
            let detail = format!(
                "from {}: changed {} time(s) since the start",
                token.origin(),
                state.generation
            );
            checks.push(Check::ok("token.reload", &name, detail));
        }
        if token.is_world_readable() {
            let detail = format!(
                "{} can be read by every user of this machine",
                token.origin()
            );
            let remedy = "take that right away, for example with `chmod 0400`";
            checks.push(Check::warn("token.readable", &name, detail, remedy));
        }
    }
    checks
}

/// The audit log can be written and is as it was written.
pub(super) fn audit(env: &Env) -> Check {
    let (id, subject) = ("audit", "audit log");
    let dir = env.data_dir();
    let log = dir.join(FILE);
    let begun = log.exists() || dir.join(CHECKPOINTS).exists();
    if !begun {
        let detail = format!("{} is begun with the first call", log.display());
        return Check::ok(id, subject, detail);
    }
    let open = std::fs::OpenOptions::new().append(true).open(&log);
    if let Err(error) = open
        && error.kind() != std::io::ErrorKind::NotFound
    {
        let detail = format!("{} cannot be written: {error}", log.display());
        let remedy = "make it writable for this user: nothing is destroyed that cannot be recorded";
        return Check::fail(id, subject, detail, remedy);
    }
    let keys = AuditKeys::read(env);
    let key = keys
        .key
        .map(|key| key.current().expose().as_bytes().to_vec());
    match Verifier::default().with_key(key).look(&dir) {
        // A server that writes right now may be in the middle of a line.
        Ok(found) if found.verdict == Verdict::Intact => {
            let detail = format!("{} lines are as they were written", found.lines);
            Check::ok(id, subject, detail)
        }
        Ok(found) => {
            let why = found.why.unwrap_or_default();
            let remedy = "keep a copy, find out who can write it, and look at it with `forgeline audit verify`";
            match found.verdict {
                Verdict::Short => Check::warn(id, subject, why, remedy),
                Verdict::Tampered | Verdict::Intact => Check::fail(id, subject, why, remedy),
            }
        }
        Err(why) => Check::fail(id, subject, why, "make it readable for this user"),
    }
}
