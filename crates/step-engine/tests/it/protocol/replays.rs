//! The schedules that break without one of the rules of ambiguity, one by one.

use forgeline_step_engine::RunState;
use forgeline_step_engine::fault::CrashPoint;

use super::play::{Mode, Outcome, Schedule};
use super::played;
use super::upstream::{Choice, Deed, SETTLE, Trouble};

/// What comes to the nth request with these words.
fn at(words: &str, nth: usize, choice: Choice) -> ((String, usize), Choice) {
    ((words.to_owned(), nth), choice)
}

fn trouble(words: &str, nth: usize, trouble: Trouble) -> ((String, usize), Choice) {
    at(words, nth, Choice::Trouble(trouble))
}

fn deed(words: &str, nth: usize, deed: Deed) -> ((String, usize), Choice) {
    at(words, nth, Choice::Deed(deed))
}

fn schedule<const N: usize>(mode: Mode, choices: [((String, usize), Choice); N]) -> Schedule {
    Schedule {
        mode,
        choices: choices.into(),
        ..Schedule::default()
    }
}

/// Plays it: everything in it takes place, and the promise holds.
fn keeps_the_promise(schedule: &Schedule) -> Outcome {
    let outcome = played(schedule);
    assert!(outcome.happened, "not all of it took place: {schedule:?}");
    assert!(
        outcome.violations.is_empty(),
        "{schedule:?}: {:#?}",
        outcome.violations
    );
    outcome
}

/// As [`keeps_the_promise`]; the first run ends undone.
fn is_undone(schedule: &Schedule) -> Outcome {
    let outcome = keeps_the_promise(schedule);
    assert_eq!(outcome.state, Some(RunState::Compensated), "{schedule:?}");
    outcome
}

const NO_ISSUE: (&str, usize, Trouble) = ("open an issue in shop", 1, Trouble::Refused);

fn no_issue() -> ((String, usize), Choice) {
    let (words, nth, refused) = NO_ISSUE;
    trouble(words, nth, refused)
}

#[test]
fn reads_that_lag_behind_a_clean_creation_hide_nothing_from_an_undo() {
    let failing = schedule(Mode::Plain, [no_issue()]);
    let looks = is_undone(&failing)
        .log
        .into_iter()
        .filter(|seen| seen.reads);
    for look in looks.collect::<Vec<_>>() {
        let mut lagging = failing.clone();
        lagging
            .choices
            .push((look.key, Choice::Trouble(Trouble::Lagging)));
        is_undone(&lagging);
    }
}

#[test]
fn an_undo_does_not_look_for_what_may_be_under_way_before_a_settle_time_has_passed() {
    for lost in [Trouble::LostBefore, Trouble::LostAfter, Trouble::Late(30)] {
        let cancelled = [
            deed("create shop", 1, Deed::Cancels),
            trouble("create shop", 1, lost),
        ];
        let log = is_undone(&schedule(Mode::Plain, cancelled)).log;
        let first = |words: &str| log.iter().find(|seen| seen.key.0 == words).unwrap().at;
        assert!(
            first("look at shop") - first("create shop") >= SETTLE,
            "{lost:?}"
        );
    }
}

#[test]
fn a_late_removal_change_or_archiving_never_lands_on_what_the_next_run_made() {
    for words in [
        "delete shop",
        "archive shop",
        "describe shop",
        "close an issue in shop",
    ] {
        for late in [Trouble::Late(130), Trouble::Late(250)] {
            let failing = match words {
                "describe shop" => schedule(Mode::Plain, [trouble(words, 1, late), no_issue()]),
                "close an issue in shop" => schedule(
                    Mode::Plain,
                    [
                        deed("open an issue in shop", 1, Deed::Cancels),
                        trouble(words, 1, late),
                    ],
                ),
                _ => schedule(Mode::Plain, [no_issue(), trouble(words, 1, late)]),
            };
            is_undone(&failing);
        }
    }
}

#[test]
fn nobody_gets_the_names_of_a_run_while_a_creation_may_be_under_way() {
    let lost = [
        trouble("create shop", 1, Trouble::Late(250)),
        trouble("create shop", 2, Trouble::Refused),
    ];
    let looks = is_undone(&schedule(Mode::Plain, lost.clone())).log;
    for look in looks
        .into_iter()
        .filter(|seen| seen.reads && seen.key.0 == "look at shop")
    {
        let mut asked = schedule(Mode::Plain, lost.clone());
        asked
            .choices
            .push((look.key, Choice::Deed(Deed::AnotherProject)));
        is_undone(&asked);
    }
}

#[test]
fn a_mirror_that_a_person_added_is_theirs() {
    // Theirs was there before, and is used.
    is_undone(&schedule(Mode::Adopt, [no_issue()]));
    // Theirs comes while the fate of ours is unknown.
    for late in [
        Trouble::LostBefore,
        Trouble::LostAfter,
        Trouble::Late(130),
        Trouble::Late(250),
    ] {
        let meanwhile = [
            trouble("add a mirror to shop", 1, late),
            deed("add a mirror to shop", 1, Deed::AddsAMirror),
        ];
        keeps_the_promise(&schedule(Mode::Plain, meanwhile));
    }
}

