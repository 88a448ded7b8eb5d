//! `forgeline serve`: MCP over HTTP or stdio.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use forgeline_auth::{Caller, Scope, StaticToken, Via};
use forgeline_mcp_server::http::{Details, Limits, Reach, Readiness, Tls, Watched};
use forgeline_mcp_server::metrics::Tokens;
use forgeline_mcp_server::{Access, Server, http, stdio};
use forgeline_provision::Provisioner;
use forgeline_sandbox::{Options, Sandbox};
use forgeline_step_engine::journal::JournalError;
use forgeline_upstream::{Origin, Token, TokenHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Signals, no_signals, refuse};
use crate::cli::Serve;
use crate::config::Inbound;
use crate::env::Env;
use crate::wire::Serving;
use crate::{exit, output, wire};

pub(super) async fn run(env: &Env, args: Serve) -> u8 {
    if !args.sandbox {
        return with(env, &args, None).await;
    }
    let options = Options {
        latency: args.latency.unwrap_or_default(),
        ..Options::default()
    };
    let sandbox = match Sandbox::start(&options).await {
        Ok(sandbox) => sandbox,
        Err(error) => return super::no_sandbox_here(&error),
    };
    let env = Env::of_sandbox(sandbox.exports(), &sandbox.data_dir(), env);
    let code = with(&env, &args, Some(&sandbox)).await;
    // The directory goes with the sandbox.
    wire::keeping::close().await;
    code
}

async fn with(env: &Env, args: &Serve, sandbox: Option<&Sandbox>) -> u8 {
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return no_signals(&error),
    };
    if args.stdio {
        over_stdio(env, args, signals).await
    } else {
        over_http(env, args, sandbox, signals).await
    }
}

async fn over_stdio(env: &Env, args: &Serve, mut signals: Signals) -> u8 {
    let env = &wire::prepared(env).await;
    let serving = match wire::server(env).await {
        Ok(serving) => serving,
        Err(error) => return refuse(&error),
    };
    let inbound = Inbound::read(env, None);
    if !inbound.problems.is_empty() {
        output::complain_of(&inbound.problems);
        return exit::CONFIGURATION;
    }
    let access = match access(env, &inbound, &serving, args.read_only) {
        Ok(access) => access,
        Err(code) => return code,
    };
    let provisioner = serving.provisioner;
    resume(&provisioner, serving.broken.as_ref(), args).await;
    let caller = Caller::local(env.user());
    let server = Server::new(provisioner.clone(), access).for_local(caller);
    let stop = CancellationToken::new();
    let served = tokio::select! {
        served = stdio::serve(server, stop.clone()) => served,
        () = signals.next() => Ok(()),
    };
    provisioner.engine().stop().await;
    match served {
        Ok(()) => exit::OK,
        Err(why) => {
            output::complain("the MCP session ended unexpectedly", Some(&why), None);
            exit::UNEXPECTED
        }
    }
}

/// What decides about calls; a policy with mistakes keeps the server from starting.
fn access(env: &Env, inbound: &Inbound, serving: &Serving, read_only: bool) -> Result<Access, u8> {
    let audit = serving.audit.clone();
    let access = wire::callers::access(env, inbound, &serving.provisioner, audit, read_only);
    access.map_err(|problems| {
        output::complain_of(&problems);
        exit::CONFIGURATION
    })
}

/// Where to listen and who may come in.
struct Door {
    address: SocketAddr,
    inbound: Inbound,
    tls: Option<Tls>,
    /// A bearer that was made for this process; shown once.
    made: Option<String>,
}

