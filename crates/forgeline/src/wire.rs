//! Connects everything: configuration to clients, clients to steps, steps to engine, engine to use-cases.

use std::sync::Arc;

use forgeline_gitea::Gitea;
use forgeline_github::GitHub;
use forgeline_kubernetes::Kubernetes;
use forgeline_provision::{Catalogue, LogAudit, Provisioner, Setup, Upstreams, registry};
use forgeline_step_engine::journal::sqlite::SqliteJournal;
use forgeline_step_engine::journal::unavailable::UnavailableJournal;
use forgeline_step_engine::journal::{Journal, JournalError};
use forgeline_step_engine::{Engine, Registry};
use forgeline_upstream::Deadlines;
use forgeline_upstream::http::{HttpClient, reqwest_client};
use forgeline_upstream::mcp::McpClient;
use serde_json::json;

use crate::config::{Config, Problem};
use crate::env::Env;

/// Why nothing could be connected.
pub(crate) enum WireError {
    /// The configuration cannot be used.
    Configuration(Vec<Problem>),
    /// The journal cannot be used.
    Journal(JournalError),
}

/// The use-cases for a command that writes. `what` is what others are told about the holder of the journal.
pub(crate) async fn writer(env: &Env, what: &str) -> Result<Provisioner, WireError> {
    let config = Config::read(env).map_err(WireError::Configuration)?;
    let upstreams = Arc::new(
        upstreams(&config)
            .await
            .map_err(|problem| WireError::Configuration(vec![problem]))?,
    );
    let journal = SqliteJournal::open(&config.data_dir, what).map_err(WireError::Journal)?;
    provisioner(&config, &upstreams, Arc::new(journal))
}

/// As [`writer`], but a journal that cannot be written leaves a server that says so to every call.
pub(crate) async fn server(env: &Env) -> Result<(Provisioner, Option<JournalError>), WireError> {
    let config = Config::read(env).map_err(WireError::Configuration)?;
    let upstreams = Arc::new(
        upstreams(&config)
            .await
            .map_err(|problem| WireError::Configuration(vec![problem]))?,
    );
    match SqliteJournal::open(&config.data_dir, "forgeline serve") {
        Ok(journal) => Ok((provisioner(&config, &upstreams, Arc::new(journal))?, None)),
        Err(error @ JournalError::Held { .. }) => Err(WireError::Journal(error)),
        Err(error) => {
            let journal = Arc::new(UnavailableJournal::new(error.clone()));
            Ok((provisioner(&config, &upstreams, journal)?, Some(error)))
        }
    }
}

/// The use-cases for a command that only looks; works beside a server and needs no upstream.
pub(crate) fn reader(env: &Env) -> Result<Provisioner, WireError> {
    let dir = env.data_dir();
    let driven_elsewhere = SqliteJournal::holder(&dir).is_some();
    let journal: Arc<dyn Journal> =
        match SqliteJournal::open_for_reading(&dir).map_err(WireError::Journal)? {
            Some(journal) => Arc::new(journal),
            None => Arc::new(forgeline_step_engine::journal::memory::MemoryJournal::new()),
        };
    let engine = Engine::reader(journal, Arc::new(Registry::new()), driven_elsewhere);
    let environment = env
        .filled("FORGELINE_ENVIRONMENT")
        .unwrap_or("live")
        .to_owned();
    let setup = Setup {
        environment,
        settings: json!({}),
        catalogue: Catalogue::none(),
    };
    Ok(Provisioner::new(engine, setup))
}

fn provisioner(
    config: &Config,
    upstreams: &Arc<Upstreams>,
    journal: Arc<dyn Journal>,
) -> Result<Provisioner, WireError> {
    let registry = registry(upstreams);
    let catalogue = Catalogue::shipped(&registry).map_err(|error| {
        let problem = Problem {
            code: "workflow.invalid".into(),
            message: error.to_string(),
            remedy: "mend these lines of the workflow files".into(),
        };
        WireError::Configuration(vec![problem])
    })?;
    let setup = Setup {
        environment: config.environment.clone(),
        settings: config.settings.clone(),
        catalogue,
    };
    Ok(Provisioner::new(
        Engine::new(journal, Arc::new(registry)),
        setup,
    ))
}

async fn upstreams(config: &Config) -> Result<Upstreams, Problem> {
    let unusable = |error: &dyn std::fmt::Display| Problem {
        code: "configuration.invalid".into(),
        message: error.to_string(),
        remedy: "correct the addresses and certificates in the configuration".into(),
    };
    let http = reqwest_client(&config.trust).map_err(|error| unusable(&error))?;
    let mcp = McpClient::new(
        "gitea-mcp",
        &config.gitea_mcp_url,
        config.gitea_mcp_token.clone(),
        http.clone(),
    );
    let mut api = config.gitea_url.clone();
    api.set_path(&format!("{}/api/v1", api.path().trim_end_matches('/')));
    let rest = HttpClient::new("gitea", api, config.gitea_token.clone(), http);
    let deadlines = Deadlines::default();
    let roots = config.trust.extra_roots_pem.as_deref();
    let github = GitHub::new(
        &config.github_url,
        config.github_token.clone(),
        roots,
        deadlines.call,
    )
    .map_err(|error| unusable(&error))?;
    let kubernetes = Kubernetes::new(config.kubernetes.clone(), deadlines.call)
        .await
        .map_err(|error| unusable(&error))?;
    Ok(Upstreams {
        gitea: Gitea::new(mcp, rest, deadlines),
        github,
        kubernetes,
        mirror: config.mirror.clone(),
        timings: config.timings,
        audit: Arc::new(LogAudit),
    })
}
