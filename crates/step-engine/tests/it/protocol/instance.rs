//! An instance of the program: one journal, and the process that writes it now.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use forgeline_step_engine::fault::CrashPlan;
use forgeline_step_engine::journal::memory::MemoryJournal;
use forgeline_step_engine::journal::{Admission, Journal, RunOptions, RunQuery, RunRow};
use forgeline_step_engine::{Engine, Entry, OnFailure, Record, Request, RunId, Workflow};
use serde_json::json;

use super::play::Mode;
use super::steps::{WORKFLOW, registry};
use super::upstream::Upstream;

/// One journal and the process that writes it now.
pub(crate) struct Instance {
    upstream: Upstream,
    journal: Mutex<Arc<MemoryJournal>>,
    engine: Mutex<Engine>,
    /// The end of its first process.
    crash: CrashPlan,
    revived: AtomicBool,
    /// The first thing that the second process hears is a cancel.
    cancelled_after: bool,
    /// The requests until the first process ended.
    requests_before: Mutex<usize>,
}

impl Instance {
    /// An instance whose first process ends where the plan says.
    pub(crate) fn new(upstream: &Upstream, crash: CrashPlan, cancelled_after: bool) -> Self {
        let journal = Arc::new(MemoryJournal::on_tokio_clock(crash.clone()));
        let upstream = upstream.seen_by(crash.clone());
        let engine = Mutex::new(engine(&upstream, &journal));
        Self {
            upstream,
            journal: Mutex::new(journal),
            engine,
            crash,
            revived: AtomicBool::new(false),
            cancelled_after,
            requests_before: Mutex::default(),
        }
    }

    pub(crate) fn requests_before(&self) -> usize {
        *self.requests_before.lock().unwrap()
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine.lock().unwrap().clone()
    }

    pub(crate) fn journal(&self) -> Arc<MemoryJournal> {
        Arc::clone(&self.journal.lock().unwrap())
    }

    /// When the process has ended another one opens the same journal.
    pub(crate) async fn revive(&self) {
        let ended = self.crash.fired() && !self.revived.swap(true, Ordering::SeqCst);
        if !ended {
            return;
        }
        *self.requests_before.lock().unwrap() = self.upstream.log().len();
        self.engine().stop().await;
        let journal = Arc::new(self.journal().reopened());
        let engine = engine(&self.upstream.seen_by(CrashPlan::default()), &journal);
        *self.journal.lock().unwrap() = journal;
        *self.engine.lock().unwrap() = engine.clone();
        for row in self.rows().await {
            if self.cancelled_after && row.state.is_live() {
                engine.cancel(&row.run_id, "somebody").await.unwrap();
            }
        }
        engine.resume_all().await.unwrap();
    }

    pub(crate) async fn rows(&self) -> Vec<RunRow> {
        self.journal().runs(&RunQuery::default()).await.unwrap()
    }

    /// Whether the last look of a run was tried in vain more than once: what it would remove is listed.
    async fn looked_in_vain(&self, run: &RunId) -> bool {
        let history = self.journal().history(run).await.unwrap();
        let failed = |entry: &&Entry| matches!(entry.record, Record::RecheckFailed { .. });
        history.iter().filter(failed).count() > 1
    }

    /// Waits until no run is live; `to_the_end`: and none owes a last look that can be made.
    pub(crate) async fn rest(&self, to_the_end: bool) -> Result<(), String> {
        for _ in 0..1000 {
            self.revive().await;
            let mut restless = false;
            for row in self.rows().await {
                let owes = row.state.is_terminal() && row.recheck_due.is_some();
                restless |= row.state.is_live()
                    || (to_the_end && owes && !self.looked_in_vain(&row.run_id).await);
            }
            if !restless {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!(
            "a run never comes to rest: {}",
            self.standing().await
        ))
    }

    /// The same call again, as soon as it is taken.
    pub(crate) async fn repeat(&self, mode: Mode) -> Result<(), String> {
        for _ in 0..5000 {
            self.revive().await;
            let engine = self.engine();
            let admission = engine.start(request(&engine, "shop", "space", mode)).await;
            match admission {
                Ok(Admission::Fresh(row) | Admission::Joined(row)) => {
                    engine.wait(&row.run_id, None).await;
                    return Ok(());
                }
                // Its view is the answer; once more when it owes nothing.
                Ok(Admission::Settling { run_id, .. }) if self.looked_in_vain(&run_id).await => {
                    return Ok(());
                }
                Ok(Admission::Answered(row)) if self.looked_in_vain(&row.run_id).await => {
                    return Ok(());
                }
                Ok(
                    Admission::Answered(_) | Admission::Settling { .. } | Admission::Locked { .. },
                )
                | Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(Admission::Stuck { .. }) => return Ok(()),
                other => return Err(format!("the same call again: {other:?}")),
            }
        }
        let standing = self.standing().await;
        Err(format!("the same call is never taken again: {standing}"))
    }

    /// Where every run stands, for a message.
    async fn standing(&self) -> String {
        let rows = self.rows().await;
        let rows = rows
            .iter()
            .map(|row| format!("{} {:?} owes {:?}", row.subject, row.state, row.recheck_due));
        rows.collect::<Vec<_>>().join(", ")
    }
}

fn engine(upstream: &Upstream, journal: &Arc<MemoryJournal>) -> Engine {
    let journal: Arc<dyn Journal> = Arc::clone(journal) as Arc<dyn Journal>;
    let registry = registry(upstream, &journal);
    Engine::new(journal, registry)
}

pub(crate) fn request(engine: &Engine, subject: &str, namespace: &str, mode: Mode) -> Request {
    let inputs = json!({"namespace": namespace});
    Request {
        workflow: workflow(engine),
        inputs: inputs.as_object().cloned().unwrap(),
        settings: json!({}),
        subject: subject.into(),
        options: RunOptions {
            adopt: mode == Mode::Adopt,
            on_failure: if mode == Mode::Keep {
                OnFailure::Keep
            } else {
                OnFailure::Compensate
            },
            ..RunOptions::default()
        },
        caller: "test".into(),
    }
}

fn workflow(engine: &Engine) -> Workflow {
    static PARSED: OnceLock<Workflow> = OnceLock::new();
    let parsed = PARSED
        .get_or_init(|| Workflow::parse("project.yaml", WORKFLOW, engine.registry()).unwrap());
    parsed.clone()
}
