//! The engine: begins, joins, resumes, cancels and watches runs.

mod decide;
mod observe;
mod recheck;
mod snapshot;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use observe::{Observation, Observed};
pub use snapshot::{Snapshot, StepSnapshot};

use crate::drive::drive;
use crate::error::EngineError;
use crate::event::RunEvent;
use crate::history::Progress;
use crate::host::HostError;
use crate::host::embedded::{EmbeddedHost, Surroundings};
use crate::journal::{Admission, Journal, JournalError, RunOptions, RunQuery, RunRow};
use crate::record::{Entry, Record};
use crate::registry::Registry;
use crate::run_id::RunId;
use crate::state::{RunState, StepState};
use crate::step::Earlier;
use crate::workflow::{Scope, Workflow, resolve};

/// A call for a run.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub workflow: Workflow,
    /// What the caller gave; defaults are filled in here.
    pub inputs: Map<String, Value>,
    /// What references to `settings` are looked up in; no secrets.
    pub settings: Value,
    /// What the run is about: calls about the same thing join or follow each other.
    pub subject: String,
    /// What the caller decided besides.
    pub options: RunOptions,
    /// Who asks: a name, never a credential.
    pub caller: String,
}

/// The engine over one journal. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    journal: Arc<dyn Journal>,
    registry: Arc<Registry>,
    driven: Mutex<HashMap<RunId, Driven>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    /// One re-check at a time: two of one run could act on what a later run made.
    rechecking: tokio::sync::Mutex<()>,
    halted: watch::Sender<Option<JournalError>>,
    /// Another process drives the live runs of this journal; this one only reads.
    elsewhere: bool,
}

/// A run that this process drives.
#[derive(Clone)]
struct Driven {
    cancel: Arc<watch::Sender<Option<String>>>,
    ended: watch::Receiver<bool>,
}

/// The claim on driving a run; let go of when dropped.
struct Slot {
    engine: Engine,
    run_id: RunId,
    cancelled: watch::Receiver<Option<String>>,
    end: watch::Sender<bool>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.engine.all_driven().remove(&self.run_id);
        // Nobody waits: nothing to tell.
        let _ = self.end.send(true);
    }
}

/// What a run would be about, before there is one.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The resources that it would hold.
    pub resources: Vec<String>,
    /// Kind and arguments of each step.
    pub steps: Vec<(String, Value)>,
}

impl Engine {
    /// An engine that writes this journal. Needs a tokio runtime for everything but reading.
    pub fn new(journal: Arc<dyn Journal>, registry: Arc<Registry>) -> Self {
        Self::build(journal, registry, false)
    }

    /// An engine that only reads. `driven_elsewhere`: another process holds the journal and drives its live runs.
    pub fn reader(
        journal: Arc<dyn Journal>,
        registry: Arc<Registry>,
        driven_elsewhere: bool,
    ) -> Self {
        Self::build(journal, registry, driven_elsewhere)
    }

