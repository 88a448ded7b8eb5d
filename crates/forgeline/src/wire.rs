//! Connects everything: configuration to clients, clients to steps, steps to engine, engine to use-cases.

mod clients;
mod local;

use std::sync::Arc;

use forgeline_kubernetes::Kubernetes;
use forgeline_provision::{
    Catalogue, Doctor, LogAudit, Parts, Provisioner, Remover, Setup, Timings, Upstreams, registry,
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
                Ok(Some(value)) => Ok(value),
                Ok(None) => Err("there is no such Secret or key".to_owned()),
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
    let whole = whole(&env).await?;
    let journal = SqliteJournal::open(&whole.config.data_dir, what).map_err(WireError::Journal)?;
    whole.provisioner(&env, Arc::new(journal))
}

/// As [`writer`], for a look that journals nothing: it works beside a server.
pub(crate) async fn observer(env: &Env) -> Result<Provisioner, WireError> {
    let env = prepared(env).await;
    let whole = whole(&env).await?;
    let journal = readable(&env)?;
    whole.provisioner(&env, journal)
}

/// As [`writer`], but a journal that cannot be written leaves a server that says so to every call.
pub(crate) async fn server(env: &Env) -> Result<(Provisioner, Option<JournalError>), WireError> {
    let env = prepared(env).await;
    let whole = whole(&env).await?;
    match SqliteJournal::open(&whole.config.data_dir, "forgeline serve") {
        Ok(journal) => Ok((whole.provisioner(&env, Arc::new(journal))?, None)),
        Err(error @ JournalError::Held { .. }) => Err(WireError::Journal(error)),
        Err(error) => {
            let journal = Arc::new(UnavailableJournal::new(error.clone()));
            Ok((whole.provisioner(&env, journal)?, Some(error)))
        }
    }
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
    Doctor::new(parts, local::checks(&env, &config, &clients, listen))
}

/// Every kind of step, to check workflow files against; works without any configuration.
pub(crate) async fn kinds(env: &Env) -> (Registry, Config) {
    let config = Config::read(env);
    let clients = Clients::build(&config).await;
    let upstreams = clients.stand_ins(&config);
    (registry(&Arc::new(upstreams)), config)
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
    let whole = of(config).await?;
    Ok((whole.upstreams, whole.config.settings))
}

/// A configuration without a mistake, and its clients.
struct Whole {
    config: Config,
    clients: Clients,
    upstreams: Arc<Upstreams>,
}

async fn whole(env: &Env) -> Result<Whole, WireError> {
    of(Config::read(env)).await
}

async fn of(config: Config) -> Result<Whole, WireError> {
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
        audit: Arc::new(LogAudit),
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
        let directory = self.config.workflows_dir.as_deref();
        let catalogue = Catalogue::read(&registry, directory).map_err(|error| {
            WireError::Configuration(vec![Problem::new(
                "workflow.invalid",
                format!("workflow files have mistakes:\n{error}"),
                "mend these lines; `forgeline workflow check FILE` looks at one file",
            )])
        })?;
        let parts = parts(env, &self.config, &self.clients);
        let local = local::checks(env, &self.config, &self.clients, None);
        let setup = Setup {
            environment: self.config.environment.clone(),
            settings: self.config.settings.clone(),
            catalogue,
            doctor: Some(Doctor::new(parts, local)),
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
