//! What a call is about, as whoever decides about it asks: never by the names that the call gives alone, but by the resources
//! that its run would hold and those that earlier runs of the project still hold.

use std::collections::BTreeSet;

use forgeline_step_engine::journal::{RunOptions, RunQuery, RunRow};
use forgeline_step_engine::{Request, RunId, RunState, Snapshot};
use forgeline_upstream::FullName;
use serde_json::{Map, Value};

use super::known::receipts;
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
    /// What its runs hold, also what an earlier removal has left.
    pub held: Held,
    /// What the call itself would hold; nothing where it makes nothing.
    pub wanted: Held,
    /// The templates that the call would read.
    pub templates: Vec<Option<FullName>>,
    /// The call would let everybody see what it makes.
    pub public: bool,
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
    /// Namespaces, in the cluster or on a branch.
    pub namespaces: BTreeSet<String>,
}

impl Held {
    fn of<'a>(resources: impl IntoIterator<Item = &'a String>) -> Self {
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
                ("github", Some(full)) if !held.github.contains(&full) => held.github.push(full),
                ("branch", Some(full)) => {
                    held.branches.push(full);
                    let namespace = parts
                        .next()
                        .and_then(|branch| branch.strip_prefix("staging/"));
                    held.namespaces.extend(namespace.map(str::to_owned));
                }
                ("ns", _) => {
                    held.namespaces.insert(name.to_owned());
                }
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
    /// Who asked for it.
    pub caller: String,
    /// It removes things.
    pub removes: bool,
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
        let outline = self.engine.outline(request);
        let outline = outline.map_err(|error| errors::of_engine(&error))?;
        let arguments = outline.steps.iter().map(|(_, with)| with);
        let templates = arguments
            .clone()
            .filter_map(|with| with["template"].as_str());
        let templates = templates.filter(|name| !name.is_empty()).map(|name| {
            let (owner, name) = name.split_once('/')?;
            FullName::new(owner, name)
        });
        Ok(ProjectFacts {
            throwaway: given.get("ttl").is_some_and(Value::is_string),
            templates: templates.collect(),
            public: arguments.clone().any(|with| with["visibility"] == "public"),
            wanted: Held::of(&outline.resources),
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
        let mut facts = ProjectFacts {
            project: project.to_owned(),
            ..ProjectFacts::default()
        };
        let ours = |row: &RunRow| row.subject == project && !row.workflow.removes;
        let touched: BTreeSet<&String> = rows
            .iter()
            .filter(|row| ours(row))
            .flat_map(|row| &row.resources)
            .collect();
        let (mut removed, mut held) = (BTreeSet::new(), BTreeSet::new());
        let mut earlier = false;
        for row in &rows {
            let about = row.resources.iter().any(|one| touched.contains(one));
            if row.workflow.removes && row.workflow.name != ROTATE && about {
                let gone = self.removed_by(row).await?;
                earlier |= row.subject == project && row.state == RunState::Succeeded;
                earlier |= gone.iter().any(|one| touched.contains(one));
                removed.extend(gone);
            }
            if !ours(row) || row.workflow.name == RENEW {
                continue;
            }
            let holds = self.stands_of(row).await?;
            held.extend(holds.into_iter().filter(|one| !removed.contains(one)));
            if !earlier {
                facts.since = Some(row.run_id.to_string());
                facts.throwaway |= row.state != RunState::Compensated && expires(row).is_some();
            }
        }
        facts.held = Held::of(&held);
        Ok(facts)
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
            held: Held::of(&row.resources),
            removes: row.workflow.removes,
            subject: row.subject,
            caller: row.caller,
        }))
    }

    /// The default owner in Gitea. `None`: none is configured.
    pub fn default_owner(&self) -> Option<&str> {
        self.setup.settings["gitea_owner"].as_str()
    }

    async fn snapshot(&self, row: &RunRow) -> Result<Snapshot, ErrorView> {
        let snapshot = self.engine.snapshot(&row.run_id).await;
        snapshot.map_err(|error| errors::of_engine(&error))
    }

    /// What a run holds for its project: nothing once it was undone, and what it made where it did not get to its end.
    async fn stands_of(&self, row: &RunRow) -> Result<Vec<String>, ErrorView> {
        match row.state {
            RunState::Compensated => Ok(Vec::new()),
            RunState::Failed | RunState::Stuck | RunState::Abandoned => {
                let made = receipts(&self.snapshot(row).await?);
                Ok(made.iter().map(|made| made.resource()).collect())
            }
            _ => Ok(row.resources.clone()),
        }
    }

    /// The resources that a removal has taken away.
    async fn removed_by(&self, row: &RunRow) -> Result<Vec<String>, ErrorView> {
        let snapshot = self.snapshot(row).await?;
        let steps = row.workflow.steps.iter();
        let gone = steps.filter_map(|step| {
            let target = Target::of(&step.with).ok()?;
            let ended = snapshot.steps.iter().find(|one| one.id == step.id)?;
            let result = ended.output.as_ref()?["result"].as_str();
            // A mirror's resource is its repository, which stays.
            let whole = target.kind != TargetKind::Mirror;
            (whole && matches!(result, Some("deleted" | "gone"))).then(|| target.resource())
        });
        Ok(gone.collect())
    }
}
