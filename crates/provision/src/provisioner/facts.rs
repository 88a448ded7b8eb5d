//! What a call is about, as whoever decides about it asks: never by the names that the call gives alone, but by the resources
//! that its run would hold and those that earlier runs of the project hold.

use std::collections::BTreeSet;

use forgeline_step_engine::journal::{RunOptions, RunQuery, RunRow};
use forgeline_step_engine::{Request, RunId, RunState};
use forgeline_upstream::FullName;
use serde_json::{Map, Value};

use super::renewal::ROTATE;
use super::{Provisioner, RENEW, errors, expires, subject};
use crate::removal::{Target, TargetKind};
use crate::view::ErrorView;

/// What a call about a project is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectFacts {
    /// The project's name.
    pub project: String,
    /// The run that began it, after the last removal of a project of that name. `None`: there is none.
    pub since: Option<String>,
    /// It ends by itself.
    pub throwaway: bool,
    /// What its runs hold.
    pub held: Held,
    /// What the call itself would hold; nothing where it makes nothing.
    pub wanted: Held,
}

/// Resources, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// Repositories in Gitea, also those of mirrors.
    pub gitea: Vec<FullName>,
    /// The infra repositories of branches.
    pub branches: Vec<FullName>,
    /// Repositories on GitHub.
    pub github: Vec<FullName>,
    /// Namespaces.
    pub namespaces: Vec<String>,
}

impl Held {
    fn of<'a>(resources: impl Iterator<Item = &'a String>) -> Self {
        let mut held = Self::default();
        for resource in resources {
            let Some((system, name)) = resource.split_once(':') else {
                continue;
            };
            let mut parts = name.splitn(3, '/');
            let full = match (parts.next(), parts.next()) {
                (Some(owner), Some(name)) => FullName::new(owner, name),
                _ => None,
            };
            match (system, full) {
                ("gitea", Some(full)) if !held.gitea.contains(&full) => held.gitea.push(full),
                ("branch", Some(full)) => held.branches.push(full),
                ("github", Some(full)) if !held.github.contains(&full) => held.github.push(full),
                ("ns", _) => held.namespaces.push(name.to_owned()),
                _ => {}
            }
        }
        held
    }

    /// The owners on both forges, in lower case: forges do not tell case apart.
    pub fn owners(&self) -> BTreeSet<String> {
        let all = self.gitea.iter().chain(&self.github);
        all.map(|name| name.owner().to_lowercase()).collect()
    }
}

/// What a run or a plan is about.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFacts {
    /// The project, or what else the run is about.
    pub subject: String,
    /// What it holds or held.
    pub held: Held,
}

/// What a call says beside the inputs of its workflow.
const NO_INPUTS: [&str; 6] = [
    "adopt",
    "dry_run",
    "issue_token",
    "on_failure",
    "request_id",
    "wait_seconds",
];

impl Provisioner {
    /// What a call of a workflow is about: what its run would hold, and what the project of that name holds already.
    ///
    /// # Errors
    /// Inputs that do not fit, or a journal that cannot be read.
    pub async fn facts_of_call(
        &self,
        workflow: &str,
        given: &Map<String, Value>,
    ) -> Result<ProjectFacts, ErrorView> {
        let Some(workflow) = self.setup.catalogue.get(workflow).cloned() else {
            return Ok(ProjectFacts::default());
        };
        let mut inputs = given.clone();
        inputs.retain(|name, _| !NO_INPUTS.contains(&name.as_str()));
        let subject = subject(&workflow, &inputs);
        let request = Request {
            subject: subject.clone(),
            workflow,
            inputs,
            settings: self.setup.settings.clone(),
            options: RunOptions::default(),
            caller: String::new(),
        };
        let resources = self.engine.resources(request);
        let resources = resources.map_err(|error| errors::of_engine(&error))?;
        Ok(ProjectFacts {
            throwaway: given.get("ttl").is_some_and(Value::is_string),
            wanted: Held::of(resources.iter()),
            ..self.facts(&subject).await?
        })
    }

    /// What the journal knows of a project.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn facts(&self, project: &str) -> Result<ProjectFacts, ErrorView> {
        let rows = self.engine.runs(&RunQuery::default()).await;
        let mut rows = rows.map_err(|error| errors::of_engine(&error))?;
        rows.retain(|row| row.state != RunState::Planned);
        let begun = self.begun(&rows, project).await?;
        // What was undone is not the project's.
        let stands = || {
            begun
                .iter()
                .filter(|row| row.state != RunState::Compensated)
        };
        Ok(ProjectFacts {
            project: project.to_owned(),
            since: begun.last().map(|row| row.run_id.to_string()),
            throwaway: stands().any(|row| expires(row).is_some()),
            held: Held::of(stands().flat_map(|row| &row.resources)),
            wanted: Held::default(),
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
        let rows = self.engine.runs(&RunQuery::default()).await;
        let rows = rows.map_err(|error| errors::of_engine(&error))?;
        let row = rows.into_iter().find(|row| row.run_id == wanted);
        Ok(row.map(|row| RunFacts {
            held: Held::of(row.resources.iter()),
            subject: row.subject,
        }))
    }

    /// The default owner in Gitea. `None`: none is configured.
    pub fn default_owner(&self) -> Option<&str> {
        self.setup.settings["gitea_owner"].as_str()
    }

    /// The runs of a project since its name was last set free, the newest first.
    async fn begun<'a>(
        &self,
        rows: &'a [RunRow],
        project: &str,
    ) -> Result<Vec<&'a RunRow>, ErrorView> {
        let of_project = |row: &&RunRow| {
            row.subject == project && !row.workflow.removes && row.workflow.name != RENEW
        };
        let held: BTreeSet<&String> = rows
            .iter()
            .filter(of_project)
            .flat_map(|row| &row.resources)
            .filter(|resource| resource.starts_with("gitea:") || resource.starts_with("github:"))
            .collect();
        let mut begun = Vec::new();
        for row in rows {
            let removes = row.workflow.removes && row.workflow.name != ROTATE;
            let about = row.resources.iter().any(|one| held.contains(one));
            if removes && about && self.has_removed(row, &held).await? {
                break;
            }
            begun.extend(Some(row).filter(of_project));
        }
        Ok(begun)
    }

    /// Whether a run has removed one of these repositories.
    async fn has_removed(&self, row: &RunRow, held: &BTreeSet<&String>) -> Result<bool, ErrorView> {
        let snapshot = self.engine.snapshot(&row.run_id).await;
        let snapshot = snapshot.map_err(|error| errors::of_engine(&error))?;
        Ok(row.workflow.steps.iter().any(|step| {
            let Ok(target) = Target::of(&step.with) else {
                return false;
            };
            let repository = matches!(
                target.kind,
                TargetKind::GiteaRepository | TargetKind::GithubRepository
            );
            let ended = snapshot.steps.iter().find(|one| one.id == step.id);
            let output = ended.and_then(|one| one.output.as_ref());
            let result = output.and_then(|output| output["result"].as_str());
            repository
                && held.contains(&target.resource())
                && matches!(result, Some("deleted" | "gone"))
        }))
    }
}
