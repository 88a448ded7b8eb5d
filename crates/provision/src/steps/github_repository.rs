//! `github.repository`: an empty repository on GitHub, for the mirror to fill.
//!
//! Ours by the claim in its description, which is part of the creation itself, then by its id in the journal and the
//! topic `fl-<run-id>`. Undoing deletes it, unless it holds a ref that this run's mirror did not push, or an issue.
//! A renamed repository answers with a redirect and is never touched.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_github::{NewRepository, Repository};
use forgeline_step_engine::{
    Field, Found, KindSpec, Seen, Step, StepCx, StepError, Timing, Undone,
};
use forgeline_upstream::{Error, FullName, Kind, Reach};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::blame::{self, Map};
use super::push_mirror::pushed_fact;
use super::with::{kept, repository, still_archived, text, visibility_change, with_command};
use crate::ownership::{Facts, Whose, claim, is_ours, whose};
use crate::refusal::{of_create, of_read, of_write};
use crate::upstreams::Upstreams;

pub(super) const KIND: KindSpec = KindSpec {
    name: "github.repository",
    description: "An empty repository on GitHub.",
    with: &[
        Field::required("owner", "a user or an organisation"),
        Field::required("name", "the repository's name"),
        Field::optional("visibility", "`private` (default) or `public`"),
    ],
    outputs: &[
        "id",
        "full_name",
        "url",
        "clone_url",
        "created_at",
        "private",
    ],
};

/// A repository on GitHub.
pub(super) struct GithubRepository {
    upstreams: Arc<Upstreams>,
    login: OnceCell<String>,
}

impl GithubRepository {
    pub(super) fn new(upstreams: Arc<Upstreams>) -> Self {
        Self {
            upstreams,
            login: OnceCell::new(),
        }
    }

    fn failed(&self, error: Error, map: Map) -> StepError {
        blame::github(
            &self.upstreams,
            error,
            "the scope `repo` (fine-grained: Administration write on that owner)",
            "repo",
            map,
        )
    }

    fn undeleted(&self, error: Error, command: &str) -> StepError {
        let right = "the scope `delete_repo` and admin rights (fine-grained: Administration write)";
        blame::github(&self.upstreams, error, right, "delete_repo", of_write).command(command)
    }

    async fn find(&self, name: &FullName) -> Result<Option<Repository>, StepError> {
        self.upstreams
            .github
            .repository(name)
            .await
            .map_err(|error| self.failed(error, of_read))
    }

    async fn create(&self, cx: &StepCx, name: FullName, private: bool) -> Result<Value, StepError> {
        let github = &self.upstreams.github;
        // Who we are decides between a user's and an organisation's repository; nothing was asked to act yet.
        let login = self.login.get_or_try_init(|| github.login()).await;
        let login = login.map_err(|error| {
            self.failed(
                Error {
                    reach: Reach::NotSent,
                    ..error
                },
                of_read,
            )
        })?;
        let in_organisation = !login.eq_ignore_ascii_case(name.owner());
        let new = NewRepository {
            full_name: name,
            in_organisation,
            description: claim(cx),
            private,
        };
        let made = github.create_repository(&new).await.map_err(|error| {
            // GitHub answers 404 where the right is missing, so that nobody learns what is there.
            let hidden = error.kind == Kind::NotFound;
            let failed = self.failed(error, of_create);
            if hidden {
                StepError {
                    code: "github.missing_scope".into(),
                    ..failed
                }
            } else {
                failed
            }
        })?;
        Ok(output(&made))
    }

    /// What is in it that this run's mirror did not push; `None` when nothing.
    async fn foreign_work(
        &self,
        cx: &StepCx,
        name: &FullName,
    ) -> Result<Option<String>, StepError> {
        let github = &self.upstreams.github;
        let (refs, issues) = tokio::join!(github.refs(name), github.has_issues(name));
        let pushed = cx.run_fact(&pushed_fact(name));
        for (head, id) in refs.map_err(|error| self.failed(error, of_read))? {
            if pushed.is_none_or(|pushed| pushed[&head] != id.as_str()) {
                return Ok(Some(format!("somebody has pushed {head}")));
            }
        }
        let issues = issues.map_err(|error| self.failed(error, of_read))?;
        Ok(issues.then(|| "somebody has opened an issue or pull request".to_owned()))
    }

