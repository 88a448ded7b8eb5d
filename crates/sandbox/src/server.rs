//! Starts all stand-ins and says how to reach them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::faults::FaultOrder;
use crate::gate::{Gate, pass};
use crate::gitea::Gitea;
use crate::github::GitHub;
use crate::listening::{Port, serve};
use crate::world::{Credential, Profile, Role, World};

/// How a sandbox is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Added to every request.
    pub latency: Duration,
    /// The port of the first stand-in on 127.0.0.1; the others follow. `None`: any free ports.
    pub first_port: Option<u16>,
    /// The version of Gitea.
    pub gitea: Profile,
    /// Repositories without git: a mirror's sync copies refs, and nothing can be cloned. Much faster.
    pub without_git: bool,
}

/// Why a sandbox did not start.
#[derive(Debug)]
pub struct StartError(String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the sandbox did not start: {}", self.0)
    }
}

impl std::error::Error for StartError {}

/// A running sandbox; it ends, and everything in it is gone, when this is dropped.
pub struct Sandbox {
    world: World,
    addresses: Addresses,
    control_bearer: String,
    stop: CancellationToken,
    dir: tempfile::TempDir,
}

struct Addresses {
    gitea_mcp: SocketAddr,
    gitea: SocketAddr,
    github: SocketAddr,
    kubernetes: SocketAddr,
    control: SocketAddr,
}

/// The user behind the sandbox's main tokens, and the default owner on both forges.
const USER: &str = "acme";

impl Sandbox {
    /// Starts all stand-ins on 127.0.0.1. Needs `git`.
    ///
    /// # Errors
    /// No git, no temporary directory, or a port that is taken.
    pub async fn start(options: &Options) -> Result<Self, StartError> {
        let failed = |why: &dyn std::fmt::Display| StartError(why.to_string());
        let dir = tempfile::Builder::new()
            .prefix("forgeline-sandbox-")
            .tempdir()
            .map_err(|error| failed(&error))?;
        crate::git::prepare(dir.path(), options.without_git)
            .await
            .map_err(|why| failed(&why))?;
        let tokens = Role::ALL.map(|role| {
            let user = match role {
                Role::Someone => "someone",
                Role::Kubernetes => "system:serviceaccount:forgeline:forgeline",
                Role::GiteaMcp | Role::Gitea | Role::Github | Role::GithubMirror => USER,
            };
            Credential::new(role, random(role.name()), user)
        });
        let world = World::new(dir.path(), options.latency, options.gitea, tokens.to_vec());
        world.prepare(USER).await.map_err(|why| failed(&why))?;
        let stop = CancellationToken::new();
        let mut listeners = Vec::new();
        for index in 0..5 {
            let port = options.first_port.map_or(0, |first| first + index);
            let taken = Port::take(port);
            listeners.push(taken.map_err(|error| failed(&format!("port {port}: {error}")))?);
        }
        let mut addresses = listeners
            .iter()
            .map(|listener| listener.address().map_err(|error| failed(&error)));
        let mut next = || {
            addresses
                .next()
                .unwrap_or_else(|| Err(StartError("no address".into())))
        };
        let addresses = Addresses {
            gitea_mcp: next()?,
            gitea: next()?,
            github: next()?,
            kubernetes: next()?,
            control: next()?,
        };
        let control_bearer = random("control");
        let routers = routers(&world, &addresses, &control_bearer);
        for (port, (system, router)) in listeners.into_iter().zip(routers) {
            let served = serve(system, port, router, stop.clone(), world.downs.clone());
            tokio::spawn(async move {
                if let Err(error) = served.await {
                    tracing::error!(%error, system, "a stand-in stopped");
                }
            });
        }
        Ok(Self {
            world,
            addresses,
            control_bearer,
            stop,
            dir,
        })
    }

