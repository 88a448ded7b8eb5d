//! What watchers of a run are told: each record as it becomes durable.

use jiff::Timestamp;

use crate::record::Record;
use crate::run_id::RunId;

/// A record of some run has become durable.
#[derive(Clone, Debug)]
pub struct RunEvent {
    /// The record's number in the journal: a watcher that missed some asks for what came after the last one it saw.
    pub seq: u64,
    /// The run.
    pub run_id: RunId,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub record: Record,
}
