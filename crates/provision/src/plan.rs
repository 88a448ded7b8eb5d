//! Plans: what a call would do, seen and not done.

use forgeline_step_engine::{Observation, Observed, RunState, Seen};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::doctor::Right;
use crate::view::ErrorView;

/// What would be done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The name under which it can be applied. `None`: call again without `dry_run`.
    pub plan_id: Option<String>,
    /// Until when it can be applied. `None`: it cannot.
    pub expires_at: Option<String>,
    /// In the order of the workflow.
    pub items: Vec<PlanItem>,
    /// How many of each action.
    pub counts: Counts,
    /// How many are blocked.
    pub blocked: usize,
    /// What it needs.
    pub needs: Needs,
    /// The run that applied it. `None`: it was not applied.
    #[serde(default)]
    pub run_id: Option<String>,
    /// Where that run stands; `planned` before.
    #[serde(default)]
    pub state: Option<RunState>,
    /// Why there is no plan, or why it cannot be applied.
    #[serde(default)]
    pub error: Option<ErrorView>,
    /// Sentences for people.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One artifact of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanItem {
    /// The step's id.
    pub id: String,
    /// For example `gitea`.
    pub system: String,
    /// For example `gitea:acme/shop`, or the step's id where it has no name of its own.
    pub artifact: String,
    /// The project.
    pub project: String,
    /// Where it is. `None`: it is not there yet.
    pub url: Option<String>,
    /// What would be done.
    pub action: Action,
    /// Why, or what would change.
    pub why: String,
    /// How it is known as ours. `None`: it is not there, or not ours.
    pub evidence: Option<String>,
    /// The command that would unblock it; empty when there is none.
    pub command: String,
    /// What became of it. `None`: nothing yet.
    #[serde(default)]
    pub result: Option<ItemResult>,
}

/// What became of an item of an applied plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemResult {
    /// Removed.
    Deleted,
    /// Made read-only, as asked.
    Archived,
    /// Replaced, as asked.
    Replaced,
    /// Left as it is, because it is not as the plan saw it, or was to be kept.
    Kept,
    /// A right is missing; `command` grants it and removes the item.
    Blocked,
    /// It was not there any more.
    Gone,
    /// It could not be removed.
    Failed,
}

impl ItemResult {
    /// The reverse of its word in JSON; [`ItemResult::Failed`] for an unknown one.
    pub(crate) fn parse(word: &str) -> Self {
        match word {
            "deleted" => Self::Deleted,
            "archived" => Self::Archived,
            "replaced" => Self::Replaced,
            "kept" => Self::Kept,
            "blocked" => Self::Blocked,
            "gone" => Self::Gone,
            _ => Self::Failed,
        }
    }
}

/// What would be done to an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Made.
    Create,
    /// Used as it is.
    Found,
    /// Repaired.
    Update,
    /// Removed.
    Delete,
    /// Left alone.
    Keep,
    /// Nothing: something is in the way.
    Blocked,
}

impl Action {
    /// The symbol before a line of a plan.
    pub fn symbol(self) -> char {
        match self {
            Self::Create => '+',
            Self::Found | Self::Keep => '=',
            Self::Update => '~',
            Self::Delete => '-',
            Self::Blocked => '!',
        }
    }
}

/// How many of each action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// To be made.
    pub create: usize,
    /// There already.
    pub found: usize,
    /// To be repaired.
    pub update: usize,
    /// To be removed.
    pub delete: usize,
    /// To be left alone.
    pub keep: usize,
    /// In the way of something.
    pub blocked: usize,
}

/// What a plan needs of others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Needs {
    /// The rights, and whether they are there.
    pub rights: Vec<Right>,
    /// Requests by system, without those of a first connection.
    pub requests: Requests,
}

/// Requests by system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Gitea's REST API.
    pub gitea: u32,
    /// The gitea-mcp server.
    pub gitea_mcp: u32,
    /// GitHub's REST API; git's own requests do not count against its limit.
    pub github: u32,
    /// The cluster.
    pub kubernetes: u32,
}

impl Requests {
    fn add(&mut self, system: &str, count: u32) {
        match system {
            "gitea" => self.gitea += count,
            "gitea_mcp" => self.gitea_mcp += count,
            "github" => self.github += count,
            "kubernetes" => self.kubernetes += count,
            _ => {}
        }
    }
}

