//! `gitea.repository`: a repository in Gitea with an initial commit on `main`.
//!
//! Ours by the claim in its description, which is part of the creation itself, then by its id in the journal and the
//! topic `fl-<run-id>`. Undoing deletes it, unless anybody has put anything into it since: then it is kept and named.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_gitea::{Content, NewRepository, Repository};
use forgeline_step_engine::{
    Effect, Field, Found, KindSpec, Seen, Step, StepCx, StepError, Timing, Undone,
};
use forgeline_upstream::{Error, FullName, Kind};
use serde_json::{Value, json};

use super::blame::{self, Map};
use super::issue::marker_of_run;
use super::with::{kept, repository, still_archived, text, visibility_change, with_command};
use crate::ownership::{Facts, Whose, claim, is_ours, whose};
use crate::refusal::{of_create, of_read, of_write};
use crate::upstreams::Upstreams;

pub(super) const KIND: KindSpec = KindSpec {
    name: "gitea.repository",
    description: "A repository in Gitea with an initial commit.",
    with: &[
        Field::required("owner", "a user or an organisation"),
        Field::required("name", "the repository's name"),
        Field::optional("visibility", "`private` (default) or `public`"),
        Field::optional(
            "template",
            "owner/repo of a template repository whose files it starts with",
        ),
        Field::optional(
            "default_branch",
            "the branch of the first commit; `main` by default",
        ),
        Field::optional("readme", "a readme template that Gitea knows"),
        Field::optional("license", "a licence that Gitea knows, for example `MIT`"),
        Field::optional(
            "gitignore",
            "gitignore templates that Gitea knows, comma-separated",
        ),
    ],
    outputs: &[
        "id",
        "full_name",
        "url",
        "clone_url",
        "created_at",
        "default_branch",
        "private",
    ],
};

/// A repository in Gitea.
pub(super) struct GiteaRepository(pub(super) Arc<Upstreams>);

const RIGHT: &str = "the scopes `write:repository`, `write:user` and `write:organization`, and the right to create in that owner";

impl GiteaRepository {
    fn failed(&self, error: Error, map: Map) -> StepError {
        blame::gitea(&self.0, error, RIGHT, map)
    }

    async fn find(&self, name: &FullName) -> Result<Option<Repository>, StepError> {
        self.0
            .gitea
            .repository(name)
            .await
            .map_err(|error| self.failed(error, of_read))
    }

    async fn create(
        &self,
        new: &NewRepository,
        template: Option<&FullName>,
    ) -> Result<Value, StepError> {
        let gitea = &self.0.gitea;
        let Some(template) = template else {
            let made = gitea.create_repository(new).await;
            return Ok(output(
                &made.map_err(|error| self.failed(error, of_create))?,
            ));
        };
        let made = gitea.generate_repository(template, new).await;
        let made = made.map_err(|error| {
            let missing = error.kind == Kind::NotFound || error.status == Some(422);
            let failed = self.failed(error, of_create);
            if missing && failed.effect == Effect::None {
                let remedy = format!(
                    "mark {template} as a template in its settings in Gitea, and let the user of GITEA_TOKEN read it"
                );
                return StepError {
                    code: "template.unusable".into(),
                    remedy: Some(remedy),
                    ..failed
                };
            }
            failed
        })?;
        Ok(output(&made))
    }

    async fn repair(
        &self,
        name: &FullName,
        output: &Value,
        private: bool,
    ) -> Result<Value, StepError> {
        let mut output = output.clone();
        if output["private"] != private {
            self.0
                .gitea
                .set_private(name, private)
                .await
                .map_err(|error| self.failed(error, of_write))?;
            output["private"] = json!(private);
        }
        Ok(output)
    }

    /// What somebody else has put into it since it was made; `None` when nothing.
    async fn foreign_work(
        &self,
        cx: &StepCx,
        found: &Repository,
        name: &FullName,
    ) -> Result<Option<String>, StepError> {
        let read = |error| self.failed(error, of_read);
        let gitea = &self.0.gitea;
        let branch = if found.default_branch.is_empty() {
            "main"
        } else {
            &found.default_branch
        };
        let marker = marker_of_run(&cx.run_id);
        let (refs, issues) =
            tokio::join!(gitea.refs(name), gitea.has_issues_without(name, &marker));
        let refs = refs.map_err(read)?;
        if let Some(other) = refs
            .keys()
            .find(|head| **head != format!("refs/heads/{branch}"))
        {
            return Ok(Some(format!("it has {other}")));
        }
        if !refs.is_empty() {
            let commits = gitea.commits(name, branch, 2).await.map_err(read)?;
            let first = commits.first().filter(|_| commits.len() == 1);
            // The one commit that was made with the repository; a forced push may have put another in its place.
            if !first.is_some_and(|commit| commit.is_initial_of(found)) {
                return Ok(Some(format!("somebody has pushed to {branch}")));
            }
        }
        Ok(issues
            .map_err(read)?
            .then(|| "somebody has opened an issue or pull request".to_owned()))
    }

