//! What the journal knows, as clean-up asks for it.

use std::collections::{BTreeMap, BTreeSet};

use forgeline_step_engine::journal::{RunQuery, RunRow};
use forgeline_step_engine::{EngineError, Origin, RunId, RunState, Snapshot};
use jiff::Timestamp;
use serde_json::Value;

use super::{Provisioner, expires};
use crate::cleanup::KnownRun;
use crate::removal::{TargetKind, fingerprint};

/// The runs that were asked for, and the subjects that a run is about right now.
pub(super) struct Known {
    pub(super) runs: BTreeMap<RunId, KnownRun>,
    pub(super) busy: Vec<String>,
}

impl Provisioner {
    /// What the journal knows of these runs.
    pub(super) async fn known(&self, wanted: &BTreeSet<RunId>) -> Result<Known, EngineError> {
        let mut rows = self.engine.runs(&RunQuery::default()).await?;
        rows.retain(|row| row.state != RunState::Planned);
        let mut newest: BTreeMap<&str, &RunRow> = BTreeMap::new();
        for row in rows.iter().rev() {
            newest.insert(&row.subject, row);
        }
        // A last look that is due is made when something of the run is about to be removed.
        let owes = |row: &RunRow| row.recheck_due.is_some_and(|due| due > Timestamp::now());
        let is_busy = |row: &RunRow| row.state.is_live() || owes(row);
        let busy = newest.values().filter(|row| is_busy(row));
        let busy: Vec<String> = busy.map(|row| row.subject.clone()).collect();
        let mut runs = BTreeMap::new();
        for row in rows.iter().filter(|row| wanted.contains(&row.run_id)) {
            let snapshot = self.engine.snapshot(&row.run_id).await?;
            let known = KnownRun {
                subject: row.subject.clone(),
                state: row.state,
                is_newest: newest
                    .get(row.subject.as_str())
                    .is_some_and(|last| last.run_id == row.run_id),
                busy: busy.contains(&row.subject),
                expires_at: expiry_of(&rows, &row.subject),
                receipts: receipts(&snapshot)
                    .into_iter()
                    .map(|made| (made.kind, (made.name, made.id)))
                    .collect(),
                pushed: pushed(&snapshot),
            };
            runs.insert(row.run_id.clone(), known);
        }
        Ok(Known { runs, busy })
    }
}

/// When the subject's throwaway ends, by its newest run that says so. `rows`: newest first.
pub(super) fn expiry_of(rows: &[RunRow], subject: &str) -> Option<Timestamp> {
    // An earlier project of that name is another one.
    let ended = |row: &&RunRow| {
        row.subject == subject && row.workflow.removes && row.state == RunState::Succeeded
    };
    let since = rows.iter().take_while(|row| !ended(row));
    let of_subject = since.filter(|row| row.subject == subject);
    of_subject
        .filter(|row| row.state != RunState::Compensated)
        .find_map(expires)
}

/// What a run made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Receipt {
    pub(super) kind: TargetKind,
    pub(super) name: String,
    /// The repository that a mirror or a branch is in; empty for the others.
    pub(super) within: String,
    pub(super) id: String,
}

impl Receipt {
    /// The key under which runs exclude each other over it.
    pub(super) fn resource(&self) -> String {
        let target = crate::removal::Target {
            kind: self.kind,
            name: self.name.clone(),
            within: self.within.clone(),
            id: self.id.clone(),
            run: None,
            seen: BTreeMap::new(),
            archive: false,
            rotate: false,
        };
        target.resource()
    }
}

/// Everything that the run made.
pub(super) fn receipts(snapshot: &Snapshot) -> Vec<Receipt> {
    let made = snapshot
        .steps
        .iter()
        .filter(|step| step.origin == Some(Origin::Created));
    made.filter_map(|step| receipt(&step.kind, step.output.as_ref()?))
        .collect()
}

fn receipt(kind: &str, output: &Value) -> Option<Receipt> {
    let text = |name: &str| output[name].as_str().map(str::to_owned);
    let (kind, name, id) = match kind {
        "gitea.repository" => (TargetKind::GiteaRepository, "full_name", "id"),
        "github.repository" => (TargetKind::GithubRepository, "full_name", "id"),
        "gitea.push_mirror" => (TargetKind::Mirror, "remote_name", "remote_name"),
        "infra.namespace" => (TargetKind::Namespace, "name", "uid"),
        "infra.commit" => (TargetKind::Branch, "branch", "commit"),
        _ => return None,
    };
    let within = match kind {
        TargetKind::Mirror | TargetKind::Branch => text("repository")?,
        _ => String::new(),
    };
    let number = || output[id].as_u64().map(|number| number.to_string());
    Some(Receipt {
        kind,
        name: text(name)?,
        within,
        id: text(id).or_else(number)?,
    })
}

/// What the run's mirror pushed, where that was one branch.
pub(super) fn pushed(snapshot: &Snapshot) -> Option<String> {
    let output = |kind: &str| {
        let step = snapshot.steps.iter().find(|step| step.kind == kind)?;
        step.output.as_ref()
    };
    let mirror = output("gitea.push_mirror").filter(|output| output["refs"] == 1)?;
    let branch = output("gitea.repository")?["default_branch"].as_str()?;
    let head = mirror["head"].as_str()?;
    let refs = BTreeMap::from([(format!("refs/heads/{branch}"), head.to_owned())]);
    Some(fingerprint(&refs))
}
