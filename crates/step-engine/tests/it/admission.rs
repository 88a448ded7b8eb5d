//! What a repeat does, over the real engine; run over every journal by `conformance`.

use std::time::Duration;

use forgeline_step_engine::fault::{CrashPlan, CrashPoint};
use forgeline_step_engine::journal::{Admission, RunOptions};
use forgeline_step_engine::{Cause, Decision, OnFailure, Origin, RunState};
use serde_json::json;

use crate::conformance::Place;
use crate::world::{STEPS, Trouble, World, request, run};

pub(crate) async fn calls_at_once_join_one_run(place: Place) {
    let world = World::default();
    let engine = place.engine(&world).await;
    let (first, second, third) = tokio::join!(
        run(&engine, request(&world, "s")),
        run(&engine, request(&world, "s")),
        run(&engine, request(&world, "s"))
    );
    assert_eq!((&first, &first), (&second, &third));
    assert_eq!(world.with(|things| things.applied), STEPS.len());
}

pub(crate) async fn a_repeat_of_a_success_finds_everything_and_makes_nothing(place: Place) {
    let world = World::default();
    let engine = place.engine(&world).await;
    run(&engine, request(&world, "s")).await;
    let again = run(&engine, request(&world, "s")).await;
    let snapshot = engine.snapshot(&again).await.unwrap();
    assert_eq!(snapshot.run.state, RunState::Succeeded);
    assert!(
        snapshot
            .steps
            .iter()
            .all(|step| step.origin == Some(Origin::Existing))
    );
    assert_eq!(world.with(|things| things.applied), STEPS.len());
    assert_eq!(snapshot.outputs, json!({"last": "d"}));
}

pub(crate) async fn a_repeat_repairs_what_is_missing_and_a_failed_repair_undoes_only_itself(
    place: Place,
) {
    let world = World::default();
    let engine = place.engine(&world).await;
    run(&engine, request(&world, "s")).await;
    world.with(|things| things.made.remove("d"));
    world.trouble("d", Trouble::Refused);
    let failed = run(&engine, request(&world, "s")).await;
    assert_eq!(
        engine.snapshot(&failed).await.unwrap().run.state,
        RunState::Compensated
    );
    assert_eq!(world.names(), ["a", "b", "c", "e"]);
    let repaired = run(&engine, request(&world, "s")).await;
    assert_eq!(
        engine.snapshot(&repaired).await.unwrap().run.state,
        RunState::Succeeded
    );
    assert_eq!(world.names(), STEPS);
}

pub(crate) async fn what_is_somebody_elses_stops_the_run_and_stays(place: Place) {
    let world = World::default();
    world.with(|things| things.made.insert("d".into(), None));
    let engine = place.engine(&world).await;
    let id = run(&engine, request(&world, "s")).await;
    let snapshot = engine.snapshot(&id).await.unwrap();
    assert_eq!(snapshot.error.unwrap().1.code, "project.not_ours");
    assert_eq!(world.names(), ["d"]);
    let mut adopting = request(&world, "s");
    adopting.options = RunOptions {
        adopt: true,
        ..RunOptions::default()
    };
    let id = run(&engine, adopting).await;
    let snapshot = engine.snapshot(&id).await.unwrap();
    assert_eq!(snapshot.run.state, RunState::Succeeded);
    assert_eq!(snapshot.steps[3].origin, Some(Origin::Adopted));
}

pub(crate) async fn a_kept_run_goes_on_from_where_it_failed(place: Place) {
    let world = World::default();
    world.trouble("d", Trouble::Refused);
    let engine = place.engine(&world).await;
    let mut keeping = request(&world, "s");
    keeping.options = RunOptions {
        on_failure: OnFailure::Keep,
        ..RunOptions::default()
    };
    let id = run(&engine, keeping).await;
    assert_eq!(
        engine.snapshot(&id).await.unwrap().run.state,
        RunState::Failed
    );
    assert_eq!(world.names(), ["a", "b", "c", "e"]);
    engine
        .decide(&id, Decision::Continue, "test")
        .await
        .unwrap();
    engine.wait(&id, None).await;
    assert_eq!(
        engine.snapshot(&id).await.unwrap().run.state,
        RunState::Succeeded
    );
    assert_eq!(world.names(), STEPS);
}

