//! `mirror.rotate`: the same mirror with the present token. The new one is added and proved before the old one goes.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_gitea::{NewPushMirror, PushMirror};
use forgeline_step_engine::{
    Effect, Field, Found, KindSpec, Seen, Step, StepCx, StepError, Timing, Undone,
};
use forgeline_upstream::FullName;
use serde_json::{Value, json};

use super::look::failed;
use super::{Target, TargetKind, fingerprint, full_name};
use crate::ownership::mirror_interval;
use crate::refusal::{of_read, of_write};
use crate::upstreams::Upstreams;

pub(crate) const ROTATE_KIND: KindSpec = KindSpec {
    name: "mirror.rotate",
    description: "Replaces a mirror by one with the present token.",
    with: &[Field::required("target", "the mirror, as a plan has it")],
    outputs: &["result", "why", "command"],
};

/// The fact that names the mirrors that were there before one was added.
const LISTED: &str = "listed";

/// Replaces mirrors.
pub(crate) struct Rotate(pub(crate) Arc<Upstreams>);

impl Rotate {
    fn read(&self, error: forgeline_upstream::Error) -> StepError {
        failed(&self.0, TargetKind::Mirror, error, of_read)
    }

    fn write(&self, error: forgeline_upstream::Error) -> StepError {
        failed(&self.0, TargetKind::Mirror, error, of_write)
    }

    async fn rotate(&self, cx: &StepCx, target: &Target) -> Result<Value, StepError> {
        let refused =
            || StepError::refused("input.invalid", "the target is no mirror of a repository");
        let repository = target.repository().ok_or_else(refused)?;
        let mirrors = self.mirrors(&repository).await?;
        let old = mirrors
            .iter()
            .find(|mirror| mirror.remote_name == target.name);
        let Some(old) = old else {
            let ours = self.added(cx, &mirrors).is_some();
            let result = if ours { "replaced" } else { "gone" };
            return Ok(ended(result, "the old mirror was not there any more"));
        };
        if target.seen.get("address") != Some(&fingerprint(&old.remote_address)) {
            return Ok(ended("kept", "changed since the plan: address"));
        }
        let new = match self.added(cx, &mirrors) {
            Some(new) => new.clone(),
            None => self.add(cx, target, &repository, old, &mirrors).await?,
        };
        if let Some(why) = self.unproved(&repository, &new).await? {
            let removing = async {
                let gitea = &self.0.gitea;
                let removed = gitea.delete_push_mirror(&repository, &new.remote_name);
                removed.await.map_err(|error| self.write(error))
            };
            let what = format!("mirror:{repository}/{}", new.remote_name);
            self.0.audited(cx, &what, removing).await?;
            return Ok(ended(
                "failed",
                &format!("{why}; the old mirror stays as it was"),
            ));
        }
        let removing = async {
            let gitea = &self.0.gitea;
            let removed = gitea.delete_push_mirror(&repository, &old.remote_name);
            removed.await.map_err(|error| self.write(error))
        };
        self.0.audited(cx, &target.artifact(), removing).await?;
        let why = format!(
            "{} replaces it; the old token stays in the git configuration of {repository} on Gitea's disk: revoke it on GitHub",
            new.remote_name
        );
        Ok(ended("replaced", &why))
    }

    async fn mirrors(&self, repository: &FullName) -> Result<Vec<PushMirror>, StepError> {
        let listed = self.0.gitea.push_mirrors(repository).await;
        listed.map_err(|error| self.read(error))
    }

