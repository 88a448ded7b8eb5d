//! The protocol, explored: the real planner, host and operations against a small forge, under every schedule with up to
//! two things that go wrong, each at every request and record.
//!
//! The bound: one project of a repository, a namespace, a mirror, an issue and a description; two tries for each step; any
//! one request refused, lost before or after its effect, late by three lengths, or read stale; a person, another instance,
//! another project or a cancel before any request; a crash before or after any record, and a cancel as the first thing
//! after it. The same call follows as soon as it is taken. Each of these alone, and a sample of the pairs, in every test
//! run; every pair in `just prove`.

#[path = "protocol/instance.rs"]
mod instance;
#[path = "protocol/judge.rs"]
mod judge;
#[path = "protocol/play.rs"]
mod play;
#[path = "protocol/replays.rs"]
mod replays;
#[path = "protocol/steps.rs"]
mod steps;
#[path = "protocol/upstream.rs"]
mod upstream;

use std::collections::BTreeSet;
use std::io::Write;

use forgeline_step_engine::fault::CrashPoint;

use play::{Mode, Outcome, Schedule, play};
use upstream::{Choice, Deed, Key, Seen, Trouble};

const ON_CHANGE: [Trouble; 6] = [
    Trouble::Refused,
    Trouble::LostBefore,
    Trouble::LostAfter,
    Trouble::Late(30),
    Trouble::Late(130),
    Trouble::Late(250),
];
const ON_READ: [Trouble; 2] = [Trouble::Lagging, Trouble::Unread];
const DEEDS: [Deed; 9] = [
    Deed::TakesTheName,
    Deed::OpensAnIssue,
    Deed::AddsAMirror,
    Deed::Archives,
    Deed::DeletesIt,
    Deed::PutsAnotherInItsPlace,
    Deed::Cancels,
    Deed::AnotherInstance,
    Deed::AnotherProject,
];

fn choices(seen: &Seen) -> Vec<Choice> {
    let troubles: &[Trouble] = if seen.reads { &ON_READ } else { &ON_CHANGE };
    let deeds = DEEDS.iter().filter(|_| seen.key.0.ends_with("shop"));
    let troubles = troubles.iter().copied().map(Choice::Trouble);
    troubles.chain(deeds.copied().map(Choice::Deed)).collect()
}

/// Plays a schedule in a runtime of its own, with time that passes only when everybody waits.
fn played(schedule: &Schedule) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(play(schedule))
}

/// The schedules with one more thing in them, after the last one.
fn longer(schedule: &Schedule, outcome: &Outcome) -> Vec<Schedule> {
    let last = |key: &Key| {
        outcome
            .log
            .iter()
            .position(|seen| seen.key == *key)
            .map_or(0, |at| at + 1)
    };
    let mut from = schedule
        .choices
        .iter()
        .map(|(key, _)| last(key))
        .max()
        .unwrap_or_default();
    if schedule.crash.is_some() {
        from = from.max(outcome.before_crash);
    }
    let mut more = Vec::new();
    for seen in &outcome.log[from.min(outcome.log.len())..] {
        for choice in choices(seen) {
            let mut next = schedule.clone();
            next.choices.push((seen.key.clone(), choice));
            more.push(next);
        }
    }
    if schedule.crash.is_none() {
        for nth in 1..=outcome.records {
            for point in [CrashPoint::BeforeCommit, CrashPoint::AfterCommit] {
                for cancelled_after in [false, true] {
                    more.push(Schedule {
                        crash: Some((nth, point)),
                        cancelled_after,
                        ..schedule.clone()
                    });
                }
            }
        }
    }
    more
}

#[derive(Default)]
struct Explored {
    schedules: usize,
    happened: usize,
    violations: Vec<String>,
    requests: BTreeSet<String>,
}

impl Explored {
    fn play(&mut self, schedule: &Schedule) -> Outcome {
        let outcome = played(schedule);
        self.schedules += 1;
        self.happened += usize::from(outcome.happened);
        self.requests
            .extend(outcome.log.iter().map(|seen| seen.key.0.clone()));
        for violation in &outcome.violations {
            self.violations.push(format!(
                "{violation}\n    {schedule:?} -> {:?}",
                outcome.state
            ));
        }
        outcome
    }

    /// Everything up to one thing; of the pairs, every `step`th.
    fn explore(&mut self, mode: Mode, step: usize) {
        let begun = Schedule {
            mode,
            ..Schedule::default()
        };
        let clean = self.play(&begun);
        let mut pairs = Vec::new();
        for single in longer(&begun, &clean) {
            let outcome = self.play(&single);
            if outcome.happened {
                pairs.extend(longer(&single, &outcome));
            }
        }
        for pair in pairs.iter().step_by(step) {
            self.play(pair);
        }
    }
}

/// All modes; of the pairs, every `step`th.
fn explored(step: usize) {
    let mut explored = Explored::default();
    for mode in [Mode::Plain, Mode::Keep, Mode::Adopt] {
        explored.explore(mode, step);
    }
    let (schedules, happened) = (explored.schedules, explored.happened);
    // Past the capture of a passing test: the figures are part of the result.
    let _ = writeln!(
        std::io::stderr(),
        "protocol: {schedules} schedules, {happened} of them as ordered to the end, {} kinds of requests, {} violations",
        explored.requests.len(),
        explored.violations.len()
    );
    let shown: Vec<&String> = explored.violations.iter().take(20).collect();
    assert!(
        explored.violations.is_empty(),
        "{} violations: {shown:#?}",
        explored.violations.len()
    );
    assert!(happened * 2 > schedules);
}

#[test]
fn no_trouble_breaks_the_promise_and_no_pair_of_a_sample_does() {
    explored(37);
}

#[test]
#[ignore = "takes minutes; `just prove` runs it"]
fn no_pair_of_troubles_breaks_the_promise() {
    explored(1);
}
