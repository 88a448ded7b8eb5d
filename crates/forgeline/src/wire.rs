//! Connects everything: configuration to clients, clients to steps, steps to engine, engine to use-cases.

pub(crate) mod callers;
mod clients;
pub(crate) mod keeping;
mod local;
mod watching;

use std::sync::Arc;

use forgeline_auth::Scope;
use forgeline_auth::audit::AuditLog;
use forgeline_kubernetes::{Kubernetes, SecretKey};
use forgeline_mcp_server::Server;
use forgeline_provision::{
    AuditSink, Catalogue, Doctor, LogAudit, Parts, Provisioner, Remover, Setup, Timings, Upstreams,
    registry,
};
use forgeline_step_engine::journal::memory::MemoryJournal;
use forgeline_step_engine::journal::sqlite::SqliteJournal;
use forgeline_step_engine::journal::unavailable::UnavailableJournal;
use forgeline_step_engine::journal::{Journal, JournalError};
use forgeline_step_engine::{Engine, Registry};
use forgeline_upstream::Deadlines;
use serde_json::{Value, json};

use crate::config::{Config, Problem};
use crate::env::Env;
use clients::Clients;

/// Why nothing could be connected.
pub(crate) enum WireError {
    /// The configuration cannot be used.
    Configuration(Vec<Problem>),
    /// The journal cannot be used.
    Journal(JournalError),
}

/// The settings with the Secrets of the cluster that the configuration file refers to.
pub(crate) async fn prepared(env: &Env) -> Env {
    let mut env = env.clone();
    let wanted = env.wanted_from_cluster();
    if wanted.is_empty() {
        return env;
    }
    let access = Config::read(&env).kubernetes;
    let cluster = match access {
        Some(access) => Kubernetes::new(access, Deadlines::default().call)
            .await
            .map_err(|error| error.to_string()),
        None => Err("no cluster is configured".to_owned()),
    };
    for place in wanted {
        let value = match &cluster {
            Ok(cluster) => match cluster.secret_key(&place.0, &place.1, &place.2).await {
                Ok(SecretKey::Text(value)) => Ok(value),
                Ok(SecretKey::NoText) => Err(format!("the key {} holds no text", place.2)),
                Ok(SecretKey::NoKey(keys)) => Err(format!(
                    "the Secret has no key {}; it has {}",
                    place.2,
                    if keys.is_empty() {
                        "none".to_owned()
                    } else {
                        keys.join(", ")
                    }
                )),
                Ok(SecretKey::NoSecret) => {
                    Err(format!("there is no Secret {}/{}", place.0, place.1))
                }
                Err(error) => Err(error.to_string()),
            },
            Err(why) => Err(why.clone()),
        };
        env.fetched(place, value);
    }
    env
}

/// The use-cases for a command that writes. `what` is what others are told about the holder of the journal.
pub(crate) async fn writer(env: &Env, what: &str) -> Result<Provisioner, WireError> {
    let env = prepared(env).await;
    keeping::make_fingerprint_key(&env);
    let (whole, _) = audited(&env).await?;
    let journal = SqliteJournal::open(&whole.config.data_dir, what).map_err(WireError::Journal)?;
    whole.provisioner(&env, Arc::new(journal))
}

/// As [`writer`], for a look that journals nothing: it works beside a server.
pub(crate) async fn observer(env: &Env) -> Result<Provisioner, WireError> {
    let env = prepared(env).await;
    let (whole, _) = audited(&env).await?;
    let journal = readable(&env)?;
    whole.provisioner(&env, journal)
}