    /// The mirror that this step has added before. `None`: none yet.
    fn added<'a>(&self, cx: &StepCx, mirrors: &'a [PushMirror]) -> Option<&'a PushMirror> {
        let listed = cx.fact(LISTED)?;
        let before = |mirror: &&PushMirror| {
            let names = listed["names"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            !names
                .iter()
                .any(|name| *name == mirror.remote_name.as_str())
                && listed["interval"] == mirror.interval.as_str()
        };
        mirrors.iter().find(before)
    }

    async fn add(
        &self,
        cx: &StepCx,
        target: &Target,
        repository: &FullName,
        old: &PushMirror,
        mirrors: &[PushMirror],
    ) -> Result<PushMirror, StepError> {
        let interval = target
            .run
            .as_ref()
            .map_or_else(|| old.interval.clone(), mirror_interval);
        let names: Vec<&str> = mirrors
            .iter()
            .map(|mirror| mirror.remote_name.as_str())
            .collect();
        cx.record_fact(LISTED, json!({"names": names, "interval": interval}))
            .await?;
        let token = self.0.mirror.token.current();
        let new = NewPushMirror {
            remote_address: &old.remote_address,
            username: &self.0.mirror.username,
            token: &token,
            interval: &interval,
        };
        let added = self.0.gitea.add_push_mirror(repository, &new).await;
        added.map_err(|error| self.write(error))
    }

    /// Why the new mirror does not push. `None`: its sync ended, and both sides are equal.
    async fn unproved(
        &self,
        gitea: &FullName,
        new: &PushMirror,
    ) -> Result<Option<String>, StepError> {
        // What git says of each mirror stands in the list; the answer alone proves nothing.
        let synced = self.0.gitea.sync_push_mirrors(gitea).await;
        let now = self.mirrors(gitea).await?;
        let now = now
            .iter()
            .find(|mirror| mirror.remote_name == new.remote_name);
        let said = now
            .map(|mirror| mirror.last_error.trim().to_owned())
            .unwrap_or_default();
        if !said.is_empty() {
            let said = self.0.mirror.token.redact(&said);
            let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
            return Ok(Some(format!("GitHub refused the new token: {line}")));
        }
        if let Err(error) = synced {
            // The old mirror may be what failed: it is why people rotate.
            if error.status != Some(500) {
                return Err(self.write(error).effect(Effect::Left));
            }
        }
        let Some(github) = github_name(&new.remote_address) else {
            return Ok(Some("the mirror's address is no GitHub repository".into()));
        };
        let (in_gitea, on_github) =
            tokio::join!(self.0.gitea.refs(gitea), self.0.github.refs(&github));
        let in_gitea = in_gitea.map_err(|error| self.read(error))?;
        let on_github = on_github
            .map_err(|error| failed(&self.0, TargetKind::GithubRepository, error, of_read))?;
        Ok((in_gitea != on_github).then(|| "the two sides differ after its sync".to_owned()))
    }
}

/// `owner/name` out of a clone address.
fn github_name(address: &str) -> Option<FullName> {
    let url = url::Url::parse(address).ok()?;
    full_name(url.path().trim_start_matches('/').trim_end_matches(".git"))
}

fn ended(result: &str, why: &str) -> Value {
    json!({"result": result, "why": why, "command": ""})
}

#[async_trait]
impl Step for Rotate {
    async fn check(&self, _cx: &StepCx, _with: &Value) -> Result<Seen, StepError> {
        // Each attempt lists for itself.
        Ok(Seen::Absent)
    }

    async fn apply(&self, cx: &StepCx, with: &Value, _found: &Found) -> Result<Value, StepError> {
        let target = Target::of(with)?;
        self.rotate(cx, &target).await
    }

    async fn compensate(
        &self,
        _cx: &StepCx,
        _with: &Value,
        _output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        Ok(Undone::Removed)
    }

    fn resources(&self, with: &Value) -> Vec<String> {
        Target::resources(with)
    }

    fn is_reversible(&self, _with: &Value) -> bool {
        false
    }

    fn problems(&self, _with: &Value) -> Vec<String> {
        vec!["only `forgeline mirror-rotate` makes such a step".into()]
    }

    fn timing(&self) -> Timing {
        self.0.timings.gitea
    }
}
