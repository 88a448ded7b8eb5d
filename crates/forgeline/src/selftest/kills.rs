//! Real processes, really killed: while they wait for an answer, anywhere between, twice in a row, while they undo; or
//! asked to end, or stopped for a while.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::Effort;
use super::oracle::judge;
use super::play::{Shelf, end};
use super::report::{Report, Violation};
use super::schedules::Stage;
use super::trouble::{Asked, Trouble};
use super::world::{Times, World};
use crate::progress::Counter;

/// Processes at once.
const AT_ONCE: usize = 4;

/// The longest that any part of a round may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// SIGKILL while it waits for the answer to a request, before the effect.
    Before,
    /// The same after the effect.
    After,
    /// SIGKILL once so many requests have been made, wherever it is then.
    Anywhere,
    /// SIGTERM there.
    Term,
    /// SIGSTOP there, a second process meanwhile, and SIGCONT.
    Stop,
}

/// One round: one process after the other, and one in the end that nothing happens to.
struct Round {
    stage: Arc<Stage>,
    /// The run fails late, so that the blows meet its undo too.
    undoing: bool,
    blows: Vec<(Blow, Asked)>,
}

pub(super) async fn run(
    effort: &Effort,
    stages: &[Arc<Stage>],
    report: &mut Report,
    counter: &Counter,
) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(effort.seed);
    let plain: Vec<&Arc<Stage>> = stages.iter().filter(|stage| stage.is_plain()).collect();
    let mut rounds = Vec::new();
    let mut planned = 0;
    while planned < effort.kills && !plain.is_empty() {
        let stage = Arc::clone(plain[random.usize(..plain.len())]);
        let round = Round::drawn(stage, &mut random);
        planned += round.blows.len();
        rounds.push(round);
    }
    let mut playing =
        futures::stream::iter(rounds.into_iter().map(Round::play)).buffer_unordered(AT_ONCE);
    while let Some((round, result)) = playing.next().await {
        for _ in &round.blows {
            counter.tick();
        }
        match result {
            Ok(kills) => report.kills += kills,
            Err(why) => report.violations.push(Violation {
                schedule: format!("{}, a process: {}", round.stage.scene.name, round.name()),
                why,
            }),
        }
    }
    Ok(())
}

impl Round {
    fn drawn(stage: Arc<Stage>, random: &mut fastrand::Rng) -> Self {
        let undoing = random.bool();
        let asked = if undoing {
            &stage.backward.asked
        } else {
            &stage.forward.asked
        };
        let blows = (0..random.usize(1..=2))
            .map(|_| {
                let blow = match random.u8(..10) {
                    0..=2 => Blow::Before,
                    3..=5 => Blow::After,
                    6 | 7 => Blow::Anywhere,
                    8 => Blow::Term,
                    _ => Blow::Stop,
                };
                (blow, asked[random.usize(..asked.len())].clone())
            })
            .collect();
        Self {
            undoing,
            blows,
            stage,
        }
    }

    fn name(&self) -> String {
        let blows: Vec<String> = self
            .blows
            .iter()
            .map(|(blow, asked)| format!("{blow:?} {}", asked.name()))
            .collect();
        let undoing = if self.undoing { " (run fails)" } else { "" };
        format!("{}{undoing}", blows.join(", then "))
    }

    /// Answers how many processes were hit.
    async fn play(self) -> (Self, Result<usize, String>) {
        let result = tokio::time::timeout(PATIENCE * 3, self.played()).await;
        let result = result.unwrap_or_else(|_| Err("the round did not end".into()));
        (self, result)
    }

    async fn played(&self) -> Result<usize, String> {
        let world = World::new(&self.stage.scene, Times::QUICK, true).await?;
        if self.undoing {
            world.sandbox.order(refuses_issues());
        }
        let mut hits = 0;
        for (blow, asked) in &self.blows {
            hits += usize::from(self.blow(&world, *blow, asked).await?);
        }
        let shelf = Shelf::on_disk(world.sandbox.data_dir(), Default::default()).await?;
        let process = world.process(shelf.journal(), None).await?;
        process.resume().await?;
        let baseline = &self.stage.forward.baseline;
        end(&world, &process, false, |view, store| {
            judge(view, store, baseline)
        })
        .await?;
        Ok(hits)
    }

    /// Starts a process and hits it; `false` when it ended before.
    async fn blow(&self, world: &World, blow: Blow, asked: &Asked) -> Result<bool, String> {
        let hangs = world.sandbox.hangs();
        let requests = count(world) + asked.nth;
        if matches!(blow, Blow::Before | Blow::After) {
            let trouble = Trouble::Gone {
                asked: asked.clone(),
                after: blow == Blow::After,
                failing: None,
            };
            trouble
                .orders()
                .into_iter()
                .for_each(|order| world.sandbox.order(order));
        }
        let mut child = self.child(world)?;
        let there = async {
            match blow {
                Blow::Before | Blow::After => world.sandbox.hung(hangs + 1).await,
                Blow::Anywhere | Blow::Term | Blow::Stop => {
                    while count(world) < requests {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        };
        tokio::select! {
            ended = child.wait() => {
                ended.map_err(|error| error.to_string())?;
                return Ok(false);
            }
            () = there => {}
        }
        match blow {
            Blow::Before | Blow::After | Blow::Anywhere => signal(&child, Signal::KILL)?,
            Blow::Term => signal(&child, Signal::TERM)?,
            Blow::Stop => {
                signal(&child, Signal::STOP)?;
                self.meets_the_holder(world, &mut child).await?;
                signal(&child, Signal::CONT)?;
            }
        }
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        ended
            .map_err(|_| format!("the process does not end after {blow:?}"))?
            .map_err(|error| error.to_string())?;
        Ok(true)
    }

    /// While a process is stopped it holds the journal, and a second one is told so.
    async fn meets_the_holder(&self, world: &World, first: &mut Child) -> Result<(), String> {
        if first
            .try_wait()
            .map_err(|error| error.to_string())?
            .is_some()
        {
            return Ok(());
        }
        let second = self.child(world)?.wait_with_output().await;
        let second = second.map_err(|error| error.to_string())?;
        let view: Value = serde_json::from_slice(&second.stdout).unwrap_or_default();
        if second.status.code() == Some(8) && view["error"]["code"] == "journal.held" {
            return Ok(());
        }
        Err(format!(
            "beside a stopped process a second one ended with {:?}: {}",
            second.status.code(),
            view["error"]
        ))
    }

    fn child(&self, world: &World) -> Result<Child, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(world.variables())
            .args(["run", &self.stage.scene.workflow.name, "-o", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        for (name, value) in &self.stage.scene.inputs {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            command.args(["-i", &format!("{name}={value}")]);
        }
        command.spawn().map_err(|error| error.to_string())
    }
}

fn refuses_issues() -> forgeline_sandbox::FaultOrder {
    forgeline_sandbox::FaultOrder {
        system: "gitea_mcp".into(),
        operation: "tools/call issue_write".into(),
        nth: 0,
        fault: forgeline_sandbox::Fault::StatusBefore {
            status: 403,
            headers: std::collections::BTreeMap::new(),
            body: String::new(),
        },
    }
}

fn count(world: &World) -> usize {
    world.sandbox.requests().as_array().map_or(0, Vec::len)
}

fn signal(child: &Child, signal: Signal) -> Result<(), String> {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    match pid {
        Some(pid) => kill_process(pid, signal).map_err(|error| error.to_string()),
        // It has ended.
        None => Ok(()),
    }
}
