//! The planner: history in, next operations out.
//!
//! Pure, total and deterministic: no async, no clock, no randomness. Forward, a step starts when all that it needs is
//! done. After a failure or a cancel nothing new starts; once what is in flight has ended, every step whose intent was
//! journaled and whose artifact this run may have made is undone, newest first, never before its dependents.

use crate::history::{Progress, StepProgress};
use crate::record::{Record, Verb};
use crate::state::{Cause, RunState, StepState};
use crate::step::Effect;
use crate::workflow::{StepSpec, Workflow};

/// What to do with the artifacts of a run that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Undo what the run made.
    #[default]
    Compensate,
    /// Keep everything for somebody to look at, and to continue.
    Keep,
}

/// One operation to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Apply this step; `look`: an earlier attempt may have acted, so look first.
    Apply {
        /// The step's id.
        step: String,
        /// Look before acting.
        look: bool,
    },
    /// Undo this step.
    Undo {
        /// The step's id.
        step: String,
    },
    /// Wait until one settle time has passed since the last ambiguous mutation of these steps.
    Settle {
        /// The steps' ids.
        steps: Vec<String>,
    },
}

/// What follows from a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Launch these.
    Start(Vec<Op>),
    /// Something is in flight: wait for its end.
    Wait,
    /// Nothing more to do.
    Finished {
        /// Succeeded, compensated or failed (kept).
        state: RunState,
        /// Why the run left its forward path.
        cause: Option<Cause>,
    },
    /// These steps could not be undone, or wait for one that could not.
    Stuck(Vec<String>),
}

/// What comes next after this history. `skipped` names the steps whose `when` is false.
pub fn plan<'a>(
    workflow: &Workflow,
    skipped: &[String],
    on_failure: OnFailure,
    history: impl IntoIterator<Item = &'a Record>,
) -> Next {
    let progress = Progress::of(workflow, history);
    Planner {
        workflow,
        skipped,
        on_failure,
        progress: &progress,
    }
    .next()
}

struct Planner<'a> {
    workflow: &'a Workflow,
    skipped: &'a [String],
    on_failure: OnFailure,
    progress: &'a Progress,
}