    async fn remove(
        &self,
        cx: &StepCx,
        name: &FullName,
        found: &Repository,
    ) -> Result<Undone, StepError> {
        let gitea = &self.0.gitea;
        let command = delete_command(&found.html_url, name);
        let what = format!("Gitea repository {name}");
        if found.archived && cx.fact("archiving").is_none() {
            return Err(kept(&what, "somebody else has archived it", command));
        }
        if let Some(why) = self.foreign_work(cx, found, name).await? {
            return Err(kept(&what, &why, command));
        }
        let removing = async {
            let write = |error| self.failed(error, of_write).command(command.clone());
            // Read-only first: nothing can be pushed between the last look and the deletion.
            if !found.archived {
                cx.record_fact("archiving", json!(found.id)).await?;
                gitea.set_archived(name, true).await.map_err(write)?;
            }
            if let Some(why) = self.foreign_work(cx, found, name).await? {
                gitea.set_archived(name, false).await.map_err(write)?;
                return Err(kept(&what, &why, command));
            }
            match gitea.delete_repository(name).await {
                Ok(()) => Ok(Undone::Removed),
                // What a token may not see looks like nothing: only a look tells.
                Err(error) if error.kind == Kind::NotFound => match self.find(name).await? {
                    Some(now) if now.id == found.id => Err(self.reopened(name, write(error)).await),
                    _ => Ok(Undone::NotThere),
                },
                Err(error) if error.kind == Kind::Denied => {
                    Err(self.reopened(name, write(error)).await)
                }
                Err(error) => Err(write(error)),
            }
        };
        self.0.audited(cx, &format!("gitea:{name}"), removing).await
    }

    /// What may not be deleted is not left read-only either.
    async fn reopened(&self, name: &FullName, error: StepError) -> StepError {
        match self.0.gitea.set_archived(name, false).await {
            Ok(_) => error,
            Err(_) => still_archived(error),
        }
    }
}

/// The first content, as the step asks for it.
fn content(with: &Value) -> Content {
    let given = |name: &str| Some(text(with, name).to_owned()).filter(|text| !text.is_empty());
    Content {
        default_branch: given("default_branch").unwrap_or_else(|| "main".into()),
        readme: given("readme"),
        license: given("license"),
        gitignore: given("gitignore"),
    }
}

/// The template's name. `None`: no template was asked for.
fn template(with: &Value) -> Result<Option<FullName>, StepError> {
    let given = text(with, "template");
    if given.is_empty() {
        return Ok(None);
    }
    let parts = given.split_once('/');
    let name = parts.and_then(|(owner, name)| FullName::new(owner, name));
    name.map(Some).ok_or_else(|| {
        StepError::refused("input.invalid", format!("`{given}` is no template"))
            .remedy("write it as owner/repo")
    })
}

fn delete_command(url: &str, name: &FullName) -> String {
    let root = url
        .strip_suffix(&format!("/{name}"))
        .unwrap_or("$GITEA_URL");
    format!("curl -X DELETE -H \"Authorization: token $GITEA_TOKEN\" {root}/api/v1/repos/{name}")
}

fn facts(found: &Repository) -> Facts<'_> {
    Facts {
        id: found.id,
        full_name: &found.full_name,
        description: &found.description,
        topics: &found.topics,
        created_at: found.created_at,
    }
}

fn output(found: &Repository) -> Value {
    let branch = if found.default_branch.is_empty() {
        "main"
    } else {
        &found.default_branch
    };
    json!({
        "id": found.id,
        "full_name": found.full_name,
        "url": found.html_url,
        "clone_url": found.clone_url,
        "created_at": found.created_at,
        "default_branch": branch,
        "private": found.private,
    })
}

#[async_trait]
impl Step for GiteaRepository {
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
            Whose::Foreign { why, claimed } => Seen::Foreign {
                why: format!("Gitea repository {why}"),
                adoptable: (!claimed).then_some(output),
            },
        })
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let name = repository(with)?;
        let private = text(with, "visibility") != "public";
        match found {
            Found::Adopted(output) => Ok(output.clone()),
            Found::Project(output) => self.repair(&name, output, private).await,
            Found::Ours(output) => {
                if template(with)?.is_some() {
                    // It counts only once its branches are settled; an earlier attempt may have died before.
                    let settled = self.0.gitea.settle_branches(&name).await;
                    settled.map_err(|error| self.failed(error, of_read))?;
                }
                if cx.fact("archiving").is_some() {
                    // An undo of this run stopped half-way, and the run goes forward again.
                    self.0
                        .gitea
                        .set_archived(&name, false)
                        .await
                        .map_err(|error| self.failed(error, of_write))?;
                }
                Ok(output.clone())
            }
            Found::NotLooked | Found::Absent => {
                let new = NewRepository {
                    full_name: name,
                    description: claim(cx),
                    private,
                    content: content(with),
                };
                self.create(&new, template(with)?.as_ref()).await
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
        let url = output.map(|output| text(output, "url")).unwrap_or_default();
        let command = delete_command(url, &name);
        let undone = match self.find(&name).await {
            Ok(Some(found)) if is_ours(cx, &facts(&found), output) => {
                self.remove(cx, &name, &found).await
            }
            // Nothing there, or somebody else's by now: nothing of this run is left.
            Ok(_) => Ok(Undone::NotThere),
            Err(error) => Err(error),
        };
        undone.map_err(|error| with_command(error, command))
    }

    async fn changes(
        &self,
        _cx: &StepCx,
        with: &Value,
        found: &Value,
    ) -> Result<Vec<String>, StepError> {
        Ok(visibility_change(with, found))
    }

    fn requests(&self, with: &Value) -> Vec<(&'static str, u32)> {
        if text(with, "template").is_empty() {
            vec![("gitea_mcp", 1)]
        } else {
            vec![("gitea", 3)]
        }
    }

    fn resources(&self, with: &Value) -> Vec<String> {
        repository(with)
            .map(|name| format!("gitea:{name}").to_lowercase())
            .into_iter()
            .collect()
    }

    fn timing(&self) -> Timing {
        self.0.timings.gitea
    }
}
