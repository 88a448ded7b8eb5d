//! The durable log of runs, and who may hold it.
//!
//! Two journals keep the same promises: [`sqlite`] on disk, [`memory`] for tests and throwaway worlds. An append is
//! durable once it returns; one that fails stops the run.

pub mod admission;
mod lock;
pub mod memory;
pub mod sqlite;
pub mod unavailable;

use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;

pub use admission::Admission;
pub use lock::Holder;

use crate::event::RunEvent;
use crate::plan::OnFailure;
use crate::record::{Entry, Record};
use crate::run_id::RunId;
use crate::state::{Cause, RunState};
use crate::workflow::Workflow;

/// What a caller decided besides the inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// Use what is somebody else's instead of refusing.
    #[serde(default)]
    pub adopt: bool,
    /// What to do with the artifacts of a failure.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The caller's name for this call: repeating it answers the same run. `None`: only the subject tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The run that the same request led to before, when that one was undone. `None`: this is the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_after: Option<RunId>,
}

/// A run as the journal keeps it, beside its history.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// The run's name.
    pub run_id: RunId,
    /// What it is about, for example a project's name.
    pub subject: String,
    /// The definition as it was at the start; resume uses this copy.
    pub workflow: Workflow,
    /// The accepted inputs, defaults filled in.
    pub inputs: Value,
    /// The settings that references are looked up in; no secrets.
    pub settings: Value,
    /// What the caller decided besides.
    pub options: RunOptions,
    /// Who asked: a name, never a credential.
    pub caller: String,
    /// The steps that `when` leaves out.
    pub skipped: Vec<String>,
    /// The resources that it holds while it is not over.
    pub resources: Vec<String>,
    /// Where it stands. A live state says nothing about whether a process drives it.
    pub state: RunState,
    /// Why it left its forward path, if it did.
    pub cause: Option<Cause>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When its last record was written.
    pub updated_at: Timestamp,
    /// When the re-check is due that it owes. `None`: it owes none.
    pub recheck_due: Option<Timestamp>,
}

impl RunRow {
    /// Whether it holds its resources: it is not over, or owes a re-check.
    pub fn holds_resources(&self) -> bool {
        !self.state.is_terminal() || self.recheck_due.is_some()
    }

    /// Brings the row up to date with a record that was just written.
    ///
    /// # Errors
    /// The record asks for a transition that the table in [`crate::state`] does not have.
    pub(crate) fn follow(&mut self, record: &Record, at: Timestamp) -> Result<(), JournalError> {
        let next = match record {
            Record::Started {
                verb: crate::record::Verb::Undo,
                ..
            } => Some(RunState::Compensating),
            Record::Ended { state, .. } => Some(*state),
            Record::Operator { decision, .. } => match decision {
                crate::record::Decision::Continue => Some(RunState::Running),
                crate::record::Decision::RetryUndo | crate::record::Decision::Skip(_) => {
                    Some(self.after_a_look())
                }
                crate::record::Decision::Abandon => None,
            },
            _ => None,
        };
        if let Some(next) = next {
            if self.state != next && !self.state.may_become(next) {
                return Err(JournalError::IllegalTransition {
                    from: self.state,
                    to: next,
                });
            }
            self.state = next;
        }
        match record {
            Record::Ended {
                cause, recheck_due, ..
            } => {
                self.cause = *cause;
                self.recheck_due = *recheck_due;
            }
            Record::Discharged => self.recheck_due = None,
            // The end that follows computes it anew from the marks.
            Record::Operator {
                decision: crate::record::Decision::Continue,
                ..
            } => self.recheck_due = None,
            _ => {}
        }
        self.updated_at = at;
        Ok(())
    }

    /// What a stuck run does once somebody looked: it goes on the way it went. A run without a
    /// cause to turn back stuck on its forward path.
    fn after_a_look(&self) -> RunState {
        match self.cause {
            Some(_) => RunState::Compensating,
            None => RunState::Running,
        }
    }
}

/// Which runs [`Journal::runs`] answers.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Only runs about this. `None`: about anything.
    pub subject: Option<String>,
    /// Only runs that are live (running, interrupted or compensating).
    pub live: bool,
    /// Only runs that owe a re-check.
    pub owing: bool,
    /// At most this many, newest first. `None`: all.
    pub limit: Option<usize>,
}

