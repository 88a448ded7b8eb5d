//! The writer thread: group commit, epoch check, crash points.

use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::rows;
use crate::event::RunEvent;
use crate::fault::{CrashPlan, CrashPoint};
use crate::journal::admission::{admit, may_retake};
use crate::journal::{Admission, JournalError, RunRow};
use crate::record::{Entry, Record};
use crate::run_id::RunId;

type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

pub(super) enum Request {
    Admit(Box<RunRow>, Reply<Admission>),
    Append(RunId, Vec<Record>, Reply<Vec<Entry>>),
}

/// An answer that waits for the commit.
enum Pending {
    Admit(Reply<Admission>, Result<Admission, JournalError>),
    Append(RunId, Reply<Vec<Entry>>, Result<Vec<Entry>, JournalError>),
}

impl Pending {
    /// Tells the watchers first, in the order of the commit, then the caller.
    fn send(self, failure: Option<&JournalError>, watchers: &broadcast::Sender<RunEvent>) {
        // A caller that went away needs no answer.
        match self {
            Self::Admit(reply, answer) => {
                drop(reply.send(failure.map_or(answer, |error| Err(error.clone()))))
            }
            Self::Append(run, reply, answer) => {
                if let (None, Ok(entries)) = (failure, &answer) {
                    crate::journal::tell(watchers, &run, entries);
                }
                drop(reply.send(failure.map_or(answer, |error| Err(error.clone()))));
            }
        }
    }
}

const BATCH: usize = 256;

/// Sets the connection up, creates what is missing, and takes the next epoch.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(include_str!("../schema.sql"))?;
    connection.query_row(
        "UPDATE epoch SET value = value + 1 RETURNING value",
        [],
        |row| row.get(0),
    )
}

pub(super) struct Writer {
    connection: Connection,
    epoch: i64,
    dir: PathBuf,
    crash: CrashPlan,
    watchers: broadcast::Sender<RunEvent>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        epoch: i64,
        dir: PathBuf,
        crash: CrashPlan,
        watchers: broadcast::Sender<RunEvent>,
    ) -> Self {
        Self {
            connection,
            epoch,
            dir,
            crash,
            watchers,
        }
    }

    pub(super) fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let mut batch = Vec::with_capacity(BATCH);
        while requests.blocking_recv_many(&mut batch, BATCH) > 0 {
            let mut pending = Vec::with_capacity(batch.len());
            let failure = self.commit(batch.drain(..), &mut pending).err();
            for answer in pending {
                answer.send(failure.as_ref(), &self.watchers);
            }
        }
    }

    /// One transaction for the whole batch: all of it is durable, or none.
    fn commit(
        &mut self,
        batch: impl Iterator<Item = Request>,
        pending: &mut Vec<Pending>,
    ) -> Result<(), JournalError> {
        let mut written = 0;
        let transaction = self.connection.transaction();
        let result = match transaction {
            Ok(transaction) => {
                let fenced = check_epoch(&transaction, self.epoch);
                for request in batch {
                    pending.push(write(&transaction, request, &mut written));
                }
                fenced
                    .and_then(|()| self.crash.reach(CrashPoint::BeforeCommit, written))
                    .and_then(|()| {
                        transaction
                            .commit()
                            .map_err(|error| failed(&self.dir, &error))
                    })
            }
            Err(error) => {
                let error = failed(&self.dir, &error);
                pending.extend(batch.map(|request| refuse(request, &error)));
                Err(error)
            }
        };
        result.and_then(|()| self.crash.reach(CrashPoint::AfterCommit, 0))
    }
}

fn check_epoch(connection: &Connection, epoch: i64) -> Result<(), JournalError> {
    let now: i64 = connection
        .prepare_cached("SELECT value FROM epoch")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(|error| rows::damaged(&error))?;
    if now == epoch {
        Ok(())
    } else {
        Err(JournalError::Fenced)
    }
}

fn write(connection: &Connection, request: Request, written: &mut usize) -> Pending {
    match request {
        Request::Admit(row, reply) => {
            *written += 1;
            let answer = write_admission(connection, &row);
            Pending::Admit(reply, answer)
        }
        Request::Append(run, records, reply) => {
            *written += records.len();
            let answer = write_records(connection, &run, records);
            Pending::Append(run, reply, answer)
        }
    }
}

fn refuse(request: Request, error: &JournalError) -> Pending {
    match request {
        Request::Admit(_, reply) => Pending::Admit(reply, Err(error.clone())),
        Request::Append(run, _, reply) => Pending::Append(run, reply, Err(error.clone())),
    }
}

fn write_admission(connection: &Connection, row: &RunRow) -> Result<Admission, JournalError> {
    let requested = rows::requested(connection, row)?;
    let earlier = rows::of_subject(connection, &row.subject)?;
    let earlier: Vec<&RunRow> = earlier.iter().collect();
    let holders = rows::not_over(connection)?;
    let answer = admit(row, requested.as_ref(), &earlier, holders.iter());
    if let Admission::Fresh(row) = &answer {
        rows::insert_run(connection, row).map_err(|error| rows::damaged(&error))?;
    }
    if let (Some(run), Some(request)) = (answer.led_to(), &row.options.request_id) {
        rows::bind_request(connection, &row.caller, request, run)
            .map_err(|error| rows::damaged(&error))?;
    }
    Ok(answer)
}

/// Checks all transitions before the first row is written, so that a refusal leaves nothing of the request.
fn write_records(
    connection: &Connection,
    run: &RunId,
    records: Vec<Record>,
) -> Result<Vec<Entry>, JournalError> {
    let mut row = rows::run(connection, run)?
        .ok_or_else(|| JournalError::Damaged(format!("run {run} is not in the journal")))?;
    let held = row.holds_resources();
    let at = Timestamp::now();
    for record in &records {
        row.follow(record, at)?;
    }
    if !held && row.holds_resources() {
        let newest = rows::newest(connection, &row.subject)?;
        may_retake(&row, newest.as_ref(), rows::not_over(connection)?.iter())
            .map_err(JournalError::Superseded)?;
    }
    let entries: rusqlite::Result<Vec<Entry>> = records
        .into_iter()
        .map(|record| rows::insert_record(connection, run, at, record))
        .collect();
    let entries = entries.map_err(|error| rows::damaged(&error))?;
    rows::update_run(connection, &row).map_err(|error| rows::damaged(&error))?;
    Ok(entries)
}

pub(super) fn failed(dir: &std::path::Path, error: &rusqlite::Error) -> JournalError {
    if matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    ) {
        return JournalError::Damaged(format!("{} in {}", error, dir.display()));
    }
    let why = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        Some(ErrorCode::ReadOnly) => "the file is read-only".to_owned(),
        _ => error.to_string(),
    };
    JournalError::Unwritable {
        path: dir.to_owned(),
        why,
    }
}
