//! Rows to values and back.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::journal::{JournalError, RunOptions, RunQuery, RunRow};
use crate::record::{Entry, Record};
use crate::run_id::RunId;
use crate::state::{Cause, RunState};
use crate::workflow::Workflow;

/// What never changes of a run.
#[derive(Serialize, Deserialize)]
struct Fixed {
    workflow: Workflow,
    inputs: Value,
    settings: Value,
    options: RunOptions,
    caller: String,
    skipped: Vec<String>,
    resources: Vec<String>,
    created_at: Timestamp,
}

const COLUMNS: &str = "run_id, subject, state, cause, updated_at, recheck_due, fixed";

pub(super) fn insert_run(connection: &Connection, row: &RunRow) -> rusqlite::Result<()> {
    let fixed = Fixed {
        workflow: row.workflow.clone(),
        inputs: row.inputs.clone(),
        settings: row.settings.clone(),
        options: row.options.clone(),
        caller: row.caller.clone(),
        skipped: row.skipped.clone(),
        resources: row.resources.clone(),
        created_at: row.created_at,
    };
    let fixed = serde_json::to_string(&fixed)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection
        .prepare_cached("INSERT INTO runs (run_id, subject, state, cause, updated_at, recheck_due, fixed) VALUES (?1, ?2, ?3, NULL, ?4, NULL, ?5)")?
        .execute(params![row.run_id.as_str(), row.subject, row.state.as_str(), row.updated_at.as_millisecond(), fixed])?;
    Ok(())
}

pub(super) fn update_run(connection: &Connection, row: &RunRow) -> rusqlite::Result<()> {
    let cause = row.cause.map(|cause| match cause {
        Cause::Failure => "failure",
        Cause::Cancel => "cancel",
    });
    connection
        .prepare_cached("UPDATE runs SET state = ?2, cause = ?3, updated_at = ?4, recheck_due = ?5 WHERE run_id = ?1")?
        .execute(params![
            row.run_id.as_str(),
            row.state.as_str(),
            cause,
            row.updated_at.as_millisecond(),
            row.recheck_due.map(Timestamp::as_millisecond),
        ])?;
    Ok(())
}

pub(super) fn insert_record(
    connection: &Connection,
    run: &RunId,
    at: Timestamp,
    record: Record,
) -> rusqlite::Result<Entry> {
    let text = serde_json::to_string(&record)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection
        .prepare_cached(
            "INSERT INTO records (run_id, position, at, record)
             VALUES (?1, 1 + (SELECT COALESCE(MAX(position), 0) FROM records WHERE run_id = ?1), ?2, ?3)",
        )?
        .execute(params![run.as_str(), at.as_millisecond(), text])?;
    let seq = u64::try_from(connection.last_insert_rowid()).unwrap_or(0);
    Ok(Entry { seq, at, record })
}

pub(super) fn run(connection: &Connection, run: &RunId) -> Result<Option<RunRow>, JournalError> {
    let sql = format!("SELECT {COLUMNS} FROM runs WHERE run_id = ?1");
    let found = connection.prepare_cached(&sql).and_then(|mut statement| {
        statement
            .query_row([run.as_str()], |row| Ok(read_run(row)))
            .optional()
    });
    found.map_err(|error| damaged(&error))?.transpose()
}

/// The run that this row's request id led to last. `None`: it has none, or it is new.
pub(super) fn requested(
    connection: &Connection,
    row: &RunRow,
) -> Result<Option<RunRow>, JournalError> {
    let Some(request) = &row.options.request_id else {
        return Ok(None);
    };
    let sql = "SELECT run_id FROM requests WHERE caller = ?1 AND request_id = ?2";
    let found: Option<String> = connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement
                .query_row([&row.caller, request], |row| row.get(0))
                .optional()
        })
        .map_err(|error| damaged(&error))?;
    match found.and_then(|id| id.parse().ok()) {
        Some(id) => run(connection, &id),
        None => Ok(None),
    }
}

pub(super) fn bind_request(
    connection: &Connection,
    caller: &str,
    request: &str,
    run: &RunId,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO requests (caller, request_id, run_id) VALUES (?1, ?2, ?3)",
        )?
        .execute([caller, request, run.as_str()])?;
    Ok(())
}

pub(super) fn newest(
    connection: &Connection,
    subject: &str,
) -> Result<Option<RunRow>, JournalError> {
    let of_subject = of_subject(connection, subject)?;
    Ok(of_subject
        .into_iter()
        .find(|row| row.state != RunState::Planned))
}

