//! What the journal knows of a project, as whoever decides about a call asks for it.

use std::collections::BTreeSet;

use forgeline_step_engine::journal::{RunQuery, RunRow};
use forgeline_step_engine::{RunId, RunState};
use forgeline_upstream::FullName;
use serde_json::{Map, Value};

use super::known::expiry_of;
use super::{Provisioner, errors};
use crate::view::ErrorView;

/// What a call about a project is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectFacts {
    /// The project's name.
    pub project: String,
    /// Its owner in Gitea. `None`: neither the call nor the configuration says.
    pub gitea_owner: Option<String>,
    /// Its owner on GitHub.
    pub github_owner: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// It ends by itself.
    pub throwaway: bool,
    /// The run that began it, after the last removal of a project of that name. `None`: there is none.
    pub since: Option<String>,
}

impl ProjectFacts {
    /// Its repository in Gitea. `None`: no owner is known, or the names fit no path.
    pub fn repository(&self) -> Option<FullName> {
        FullName::new(self.gitea_owner.as_deref()?, &self.project)
    }
}

/// What a run is about.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFacts {
    /// The project, or what else the run is about.
    pub subject: String,
    /// The run removes things.
    pub removes: bool,
    /// The repositories in Gitea that it holds or held.
    pub repositories: Vec<FullName>,
}

impl Provisioner {
    /// What a call for a new or repeated run would be about: its inputs, and the configuration where they say nothing.
    pub fn facts_of_call(&self, inputs: &Map<String, Value>) -> ProjectFacts {
        let given = |name: &str| inputs.get(name).and_then(Value::as_str);
        let set = |name: &str| self.setup.settings[name].as_str();
        let either = |name: &str| given(name).or_else(|| set(name)).map(str::to_owned);
        let project = given("name").unwrap_or_default().to_owned();
        ProjectFacts {
            gitea_owner: either("gitea_owner"),
            github_owner: either("github_owner"),
            namespace: given("namespace")
                .map_or_else(|| Some(project.clone()), |it| Some(it.to_owned())),
            throwaway: given("ttl").is_some(),
            since: None,
            project,
        }
    }

    /// What the journal knows of a project; for one that it does not know, the configuration alone.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn facts(&self, project: &str) -> Result<ProjectFacts, ErrorView> {
        let rows = self.rows().await?;
        let begun: Vec<&RunRow> = begun(&rows, project);
        let newest = begun.first().map(|row| &row.inputs);
        let inputs = newest.and_then(Value::as_object).cloned();
        let mut inputs = inputs.unwrap_or_default();
        inputs.insert("name".into(), project.into());
        Ok(ProjectFacts {
            throwaway: expiry_of(&rows, project).is_some() && !begun.is_empty(),
            since: begun.last().map(|row| row.run_id.to_string()),
            ..self.facts_of_call(&inputs)
        })
    }

    /// What a run or a plan is about. `None`: the journal knows no such run.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn facts_of_run(&self, run: &str) -> Result<Option<RunFacts>, ErrorView> {
        let Ok(wanted) = run.parse::<RunId>() else {
            return Ok(None);
        };
        let query = RunQuery::default();
        let rows = self.engine.runs(&query).await;
        let rows = rows.map_err(|error| errors::of_engine(&error))?;
        let row = rows.into_iter().find(|row| row.run_id == wanted);
        Ok(row.map(|row| RunFacts {
            repositories: repositories(&row.resources),
            subject: row.subject,
            removes: row.workflow.removes,
        }))
    }

    async fn rows(&self) -> Result<Vec<RunRow>, ErrorView> {
        let rows = self.engine.runs(&RunQuery::default()).await;
        let mut rows = rows.map_err(|error| errors::of_engine(&error))?;
        rows.retain(|row| row.state != RunState::Planned);
        Ok(rows)
    }
}

/// The runs of a project since its name was last set free, the newest first. A deletion frees it, and a clean-up that
/// held what the project's runs held.
fn begun<'a>(rows: &'a [RunRow], project: &str) -> Vec<&'a RunRow> {
    let of_project = |row: &&RunRow| row.subject == project && !row.workflow.removes;
    let held: BTreeSet<&String> = rows
        .iter()
        .filter(of_project)
        .flat_map(|row| &row.resources)
        .collect();
    let frees = |row: &RunRow| {
        let about = row.subject == project || row.resources.iter().any(|one| held.contains(one));
        row.workflow.removes && row.state == RunState::Succeeded && about
    };
    let since = rows.iter().take_while(|row| !frees(row));
    since.filter(of_project).collect()
}

fn repositories(resources: &[String]) -> Vec<FullName> {
    let named = resources
        .iter()
        .filter_map(|one| one.strip_prefix("gitea:"));
    named
        .filter_map(|name| name.split_once('/'))
        .filter_map(|(owner, name)| FullName::new(owner, name))
        .collect()
}
