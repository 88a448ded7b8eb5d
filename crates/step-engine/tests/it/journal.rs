//! The journal on disk: one writer, readers beside it, fencing, and what it says when it cannot be used.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use forgeline_step_engine::RunState;
use forgeline_step_engine::journal::sqlite::{FILE, SqliteJournal};
use forgeline_step_engine::journal::{Journal, JournalError, RunQuery};

use crate::world::{STEPS, World, request, run};

#[tokio::test]
async fn a_second_writer_is_told_who_holds_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let first = SqliteJournal::open(dir.path(), "the first one").unwrap();
    let error = SqliteJournal::open(dir.path(), "the second one").unwrap_err();
    assert!(
        matches!(&error, JournalError::Held { holder, .. } if holder.what == "the first one"),
        "{error}"
    );
    assert_eq!(
        SqliteJournal::holder(dir.path()).unwrap().pid,
        std::process::id()
    );
    drop(first);
    assert!(SqliteJournal::holder(dir.path()).is_none());
    SqliteJournal::open(dir.path(), "the second one").unwrap();
}

#[tokio::test]
async fn a_reader_sees_what_a_writer_beside_it_has_done() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        SqliteJournal::open_for_reading(dir.path())
            .unwrap()
            .is_none()
    );
    let world = World::default();
    let engine = world.engine(Arc::new(SqliteJournal::open(dir.path(), "writer").unwrap()));
    let id = run(&engine, request(&world, "s")).await;
    let reader = SqliteJournal::open_for_reading(dir.path())
        .unwrap()
        .unwrap();
    assert_eq!(
        reader.run(&id).await.unwrap().unwrap().state,
        RunState::Succeeded
    );
    assert_eq!(
        reader
            .runs(&RunQuery {
                live: true,
                ..RunQuery::default()
            })
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        reader.append(&id, Vec::new()).await,
        Err(JournalError::ReadOnly)
    );
}

#[tokio::test]
async fn a_writer_whose_epoch_was_bumped_is_fenced_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let engine = world.engine(Arc::new(SqliteJournal::open(dir.path(), "writer").unwrap()));
    let other = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    other
        .execute("UPDATE epoch SET value = value + 1", [])
        .unwrap();
    let error = engine.start(request(&world, "s")).await.unwrap_err();
    assert!(
        error.to_string().contains("another process has taken over"),
        "{error}"
    );
    assert!(world.names().is_empty());
    let runs: i64 = other
        .query_row("SELECT COUNT(*) FROM runs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(runs, 0);
}

/// A copy of a journal's files as a machine may leave them that lost its power: the log ends after so many bytes.
fn cut(from: &Path, bytes: usize) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    std::fs::copy(from.join(FILE), to.path().join(FILE)).unwrap();
    let log = std::fs::read(from.join(format!("{FILE}-wal"))).unwrap();
    std::fs::write(to.path().join(format!("{FILE}-wal")), &log[..bytes]).unwrap();
    to
}

#[tokio::test]
async fn a_journal_cut_at_any_record_or_in_the_middle_of_a_page_goes_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let engine = world.engine(Arc::new(SqliteJournal::open(dir.path(), "writer").unwrap()));
    let id = run(&engine, request(&world, "s")).await;
    let whole = SqliteJournal::open_for_reading(dir.path())
        .unwrap()
        .unwrap();
    let whole = whole.history(&id).await.unwrap();
    let log = std::fs::metadata(dir.path().join(format!("{FILE}-wal"))).unwrap();
    let length = usize::try_from(log.len()).unwrap();
    // A frame of the log is a page of 4096 bytes and a head of 24; the log's own head has 32.
    let frames: Vec<usize> = (0..)
        .map(|frame| 32 + frame * 4120)
        .take_while(|at| *at <= length)
        .collect();
    assert!(frames.len() > whole.len() / 2, "{} frames", frames.len());
    let torn = frames.iter().flat_map(|at| [at + 10, at + 2000, at + 4119]);
    let cuts = frames
        .iter()
        .copied()
        .chain(torn)
        .filter(|at| *at <= length);
    let mut lengths = BTreeSet::new();
    for at in cuts.collect::<Vec<_>>() {
        let copy = cut(dir.path(), at);
        let journal = SqliteJournal::open(copy.path(), "after").unwrap();
        let history = match journal.run(&id).await.unwrap() {
            Some(_) => journal.history(&id).await.unwrap(),
            None => Vec::new(),
        };
        assert_eq!(history, whole[..history.len()], "cut at {at}");
        lengths.insert(history.len());
        // What was acknowledged and is lost is in the world: it is found, not made again.
        let engine = world.engine(Arc::new(journal));
        engine.resume_all().await.unwrap();
        for row in engine.runs(&RunQuery::default()).await.unwrap() {
            engine.wait(&row.run_id, None).await;
            let state = engine.snapshot(&row.run_id).await.unwrap().run.state;
            assert_eq!(state, RunState::Succeeded, "cut at {at}");
        }
        assert_eq!(world.names(), STEPS, "cut at {at}");
        engine.stop().await;
    }
    assert_eq!(lengths.last(), Some(&whole.len()));
    assert!(lengths.len() > 5, "{lengths:?}");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SqliteJournal::open(&file.join("data"), "test").unwrap_err();
    assert!(matches!(error, JournalError::Unwritable { .. }), "{error}");
    assert!(error.to_string().contains("file/data"), "{error}");
}
