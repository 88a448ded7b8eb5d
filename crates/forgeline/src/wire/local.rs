//! doctor's checks that need no upstream: tokens, configuration, journal, disk, workflow files, callers, audit log, port.

mod door;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forgeline_auth::Fingerprints;
use forgeline_provision::{Catalogue, Check, Doctor, LocalChecks, registry};
use forgeline_step_engine::journal::sqlite::SqliteJournal;
use forgeline_upstream::TokenHandle;

use super::{Clients, keeping};
use crate::config::{AuditKeys, Config, Inbound, Mode, Problem};
use crate::env::Env;

/// Below this much free space the journal may not last, in bytes.
const LITTLE: u64 = 100 * 1024 * 1024;

pub(super) fn checks(
    env: &Env,
    config: &Config,
    clients: &Clients,
    listen: Option<String>,
) -> LocalChecks {
    let (known, good) = tokens(env, config);
    let inbound = Inbound::read(
        env,
        listen.as_deref().and_then(|listen| listen.parse().ok()),
    );
    let open = listen.as_deref().is_some_and(is_open) && inbound.is_shut();
    let audit_keys = AuditKeys::read(env);
    let others = [inbound.problems.as_slice(), &audit_keys.problems].concat();
    let mut fixed = configuration(config, clients, &others, &known);
    fixed.extend(known);
    fixed.push(workflows(config, clients));
    fixed.extend(door::checks(env, config, clients, &inbound));
    let data_dir = config.data_dir.clone();
    let env = env.clone();
    Arc::new(move || {
        // A token file may have changed since.
        let fingerprints = keeping::fingerprints(&env);
        let mut all: Vec<Check> = good.iter().map(|one| formed(one, &fingerprints)).collect();
        all.extend(same(&good));
        all.extend(door::tokens(&env));
        all.extend(fixed.clone());
        all.extend(journal(&data_dir));
        all.push(door::audit(&env));
        all.extend(listen.as_deref().map(|listen| port(listen, open)));
        all
    })
}

/// The same doctor, who also asks the issuer where there is one.
pub(super) fn with_issuer(doctor: Doctor, env: &Env) -> Doctor {
    let inbound = Inbound::read(env, None);
    match super::callers::issuer(env, &inbound) {
        Ok(Some(issuer)) => doctor.with(
            "auth.issuer",
            Arc::new(move || Box::pin(door::issuer(Arc::clone(&issuer)))),
        ),
        // What is wrong with its settings is said among those of the configuration.
        Ok(None) | Err(_) => doctor,
    }
}

/// Whether others than programs of this machine reach the address.
fn is_open(listen: &str) -> bool {
    let address = listen.parse::<std::net::SocketAddr>();
    address.is_ok_and(|address| !address.ip().is_loopback())
}

/// Id of the check, variable and token.
type Good = (&'static str, &'static str, TokenHandle);

/// What is to say of tokens that are not there or not usable, and the good ones.
fn tokens(env: &Env, config: &Config) -> (Vec<Check>, Vec<Good>) {
    let mut wanted = vec![
        ("token.gitea_mcp", "GITEA_MCP_TOKEN"),
        ("token.gitea", "GITEA_TOKEN"),
        ("token.github", "GITHUB_PAT"),
        ("token.github_mirror", "GITHUB_MIRROR_TOKEN"),
        ("token.server", "FORGELINE_STATIC_TOKEN"),
    ];
    if config.infra.mode != Mode::None && env.is_set("KUBE_API_URL") {
        wanted.push(("token.kubernetes", "KUBE_TOKEN"));
    }
    let mut checks = Vec::new();
    let mut good: Vec<Good> = Vec::new();
    for (id, variable) in wanted {
        let stands_in = variable == "GITHUB_PAT" && !env.is_set(variable);
        let variable = match stands_in && env.is_set("GITHUB_TOKEN") {
            true => "GITHUB_TOKEN",
            false => variable,
        };
        match env.secret(variable) {
            Ok(Some(token)) => good.push((id, variable, token)),
            Ok(None) => checks.extend(absent(id, variable, env)),
            Err(problem) => checks.push(failed(id, variable, &problem)),
        }
    }
    (checks, good)
}

fn formed((id, variable, token): &Good, fingerprints: &Fingerprints) -> Check {
    let current = token.current();
    let fingerprint = fingerprints.of_token(&current);
    let detail = format!("from {}: {fingerprint}", token.origin());
    if current.was_trimmed() {
        let detail = format!("{detail}; a line break at its end was cut off");
        return Check::warn(
            id,
            *variable,
            detail,
            format!("store {variable} without the line break"),
        );
    }
    Check::ok(id, *variable, detail)
}