impl Planner<'_> {
    fn next(&self) -> Next {
        if let Some(state) = self.progress.ended.filter(|state| state.is_terminal()) {
            return Next::Finished {
                state,
                cause: self.progress.cause,
            };
        }
        let undoing = self.progress.steps.values().any(|step| {
            matches!(
                step.state,
                StepState::Compensating | StepState::Stuck | StepState::Compensated
            )
        });
        if self.progress.failure.is_some() || self.progress.stop_asked || undoing {
            self.backward()
        } else {
            self.forward()
        }
    }

    fn state(&self, id: &str) -> Option<&StepProgress> {
        self.progress.steps.get(id)
    }

    fn in_flight(&self) -> bool {
        self.progress.settling
            || self
                .progress
                .steps
                .values()
                .any(|step| step.in_flight.is_some())
    }

    fn forward(&self) -> Next {
        let ready: Vec<Op> = self
            .workflow
            .steps
            .iter()
            .filter_map(|spec| self.ready(spec))
            .collect();
        if !ready.is_empty() {
            return Next::Start(ready);
        }
        if self.in_flight() {
            return Next::Wait;
        }
        self.end(RunState::Succeeded)
    }

    fn ready(&self, spec: &StepSpec) -> Option<Op> {
        if self.is_skipped(spec) {
            return None;
        }
        let step = self.state(&spec.id)?;
        let look = match (step.state, step.orphaned) {
            (StepState::Pending, _) => false,
            (StepState::Started, Some(Verb::Apply)) => true,
            _ => return None,
        };
        let met = spec.needs.iter().all(|need| self.is_met(need));
        let met = met && spec.after.iter().all(|before| self.is_over(before));
        met.then(|| Op::Apply {
            step: spec.id.clone(),
            look,
        })
    }

    /// Skipped by its `when`, or because something that it needs was not done.
    fn is_skipped(&self, spec: &StepSpec) -> bool {
        self.skipped.contains(&spec.id) || self.is_passed_over(spec)
    }

    /// A step that it needs failed without failing the run, or was passed over itself; or an operator skipped one whose
    /// answer it names.
    fn is_passed_over(&self, spec: &StepSpec) -> bool {
        let steps = spec
            .needs
            .iter()
            .filter_map(|need| self.workflow.step(need));
        let mut steps = steps.filter(|need| !self.skipped.contains(&need.id));
        steps.any(|need| match self.state(&need.id).map(|step| step.state) {
            Some(StepState::Failed) => need.is_never_undone(),
            Some(StepState::Skipped) => spec.refers_to(&need.id),
            Some(StepState::Pending) => self.is_passed_over(need),
            _ => false,
        })
    }

    /// Nothing more happens in it, however it ended.
    fn is_over(&self, id: &str) -> bool {
        let failed = self
            .state(id)
            .is_some_and(|step| step.state == StepState::Failed);
        failed || self.is_met(id)
    }

    fn is_met(&self, id: &str) -> bool {
        let done = self.state(id).is_some_and(|step| match step.state {
            StepState::Applied | StepState::Existing | StepState::Adopted | StepState::Skipped => {
                true
            }
            StepState::Pending
            | StepState::Started
            | StepState::Failed
            | StepState::Compensating
            | StepState::Compensated
            | StepState::Stuck => false,
        });
        done || self
            .workflow
            .step(id)
            .is_some_and(|spec| self.is_skipped(spec))
    }

    fn backward(&self) -> Next {
        if self.in_flight() {
            return Next::Wait;
        }
        if self.on_failure == OnFailure::Keep && !self.progress.stop_asked {
            return self.end(RunState::Failed);
        }
        let left: Vec<(&str, &StepProgress)> = self.left_to_undo();
        let ready: Vec<Op> = left
            .iter()
            .filter(|(id, step)| step.state != StepState::Stuck && !self.has_dependent(id, &left))
            .map(|(id, _)| Op::Undo {
                step: (*id).to_owned(),
            })
            .collect();
        if !ready.is_empty() {
            return Next::Start(ready);
        }
        if left.is_empty() {
            return self.end(RunState::Compensated);
        }
        match self.settle() {
            Some(op) => Next::Start(vec![op]),
            None => Next::Stuck(left.iter().map(|(id, _)| (*id).to_owned()).collect()),
        }
    }

    /// The steps that this run may have made and has not undone, newest intent first.
    fn left_to_undo(&self) -> Vec<(&str, &StepProgress)> {
        let mut left: Vec<(&str, &StepProgress)> = self
            .workflow
            .steps
            .iter()
            .filter(|spec| !spec.is_never_undone())
            .filter_map(|spec| Some((spec.id.as_str(), self.state(&spec.id)?)))
            .filter(|(_, step)| step.may_have_made())
            .collect();
        left.sort_by_key(|(_, step)| std::cmp::Reverse(step.intent));
        left
    }

    fn has_dependent(&self, id: &str, left: &[(&str, &StepProgress)]) -> bool {
        left.iter().any(|(other, _)| {
            *other != id
                && self.workflow.step(other).is_some_and(|spec| {
                    crate::workflow::ancestors(&self.workflow.steps, spec).contains(id)
                })
        })
    }

    fn settle(&self) -> Option<Op> {
        let steps = &self.progress.unsettled;
        (!steps.is_empty()).then(|| Op::Settle {
            steps: steps.clone(),
        })
    }

    /// Irreversible steps that may have acted and nobody knows: nothing can be undone or repeated, so somebody has to
    /// look.
    fn unknown(&self) -> Vec<String> {
        let steps = self.workflow.steps.iter();
        steps
            .filter(|spec| spec.is_never_undone())
            .filter(|spec| {
                self.state(&spec.id).is_some_and(|step| {
                    let unknown = step
                        .error
                        .as_ref()
                        .is_some_and(|error| error.effect == Effect::Possible);
                    match step.state {
                        StepState::Failed => unknown,
                        // Its process ended while it ran.
                        StepState::Started => step.ambiguous,
                        _ => false,
                    }
                })
            })
            .map(|spec| spec.id.clone())
            .collect()
    }

    fn end(&self, state: RunState) -> Next {
        if let Some(op) = self.settle() {
            return Next::Start(vec![op]);
        }
        let unknown = self.unknown();
        if !unknown.is_empty() && state != RunState::Failed {
            return Next::Stuck(unknown);
        }
        Next::Finished {
            state,
            cause: self.progress.cause,
        }
    }
}
