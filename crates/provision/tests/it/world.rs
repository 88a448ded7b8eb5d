//! A sandbox, and the use-cases over it with short times and a journal in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forgeline_gitea::Gitea;
use forgeline_github::GitHub;
use forgeline_kubernetes::{Access, Kubernetes};
use forgeline_provision::{
    Actor, Call, Catalogue, LogAudit, MirrorCredentials, Provisioner, RunView, Setup, Timings,
    Upstreams, registry,
};
use forgeline_sandbox::{Options, Sandbox};
use forgeline_step_engine::journal::memory::MemoryJournal;
use forgeline_step_engine::journal::{Journal, RunOptions};
use forgeline_step_engine::{Engine, RunState, Timing};
use forgeline_upstream::http::{HttpClient, Trust, address, reqwest_client};
use forgeline_upstream::mcp::McpClient;
use forgeline_upstream::{Deadlines, Origin, Token, TokenHandle};
use serde_json::{Value, json};

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) provisioner: Provisioner,
}

/// How long everything takes.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) deadline: Duration,
    pub(crate) settle: Duration,
}

/// A machine on which nothing is late.
const QUICK: Times = Times {
    deadline: Duration::from_secs(15),
    settle: Duration::from_millis(10),
};

fn timings(times: Times) -> Timings {
    let timing = Timing {
        settle: times.settle,
        recheck: times.settle * 3,
    };
    let namespace_patience = Duration::from_secs(2);
    Timings {
        gitea: timing,
        github: timing,
        kubernetes: timing,
        namespace_patience,
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::build(Arc::new(MemoryJournal::new()), QUICK).await
    }

    pub(crate) async fn with_times(times: Times) -> Self {
        Self::build(Arc::new(MemoryJournal::new()), times).await
    }

    pub(crate) async fn with_journal(journal: Arc<dyn Journal>) -> Self {
        Self::build(journal, QUICK).await
    }

    async fn build(journal: Arc<dyn Journal>, times: Times) -> Self {
        let deadlines = Deadlines {
            call: times.deadline,
            sync: times.deadline,
        };
        let sandbox = Sandbox::start(&Options::default()).await.unwrap();
        let exports: BTreeMap<&str, String> = sandbox.exports().into_iter().collect();
        let token = |name: &str| {
            TokenHandle::fixed(Token::new(&exports[name], Origin::variable(name)).unwrap())
        };
        let url = |name: &str| address(name, &exports[name]).unwrap();
        let http = reqwest_client(&Trust::default()).unwrap();
        let mut api = url("GITEA_URL");
        api.set_path("/api/v1");
        let mcp = McpClient::new(
            "gitea-mcp",
            &url("GITEA_MCP_URL"),
            token("GITEA_MCP_TOKEN"),
            http.clone(),
        );
        let access = Access::Endpoint {
            url: url("KUBE_API_URL"),
            token: token("KUBE_TOKEN"),
            authority_pem: None,
        };
        let upstreams = Arc::new(Upstreams {
            gitea: Gitea::new(
                mcp,
                HttpClient::new("gitea", api, token("GITEA_TOKEN"), http),
                deadlines,
            ),
            github: GitHub::new(
                &url("GITHUB_API_URL"),
                token("GITHUB_PAT"),
                None,
                deadlines.call,
            )
            .unwrap(),
            kubernetes: Kubernetes::new(access, deadlines.call).await.unwrap(),
            mirror: MirrorCredentials {
                username: "acme".into(),
                token: token("GITHUB_MIRROR_TOKEN"),
            },
            timings: timings(times),
            audit: Arc::new(LogAudit),
        });
        let registry = registry(&upstreams);
        let setup = Setup {
            environment: "sandbox".into(),
            settings: json!({"gitea_owner": "acme", "github_owner": "acme"}),
            catalogue: Catalogue::shipped(&registry).unwrap(),
        };
        let provisioner = Provisioner::new(Engine::new(journal, Arc::new(registry)), setup);
        Self {
            sandbox,
            provisioner,
        }
    }

    pub(crate) async fn create(&self, options: RunOptions) -> RunView {
        let inputs = json!({"name": "shop"}).as_object().cloned().unwrap();
        let call = Call {
            workflow: "project_create".into(),
            inputs,
            options,
        };
        self.provisioner
            .create(&call, &Actor::new("test"), None)
            .await
    }

    /// The world fits the end of the run: everything once and finished, or nothing.
    pub(crate) fn assert_consistent(&self, view: &RunView, what: &str) {
        let store = self.sandbox.store();
        match view.state {
            Some(RunState::Succeeded) => assert_complete(&store, what),
            Some(RunState::Compensated) => {
                for part in ["gitea", "github", "namespaces", "objects"] {
                    assert_eq!(
                        store[part],
                        json!([]),
                        "{what}: {part} is left after {:?}",
                        view.error
                    );
                }
            }
            other => panic!(
                "{what}: ended {other:?}: {:?} {:?}",
                view.error, view.left_behind
            ),
        }
    }
}

fn assert_complete(store: &Value, what: &str) {
    for part in ["gitea", "github", "namespaces"] {
        assert_eq!(
            store[part].as_array().unwrap().len(),
            1,
            "{what}: {part}: {store}"
        );
    }
    let (gitea, github) = (&store["gitea"][0], &store["github"][0]);
    assert_eq!(
        gitea["issues"].as_array().unwrap().len(),
        1,
        "{what}: {gitea}"
    );
    assert_eq!(
        gitea["mirrors"].as_array().unwrap().len(),
        1,
        "{what}: {gitea}"
    );
    assert_eq!(gitea["refs"], github["refs"], "{what}");
    for repository in [gitea, github] {
        assert_eq!(
            repository["description"], "",
            "{what}: a claim is left: {repository}"
        );
        assert_eq!(repository["archived"], false, "{what}");
        assert!(
            repository["topics"]
                .as_array()
                .unwrap()
                .contains(&json!("forgeline")),
            "{what}: {repository}"
        );
    }
    assert_eq!(
        store["objects"].as_array().unwrap().len(),
        6,
        "{what}: {store}"
    );
}
