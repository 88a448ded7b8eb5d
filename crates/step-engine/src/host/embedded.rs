//! The host inside this process: intents and ends in the journal, operations as tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Host, HostError};
use crate::history::Progress;
use crate::journal::{Journal, JournalError, RunRow};
use crate::plan::Op;
use crate::record::{Entry, Record, Verb};
use crate::registry::Registry;
use crate::run_op::{self, Limits};
use crate::state::{Cause, Origin, RunState};
use crate::step::{Aside, Earlier, Effect, Step, StepCx, StepError};
use crate::workflow::{Scope, StepSpec, resolve};

/// How long a stopping process waits for operations in flight.
const GRACE: Duration = Duration::from_secs(20);

/// What a host needs besides the run.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) registry: Arc<Registry>,
    /// The process is stopping.
    pub(crate) stopping: CancellationToken,
    /// Who asked to cancel this run. `None`: nobody.
    pub(crate) cancel: watch::Receiver<Option<String>>,
}

/// The host of one run.
pub(crate) struct EmbeddedHost {
    run: RunRow,
    around: Surroundings,
    earlier: Arc<Vec<Earlier>>,
    history: Vec<Entry>,
    /// Records in `history` that are not yet durable; they are its tail.
    pending: Vec<Record>,
    tasks: JoinSet<Vec<Record>>,
    cancelled: CancellationToken,
}

impl EmbeddedHost {
    pub(crate) fn new(
        run: RunRow,
        around: Surroundings,
        earlier: Vec<Earlier>,
        history: Vec<Entry>,
    ) -> Self {
        Self {
            run,
            around,
            earlier: Arc::new(earlier),
            history,
            pending: Vec::new(),
            tasks: JoinSet::new(),
            cancelled: CancellationToken::new(),
        }
    }

    fn progress(&self) -> Progress {
        Progress::of(
            &self.run.workflow,
            self.history.iter().map(|entry| &entry.record),
        )
    }

    /// Writes what is pending and `more` in one commit.
    async fn commit(&mut self, more: Vec<Record>) -> Result<(), JournalError> {
        let mut records = std::mem::take(&mut self.pending);
        let provisional = records.len();
        records.extend(more);
        if records.is_empty() {
            return Ok(());
        }
        let entries = self
            .around
            .journal
            .append(&self.run.run_id, records)
            .await?;
        self.history.truncate(self.history.len() - provisional);
        self.history.extend(entries);
        Ok(())
    }

    fn hold(&mut self, record: Record) {
        self.pending.push(record.clone());
        let at = self.around.journal.now();
        self.history.push(Entry { seq: 0, at, record });
    }

    fn launch(&mut self, op: &Op, progress: &Progress) {
        match op {
            Op::Apply { step, look } => self.launch_step(step, Verb::Apply, *look, progress),
            Op::Undo { step } => self.launch_step(step, Verb::Undo, false, progress),
            Op::Settle { steps } => {
                let wait = self.settle_time(steps);
                self.tasks.spawn(async move {
                    tokio::time::sleep(wait).await;
                    vec![Record::Settled]
                });
            }
        }
    }

