//! Where a project's namespace comes from and what stands in it.

use forgeline_kubernetes::manifest::{self, Policy};
use forgeline_upstream::FullName;
use serde_json::{Value, json};

use super::Problem;
use crate::env::Env;

/// The mode of `infra`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything is made in the cluster directly.
    Kubernetes,
    /// One commit of manifests.
    Gitops,
    /// The bare namespace directly, everything in it by a commit.
    Both,
    /// Nothing.
    None,
}

impl Mode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Gitops => "gitops",
            Self::Both => "both",
            Self::None => "none",
        }
    }

    pub(crate) fn needs_cluster(self) -> bool {
        matches!(self, Self::Kubernetes | Self::Both)
    }

    pub(crate) fn needs_repository(self) -> bool {
        matches!(self, Self::Gitops | Self::Both)
    }
}

/// The settings of `infra`.
#[derive(Clone, Debug)]
pub(crate) struct Infra {
    pub(crate) mode: Mode,
    pub(crate) repository: Option<FullName>,
    path: String,
    policy: Value,
}

impl Infra {
    /// Reads and judges; a bad value leaves the default.
    pub(crate) fn read(env: &Env) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mode = match env.or_default("FORGELINE_INFRA_MODE") {
            "kubernetes" => Mode::Kubernetes,
            "gitops" => Mode::Gitops,
            "both" => Mode::Both,
            "none" => Mode::None,
            other => {
                problems.push(Problem::new(
                    "configuration.invalid",
                    format!("FORGELINE_INFRA_MODE is `{other}`"),
                    "set it to kubernetes, gitops, both or none",
                ));
                Mode::Kubernetes
            }
        };
        let repository = repository(env, mode, &mut problems);
        let path = env
            .or_default("FORGELINE_INFRA_PATH")
            .trim_matches('/')
            .to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./<>".contains(c);
        if path.is_empty() || path.contains("..") || !path.chars().all(plain) {
            problems.push(Problem::new(
                "configuration.invalid",
                format!("FORGELINE_INFRA_PATH is `{path}`"),
                "write it like k3s/apps/<name>: letters, digits, `-`, `_`, `.` and `/`",
            ));
        }
        let policy = policy(env, mode, &mut problems);
        (
            Self {
                mode,
                repository,
                path,
                policy,
            },
            problems,
        )
    }

    /// What workflow files refer to as `settings`; no secrets.
    pub(crate) fn settings(&self, env: &Env) -> Value {
        json!({
            "gitea_owner": env.filled("FORGELINE_GITEA_OWNER"),
            "github_owner": env.filled("FORGELINE_GITHUB_OWNER"),
            "infra_mode": self.mode.as_str(),
            "infra_in_cluster": self.mode.needs_cluster(),
            "infra_in_git": self.mode.needs_repository(),
            "infra_only_in_git": self.mode == Mode::Gitops,
            "infra_repository": self.repository.as_ref().map(ToString::to_string),
            "infra_path": self.path,
            "infra_policy": self.policy,
        })
    }
}

fn repository(env: &Env, mode: Mode, problems: &mut Vec<Problem>) -> Option<FullName> {
    let text = env.filled("FORGELINE_INFRA_REPOSITORY");
    let found = text
        .and_then(|text| text.split_once('/'))
        .and_then(|(owner, name)| FullName::new(owner, name));
    match text {
        None if mode.needs_repository() => problems.push(Problem::new(
            "infra.repository_missing",
            format!(
                "FORGELINE_INFRA_MODE is {}, and FORGELINE_INFRA_REPOSITORY is not set",
                mode.as_str()
            ),
            "set FORGELINE_INFRA_REPOSITORY to owner/repo of the infra repository in Gitea",
        )),
        Some(text) if found.is_none() => problems.push(Problem::new(
            "configuration.invalid",
            format!("FORGELINE_INFRA_REPOSITORY is `{text}`"),
            "write it as owner/repo",
        )),
        _ => {}
    }
    found
}

/// The policy as steps get it, with the extra manifests read from their directory.
fn policy(env: &Env, mode: Mode, problems: &mut Vec<Problem>) -> Value {
    let given = env.infra().cloned().unwrap_or_default();
    let mut extra = Vec::new();
    let bad = |why: String| {
        Problem::new(
            "configuration.invalid",
            format!("[infra] {why}"),
            "correct the configuration file; `forgeline config show --example` explains it",
        )
    };
    if let Some(dir) = &given.extra_manifests {
        match read_manifests(dir) {
            Ok(found) => extra = found,
            Err(why) => problems.push(bad(format!("extra_manifests: {why}"))),
        }
    }
    if !extra.is_empty() && !mode.needs_repository() {
        problems.push(bad(format!(
            "extra_manifests go into GitOps commits, and the mode is {}",
            mode.as_str()
        )));
    }
    let value = given.to_value(&extra);
    if let Err(why) = Policy::read(&value) {
        problems.push(bad(why));
    }
    value
}

fn read_manifests(dir: &std::path::Path) -> Result<Vec<Value>, String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .map_err(|error| format!("{} cannot be read: {error}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "yaml" || end == "yml")
        })
        .collect();
    names.sort();
    let mut all = Vec::new();
    for path in names {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        let found = manifest::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        for object in &found {
            manifest::refuse_plain_secret(object)
                .map_err(|why| format!("{}: {why}", path.display()))?;
        }
        all.extend(found);
    }
    Ok(all)
}