    async fn remove(
        &self,
        cx: &StepCx,
        name: &FullName,
        found: &Repository,
    ) -> Result<Undone, StepError> {
        let github = &self.upstreams.github;
        let command = format!("gh repo delete {name} --yes");
        let what = format!("GitHub repository {name}");
        if found.archived && cx.fact("archiving").is_none() {
            return Err(kept(&what, "somebody else has archived it", command));
        }
        if let Some(why) = self.foreign_work(cx, name).await? {
            return Err(kept(&what, &why, command));
        }
        let removing = async {
            // Read-only first: nothing can be pushed between the last look and the deletion.
            if !found.archived {
                cx.record_fact("archiving", json!(found.id)).await?;
                github
                    .set_archived(name, true)
                    .await
                    .map_err(|error| self.undeleted(error, &command))?;
            }
            if let Some(why) = self.foreign_work(cx, name).await? {
                github
                    .set_archived(name, false)
                    .await
                    .map_err(|error| self.undeleted(error, &command))?;
                return Err(kept(&what, &why, command));
            }
            match github.delete_repository(name).await {
                Ok(()) => Ok(Undone::Removed),
                // GitHub hides what a token may not do behind a 404: only a look tells.
                Err(error) if error.kind == Kind::NotFound => match self.find(name).await? {
                    Some(now) if now.id == found.id => {
                        Err(self.reopened(name, self.undeleted(error, &command)).await)
                    }
                    _ => Ok(Undone::NotThere),
                },
                Err(error) if error.kind == Kind::Denied => {
                    Err(self.reopened(name, self.undeleted(error, &command)).await)
                }
                Err(error) => Err(self.undeleted(error, &command)),
            }
        };
        self.upstreams
            .audited(cx, &format!("github:{name}"), removing)
            .await
    }

    /// What may not be deleted is not left read-only either.
    async fn reopened(&self, name: &FullName, error: StepError) -> StepError {
        match self.upstreams.github.set_archived(name, false).await {
            Ok(_) => error,
            Err(_) => still_archived(error),
        }
    }
}

fn facts(found: &Repository) -> Facts<'_> {
    Facts {
        id: found.id,
        full_name: &found.full_name,
        description: found.description.as_deref().unwrap_or_default(),
        topics: &found.topics,
        created_at: found.created_at,
    }
}

fn output(found: &Repository) -> Value {
    json!({
        "id": found.id,
        "full_name": found.full_name,
        "url": found.html_url,
        "clone_url": found.clone_url,
        "created_at": found.created_at,
        "private": found.private,
    })
}

#[async_trait]
impl Step for GithubRepository {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let name = repository(with)?;
        let Some(found) = self.find(&name).await? else {
            return Ok(Seen::Absent);
        };
        let output = output(&found);
        Ok(match whose(cx, &facts(&found)).await? {
            Whose::Ours => Seen::Ours(output),
            Whose::Project => Seen::Project(output),
            Whose::Adopted => Seen::Adopted(output),
            Whose::Foreign { why, claimed } => {
                // The mirror prunes: only an empty repository can be adopted.
                let empty = self
                    .upstreams
                    .github
                    .refs(&name)
                    .await
                    .map_err(|error| self.failed(error, of_read))?
                    .is_empty();
                let full = if empty {
                    ""
                } else {
                    "; it is not empty, so it cannot be adopted either"
                };
                let why = format!("GitHub repository {why}{full}");
                Seen::Foreign {
                    why,
                    adoptable: (empty && !claimed).then_some(output),
                }
            }
        })
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let name = repository(with)?;
        let private = text(with, "visibility") != "public";
        match found {
            Found::NotLooked | Found::Absent => self.create(cx, name, private).await,
            Found::Adopted(output) => Ok(output.clone()),
            Found::Ours(output) => {
                if cx.fact("archiving").is_some() {
                    // An undo of this run stopped half-way, and the run goes forward again.
                    let opened = self.upstreams.github.set_archived(&name, false).await;
                    opened.map_err(|error| self.failed(error, of_write))?;
                }
                Ok(output.clone())
            }
            Found::Project(output) => {
                let mut output = output.clone();
                if output["private"] != private {
                    let changed = self.upstreams.github.set_private(&name, private).await;
                    changed.map_err(|error| self.failed(error, of_write))?;
                    output["private"] = json!(private);
                }
                Ok(output)
            }
        }
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let name = repository(with)?;
        let undone = match self.find(&name).await {
            Ok(Some(found)) if is_ours(cx, &facts(&found), output) => {
                self.remove(cx, &name, &found).await
            }
            // Nothing there, or somebody else's by now: nothing of this run is left.
            Ok(_) => Ok(Undone::NotThere),
            Err(error) => Err(error),
        };
        undone.map_err(|error| with_command(error, format!("gh repo delete {name} --yes")))
    }

    async fn changes(
        &self,
        _cx: &StepCx,
        with: &Value,
        found: &Value,
    ) -> Result<Vec<String>, StepError> {
        Ok(visibility_change(with, found))
    }

    fn requests(&self, _with: &Value) -> Vec<(&'static str, u32)> {
        vec![("github", 1)]
    }

    fn resources(&self, with: &Value) -> Vec<String> {
        repository(with)
            .map(|name| format!("github:{name}").to_lowercase())
            .into_iter()
            .collect()
    }

    fn timing(&self) -> Timing {
        self.upstreams.timings.github
    }
}
