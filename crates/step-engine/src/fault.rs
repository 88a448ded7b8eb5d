//! Crashes to order, inside the journal, so that every step gets them for free.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::journal::JournalError;

/// Where in the writing of a record the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The record is lost.
    BeforeCommit,
    /// The record is durable and nobody was told.
    AfterCommit,
}

/// Stops a journal at one record; from there on it refuses everything, as if the process had ended.
#[derive(Clone, Debug, Default)]
pub struct CrashPlan {
    order: Option<(usize, CrashPoint)>,
    seen: Arc<AtomicUsize>,
    fired: Arc<AtomicBool>,
}

impl CrashPlan {
    /// A crash at the `nth` record (counted from 1) that the journal writes.
    pub fn at(nth: usize, point: CrashPoint) -> Self {
        Self {
            order: Some((nth, point)),
            ..Self::default()
        }
    }

    /// Whether the crash happened. A test that ordered one asserts this.
    pub fn fired(&self) -> bool {
        self.fired.load(Ordering::SeqCst)
    }

    /// How many records were reached so far.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    pub(crate) fn reach(&self, point: CrashPoint, records: usize) -> Result<(), JournalError> {
        if self.fired() {
            return Err(JournalError::Crashed);
        }
        let seen = self.seen.fetch_add(records, Ordering::SeqCst) + records;
        match self.order {
            Some((nth, ordered)) if ordered == point && seen >= nth => {
                self.fired.store(true, Ordering::SeqCst);
                Err(JournalError::Crashed)
            }
            _ => Ok(()),
        }
    }
}
