//! `infra.commit`: the project's manifests as one commit on a branch of their own in the infra repository.
//!
//! Branch names are unique, so creation is the check. Ours by the trailer `Forgeline-Run` of the commit, then by its id
//! in the journal. Undoing deletes the branch only while its head is our commit and nobody has merged it.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_gitea::{Commit, CommitFiles, NewFile};
use forgeline_kubernetes::manifest::{self, Claim, Policy};
use forgeline_step_engine::{
    Field, Found, KindSpec, Seen, Step, StepCx, StepError, Timing, Undone,
};
use forgeline_upstream::{Error, FullName, Kind};
use serde_json::{Value, json};

use super::blame::{self, Map};
use super::with::{kept, text, with_command};
use crate::ownership::not_before_intent;
use crate::refusal::{of_create, of_read, of_write};
use crate::upstreams::Upstreams;

pub(super) const KIND: KindSpec = KindSpec {
    name: "infra.commit",
    description: "The project's manifests as one commit on the branch `staging/NAME` of the infra repository.",
    with: &[
        Field::required("name", "the namespace's name"),
        Field::required("repository", "owner/repo in Gitea"),
        Field::required("path", "the directory; `<name>` stands for the namespace"),
        Field::optional(
            "policy",
            "quota, limits and the like; see [infra] in the configuration file",
        ),
        Field::optional(
            "with_namespace",
            "whether the Namespace itself is committed; false by default",
        ),
    ],
    outputs: &["repository", "branch", "commit", "path", "merged"],
};

/// The infra commit.
pub(super) struct InfraCommit(pub(super) Arc<Upstreams>);

const TRAILER: &str = "Forgeline-Run";
/// How many commits of a branch are looked at for ours.
const DEPTH: usize = 20;

/// The arguments, read.
struct Target {
    repository: FullName,
    namespace: String,
    branch: String,
    path: String,
}

impl Target {
    fn read(with: &Value) -> Result<Self, StepError> {
        let namespace = text(with, "name").to_owned();
        let parts = text(with, "repository").split_once('/');
        let repository = parts
            .and_then(|(owner, name)| FullName::new(owner, name))
            .ok_or_else(|| missing("FORGELINE_INFRA_REPOSITORY is not set"))?;
        Ok(Self {
            repository,
            branch: format!("staging/{namespace}"),
            path: text(with, "path").replace("<name>", &namespace),
            namespace,
        })
    }

    fn output(&self, branch: &str, commit: &str) -> Value {
        json!({
            "repository": self.repository.to_string(),
            "branch": branch,
            "commit": commit,
            "path": self.path,
            "merged": branch != self.branch,
        })
    }

    fn command(&self) -> String {
        format!(
            "curl -X DELETE -H \"Authorization: token $GITEA_TOKEN\" $GITEA_URL/api/v1/repos/{}/branches/{}",
            self.repository, self.branch
        )
    }
}

fn missing(why: &str) -> StepError {
    StepError::refused(
        "infra.repository_missing",
        format!("the infra repository cannot be used: {why}"),
    )
    .remedy("create it with a first commit, un-archive it, or correct FORGELINE_INFRA_REPOSITORY")
}

impl InfraCommit {
    fn failed(&self, error: Error, map: Map) -> StepError {
        let right = "the scope `write:repository` and the right to push to the infra repository";
        blame::gitea(&self.0, error, right, map)
    }

    fn read_failed(&self, error: Error) -> StepError {
        self.failed(error, of_read)
    }

    /// The default branch of the infra repository.
    async fn base(&self, target: &Target) -> Result<String, StepError> {
        let base = self.0.gitea.infra_base(&target.repository).await;
        base.map_err(|error| self.read_failed(error))?
            .map_err(|why| missing(&why))
    }

