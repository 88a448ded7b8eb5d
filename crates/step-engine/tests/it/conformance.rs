//! What any host must do, the same over every journal: in memory and on disk.
//!
//! A host that is added gets a [`Place`] of its own and passes the same list.

use std::sync::{Arc, Mutex};

use forgeline_step_engine::fault::{CrashPlan, CrashPoint};
use forgeline_step_engine::journal::memory::MemoryJournal;
use forgeline_step_engine::journal::sqlite::SqliteJournal;
use forgeline_step_engine::journal::{Admission, Journal, JournalError, RunOptions, RunQuery};
use forgeline_step_engine::{Cause, Engine, Record, RunState, Verb, Workflow};
use serde_json::json;

use crate::world::{STEPS, Trouble, World, request, run};

/// Where a journal outlives its processes.
pub(crate) enum Place {
    Memory(Mutex<Arc<MemoryJournal>>),
    Disk(tempfile::TempDir),
}

impl Place {
    pub(crate) fn memory() -> Self {
        Self::Memory(Mutex::default())
    }

    pub(crate) fn disk() -> Self {
        Self::Disk(tempfile::tempdir().unwrap())
    }

    /// Another place of the same kind.
    fn fresh(&self) -> Self {
        match self {
            Self::Memory(_) => Self::memory(),
            Self::Disk(_) => Self::disk(),
        }
    }

    /// The journal as a process opens it that ends where the plan says.
    pub(crate) async fn open(&self, crash: CrashPlan) -> Arc<dyn Journal> {
        match self {
            Self::Memory(last) => {
                let mut last = last.lock().unwrap();
                *last = Arc::new(last.reopened_with(crash));
                Arc::clone(&*last) as Arc<dyn Journal>
            }
            Self::Disk(dir) => loop {
                match SqliteJournal::open_with_crash(dir.path(), "test", crash.clone()) {
                    Ok(journal) => return Arc::new(journal),
                    // The process before lets go of it when its tasks are next looked at.
                    Err(JournalError::Held { .. }) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            },
        }
    }

    /// An engine in a process that nothing happens to.
    pub(crate) async fn engine(&self, world: &World) -> Engine {
        world.engine(self.open(CrashPlan::default()).await)
    }
}

/// Every behaviour over every place.
macro_rules! host_conformance {
    ($($module:ident :: $test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                crate::$module::$test(super::Place::memory()).await;
            })*
        }
        mod disk {
            $(#[tokio::test]
            async fn $test() {
                crate::$module::$test(super::Place::disk()).await;
            })*
        }
    };
}

host_conformance! {
    admission::calls_at_once_join_one_run,
    admission::a_repeat_of_a_success_finds_everything_and_makes_nothing,
    admission::a_repeat_repairs_what_is_missing_and_a_failed_repair_undoes_only_itself,
    admission::what_is_somebody_elses_stops_the_run_and_stays,
    admission::a_kept_run_goes_on_from_where_it_failed,
    admission::a_run_with_an_ambiguous_request_holds_its_resources_until_the_last_look,
    admission::once_the_last_look_is_made_the_resources_are_free,
    admission::a_kept_run_cannot_go_on_once_a_later_run_followed_it,
    admission::a_kept_run_cannot_take_back_what_another_subject_holds_by_now,
    admission::a_cancelled_run_that_nobody_drives_is_undone_and_says_cancel,
    conformance::no_effect_is_without_a_durable_intent_wherever_the_process_ends,
    conformance::a_request_id_answers_its_run_after_a_restart_too,
    conformance::a_resumed_run_follows_the_workflow_that_it_began_with,
    conformance::every_live_run_goes_on_at_the_next_start,
    conformance::a_cancel_while_a_step_runs_undoes_what_it_made,
    conformance::a_journal_that_refuses_stops_the_run_and_what_stands_is_known,
}

pub(crate) async fn no_effect_is_without_a_durable_intent_wherever_the_process_ends(place: Place) {
    for point in [CrashPoint::BeforeCommit, CrashPoint::AfterCommit] {
        for nth in 1.. {
            let (place, world) = (place.fresh(), World::default());
            let plan = CrashPlan::at(nth, point);
            let engine = world.engine(place.open(plan.clone()).await);
            if let Ok(Admission::Fresh(row)) = engine.start(request(&world, "s")).await {
                engine.wait(&row.run_id, None).await;
            }
            engine.stop().await;
            drop(engine);
            let journal = place.open(CrashPlan::default()).await;
            let rows = journal.runs(&RunQuery::default()).await.unwrap();
            let mut intents = Vec::new();
            for row in &rows {
                for entry in journal.history(&row.run_id).await.unwrap() {
                    if let Record::Started {
                        step,
                        verb: Verb::Apply,
                    } = entry.record
                    {
                        intents.push(step);
                    }
                }
            }
            for made in world.names() {
                assert!(intents.contains(&made), "{made} at record {nth}, {point:?}");
            }
            if !plan.fired() {
                assert!(nth > 10, "only {nth} records");
                break;
            }
        }
    }
}

