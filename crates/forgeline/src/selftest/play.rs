//! Plays one schedule in a world of its own, and judges its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forgeline_provision::RunView;
use forgeline_step_engine::RunState;
use forgeline_step_engine::fault::CrashPlan;
use forgeline_step_engine::journal::memory::MemoryJournal;
use forgeline_step_engine::journal::sqlite::SqliteJournal;
use forgeline_step_engine::journal::{Journal, JournalError};

use serde_json::Value;

use super::oracle::{Baseline, Outcome, judge};
use super::scene::Scene;
use super::trouble::{Around, Asked, Trouble, asked};
use super::world::{Process, Times, World};

/// Where the journal is, and whether git is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// A journal in memory, refs copied.
    Light,
    /// SQLite on disk, and git.
    Real,
}

/// A schedule's end.
#[derive(Clone, Debug)]
pub(super) struct Played {
    pub(super) outcome: Result<Outcome, String>,
    /// How often its trouble happened.
    pub(super) fired: usize,
}

/// What a run without faults shows: the world before and after, its requests, and how many records it wrote.
pub(super) struct Rehearsal {
    pub(super) baseline: Baseline,
    pub(super) asked: Vec<Asked>,
    pub(super) records: usize,
}

/// A run without faults that succeeds, or that fails at a step and is undone.
pub(super) async fn rehearse(
    scene: &Scene,
    ground: Ground,
    failing: Option<String>,
) -> Result<Rehearsal, String> {
    let world = World::new(scene, Times::QUICK, ground == Ground::Real).await?;
    let before = world.store(&[]).await;
    let plan = CrashPlan::default();
    let journal = Arc::new(MemoryJournal::with_crash(plan.clone()));
    let around = Around::failing(failing);
    let process = world.process(journal, Some(&around)).await?;
    let run = process
        .run(&world)
        .await
        .ok_or("the run was not admitted")?;
    process.quiet().await?;
    let view = process.view(&run).await;
    let asked = asked(&world.sandbox.requests());
    let done = world.store(std::slice::from_ref(&run)).await;
    let baseline = Baseline { before, done };
    judge(&view, &baseline.done, &baseline)
        .map_err(|why| format!("{}: without faults: {why}", scene.name))?;
    Ok(Rehearsal {
        baseline,
        asked,
        records: plan.seen(),
    })
}

/// Plays a schedule.
pub(super) async fn play(
    scene: &Scene,
    trouble: &Trouble,
    baseline: &Baseline,
    ground: Ground,
) -> Played {
    let slow = matches!(trouble, Trouble::Fault { column, .. } if column.is_slow);
    let times = if slow { Times::PATIENT } else { Times::QUICK };
    let world = match World::new(scene, times, ground == Ground::Real).await {
        Ok(world) => Arc::new(world),
        Err(why) => {
            return Played {
                outcome: Err(why),
                fired: 0,
            };
        }
    };
    for order in trouble.orders() {
        world.sandbox.order(order);
    }
    let around = trouble.around();
    let crash = match trouble {
        Trouble::Crash { at, .. } => CrashPlan::at(at.0, at.1),
        _ => CrashPlan::default(),
    };
    let outcome = judged(&world, trouble, baseline, ground, (&around, &crash)).await;
    let fired = match trouble {
        Trouble::Fault { .. } | Trouble::Gone { .. } => on_the_wire(&world),
        // There may have been nothing yet, or nothing more, to do it to.
        Trouble::Meanwhile { .. } => {
            on_the_wire(&world).saturating_sub(usize::from(did_not_fit(&world)))
        }
        Trouble::Crash { .. } => usize::from(crash.fired()),
        Trouble::Failing { .. } | Trouble::Twice { .. } => around.fired(),
    };
    Played { outcome, fired }
}

fn on_the_wire(world: &World) -> usize {
    let fired = world.sandbox.faults()[0]["fired"].as_u64();
    usize::try_from(fired.unwrap_or_default()).unwrap_or_default()
}

/// A deed that was ordered and could not be done: the request was answered 500 instead.
fn did_not_fit(world: &World) -> bool {
    let log = world.sandbox.requests();
    let mut log = log.as_array().into_iter().flatten();
    log.any(|request| request["fault"]["kind"] == "meanwhile" && request["status"] == 500)
}

