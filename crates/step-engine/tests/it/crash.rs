//! Failures at every step, lost answers at every step, crashes at every record; both journals.

use std::sync::Arc;

use forgeline_step_engine::fault::{CrashPlan, CrashPoint};
use forgeline_step_engine::journal::Journal;
use forgeline_step_engine::journal::memory::MemoryJournal;
use forgeline_step_engine::journal::sqlite::SqliteJournal;
use forgeline_step_engine::{OnFailure, Record, RunState};

use crate::world::{SETTLE, STEPS, Trouble, World, request, run};

/// The run ended for good, and the world fits its end: everything once, or nothing.
async fn assert_consistent(world: &World, engine: &forgeline_step_engine::Engine, what: &str) {
    let rows = engine
        .runs(&forgeline_step_engine::journal::RunQuery::default())
        .await
        .unwrap();
    let names = world.names();
    match rows.first().map(|row| row.state) {
        Some(RunState::Succeeded) => assert_eq!(names, STEPS, "{what}"),
        Some(RunState::Compensated) | None => {
            assert!(names.is_empty(), "{what}: {names:?} is left")
        }
        other => panic!("{what}: the run ended {other:?}"),
    }
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_nothing() {
    for step in STEPS {
        let world = World::default();
        world.trouble(step, Trouble::Refused);
        let engine = world.engine(Arc::new(MemoryJournal::new()));
        let id = run(&engine, request(&world, "s")).await;
        assert_eq!(
            engine.snapshot(&id).await.unwrap().run.state,
            RunState::Compensated,
            "{step}"
        );
        assert!(
            world.names().is_empty(),
            "{step}: {:?} is left",
            world.names()
        );
        assert_eq!(world.with(|things| things.fired), 1);
    }
}

#[tokio::test]
async fn a_lost_answer_or_a_busy_moment_at_any_step_makes_everything_once() {
    for trouble in [Trouble::LostAfter, Trouble::LostBefore, Trouble::Busy] {
        for step in STEPS {
            let world = World::default();
            world.trouble(step, trouble);
            let engine = world.engine(Arc::new(MemoryJournal::new()));
            let id = run(&engine, request(&world, "s")).await;
            assert_eq!(
                engine.snapshot(&id).await.unwrap().run.state,
                RunState::Succeeded,
                "{trouble:?} at {step}"
            );
            assert_eq!(world.names(), STEPS);
            assert_eq!(world.with(|things| things.fired), 1);
            // What a lost answer has made is found, not asked for again.
            let again = usize::from(trouble != Trouble::LostAfter);
            let applied = world.with(|things| things.applied);
            assert_eq!(applied, STEPS.len() + again, "{trouble:?} at {step}");
        }
    }
}

#[tokio::test]
async fn no_run_ends_before_a_settle_time_has_passed_since_its_last_mark() {
    for step in STEPS {
        let world = World::default();
        // More often than the step tries.
        for _ in 0..3 {
            world.trouble(step, Trouble::LostBefore);
        }
        let journal = Arc::new(MemoryJournal::new());
        let engine = world.engine(Arc::clone(&journal) as Arc<dyn Journal>);
        let mut kept = request(&world, "s");
        kept.options.on_failure = OnFailure::Keep;
        let id = run(&engine, kept).await;
        let state = engine.snapshot(&id).await.unwrap().run.state;
        assert_eq!(state, RunState::Failed, "{step}");
        let history = journal.history(&id).await.unwrap();
        let at = |is: fn(&Record) -> bool| {
            let found = history.iter().rev().find(|entry| is(&entry.record));
            found.unwrap().at
        };
        let mark = at(|record| matches!(record, Record::Ambiguous { .. }));
        let end = at(|record| matches!(record, Record::Ended { .. }));
        let passed = std::time::Duration::try_from(end.duration_since(mark)).unwrap();
        assert!(passed >= SETTLE, "{step}: {passed:?}");
    }
}

#[tokio::test]
async fn a_failure_after_a_lost_answer_undoes_what_the_lost_one_made() {
    for step in STEPS {
        let world = World::default();
        // Popped from the end: the first answer is lost, then the look finds it; a later step fails.
        world.trouble(step, Trouble::LostAfter);
        for other in STEPS.iter().filter(|other| **other != step) {
            world.trouble(other, Trouble::Refused);
        }
        let engine = world.engine(Arc::new(MemoryJournal::new()));
        run(&engine, request(&world, "s")).await;
        assert!(
            world.names().is_empty(),
            "{step}: {:?} is left",
            world.names()
        );
    }
}

/// Runs once with a crash at the n-th record, restarts, resumes. Answers whether the crash happened.
async fn crash_in_memory(trouble: Option<(&str, Trouble)>, nth: usize, point: CrashPoint) -> bool {
    let world = World::default();
    if let Some((step, trouble)) = trouble {
        world.trouble(step, trouble);
    }
    let plan = CrashPlan::at(nth, point);
    let journal = Arc::new(MemoryJournal::with_crash(plan.clone()));
    let engine = world.engine(Arc::clone(&journal) as Arc<dyn Journal>);
    if let Ok(forgeline_step_engine::journal::Admission::Fresh(row)) =
        engine.start(request(&world, "s")).await
    {
        engine.wait(&row.run_id, None).await;
    }
    engine.stop().await;
    let restarted = world.engine(Arc::new(journal.reopened()));
    restarted.resume_all().await.unwrap();
    for row in restarted
        .runs(&forgeline_step_engine::journal::RunQuery::default())
        .await
        .unwrap()
    {
        restarted.wait(&row.run_id, None).await;
    }
    assert_consistent(
        &world,
        &restarted,
        &format!("{trouble:?}, crash {point:?} at record {nth}"),
    )
    .await;
    plan.fired()
}

#[tokio::test]
async fn a_crash_at_any_record_resumes_to_everything_once_or_nothing() {
    let mut crashes = 0;
    let cases = std::iter::once(None).chain(STEPS.map(|step| Some((step, Trouble::Refused))));
    for trouble in cases {
        for point in [CrashPoint::BeforeCommit, CrashPoint::AfterCommit] {
            for nth in 1.. {
                if !crash_in_memory(trouble, nth, point).await {
                    break;
                }
                crashes += 1;
            }
        }
    }
    assert!(crashes > 100, "only {crashes} crashes happened");
}

#[tokio::test]
async fn a_crash_at_any_record_on_disk_resumes_to_everything_once() {
    for point in [CrashPoint::BeforeCommit, CrashPoint::AfterCommit] {
        for nth in 1.. {
            let world = World::default();
            let dir = tempfile::tempdir().unwrap();
            let plan = CrashPlan::at(nth, point);
            {
                let journal =
                    SqliteJournal::open_with_crash(dir.path(), "test", plan.clone()).unwrap();
                let engine = world.engine(Arc::new(journal));
                if let Ok(forgeline_step_engine::journal::Admission::Fresh(row)) =
                    engine.start(request(&world, "s")).await
                {
                    engine.wait(&row.run_id, None).await;
                }
                engine.stop().await;
            }
            let engine = world.engine(Arc::new(SqliteJournal::open(dir.path(), "test").unwrap()));
            engine.resume_all().await.unwrap();
            for row in engine
                .runs(&forgeline_step_engine::journal::RunQuery::default())
                .await
                .unwrap()
            {
                engine.wait(&row.run_id, None).await;
            }
            assert_consistent(&world, &engine, &format!("crash {point:?} at record {nth}")).await;
            if !plan.fired() {
                break;
            }
        }
    }
}
