//! Plans that are journaled and applied later: exactly what was shown, or less.

use std::collections::BTreeMap;
use std::time::Duration;

use forgeline_step_engine::journal::{Admission, RunOptions, RunQuery, RunRow};
use forgeline_step_engine::{
    Request, RetryPolicy, RunId, RunState, Snapshot, StepSpec, StepState, Workflow,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{Provisioner, errors};
use crate::actor::Actor;
use crate::cleanup::Item;
use crate::plan::{Action, ItemResult, Plan};
use crate::removal::Target;
use crate::view::ErrorView;

/// How long a plan can be applied.
const LASTS: SignedDuration = SignedDuration::from_hours(1);

/// What a journaled plan is about.
pub(super) struct Draft {
    /// The workflow's name: what the plan is for.
    pub(super) workflow: &'static str,
    /// For people.
    pub(super) description: &'static str,
    /// The project. `None`: no single one.
    pub(super) project: Option<String>,
    pub(super) items: Vec<Item>,
}

impl Provisioner {
    /// Journals a plan and answers it with its name. A plan that would do nothing is not journaled.
    pub(super) async fn keep(&self, draft: Draft, actor: &Actor) -> Plan {
        let (items, targets): (Vec<_>, Vec<_>) = draft.items.into_iter().unzip();
        let mut plan = Plan::of_items(items);
        let targets: BTreeMap<String, Target> = plan
            .items
            .iter()
            .zip(targets)
            .filter_map(|(item, target)| Some((item.id.clone(), target?)))
            .collect();
        if targets.is_empty() {
            return plan;
        }
        // A plan is about itself unless it is about one project.
        let subject = draft
            .project
            .unwrap_or_else(|| format!("{} {}", draft.workflow, RunId::new()));
        let request = Request {
            workflow: workflow(
                draft.workflow,
                draft.description,
                &plan,
                &targets,
                &BTreeMap::new(),
            ),
            inputs: Map::new(),
            settings: json!({"plan": plan, "targets": targets}),
            subject,
            options: RunOptions::default(),
            caller: actor.name().to_owned(),
        };
        match self.engine.keep_plan(request).await {
            Ok(row) => {
                plan.plan_id = Some(row.run_id.to_string());
                plan.expires_at = ends(&row).map(|at| format!("{at:.0}"));
                plan.state = Some(RunState::Planned);
                plan
            }
            Err(error) => Plan {
                error: Some(errors::of_engine(&error)),
                ..plan
            },
        }
    }

    /// Applies a plan that was shown before, waits at most `limit`, and answers it with what became of each item. A plan
    /// that was applied already is answered as it stands.
    pub(super) async fn apply(
        &self,
        name: &'static str,
        plan_id: &str,
        actor: &Actor,
        limit: Option<Duration>,
    ) -> Plan {
        match self.application(name, plan_id, actor).await {
            Ok((row, run)) => {
                self.engine.wait(&run, limit).await;
                self.applied(&row, &run).await
            }
            Err(error) => Plan::refused(error),
        }
    }

    /// The run that applies this plan: the one that does already, or a new one. Answers the plan's row too.
    pub async fn application(
        &self,
        name: &str,
        plan_id: &str,
        actor: &Actor,
    ) -> Result<(RunRow, RunId), ErrorView> {
        let planned = self.planned(name, plan_id).await?;
        if let Some(run) = self.applied_by(&planned).await? {
            // One that nobody drives goes on.
            let decided = self.engine.decide(
                &run,
                forgeline_step_engine::Decision::Continue,
                actor.name(),
            );
            drop(decided.await);
            return Ok((planned, run));
        }
        if ends(&planned).is_none_or(|at| at <= Timestamp::now()) {
            return Err(ErrorView::new(
                "plan.expired",
                format!("the plan {plan_id} was made more than an hour ago"),
                "ask for a new plan, look at it, and apply that",
            ));
        }
        let run = self.begin(&planned, actor).await?;
        Ok((planned, run))
    }

    async fn planned(&self, name: &str, plan_id: &str) -> Result<RunRow, ErrorView> {
        let unknown = || {
            let message = format!("`{plan_id}` is no plan of this kind that this journal knows");
            ErrorView::new(
                "plan.unknown",
                message,
                "ask for a plan first; its plan_id stands in the answer",
            )
        };
        let run: RunId = plan_id.parse().map_err(|_| unknown())?;
        let row = match self.engine.snapshot(&run).await {
            Ok(snapshot) => snapshot.run,
            Err(forgeline_step_engine::EngineError::UnknownRun(_)) => return Err(unknown()),
            Err(error) => return Err(errors::of_engine(&error)),
        };
        if row.state != RunState::Planned || row.workflow.name != name {
            return Err(unknown());
        }
        Ok(row)
    }

    /// Whether a plan is about this project.
    pub(super) async fn plan_is_about(
        &self,
        name: &str,
        plan_id: &str,
        project: &str,
    ) -> Result<(), ErrorView> {
        let planned = self.planned(name, plan_id).await?;
        if planned.subject == project {
            return Ok(());
        }
        let message = format!(
            "the plan {plan_id} is about the project `{}`",
            planned.subject
        );
        Err(ErrorView::new(
            "plan.unknown",
            message,
            "give the plan_id of a plan for this project",
        ))
    }

    /// The run that applied a plan. `None`: none did.
    async fn applied_by(&self, planned: &RunRow) -> Result<Option<RunId>, ErrorView> {
        let query = RunQuery {
            subject: Some(planned.subject.clone()),
            ..RunQuery::default()
        };
        let rows = self.engine.runs(&query).await;
        let rows = rows.map_err(|error| errors::of_engine(&error))?;
        let plan_id = planned.run_id.as_str();
        let mut applied = rows
            .into_iter()
            .filter(|row| row.settings["plan_id"] == plan_id);
        Ok(applied.next().map(|row| row.run_id))
    }

    /// Begins the run. What another run holds is left out, with the reason.
    async fn begin(&self, planned: &RunRow, actor: &Actor) -> Result<RunId, ErrorView> {
        let (plan, targets) = read(planned)?;
        let mut held: BTreeMap<String, String> = BTreeMap::new();
        loop {
            let description = planned.workflow.description.clone();
            let request = Request {
                workflow: workflow(&planned.workflow.name, &description, &plan, &targets, &held),
                inputs: Map::new(),
                settings: json!({"plan_id": planned.run_id, "held": held}),
                subject: planned.subject.clone(),
                options: RunOptions::default(),
                caller: actor.name().to_owned(),
            };
            let admission = self.engine.start(request).await;
            let admission = admission.map_err(|error| errors::of_engine(&error))?;
            match &admission {
                // Another plan about the same is being applied, or was and its last look is owed.
                Admission::Joined(row) | Admission::Answered(row)
                    if row.settings["plan_id"] != planned.run_id.as_str() =>
                {
                    let message = format!("run {} applies another plan", row.run_id);
                    let remedy = "wait for its end, then ask for a new plan";
                    return Err(ErrorView::new("project.busy", message, remedy));
                }
                _ => {}
            }
            if let Some(run) = admission.led_to() {
                return Ok(run.clone());
            }
            let of_another = match &admission {
                Admission::Locked { run_id, .. } | Admission::Settling { run_id, .. } => {
                    Some(run_id)
                }
                _ => None,
            };
            let before = held.len();
            if let Some(holder) = of_another {
                for (id, why) in self.held_by(holder, &targets).await {
                    held.entry(id).or_insert(why);
                }
            }
            if held.len() == before {
                return Err(errors::of_admission(&admission));
            }
        }
    }

    /// The targets that this run holds, each with a sentence that says so.
    async fn held_by(
        &self,
        holder: &RunId,
        targets: &BTreeMap<String, Target>,
    ) -> Vec<(String, String)> {
        let Ok(snapshot) = self.engine.snapshot(holder).await else {
            return Vec::new();
        };
        let row = snapshot.run;
        let held = targets
            .iter()
            .filter(|(_, target)| row.resources.contains(&target.resource()));
        let why = format!("run {holder} of the project `{}` holds it", row.subject);
        held.map(|(id, _)| (id.clone(), why.clone())).collect()
    }

    /// A plan with what became of each item.
    async fn applied(&self, planned: &RunRow, run: &RunId) -> Plan {
        let mut plan = match read(planned) {
            Ok((plan, _)) => plan,
            Err(error) => return Plan::refused(error),
        };
        plan.plan_id = Some(planned.run_id.to_string());
        plan.expires_at = ends(planned).map(|at| format!("{at:.0}"));
        plan.run_id = Some(run.to_string());
        let snapshot = match self.engine.snapshot(run).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                plan.error = Some(errors::of_engine(&error));
                return plan;
            }
        };
        plan.state = Some(snapshot.run.state);
        if snapshot.run.state == RunState::Interrupted {
            plan.error = self
                .engine
                .trouble()
                .map(|error| errors::of_journal(&error));
        }
        for item in &mut plan.items {
            let became = became(&snapshot, &item.id, item.action);
            if let Some((result, why, command)) = became {
                item.result = Some(result);
                if !why.is_empty() {
                    item.why = why;
                }
                if !command.is_empty() {
                    item.command = command;
                }
            }
        }
        with_their_repositories(&mut plan);
        plan
    }
}

