//! The refs of both sides of a mirror: whether a push would lose anything, and whether they are equal.

use forgeline_step_engine::StepError;
use forgeline_upstream::FullName;

use crate::refusal::of_read;
use crate::upstreams::Upstreams;

/// Branches and tags of both sides.
#[derive(Clone, Debug)]
pub(super) struct BothSides {
    pub(super) gitea: forgeline_gitea::Refs,
    pub(super) github: forgeline_github::Refs,
}

pub(super) async fn github_refs(
    upstreams: &Upstreams,
    name: &FullName,
) -> Result<forgeline_github::Refs, StepError> {
    upstreams
        .github
        .refs(name)
        .await
        .map_err(|error| unread_github(upstreams, error))
}

/// A failed read on GitHub. What was just made may not be visible yet: a 404 is worth another look.
pub(super) fn unread_github(upstreams: &Upstreams, error: forgeline_upstream::Error) -> StepError {
    let lag = error.kind == forgeline_upstream::Kind::NotFound;
    let right = "the scope `repo` (fine-grained: Contents read)";
    let error = super::blame::github(upstreams, error, right, "repo", of_read);
    StepError {
        retryable: error.retryable || lag,
        ..error
    }
}

pub(super) async fn gitea_refs(
    upstreams: &Upstreams,
    name: &FullName,
) -> Result<forgeline_gitea::Refs, StepError> {
    upstreams
        .gitea
        .refs(name)
        .await
        .map_err(|error| unread(upstreams, error))
}

fn unread(upstreams: &Upstreams, error: forgeline_upstream::Error) -> StepError {
    super::blame::gitea(upstreams, error, "the scope `read:repository`", of_read)
}

impl BothSides {
    pub(super) async fn look(
        upstreams: &Upstreams,
        gitea: &FullName,
        github: &FullName,
    ) -> Result<Self, StepError> {
        let (gitea, github) =
            tokio::join!(gitea_refs(upstreams, gitea), github_refs(upstreams, github));
        Ok(Self {
            gitea: gitea?,
            github: github?,
        })
    }

    pub(super) fn are_equal(&self) -> bool {
        !self.gitea.is_empty() && self.gitea == self.github
    }

    /// Refuses when a push would lose something on GitHub: a ref that Gitea does not have, or one that is not part of
    /// Gitea's history. The mirror is a force push that prunes.
    pub(super) async fn check_nothing_is_lost(
        &self,
        upstreams: &Upstreams,
        gitea: &FullName,
    ) -> Result<(), StepError> {
        for (name, id) in &self.github {
            match self.gitea.get(name) {
                Some(same) if same == id => {}
                Some(_) if name.starts_with("refs/heads/") => {
                    let branch = name.trim_start_matches("refs/heads/");
                    let known = upstreams.gitea.has_in_history(gitea, branch, id).await;
                    if !known.map_err(|error| unread(upstreams, error))? {
                        return Err(diverged(&format!(
                            "{name} has commits that Gitea does not have"
                        )));
                    }
                }
                Some(_) => return Err(diverged(&format!("{name} differs"))),
                None => {
                    return Err(diverged(&format!(
                        "{name} is not in Gitea and would be pruned"
                    )));
                }
            }
        }
        Ok(())
    }
}

fn diverged(why: &str) -> StepError {
    StepError::refused(
        "mirror.diverged",
        format!("GitHub has what a mirror push would destroy: {why}"),
    )
    .remedy("bring those commits into Gitea, or remove them from GitHub, then call again")
}