fn door(env: &Env, args: &Serve) -> Result<Door, u8> {
    let text = args
        .listen
        .as_deref()
        .unwrap_or_else(|| env.or_default("FORGELINE_LISTEN"));
    let Ok(address) = text.parse::<SocketAddr>() else {
        output::complain(
            &format!("`{text}` is no address to listen on"),
            None,
            Some("write it like 127.0.0.1:3210"),
        );
        return Err(if args.listen.is_some() {
            exit::USAGE
        } else {
            exit::CONFIGURATION
        });
    };
    let mut inbound = Inbound::read(env, Some(address));
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        inbound.tls = Some((certificate.clone(), key.clone()));
    }
    if !inbound.problems.is_empty() {
        output::complain_of(&inbound.problems);
        return Err(exit::CONFIGURATION);
    }
    let tls = tls(&inbound)?;
    let mut made = None;
    if inbound.is_shut() {
        if !address.ip().is_loopback() {
            let problem = format!(
                "environment variable FORGELINE_STATIC_TOKEN is not set, nor DEX_ISSUER_URL, and {address} can be reached from elsewhere"
            );
            let help = "set FORGELINE_STATIC_TOKEN (at least 32 bytes, `openssl rand -hex 32`) or DEX_ISSUER_URL, or listen on 127.0.0.1";
            output::complain(&problem, None, Some(help));
            return Err(exit::CONFIGURATION);
        }
        let (token, text) = own_bearer()?;
        inbound.tokens.push(token);
        made = Some(text);
    }
    Ok(Door {
        address,
        inbound,
        tls,
        made,
    })
}

fn tls(inbound: &Inbound) -> Result<Option<Tls>, u8> {
    let Some((certificate, key)) = &inbound.tls else {
        return Ok(None);
    };
    Tls::from_files(certificate, key)
        .map(Some)
        .map_err(|error| {
            let what = "the certificate of serve cannot be used";
            let help = "correct --tls-cert and --tls-key (FORGELINE_TLS_CERT, FORGELINE_TLS_KEY)";
            output::complain(what, Some(&error.to_string()), Some(help));
            exit::CONFIGURATION
        })
}

/// A bearer for this process, and its text.
fn own_bearer() -> Result<(StaticToken, String), u8> {
    let made = bearer().map_err(|why| {
        let what = "no bearer can be made for this process";
        output::complain(what, Some(&why), Some("set FORGELINE_STATIC_TOKEN"));
        exit::UNEXPECTED
    })?;
    let scopes = BTreeSet::from([Scope::Admin]);
    let token = Token::new(&made, Origin::Own("bearer".into())).map(TokenHandle::fixed);
    let caller = Caller::new("svc:loopback", Via::Static, scopes);
    let token = token.and_then(|token| StaticToken::new(token, caller));
    token
        .map(|token| (token, made))
        .map_err(|_| exit::UNEXPECTED)
}

/// 32 random bytes in hexadecimal.
fn bearer() -> Result<String, String> {
    let mut bytes = [0_u8; 32];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn over_http(env: &Env, args: &Serve, sandbox: Option<&Sandbox>, mut signals: Signals) -> u8 {
    let env = &wire::prepared(env).await;
    let door = match door(env, args) {
        Ok(door) => door,
        Err(code) => return code,
    };
    let serving = match wire::server(env).await {
        Ok(serving) => serving,
        Err(error) => return refuse(&error),
    };
    let access = match access(env, &door.inbound, &serving, args.read_only) {
        Ok(access) => access,
        Err(code) => return code,
    };
    let listener = match TcpListener::bind(door.address).await {
        Ok(listener) => listener,
        Err(error) => {
            output::complain(
                &format!("cannot listen on {}", door.address),
                Some(&error.to_string()),
                Some("choose another --listen address, or stop what listens there"),
            );
            return exit::CONFIGURATION;
        }
    };
    let address = listener.local_addr().unwrap_or(door.address);
    let gate = match wire::callers::gate(env, &door.inbound, &access, address) {
        Ok(gate) => gate,
        Err(problem) => {
            output::complain_of(&[problem]);
            return exit::CONFIGURATION;
        }
    };
    let Serving {
        provisioner,
        broken,
        ..
    } = serving;
    let resumed = resume(&provisioner, broken.as_ref(), args).await;
    greet(address, &door, sandbox, broken.as_ref(), resumed);

    let trouble: Arc<Mutex<Option<String>>> =
        Arc::new(Mutex::new(broken.map(|error| error.to_string())));
    let metrics = crate::logging::metrics().clone();
    let watched = Watched {
        readiness: readiness(&trouble),
        details: details(env),
        metrics: metrics.clone(),
    };
    tokio::spawn({
        let engine = provisioner.engine().clone();
        let metrics = metrics.clone();
        async move { metrics.watch(engine).await }
    });
    metrics.watch_tokens(tokens(env));
    let reach = Reach {
        allowed_hosts: env.list("FORGELINE_ALLOWED_HOSTS"),
        allowed_origins: env.list("FORGELINE_ALLOWED_ORIGINS"),
        limits: Limits::default(),
        tls: door.tls.clone(),
    };
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let server = Server::new(provisioner.clone(), access);
        let stop = stop.clone();
        async move { http::serve(listener, server, gate, &reach, watched, stop).await }
    });
    let fenced = wait_for_end(&mut signals, &provisioner, &trouble).await;
    output::say("stopping: running steps reach their journal point");
    stop.cancel();
    provisioner.engine().stop().await;
    match serving.await {
        Ok(Ok(())) if !fenced => exit::OK,
        Ok(Ok(())) => exit::UNEXPECTED,
        Ok(Err(error)) => {
            output::complain("the HTTP server failed", Some(&error.to_string()), None);
            exit::UNEXPECTED
        }
        Err(_) => exit::UNEXPECTED,
    }
}

