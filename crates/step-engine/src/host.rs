//! The seam between the planner and whatever runs operations durably.

pub(crate) mod embedded;

use async_trait::async_trait;

use crate::journal::JournalError;
use crate::plan::Op;
use crate::record::Entry;
use crate::state::{Cause, RunState};

/// Runs the operations of one run.
///
/// A host keeps the run's history. What [`Host::next`] adds is durable no later than the return of the following
/// call, so that an end and the intents that follow from it share a commit.
#[async_trait]
pub trait Host: Send {
    /// The history so far, in an order that a replay repeats.
    fn history(&self) -> &[Entry];

    /// Makes the intents durable, then launches the operations.
    ///
    /// # Errors
    /// The journal refused (nothing was launched), or the process is stopping.
    async fn start(&mut self, ops: Vec<Op>) -> Result<(), HostError>;

    /// Waits until something has happened and adds it to the history.
    ///
    /// # Errors
    /// As [`Host::start`].
    async fn next(&mut self) -> Result<(), HostError>;

    /// Makes the end durable.
    ///
    /// # Errors
    /// The journal refused.
    async fn end(&mut self, state: RunState, cause: Option<Cause>) -> Result<(), HostError>;
}

/// Why a host gave the run back.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The journal refused; nothing more may act.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A step panicked; its intent stays open and a resume looks.
    #[error("a step panicked")]
    Panicked,
    /// The process is stopping; the run goes on at the next start.
    #[error("the process is stopping")]
    Stopping,
}