pub(crate) async fn a_run_with_an_ambiguous_request_holds_its_resources_until_the_last_look(
    place: Place,
) {
    let world = World::with_recheck(Duration::from_secs(3600));
    world.trouble("a", Trouble::LostAfter);
    let engine = place.engine(&world).await;
    let id = run(&engine, request(&world, "s")).await;
    let row = engine.snapshot(&id).await.unwrap().run;
    assert_eq!(row.state, RunState::Succeeded);
    assert!(row.recheck_due.is_some());
    let another = engine.start(request(&world, "another")).await.unwrap();
    assert!(matches!(another, Admission::Settling { .. }), "{another:?}");
    let same = engine.start(request(&world, "s")).await.unwrap();
    assert!(
        matches!(&same, Admission::Answered(answered) if answered.run_id == id),
        "{same:?}"
    );
    let mut other = request(&world, "s");
    other.inputs.insert("colour".into(), json!("blue"));
    let other = engine.start(other).await.unwrap();
    assert!(matches!(other, Admission::Settling { .. }), "{other:?}");
}

pub(crate) async fn once_the_last_look_is_made_the_resources_are_free(place: Place) {
    let world = World::with_recheck(Duration::ZERO);
    world.trouble("a", Trouble::LostAfter);
    let engine = place.engine(&world).await;
    run(&engine, request(&world, "s")).await;
    let again = engine.start(request(&world, "s")).await.unwrap();
    assert!(matches!(again, Admission::Fresh(_)), "{again:?}");
}

pub(crate) async fn a_kept_run_cannot_go_on_once_a_later_run_followed_it(place: Place) {
    let world = World::default();
    world.trouble("d", Trouble::Refused);
    let engine = place.engine(&world).await;
    let mut keeping = request(&world, "s");
    keeping.options = RunOptions {
        on_failure: OnFailure::Keep,
        ..RunOptions::default()
    };
    let kept = run(&engine, keeping).await;
    let later = run(&engine, request(&world, "s")).await;
    let error = engine
        .decide(&kept, Decision::Continue, "test")
        .await
        .unwrap_err();
    assert!(error.to_string().contains(later.as_str()), "{error}");
    assert_eq!(
        engine.snapshot(&kept).await.unwrap().run.state,
        RunState::Failed
    );
}

pub(crate) async fn a_kept_run_cannot_take_back_what_another_subject_holds_by_now(place: Place) {
    let world = World::with_recheck(Duration::from_secs(3600));
    world.trouble("d", Trouble::Refused);
    let engine = place.engine(&world).await;
    let mut keeping = request(&world, "s");
    keeping.options = RunOptions {
        on_failure: OnFailure::Keep,
        ..RunOptions::default()
    };
    let kept = run(&engine, keeping).await;
    // The other one takes the same names, fails, and owes its last look, so it still holds them.
    world.with(|things| things.made.clear());
    world.trouble("d", Trouble::Refused);
    world.trouble("a", Trouble::LostAfter);
    let holder = run(&engine, request(&world, "another")).await;
    let error = engine
        .decide(&kept, Decision::Continue, "test")
        .await
        .unwrap_err();
    assert!(error.to_string().contains(holder.as_str()), "{error}");
}

pub(crate) async fn a_cancelled_run_that_nobody_drives_is_undone_and_says_cancel(place: Place) {
    let world = World::default();
    let crash = CrashPlan::at(6, CrashPoint::AfterCommit);
    let engine = world.engine(place.open(crash).await);
    let id = run(&engine, request(&world, "s")).await;
    engine.stop().await;
    drop(engine);
    let restarted = place.engine(&world).await;
    restarted.cancel(&id, "somebody").await.unwrap();
    restarted.wait(&id, None).await;
    let row = restarted.snapshot(&id).await.unwrap().run;
    assert_eq!(
        (row.state, row.cause),
        (RunState::Compensated, Some(Cause::Cancel))
    );
    assert!(world.names().is_empty(), "{:?}", world.names());
}