/// A mirror that could not be removed is gone all the same once its repository is.
fn with_their_repositories(plan: &mut Plan) {
    let deleted = plan
        .items
        .iter()
        .filter(|item| item.result == Some(ItemResult::Deleted));
    let gone: Vec<String> = deleted
        .filter_map(|item| item.artifact.strip_prefix("gitea:"))
        .map(|name| format!("mirror:{name}/"))
        .collect();
    let left = |item: &&mut crate::plan::PlanItem| {
        matches!(
            item.result,
            Some(ItemResult::Blocked | ItemResult::Failed | ItemResult::Kept)
        )
    };
    for item in plan.items.iter_mut().filter(left) {
        if gone.iter().any(|prefix| item.artifact.starts_with(prefix)) {
            item.result = Some(ItemResult::Deleted);
            item.why = "it went with its repository".to_owned();
        }
    }
}

fn became(snapshot: &Snapshot, id: &str, action: Action) -> Option<(ItemResult, String, String)> {
    let plain = |result| Some((result, String::new(), String::new()));
    match action {
        Action::Keep | Action::Found => return plain(ItemResult::Kept),
        Action::Blocked => return plain(ItemResult::Blocked),
        Action::Create | Action::Update | Action::Delete => {}
    }
    if let Some(why) = snapshot.run.settings["held"][id].as_str() {
        return Some((ItemResult::Kept, why.to_owned(), String::new()));
    }
    let step = snapshot.steps.iter().find(|step| step.id == id)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match (&step.output, step.state) {
        (Some(output), _) => {
            let result = ItemResult::parse(output["result"].as_str().unwrap_or_default());
            Some((result, text(&output["why"]), text(&output["command"])))
        }
        (None, StepState::Failed) => {
            let why = step.error.as_ref().map(|error| error.message.clone());
            Some((ItemResult::Failed, why.unwrap_or_default(), String::new()))
        }
        (None, _) => None,
    }
}