    fn files(cx: &StepCx, with: &Value, target: &Target) -> Result<Vec<NewFile>, StepError> {
        let refused = |why: String| StepError::refused("infra.manifest_refused", why);
        let policy = Policy::read(&with["policy"]).map_err(refused)?;
        let claim = Claim {
            run_id: cx.run_id.as_str(),
            project: &cx.subject,
        };
        let with_namespace = with["with_namespace"] == true;
        let files = manifest::files(&claim, &policy, &target.namespace, with_namespace)
            .map_err(|why| refused(why).remedy("encrypt it with SOPS, then call again"))?;
        let files = files.into_iter().map(|file| NewFile {
            path: format!("{}/{}", target.path, file.name),
            text: file.text,
            replaces: None,
        });
        Ok(files.collect())
    }

    async fn commit(&self, cx: &StepCx, with: &Value, target: &Target) -> Result<Value, StepError> {
        let files = Self::files(cx, with, target)?;
        let base = self.base(target).await?;
        let message = format!(
            "infra: add namespace {}\n\nManifests of the project {}.\n\n{TRAILER}: {}\n",
            target.namespace, cx.subject, cx.run_id
        );
        let commit = CommitFiles {
            base: &base,
            branch: &target.branch,
            message: &message,
            files: &files,
        };
        let made = self.0.gitea.commit_files(&target.repository, &commit).await;
        let made = made.map_err(|error| {
            if error.kind == Kind::NotFound {
                return missing(&error.to_string());
            }
            self.failed(error, of_create)
        })?;
        Ok(target.output(&target.branch, &made))
    }

    /// The newest commits of our branch; none when there is no branch.
    async fn commits(&self, target: &Target) -> Result<Vec<Commit>, StepError> {
        let gitea = &self.0.gitea;
        let head = gitea.branch_head(&target.repository, &target.branch).await;
        if head.map_err(|error| self.read_failed(error))?.is_none() {
            return Ok(Vec::new());
        }
        let commits = gitea
            .commits(&target.repository, &target.branch, DEPTH)
            .await;
        commits.map_err(|error| self.read_failed(error))
    }

    /// Whose a commit is by its trailer.
    async fn seen_on_branch(
        &self,
        cx: &StepCx,
        target: &Target,
        commits: &[Commit],
    ) -> Result<Seen, StepError> {
        let head = commits
            .first()
            .map(|commit| commit.sha.as_str())
            .unwrap_or_default();
        let output = target.output(&target.branch, head);
        for commit in commits {
            let Some(run) = commit.trailer(TRAILER).and_then(|run| run.parse().ok()) else {
                continue;
            };
            if run == cx.run_id && not_before_intent(cx, commit.created) {
                return Ok(Seen::Ours(target.output(&target.branch, &commit.sha)));
            }
            return Ok(match cx.subject_of(&run).await? {
                Some(subject) if subject == cx.subject => Seen::Project(output),
                Some(subject) => {
                    self.foreign(target, &format!("belongs to the project `{subject}`"))
                }
                None => self.foreign(
                    target,
                    &format!("was made by run {run}, which this journal does not know"),
                ),
            });
        }
        Ok(self.foreign(target, "was not made by forgeline"))
    }

    fn foreign(&self, target: &Target, why: &str) -> Seen {
        Seen::Foreign {
            why: format!("branch {} of {} {why}", target.branch, target.repository),
            adoptable: None,
        }
    }

    /// Whether the manifests stand on the base already: the branch was merged and removed.
    async fn seen_on_base(&self, cx: &StepCx, target: &Target) -> Result<Seen, StepError> {
        let base = self.base(target).await?;
        let gitea = &self.0.gitea;
        let path = format!("{}/quota.yaml", target.path);
        let file = gitea.file(&target.repository, &base, &path).await;
        let Some((_, text)) = file.map_err(|error| self.read_failed(error))? else {
            return Ok(Seen::Absent);
        };
        let ours = manifest::parse(&text).ok().is_some_and(|objects| {
            objects.iter().any(|object| {
                object["metadata"]["labels"][manifest::PROJECT] == cx.subject.as_str()
            })
        });
        if ours {
            let head = gitea.branch_head(&target.repository, &base).await;
            let head = head.map_err(|error| self.read_failed(error))?;
            return Ok(Seen::Project(
                target.output(&base, &head.unwrap_or_default()),
            ));
        }
        let why = format!(
            "{} of {} is another project's",
            target.path, target.repository
        );
        Ok(Seen::Foreign {
            why,
            adoptable: None,
        })
    }

