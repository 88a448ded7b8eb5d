//! A sandbox of its own for each schedule, and engines over it with short times.

use std::sync::Arc;
use std::time::Duration;

use forgeline_provision::{Catalogue, Provisioner, RunView, Setup, Timings, Upstreams, registry};
use forgeline_sandbox::{Options, Sandbox};
use forgeline_step_engine::journal::{Journal, RunOptions, RunQuery};
use forgeline_step_engine::{Engine, Request, RunId, Timing};
use forgeline_upstream::Deadlines;
use serde_json::{Value, json};

use super::scene::{PROJECT, Scene, TEMPLATE};
use super::trouble::Around;
use crate::env::Env;
use crate::wire;

/// How long calls may take, and how long an upstream needs before a look can be trusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) deadline: Duration,
    pub(super) settle: Duration,
    pub(super) recheck: Duration,
}

impl Times {
    /// Nothing is late.
    pub(super) const QUICK: Self = Self {
        deadline: Duration::from_secs(15),
        settle: Duration::from_millis(10),
        recheck: Duration::from_millis(30),
    };
    /// Answers may never come, and effects may come late.
    pub(super) const PATIENT: Self = Self {
        deadline: Duration::from_millis(600),
        settle: Duration::from_millis(800),
        recheck: Duration::from_millis(3200),
    };

    fn timings(self) -> Timings {
        let timing = Timing {
            settle: self.settle,
            recheck: self.recheck,
        };
        Timings {
            gitea: timing,
            github: timing,
            kubernetes: timing,
            other: timing,
            namespace_patience: Duration::from_secs(2),
        }
    }
}

/// A world that one schedule is played in.
pub(super) struct World {
    pub(super) sandbox: Sandbox,
    pub(super) scene: Scene,
    env: Env,
    times: Times,
}

/// The program over a world: what a process is.
pub(super) struct Process {
    pub(super) provisioner: Provisioner,
    settings: Value,
}

impl World {
    /// A fresh world. `real_git`: repositories that git itself serves.
    pub(super) async fn new(scene: &Scene, times: Times, real_git: bool) -> Result<Self, String> {
        let options = Options {
            without_git: !real_git,
            ..Options::default()
        };
        let sandbox = Sandbox::start(&options)
            .await
            .map_err(|error| error.to_string())?;
        for seed in others() {
            sandbox.seed(seed).await?;
        }
        let mode = ("FORGELINE_INFRA_MODE", scene.infra.to_owned());
        let exports = sandbox.exports().into_iter().chain([mode]).collect();
        let env = Env::of_sandbox(exports, &sandbox.data_dir(), &Env::default());
        Ok(Self {
            sandbox,
            scene: scene.clone(),
            env,
            times,
        })
    }

    /// The environment of a program in this world.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.env.variables()
    }

    /// What a process needs to reach this world.
    pub(super) async fn upstreams(&self) -> Result<(Arc<Upstreams>, Value), String> {
        let deadlines = Deadlines {
            call: self.times.deadline,
            sync: self.times.deadline,
        };
        wire::trial(&self.env, self.times.timings(), deadlines)
            .await
            .map_err(|_| "the sandbox's own configuration cannot be used".to_owned())
    }

    /// A process over this journal. `around`: what happens around its steps.
    pub(super) async fn process(
        &self,
        journal: Arc<dyn Journal>,
        around: Option<&Arc<Around>>,
    ) -> Result<Process, String> {
        let (upstreams, settings) = self.upstreams().await?;
        let registry = registry(&upstreams);
        let registry = match around {
            Some(around) => around.wrap(&registry),
            None => registry,
        };
        let setup = Setup {
            environment: "sandbox".into(),
            settings: settings.clone(),
            catalogue: Catalogue::none(),
            doctor: None,
            remover: None,
            longest_ttl: None,
        };
        let engine = Engine::new(journal, Arc::new(registry));
        Ok(Process {
            provisioner: Provisioner::new(engine, setup),
            settings,
        })
    }

    /// The scene's call.
    pub(super) fn request(&self, process: &Process) -> Request {
        Request {
            workflow: self.scene.workflow.clone(),
            inputs: self.scene.inputs.clone(),
            settings: process.settings.clone(),
            subject: PROJECT.into(),
            options: RunOptions::default(),
            caller: "selftest".into(),
        }
    }

    /// What stands in this world now, with everything by which two equal worlds differ named alike.
    pub(super) async fn store(&self, runs: &[RunId]) -> Value {
        let addresses = self.sandbox.exports();
        super::oracle::normalised(self.sandbox.store(), runs, &addresses)
    }
}

impl Process {
    pub(super) fn engine(&self) -> &Engine {
        self.provisioner.engine()
    }

    /// Begins the run and waits until nothing drives it. `None`: it was not admitted, or the journal refused.
    pub(super) async fn run(&self, world: &World) -> Option<RunId> {
        let admission = self.engine().start(world.request(self)).await.ok()?;
        let run = admission.led_to()?.clone();
        self.engine().wait(&run, None).await;
        Some(run)
    }

    /// Takes up what an earlier process left, and waits until nothing is driven.
    pub(super) async fn resume(&self) -> Result<Vec<RunId>, String> {
        let failed = |error: forgeline_step_engine::EngineError| error.to_string();
        self.engine().resume_all().await.map_err(failed)?;
        let rows = self
            .engine()
            .runs(&RunQuery::default())
            .await
            .map_err(failed)?;
        let runs: Vec<RunId> = rows.into_iter().map(|row| row.run_id).collect();
        for run in &runs {
            self.engine().wait(run, None).await;
        }
        Ok(runs)
    }

    /// Waits until no run owes a last look any more.
    pub(super) async fn quiet(&self) -> Result<(), String> {
        let mut events = self.engine().events();
        let owing = RunQuery {
            owing: true,
            ..RunQuery::default()
        };
        loop {
            let rows = self.engine().runs(&owing).await;
            let rows = rows.map_err(|error| error.to_string())?;
            // A stuck run owes nothing before somebody has decided.
            if !rows.iter().any(|row| row.state.is_terminal()) {
                return Ok(());
            }
            // A record, or its loss, is a reason to look again.
            drop(events.recv().await);
        }
    }

    pub(super) async fn view(&self, run: &RunId) -> RunView {
        self.provisioner
            .status(None, Some(run.as_str()), None)
            .await
    }
}

/// What belongs to others, and is the same after every schedule.
fn others() -> Vec<Value> {
    let (owner, name) = TEMPLATE.split_once('/').unwrap_or(("acme", "template"));
    vec![
        json!({"what": "repository", "forge": "gitea", "owner": owner, "name": name, "user": owner, "template": true,
            "topics": ["not-copied"], "files": {"src/lib.rs": "// a library", "README.md": "# Template"}}),
        json!({"what": "repository", "forge": "gitea", "owner": "someone", "name": PROJECT, "files": {"a": "b"}}),
        json!({"what": "repository", "forge": "github", "owner": "someone", "name": PROJECT, "files": {"a": "c"}}),
        json!({"what": "namespace", "name": "other"}),
    ]
}
