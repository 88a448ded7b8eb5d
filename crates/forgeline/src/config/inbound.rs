//! Who may call `serve`: bearers, an issuer, a policy; judged as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forgeline_auth::audit::SigningKey;
use forgeline_auth::{
    Allowance, Caller, Claims, MIN_LENGTH, Scope, StaticToken, Via, issuer_address,
};
use forgeline_upstream::http::address;
use forgeline_upstream::{TokenError, TokenFault, TokenHandle};
use url::Url;

use super::Problem;
use crate::config_file::StaticCaller;
use crate::env::Env;

/// Everything that decides about callers; what is bad is left out and among the problems.
pub(crate) struct Inbound {
    pub(crate) tokens: Vec<StaticToken>,
    pub(crate) oidc: Option<Oidc>,
    /// This server's public address. `None`: where it listens.
    pub(crate) resource: Option<Url>,
    /// What a client without a token is told to ask for.
    pub(crate) asked: BTreeSet<Scope>,
    /// The policy's file and text.
    pub(crate) policy: Option<(PathBuf, String)>,
    pub(crate) project_token_ttl: Duration,
    /// For callers who are not known.
    pub(crate) allowance: Allowance,
    /// Certificate and key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) problems: Vec<Problem>,
}

/// An issuer and what its tokens mean.
pub(crate) struct Oidc {
    pub(crate) issuer: String,
    pub(crate) claims: Claims,
}

fn invalid(message: impl Into<String>, remedy: &str) -> Problem {
    Problem::new("configuration.invalid", message, remedy)
}

impl Inbound {
    /// Reads and judges. `listen`: where the server will be reached when nothing says it.
    pub(crate) fn read(env: &Env, listen: Option<SocketAddr>) -> Self {
        let mut problems = Vec::new();
        let tokens = tokens(env, &mut problems);
        let resource = resource(env, &mut problems);
        let oidc = oidc(env, resource.as_ref(), listen, &mut problems);
        let asked = scopes(
            &env.list_or_default("FORGELINE_ASKED_SCOPES"),
            "FORGELINE_ASKED_SCOPES",
        );
        let asked = asked.unwrap_or_else(|problem| {
            problems.push(problem);
            BTreeSet::new()
        });
        let policy = policy(env, &mut problems);
        let text = env.or_default("FORGELINE_PROJECT_TOKEN_TTL");
        let project_token_ttl = forgeline_provision::duration(text).unwrap_or_else(|| {
            let message = format!("FORGELINE_PROJECT_TOKEN_TTL is `{text}`");
            problems.push(invalid(message, "write it like 12h or 30d"));
            Duration::ZERO
        });
        Self {
            tokens,
            oidc,
            resource,
            asked,
            policy,
            project_token_ttl,
            allowance: allowance(env, &mut problems),
            tls: tls(env, &mut problems),
            problems,
        }
    }

    /// Nobody could come in.
    pub(crate) fn is_shut(&self) -> bool {
        self.tokens.is_empty() && self.oidc.is_none()
    }
}

fn tokens(env: &Env, problems: &mut Vec<Problem>) -> Vec<StaticToken> {
    let mut found = Vec::new();
    match env.secret("FORGELINE_STATIC_TOKEN") {
        Ok(Some(token)) => {
            let scopes = BTreeSet::from([Scope::Admin]);
            match StaticToken::new(token, Caller::new("svc:static", Via::Static, scopes)) {
                Ok(token) => found.push(token),
                Err(error) => problems.push(error.into()),
            }
        }
        Ok(None) => {}
        Err(problem) => problems.push(problem),
    }
    for (file, caller) in named_callers(env) {
        match named(env, caller, file) {
            Ok(token) => found.push(token),
            Err(problem) => problems.push(problem),
        }
    }
    for (index, one) in found.iter().enumerate() {
        for other in &found[index + 1..] {
            if one.token().current().is_same(&other.token().current()) {
                let (one, other) = (&one.caller().name, &other.caller().name);
                problems.push(invalid(
                    format!("the callers {one} and {other} have the same bearer, so nobody can tell them apart"),
                    "make a bearer for each, for example with `openssl rand -hex 32`",
                ));
            }
        }
    }
    found
}

