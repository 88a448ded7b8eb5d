//! What somebody else does in the middle of a run, and what must be left of it.

use forgeline_provision::RunView;
use forgeline_sandbox::{Fault, FaultOrder};
use forgeline_step_engine::RunState;
use serde_json::{Value, json};

use super::oracle::{Baseline, Outcome, difference, listed};
use super::scene::PROJECT;
use super::trouble::Asked;

/// A deed of somebody else.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    pub(super) name: &'static str,
    /// Whose requests it comes right before.
    system: &'static str,
    seed: Value,
    kind: Kind,
}

/// What it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Something of theirs under the name that this run wants.
    Takes,
    /// Their work inside what this run made.
    Works,
    /// What this run made is not as it was left.
    Changes,
}

/// Everything that somebody may do.
pub(super) fn deeds() -> Vec<Deed> {
    let deed = |name, system, kind, seed| Deed {
        name,
        system,
        seed,
        kind,
    };
    let repository = |what: &str, forge: &str| json!({"what": what, "forge": forge, "owner": "acme", "name": PROJECT});
    let with = |mut seed: Value, more: Value| {
        if let (Some(seed), Some(more)) = (seed.as_object_mut(), more.as_object()) {
            seed.extend(more.clone());
        }
        seed
    };
    let push = json!({"branch": "theirs", "files": {"theirs.txt": "their work"}});
    let moved = json!({"to": "moved"});
    let revoked =
        json!({"what": "rights", "change": {"role": "github_mirror", "revoke": ["repo"]}});
    vec![
        deed(
            "taken in Gitea",
            "gitea",
            Kind::Takes,
            repository("repository", "gitea"),
        ),
        deed(
            "taken on GitHub",
            "github",
            Kind::Takes,
            repository("repository", "github"),
        ),
        deed(
            "namespace taken",
            "kubernetes",
            Kind::Takes,
            json!({"what": "namespace", "name": PROJECT}),
        ),
        deed(
            "pushed in Gitea",
            "gitea",
            Kind::Works,
            with(repository("push", "gitea"), push.clone()),
        ),
        deed(
            "pushed on GitHub",
            "github",
            Kind::Works,
            with(repository("push", "github"), push),
        ),
        deed(
            "issue in Gitea",
            "gitea",
            Kind::Works,
            json!({"what": "issue", "owner": "acme", "name": PROJECT, "title": "theirs"}),
        ),
        deed(
            "object in the namespace",
            "kubernetes",
            Kind::Works,
            json!({"what": "object", "namespace": PROJECT, "resource": "configmaps", "name": "theirs"}),
        ),
        deed(
            "renamed in Gitea",
            "gitea",
            Kind::Changes,
            with(repository("rename", "gitea"), moved.clone()),
        ),
        deed(
            "renamed on GitHub",
            "github",
            Kind::Changes,
            with(repository("rename", "github"), moved),
        ),
        deed(
            "archived in Gitea",
            "gitea",
            Kind::Changes,
            repository("archive", "gitea"),
        ),
        deed(
            "archived on GitHub",
            "github",
            Kind::Changes,
            repository("archive", "github"),
        ),
        deed(
            "deletions hang",
            "kubernetes",
            Kind::Changes,
            json!({"what": "namespace_deletions_hang"}),
        ),
        deed("mirror token revoked", "gitea", Kind::Changes, revoked),
    ]
}

impl Deed {
    /// Whether it is tried right before this request. `undoing`: only an undone run makes the request.
    pub(super) fn fits(&self, asked: &Asked, undoing: bool) -> bool {
        let here =
            asked.system == self.system || (asked.system == "gitea_mcp" && self.system == "gitea");
        // Between the last look and the deletion is the instant that no rule closes; before the archiving there is a look
        // to come.
        let looks_again = asked.operation == "PATCH /repos/{owner}/{name}";
        let is_work_too_late = self.kind == Kind::Works && undoing && !looks_again;
        here && !is_work_too_late
    }

    pub(super) fn order(&self, asked: &Asked) -> FaultOrder {
        let seed = self.seed.clone();
        asked.order(Fault::Meanwhile { seed })
    }

