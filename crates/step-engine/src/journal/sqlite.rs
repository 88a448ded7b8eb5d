//! The journal on disk: SQLite in WAL mode, `synchronous=FULL`, one writer thread.
//!
//! The writer takes every request that has arrived, writes all of them in one transaction and then answers all:
//! records of concurrent runs share a commit. Readers have a connection of their own and need no lock.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::lock::{DirLock, Holder};
use super::{Admission, Journal, JournalError, RunQuery, RunRow};
use crate::event::RunEvent;
use crate::fault::CrashPlan;
use crate::record::{Entry, Record};
use crate::run_id::RunId;

mod rows;
mod writer;

/// The file's name in the data directory.
pub const FILE: &str = "journal.sqlite";

/// The journal in a data directory.
#[derive(Debug)]
pub struct SqliteJournal {
    dir: PathBuf,
    reader: Arc<Mutex<Connection>>,
    writer: Option<mpsc::UnboundedSender<writer::Request>>,
    crash: CrashPlan,
    watchers: broadcast::Sender<RunEvent>,
    _lock: Option<DirLock>,
}

impl SqliteJournal {
    /// Takes the journal for writing; `what` is what others are told about the holder. Creates directory and file.
    ///
    /// # Errors
    /// [`JournalError::Held`] when another process writes it, [`JournalError::Unwritable`] when the place is not
    /// writable.
    pub fn open(dir: &Path, what: &str) -> Result<Self, JournalError> {
        Self::open_with_crash(dir, what, CrashPlan::default())
    }

    /// As [`SqliteJournal::open`], stopping where the plan says.
    ///
    /// # Errors
    /// As [`SqliteJournal::open`].
    pub fn open_with_crash(dir: &Path, what: &str, crash: CrashPlan) -> Result<Self, JournalError> {
        // What is in it concerns nobody else on this machine.
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .recursive(true)
            .create(dir)
            .map_err(|error| unwritable(dir, &error))?;
        let lock = DirLock::take(dir, what)?;
        let connection =
            Connection::open(dir.join(FILE)).map_err(|error| unwritable(dir, &error))?;
        let epoch = writer::prepare(&connection).map_err(|error| writer::failed(dir, &error))?;
        let reader = Self::reading_connection(dir)?;
        let (sender, requests) = mpsc::unbounded_channel();
        let watchers = broadcast::channel(super::EVENTS).0;
        let writer = writer::Writer::new(
            connection,
            epoch,
            dir.to_owned(),
            crash.clone(),
            watchers.clone(),
        );
        std::thread::Builder::new()
            .name("journal-writer".into())
            .spawn(move || writer.run(requests))
            .map_err(|error| unwritable(dir, &error))?;
        Ok(Self {
            dir: dir.to_owned(),
            reader: Arc::new(Mutex::new(reader)),
            writer: Some(sender),
            crash,
            watchers,
            _lock: Some(lock),
        })
    }

    /// Opens the journal for reading beside whoever writes it. `None`: there is none yet.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open_for_reading(dir: &Path) -> Result<Option<Self>, JournalError> {
        if !dir.join(FILE).exists() {
            return Ok(None);
        }
        let reader = Self::reading_connection(dir)?;
        Ok(Some(Self {
            dir: dir.to_owned(),
            reader: Arc::new(Mutex::new(reader)),
            writer: None,
            crash: CrashPlan::default(),
            watchers: broadcast::channel(1).0,
            _lock: None,
        }))
    }

    /// Who writes the journal in this directory now. `None`: nobody.
    pub fn holder(dir: &Path) -> Option<Holder> {
        DirLock::holder(dir)
    }

    fn reading_connection(dir: &Path) -> Result<Connection, JournalError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(dir.join(FILE), flags)
            .map_err(|error| unwritable(dir, &error))?;
        connection
            .busy_timeout(std::time::Duration::from_secs(5))
            .map_err(|error| unwritable(dir, &error))?;
        Ok(connection)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        if self.crash.fired() {
            return Err(JournalError::Crashed);
        }
        let reader = Arc::clone(&self.reader);
        let task = tokio::task::spawn_blocking(move || {
            read(&reader.lock().unwrap_or_else(PoisonError::into_inner))
        });
        task.await
            .map_err(|error| JournalError::Damaged(format!("a read did not end: {error}")))?
    }

    async fn write<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, JournalError>>) -> writer::Request,
    ) -> Result<T, JournalError> {
        let writer = self.writer.as_ref().ok_or(JournalError::ReadOnly)?;
        let (reply, answer) = oneshot::channel();
        let stopped = || JournalError::Unwritable {
            path: self.dir.clone(),
            why: "the writer has stopped".into(),
        };
        writer.send(request(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn admit(&self, run: RunRow) -> Result<Admission, JournalError> {
        self.write(|reply| writer::Request::Admit(Box::new(run), reply))
            .await
    }

    async fn append(&self, run: &RunId, records: Vec<Record>) -> Result<Vec<Entry>, JournalError> {
        let run = run.clone();
        self.write(|reply| writer::Request::Append(run, records, reply))
            .await
    }

    async fn run(&self, run: &RunId) -> Result<Option<RunRow>, JournalError> {
        let run = run.clone();
        self.read(move |connection| rows::run(connection, &run))
            .await
    }

    async fn history(&self, run: &RunId) -> Result<Vec<Entry>, JournalError> {
        let run = run.clone();
        self.read(move |connection| rows::history(connection, &run))
            .await
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRow>, JournalError> {
        let query = query.clone();
        self.read(move |connection| rows::runs(connection, &query))
            .await
    }

    fn events(&self) -> broadcast::Receiver<RunEvent> {
        self.watchers.subscribe()
    }
}

fn unwritable(dir: &Path, why: &dyn std::fmt::Display) -> JournalError {
    JournalError::Unwritable {
        path: dir.to_owned(),
        why: why.to_string(),
    }
}
