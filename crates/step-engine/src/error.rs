//! Why the engine refuses.

use crate::journal::JournalError;
use crate::run_id::RunId;
use crate::workflow::Problem;

/// A call to the engine that did not lead to a run, or could not act on one.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An input does not fit the workflow's declaration; every problem at once.
    #[error("invalid input: {}", .0.join("; "))]
    Input(Vec<String>),
    /// The workflow has mistakes; every one at once.
    #[error("workflow `{name}` has {} mistake(s)", .problems.len())]
    Workflow {
        /// The workflow's name or file.
        name: String,
        /// The mistakes, with their lines.
        problems: Vec<Problem>,
    },
    /// No such run in this journal.
    #[error("no run {0} in this journal")]
    UnknownRun(RunId),
    /// The action does not fit the run's state.
    #[error("{0}")]
    NotNow(String),
}
