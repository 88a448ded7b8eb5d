//! What has become of a project: each artifact as it is now, against what its run made.

use forgeline_step_engine::journal::{RunQuery, RunRow};
use forgeline_step_engine::{Observation, Request, RunState, Seen};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Provisioner, errors};
use crate::removal::full_name;
use crate::view::ErrorView;

/// What has become of a project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The project's name.
    pub project: String,
    /// Something is not as it was made.
    pub drift: bool,
    /// In the order of the workflow.
    pub items: Vec<CheckItem>,
    /// Why there is no report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
}

/// One artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckItem {
    /// The step's id, for example `mirror`.
    pub artifact: String,
    /// How it is.
    pub state: CheckState,
    /// What the run made.
    pub expected: String,
    /// What is there.
    pub observed: String,
    /// What differs, and what to do; empty when nothing does.
    pub detail: String,
}

/// How an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// As it was made.
    Ok,
    /// Not there.
    Missing,
    /// There, and not as it was made.
    Changed,
    /// Something of somebody else's has its name.
    Foreign,
    /// It could not be looked at.
    Unreachable,
}

impl CheckReport {
    fn refused(project: &str, error: ErrorView) -> Self {
        Self {
            project: project.to_owned(),
            error: Some(error),
            ..Self::default()
        }
    }
}

impl Provisioner {
    /// Looks at everything that the project's last successful run made. Changes nothing.
    pub async fn check(&self, project: &str) -> CheckReport {
        let row = match self.made_by(project).await {
            Ok(row) => row,
            Err(error) => return CheckReport::refused(project, error),
        };
        let inputs = row.inputs.as_object().cloned().unwrap_or_default();
        let request = Request {
            workflow: row.workflow.clone(),
            inputs: inputs
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect(),
            settings: row.settings.clone(),
            subject: project.to_owned(),
            options: row.options.clone(),
            caller: row.caller.clone(),
        };
        let observed = match self.engine.observe(request).await {
            Ok(observed) => observed,
            Err(error) => return CheckReport::refused(project, errors::of_engine(&error)),
        };
        let snapshot = match self.engine.snapshot(&row.run_id).await {
            Ok(snapshot) => snapshot,
            Err(error) => return CheckReport::refused(project, errors::of_engine(&error)),
        };
        let mut items = Vec::new();
        for step in observed
            .steps
            .iter()
            .filter(|step| !row.skipped.contains(&step.step))
        {
            let made = snapshot.steps.iter().find(|made| made.id == step.step);
            let made = made.and_then(|made| made.output.as_ref());
            let mut item = judged(step, made);
            if step.kind == "gitea.push_mirror" && item.state == CheckState::Ok {
                self.look_at_mirror(&mut item, made).await;
            }
            items.push(item);
        }
        CheckReport {
            project: project.to_owned(),
            drift: items.iter().any(|item| item.state != CheckState::Ok),
            items,
            error: None,
        }
    }

    async fn made_by(&self, project: &str) -> Result<RunRow, ErrorView> {
        let query = RunQuery {
            subject: Some(project.to_owned()),
            ..RunQuery::default()
        };
        let rows = self
            .engine
            .runs(&query)
            .await
            .map_err(|error| errors::of_engine(&error))?;
        let succeeded = rows
            .into_iter()
            .filter(|row| row.state == RunState::Succeeded);
        let mut making = succeeded.take_while(|row| !row.workflow.removes);
        making
            .find(|row| !row.workflow.inputs.is_empty() && row.workflow.name != super::RENEW)
            .ok_or_else(|| {
                let message = format!(
                    "no run of the project `{project}` has made it, or it was deleted since"
                );
                ErrorView::new("project.unknown", message, "look at `forgeline list`")
            })
    }

    /// A mirror that stands may still fail: what Gitea says of its last sync, and how long ago that was.
    async fn look_at_mirror(&self, item: &mut CheckItem, made: Option<&serde_json::Value>) {
        let Ok(remover) = self.remover() else {
            return;
        };
        let repository = made.and_then(|made| full_name(made["repository"].as_str()?));
        let Some(repository) = repository else {
            return;
        };
        let Ok(mirrors) = remover.upstreams.gitea.push_mirrors(&repository).await else {
            return;
        };
        let failing = mirrors
            .iter()
            .find(|mirror| !mirror.last_error.trim().is_empty());
        if let Some(mirror) = failing {
            let age = mirror
                .last_update
                .map(|at| Timestamp::now().duration_since(at).as_secs());
            let age = age.map_or_else(|| "never synced".to_owned(), |age| format!("{age} s ago"));
            let said: String = mirror
                .last_error
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            item.state = CheckState::Changed;
            item.observed = format!("its last sync failed ({age})");
            item.detail = self.redacted(&said);
        }
    }

    fn redacted(&self, text: &str) -> String {
        match self.remover() {
            Ok(remover) => remover.upstreams.mirror.token.redact(text),
            Err(_) => text.to_owned(),
        }
    }
}

fn judged(step: &Observation, made: Option<&serde_json::Value>) -> CheckItem {
    let words = |output: &serde_json::Value| {
        let field = ["url", "remote", "name", "branch"]
            .into_iter()
            .find_map(|name| output[name].as_str());
        field.unwrap_or("as described").to_owned()
    };
    let expected = made.map(words).unwrap_or_default();
    let item = |state, observed: String, detail: String| CheckItem {
        artifact: step.step.clone(),
        state,
        expected: expected.clone(),
        observed,
        detail,
    };
    let repair = "repeat the call that made the project to repair it";
    match &step.seen {
        Ok(Seen::Absent) => item(CheckState::Missing, "nothing".into(), repair.into()),
        Ok(Seen::Ours(output) | Seen::Project(output)) if step.changes.is_empty() => {
            item(CheckState::Ok, words(output), String::new())
        }
        Ok(Seen::Ours(output) | Seen::Project(output)) => {
            let detail = format!("{}; {repair}", step.changes.join(", "));
            item(CheckState::Changed, words(output), detail)
        }
        Ok(Seen::Adopted(output)) => item(CheckState::Ok, words(output), "adopted".into()),
        Ok(Seen::Foreign { why, .. }) => {
            item(CheckState::Foreign, "somebody else's".into(), why.clone())
        }
        Err(error) if error.code.starts_with("mirror.") => item(
            CheckState::Changed,
            error.code.clone(),
            error.message.clone(),
        ),
        Err(error) => item(
            CheckState::Unreachable,
            error.code.clone(),
            error.message.clone(),
        ),
    }
}