    fn build(journal: Arc<dyn Journal>, registry: Arc<Registry>, elsewhere: bool) -> Self {
        let inner = Inner {
            journal,
            registry,
            driven: Mutex::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            rechecking: tokio::sync::Mutex::default(),
            halted: watch::channel(None).0,
            elsewhere,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The kinds of steps that this engine runs.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.inner.registry
    }

    /// Every record of every run as it becomes durable. A slow receiver loses the oldest ones.
    pub fn events(&self) -> broadcast::Receiver<RunEvent> {
        self.inner.journal.events()
    }

    /// Resolves when the journal refused and this process must stop acting.
    pub async fn halted(&self) -> JournalError {
        let mut halted = self.inner.halted.subscribe();
        let found = halted
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|error| error.clone());
        match found {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Why the journal refused and this process stopped acting. `None`: it did not.
    pub fn trouble(&self) -> Option<JournalError> {
        self.inner.halted.borrow().clone()
    }

    /// Begins a run, joins the one that is under way, or says why not. A run goes on when the caller goes away.
    ///
    /// # Errors
    /// Inputs that do not fit, or a journal that cannot be written.
    pub async fn start(&self, request: Request) -> Result<Admission, EngineError> {
        let row = self.row(request)?;
        let engine = self.clone();
        // A task of its own: a caller that goes away must not leave an admitted run that nobody drives.
        let admitting = self
            .inner
            .tasks
            .spawn(async move { engine.admit(row).await });
        admitting
            .await
            .map_err(|error| EngineError::NotNow(format!("the call did not end: {error}")))?
    }

    async fn admit(&self, row: RunRow) -> Result<Admission, EngineError> {
        self.discharge_due(&row).await?;
        let slot = self.reserve(&row.run_id);
        let admission = self.inner.journal.admit(row).await?;
        match (&admission, slot) {
            (Admission::Fresh(row), Some(slot)) => {
                self.launch(slot, (**row).clone(), Vec::new()).await?
            }
            (Admission::Joined(row), _) => self.take_up((**row).clone()).await?,
            _ => {}
        }
        Ok(admission)
    }

    /// What a run of this request would hold, and the kinds of its steps with their arguments (what another step has yet to
    /// make is null in them).
    ///
    /// # Errors
    /// Inputs that do not fit.
    pub fn outline(&self, request: Request) -> Result<Outline, EngineError> {
        let row = self.row(request)?;
        let scope = Scope {
            inputs: &row.inputs,
            settings: &row.settings,
            steps: None,
        };
        let steps = row.workflow.steps.iter();
        let steps = steps.filter(|step| !row.skipped.contains(&step.id));
        let steps = steps.map(|step| (step.kind.clone(), resolve(&step.with, &scope)));
        Ok(Outline {
            steps: steps.collect(),
            resources: row.resources,
        })
    }

    fn row(&self, request: Request) -> Result<RunRow, EngineError> {
        let inputs = request
            .workflow
            .accept(&request.inputs, &request.settings)
            .map_err(EngineError::Input)?;
        let scope = Scope {
            inputs: &inputs,
            settings: &request.settings,
            steps: None,
        };
        let off =
            |when: &String| resolve(&Value::String(when.clone()), &scope) != Value::Bool(true);
        let steps = &request.workflow.steps;
        let skipped: Vec<String> = steps
            .iter()
            .filter(|step| step.when.as_ref().is_some_and(off))
            .map(|step| step.id.clone())
            .collect();
        let mut resources: Vec<String> = steps
            .iter()
            .filter(|step| !skipped.contains(&step.id))
            .filter_map(|step| {
                Some(
                    self.inner
                        .registry
                        .step(&step.kind)?
                        .resources(&resolve(&step.with, &scope)),
                )
            })
            .flatten()
            .collect();
        resources.sort();
        resources.dedup();
        let now = self.inner.journal.now();
        Ok(RunRow {
            run_id: RunId::new(),
            subject: request.subject,
            workflow: request.workflow,
            inputs,
            settings: request.settings,
            options: request.options,
            caller: request.caller,
            skipped,
            resources,
            state: RunState::Running,
            cause: None,
            created_at: now,
            updated_at: now,
            recheck_due: None,
        })
    }

    /// Journals a plan: a run in state `planned`, which holds nothing and is never driven. What was seen stands in its
    /// settings. Answers the row.
    ///
    /// # Errors
    /// A journal that cannot be written.
    pub async fn keep_plan(&self, request: Request) -> Result<RunRow, EngineError> {
        let row = RunRow {
            state: RunState::Planned,
            ..self.row(request)?
        };
        self.inner.journal.admit(row.clone()).await?;
        Ok(row)
    }

    /// Drives a live run unless this process already does.
    async fn take_up(&self, row: RunRow) -> Result<(), EngineError> {
        let Some(slot) = self.reserve(&row.run_id) else {
            return Ok(());
        };
        // It may have ended between the caller's look and now.
        if !self.known(&row.run_id).await?.state.is_live() {
            return Ok(());
        }
        self.inner
            .journal
            .append(&row.run_id, vec![Record::Resumed])
            .await?;
        let history = self.inner.journal.history(&row.run_id).await?;
        self.launch(slot, row, history).await
    }

    /// Claims the driving of a run, before anything about it is read. `None`: it is driven already.
    fn reserve(&self, run: &RunId) -> Option<Slot> {
        let (cancel, cancelled) = watch::channel(None);
        let (end, ended) = watch::channel(false);
        let mut all = self.all_driven();
        if all.contains_key(run) {
            return None;
        }
        all.insert(
            run.clone(),
            Driven {
                cancel: Arc::new(cancel),
                ended,
            },
        );
        Some(Slot {
            engine: self.clone(),
            run_id: run.clone(),
            cancelled,
            end,
        })
    }

    async fn launch(
        &self,
        slot: Slot,
        row: RunRow,
        history: Vec<Entry>,
    ) -> Result<(), EngineError> {
        let earlier = self.earlier(&row).await?;
        let around = Surroundings {
            journal: Arc::clone(&self.inner.journal),
            registry: Arc::clone(&self.inner.registry),
            stopping: self.inner.stopping.clone(),
            cancel: slot.cancelled.clone(),
        };
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let mut host = EmbeddedHost::new(row.clone(), around, earlier, history);
            let result = drive(&mut host, &row).await;
            engine.after(&row, result);
            drop(slot);
        });
        Ok(())
    }