    /// Judges the end of a run that somebody else came into.
    pub(super) fn judge(
        &self,
        view: &RunView,
        store: &Value,
        baseline: &Baseline,
        log: &Value,
    ) -> Result<Outcome, String> {
        let theirs = theirs(store);
        if self.kind != Kind::Changes && theirs.is_empty() {
            let pruned = self.name == "pushed on GitHub" && was_in_the_instant(log);
            if !pruned {
                return Err(format!(
                    "their work is gone; the run is {:?}: {:?}, left {:?}",
                    view.state, view.error, view.left_behind
                ));
            }
        }
        if let Some(touched) = theirs.iter().find_map(touched) {
            return Err(format!("what is theirs was changed: {touched}"));
        }
        match view.state {
            Some(RunState::Succeeded) if self.kind == Kind::Takes => {
                Err("succeeded although the name was taken".into())
            }
            Some(RunState::Succeeded) => Ok(Outcome::Succeeded),
            Some(RunState::Compensated) if view.left_behind.is_empty() => {
                match difference(&baseline.before, &without_theirs(store), "") {
                    None => Ok(Outcome::Compensated),
                    Some(where_) => Err(format!("compensated, but the world differs: {where_}")),
                }
            }
            Some(RunState::Stuck | RunState::Compensated) => {
                listed(view, &without_theirs(store), &baseline.before).map(|()| Outcome::Listed)
            }
            other => Err(format!("ended {other:?}: {:?}", view.error)),
        }
    }
}

/// Their push came between our last look at GitHub's branches and the forced push: no rule closes that instant.
fn was_in_the_instant(log: &Value) -> bool {
    let log = log.as_array().map(Vec::as_slice).unwrap_or_default();
    let is = |request: &Value, part: &str, text: &str| {
        request[part]
            .as_str()
            .is_some_and(|found| found.contains(text))
    };
    let looks_at = |request: &Value, what: &str| {
        request["system"] == "github" && is(request, "path", &format!("matching-refs/{what}"))
    };
    let Some(hit) = log.iter().position(|request| !request["fault"].is_null()) else {
        return false;
    };
    let count = |what: &str| log[..hit].iter().filter(|one| looks_at(one, what)).count();
    // Branches and tags are asked for side by side: the branches that go with these tags may have been read before.
    let mut read_before =
        usize::from(looks_at(&log[hit], "tags") && count("heads") == count("tags"));
    for request in &log[hit..] {
        if is(request, "operation", "push_mirrors-sync") {
            return true;
        }
        if looks_at(request, "heads") {
            if read_before == 0 {
                return false;
            }
            read_before -= 1;
        }
    }
    false
}

fn is_their_repository(repository: &Value) -> bool {
    repository["creator"] == "someone" && repository["full_name"] == format!("acme/{PROJECT}")
}

fn is_their_namespace(namespace: &Value) -> bool {
    let metadata = &namespace["metadata"];
    metadata["name"] == PROJECT && metadata["labels"]["forgeline.dev/project"].is_null()
}

/// Everything in the world that the deed made.
fn theirs(store: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for forge in ["gitea", "github"] {
        for repository in store[forge].as_array().into_iter().flatten() {
            if is_their_repository(repository) {
                found.push(repository.clone());
            }
            let branch = &repository["refs"]["refs/heads/theirs"];
            if !branch.is_null() {
                found.push(branch.clone());
            }
            let issues = repository["issues"].as_array().into_iter().flatten();
            found.extend(issues.filter(|issue| issue["title"] == "theirs").cloned());
        }
    }
    let namespaces = store["namespaces"].as_array().into_iter().flatten();
    found.extend(namespaces.filter(|one| is_their_namespace(one)).cloned());
    let objects = store["objects"].as_array().into_iter().flatten();
    let named = objects.filter(|one| one["object"]["metadata"]["name"] == "theirs");
    found.extend(named.cloned());
    found
}

/// What this run did to something of theirs.
fn touched(theirs: &Value) -> Option<String> {
    if !is_their_repository(theirs) {
        return None;
    }
    let empty = |part: &str| theirs[part].as_array().is_none_or(Vec::is_empty);
    let intact = theirs["description"] == ""
        && theirs["archived"] == false
        && ["topics", "mirrors", "issues", "labels"]
            .into_iter()
            .all(empty);
    (!intact).then(|| theirs.to_string())
}

fn without_theirs(store: &Value) -> Value {
    let mut store = store.clone();
    for forge in ["gitea", "github"] {
        if let Some(all) = store[forge].as_array_mut() {
            all.retain(|repository| !is_their_repository(repository));
        }
    }
    let mut taken = false;
    if let Some(all) = store["namespaces"].as_array_mut() {
        let before = all.len();
        all.retain(|namespace| !is_their_namespace(namespace));
        taken = all.len() < before;
    }
    if let Some(all) = store["objects"].as_array_mut().filter(|_| taken) {
        all.retain(|one| one["object"]["metadata"]["namespace"] != PROJECT);
    }
    store
}
