//! The fold of a run's history into where it stands. Pure: the same records always give the same progress.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::record::{Decision, Record, Verb};
use crate::state::{Cause, Origin, RunState, StepState};
use crate::step::{Effect, StepError};
use crate::workflow::Workflow;

/// Where a run stands, step by step.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// By step id.
    pub steps: BTreeMap<String, StepProgress>,
    /// Somebody asked to cancel.
    pub stop_asked: bool,
    /// Ambiguous steps since the last settle time was waited out.
    pub unsettled: Vec<String>,
    /// The settle time is being waited out.
    pub settling: bool,
    /// The state of the last `Ended` record. `None`: the run was never ended, or was taken up again.
    pub ended: Option<RunState>,
    /// Why it left its forward path: what came first.
    pub cause: Option<Cause>,
    /// The first failure of a forward step.
    pub failure: Option<(String, StepError)>,
}

/// Where one step stands.
#[derive(Clone, Debug, PartialEq)]
pub struct StepProgress {
    /// Its state.
    pub state: StepState,
    /// An operation was started and has not ended.
    pub in_flight: Option<Verb>,
    /// The process ended during an operation: it is to be launched again.
    pub orphaned: Option<Verb>,
    /// The intent to apply was journaled at this position; a later intent is newer.
    pub intent: Option<usize>,
    /// The sticky mark: a mutation had an outcome that nobody knows.
    pub ambiguous: bool,
    /// Whose artifact it is, once applied.
    pub origin: Option<Origin>,
    /// The output, once applied; with `origin` among its fields.
    pub output: Option<Value>,
    /// What the step journaled before acting on it.
    pub facts: BTreeMap<String, Value>,
    /// Tries of the last ended operation.
    pub attempts: u32,
    /// The last ended apply took this long, in milliseconds.
    pub duration_ms: u64,
    /// The last error, of apply or undo.
    pub error: Option<StepError>,
    /// The re-check of this step failed and is still owed.
    pub recheck_error: Option<StepError>,
    /// An operator decided to leave what may be there.
    pub left_by_operator: bool,
}

impl StepProgress {
    fn new() -> Self {
        Self {
            state: StepState::Pending,
            in_flight: None,
            orphaned: None,
            intent: None,
            ambiguous: false,
            origin: None,
            output: None,
            facts: BTreeMap::new(),
            attempts: 0,
            duration_ms: 0,
            error: None,
            recheck_error: None,
            left_by_operator: false,
        }
    }

    /// Whether something upstream may be there that this run made.
    pub fn may_have_made(&self) -> bool {
        if self.intent.is_none() {
            return false;
        }
        match self.state {
            StepState::Applied
            | StepState::Started
            | StepState::Compensating
            | StepState::Stuck => true,
            // Existing and adopted artifacts are not this run's, but an ambiguous create may still land beside them.
            StepState::Existing | StepState::Adopted => self.ambiguous,
            StepState::Failed => {
                self.ambiguous
                    || self.error.as_ref().is_none_or(|error| match error.effect {
                        Effect::None | Effect::Taken => false,
                        Effect::Possible | Effect::Left => true,
                    })
            }
            StepState::Pending | StepState::Compensated | StepState::Skipped => false,
        }
    }
}

