//! One operation of one step: look, act, repeat. The same under every host.

use std::time::Duration;

use serde_json::Value;

use crate::retry::RetryPolicy;
use crate::state::Origin;
use crate::step::{Effect, Found, Seen, Step, StepCx, StepError, Timing, Undone};

/// How often and how long an operation may try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The tries and the waits between them.
    pub(crate) retry: RetryPolicy,
    /// The deadline of each try.
    pub(crate) timeout: Duration,
}

/// The longest wait that an upstream may ask for inside an operation; beyond it the operation fails as retryable.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How an operation ended.
#[derive(Debug)]
pub(crate) struct Ended<T> {
    /// The answer.
    pub(crate) result: Result<T, StepError>,
    /// Tries in all.
    pub(crate) attempts: u32,
}

/// Applies a step. `look`: `check` goes first. `marked`: an earlier attempt may have acted, so a settle time passes too.
pub(crate) async fn apply(
    step: &dyn Step,
    cx: &StepCx,
    with: &Value,
    limits: Limits,
    look: bool,
    marked: bool,
) -> Ended<(Origin, Value)> {
    let mut turn = Turn::new(step.timing(), limits);
    turn.ambiguous = marked;
    let mut look = look || marked || !step.creates_first(with) || cx.earlier_output().is_some();
    let mut absent_after_taken = false;
    if turn.ambiguous {
        turn.wait(cx, turn.timing.settle).await;
    }
    loop {
        if (turn.attempts > 0 || turn.ambiguous) && cx.cancelled.is_cancelled() {
            return turn.end(Err(turn.judged(cancelled(&cx.step))));
        }
        turn.attempts += 1;
        let attempt = attempt(step, cx, with, look);
        let error = match tokio::time::timeout(limits.timeout, attempt).await {
            Ok(Ok(done)) => return turn.end(Ok(done)),
            Ok(Err(error)) => error,
            Err(_) => timed_out(&cx.step, limits.timeout),
        };
        match error.effect {
            Effect::Taken if !look => {
                // The name is taken: the look decides whose it is.
                look = true;
                continue;
            }
            Effect::Taken if !absent_after_taken => {
                // Taken, yet the look before saw nothing: reads lag. One settle time, then look again.
                absent_after_taken = true;
                turn.wait(cx, turn.timing.settle).await;
                continue;
            }
            Effect::Possible => {
                if let Err(error) = cx.mark_ambiguous().await {
                    return turn.end(Err(error));
                }
                turn.ambiguous = true;
                look = true;
            }
            // A part of it is there: the next try must see it.
            Effect::Left => {
                turn.left = true;
                look = true;
            }
            Effect::None | Effect::Taken => {}
        }
        if !turn.may_repeat(cx, &error) {
            return turn.end(Err(turn.judged(error)));
        }
        turn.pause(cx, &error).await;
    }
}

async fn attempt(
    step: &dyn Step,
    cx: &StepCx,
    with: &Value,
    look: bool,
) -> Result<(Origin, Value), StepError> {
    let found = if look {
        decide(
            step.check(cx, with)
                .await
                .map_err(|error| error.effect(Effect::None))?,
            cx.adopt,
        )?
    } else {
        Found::NotLooked
    };
    let output = step.apply(cx, with, &found).await?;
    Ok((found.origin(), output))
}

fn decide(seen: Seen, adopt: bool) -> Result<Found, StepError> {
    match seen {
        Seen::Absent => Ok(Found::Absent),
        Seen::Ours(output) => Ok(Found::Ours(output)),
        Seen::Project(output) => Ok(Found::Project(output)),
        Seen::Adopted(output) => Ok(Found::Adopted(output)),
        Seen::Foreign { why, adoptable } => match adoptable {
            Some(output) if adopt => Ok(Found::Adopted(output)),
            Some(_) => Err(StepError::refused("project.not_ours", why)
                .remedy("choose another name, or pass adopt: true to use what is there")),
            None => Err(StepError::refused("project.not_ours", why).remedy("choose another name")),
        },
    }
}

