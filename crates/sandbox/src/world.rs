//! The world that all stand-ins share: users, tokens, repositories, namespaces, faults, the request log.

mod cluster;
mod forge;
mod profile;
mod seed;
mod tokens;
mod view;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

pub(crate) use cluster::Cluster;
pub(crate) use forge::{Forge, Issue, Mirror, Pull, Repository};
pub use profile::Profile;
pub(crate) use tokens::{Credential, Role};

use crate::faults::Faults;

/// The shared world. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
    dir: Arc<PathBuf>,
    pub(crate) latency: Duration,
    pub(crate) profile: Profile,
    /// How many requests hang because a fault was ordered.
    pub(crate) hung: Arc<tokio::sync::watch::Sender<usize>>,
    /// Systems that are to be gone for a while.
    pub(crate) downs: tokio::sync::broadcast::Sender<crate::listening::Down>,
}

pub(crate) struct State {
    pub(crate) tokens: Vec<Credential>,
    pub(crate) organisations: Vec<String>,
    pub(crate) gitea: Forge,
    pub(crate) github: Forge,
    pub(crate) cluster: Cluster,
    pub(crate) faults: Faults,
    pub(crate) log: Vec<Logged>,
    /// The tools that the gitea-mcp server offers. `None`: all.
    pub(crate) gitea_mcp_tools: Option<Vec<String>>,
    /// `[mirror] ENABLED = false`.
    pub(crate) mirrors_disabled: bool,
    /// Moments of the past, and how many hours each put everything before it further back.
    pub(crate) passed: Vec<(jiff::Timestamp, i64)>,
    /// What the infra repository holds at the start, so that views leave it out while nobody changed it.
    pub(crate) infra: Option<u64>,
}

/// A request as the log keeps it; never with its headers or body.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Logged {
    pub(crate) system: &'static str,
    pub(crate) operation: String,
    pub(crate) path: String,
    /// 0 while it is under way, or when the connection broke.
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Value>,
}

impl World {
    pub(crate) fn new(
        dir: &Path,
        latency: Duration,
        profile: Profile,
        tokens: Vec<Credential>,
    ) -> Self {
        let state = State {
            tokens,
            organisations: vec!["acme-org".into()],
            gitea: Forge::default(),
            github: Forge::default(),
            cluster: Cluster::default(),
            faults: Faults::default(),
            log: Vec::new(),
            gitea_mcp_tools: None,
            mirrors_disabled: false,
            passed: Vec::new(),
            infra: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            dir: Arc::new(dir.to_owned()),
            latency,
            profile,
            hung: Arc::new(tokio::sync::watch::channel(0).0),
            downs: tokio::sync::broadcast::channel(64).0,
        }
    }

    /// What stands there from the start: an infra repository with a first commit.
    pub(crate) async fn prepare(&self, owner: &str) -> Result<(), String> {
        let added = self
            .state()
            .gitea
            .add(owner, "infra", "manifests", true, owner);
        let id = added.ok_or("the name is taken")?;
        let dir = self.git_dir("gitea", id);
        crate::git::init(self.root(), &dir).await?;
        let files =
            std::collections::BTreeMap::from([("README.md".to_owned(), "# infra\n".to_owned())]);
        crate::git::commit(&dir, "main", owner, "Initial commit", &files).await?;
        self.state().infra = Some(id);
        Ok(())
    }

    /// The state; never held over an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A time as answers tell it: further back by the hours that have passed since by order.
    pub(crate) fn told(&self, at: Timestamp) -> String {
        let passed = self.state().passed.clone();
        let before = passed.iter().filter(|(moment, _)| at <= *moment);
        let hours: i64 = before.map(|(_, hours)| hours).sum();
        let told = at.checked_sub(jiff::SignedDuration::from_hours(hours));
        // The systems tell whole seconds.
        format!("{:.0}", told.unwrap_or(at))
    }

    /// Where the bare repository of a forge's repository stands.
    pub(crate) fn git_dir(&self, forge: &str, id: u64) -> PathBuf {
        self.dir.join(forge).join(format!("{id}.git"))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.dir
    }
}

/// The time; the systems tell whole seconds of it.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
