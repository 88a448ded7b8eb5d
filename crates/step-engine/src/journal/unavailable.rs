//! A journal that cannot be used and says why, so that a server can start and tell its callers.

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Admission, Journal, JournalError, RunQuery, RunRow};
use crate::event::RunEvent;
use crate::record::{Entry, Record};
use crate::run_id::RunId;

/// Answers everything with the same error.
#[derive(Clone, Debug)]
pub struct UnavailableJournal {
    why: JournalError,
    watchers: broadcast::Sender<RunEvent>,
}

impl UnavailableJournal {
    /// A journal that cannot be used for this reason.
    pub fn new(why: JournalError) -> Self {
        Self {
            why,
            watchers: broadcast::channel(1).0,
        }
    }
}

#[async_trait]
impl Journal for UnavailableJournal {
    async fn admit(&self, _run: RunRow) -> Result<Admission, JournalError> {
        Err(self.why.clone())
    }

    async fn append(
        &self,
        _run: &RunId,
        _records: Vec<Record>,
    ) -> Result<Vec<Entry>, JournalError> {
        Err(self.why.clone())
    }

    async fn run(&self, _run: &RunId) -> Result<Option<RunRow>, JournalError> {
        Err(self.why.clone())
    }

    async fn history(&self, _run: &RunId) -> Result<Vec<Entry>, JournalError> {
        Err(self.why.clone())
    }

    async fn runs(&self, _query: &RunQuery) -> Result<Vec<RunRow>, JournalError> {
        Err(self.why.clone())
    }

    fn events(&self) -> broadcast::Receiver<RunEvent> {
        self.watchers.subscribe()
    }
}