/// Undoes a step. When nothing was there, a second look follows after the settle time: reads may lag. `open`: an attempt
/// may be under way. `was_there`: it was seen or answered; when two looks do not find it, the run owes a last one.
pub(crate) async fn undo(
    step: &dyn Step,
    cx: &StepCx,
    with: &Value,
    output: Option<&Value>,
    limits: Limits,
    (open, was_there): (bool, bool),
) -> Ended<()> {
    let mut turn = Turn::new(step.timing(), limits);
    let mut looked = false;
    if open {
        turn.wait(cx, turn.timing.settle).await;
    }
    loop {
        turn.attempts += 1;
        let attempt = step.compensate(cx, with, output);
        let error = match tokio::time::timeout(limits.timeout, attempt).await {
            Ok(Ok(Undone::Removed)) => return turn.end(Ok(())),
            Ok(Ok(Undone::NotThere)) if looked => {
                let marked = if was_there {
                    cx.mark_ambiguous().await
                } else {
                    Ok(())
                };
                return turn.end(marked);
            }
            Ok(Ok(Undone::NotThere)) => {
                looked = true;
                turn.attempts -= 1;
                turn.wait(cx, turn.timing.settle).await;
                continue;
            }
            Ok(Err(error)) => error,
            Err(_) => timed_out(&cx.step, limits.timeout),
        };
        if error.effect == Effect::Possible {
            if let Err(error) = cx.mark_ambiguous().await {
                return turn.end(Err(error));
            }
            turn.ambiguous = true;
        }
        if !turn.may_repeat(cx, &error) {
            return turn.end(Err(error));
        }
        turn.pause(cx, &error).await;
    }
}

fn cancelled(step: &str) -> StepError {
    StepError::refused(
        "run.cancelled",
        format!("step `{step}` was cancelled before it was done"),
    )
}

fn timed_out(step: &str, timeout: Duration) -> StepError {
    StepError::unknown(
        "step.timed_out",
        format!(
            "step `{step}` got no answer within {} s",
            timeout.as_secs_f32()
        ),
    )
    .remedy("raise the step's timeout in the workflow file, or look at the upstream's load")
}

/// The bookkeeping of one operation's tries.
struct Turn {
    timing: Timing,
    limits: Limits,
    delays: crate::retry::Delays,
    attempts: u32,
    ambiguous: bool,
    /// A try left a part of the effect.
    left: bool,
}

impl Turn {
    fn new(timing: Timing, limits: Limits) -> Self {
        Self {
            timing,
            limits,
            delays: limits.retry.delays(),
            attempts: 0,
            ambiguous: false,
            left: false,
        }
    }

    fn may_repeat(&self, cx: &StepCx, error: &StepError) -> bool {
        let asked = error
            .retry_after_ms
            .map_or(Duration::ZERO, Duration::from_millis);
        error.retryable
            && self.attempts < self.limits.retry.attempts
            && asked <= LONGEST_WAIT
            && !cx.cancelled.is_cancelled()
    }

    /// Refused after an ambiguous try is unknown: that try may still land. Refused after a try that left something does
    /// not take that away.
    fn judged(&self, mut error: StepError) -> StepError {
        if matches!(error.effect, Effect::None | Effect::Taken) {
            if self.ambiguous {
                error.effect = Effect::Possible;
            } else if self.left {
                error.effect = Effect::Left;
            }
        }
        error
    }

    async fn pause(&mut self, cx: &StepCx, error: &StepError) {
        let mut wait = self.delays.next_delay();
        if let Some(asked) = error.retry_after_ms {
            wait = wait.max(Duration::from_millis(asked));
        }
        if error.effect == Effect::Possible {
            wait = wait.max(self.timing.settle);
        }
        self.wait(cx, wait).await;
    }

    /// Waits, but not through a cancel: the next look is the operation's last one then.
    async fn wait(&self, cx: &StepCx, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = cx.cancelled.cancelled() => {}
        }
    }

    fn end<T>(&self, result: Result<T, StepError>) -> Ended<T> {
        Ended {
            result,
            attempts: self.attempts,
        }
    }
}
