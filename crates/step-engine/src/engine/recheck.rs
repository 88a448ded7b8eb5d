//! The re-check: a last look, at its due time, for what an ambiguous request may have left late.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
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

/// The wait before a failed re-check is tried again.
const AGAIN: Duration = Duration::from_secs(60);

impl Engine {
    /// Makes the re-checks that are due, so that a new call does not have to wait for what is over.
    pub(super) async fn discharge_due(&self) -> Result<(), EngineError> {
        let now = Timestamp::now();
        for row in self
            .inner
            .journal
            .runs(&RunQuery {
                owing: true,
                ..RunQuery::default()
            })
            .await?
        {
            if row.recheck_due.is_some_and(|due| due <= now) && row.state.is_terminal() {
                self.recheck(&row.run_id).await?;
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
        while let Some(due) = self.known(run).await?.recheck_due {
            let wait = due.duration_since(Timestamp::now());
            tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
            if !self.recheck(run).await? {
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(())
    }

    /// Looks at every marked step, newest first. Answers whether the run owes nothing more.
    async fn recheck(&self, run: &RunId) -> Result<bool, EngineError> {
        let row = self.known(run).await?;
        if row.recheck_due.is_none() {
            return Ok(true);
        }
        let history = self.inner.journal.history(run).await?;
        let progress = Progress::of(&row.workflow, history.iter().map(|entry| &entry.record));
        let mut marked: Vec<(&String, &StepProgress)> = progress
            .steps
            .iter()
            .filter(|(_, step)| step.ambiguous)
            .collect();
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
        let discharged = records.is_empty();
        if discharged {
            records.push(Record::Discharged);
        }
        self.inner.journal.append(run, records).await?;
        Ok(discharged)
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
        let keeps = recorded.is_some() || row.state != crate::state::RunState::Compensated;
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
