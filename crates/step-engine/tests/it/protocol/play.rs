//! One schedule, from the call to the last look.

use std::sync::Arc;
use std::time::Duration;

use forgeline_step_engine::fault::{CrashPlan, CrashPoint};
use forgeline_step_engine::journal::Journal;
use forgeline_step_engine::{Decision, RunId, RunState};
use tokio::sync::mpsc;

use super::instance::{Instance, request};
use super::judge::{judge, persons_work_is_there};
use super::upstream::{Choice, Deed, Key, LAG, SETTLE, Seen, Trouble, Upstream};

/// How the call is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Mode {
    #[default]
    Plain,
    /// What fails is kept.
    Keep,
    /// A person's repository of that name is there, with a mirror of theirs, and is to be used.
    Adopt,
}

/// What happens, besides the call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) mode: Mode,
    pub(crate) choices: Vec<(Key, Choice)>,
    /// The process ends at this record, and another one begins.
    pub(crate) crash: Option<(usize, CrashPoint)>,
    /// The first thing that the other process hears is a cancel.
    pub(crate) cancelled_after: bool,
}

impl Schedule {
    /// An effect is seen later than a settle time after its request: only the last look finds it.
    fn outlasts_the_run(&self) -> bool {
        let trouble = |choice: &Choice| match choice {
            Choice::Trouble(trouble) => Some(*trouble),
            Choice::Deed(_) => None,
        };
        let troubles = || {
            self.choices
                .iter()
                .filter_map(|(_, choice)| trouble(choice))
        };
        let lag = match troubles().any(|trouble| trouble == Trouble::Lagging) {
            true => LAG,
            false => Duration::ZERO,
        };
        troubles().any(|trouble| match trouble {
            Trouble::Late(after) => Duration::from_millis(after) + lag > SETTLE,
            _ => false,
        })
    }

    pub(crate) fn has(&self, deed: Deed) -> bool {
        self.choices
            .iter()
            .any(|(_, choice)| *choice == Choice::Deed(deed))
    }
}

/// What a schedule showed.
pub(crate) struct Outcome {
    pub(crate) state: Option<RunState>,
    /// Every request, until no run owed anything.
    pub(crate) log: Vec<Seen>,
    /// Of these, how many were made before the process ended.
    pub(crate) before_crash: usize,
    pub(crate) records: usize,
    /// Everything in the schedule took place.
    pub(crate) happened: bool,
    pub(crate) violations: Vec<String>,
}

/// Plays a schedule: the call, what happens, the same call again as soon as it is taken, and silence.
pub(crate) async fn play(schedule: &Schedule) -> Outcome {
    let crash = schedule
        .crash
        .map_or_else(CrashPlan::default, |(nth, point)| CrashPlan::at(nth, point));
    let (upstream, called) = Upstream::with(schedule.choices.clone());
    let home = Instance::new(&upstream, crash.clone(), schedule.cancelled_after);
    let home = Arc::new(home);
    let away = Arc::new(Instance::new(&upstream, CrashPlan::default(), false));
    if schedule.mode == Mode::Adopt {
        let now = home.journal().now();
        upstream.does(Deed::TakesTheName, "shop", now);
        upstream.does(Deed::AddsAMirror, "shop", now);
    }
    let others = others(called, Arc::clone(&home), Arc::clone(&away), schedule.mode);
    let others = tokio::spawn(others);

    let engine = home.engine();
    // A process that ends at once admits nothing.
    drop(
        engine
            .start(request(&engine, "shop", "space", schedule.mode))
            .await,
    );
    let first = home.rows().await.last().map(|row| row.run_id.clone());
    if let Some(first) = &first {
        engine.wait(first, None).await;
    }
    let mut unrest: Vec<String> = home.rest(false).await.err().into_iter().collect();
    let state = state_of(&home, first.as_ref()).await;
    let mut violations = Vec::new();
    if !schedule.outlasts_the_run() {
        let early = judge(&upstream, &home, schedule).await;
        let early = early
            .into_iter()
            .map(|why| format!("when the run ended: {why}"));
        violations.extend(early);
    }
    unrest.extend(home.repeat(schedule.mode).await.err());
    unrest.extend(home.rest(true).await.err());
    unrest.extend(away.rest(true).await.err());
    let happened =
        upstream.happened() == schedule.choices.len() && crash.fired() == schedule.crash.is_some();
    let (records, log) = (crash.seen(), upstream.log());
    violations.extend(judge(&upstream, &home, schedule).await);
    violations.extend(judge(&upstream, &away, schedule).await);
    violations.extend(unrest);
    violations.extend(persons_work_is_there(&upstream, schedule));
    upstream.calm();
    if violations.is_empty() {
        violations.extend(settle_what_is_stuck(&home).await.err());
        violations.extend(judge(&upstream, &home, schedule).await);
    }
    others.abort();
    Outcome {
        state,
        log,
        before_crash: home.requests_before(),
        records,
        happened,
        violations,
    }
}

async fn state_of(home: &Instance, run: Option<&RunId>) -> Option<RunState> {
    let row = home.journal().run(run?).await.unwrap()?;
    Some(row.state)
}

/// An operator tries again what could not be undone, now that nothing is in the way.
async fn settle_what_is_stuck(home: &Instance) -> Result<(), String> {
    for row in home.rows().await {
        if row.state == RunState::Stuck {
            home.engine()
                .decide(&row.run_id, Decision::RetryUndo, "ada")
                .await
                .unwrap();
            home.engine().wait(&row.run_id, None).await;
        }
    }
    // What was looked for in vain is looked for again.
    tokio::time::sleep(Duration::from_secs(120)).await;
    home.rest(true).await
}

/// What the schedule asks of others than the forge.
async fn others(
    mut called: mpsc::UnboundedReceiver<Deed>,
    home: Arc<Instance>,
    away: Arc<Instance>,
    mode: Mode,
) {
    while let Some(deed) = called.recv().await {
        let (home_engine, away_engine) = (home.engine(), away.engine());
        match deed {
            Deed::Cancels => {
                for row in home.rows().await {
                    // It may be over by now.
                    drop(home_engine.cancel(&row.run_id, "somebody").await);
                }
            }
            Deed::AnotherInstance => drop(
                away_engine
                    .start(request(&away_engine, "shop", "space", mode))
                    .await,
            ),
            _ => drop(
                home_engine
                    .start(request(&home_engine, "other", "other", mode))
                    .await,
            ),
        }
    }
}