    fn launch_step(&mut self, id: &str, verb: Verb, look: bool, progress: &Progress) {
        let Some(spec) = self.run.workflow.step(id).cloned() else {
            return;
        };
        let Some(step) = self.around.registry.step(&spec.kind) else {
            let error = StepError::refused(
                "workflow.unknown_kind",
                format!("this program has no step kind `{}`", spec.kind),
            )
            .remedy("resume with the version of the program that started the run");
            self.tasks
                .spawn(async move { vec![failed(&spec.id, verb, error, 0, Instant::now())] });
            return;
        };
        let aside = Aside::default();
        let cx = self.context(&spec, verb, progress, Arc::clone(&aside));
        let with = self.with(&spec, &progress.outputs());
        let state = &progress.steps[id];
        // A receipt proves that this run made it only for what it created; else the undo looks for a late twin by claim.
        let output = state
            .output
            .clone()
            .filter(|_| state.origin == Some(Origin::Created));
        let marked = state.ambiguous;
        let left = |error: &StepError| error.effect == Effect::Left;
        let was_there = output.is_some() || state.error.as_ref().is_some_and(left);
        let span = tracing::info_span!("step", run_id = %self.run.run_id, step = spec.id, ?verb);
        let work = async move {
            let began = Instant::now();
            let end = match verb {
                Verb::Apply => apply(&*step, &cx, &with, &spec, (look, marked), began).await,
                Verb::Undo => {
                    let known = (marked, was_there);
                    undo(&*step, &cx, &with, output.as_ref(), &spec, known, began).await
                }
            };
            let mut records = std::mem::take(
                &mut *aside
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner),
            );
            match &end {
                Record::Failed { error, .. } => {
                    tracing::info!(code = error.code, error = error.message, "step failed");
                }
                _ => tracing::info!("step done"),
            }
            records.push(end);
            records
        };
        self.tasks.spawn(work.instrument(span));
    }

    fn context(&self, spec: &StepSpec, verb: Verb, progress: &Progress, aside: Aside) -> StepCx {
        let intent_at = self
            .history
            .iter()
            .find(|entry| is_intent(&entry.record, &spec.id))
            .map_or_else(|| self.around.journal.now(), |entry| entry.at);
        StepCx {
            run_id: self.run.run_id.clone(),
            subject: self.run.subject.clone(),
            caller: self.run.caller.clone(),
            step: spec.id.clone(),
            intent_at,
            adopt: self.run.options.adopt,
            earlier: Arc::clone(&self.earlier),
            facts: progress
                .steps
                .get(&spec.id)
                .map(|step| step.facts.clone())
                .unwrap_or_default(),
            run_facts: progress.facts(),
            cancelled: match verb {
                Verb::Apply => self.cancelled.clone(),
                Verb::Undo => CancellationToken::new(),
            },
            journal: Arc::clone(&self.around.journal),
            aside,
        }
    }

    fn with(&self, spec: &StepSpec, outputs: &BTreeMap<String, Value>) -> Value {
        resolve(
            &spec.with,
            &Scope {
                inputs: &self.run.inputs,
                settings: &self.run.settings,
                steps: Some(outputs),
            },
        )
    }

    /// What is left of the longest settle time since the last ambiguous mutation of these steps.
    fn settle_time(&self, steps: &[String]) -> Duration {
        let now = self.around.journal.now();
        let left = |id: &String| {
            let settle = step_of(&self.around.registry, &self.run, id)?
                .timing()
                .settle;
            let since = now
                .duration_since(last_mark(&self.history, id)?)
                .unsigned_abs();
            Some(settle.saturating_sub(since))
        };
        steps.iter().filter_map(left).max().unwrap_or_default()
    }

    /// Lets what is in flight reach its journal point, within the grace time.
    async fn drain(&mut self) -> HostError {
        let drained = tokio::time::timeout(GRACE, async {
            loop {
                if let Err(error) = self.commit(Vec::new()).await {
                    return HostError::Journal(error);
                }
                match self.tasks.join_next().await {
                    Some(Ok(records)) => self.settle_in(records),
                    Some(Err(_)) => {}
                    None => return HostError::Stopping,
                }
            }
        });
        drained.await.unwrap_or(HostError::Stopping)
    }

    /// Takes over the records of an ended operation: facts and marks are durable already, the end is not.
    fn settle_in(&mut self, records: Vec<Record>) {
        for record in records {
            match record {
                Record::Fact { .. } | Record::Ambiguous { .. } => {
                    // Before the pending tail, so that the tail stays the tail.
                    let at = self.history.len() - self.pending.len();
                    self.history.insert(
                        at,
                        Entry {
                            seq: 0,
                            at: self.around.journal.now(),
                            record,
                        },
                    );
                }
                end => self.hold(end),
            }
        }
    }
}

#[async_trait]
impl Host for EmbeddedHost {
    fn history(&self) -> &[Entry] {
        &self.history
    }