impl RunQuery {
    pub(crate) fn fits(&self, row: &RunRow) -> bool {
        self.subject
            .as_ref()
            .is_none_or(|subject| *subject == row.subject)
            && (!self.live || row.state.is_live())
            && (!self.owing || row.recheck_due.is_some())
    }
}

/// The durable log of runs. One process writes at a time; any may read.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Decides, in one step with the writing, whether this run may begin; see [`admission::admit`]. With
    /// [`Admission::Fresh`] the run and its resource locks are durable.
    ///
    /// # Errors
    /// The journal cannot be written.
    async fn admit(&self, run: RunRow) -> Result<Admission, JournalError>;

    /// Appends records of one run in one commit.
    ///
    /// # Errors
    /// The journal cannot be written, or another process has taken it over.
    async fn append(&self, run: &RunId, records: Vec<Record>) -> Result<Vec<Entry>, JournalError>;

    /// One run. `None`: not in this journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    async fn run(&self, run: &RunId) -> Result<Option<RunRow>, JournalError>;

    /// The history of one run, in order.
    ///
    /// # Errors
    /// The journal cannot be read, or has a hole.
    async fn history(&self, run: &RunId) -> Result<Vec<Entry>, JournalError>;

    /// Runs, newest first.
    ///
    /// # Errors
    /// The journal cannot be read.
    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRow>, JournalError>;

    /// The time of day that its entries carry and that due times are compared with.
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Every record from now on, in the order of the commits, as it becomes durable. A slow receiver loses the oldest.
    fn events(&self) -> broadcast::Receiver<RunEvent>;
}

/// Why the journal refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another process writes it.
    #[error("the journal in {} is in use by {holder}", .path.display())]
    Held {
        /// The data directory.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The directory or file cannot be written.
    #[error("the journal in {} cannot be written: {why}", .path.display())]
    Unwritable {
        /// The data directory.
        path: PathBuf,
        /// What the operating system or SQLite said.
        why: String,
    },
    /// Another process took the journal over; this one must stop acting.
    #[error("another process has taken over the journal; this one stops")]
    Fenced,
    /// It was opened for reading only.
    #[error("the journal is open for reading only")]
    ReadOnly,
    /// What was read does not fit together.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
    /// A record asked for a change of state that is not legal.
    #[error("a run cannot go from {} to {}", .from.as_str(), .to.as_str())]
    IllegalTransition {
        /// The state it was in.
        from: RunState,
        /// The state that was asked for.
        to: RunState,
    },
    /// A run that had let go of its resources cannot have them back: another run followed it or holds them.
    #[error("its names belong to run {0} by now")]
    Superseded(RunId),
    /// A crash to order (tests only).
    #[error("the journal stopped at a crash point")]
    Crashed,
}

impl JournalError {
    /// What to do next.
    pub fn remedy(&self) -> String {
        match self {
            Self::Held { .. } => {
                "call that process over MCP, or stop it first; `forgeline status` and `forgeline list` work beside it".into()
            }
            Self::Unwritable { path, .. } => format!(
                "make {} writable for this user, free disk space, or set FORGELINE_DATA_DIR to another directory",
                path.display()
            ),
            Self::Fenced => "restart this process once the other one has ended".into(),
            Self::ReadOnly => "run the command without another process holding the journal".into(),
            Self::Damaged(_) | Self::IllegalTransition { .. } => {
                "keep a copy of the data directory and report this; do not delete it".into()
            }
            Self::Superseded(run) => format!("look at run {run}"),
            Self::Crashed => "start again".into(),
        }
    }

    /// The stable dotted word for answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Held { .. } => "journal.held",
            Self::Unwritable { .. } => "journal.unwritable",
            Self::Fenced => "journal.fenced",
            Self::ReadOnly => "journal.read_only",
            Self::Damaged(_) => "journal.damaged",
            Self::IllegalTransition { .. } => "journal.illegal_transition",
            Self::Superseded(_) => "run.not_now",
            Self::Crashed => "journal.crashed",
        }
    }
}

/// How many events a slow watcher may be behind.
const EVENTS: usize = 4096;

/// Tells the watchers of records that have just become durable.
fn tell(watchers: &broadcast::Sender<RunEvent>, run: &RunId, entries: &[Entry]) {
    for entry in entries {
        let event = RunEvent {
            seq: entry.seq,
            run_id: run.clone(),
            at: entry.at,
            record: entry.record.clone(),
        };
        // Nobody watches: nothing to tell.
        drop(watchers.send(event));
    }
}
