//! What a world must look like after a schedule: each artifact exactly once, or none, or listed.

use std::collections::BTreeMap;

use forgeline_provision::RunView;
use forgeline_step_engine::{RunId, RunState};
use serde_json::{Map, Value, json};

use super::scene::PROJECT;

/// How a schedule ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything once.
    Succeeded,
    /// Nothing.
    Compensated,
    /// Something is left, and listed.
    Listed,
}

impl Outcome {
    /// For the matrix.
    pub(super) fn sign(self) -> char {
        match self {
            Self::Succeeded => 'S',
            Self::Compensated => 'C',
            Self::Listed => 'L',
        }
    }
}

/// What stood before, and what stands after a schedule without trouble.
#[derive(Clone, Debug)]
pub(super) struct Baseline {
    pub(super) before: Value,
    pub(super) done: Value,
}

/// Judges the end of a run; the error is what promise is broken.
pub(super) fn judge(view: &RunView, store: &Value, baseline: &Baseline) -> Result<Outcome, String> {
    let differs = |wanted: &Value, what: &str| match difference(wanted, store, "") {
        None => Ok(()),
        Some(where_) => Err(format!("{what}, but the world differs: {where_}")),
    };
    match view.state {
        Some(RunState::Succeeded) => {
            differs(&baseline.done, "succeeded").map(|()| Outcome::Succeeded)
        }
        Some(RunState::Compensated) if view.left_behind.is_empty() => {
            differs(&baseline.before, "compensated").map(|()| Outcome::Compensated)
        }
        Some(RunState::Stuck | RunState::Compensated) => {
            listed(view, store, &baseline.before).map(|()| Outcome::Listed)
        }
        other => Err(format!(
            "ended {}: {:?}",
            other.map_or("nowhere", |state| state.as_str()),
            view.error
        )),
    }
}

/// Everything that was not there before is named by a line of what is left behind, with a command.
pub(super) fn listed(view: &RunView, store: &Value, before: &Value) -> Result<(), String> {
    if view.left_behind.is_empty() {
        return Err(format!("ended {:?} and lists nothing", view.state));
    }
    let lines: Vec<String> = view
        .left_behind
        .iter()
        .map(|left| format!("{} {}", left.artifact, left.command))
        .collect();
    let is_named = |words: [&str; 2]| {
        let has = |line: &String| words.iter().any(|word| line.contains(word));
        lines.iter().any(has)
    };
    for (part, words) in [
        ("gitea", ["gitea_repository", "/api/v1/repos/"]),
        ("github", ["github_repository", "gh repo delete"]),
        (
            "namespaces",
            ["infra_namespace", "kubectl delete namespace"],
        ),
        ("infra", ["infra_commit", "/branches/"]),
    ] {
        if store[part] != before[part] && !is_named(words) {
            return Err(format!("{part} differs and is not listed: {lines:?}"));
        }
    }
    Ok(())
}

/// The first place in which two worlds differ.
pub(super) fn difference(wanted: &Value, found: &Value, path: &str) -> Option<String> {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            let names: std::collections::BTreeSet<&String> =
                wanted.keys().chain(found.keys()).collect();
            names.into_iter().find_map(|name| {
                let none = Value::Null;
                let of = |map: &Map<String, Value>| map.get(name).unwrap_or(&none).clone();
                difference(&of(wanted), &of(found), &format!("{path}/{name}"))
            })
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(index, (wanted, found))| {
                difference(wanted, found, &format!("{path}/{index}"))
            }),
        _ if wanted == found => None,
        _ => Some(format!("{path} is {found}, not {wanted}")),
    }
}

/// Parts that differ between any two worlds and say nothing.
const ACCIDENTAL: [&str; 9] = [
    "id",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "created_at",
    "number",
    "remote_name",
    "generation",
    "managedFields",
];

/// A store without what differs between equal worlds: ids, times, addresses, run ids, commit ids.
pub(super) fn normalised(
    store: Value,
    runs: &[RunId],
    addresses: &[(&'static str, String)],
) -> Value {
    let mut words: Vec<(String, String)> = Vec::new();
    for run in runs {
        words.push((run.to_string(), "RUN".into()));
        words.push((run.lower(), "run".into()));
    }
    for (name, value) in addresses {
        if value.starts_with("http") {
            words.push((
                value.trim_end_matches("/mcp").to_owned(),
                format!("<{name}>"),
            ));
        }
    }
    let mut store = named_commits(cleaned(store, &words));
    // A closed issue in a repository that stays is allowed, and the order of topics means nothing.
    for forge in ["gitea", "github", "infra"] {
        for repository in store[forge].as_array_mut().into_iter().flatten() {
            if let Some(issues) = repository["issues"].as_array_mut() {
                issues.retain(|issue| issue["state"] != "closed");
            }
            if let Some(topics) = repository["topics"].as_array_mut() {
                topics.sort_by_key(Value::to_string);
            }
        }
        if let Some(repositories) = store[forge].as_array_mut() {
            repositories.sort_by_key(|repository| repository["full_name"].to_string());
        }
    }
    store
}

/// What of a normalised world bears a project's name, as if that were the name of every scene's project.
pub(super) fn only_of(store: &Value, project: &str) -> Value {
    let of = |part: &str, is: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        let all = store[part].as_array().into_iter().flatten();
        all.filter(|one| is(one)).cloned().collect()
    };
    let full_name = format!("acme/{project}");
    let is_repository = |one: &Value| one["full_name"] == full_name.as_str();
    let found = json!({
        "gitea": of("gitea", &is_repository),
        "github": of("github", &is_repository),
        "namespaces": of("namespaces", &|one| one["metadata"]["name"] == project),
        "objects": of("objects", &|one| one["object"]["metadata"]["namespace"] == project),
    });
    cleaned(found, &[(project.to_owned(), PROJECT.to_owned())])
}

/// Commits by where they stand, so that two worlds compare: a ref on GitHub that is Gitea's says so.
fn named_commits(mut store: Value) -> Value {
    let gitea: BTreeMap<String, Map<String, Value>> = store["gitea"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| {
            let name = one["full_name"].as_str()?.to_owned();
            Some((name, one["refs"].as_object()?.clone()))
        })
        .collect();
    for forge in ["gitea", "github", "infra"] {
        for repository in store[forge].as_array_mut().into_iter().flatten() {
            let twin = repository["full_name"]
                .as_str()
                .filter(|_| forge == "github")
                .and_then(|name| gitea.get(name));
            let refs = repository["refs"].as_object_mut();
            for (name, id) in refs.into_iter().flatten() {
                let same = twin.is_some_and(|twin| twin.get(name) == Some(id));
                *id = Value::from(if same { "as in Gitea" } else { "its own" });
            }
        }
    }
    store
}

fn cleaned(value: Value, words: &[(String, String)]) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text;
            for (word, name) in words {
                text = text.replace(word, name);
            }
            Value::String(text)
        }
        Value::Array(items) => items.into_iter().map(|item| cleaned(item, words)).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| !ACCIDENTAL.contains(&name.as_str()))
            .map(|(name, item)| (name, cleaned(item, words)))
            .collect(),
        other => other,
    }
}