impl Plan {
    /// The plan that follows from a look.
    pub(crate) fn of(observed: &Observed, rights: Vec<Right>) -> Self {
        let adopt = observed.run.options.adopt;
        let items: Vec<PlanItem> = observed
            .steps
            .iter()
            .map(|step| item(step, &observed.run.subject, adopt))
            .collect();
        let mut requests = Requests::default();
        for (step, item) in observed.steps.iter().zip(&items) {
            if item.action == Action::Create {
                for (system, count) in &step.requests {
                    requests.add(system, *count);
                }
            }
        }
        let counts = count(&items);
        Self {
            plan_id: None,
            expires_at: None,
            blocked: counts.blocked,
            counts,
            items,
            needs: Needs { rights, requests },
            ..Self::default()
        }
    }

    /// A refusal: no plan.
    pub fn refused(error: ErrorView) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }

    /// A plan of these items.
    pub(crate) fn of_items(items: Vec<PlanItem>) -> Self {
        let counts = count(&items);
        Self {
            blocked: counts.blocked,
            counts,
            items,
            ..Self::default()
        }
    }

    /// `Plan: 4 to create, 1 found, 0 to update, 0 blocked.`
    pub fn summary(&self) -> String {
        let counts = &self.counts;
        let mut parts = vec![
            format!("{} to create", counts.create),
            format!("{} found", counts.found),
            format!("{} to update", counts.update),
        ];
        if counts.delete + counts.keep > 0 {
            parts.push(format!("{} to delete", counts.delete));
            parts.push(format!("{} to keep", counts.keep));
        }
        parts.push(format!("{} blocked", counts.blocked));
        format!("Plan: {}.", parts.join(", "))
    }
}

fn count(items: &[PlanItem]) -> Counts {
    let mut counts = Counts::default();
    for item in items {
        *match item.action {
            Action::Create => &mut counts.create,
            Action::Found => &mut counts.found,
            Action::Update => &mut counts.update,
            Action::Delete => &mut counts.delete,
            Action::Keep => &mut counts.keep,
            Action::Blocked => &mut counts.blocked,
        } += 1;
    }
    counts
}

fn item(step: &Observation, project: &str, adopt: bool) -> PlanItem {
    let (action, why, output, command) = judged(step, adopt);
    let evidence = match &step.seen {
        Ok(Seen::Ours(_) | Seen::Project(_) | Seen::Adopted(_)) => Some("receipt".to_owned()),
        Ok(Seen::Absent | Seen::Foreign { .. }) | Err(_) => None,
    };
    let url = output.and_then(|output| output["url"].as_str().map(str::to_owned));
    PlanItem {
        id: step.step.clone(),
        system: system(&step.kind).to_owned(),
        artifact: step.resources.first().unwrap_or(&step.step).clone(),
        project: project.to_owned(),
        url,
        action,
        why,
        evidence,
        command,
        result: None,
    }
}

fn judged(step: &Observation, adopt: bool) -> (Action, String, Option<&Value>, String) {
    let plain = |action, why: &str, output| (action, why.to_owned(), output, String::new());
    match &step.seen {
        Ok(Seen::Absent) => plain(Action::Create, "not there yet", None),
        Ok(Seen::Ours(output) | Seen::Project(output)) if step.changes.is_empty() => {
            plain(Action::Found, "this project made it", Some(output))
        }
        Ok(Seen::Ours(output) | Seen::Project(output)) => {
            plain(Action::Update, &step.changes.join(", "), Some(output))
        }
        Ok(Seen::Adopted(output)) => plain(Action::Found, "adopted; used as it is", Some(output)),
        Ok(Seen::Foreign {
            why,
            adoptable: Some(output),
        }) if adopt => plain(
            Action::Found,
            &format!("{why}; it would be adopted"),
            Some(output),
        ),
        Ok(Seen::Foreign { why, adoptable }) => {
            let hint = if adoptable.is_some() {
                "; adopt: true would use it"
            } else {
                ""
            };
            plain(Action::Blocked, &format!("{why}{hint}"), adoptable.as_ref())
        }
        Err(error) => (
            Action::Blocked,
            error.message.clone(),
            None,
            error.remedy.clone().unwrap_or_default(),
        ),
    }
}

fn system(kind: &str) -> &str {
    match kind {
        "infra.namespace" => "kubernetes",
        "infra.commit" => "gitea",
        kind => kind.split('.').next().unwrap_or(kind),
    }
}