async fn judged(
    world: &Arc<World>,
    trouble: &Trouble,
    baseline: &Baseline,
    ground: Ground,
    (around, crash): (&Arc<Around>, &CrashPlan),
) -> Result<Outcome, String> {
    let mut shelf = Shelf::open(world, ground, crash.clone()).await?;
    if let Trouble::Gone { .. } = trouble {
        until_it_hangs(world, &shelf, Arc::clone(around)).await?;
    } else {
        let process = world.process(shelf.journal(), Some(around)).await?;
        process.run(world).await;
        if !crash.fired() {
            return match trouble {
                Trouble::Meanwhile { deed, .. }
                    if on_the_wire(world) > 0 && !did_not_fit(world) =>
                {
                    end(world, &process, trouble.outlasts(), |view, store| {
                        deed.judge(view, store, baseline, &world.sandbox.requests())
                    })
                    .await
                }
                _ => {
                    end(world, &process, trouble.outlasts(), |view, store| {
                        judge(view, store, baseline)
                    })
                    .await
                }
            };
        }
        process.engine().stop().await;
    }
    if let Trouble::Crash {
        again: Some(nth),
        at,
        ..
    } = trouble
    {
        shelf = shelf.reopen(CrashPlan::at(*nth, at.1)).await?;
        let process = world.process(shelf.journal(), Some(around)).await?;
        // It ends again; what it answers is the next one's to see.
        drop(process.resume().await);
        process.engine().stop().await;
        drop(process);
    }
    let shelf = shelf.reopen(CrashPlan::default()).await?;
    let process = world.process(shelf.journal(), Some(around)).await?;
    process.resume().await?;
    end(world, &process, trouble.outlasts(), |view, store| {
        judge(view, store, baseline)
    })
    .await
}

/// Judges when the run has ended, and again when no last look is owed any more. `outlasts`: what went wrong may be felt
/// after the run, so only the second judgement counts.
pub(super) async fn end(
    world: &World,
    process: &Process,
    outlasts: bool,
    judge: impl Fn(&RunView, &Value) -> Result<Outcome, String>,
) -> Result<Outcome, String> {
    let first = judged_now(world, process, &judge).await;
    if !outlasts {
        first.map_err(|why| format!("when the run ended: {why}"))?;
    }
    process.quiet().await?;
    let outcome = judged_now(world, process, &judge).await?;
    process.engine().stop().await;
    Ok(outcome)
}

async fn judged_now(
    world: &World,
    process: &Process,
    judge: &impl Fn(&RunView, &Value) -> Result<Outcome, String>,
) -> Result<Outcome, String> {
    let runs = process.resume().await?;
    let store = world.store(&runs).await;
    // It may have ended before the run was in the journal: then it is as if it had been undone.
    let view = match runs.first() {
        Some(run) => process.view(run).await,
        None => RunView {
            state: Some(RunState::Compensated),
            ..RunView::default()
        },
    };
    judge(&view, &store)
}

/// A process in a runtime of its own, which is dropped with everything in it once a request hangs.
async fn until_it_hangs(
    world: &Arc<World>,
    shelf: &Shelf,
    around: Arc<Around>,
) -> Result<(), String> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (inside, journal) = (Arc::clone(world), shelf.journal());
    let process = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(async move {
            let process = inside.process(journal, Some(&around)).await?;
            tokio::select! {
                _ = process.run(&inside) => {}
                _ = stopped => {}
            }
            Ok::<(), String>(())
        })
    });
    tokio::pin!(process);
    let ended = tokio::select! {
        ended = &mut process => ended,
        () = world.sandbox.hung(1) => {
            // It may have ended meanwhile.
            let _ = stop.send(());
            process.await
        }
    };
    ended.map_err(|error| error.to_string())?
}

/// A journal that outlives processes.
pub(super) enum Shelf {
    Memory(Arc<MemoryJournal>),
    Disk(PathBuf, Arc<SqliteJournal>),
}

impl Shelf {
    async fn open(world: &World, ground: Ground, crash: CrashPlan) -> Result<Self, String> {
        match ground {
            Ground::Light => Ok(Self::Memory(Arc::new(MemoryJournal::with_crash(crash)))),
            Ground::Real => Self::on_disk(world.sandbox.data_dir(), crash).await,
        }
    }

    /// The lock may be held for a moment longer: a process that is just being started still has every open file.
    pub(super) async fn on_disk(dir: PathBuf, crash: CrashPlan) -> Result<Self, String> {
        for _ in 0..400 {
            match SqliteJournal::open_with_crash(&dir, "selftest", crash.clone()) {
                Ok(journal) => return Ok(Self::Disk(dir, Arc::new(journal))),
                Err(JournalError::Held { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the journal of the ended process stays locked".into())
    }

    /// A process that ended lets go of everything at once; its tasks in this one do so when they are next looked at.
    async fn let_go(&self) {
        let Self::Disk(_, journal) = self else { return };
        while Arc::strong_count(journal) > 1 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::Memory(journal) => Arc::clone(journal) as Arc<dyn Journal>,
            Self::Disk(_, journal) => Arc::clone(journal) as Arc<dyn Journal>,
        }
    }

    /// What the next process finds.
    async fn reopen(self, crash: CrashPlan) -> Result<Self, String> {
        self.let_go().await;
        match self {
            Self::Memory(journal) => Ok(Self::Memory(Arc::new(journal.reopened_with(crash)))),
            Self::Disk(dir, journal) => {
                drop(journal);
                Self::on_disk(dir, crash).await
            }
        }
    }
}
