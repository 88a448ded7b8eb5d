//! Removing what is there: one thing at a time, only as it was seen.
//!
//! A plan names its targets and what was seen of each. Right before a removal the target is looked at again, and whatever
//! differs keeps it. On the forges it is made read-only, looked at once more, and then deleted.

mod look;
mod renew;
mod rotate;
mod step;

use std::collections::BTreeMap;

use forgeline_step_engine::{RunId, StepError};
use forgeline_upstream::FullName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) use look::{Look, There, look};
pub(crate) use renew::{RENEW_KIND, Renew};
pub(crate) use rotate::{ROTATE_KIND, Rotate};
pub(crate) use step::{KIND, Removal, unblocking};

/// What may be removed, in the order in which the parts of a project go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TargetKind {
    /// A push mirror of a Gitea repository.
    Mirror,
    /// A repository on GitHub.
    GithubRepository,
    /// A namespace of the cluster.
    Namespace,
    /// A branch of the infra repository, and the pull requests that close with it.
    Branch,
    /// A repository in Gitea.
    GiteaRepository,
}

impl TargetKind {
    /// The system's name, as items of a plan say it.
    pub(crate) fn system(self) -> &'static str {
        match self {
            Self::Mirror | Self::Branch | Self::GiteaRepository => "gitea",
            Self::GithubRepository => "github",
            Self::Namespace => "kubernetes",
        }
    }
}

/// One thing to remove, as it was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: TargetKind,
    /// `acme/shop`; a namespace; a branch; Gitea's name for a mirror.
    pub(crate) name: String,
    /// The repository that a mirror or a branch is in; empty for the others.
    pub(crate) within: String,
    /// Never used again: a number, a uid, a commit.
    pub(crate) id: String,
    /// The run whose marks it bears. `None`: it bears none.
    pub(crate) run: Option<RunId>,
    /// What must be the same right before the removal.
    pub(crate) seen: Marks,
    /// Make it read-only instead of deleting it.
    #[serde(default)]
    pub(crate) archive: bool,
    /// Replace it by one with the present token instead of deleting it; only a mirror.
    #[serde(default)]
    pub(crate) rotate: bool,
}

/// What was seen of a target: short words by name, comparable and without secrets.
pub(crate) type Marks = BTreeMap<String, String>;

impl Target {
    /// The target among a step's arguments.
    ///
    /// # Errors
    /// It has an unknown form: another version of the program made the plan.
    pub(crate) fn of(with: &Value) -> Result<Self, StepError> {
        serde_json::from_value(with["target"].clone()).map_err(|error| {
            let message = format!("the target has an unknown form: {error}");
            StepError::refused("input.invalid", message).remedy("ask for a new plan")
        })
    }

    /// The resources of a step with these arguments.
    pub(crate) fn resources(with: &Value) -> Vec<String> {
        Self::of(with)
            .map(|target| target.resource())
            .into_iter()
            .collect()
    }

    /// The key under which runs exclude each other; the one that a project's own steps use.
    pub(crate) fn resource(&self) -> String {
        match self.kind {
            TargetKind::GiteaRepository => format!("gitea:{}", self.name).to_lowercase(),
            TargetKind::Mirror => format!("gitea:{}", self.within).to_lowercase(),
            TargetKind::GithubRepository => format!("github:{}", self.name).to_lowercase(),
            TargetKind::Namespace => format!("ns:{}", self.name),
            TargetKind::Branch => format!("branch:{}/{}", self.within, self.name).to_lowercase(),
        }
    }

    /// The kind of step that removes it.
    pub(crate) fn step_kind(&self) -> &'static str {
        if self.rotate {
            ROTATE_KIND.name
        } else {
            KIND.name
        }
    }

    /// How an item of a plan names it.
    pub(crate) fn artifact(&self) -> String {
        match self.kind {
            TargetKind::Mirror => format!("mirror:{}/{}", self.within, self.name),
            TargetKind::Branch => format!("branch:{}/{}", self.within, self.name),
            TargetKind::Namespace => format!("ns:{}", self.name),
            TargetKind::GithubRepository => format!("github:{}", self.name),
            TargetKind::GiteaRepository => format!("gitea:{}", self.name),
        }
    }

    /// The command that would remove it.
    pub(crate) fn command(&self) -> String {
        let gitea = |path: String| {
            format!(
                "curl -X DELETE -H \"Authorization: token $GITEA_TOKEN\" $GITEA_URL/api/v1/repos/{path}"
            )
        };
        match self.kind {
            TargetKind::GithubRepository => format!("gh repo delete {} --yes", self.name),
            TargetKind::Namespace => format!("kubectl delete namespace {}", self.name),
            TargetKind::GiteaRepository => gitea(self.name.clone()),
            TargetKind::Mirror => gitea(format!("{}/push_mirrors/{}", self.within, self.name)),
            TargetKind::Branch => gitea(format!("{}/branches/{}", self.within, self.name)),
        }
    }

    /// The repository that it is, or is in.
    pub(crate) fn repository(&self) -> Option<FullName> {
        let text = match self.kind {
            TargetKind::Mirror | TargetKind::Branch => &self.within,
            TargetKind::GithubRepository | TargetKind::GiteaRepository => &self.name,
            TargetKind::Namespace => return None,
        };
        full_name(text)
    }
}

/// `owner/name` as a name. `None`: it is none.
pub(crate) fn full_name(text: &str) -> Option<FullName> {
    let (owner, name) = text.split_once('/')?;
    FullName::new(owner, name)
}

/// A short fingerprint of what was seen.
pub(crate) fn fingerprint(of: &impl Serialize) -> String {
    let text = serde_json::to_vec(of).unwrap_or_default();
    let digest = Sha256::digest(text);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The names of what differs. Empty: nothing does.
pub(crate) fn differences(seen: &Marks, now: &Marks) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = seen.keys().chain(now.keys()).collect();
    let differs = names
        .into_iter()
        .filter(|name| seen.get(*name) != now.get(*name));
    differs.cloned().collect()
}