/// As [`writer`], but a journal that cannot be written leaves a server that says so to every call.
///
/// `env` must be [`prepared`].
pub(crate) async fn server(env: &Env) -> Result<Serving, WireError> {
    keeping::make_fingerprint_key(env);
    let (whole, audit) = audited(env).await?;
    let (provisioner, broken) = match SqliteJournal::open(&whole.config.data_dir, "forgeline serve")
    {
        Ok(journal) => (whole.provisioner(env, Arc::new(journal))?, None),
        Err(error @ JournalError::Held { .. }) => return Err(WireError::Journal(error)),
        Err(error) => {
            let journal = Arc::new(UnavailableJournal::new(error.clone()));
            (whole.provisioner(env, journal)?, Some(error))
        }
    };
    watching::begin(env, whole.upstreams.kubernetes.as_ref());
    Ok(Serving {
        provisioner,
        audit,
        broken,
    })
}

/// What a server is made of.
pub(crate) struct Serving {
    pub(crate) provisioner: Provisioner,
    pub(crate) audit: AuditLog,
    /// Why the journal cannot be used. `None`: it can.
    pub(crate) broken: Option<JournalError>,
}

/// The use-cases for a command that only looks into the journal; works beside a server and needs no upstream.
pub(crate) fn reader(env: &Env) -> Result<Provisioner, WireError> {
    let driven_elsewhere = SqliteJournal::holder(&env.data_dir()).is_some();
    let engine = Engine::reader(readable(env)?, Arc::new(Registry::new()), driven_elsewhere);
    let setup = Setup {
        environment: env.environment().to_owned(),
        settings: json!({}),
        catalogue: Catalogue::none(),
        doctor: None,
        remover: None,
        longest_ttl: None,
    };
    Ok(Provisioner::new(engine, setup))
}

fn readable(env: &Env) -> Result<Arc<dyn Journal>, WireError> {
    let opened = SqliteJournal::open_for_reading(&env.data_dir()).map_err(WireError::Journal)?;
    Ok(match opened {
        Some(journal) => Arc::new(journal),
        None => Arc::new(MemoryJournal::new()),
    })
}

/// A doctor over whatever the configuration gives; what is missing is among its findings. `listen`: also look whether
/// a server could listen there.
pub(crate) async fn doctor(env: &Env, listen: Option<String>) -> Doctor {
    let env = prepared(env).await;
    let config = Config::read(&env);
    let clients = Clients::build(&config).await;
    let parts = parts(&env, &config, &clients);
    let local = local::checks(&env, &config, &clients, listen);
    local::with_issuer(Doctor::new(parts, local), &env)
}

/// Every kind of step, to check workflow files against; works without any configuration.
pub(crate) async fn kinds(env: &Env) -> (Registry, Config) {
    let config = Config::read(env);
    let clients = Clients::build(&config).await;
    let upstreams = clients.stand_ins(&config);
    (registry(&Arc::new(upstreams)), config)
}

/// The tools of a server with this configuration and the scopes that they need; works without any upstream.
pub(crate) async fn tools(env: &Env) -> Result<Vec<(String, Scope)>, WireError> {
    let (registry, config) = kinds(env).await;
    let catalogue = catalogue(&registry, &config)?;
    Ok(Server::tools(&idle(env, catalogue, registry)))
}

/// The use-cases over an empty journal: nothing is run with them.
fn idle(env: &Env, catalogue: Catalogue, registry: Registry) -> Provisioner {
    let setup = Setup {
        environment: env.environment().to_owned(),
        settings: json!({}),
        catalogue,
        doctor: None,
        remover: None,
        longest_ttl: None,
    };
    let engine = Engine::reader(Arc::new(MemoryJournal::new()), Arc::new(registry), false);
    Provisioner::new(engine, setup)
}

fn catalogue(registry: &Registry, config: &Config) -> Result<Catalogue, WireError> {
    Catalogue::read(registry, config.workflows_dir.as_deref()).map_err(|error| {
        WireError::Configuration(vec![Problem::new(
            "workflow.invalid",
            format!("workflow files have mistakes:\n{error}"),
            "mend these lines; `forgeline workflow check FILE` looks at one file",
        )])
    })
}