fn absent(id: &str, variable: &str, env: &Env) -> Option<Check> {
    match variable {
        "GITHUB_MIRROR_TOKEN" if env.filled("FORGELINE_MIRROR_USE_PAT") == Some("true") => Some(
            Check::skip(id, variable, "FORGELINE_MIRROR_USE_PAT is true"),
        ),
        "FORGELINE_STATIC_TOKEN" => None,
        "GITEA_TOKEN" if !env.is_set("GITEA_URL") => {
            Some(Check::skip(id, variable, "REST is not configured"))
        }
        _ => {
            let detail = format!("{variable} is not set");
            let remedy =
                format!("set {variable}, or {variable}_FILE to the path of a file that holds it");
            Some(Check::fail(id, variable, detail, remedy))
        }
    }
}

fn failed(id: &str, subject: &str, problem: &Problem) -> Check {
    Check {
        code: Some(problem.code.clone()),
        ..Check::fail(id, subject, &problem.message, &problem.remedy)
    }
}

/// Two roles with one value: who revokes one revokes the other.
fn same(good: &[Good]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (index, (_, first, one)) in good.iter().enumerate() {
        for (_, second, other) in &good[index + 1..] {
            if one.current().is_same(&other.current()) {
                checks.push(Check::warn(
                    "token.same",
                    format!("{first} and {second}"),
                    "both hold the same token, so each has the rights of both roles",
                    "make a token of its own for each, unless the gitea-mcp server passes Gitea's token through",
                ));
            }
        }
    }
    checks
}

/// What else is wrong with the configuration, for `serve` too; what a token's own check has said is not said again.
fn configuration(
    config: &Config,
    clients: &Clients,
    callers: &[Problem],
    tokens: &[Check],
) -> Vec<Check> {
    let said = |problem: &Problem| {
        let mut tokens = tokens.iter();
        problem.code.starts_with("token.")
            && tokens.any(|check| problem.message.contains(&check.subject))
    };
    let all = config
        .problems
        .iter()
        .chain(&clients.problems)
        .chain(callers);
    let mut others: Vec<&Problem> = all.filter(|problem| !said(problem)).collect();
    others.dedup_by(|one, other| one.message == other.message);
    if others.is_empty() {
        return vec![Check::ok("configuration", "configuration", "can be used")];
    }
    others
        .into_iter()
        .map(|problem| failed("configuration", "configuration", problem))
        .collect()
}

fn workflows(config: &Config, clients: &Clients) -> Check {
    let (id, subject) = ("workflows", "workflow files");
    let registry = registry(&Arc::new(clients.stand_ins(config)));
    let place = config
        .workflows_dir
        .as_ref()
        .map_or_else(String::new, |dir| format!(", from {} too", dir.display()));
    match Catalogue::read(&registry, config.workflows_dir.as_deref()) {
        Ok(catalogue) => Check::ok(
            id,
            subject,
            format!("{} workflow(s){place}", catalogue.all().len()),
        ),
        Err(error) => Check::fail(id, subject, error.to_string(), "mend these lines"),
    }
}

/// The directory can be written, has room, and is not somebody else's. Nothing stays there.
fn journal(dir: &Path) -> Vec<Check> {
    let subject = "journal";
    let place = nearest(dir);
    let mut checks = Vec::new();
    checks.push(match tempfile::tempfile_in(&place) {
        Ok(_) => match SqliteJournal::holder(dir) {
            Some(holder) => Check::ok(
                "journal",
                subject,
                format!("{} is in use by {holder}", dir.display()),
            ),
            None => Check::ok(
                "journal",
                subject,
                format!("{} can be written", dir.display()),
            ),
        },
        Err(error) => Check {
            code: Some("journal.unwritable".into()),
            ..Check::fail(
                "journal",
                subject,
                format!("{} cannot be written: {error}", place.display()),
                "make it writable for this user, or set FORGELINE_DATA_DIR to another directory",
            )
        },
    });
    if let Ok(stat) = rustix::fs::statvfs(&place) {
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let detail = format!(
            "{} MiB are free in {}",
            free / (1024 * 1024),
            place.display()
        );
        checks.push(if free < LITTLE {
            Check::warn(
                "disk",
                "disk",
                detail,
                "free some space: a full disk stops every run",
            )
        } else {
            Check::ok("disk", "disk", detail)
        });
    }
    checks
}

/// The directory, or the nearest one above it that is there.
fn nearest(dir: &Path) -> PathBuf {
    let mut place = dir.to_owned();
    while !place.exists() {
        match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => place = parent.to_owned(),
            _ => return PathBuf::from("."),
        }
    }
    place
}

fn port(listen: &str, open: bool) -> Check {
    let (id, subject) = ("server.port", "address of serve");
    if open {
        return Check::fail(
            id,
            subject,
            format!("{listen} can be reached by others, and no bearer is configured"),
            "set FORGELINE_STATIC_TOKEN, or listen on 127.0.0.1",
        );
    }
    match TcpListener::bind(listen) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Check::fail(
            id,
            subject,
            format!("`{listen}` is no address: {error}"),
            "write it as 127.0.0.1:3210",
        ),
        Ok(_) => Check::ok(id, subject, format!("{listen} is free")),
        Err(error) => Check::warn(
            id,
            subject,
            format!("{listen} cannot be listened on now: {error}"),
            "if that is no forgeline, stop it, or choose another --listen address",
        ),
    }
}