pub(crate) async fn a_request_id_answers_its_run_after_a_restart_too(place: Place) {
    let world = World::default();
    let named = |subject: &str| {
        let mut request = request(&world, subject);
        request.options = RunOptions {
            request_id: Some("r1".into()),
            ..RunOptions::default()
        };
        request
    };
    let engine = place.engine(&world).await;
    let first = run(&engine, named("s")).await;
    engine.stop().await;
    drop(engine);
    let engine = place.engine(&world).await;
    let again = engine.start(named("s")).await.unwrap();
    assert_eq!(again.led_to(), Some(&first), "{again:?}");
    let other = engine.start(named("t")).await.unwrap();
    assert!(
        matches!(other, Admission::RequestConflict { .. }),
        "{other:?}"
    );
}

pub(crate) async fn a_resumed_run_follows_the_workflow_that_it_began_with(place: Place) {
    let world = World::default();
    let crash = CrashPlan::at(4, CrashPoint::AfterCommit);
    let engine = world.engine(place.open(crash.clone()).await);
    run(&engine, request(&world, "s")).await;
    engine.stop().await;
    drop(engine);
    assert!(crash.fired());
    // Meanwhile the file was changed.
    let text = "name: things\nsteps:\n  - { id: z, kind: thing.make, with: { name: z } }\n";
    let mut changed = request(&world, "s");
    changed.workflow = Workflow::parse("things.yaml", text, &world.registry()).unwrap();
    let engine = place.engine(&world).await;
    engine.resume_all().await.unwrap();
    let joined = engine.start(changed).await.unwrap();
    let run = joined.led_to().cloned();
    if let Some(run) = run {
        engine.wait(&run, None).await;
    }
    let rows = engine.runs(&RunQuery::default()).await.unwrap();
    let first = rows.last().unwrap();
    engine.wait(&first.run_id, None).await;
    assert_eq!(
        engine.snapshot(&first.run_id).await.unwrap().run.state,
        RunState::Succeeded
    );
    let made = world.names();
    assert!(
        STEPS.iter().all(|step| made.contains(&(*step).to_owned())),
        "{made:?}"
    );
}

/// One thing, named after the subject.
const ONE: &str = "name: one
inputs:
  name: { type: string, required: true }
steps:
  - { id: it, kind: thing.make, with: { name: '${{ inputs.name }}' } }
";

pub(crate) async fn every_live_run_goes_on_at_the_next_start(place: Place) {
    let world = World::default();
    let one = |name: &str| {
        let mut request = request(&world, name);
        request.workflow = Workflow::parse("one.yaml", ONE, &world.registry()).unwrap();
        request.inputs = json!({"name": name}).as_object().cloned().unwrap();
        request
    };
    let names: Vec<String> = (0..30).map(|number| format!("thing{number:02}")).collect();
    let crash = CrashPlan::at(45, CrashPoint::AfterCommit);
    let engine = world.engine(place.open(crash.clone()).await);
    for name in &names {
        // Once the process has ended nothing more is begun.
        drop(engine.start(one(name)).await);
    }
    engine.stop().await;
    drop(engine);
    assert!(crash.fired());
    let engine = place.engine(&world).await;
    let resumed = engine.resume_all().await.unwrap();
    assert!(resumed > 0);
    let rows = engine.runs(&RunQuery::default()).await.unwrap();
    for row in &rows {
        engine.wait(&row.run_id, None).await;
        let state = engine.snapshot(&row.run_id).await.unwrap().run.state;
        assert_eq!(state, RunState::Succeeded, "{}", row.subject);
    }
    let begun: Vec<String> = rows.iter().rev().map(|row| row.subject.clone()).collect();
    assert_eq!(world.names(), begun);
}

pub(crate) async fn a_cancel_while_a_step_runs_undoes_what_it_made(place: Place) {
    let world = World::default();
    let held = world.hold("d");
    let engine = place.engine(&world).await;
    let admission = engine.start(request(&world, "s")).await.unwrap();
    let run = admission.led_to().unwrap().clone();
    held.reached().await;
    engine.cancel(&run, "somebody").await.unwrap();
    held.let_go();
    engine.wait(&run, None).await;
    let row = engine.snapshot(&run).await.unwrap().run;
    assert_eq!(
        (row.state, row.cause),
        (RunState::Compensated, Some(Cause::Cancel))
    );
    assert!(world.names().is_empty(), "{:?}", world.names());
}

pub(crate) async fn a_journal_that_refuses_stops_the_run_and_what_stands_is_known(place: Place) {
    let world = World::default();
    world.trouble("d", Trouble::LostAfter);
    let crash = CrashPlan::at(9, CrashPoint::BeforeCommit);
    let engine = world.engine(place.open(crash.clone()).await);
    let run = run(&engine, request(&world, "s")).await;
    assert!(crash.fired());
    // Nothing more is begun in this process, and it says why.
    let refused = engine.start(request(&world, "other")).await;
    assert!(refused.is_err(), "{refused:?}");
    engine.stop().await;
    drop(engine);
    let engine = place.engine(&world).await;
    engine.resume_all().await.unwrap();
    engine.wait(&run, None).await;
    assert_eq!(
        engine.snapshot(&run).await.unwrap().run.state,
        RunState::Succeeded
    );
    assert_eq!(world.names(), STEPS);
}