    /// The name and value of every environment variable that a program needs against this sandbox.
    pub fn exports(&self) -> Vec<(&'static str, String)> {
        let url = |address: &SocketAddr| format!("http://{address}");
        vec![
            (
                "GITEA_MCP_URL",
                format!("{}/mcp", url(&self.addresses.gitea_mcp)),
            ),
            ("GITEA_MCP_TOKEN", self.token(Role::GiteaMcp)),
            ("GITEA_URL", url(&self.addresses.gitea)),
            ("GITEA_TOKEN", self.token(Role::Gitea)),
            ("GITHUB_API_URL", url(&self.addresses.github)),
            ("GITHUB_PAT", self.token(Role::Github)),
            ("GITHUB_MIRROR_TOKEN", self.token(Role::GithubMirror)),
            ("GITHUB_MIRROR_USERNAME", USER.to_owned()),
            ("KUBE_API_URL", url(&self.addresses.kubernetes)),
            ("KUBE_TOKEN", self.token(Role::Kubernetes)),
            ("FORGELINE_GITEA_OWNER", USER.to_owned()),
            ("FORGELINE_GITHUB_OWNER", USER.to_owned()),
            ("FORGELINE_INFRA_REPOSITORY", format!("{USER}/infra")),
            ("FORGELINE_CLEANUP_OWNERS", USER.to_owned()),
            ("FORGELINE_ENVIRONMENT", "sandbox".to_owned()),
        ]
    }

    /// The name and value of the variables for the control API and for a second user.
    pub fn control_exports(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "FORGELINE_SANDBOX_URL",
                format!("http://{}/_sandbox", self.addresses.control),
            ),
            ("FORGELINE_SANDBOX_TOKEN", self.control_bearer.clone()),
            ("FORGELINE_SANDBOX_SECOND_TOKEN", self.token(Role::Someone)),
        ]
    }

    /// A directory of its own for a program's data, gone with the sandbox.
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// The whole world as JSON; as `GET /_sandbox/store`.
    pub fn store(&self) -> Value {
        self.world.view()
    }

    /// The request log as JSON; as `GET /_sandbox/requests`.
    pub fn requests(&self) -> Value {
        serde_json::to_value(&self.world.state().log).unwrap_or_default()
    }

    /// Orders a fault; as `POST /_sandbox/faults`.
    pub fn order(&self, order: FaultOrder) {
        self.world.state().faults.order(order);
    }

    /// The orders and how often each fired; as `GET /_sandbox/faults`.
    pub fn faults(&self) -> Value {
        self.world.state().faults.view()
    }

    /// How many requests were left hanging by ordered faults so far, with or without their effect.
    pub fn hangs(&self) -> usize {
        *self.world.hung.borrow()
    }

    /// Waits until so many requests were left hanging.
    pub async fn hung(&self, hangs: usize) {
        let mut hung = self.world.hung.subscribe();
        // The sender lives as long as the world.
        drop(hung.wait_for(|hung| *hung >= hangs).await);
    }

    /// Somebody else acts; as `POST /_sandbox/seed`.
    ///
    /// # Errors
    /// What does not fit.
    pub async fn seed(&self, seed: Value) -> Result<Value, String> {
        self.world.seed(seed).await
    }

    fn token(&self, role: Role) -> String {
        let state = self.world.state();
        state
            .tokens
            .iter()
            .find(|token| token.role == role)
            .map(|token| token.value.clone())
            .unwrap_or_default()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

fn routers(
    world: &World,
    addresses: &Addresses,
    control_bearer: &str,
) -> [(&'static str, Router); 5] {
    let gitea = Gitea {
        world: world.clone(),
        base: format!("http://{}", addresses.gitea),
    };
    let github = GitHub {
        world: world.clone(),
        base: format!("http://{}", addresses.github),
    };
    let gated = |system: &'static str, router: Router| {
        let gate = Gate {
            system,
            world: world.clone(),
        };
        let router = router.layer(axum::middleware::from_fn_with_state(gate, pass));
        (system, router)
    };
    [
        gated("gitea_mcp", crate::gitea_mcp::router(gitea.clone())),
        gated("gitea", crate::gitea::router(gitea)),
        gated("github", crate::github::router(github)),
        gated("kubernetes", crate::kubernetes::router(world.clone())),
        (
            "control",
            crate::control::router(Control {
                world: world.clone(),
                bearer: control_bearer.to_owned(),
            }),
        ),
    ]
}

/// A throwaway secret: good enough for a world that ends with the process.
fn random(name: &str) -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("sandbox_{name}_{:016x}{:016x}", number(), number())
}
