//! A sandbox, and the use-cases over it with short times and a journal in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forgeline_gitea::Gitea;
use forgeline_github::GitHub;
use forgeline_kubernetes::{Access, Kubernetes};
use forgeline_provision::{
    Actor, Call, Catalogue, LogAudit, MirrorCredentials, Provisioner, Reachable, RunView, Setup,
    Timings, Upstreams, registry,
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
    pub(crate) scene: Scene,
}

/// What is called, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// `project_create` with the namespace made directly.
    Direct,
    /// `project_create` from a template, with labels, and the namespace in mode `both`.
    TemplateAndGit,
    /// `project_create` with everything of the namespace in a commit.
    Gitops,
    /// `library_create`.
    Library,
}

impl Scene {
    pub(crate) const ALL: [Self; 4] = [
        Self::Direct,
        Self::TemplateAndGit,
        Self::Gitops,
        Self::Library,
    ];

    fn call(self) -> (&'static str, Value) {
        match self {
            Self::Direct | Self::Gitops => ("project_create", json!({"name": "shop"})),
            Self::TemplateAndGit => (
                "project_create",
                json!({"name": "shop", "template": "acme/template", "issue_labels": ["setup", "first"]}),
            ),
            Self::Library => (
                "library_create",
                json!({"name": "shop", "template": "acme/template"}),
            ),
        }
    }

    fn settings(self) -> Value {
        let (cluster, git) = match self {
            Self::Direct => (true, false),
            Self::TemplateAndGit => (true, true),
            Self::Gitops => (false, true),
            Self::Library => (false, false),
        };
        json!({
            "gitea_owner": "acme", "github_owner": "acme",
            "infra_in_cluster": cluster, "infra_in_git": git, "infra_only_in_git": git && !cluster,
            "infra_repository": "acme/infra", "infra_path": "k3s/apps/<name>",
            "infra_policy": {"subjects": ["Group:devs"], "image_pull_secret": "registry"},
        })
    }

    /// Namespaces, and objects in them beside what every cluster makes.
    fn in_cluster(self) -> (usize, usize) {
        match self {
            // Limits, quota, two policies and a RoleBinding; the service account is the cluster's own.
            Self::Direct => (1, 2 + 5),
            Self::TemplateAndGit => (1, 2),
            Self::Gitops | Self::Library => (0, 0),
        }
    }

    fn commits(self) -> bool {
        matches!(self, Self::TemplateAndGit | Self::Gitops)
    }

    fn labels(self) -> &'static [&'static str] {
        match self {
            Self::TemplateAndGit => &["setup", "first"],
            Self::Library => &["library"],
            Self::Direct | Self::Gitops => &[],
        }
    }
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
        other: timing,
        namespace_patience,
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(Scene::Direct).await
    }

    pub(crate) async fn of(scene: Scene) -> Self {
        Self::build(scene, Arc::new(MemoryJournal::new()), QUICK).await
    }

    pub(crate) async fn with_times(scene: Scene, times: Times) -> Self {
        Self::build(scene, Arc::new(MemoryJournal::new()), times).await
    }

    pub(crate) async fn with_journal(scene: Scene, journal: Arc<dyn Journal>) -> Self {
        Self::build(scene, journal, QUICK).await
    }

    async fn build(scene: Scene, journal: Arc<dyn Journal>, times: Times) -> Self {
        let deadlines = Deadlines {
            call: times.deadline,
            sync: times.deadline,
        };
        let sandbox = Sandbox::start(&Options::default()).await.unwrap();
        let template = json!({"what": "repository", "forge": "gitea", "owner": "acme", "name": "template", "user": "acme",
            "template": true, "topics": ["not-copied"], "files": {"src/lib.rs": "// a library", "README.md": "# Template"}});
        sandbox.seed(template).await.unwrap();
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
            timings: timings(times),
            audit: Arc::new(LogAudit),
        });
        let registry = registry(&upstreams);
        let setup = Setup {
            environment: "sandbox".into(),
            settings: scene.settings(),
            catalogue: Catalogue::shipped(&registry).unwrap(),
            doctor: None,
        };
        let provisioner = Provisioner::new(Engine::new(journal, Arc::new(registry)), setup);
        Self {
            sandbox,
            provisioner,
            scene,
        }
    }

    pub(crate) async fn create(&self, options: RunOptions) -> RunView {
        let (workflow, inputs) = self.scene.call();
        let call = Call {
            workflow: workflow.into(),
            inputs: inputs.as_object().cloned().unwrap(),
            options,
        };
        self.provisioner
            .create(&call, &Actor::new("test"), None)
            .await
    }

    /// The world fits the end of the run: everything once and finished, or nothing.
    pub(crate) fn assert_consistent(&self, view: &RunView, what: &str) {
        let what = &format!("{:?}: {what}", self.scene);
        let mut store = self.sandbox.store();
        let mine = |repository: &Value| repository["full_name"] != "acme/template";
        let gitea = store["gitea"].as_array().unwrap();
        store["gitea"] = gitea.iter().filter(|one| mine(one)).cloned().collect();
        let infra = &store["infra"][0]["refs"];
        let branches = infra.as_object().unwrap().len();
        match view.state {
            Some(RunState::Succeeded) => {
                assert_eq!(
                    branches,
                    1 + usize::from(self.scene.commits()),
                    "{what}: {infra}"
                );
                assert_complete(&store, self.scene, what);
            }
            Some(RunState::Compensated) => {
                assert_eq!(branches, 1, "{what}: a branch is left: {infra}");
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

fn assert_complete(store: &Value, scene: Scene, what: &str) {
    let (namespaces, objects) = scene.in_cluster();
    for (part, count) in [("gitea", 1), ("github", 1), ("namespaces", namespaces)] {
        let found = store[part].as_array().unwrap().len();
        assert_eq!(found, count, "{what}: {part}: {store}");
    }
    let (gitea, github) = (&store["gitea"][0], &store["github"][0]);
    for part in ["issues", "mirrors"] {
        let found = gitea[part].as_array().unwrap().len();
        assert_eq!(found, 1, "{what}: {part}: {gitea}");
    }
    assert_eq!(gitea["refs"], github["refs"], "{what}");
    assert_eq!(gitea["labels"], json!(scene.labels()), "{what}: {gitea}");
    let on_issue = gitea["issues"][0]["labels"].as_array().unwrap().len();
    assert_eq!(on_issue, scene.labels().len(), "{what}: {gitea}");
    for repository in [gitea, github] {
        assert_eq!(
            repository["description"], "",
            "{what}: a claim is left: {repository}"
        );
        assert_eq!(repository["archived"], false, "{what}");
        let topics = repository["topics"].as_array().unwrap();
        assert!(topics.contains(&json!("forgeline")), "{what}: {repository}");
        assert!(
            !topics.contains(&json!("not-copied")),
            "{what}: {repository}"
        );
    }
    let found = store["objects"].as_array().unwrap().len();
    assert_eq!(found, objects, "{what}: {store}");
}
