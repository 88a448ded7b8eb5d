//! What the journal holds of a run, in order: its history.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::state::{Cause, Origin, RunState};
use crate::step::StepError;

/// What an operation does for its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Make it so.
    Apply,
    /// Remove what this run made.
    Undo,
}

/// What an operator decided about a run that is stuck or was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Apply the failed steps again.
    Continue,
    /// Undo again what could not be undone.
    RetryUndo,
    /// Leave this step as it is.
    Skip(String),
    /// Give the run up; its artifacts stay.
    Abandon,
}

/// One fact in a run's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The intent of an operation; durable before its effect.
    Started {
        /// The step's id.
        step: String,
        /// What is about to be done.
        verb: Verb,
    },
    /// An operation ended well; durable before a dependent starts.
    Done {
        /// The step's id.
        step: String,
        /// What was done.
        verb: Verb,
        /// Whose artifact it is; `None` for an undo.
        origin: Option<Origin>,
        /// The step's output (null for an undo); never a secret.
        output: Value,
        /// Tries in all.
        attempts: u32,
        /// From launch to end, in milliseconds.
        duration_ms: u64,
    },
    /// An operation ended without success.
    Failed {
        /// The step's id.
        step: String,
        /// What was tried.
        verb: Verb,
        /// Why.
        error: StepError,
        /// Tries in all.
        attempts: u32,
        /// From launch to end, in milliseconds.
        duration_ms: u64,
    },
    /// The sticky mark: a mutation of this step had an outcome that nobody knows.
    Ambiguous {
        /// The step's id.
        step: String,
    },
    /// Something a step learnt and journaled before acting on it.
    Fact {
        /// The step's id.
        step: String,
        /// The fact's name.
        name: String,
        /// The fact.
        value: Value,
    },
    /// The wait for the settle time began.
    Settling,
    /// One settle time has passed since the last ambiguous mutation.
    Settled,
    /// Another process took the run over: operations without an end may have acted.
    Resumed,
    /// Somebody asked to cancel.
    StopAsked {
        /// Who.
        by: String,
    },
    /// An operator decided.
    Operator {
        /// What.
        decision: Decision,
        /// Who.
        by: String,
    },
    /// The run reached a state in which nothing more is started.
    Ended {
        /// The state.
        state: RunState,
        /// Why it left the forward path, if it did.
        cause: Option<Cause>,
        /// When the re-check is due that this run owes. `None`: it owes none.
        recheck_due: Option<Timestamp>,
    },
    /// A re-check of one step failed; it stays owed.
    RecheckFailed {
        /// The step's id.
        step: String,
        /// Why.
        error: StepError,
    },
    /// The re-check was made at or after its due time; the run lets go of its resources.
    Discharged,
}

/// A record as the journal keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Rises by at least one from entry to entry, across all runs.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The record.
    pub record: Record,
}
