//! The journal on disk: one writer, readers beside it, fencing, and what it says when it cannot be used.

use std::sync::Arc;

use forgeline_step_engine::RunState;
use forgeline_step_engine::journal::sqlite::{FILE, SqliteJournal};
use forgeline_step_engine::journal::{Journal, JournalError, RunQuery};

use crate::world::{World, request, run};

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

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SqliteJournal::open(&file.join("data"), "test").unwrap_err();
    assert!(matches!(error, JournalError::Unwritable { .. }), "{error}");
    assert!(error.to_string().contains("file/data"), "{error}");
}