    async fn start(&mut self, ops: Vec<Op>) -> Result<(), HostError> {
        if self.around.stopping.is_cancelled() {
            return Err(self.drain().await);
        }
        let intents = ops.iter().map(|op| match op {
            Op::Apply { step, .. } => Record::Started {
                step: step.clone(),
                verb: Verb::Apply,
            },
            Op::Undo { step } => Record::Started {
                step: step.clone(),
                verb: Verb::Undo,
            },
            Op::Settle { .. } => Record::Settling,
        });
        self.commit(intents.collect()).await?;
        let progress = self.progress();
        for op in &ops {
            self.launch(op, &progress);
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<(), HostError> {
        self.commit(Vec::new()).await?;
        tokio::select! {
            biased;
            () = self.around.stopping.cancelled() => return Err(self.drain().await),
            by = asked(&mut self.around.cancel, self.cancelled.is_cancelled()) => {
                self.cancelled.cancel();
                self.hold(Record::StopAsked { by });
            }
            ended = self.tasks.join_next() => match ended {
                Some(Ok(records)) => self.settle_in(records),
                // A panicking step leaves its intent open: the run stops here and a resume looks.
                Some(Err(error)) => {
                    tracing::error!(run_id = %self.run.run_id, %error, "a step panicked");
                    drop(self.drain().await);
                    return Err(HostError::Panicked);
                }
                None => return Err(JournalError::Damaged("the planner waits and nothing is in flight".into()).into()),
            },
        }
        Ok(())
    }

    async fn end(&mut self, state: RunState, cause: Option<Cause>) -> Result<(), HostError> {
        let recheck_due = recheck_due(&self.around.registry, &self.run, &self.history)
            .filter(|_| state.is_terminal());
        let already = self.progress().ended == Some(state);
        let ended = if already {
            Vec::new()
        } else {
            vec![Record::Ended {
                state,
                cause,
                recheck_due,
            }]
        };
        self.commit(ended).await?;
        Ok(())
    }
}

async fn asked(cancel: &mut watch::Receiver<Option<String>>, done: bool) -> String {
    if done {
        return std::future::pending().await;
    }
    let by = cancel
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|by| by.clone());
    match by {
        Some(by) => by,
        None => std::future::pending().await,
    }
}

async fn apply(
    step: &dyn Step,
    cx: &StepCx,
    with: &Value,
    spec: &StepSpec,
    (look, marked): (bool, bool),
    began: Instant,
) -> Record {
    let ended = run_op::apply(step, cx, with, limits(spec), look, marked).await;
    match ended.result {
        Ok((origin, output)) => Record::Done {
            step: spec.id.clone(),
            verb: Verb::Apply,
            origin: Some(origin),
            output,
            attempts: ended.attempts,
            duration_ms: milliseconds(began),
        },
        Err(error) => failed(&spec.id, Verb::Apply, error, ended.attempts, began),
    }
}

async fn undo(
    step: &dyn Step,
    cx: &StepCx,
    with: &Value,
    output: Option<&Value>,
    spec: &StepSpec,
    known: (bool, bool),
    began: Instant,
) -> Record {
    let ended = run_op::undo(step, cx, with, output, limits(spec), known).await;
    match ended.result {
        Ok(()) => Record::Done {
            step: spec.id.clone(),
            verb: Verb::Undo,
            origin: None,
            output: Value::Null,
            attempts: ended.attempts,
            duration_ms: milliseconds(began),
        },
        Err(error) => failed(&spec.id, Verb::Undo, error, ended.attempts, began),
    }
}

fn failed(step: &str, verb: Verb, error: StepError, attempts: u32, began: Instant) -> Record {
    Record::Failed {
        step: step.to_owned(),
        verb,
        error,
        attempts,
        duration_ms: milliseconds(began),
    }
}

fn limits(spec: &StepSpec) -> Limits {
    Limits {
        retry: spec.retry,
        timeout: Duration::from_millis(spec.timeout_ms),
    }
}

fn milliseconds(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn is_intent(record: &Record, id: &str) -> bool {
    matches!(record, Record::Started { step, verb: Verb::Apply } if step == id)
}

fn step_of(registry: &Registry, run: &RunRow, id: &str) -> Option<Arc<dyn Step>> {
    registry.step(&run.workflow.step(id)?.kind)
}

/// When the last ambiguous mutation of a step may have happened: its last mark, or the last resume after one.
fn last_mark(history: &[Entry], id: &str) -> Option<Timestamp> {
    let marks = history.iter().filter(|entry| match &entry.record {
        Record::Ambiguous { step } => step == id,
        Record::Failed { step, error, .. } => step == id && error.effect == Effect::Possible,
        Record::Resumed => true,
        _ => false,
    });
    marks.map(|entry| entry.at).max()
}

/// When the re-check of a run is due that has ambiguous mutations; `None` when it has none.
pub(crate) fn recheck_due(
    registry: &Registry,
    run: &RunRow,
    history: &[Entry],
) -> Option<Timestamp> {
    let progress = Progress::of(&run.workflow, history.iter().map(|entry| &entry.record));
    let due = |id: &str| {
        let recheck = step_of(registry, run, id)?.timing().recheck;
        last_mark(history, id)?.checked_add(recheck).ok()
    };
    progress.marked().filter_map(due).max()
}