    fn after(&self, row: &RunRow, result: Result<RunState, HostError>) {
        match result {
            Ok(state) => {
                tracing::info!(run_id = %row.run_id, subject = row.subject, state = state.as_str(), "run ended");
                self.schedule_recheck(row.run_id.clone());
            }
            Err(HostError::Panicked) => {
                tracing::error!(run_id = %row.run_id, "run stopped: a step panicked; resume it with a mended program");
            }
            Err(HostError::Stopping) => {
                tracing::info!(run_id = %row.run_id, "run stopped at a journal point")
            }
            Err(HostError::Journal(error)) => {
                tracing::error!(run_id = %row.run_id, %error, "run stopped: the journal refused");
                self.inner.halted.send_replace(Some(error));
            }
        }
    }

    /// What earlier runs for the same subject left behind, newest first.
    async fn earlier(&self, row: &RunRow) -> Result<Vec<Earlier>, EngineError> {
        let query = RunQuery {
            subject: Some(row.subject.clone()),
            ..RunQuery::default()
        };
        let mut earlier = Vec::new();
        for other in self.inner.journal.runs(&query).await? {
            let planned = other.state == RunState::Planned;
            if planned || other.run_id == row.run_id || other.created_at > row.created_at {
                continue;
            }
            let history = self.inner.journal.history(&other.run_id).await?;
            let progress = Progress::of(&other.workflow, history.iter().map(|entry| &entry.record));
            let outputs = progress.outputs();
            let scope = Scope {
                inputs: &other.inputs,
                settings: &other.settings,
                steps: Some(&outputs),
            };
            let calls = other.workflow.steps.iter();
            let calls = calls
                .map(|spec| (spec.id.clone(), resolve(&spec.with, &scope)))
                .collect();
            let done = progress
                .steps
                .into_iter()
                .filter_map(|(id, step)| match step.state {
                    StepState::Applied | StepState::Existing | StepState::Adopted => {
                        Some((id, (step.origin?, step.output?)))
                    }
                    _ => None,
                });
            earlier.push(Earlier {
                run_id: other.run_id,
                state: other.state,
                done: done.collect(),
                calls,
            });
        }
        Ok(earlier)
    }

    /// Resumes every live run and schedules every re-check that is owed. Answers how many runs go on.
    ///
    /// # Errors
    /// The journal cannot be read or written.
    pub async fn resume_all(&self) -> Result<usize, EngineError> {
        let live = self
            .inner
            .journal
            .runs(&RunQuery {
                live: true,
                ..RunQuery::default()
            })
            .await?;
        let mut count = 0;
        for row in live {
            let run = row.run_id.clone();
            // One run that cannot be read must not keep the others from going on.
            match self.take_up(row).await {
                Ok(()) => count += 1,
                Err(error) => tracing::error!(run_id = %run, %error, "a run could not be resumed"),
            }
        }
        for row in self
            .inner
            .journal
            .runs(&RunQuery {
                owing: true,
                ..RunQuery::default()
            })
            .await?
        {
            self.schedule_recheck(row.run_id);
        }
        Ok(count)
    }

    /// Waits until nothing drives the run any more, at most `limit`.
    pub async fn wait(&self, run: &RunId, limit: Option<Duration>) {
        let Some(mut driven) = self.driven(run) else {
            return;
        };
        let ended = driven.ended.wait_for(|ended| *ended);
        match limit {
            Some(limit) => drop(tokio::time::timeout(limit, ended).await),
            None => drop(ended.await),
        }
    }

    /// Stops: no run starts anything more; what is in flight reaches its journal point.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Where a run stands now.
    ///
    /// # Errors
    /// The run is unknown or the journal cannot be read.
    pub async fn snapshot(&self, run: &RunId) -> Result<Snapshot, EngineError> {
        let row = self.known(run).await?;
        let history = self.inner.journal.history(run).await?;
        let driven = self.inner.elsewhere || self.driven(run).is_some();
        Ok(Snapshot::new(row, &history, driven))
    }

    /// Runs, newest first; a live run that nobody drives is shown as interrupted.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRow>, EngineError> {
        let mut rows = self.inner.journal.runs(query).await?;
        for row in &mut rows {
            if row.state.is_live() && !self.inner.elsewhere && self.driven(&row.run_id).is_none() {
                row.state = RunState::Interrupted;
            }
        }
        Ok(rows)
    }

    async fn known(&self, run: &RunId) -> Result<RunRow, EngineError> {
        self.inner
            .journal
            .run(run)
            .await?
            .ok_or_else(|| EngineError::UnknownRun(run.clone()))
    }

    fn driven(&self, run: &RunId) -> Option<Driven> {
        self.all_driven().get(run).cloned()
    }

    fn all_driven(&self) -> MutexGuard<'_, HashMap<RunId, Driven>> {
        self.inner
            .driven
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
