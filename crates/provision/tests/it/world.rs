//! A sandbox, and the use-cases over it with short times and a journal in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forgeline_gitea::Gitea;
use forgeline_github::GitHub;
use forgeline_kubernetes::{Access, Kubernetes};
use forgeline_provision::{
    Actor, Call, Catalogue, LogAudit, MirrorCredentials, Provisioner, Reachable, Remover, Rules,
    RunView, Setup, Timings, Upstreams, registry,
};
use forgeline_sandbox::{Options, Sandbox};
use forgeline_step_engine::journal::RunOptions;
use forgeline_step_engine::journal::memory::MemoryJournal;
use forgeline_step_engine::{Engine, Timing};
use forgeline_upstream::http::{HttpClient, Trust, address, reqwest_client};
use forgeline_upstream::mcp::McpClient;
use forgeline_upstream::{Deadlines, FullName, Origin, Token, TokenHandle};
use serde_json::json;

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) provisioner: Provisioner,
}

/// Nothing is late on this machine.
const TIMING: Timing = Timing {
    settle: Duration::from_millis(10),
    recheck: Duration::from_millis(30),
};

fn timings() -> Timings {
    Timings {
        gitea: TIMING,
        github: TIMING,
        kubernetes: TIMING,
        other: TIMING,
        namespace_patience: Duration::from_secs(2),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&Options::default(), Duration::from_secs(15)).await
    }

    /// A world of this kind, whose upstreams may take so long to answer.
    pub(crate) async fn with(options: &Options, call: Duration) -> Self {
        let deadlines = Deadlines { call, sync: call };
        let sandbox = Sandbox::start(options).await.unwrap();
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
                Some(HttpClient::new("gitea", api, token("GITEA_TOKEN"), http)),
                None,
                deadlines,
            ),
            github: GitHub::new(
                &url("GITHUB_API_URL"),
                token("GITHUB_PAT"),
                None,
                deadlines.call,
            )
            .unwrap(),
            kubernetes: Some(Kubernetes::new(access, deadlines.call).await.unwrap()),
            reachable: Reachable::default(),
            mirror: MirrorCredentials {
                username: "acme".into(),
                token: token("GITHUB_MIRROR_TOKEN"),
            },
            timings: timings(),
            audit: Arc::new(LogAudit),
        });
        let registry = registry(&upstreams);
        let setup = Setup {
            environment: "sandbox".into(),
            settings: json!({
                "gitea_owner": "acme", "github_owner": "acme",
                "infra_in_cluster": true, "infra_in_git": false, "infra_only_in_git": false,
                "infra_policy": {},
            }),
            catalogue: Catalogue::shipped(&registry).unwrap(),
            doctor: None,
            remover: Some(Remover {
                upstreams: Arc::clone(&upstreams),
                rules: Rules {
                    owners: vec!["acme".into()],
                    keep: vec!["*-precious".into()],
                },
                infra: FullName::new("acme", "infra"),
            }),
            longest_ttl: None,
        };
        let provisioner = Provisioner::new(
            Engine::new(Arc::new(MemoryJournal::new()), Arc::new(registry)),
            setup,
        );
        Self {
            sandbox,
            provisioner,
        }
    }

    pub(crate) async fn create(&self, options: RunOptions) -> RunView {
        let inputs = json!({"name": "shop"});
        let call = Call {
            workflow: "project_create".into(),
            inputs: inputs.as_object().cloned().unwrap(),
            options,
        };
        self.provisioner
            .create(&call, &Actor::new("test"), None)
            .await
    }
}
