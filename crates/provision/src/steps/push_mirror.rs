//! `gitea.push_mirror`: a push mirror from Gitea to GitHub, synced once and verified: the refs of both sides are equal.
//!
//! Adding a mirror is not unique, so the mirrors are listed first and the list is journaled before anything is added;
//! ours is one that the list did not show. Undoing removes only that one. Gitea keeps the mirror token in clear text in
//! the repository's git configuration, also after the mirror is removed; what was pushed stays with its repository.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_gitea::{NewPushMirror, PushMirror as Mirror, same_address};
use forgeline_step_engine::{
    Effect, Field, Found, KindSpec, Seen, Step, StepCx, StepError, Timing, Undone,
};
use forgeline_upstream::{Error, FullName, Kind};
use serde_json::{Value, json};

use super::blame::{self, Map};
use super::refs::{BothSides, gitea_refs, github_refs, unread_github};
use super::with::{full_name, is_created, text};
use crate::ownership::{mirror_interval, not_before_intent};
use crate::refusal::{named, of_read, of_write};
use crate::upstreams::Upstreams;

pub(super) const KIND: KindSpec = KindSpec {
    name: "gitea.push_mirror",
    description: "A push mirror from Gitea to GitHub, synced and verified.",
    with: &[
        Field::required(
            "gitea",
            "the output of the step that made the Gitea repository",
        ),
        Field::required(
            "github",
            "the output of the step that made the GitHub repository",
        ),
    ],
    outputs: &[
        "remote",
        "remote_name",
        "repository",
        "verified",
        "refs",
        "head",
    ],
};

/// The name of the fact that says what this run's mirror pushes to a GitHub repository.
pub(super) fn pushed_fact(github: &FullName) -> String {
    format!("pushed:{github}").to_lowercase()
}

/// A push mirror.
pub(super) struct PushMirror(pub(super) Arc<Upstreams>);

/// Both ends of a mirror.
struct Ends {
    gitea: FullName,
    github: FullName,
    /// GitHub's clone address.
    address: String,
    /// Gitea's default branch.
    branch: String,
    /// This run has just created both: nothing can be there.
    fresh: bool,
}

impl Ends {
    fn read(with: &Value) -> Result<Self, StepError> {
        Ok(Self {
            gitea: full_name(&with["gitea"])?,
            github: full_name(&with["github"])?,
            address: text(&with["github"], "clone_url").to_owned(),
            branch: text(&with["gitea"], "default_branch").to_owned(),
            fresh: is_created(&with["gitea"]) && is_created(&with["github"]),
        })
    }
}

impl PushMirror {
    fn failed(&self, error: Error, map: Map) -> StepError {
        // Gitea answers 401 when its configuration forbids the address; the token is fine then.
        let forbidden = error.is_unauthenticated()
            && error
                .message
                .to_ascii_lowercase()
                .contains("permission denied");
        if forbidden {
            return StepError::refused("mirror.address_not_allowed", error.to_string())
                .remedy("allow the address in Gitea's [migrations] settings (ALLOWED_DOMAINS, ALLOW_LOCALNETWORKS)");
        }
        let right = "the scope `write:repository` and admin rights on the repository";
        blame::gitea(&self.0, error, right, map)
    }

