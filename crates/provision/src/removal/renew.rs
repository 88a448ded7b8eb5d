//! `throwaway.renew`: when a throwaway's artifact says that it ends.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_step_engine::{
    Effect, Field, Found, KindSpec, Seen, Step, StepCx, StepError, Timing, Undone,
};
use serde_json::{Value, json};

use super::look::failed;
use super::{Target, TargetKind, full_name};
use crate::ownership::{ends_at, with_expiry};
use crate::refusal::{of_read, of_write};
use crate::upstreams::Upstreams;

pub(crate) const RENEW_KIND: KindSpec = KindSpec {
    name: "throwaway.renew",
    description: "Lets an artifact of a throwaway end later, or sooner.",
    with: &[
        Field::required("target", "the artifact, as a receipt has it"),
        Field::required("ttl", "how long it lasts from now, for example 24h"),
    ],
    outputs: &["expires_at"],
};

/// Prolongs throwaways.
pub(crate) struct Renew(pub(crate) Arc<Upstreams>);

impl Renew {
    async fn renew(&self, cx: &StepCx, target: &Target, ttl: &Value) -> Result<Value, StepError> {
        let at = ends_at(&cx.run_id, ttl).ok_or_else(|| {
            let message = format!("`{ttl}` is no time");
            StepError::refused("input.invalid", message).remedy("write it like 24h")
        })?;
        let read = |error| failed(&self.0, target.kind, error, of_read);
        let write = |error| failed(&self.0, target.kind, error, of_write);
        let name = full_name(&target.name);
        match (target.kind, &name) {
            (TargetKind::GiteaRepository, Some(name)) => {
                let found = self.0.gitea.repository(name).await.map_err(read)?;
                let found = found.filter(|found| found.id.to_string() == target.id);
                let found = found.ok_or_else(|| gone(target))?;
                let topics = with_expiry(found.topics, at);
                self.0
                    .gitea
                    .set_topics(name, &topics)
                    .await
                    .map_err(write)?;
            }
            (TargetKind::GithubRepository, Some(name)) => {
                let found = self.0.github.repository(name).await.map_err(read)?;
                let found = found.filter(|found| found.id.to_string() == target.id);
                let found = found.ok_or_else(|| gone(target))?;
                let topics = with_expiry(found.topics, at);
                self.0
                    .github
                    .set_topics(name, &topics)
                    .await
                    .map_err(write)?;
            }
            (TargetKind::Namespace, _) => {
                let cluster = self.0.kubernetes.as_ref().ok_or_else(|| gone(target))?;
                let set = cluster.set_expiry(&target.name, &target.id, at).await;
                set.map_err(write)?;
            }
            _ => {}
        }
        Ok(json!({"expires_at": format!("{at:.0}")}))
    }
}

fn gone(target: &Target) -> StepError {
    let message = format!("{} is not there any more", target.artifact());
    StepError::refused("throwaway.gone", message).remedy("repeat the call that made the project")
}

#[async_trait]
impl Step for Renew {
    async fn check(&self, _cx: &StepCx, _with: &Value) -> Result<Seen, StepError> {
        // Saying the same twice changes nothing.
        Ok(Seen::Absent)
    }

    async fn apply(&self, cx: &StepCx, with: &Value, _found: &Found) -> Result<Value, StepError> {
        let target = Target::of(with)?;
        let renewed = self.renew(cx, &target, &with["ttl"]).await;
        renewed.map_err(|error| match error.effect {
            // What was said late is said again by the next call.
            Effect::Possible => error.effect(Effect::Left),
            _ => error,
        })
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

    fn problems(&self, _with: &Value) -> Vec<String> {
        vec!["only `forgeline renew` makes such a step".into()]
    }

    fn timing(&self) -> Timing {
        self.0.timings.github
    }
}