/// The plan and its targets as they were journaled.
fn read(planned: &RunRow) -> Result<(Plan, BTreeMap<String, Target>), ErrorView> {
    let unreadable = |error: serde_json::Error| {
        let message = format!("the plan {} has an unknown form: {error}", planned.run_id);
        ErrorView::new("plan.unknown", message, "ask for a new plan")
    };
    let plan = serde_json::from_value(planned.settings["plan"].clone()).map_err(unreadable)?;
    let targets = serde_json::from_value(planned.settings["targets"].clone());
    Ok((plan, targets.map_err(unreadable)?))
}

/// Until when a plan can be applied.
fn ends(planned: &RunRow) -> Option<Timestamp> {
    planned.created_at.checked_add(LASTS).ok()
}

/// A step for each target; the parts of a project go one after the other, however each ends.
fn workflow(
    name: &str,
    description: &str,
    plan: &Plan,
    targets: &BTreeMap<String, Target>,
    held: &BTreeMap<String, String>,
) -> Workflow {
    let mut last: BTreeMap<&str, String> = BTreeMap::new();
    let mut steps = Vec::new();
    for item in &plan.items {
        let Some(target) = targets
            .get(&item.id)
            .filter(|_| !held.contains_key(&item.id))
        else {
            continue;
        };
        let after = last.insert(&item.project, item.id.clone());
        steps.push(StepSpec {
            id: item.id.clone(),
            kind: target.step_kind().into(),
            needs: Vec::new(),
            after: after.into_iter().collect(),
            with: json!({"target": target}),
            retry: RetryPolicy {
                attempts: 4,
                ..RetryPolicy::default()
            },
            timeout_ms: 600_000,
            when: None,
            irreversible: true,
            without_undo: false,
        });
    }
    Workflow {
        name: name.to_owned(),
        description: description.to_owned(),
        scope: None,
        removes: true,
        inputs: Vec::new(),
        steps,
        outputs: BTreeMap::new(),
    }
}