/// All runs about this, newest first.
pub(super) fn of_subject(
    connection: &Connection,
    subject: &str,
) -> Result<Vec<RunRow>, JournalError> {
    let query = RunQuery {
        subject: Some(subject.to_owned()),
        ..RunQuery::default()
    };
    runs(connection, &query)
}

pub(super) fn not_over(connection: &Connection) -> Result<Vec<RunRow>, JournalError> {
    let clause =
        "state IN ('running', 'interrupted', 'compensating', 'stuck') OR recheck_due IS NOT NULL";
    select(connection, clause, rusqlite::params![])
}

pub(super) fn runs(connection: &Connection, query: &RunQuery) -> Result<Vec<RunRow>, JournalError> {
    let limit = query
        .limit
        .and_then(|limit| i64::try_from(limit).ok())
        .unwrap_or(-1);
    let clause = "(?1 IS NULL OR subject = ?1)
        AND (NOT ?2 OR state IN ('running', 'interrupted', 'compensating'))
        AND (NOT ?3 OR recheck_due IS NOT NULL)
        ORDER BY number DESC LIMIT ?4";
    select(
        connection,
        clause,
        params![query.subject, query.live, query.owing, limit],
    )
}

fn select(
    connection: &Connection,
    clause: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<RunRow>, JournalError> {
    let sql = format!("SELECT {COLUMNS} FROM runs WHERE {clause}");
    let mut statement = connection
        .prepare_cached(&sql)
        .map_err(|error| damaged(&error))?;
    let rows = statement
        .query_map(params, |row| Ok(read_run(row)))
        .map_err(|error| damaged(&error))?;
    rows.map(|row| row.map_err(|error| damaged(&error)).and_then(|row| row))
        .collect()
}

pub(super) fn history(connection: &Connection, run: &RunId) -> Result<Vec<Entry>, JournalError> {
    let sql = "SELECT seq, at, record, position FROM records WHERE run_id = ?1 ORDER BY position";
    let mut statement = connection
        .prepare_cached(sql)
        .map_err(|error| damaged(&error))?;
    let rows = statement
        .query_map([run.as_str()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, i64>(3)?,
            ))
        })
        .map_err(|error| damaged(&error))?;
    let mut entries = Vec::new();
    for row in rows {
        let (seq, at, text, position) = row.map_err(|error| damaged(&error))?;
        if usize::try_from(position) != Ok(entries.len() + 1) {
            return Err(JournalError::Damaged(format!(
                "run {run} has a hole before record {position}"
            )));
        }
        let record = serde_json::from_str(&text).map_err(|error| damaged(&error))?;
        entries.push(Entry {
            seq: u64::try_from(seq).unwrap_or(0),
            at: time(at)?,
            record,
        });
    }
    Ok(entries)
}

fn read_run(row: &Row<'_>) -> Result<RunRow, JournalError> {
    let text = |index: usize| row.get::<_, String>(index).map_err(|error| damaged(&error));
    let fixed: Fixed = serde_json::from_str(&text(6)?).map_err(|error| damaged(&error))?;
    let state = RunState::parse(&text(2)?)
        .ok_or_else(|| JournalError::Damaged("unknown run state".into()))?;
    let cause: Option<String> = row.get(3).map_err(|error| damaged(&error))?;
    let due: Option<i64> = row.get(5).map_err(|error| damaged(&error))?;
    Ok(RunRow {
        run_id: text(0)?.parse().map_err(|error| damaged(&error))?,
        subject: text(1)?,
        workflow: fixed.workflow,
        inputs: fixed.inputs,
        settings: fixed.settings,
        options: fixed.options,
        caller: fixed.caller,
        skipped: fixed.skipped,
        resources: fixed.resources,
        state,
        cause: cause.map(|cause| {
            if cause == "cancel" {
                Cause::Cancel
            } else {
                Cause::Failure
            }
        }),
        created_at: fixed.created_at,
        updated_at: time(row.get(4).map_err(|error| damaged(&error))?)?,
        recheck_due: due.map(time).transpose()?,
    })
}

fn time(milliseconds: i64) -> Result<Timestamp, JournalError> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| damaged(&error))
}

pub(super) fn damaged(error: &dyn std::fmt::Display) -> JournalError {
    JournalError::Damaged(error.to_string())
}
