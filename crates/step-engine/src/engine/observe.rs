//! A look at what a run would find, without a run: nothing is written, upstream or in the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Engine, Request};
use crate::error::EngineError;
use crate::journal::admission::admit;
use crate::journal::{Admission, RunQuery, RunRow};
use crate::state::Origin;
use crate::step::{Aside, Earlier, Seen, Step, StepCx, StepError};
use crate::workflow::{Scope, StepSpec, resolve};

/// What a call for a run would meet.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The run as it would begin; it is in no journal.
    pub run: RunRow,
    /// What the journal would answer to the call.
    pub admission: Admission,
    /// One per step that would run, in the order of the workflow.
    pub steps: Vec<Observation>,
}

/// What was seen for one step.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The step's id.
    pub step: String,
    /// What it does.
    pub kind: String,
    /// What is there. A step that needs something that is not there yet is absent itself.
    pub seen: Result<Seen, StepError>,
    /// What the step would change in what an earlier run made.
    pub changes: Vec<String>,
    /// The resources that it would hold.
    pub resources: Vec<String>,
    /// The requests that it would make if it creates, by system.
    pub requests: Vec<(&'static str, u32)>,
}

impl Engine {
    /// Looks at everything that a run would act on, in the order of the workflow's graph.
    ///
    /// # Errors
    /// Inputs that do not fit, or a journal that cannot be read. A look that failed is part of the answer.
    pub async fn observe(&self, request: Request) -> Result<Observed, EngineError> {
        let run = self.row(request)?;
        let admission = self.would_admit(&run).await?;
        let earlier = Arc::new(self.earlier(&run).await?);
        let mut outputs: BTreeMap<String, Value> = BTreeMap::new();
        let mut done: BTreeMap<String, Observation> = BTreeMap::new();
        let open = |done: &BTreeMap<String, Observation>| -> Vec<StepSpec> {
            let ready = |spec: &&StepSpec| {
                !done.contains_key(&spec.id)
                    && !run.skipped.contains(&spec.id)
                    && spec
                        .needs
                        .iter()
                        .all(|need| done.contains_key(need) || run.skipped.contains(need))
            };
            run.workflow.steps.iter().filter(ready).cloned().collect()
        };
        loop {
            let ready = open(&done);
            if ready.is_empty() {
                break;
            }
            let looks = ready
                .iter()
                .map(|spec| self.look(&run, spec, &outputs, &earlier));
            for (spec, seen) in ready.iter().zip(futures::future::join_all(looks).await) {
                if let Some((origin, output)) = found(&seen.seen, run.options.adopt) {
                    let mut output = output.clone();
                    if let Some(fields) = output.as_object_mut() {
                        fields.insert("origin".into(), json!(origin));
                    }
                    outputs.insert(spec.id.clone(), output);
                }
                done.insert(spec.id.clone(), seen);
            }
        }
        let steps = run
            .workflow
            .steps
            .iter()
            .filter_map(|spec| done.remove(&spec.id))
            .collect();
        Ok(Observed {
            run,
            admission,
            steps,
        })
    }

    async fn would_admit(&self, run: &RunRow) -> Result<Admission, EngineError> {
        let rows = self.inner.journal.runs(&RunQuery::default()).await?;
        let earlier = rows.iter().filter(|row| row.subject == run.subject);
        let earlier: Vec<&RunRow> = earlier.collect();
        Ok(admit(run, None, &earlier, rows.iter()))
    }

    async fn look(
        &self,
        run: &RunRow,
        spec: &StepSpec,
        outputs: &BTreeMap<String, Value>,
        earlier: &Arc<Vec<Earlier>>,
    ) -> Observation {
        let scope = Scope {
            inputs: &run.inputs,
            settings: &run.settings,
            steps: Some(outputs),
        };
        let with = resolve(&spec.with, &scope);
        let mut observation = Observation {
            step: spec.id.clone(),
            kind: spec.kind.clone(),
            seen: Ok(Seen::Absent),
            changes: Vec::new(),
            resources: Vec::new(),
            requests: Vec::new(),
        };
        let Some(step) = self.inner.registry.step(&spec.kind) else {
            return observation;
        };
        observation.resources = step.resources(&with);
        observation.requests = step.requests(&with);
        let whole = |need: &String| outputs.contains_key(need) || run.skipped.contains(need);
        if !spec.needs.iter().all(whole) {
            return observation;
        }
        let cx = self.looking(run, spec, earlier);
        let limit = Duration::from_millis(spec.timeout_ms);
        let seen = tokio::time::timeout(limit, step.check(&cx, &with)).await;
        observation.seen = seen.unwrap_or_else(|_| {
            let message = format!("the look of step `{}` got no answer in time", spec.id);
            Err(StepError::unknown("step.timed_out", message))
        });
        if let Ok(Seen::Project(output)) = &observation.seen {
            match changes(step.as_ref(), &cx, &with, output, limit).await {
                Ok(found) => observation.changes = found,
                Err(error) => observation.seen = Err(error),
            }
        }
        observation
    }

    fn looking(&self, run: &RunRow, spec: &StepSpec, earlier: &Arc<Vec<Earlier>>) -> StepCx {
        StepCx {
            run_id: run.run_id.clone(),
            subject: run.subject.clone(),
            caller: run.caller.clone(),
            step: spec.id.clone(),
            intent_at: run.created_at,
            adopt: run.options.adopt,
            earlier: Arc::clone(earlier),
            facts: BTreeMap::new(),
            run_facts: BTreeMap::new(),
            cancelled: CancellationToken::new(),
            journal: Arc::clone(&self.inner.journal),
            aside: Aside::default(),
        }
    }
}

async fn changes(
    step: &dyn Step,
    cx: &StepCx,
    with: &Value,
    output: &Value,
    limit: Duration,
) -> Result<Vec<String>, StepError> {
    tokio::time::timeout(limit, step.changes(cx, with, output))
        .await
        .unwrap_or_else(|_| {
            let message = format!("the look of step `{}` got no answer in time", cx.step);
            Err(StepError::unknown("step.timed_out", message))
        })
}

/// What a dependent step would be given.
fn found(seen: &Result<Seen, StepError>, adopt: bool) -> Option<(Origin, &Value)> {
    match seen {
        Ok(Seen::Ours(output) | Seen::Project(output)) => Some((Origin::Existing, output)),
        Ok(Seen::Adopted(output)) => Some((Origin::Adopted, output)),
        Ok(Seen::Foreign {
            adoptable: Some(output),
            ..
        }) if adopt => Some((Origin::Adopted, output)),
        Ok(Seen::Absent | Seen::Foreign { .. }) | Err(_) => None,
    }
}