impl Progress {
    /// Folds a history. Records about steps that the workflow does not have are passed over.
    pub fn of<'a>(workflow: &Workflow, history: impl IntoIterator<Item = &'a Record>) -> Self {
        let steps = workflow
            .steps
            .iter()
            .map(|step| (step.id.clone(), StepProgress::new()))
            .collect();
        let mut progress = Self {
            steps,
            stop_asked: false,
            unsettled: Vec::new(),
            settling: false,
            ended: None,
            cause: None,
            failure: None,
        };
        for (position, record) in history.into_iter().enumerate() {
            progress.push(workflow, position, record);
        }
        progress
    }

    /// The outputs of all steps that are done, for references.
    pub fn outputs(&self) -> BTreeMap<String, Value> {
        self.steps
            .iter()
            .filter_map(|(id, step)| Some((id.clone(), step.output.clone()?)))
            .collect()
    }

    /// The facts of all steps, by name.
    pub fn facts(&self) -> BTreeMap<String, Value> {
        self.steps
            .values()
            .flat_map(|step| step.facts.clone())
            .collect()
    }

    /// The steps that carry the sticky mark.
    pub fn marked(&self) -> impl Iterator<Item = &str> {
        self.steps
            .iter()
            .filter(|(_, step)| step.ambiguous)
            .map(|(id, _)| id.as_str())
    }

    fn push(&mut self, workflow: &Workflow, position: usize, record: &Record) {
        match record {
            Record::Started { step, verb } => self.started(step, *verb, position),
            Record::Done {
                step,
                verb,
                origin,
                output,
                attempts,
                duration_ms,
            } => {
                self.done(step, *verb, *origin, output, *attempts, *duration_ms);
            }
            Record::Failed {
                step,
                verb,
                error,
                attempts,
                duration_ms,
            } => {
                self.failed(workflow, step, *verb, error, *attempts, *duration_ms);
            }
            Record::Ambiguous { step } => self.mark(step),
            Record::Fact { step, name, value } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.facts.insert(name.clone(), value.clone());
                }
            }
            Record::Settling => self.settling = true,
            Record::Settled => {
                self.settling = false;
                self.unsettled.clear();
            }
            Record::Resumed => self.resumed(),
            Record::StopAsked { .. } => {
                self.stop_asked = true;
                self.cause.get_or_insert(Cause::Cancel);
            }
            Record::Operator { decision, .. } => self.operator(decision),
            Record::Ended { state, .. } => self.ended = Some(*state),
            Record::RecheckFailed { step, error } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.recheck_error = Some(error.clone());
                }
            }
            Record::Discharged => self
                .steps
                .values_mut()
                .for_each(|step| step.recheck_error = None),
        }
    }

    fn started(&mut self, id: &str, verb: Verb, position: usize) {
        // An undo that begins while an apply has no end: that apply may still act.
        if verb == Verb::Undo
            && self
                .steps
                .get(id)
                .is_some_and(|step| step.orphaned == Some(Verb::Apply))
        {
            self.mark(id);
        }
        let Some(step) = self.steps.get_mut(id) else {
            return;
        };
        step.in_flight = Some(verb);
        step.orphaned = None;
        match verb {
            Verb::Apply => {
                step.intent.get_or_insert(position);
                step.state = StepState::Started;
            }
            Verb::Undo => step.state = StepState::Compensating,
        }
    }

    fn done(
        &mut self,
        id: &str,
        verb: Verb,
        origin: Option<Origin>,
        output: &Value,
        attempts: u32,
        duration_ms: u64,
    ) {
        let Some(step) = self.steps.get_mut(id) else {
            return;
        };
        step.in_flight = None;
        step.error = None;
        match verb {
            Verb::Apply => {
                let origin = origin.unwrap_or(Origin::Created);
                let mut output = output.clone();
                if let Some(fields) = output.as_object_mut() {
                    fields.insert("origin".into(), json!(origin));
                }
                step.attempts = attempts;
                step.duration_ms = duration_ms;
                step.state = origin.step_state();
                step.origin = Some(origin);
                step.output = Some(output);
            }
            Verb::Undo => step.state = StepState::Compensated,
        }
    }

    fn failed(
        &mut self,
        workflow: &Workflow,
        id: &str,
        verb: Verb,
        error: &StepError,
        attempts: u32,
        duration_ms: u64,
    ) {
        if error.effect == Effect::Possible {
            self.mark(id);
        }
        // Of an effect that nobody knows and nobody can undo, somebody decides; the rest need not be undone before.
        let goes_on = workflow.step(id).is_some_and(|spec| {
            spec.irreversible || (spec.without_undo && error.effect == Effect::Possible)
        });
        let Some(step) = self.steps.get_mut(id) else {
            return;
        };
        step.in_flight = None;
        step.error = Some(error.clone());
        match verb {
            Verb::Apply => {
                step.attempts = attempts;
                step.duration_ms = duration_ms;
                step.state = StepState::Failed;
                if !goes_on && self.failure.is_none() {
                    self.cause.get_or_insert(Cause::Failure);
                    self.failure = Some((id.to_owned(), error.clone()));
                }
            }
            Verb::Undo => step.state = StepState::Stuck,
        }
    }

    fn mark(&mut self, id: &str) {
        if let Some(step) = self.steps.get_mut(id) {
            step.ambiguous = true;
            self.unsettled.push(id.to_owned());
        }
    }

    fn resumed(&mut self) {
        self.ended = None;
        self.settling = false;
        let open: Vec<String> = self
            .steps
            .iter()
            .filter(|(_, step)| step.in_flight.is_some())
            .map(|(id, _)| id.clone())
            .collect();
        for id in open {
            self.mark(&id);
            if let Some(step) = self.steps.get_mut(&id) {
                step.orphaned = step.in_flight.take();
            }
        }
    }

    fn operator(&mut self, decision: &Decision) {
        match decision {
            Decision::Continue => {
                self.ended = None;
                self.failure = None;
                self.cause = None;
                self.stop_asked = false;
                for step in self
                    .steps
                    .values_mut()
                    .filter(|step| step.state == StepState::Failed)
                {
                    step.state = StepState::Started;
                    step.orphaned = Some(Verb::Apply);
                }
            }
            Decision::RetryUndo => {
                self.ended = None;
                for step in self
                    .steps
                    .values_mut()
                    .filter(|step| step.state == StepState::Stuck)
                {
                    step.state = StepState::Compensating;
                    step.orphaned = Some(Verb::Undo);
                }
            }
            Decision::Skip(id) => {
                self.ended = None;
                if let Some(step) = self.steps.get_mut(id) {
                    step.left_by_operator = step.may_have_made();
                    step.state = StepState::Skipped;
                }
            }
            Decision::Abandon => {}
        }
    }
}
