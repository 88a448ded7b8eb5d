//! What people decide about a run: continue, retry the undo, skip a step, abandon, cancel.

use super::Engine;
use crate::error::EngineError;
use crate::history::{Progress, StepProgress};
use crate::host::embedded::recheck_due;
use crate::journal::{JournalError, RunRow};
use crate::record::{Decision, Record};
use crate::run_id::RunId;
use crate::state::RunState;

impl Engine {
    /// Acts on a run that stands still: continues an interrupted or kept one, retries the undo of a stuck one, …
    ///
    /// # Errors
    /// The run is unknown, or the decision does not fit its state.
    pub async fn decide(
        &self,
        run: &RunId,
        decision: Decision,
        by: &str,
    ) -> Result<(), EngineError> {
        let row = self.known(run).await?;
        if row.state.is_live() {
            return match decision {
                Decision::Continue => self.take_up(row).await,
                Decision::RetryUndo | Decision::Skip(_) | Decision::Abandon => {
                    Err(EngineError::NotNow(format!(
                        "run {run} is {}; this is for stuck runs",
                        row.state.as_str()
                    )))
                }
            };
        }
        self.check_decision(&row, &decision).await?;
        let Some(slot) = self.reserve(run) else {
            return Err(EngineError::NotNow(format!(
                "run {run} is being driven right now"
            )));
        };
        let mut records = vec![Record::Operator {
            decision: decision.clone(),
            by: by.to_owned(),
        }];
        if decision == Decision::Abandon {
            let history = self.inner.journal.history(run).await?;
            // A stuck run still owes the look that its ambiguous requests ask for.
            let stuck = row.state == RunState::Stuck;
            let due = if stuck {
                recheck_due(&self.inner.registry, &row, &history)
            } else {
                row.recheck_due
            };
            records.push(Record::Ended {
                state: RunState::Abandoned,
                cause: row.cause,
                recheck_due: due,
            });
        }
        match self.inner.journal.append(run, records).await {
            Err(JournalError::Superseded(other)) => {
                let message =
                    format!("run {run} was superseded: its names belong to run {other} by now");
                return Err(EngineError::NotNow(message));
            }
            other => drop(other?),
        }
        if decision == Decision::Abandon {
            self.schedule_recheck(run.clone());
            return Ok(());
        }
        let row = self.known(run).await?;
        let history = self.inner.journal.history(run).await?;
        self.launch(slot, row, history).await
    }

    async fn check_decision(&self, row: &RunRow, decision: &Decision) -> Result<(), EngineError> {
        let fits = match decision {
            Decision::Continue => row.state == RunState::Failed,
            Decision::RetryUndo | Decision::Skip(_) => row.state == RunState::Stuck,
            Decision::Abandon => matches!(row.state, RunState::Stuck | RunState::Failed),
        };
        if !fits {
            return Err(EngineError::NotNow(format!(
                "run {} {}",
                row.run_id,
                offers(row.state)
            )));
        }
        if let Decision::Skip(id) = decision
            && row.workflow.step(id).is_none()
        {
            let ids: Vec<&str> = row
                .workflow
                .steps
                .iter()
                .map(|step| step.id.as_str())
                .collect();
            let message = format!(
                "run {} has no step `{id}`; there are {}",
                row.run_id,
                ids.join(", ")
            );
            return Err(EngineError::Input(vec![message]));
        }
        if let Decision::Skip(id) = decision {
            let history = self.inner.journal.history(&row.run_id).await?;
            let progress = Progress::of(&row.workflow, history.iter().map(|entry| &entry.record));
            if !progress
                .steps
                .get(id)
                .is_some_and(StepProgress::may_have_made)
            {
                let message = format!("step `{id}` of run {} has nothing left to undo", row.run_id);
                return Err(EngineError::NotNow(message));
            }
        }
        Ok(())
    }

    /// Asks a run to stop: nothing more is started, what is in flight ends, then it is undone.
    ///
    /// # Errors
    /// The run is unknown or over.
    pub async fn cancel(&self, run: &RunId, by: &str) -> Result<(), EngineError> {
        let row = self.known(run).await?;
        if !row.state.is_live() {
            return Err(EngineError::NotNow(format!(
                "run {run} {}",
                offers(row.state)
            )));
        }
        // Durable before it is answered, whoever drives the run.
        self.inner
            .journal
            .append(run, vec![Record::StopAsked { by: by.to_owned() }])
            .await?;
        if self.driven(run).is_none() {
            self.take_up(row).await?;
        }
        if let Some(driven) = self.driven(run) {
            driven.cancel.send_replace(Some(by.to_owned()));
        }
        Ok(())
    }
}

/// What can be done about a run that stands still.
fn offers(state: RunState) -> &'static str {
    match state {
        RunState::Stuck => {
            "is stuck: retry its undo (--retry-undo), leave a step as it is (--skip STEP), or give it up (--abandon)"
        }
        RunState::Failed => "failed and was kept: continue it (no flag), or give it up (--abandon)",
        RunState::Running | RunState::Interrupted | RunState::Compensating => {
            "is under way: cancel it, or wait"
        }
        RunState::Planned | RunState::Succeeded | RunState::Compensated | RunState::Abandoned => {
            "is over: there is nothing to resume or to cancel"
        }
    }
}