    /// The mirrors of the repository that push to our address; none when the repository is not there.
    async fn matching(&self, ends: &Ends) -> Result<Vec<Mirror>, StepError> {
        match self.0.gitea.push_mirrors(&ends.gitea).await {
            Ok(mirrors) => Ok(mirrors
                .into_iter()
                .filter(|mirror| same_address(&mirror.remote_address, &ends.address))
                .collect()),
            Err(error) if error.kind == Kind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.failed(error, of_read)),
        }
    }

    async fn add(&self, cx: &StepCx, ends: &Ends) -> Result<Mirror, StepError> {
        let token = self.0.mirror.token.current();
        let new = NewPushMirror {
            remote_address: &ends.address,
            username: &self.0.mirror.username,
            token: &token,
            interval: &mirror_interval(&cx.run_id),
        };
        let added = self.0.gitea.add_push_mirror(&ends.gitea, &new).await;
        let added = added.map_err(|error| self.failed(error, of_write))?;
        cx.record_fact("added", json!(added.remote_name)).await?;
        Ok(added)
    }

    /// Journals what is there before adding, then adds beside a look at both sides.
    async fn add_first(&self, cx: &StepCx, ends: &Ends) -> Result<Mirror, StepError> {
        let (mirror, sides) = if ends.fresh {
            let (mirror, sides) = tokio::join!(
                self.add(cx, ends),
                BothSides::look(&self.0, &ends.gitea, &ends.github)
            );
            (mirror?, sides.map_err(left)?)
        } else {
            let listed: Vec<String> = self
                .matching(ends)
                .await?
                .into_iter()
                .map(|mirror| mirror.remote_name)
                .collect();
            if cx.fact("listed").is_none() {
                cx.record_fact("listed", json!(listed)).await?;
            }
            let sides = BothSides::look(&self.0, &ends.gitea, &ends.github).await?;
            sides.check_nothing_is_lost(&self.0, &ends.gitea).await?;
            (self.add(cx, ends).await?, sides)
        };
        sides
            .check_nothing_is_lost(&self.0, &ends.gitea)
            .await
            .map_err(left)?;
        self.sync(cx, ends, &mirror, &sides).await?;
        Ok(mirror)
    }

    /// Pushes now. What is about to be pushed is journaled first, so that an undo knows it again on GitHub.
    async fn sync(
        &self,
        cx: &StepCx,
        ends: &Ends,
        mirror: &Mirror,
        sides: &BothSides,
    ) -> Result<(), StepError> {
        cx.record_fact(&pushed_fact(&ends.github), json!(sides.gitea))
            .await?;
        let Err(error) = self.0.gitea.sync_push_mirrors(&ends.gitea).await else {
            return Ok(());
        };
        if error.status != Some(500) {
            return Err(left(self.failed(error, of_write)));
        }
        let now = self.matching(ends).await.map_err(left)?;
        let said = now
            .into_iter()
            .find(|one| one.remote_name == mirror.remote_name)
            .map(|one| one.last_error);
        Err(left(self.refused_push(
            &ends.github,
            said.as_deref().unwrap_or_default(),
        )))
    }

    fn refused_push(&self, github: &FullName, said: &str) -> StepError {
        let credential = named(self.0.mirror.token.origin());
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = self.0.mirror.token.redact(&said);
        let unknown = said.contains("Authentication failed") || said.contains("401");
        let why = if unknown {
            format!("{credential} is not accepted; it also needs the right to push")
        } else {
            format!(
                "{credential} needs the right to push (scope `repo`, or Contents write; `workflow` where there are workflows)"
            )
        };
        let message = format!("github refused the mirror push to {github}: {said}; {why}");
        let final_word = [
            "403",
            "401",
            "denied",
            "rejected",
            "refusing",
            "GH0",
            "archived",
            "Authentication failed",
        ];
        StepError {
            // A repository that was just made may not take a push yet, and networks come back.
            retryable: !final_word.iter().any(|word| said.contains(word)),
            ..StepError::refused("mirror.push_refused", message).remedy(
                "grant the token in GITHUB_MIRROR_TOKEN the right to push to that repository, or lift the rule that refuses it",
            )
        }
    }

    /// Reads both sides until they are equal or patience ends; reads may lag behind the push.
    async fn verify(&self, ends: &Ends, mirror: &Mirror) -> Result<Value, StepError> {
        let mut pause = std::time::Duration::from_millis(100);
        for _ in 0..6 {
            let (gitea, github, repository) = tokio::join!(
                gitea_refs(&self.0, &ends.gitea),
                github_refs(&self.0, &ends.github),
                self.0.github.repository(&ends.github)
            );
            let sides = BothSides {
                gitea: gitea.map_err(left)?,
                github: github.map_err(left)?,
            };
            let repository = repository.map_err(|error| left(unread_github(&self.0, error)))?;
            let default = repository.map(|repository| repository.default_branch);
            if sides.are_equal() {
                match default {
                    Some(default) if default == ends.branch => {
                        return Ok(output(ends, mirror, &sides));
                    }
                    Some(_) => self.set_default_branch(ends).await?,
                    None => {}
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let message = format!(
            "the refs of {} on Gitea and {} on GitHub differ after the sync",
            ends.gitea, ends.github
        );
        let error = StepError::refused("mirror.not_verified", message)
            .remedy("look at the push mirror's last error in Gitea, then call again");
        Err(StepError {
            retryable: true,
            effect: Effect::Left,
            ..error
        })
    }

    async fn set_default_branch(&self, ends: &Ends) -> Result<(), StepError> {
        let set = self
            .0
            .github
            .set_default_branch(&ends.github, &ends.branch)
            .await;
        set.map_err(|error| {
            left(blame::github(
                &self.0,
                error,
                "the scope `repo` (fine-grained: Administration write)",
                "repo",
                of_write,
            ))
        })
    }

    /// Whether this run added this mirror: its receipt names it, or this run was about to add one, it has the interval that
    /// follows from this run, and it was neither shown by the list that was journaled before nor is it an earlier run's.
    fn is_ours(cx: &StepCx, ends: &Ends, mirror: &Mirror, output: Option<&Value>) -> bool {
        let name = mirror.remote_name.as_str();
        let receipt = output.is_some_and(|output| output["remote_name"] == name)
            || cx.fact("added").is_some_and(|added| added == name);
        let attempted = ends.fresh || cx.fact("listed").is_some();
        let signed = mirror.interval == mirror_interval(&cx.run_id);
        let added_since = signed && attempted && !was_listed(cx, name) && !is_earlier(cx, name);
        receipt || (added_since && not_before_intent(cx, mirror.created))
    }

    async fn remove(&self, cx: &StepCx, ends: &Ends, mirror: &Mirror) -> Result<(), StepError> {
        let gitea = &self.0.gitea;
        let removed = gitea.delete_push_mirror(&ends.gitea, &mirror.remote_name);
        let path = format!(
            "/api/v1/repos/{}/push_mirrors/{}",
            ends.gitea, mirror.remote_name
        );
        let command =
            format!("curl -X DELETE -H \"Authorization: token $GITEA_TOKEN\" $GITEA_URL{path}");
        let removing = async {
            let removed = removed.await;
            removed.map_err(|error| self.failed(error, of_write).command(command))
        };
        let what = format!("gitea:{} mirror {}", ends.gitea, mirror.remote_name);
        self.0.audited(cx, &what, removing).await
    }
}

/// The mirror was added: something of this step is there.
fn left(error: StepError) -> StepError {
    match error.effect {
        Effect::Possible => error,
        Effect::None | Effect::Taken | Effect::Left => error.effect(Effect::Left),
    }
}

fn output(ends: &Ends, mirror: &Mirror, sides: &BothSides) -> Value {
    let head = sides.gitea.get(&format!("refs/heads/{}", ends.branch));
    json!({
        "remote": mirror.remote_address,
        "remote_name": mirror.remote_name,
        "repository": ends.gitea.to_string(),
        "verified": true,
        "refs": sides.gitea.len(),
        "head": head,
    })
}

/// The list that was journaled before anything was added showed it.
fn was_listed(cx: &StepCx, name: &str) -> bool {
    let listed = cx.fact("listed");
    listed
        .as_ref()
        .and_then(Value::as_array)
        .is_some_and(|names| names.iter().any(|shown| *shown == name))
}

/// An earlier run of this project has it in its journal.
fn is_earlier(cx: &StepCx, name: &str) -> bool {
    let done = cx.earlier.iter().filter_map(|run| run.done.get(&cx.step));
    done.into_iter()
        .any(|(_, output)| output["remote_name"] == name)
}

fn known(mirror: &Mirror) -> Value {
    json!({"remote": mirror.remote_address, "remote_name": mirror.remote_name})
}

#[async_trait]
impl Step for PushMirror {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let ends = Ends::read(with)?;
        let mirrors = self.matching(&ends).await?;
        if let Some(ours) = mirrors
            .iter()
            .find(|mirror| Self::is_ours(cx, &ends, mirror, None))
        {
            return Ok(Seen::Ours(known(ours)));
        }
        if let Some(of_project) = mirrors
            .iter()
            .find(|mirror| is_earlier(cx, &mirror.remote_name))
        {
            return Ok(Seen::Project(known(of_project)));
        }
        // One that somebody else added to the same address does the same work: it is used and never removed.
        Ok(mirrors
            .first()
            .map_or(Seen::Absent, |oldest| Seen::Adopted(known(oldest))))
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let ends = Ends::read(with)?;
        let mirror = match found {
            Found::NotLooked | Found::Absent => self.add_first(cx, &ends).await?,
            Found::Ours(known) | Found::Project(known) | Found::Adopted(known) => {
                let mirrors = self.matching(&ends).await?;
                let mirror = mirrors
                    .into_iter()
                    .find(|mirror| known["remote_name"] == mirror.remote_name.as_str());
                let mirror = mirror.ok_or_else(|| {
                    let gone = StepError::refused(
                        "mirror.gone",
                        "the push mirror was removed while it was looked at",
                    );
                    StepError {
                        retryable: true,
                        ..gone
                    }
                })?;
                let sides = BothSides::look(&self.0, &ends.gitea, &ends.github).await?;
                if !sides.are_equal() {
                    sides.check_nothing_is_lost(&self.0, &ends.gitea).await?;
                    self.sync(cx, &ends, &mirror, &sides).await?;
                }
                mirror
            }
        };
        self.verify(&ends, &mirror).await
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let ends = Ends::read(with)?;
        let ours: Vec<Mirror> = self
            .matching(&ends)
            .await?
            .into_iter()
            .filter(|mirror| Self::is_ours(cx, &ends, mirror, output))
            .collect();
        for mirror in &ours {
            self.remove(cx, &ends, mirror).await?;
        }
        Ok(if ours.is_empty() {
            Undone::NotThere
        } else {
            Undone::Removed
        })
    }

    /// Keeps the recorded mirror and removes our others: an ambiguous add may land late.
    async fn recheck(
        &self,
        cx: &StepCx,
        with: &Value,
        recorded: Option<&Value>,
    ) -> Result<(), StepError> {
        let Some(recorded) = recorded else {
            return self.compensate(cx, with, None).await.map(drop);
        };
        let Some(kept) = recorded["remote_name"].as_str() else {
            return Ok(());
        };
        let ends = Ends::read(with)?;
        for mirror in self.matching(&ends).await? {
            if mirror.remote_name != kept && Self::is_ours(cx, &ends, &mirror, None) {
                self.remove(cx, &ends, &mirror).await?;
            }
        }
        Ok(())
    }

    async fn changes(
        &self,
        _cx: &StepCx,
        with: &Value,
        _found: &Value,
    ) -> Result<Vec<String>, StepError> {
        let ends = Ends::read(with)?;
        let sides = BothSides::look(&self.0, &ends.gitea, &ends.github).await?;
        if sides.are_equal() {
            return Ok(Vec::new());
        }
        sides.check_nothing_is_lost(&self.0, &ends.gitea).await?;
        Ok(vec!["push what GitHub does not have yet".into()])
    }

    fn requests(&self, _with: &Value) -> Vec<(&'static str, u32)> {
        // Add, both looks, sync; heads and tags twice, and the repository.
        vec![("gitea", 4), ("github", 5)]
    }

    fn creates_first(&self, with: &Value) -> bool {
        is_created(&with["gitea"])
    }

    fn timing(&self) -> Timing {
        self.0.timings.gitea
    }
}