/// The upstreams of a configuration with other times, and the settings of its workflows; nothing is asked of them yet.
pub(crate) async fn trial(
    env: &Env,
    timings: Timings,
    deadlines: Deadlines,
) -> Result<(Arc<Upstreams>, Value), WireError> {
    let mut config = Config::read(env);
    config.timings = timings;
    config.deadlines = deadlines;
    let whole = of(config, Arc::new(LogAudit)).await?;
    Ok((whole.upstreams, whole.config.settings))
}

/// A configuration without a mistake, and its clients.
struct Whole {
    config: Config,
    clients: Clients,
    upstreams: Arc<Upstreams>,
}

/// A configuration without a mistake whose destructive calls go to the audit log.
async fn audited(env: &Env) -> Result<(Whole, AuditLog), WireError> {
    let log = keeping::audit(env);
    let sink: Arc<dyn AuditSink> = match &log {
        Ok(log) => Arc::new(keeping::Recorded(log.clone())),
        Err(_) => Arc::new(LogAudit),
    };
    let mut config = Config::read(env);
    config
        .problems
        .extend(log.as_ref().err().cloned().unwrap_or_default());
    let whole = of(config, sink).await?;
    match log {
        Ok(log) => Ok((whole, log)),
        Err(problems) => Err(WireError::Configuration(problems)),
    }
}

async fn of(config: Config, audit: Arc<dyn AuditSink>) -> Result<Whole, WireError> {
    if !config.problems.is_empty() {
        return Err(WireError::Configuration(config.problems));
    }
    let clients = Clients::build(&config).await;
    if !clients.problems.is_empty() {
        return Err(WireError::Configuration(clients.problems));
    }
    let missing = || {
        let problem = Problem::new(
            "configuration.invalid",
            "the configuration is not whole",
            "look at `forgeline doctor`",
        );
        WireError::Configuration(vec![problem])
    };
    let upstreams = Upstreams {
        gitea: clients.gitea.clone().ok_or_else(missing)?,
        github: clients.github.clone().ok_or_else(missing)?,
        kubernetes: clients.kubernetes.clone(),
        reachable: clients.reachable.clone(),
        mirror: config.mirror.clone().ok_or_else(missing)?,
        timings: config.timings,
        audit,
    };
    Ok(Whole {
        config,
        clients,
        upstreams: Arc::new(upstreams),
    })
}

impl Whole {
    fn provisioner(&self, env: &Env, journal: Arc<dyn Journal>) -> Result<Provisioner, WireError> {
        let registry = registry(&self.upstreams);
        let catalogue = catalogue(&registry, &self.config)?;
        let parts = parts(env, &self.config, &self.clients);
        let local = local::checks(env, &self.config, &self.clients, None);
        let setup = Setup {
            environment: self.config.environment.clone(),
            settings: self.config.settings.clone(),
            catalogue,
            doctor: Some(local::with_issuer(Doctor::new(parts, local), env)),
            remover: Some(Remover {
                upstreams: Arc::new(self.upstreams.unhurried()),
                rules: self.config.cleanup.clone(),
                infra: self
                    .config
                    .infra
                    .repository
                    .clone()
                    .filter(|_| self.config.infra.mode.needs_repository()),
            }),
            longest_ttl: Some(self.config.longest_ttl),
        };
        Ok(Provisioner::new(
            Engine::new(journal, Arc::new(registry)),
            setup,
        ))
    }
}

fn parts(env: &Env, config: &Config, clients: &Clients) -> Parts {
    let owner = |name: &str| env.filled(name).map(str::to_owned);
    Parts {
        gitea: clients.gitea.clone(),
        github: clients.github.clone(),
        mirror: clients.mirror.clone(),
        mirror_is_main: clients.mirror_is_main,
        kubernetes: clients.kubernetes.clone(),
        needs_cluster: config.infra.mode.needs_cluster(),
        infra_repository: config
            .infra
            .repository
            .clone()
            .filter(|_| config.infra.mode.needs_repository()),
        infra_policy: config.settings["infra_policy"].clone(),
        gitea_owner: owner("FORGELINE_GITEA_OWNER"),
        github_owner: owner("FORGELINE_GITHUB_OWNER"),
    }
}
