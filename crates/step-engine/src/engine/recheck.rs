//! The re-check: a last look, at its due time, for what an ambiguous request may have left late.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::error::EngineError;
use crate::history::{Progress, StepProgress};
use crate::journal::{RunQuery, RunRow};
use crate::record::{Entry, Record};
use crate::run_id::RunId;
use crate::state::StepState;
use crate::step::{Aside, StepCx, StepError};
use crate::workflow::{Scope, resolve};

/// How a look ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// The run owes nothing more.
    Discharged,
    /// It is not due, or the run is live again.
    NotYet,
    /// A step could not be looked at, or its surplus not removed; it stays owed.
    Failed,
}

/// The wait before a failed re-check is tried again.
const AGAIN: Duration = Duration::from_secs(60);

impl Engine {
    /// Makes the re-checks that are due and stand in the way of this run.
    pub(super) async fn discharge_due(&self, wanted: &RunRow) -> Result<(), EngineError> {
        let in_the_way = |row: &RunRow| {
            row.subject == wanted.subject
                || row
                    .resources
                    .iter()
                    .any(|resource| wanted.resources.contains(resource))
        };
        for row in self
            .inner
            .journal
            .runs(&RunQuery {
                owing: true,
                ..RunQuery::default()
            })
            .await?
        {
            if in_the_way(&row)
                && let Err(error) = self.recheck(&row.run_id).await
            {
                tracing::error!(run_id = %row.run_id, %error, "re-check failed");
            }
        }
        Ok(())
    }

    /// Makes the re-check of a run at its due time, if it owes one.
    pub(super) fn schedule_recheck(&self, run: RunId) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move {
            let stopping = engine.inner.stopping.clone();
            tokio::select! {
                () = stopping.cancelled() => {}
                result = engine.recheck_until_discharged(&run) => {
                    if let Err(error) = result {
                        tracing::error!(run_id = %run, %error, "re-check stopped");
                    }
                }
            }
        });
    }

    async fn recheck_until_discharged(&self, run: &RunId) -> Result<(), EngineError> {
        loop {
            let row = self.known(run).await?;
            let Some(due) = row.recheck_due.filter(|_| row.state.is_terminal()) else {
                return Ok(());
            };
            let wait = Duration::try_from(due.duration_since(self.inner.journal.now()))
                .unwrap_or_default();
            tokio::time::sleep(wait).await;
            if self.recheck(run).await? == Look::Failed {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Looks at every marked step, newest first, if the run has ended and the look is due.
    async fn recheck(&self, run: &RunId) -> Result<Look, EngineError> {
        let _one = self.inner.rechecking.lock().await;
        let row = self.known(run).await?;
        match row.recheck_due {
            None => return Ok(Look::Discharged),
            Some(due) if due > self.inner.journal.now() || !row.state.is_terminal() => {
                return Ok(Look::NotYet);
            }
            Some(_) => {}
        }
        let history = self.inner.journal.history(run).await?;
        let progress = Progress::of(&row.workflow, history.iter().map(|entry| &entry.record));
        let marked = progress.steps.iter().filter(|(_, step)| step.ambiguous);
        let mut marked: Vec<(&String, &StepProgress)> = marked.collect();
        marked.sort_by_key(|(_, step)| std::cmp::Reverse(step.intent));
        let mut records = Vec::new();
        for (id, state) in marked {
            if let Err(error) = self
                .recheck_step(&row, &history, &progress, id, state)
                .await
            {
                records.push(Record::RecheckFailed {
                    step: id.clone(),
                    error,
                });
            }
        }
        let look = if records.is_empty() {
            Look::Discharged
        } else {
            Look::Failed
        };
        if look == Look::Discharged {
            records.push(Record::Discharged);
        }
        self.inner.journal.append(run, records).await?;
        Ok(look)
    }

    async fn recheck_step(
        &self,
        row: &RunRow,
        history: &[Entry],
        progress: &Progress,
        id: &str,
        state: &StepProgress,
    ) -> Result<(), StepError> {
        let Some(spec) = row.workflow.step(id) else {
            return Ok(());
        };
        let Some(step) = self.inner.registry.step(&spec.kind) else {
            return Ok(());
        };
        let outputs = progress.outputs();
        let with = resolve(
            &spec.with,
            &Scope {
                inputs: &row.inputs,
                settings: &row.settings,
                steps: Some(&outputs),
            },
        );
        let intent = state.intent.and_then(|position| history.get(position));
        let cx = StepCx {
            run_id: row.run_id.clone(),
            subject: row.subject.clone(),
            caller: row.caller.clone(),
            step: id.to_owned(),
            intent_at: intent.map_or(row.created_at, |entry| entry.at),
            adopt: row.options.adopt,
            earlier: Arc::default(),
            facts: state.facts.clone(),
            run_facts: progress.facts(),
            cancelled: CancellationToken::new(),
            journal: Arc::clone(&self.inner.journal),
            aside: Aside::default(),
        };
        let recorded = match state.state {
            StepState::Compensated | StepState::Pending => None,
            // Kept by a failed or abandoned run, or part of a succeeded one: never removed here.
            _ => state.output.as_ref(),
        };
        let keeps = recorded.is_some()
            || spec.is_never_undone()
            || state.state == StepState::Skipped
            || row.state != crate::state::RunState::Compensated;
        let look = step.recheck(
            &cx,
            &with,
            recorded.or(keeps.then_some(&serde_json::Value::Null)),
        );
        tokio::time::timeout(Duration::from_millis(spec.timeout_ms), look)
            .await
            .unwrap_or_else(|_| {
                Err(StepError::unknown(
                    "step.timed_out",
                    format!("the re-check of step `{id}` got no answer"),
                ))
            })
    }
}
