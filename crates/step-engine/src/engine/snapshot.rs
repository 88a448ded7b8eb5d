//! Where a run stands, for people and programs.

use jiff::Timestamp;
use serde_json::Value;

use crate::history::Progress;
use crate::journal::RunRow;
use crate::record::Entry;
use crate::state::{Origin, RunState, StepState};
use crate::step::StepError;
use crate::workflow::{Scope, resolve};

/// Where a run stands.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The run; `state` is `interrupted` when nobody drives it.
    pub run: RunRow,
    /// Its steps, in the order of the workflow.
    pub steps: Vec<StepSnapshot>,
    /// The failure that made it leave its forward path. `None`: none.
    pub error: Option<(String, StepError)>,
    /// The workflow's outputs; null fields where a step is not done.
    pub outputs: Value,
    /// The journal number of its last record; 0 for none.
    pub seq: u64,
}

/// Where a step of a run stands.
#[derive(Clone, Debug)]
pub struct StepSnapshot {
    /// Its id in the workflow.
    pub id: String,
    /// What it does.
    pub kind: String,
    /// Its state.
    pub state: StepState,
    /// It is never undone.
    pub irreversible: bool,
    /// A request of it had an outcome that nobody knew at that time.
    pub ambiguous: bool,
    /// Tries of its last operation; 0 before the first one ended.
    pub attempts: u32,
    /// How long its apply took, in milliseconds.
    pub duration_ms: u64,
    /// Whose artifact it is, once applied.
    pub origin: Option<Origin>,
    /// Its output, once applied.
    pub output: Option<Value>,
    /// Its last error.
    pub error: Option<StepError>,
    /// Why its re-check failed, which is still owed.
    pub recheck_error: Option<StepError>,
    /// An operator decided to leave what may be there.
    pub left_by_operator: bool,
    /// When its first intent became durable.
    pub intent_at: Option<Timestamp>,
}

impl Snapshot {
    pub(crate) fn new(mut run: RunRow, history: &[Entry], driven: bool) -> Self {
        if run.state.is_live() && !driven {
            run.state = RunState::Interrupted;
        }
        let progress = Progress::of(&run.workflow, history.iter().map(|entry| &entry.record));
        let outputs = progress.outputs();
        let scope = Scope {
            inputs: &run.inputs,
            settings: &run.settings,
            steps: Some(&outputs),
        };
        let resolved = run
            .workflow
            .outputs
            .iter()
            .map(|(name, value)| (name.clone(), resolve(value, &scope)));
        let resolved: Value = Value::Object(resolved.collect());
        let steps = run.workflow.steps.iter().filter_map(|spec| {
            let step = progress.steps.get(&spec.id)?;
            let skipped = run.skipped.contains(&spec.id);
            Some(StepSnapshot {
                id: spec.id.clone(),
                kind: spec.kind.clone(),
                irreversible: spec.is_never_undone(),
                ambiguous: step.ambiguous,
                state: if skipped {
                    StepState::Skipped
                } else {
                    step.state
                },
                attempts: step.attempts,
                duration_ms: step.duration_ms,
                origin: step.origin,
                output: step.output.clone(),
                error: step.error.clone(),
                recheck_error: step.recheck_error.clone(),
                left_by_operator: step.left_by_operator,
                intent_at: step
                    .intent
                    .and_then(|position| history.get(position))
                    .map(|entry| entry.at),
            })
        });
        Self {
            steps: steps.collect(),
            error: progress.failure.clone(),
            outputs: resolved,
            seq: history.last().map_or(0, |entry| entry.seq),
            run,
        }
    }
}