fn named_callers(env: &Env) -> impl Iterator<Item = (&Path, &StaticCaller)> {
    let callers = env.callers().into_iter();
    callers.flat_map(|(file, callers)| callers.iter().map(move |caller| (file, caller)))
}

fn named(env: &Env, caller: &StaticCaller, file: &Path) -> Result<StaticToken, Problem> {
    let what = format!("auth.static `{}`", caller.name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if caller.name.is_empty() || !caller.name.bytes().all(plain) {
        let message = format!("{what} has no name of letters, digits, `-`, `_` and `.`");
        return Err(invalid(message, "give it one; the audit log names it so"));
    }
    let scopes = scopes(&caller.scopes, &what)?;
    let token = env.referred(&caller.token, &what, file)?;
    let caller = Caller::new(format!("svc:{}", caller.name), Via::Static, scopes);
    Ok(StaticToken::new(token, caller)?)
}

fn scopes(words: &[String], what: &str) -> Result<BTreeSet<Scope>, Problem> {
    let read = words.iter().map(|word| {
        Scope::parse(word).ok_or_else(|| {
            invalid(
                format!("{what} names the unknown scope `{word}`"),
                "use forgeline:read, forgeline:create, forgeline:delete or forgeline:admin",
            )
        })
    });
    read.collect()
}

fn resource(env: &Env, problems: &mut Vec<Problem>) -> Option<Url> {
    for name in ["MCP_RESOURCE_URL", "FORGELINE_AUDIENCE"] {
        if env.is_set(name) && env.filled(name).is_none() {
            let message = format!("{name} is set and empty");
            problems.push(invalid(message, "give it a value, or unset it"));
        }
    }
    let text = env.filled("MCP_RESOURCE_URL")?;
    match address("MCP_RESOURCE_URL", text) {
        Ok(url) if url.query().is_none() && url.fragment().is_none() => Some(url),
        Ok(_) => {
            problems.push(invalid(
                "MCP_RESOURCE_URL has a query or a fragment",
                "write it like https://forgeline.example.org/mcp",
            ));
            None
        }
        Err(error) => {
            problems.push(invalid(error.to_string(), "correct MCP_RESOURCE_URL"));
            None
        }
    }
}

fn oidc(
    env: &Env,
    resource: Option<&Url>,
    listen: Option<SocketAddr>,
    problems: &mut Vec<Problem>,
) -> Option<Oidc> {
    if !env.is_set("DEX_ISSUER_URL") {
        return None;
    }
    // To the letter: an issuer with another spelling is another issuer.
    let issuer = env.get("DEX_ISSUER_URL").unwrap_or_default().to_owned();
    if let Err(why) = issuer_address("DEX_ISSUER_URL", &issuer) {
        problems.push(invalid(
            why,
            "set it to the issuer as its own discovery document names it",
        ));
        return None;
    }
    let mut audiences = env.list("FORGELINE_AUDIENCE");
    if audiences.is_empty() {
        audiences.extend(resource.map(|url| url.as_str().trim_end_matches('/').to_owned()));
    }
    if audiences.is_empty() {
        match listen.filter(|address| address.ip().is_loopback() && address.port() != 0) {
            Some(address) => audiences.push(format!("http://{address}/mcp")),
            None => problems.push(invalid(
                "DEX_ISSUER_URL is set, and nothing says what its tokens must be for",
                "set MCP_RESOURCE_URL to this server's public address, or FORGELINE_AUDIENCE",
            )),
        }
    }
    let mut of_groups = BTreeMap::new();
    for group in env.groups() {
        match scopes(&group.scopes, &format!("auth.groups `{}`", group.name)) {
            Ok(scopes) => {
                let all: &mut BTreeSet<Scope> = of_groups.entry(group.name.clone()).or_default();
                all.extend(scopes);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let claims = Claims {
        audiences,
        user: env.or_default("FORGELINE_USER_CLAIM").to_owned(),
        groups: env.or_default("FORGELINE_GROUPS_CLAIM").to_owned(),
        services: env.list("FORGELINE_OIDC_SERVICES").into_iter().collect(),
        of_groups,
    };
    Some(Oidc { issuer, claims })
}

fn policy(env: &Env, problems: &mut Vec<Problem>) -> Option<(PathBuf, String)> {
    if !env.is_set("FORGELINE_POLICY") {
        return None;
    }
    // A policy that is set and cannot be read is never taken for none.
    let path = PathBuf::from(env.filled("FORGELINE_POLICY").unwrap_or_default());
    match std::fs::read_to_string(&path) {
        Ok(text) => Some((path, text)),
        Err(error) => {
            problems.push(Problem::new(
                "file.unreadable",
                format!(
                    "FORGELINE_POLICY names `{}`, which cannot be read: {error}",
                    path.display()
                ),
                "correct FORGELINE_POLICY, or unset it to let scopes decide alone",
            ));
            None
        }
    }
}

fn allowance(env: &Env, problems: &mut Vec<Problem>) -> Allowance {
    let name = "FORGELINE_UNAUTHENTICATED_PER_SECOND";
    let text = env.or_default(name);
    match text.parse::<u32>() {
        Ok(per_second @ 1..=1_000_000) => Allowance {
            burst: per_second * 6,
            per_second,
        },
        _ => {
            let message = format!("{name} is `{text}`");
            problems.push(invalid(
                message,
                "set it to a whole number from 1 to 1000000",
            ));
            Allowance::default()
        }
    }
}

fn tls(env: &Env, problems: &mut Vec<Problem>) -> Option<(PathBuf, PathBuf)> {
    let file = |name: &str| env.filled(name).map(PathBuf::from);
    match (file("FORGELINE_TLS_CERT"), file("FORGELINE_TLS_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) if !env.is_set("FORGELINE_TLS_CERT") && !env.is_set("FORGELINE_TLS_KEY") => {
            None
        }
        (None, None) => {
            let message = "FORGELINE_TLS_CERT and FORGELINE_TLS_KEY are set and empty";
            problems.push(invalid(message, "set both to files, or unset them"));
            None
        }
        (Some(_), None) | (None, Some(_)) => {
            problems.push(invalid(
                "only one of FORGELINE_TLS_CERT and FORGELINE_TLS_KEY is set",
                "set both, or none",
            ));
            None
        }
    }
}

/// The keys of the audit log.
pub(crate) struct AuditKeys {
    pub(crate) key: Option<TokenHandle>,
    pub(crate) signing: Option<SigningKey>,
    pub(crate) problems: Vec<Problem>,
}

impl AuditKeys {
    /// Reads and judges.
    pub(crate) fn read(env: &Env) -> Self {
        let mut problems = Vec::new();
        let mut secret = |name: &str| match env.secret(name) {
            Ok(token) => token,
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let key = secret("FORGELINE_AUDIT_KEY");
        let text = secret("FORGELINE_AUDIT_SIGNING_KEY");
        let fingerprints = secret("FORGELINE_FINGERPRINT_KEY");
        let mut long_enough = |key: &TokenHandle| {
            let short = key.current().expose().len() < MIN_LENGTH;
            if short {
                let origin = key.origin().clone();
                let fault = TokenFault::TooShort;
                problems.push(TokenError { origin, fault }.into());
            }
            !short
        };
        let _ = fingerprints.filter(&mut long_enough);
        let key = key.filter(long_enough);
        let signing = text.and_then(|text| {
            let read = SigningKey::from_hex(text.current().expose());
            let bad = |why| {
                let message = format!("{} {why}", text.origin());
                Problem::new(
                    "token.malformed",
                    message,
                    "put another key there, for example from `openssl rand -hex 32`",
                )
            };
            read.map_err(|why| problems.push(bad(why))).ok()
        });
        Self {
            key,
            signing,
            problems,
        }
    }
}