/// Until a signal (`false`) or until another process has taken the journal over (`true`). Any other trouble of the
/// journal makes the server unready and leaves it up, so that people can ask it.
async fn wait_for_end(
    signals: &mut Signals,
    provisioner: &Provisioner,
    trouble: &Mutex<Option<String>>,
) -> bool {
    let halted = async {
        let error = provisioner.engine().halted().await;
        *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        output::complain(&error.to_string(), None, Some(&error.remedy()));
        if error != JournalError::Fenced {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = signals.next() => false,
        () = halted => true,
    }
}

fn tokens(env: &Env) -> Tokens {
    let env = env.clone();
    Arc::new(move || {
        let tokens = env.tokens().into_iter();
        let fare = tokens.map(|(name, token)| {
            let state = token.state();
            (name, state.generation, state.failures)
        });
        fare.collect()
    })
}

fn details(env: &Env) -> Details {
    let env = env.clone();
    let fingerprints = wire::keeping::fingerprints(&env);
    Arc::new(move || wire::keeping::details(&env, &fingerprints))
}

fn readiness(trouble: &Arc<Mutex<Option<String>>>) -> Readiness {
    let trouble = Arc::clone(trouble);
    Arc::new(
        move || match &*trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        },
    )
}

/// A server that changes nothing does not go on with what stands still either.
async fn resume(provisioner: &Provisioner, broken: Option<&JournalError>, args: &Serve) -> usize {
    if broken.is_some() || args.read_only {
        return 0;
    }
    match provisioner.engine().resume_all().await {
        Ok(count) => count,
        Err(error) => {
            output::complain("runs could not be resumed", Some(&error.to_string()), None);
            0
        }
    }
}

fn greet(
    address: SocketAddr,
    door: &Door,
    sandbox: Option<&Sandbox>,
    broken: Option<&JournalError>,
    resumed: usize,
) {
    let scheme = if door.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}/mcp");
    let bearer = door.made.as_deref().unwrap_or("$FORGELINE_STATIC_TOKEN");
    output::say(&format!("forgeline serves MCP at {url}"));
    output::say(&format!(
        "connect: claude mcp add --transport http forgeline {url} --header \"Authorization: Bearer {bearer}\""
    ));
    if door.made.is_some() {
        output::say(
            "         (this bearer was made for this process; set FORGELINE_STATIC_TOKEN to choose one)",
        );
    }
    if let Some(sandbox) = sandbox {
        let exports = sandbox.exports();
        let value = |name: &str| {
            exports
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.as_str())
                .unwrap_or_default()
        };
        let with_login =
            |url: &str, token: &str| url.replacen("http://", &format!("http://acme:{token}@"), 1);
        output::say("sandbox: a fresh world inside this process, gone at exit; clone from it with");
        output::say(&format!(
            "  git clone {}/acme/NAME.git",
            with_login(value("GITEA_URL"), value("GITEA_TOKEN"))
        ));
        output::say(&format!(
            "  git clone {}/acme/NAME.git",
            with_login(value("GITHUB_API_URL"), value("GITHUB_PAT"))
        ));
        for (name, value) in sandbox.control_exports() {
            output::say(&format!("  {name}={value}"));
        }
    }
    if resumed > 0 {
        output::say(&format!("resumed {resumed} run(s)"));
    }
    if let Some(error) = broken {
        output::complain(&error.to_string(), None, Some(&error.remedy()));
    }
}