#[test]
fn the_last_look_of_a_run_that_was_kept_takes_nothing_that_it_keeps() {
    for words in [
        "create shop",
        "create space",
        "add a mirror to shop",
        "describe shop",
    ] {
        let kept = [trouble(words, 1, Trouble::LostAfter), no_issue()];
        let outcome = keeps_the_promise(&schedule(Mode::Keep, kept));
        assert_eq!(outcome.state, Some(RunState::Failed));
        let again = outcome
            .log
            .iter()
            .filter(|seen| seen.key.0 == "create shop");
        assert_eq!(
            again.count(),
            1,
            "the next run uses the repository that was kept"
        );
    }
}

#[test]
fn a_repository_is_not_left_read_only_by_an_undo_that_is_stuck() {
    let refused = trouble("delete shop", 1, Trouble::Refused);
    let outcome = keeps_the_promise(&schedule(Mode::Plain, [no_issue(), refused.clone()]));
    assert_eq!(outcome.state, Some(RunState::Stuck));
    // Nor when opening it again fails at first: the next try knows that this run has closed it.
    for trouble_ in [Trouble::Refused, Trouble::LostBefore, Trouble::LostAfter] {
        let reopening = trouble("unarchive shop", 1, trouble_);
        keeps_the_promise(&schedule(
            Mode::Plain,
            [no_issue(), refused.clone(), reopening],
        ));
    }
}

#[test]
fn a_cancel_that_comes_first_after_a_crash_undoes_what_was_under_way() {
    for late in [
        Trouble::LostAfter,
        Trouble::Late(30),
        Trouble::Late(130),
        Trouble::Late(250),
    ] {
        let begun = schedule(Mode::Plain, [trouble("create shop", 1, late)]);
        let records = keeps_the_promise(&begun).records;
        for nth in 1..=records {
            for point in [CrashPoint::BeforeCommit, CrashPoint::AfterCommit] {
                let mut crashed = begun.clone();
                crashed.crash = Some((nth, point));
                crashed.cancelled_after = true;
                let outcome = played(&crashed);
                assert!(
                    outcome.violations.is_empty(),
                    "{crashed:?}: {:#?}",
                    outcome.violations
                );
            }
        }
    }
}

#[test]
fn a_refusal_after_a_lost_answer_does_not_make_the_first_one_harmless() {
    for words in [
        "create shop",
        "create space",
        "open an issue in shop",
        "add a mirror to shop",
    ] {
        for late in [Trouble::Late(130), Trouble::Late(250)] {
            let lost = [trouble(words, 1, late), trouble(words, 2, Trouble::Refused)];
            is_undone(&schedule(Mode::Plain, lost));
        }
    }
}

#[test]
fn a_look_at_start_up_before_the_due_time_does_not_count_as_the_last_one() {
    let lost = [
        trouble("create shop", 1, Trouble::Late(250)),
        trouble("create shop", 2, Trouble::Refused),
    ];
    let begun = schedule(Mode::Plain, lost);
    let records = is_undone(&begun).records;
    for nth in 1..=records {
        let mut crashed = begun.clone();
        crashed.crash = Some((nth, CrashPoint::AfterCommit));
        let outcome = played(&crashed);
        assert!(
            outcome.violations.is_empty(),
            "{crashed:?}: {:#?}",
            outcome.violations
        );
    }
}

#[test]
fn a_late_twin_beside_the_receipt_is_removed() {
    for words in ["open an issue in shop", "add a mirror to shop"] {
        for mode in [Mode::Plain, Mode::Keep] {
            let outcome =
                keeps_the_promise(&schedule(mode, [trouble(words, 1, Trouble::Late(130))]));
            assert_eq!(outcome.state, Some(RunState::Succeeded));
            let sent = outcome.log.iter().filter(|seen| seen.key.0 == words);
            assert_eq!(sent.count(), 2, "it was made twice");
        }
    }
}

#[test]
fn a_new_run_waits_for_the_last_look_of_the_one_before() {
    // What was lost would land in the repository that the next run makes under the same name.
    for words in [
        "open an issue in shop",
        "add a mirror to shop",
        "describe shop",
    ] {
        let lost = [
            trouble(words, 1, Trouble::Late(250)),
            trouble(words, 2, Trouble::Refused),
        ];
        is_undone(&schedule(Mode::Plain, lost));
    }
}

#[test]
fn a_last_look_whose_own_removal_is_refused_stays_owed() {
    let lost = [
        trouble("open an issue in shop", 1, Trouble::Late(250)),
        trouble("open an issue in shop", 2, Trouble::Refused),
        trouble("close an issue in shop", 1, Trouble::Refused),
    ];
    let outcome = is_undone(&schedule(Mode::Adopt, lost));
    let removals = outcome
        .log
        .iter()
        .filter(|seen| seen.key.0 == "close an issue in shop");
    assert!(removals.count() > 1, "it is tried again");
}