    /// Whether this run's manifests stand on the base in a commit of another hash: squashed, rebased or picked.
    async fn was_copied_to(
        &self,
        cx: &StepCx,
        target: &Target,
        base: &str,
    ) -> Result<bool, StepError> {
        for name in ["namespace.yaml", "quota.yaml"] {
            let path = format!("{}/{name}", target.path);
            let file = self.0.gitea.file(&target.repository, base, &path).await;
            let file = file.map_err(|error| self.read_failed(error))?;
            if file.is_some_and(|(_, text)| text.contains(cx.run_id.as_str())) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn remove(
        &self,
        cx: &StepCx,
        target: &Target,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let commits = self.commits(target).await?;
        let Some(head) = commits.first() else {
            return Ok(Undone::NotThere);
        };
        let ours = |commit: &Commit| match output.and_then(|output| output["commit"].as_str()) {
            Some(sha) => commit.sha == sha,
            None => {
                commit.trailer(TRAILER) == Some(cx.run_id.as_str())
                    && not_before_intent(cx, commit.created)
            }
        };
        let what = format!("branch {} of {}", target.branch, target.repository);
        if !ours(head) {
            return if commits.iter().any(ours) {
                Err(kept(&what, "somebody has pushed to it", target.command()))
            } else {
                Ok(Undone::NotThere)
            };
        }
        let gitea = &self.0.gitea;
        let base = self.base(target).await?;
        let merged = gitea
            .has_in_history(&target.repository, &base, &head.sha)
            .await;
        if merged.map_err(|error| self.read_failed(error))? {
            let why = format!("its commit is part of {base}; revert it there");
            return Err(kept(&what, &why, target.command()));
        }
        if self.was_copied_to(cx, target, &base).await? {
            let why = format!("its files are part of {base} by another commit; revert it there");
            return Err(kept(&what, &why, target.command()));
        }
        let removing = async {
            match gitea
                .delete_branch(&target.repository, &target.branch)
                .await
            {
                Ok(()) => Ok(Undone::Removed),
                Err(error) if error.kind == Kind::NotFound => Ok(Undone::NotThere),
                Err(error) => Err(self.failed(error, of_write).command(target.command())),
            }
        };
        let what = format!("branch:{}/{}", target.repository, target.branch);
        self.0.audited(cx, &what, removing).await
    }
}

#[async_trait]
impl Step for InfraCommit {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let target = Target::read(with)?;
        let commits = self.commits(&target).await?;
        if commits.is_empty() {
            return self.seen_on_base(cx, &target).await;
        }
        self.seen_on_branch(cx, &target, &commits).await
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        match found {
            Found::Ours(output) | Found::Project(output) | Found::Adopted(output) => {
                Ok(output.clone())
            }
            Found::NotLooked | Found::Absent => self.commit(cx, with, &Target::read(with)?).await,
        }
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let target = Target::read(with)?;
        let undone = self.remove(cx, &target, output).await;
        undone.map_err(|error| with_command(error, target.command()))
    }

    fn resources(&self, with: &Value) -> Vec<String> {
        Target::read(with)
            .map(|target| format!("branch:{}/{}", target.repository, target.branch).to_lowercase())
            .into_iter()
            .collect()
    }

    fn requests(&self, _with: &Value) -> Vec<(&'static str, u32)> {
        vec![("gitea", 2)]
    }

    fn timing(&self) -> Timing {
        self.0.timings.gitea
    }
}
