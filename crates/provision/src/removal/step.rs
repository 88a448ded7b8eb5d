//! `removal.remove`: one target of a plan. Never undone; it ends with a word for what became of the target.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_kubernetes::Deleted;
use forgeline_step_engine::{
    Effect, Field, Found, KindSpec, Seen, Step, StepCx, StepError, Timing, Undone,
};
use forgeline_upstream::{Error, FullName, Kind};
use serde_json::{Value, json};

use super::look::failed;
use super::{Look, Target, TargetKind, There, differences, look};
use crate::refusal::of_write;
use crate::upstreams::Upstreams;

pub(crate) const KIND: KindSpec = KindSpec {
    name: "removal.remove",
    description: "Removes one thing of a plan, if it is as the plan saw it.",
    with: &[Field::required("target", "the target, as a plan has it")],
    outputs: &["result", "why", "command"],
};

/// How often a target is tried before it counts as failed.
const TRIES: u64 = 3;
/// The fact that names this run's own archiving.
const ARCHIVING: &str = "archiving";
/// The fact that says that a deletion was about to be sent.
const DELETING: &str = "deleting";

/// Removes targets.
pub(crate) struct Removal(pub(crate) Arc<Upstreams>);

/// What became of a target.
struct Ended {
    result: &'static str,
    why: String,
    command: String,
}

impl Ended {
    fn new(result: &'static str, why: impl Into<String>) -> Self {
        Self {
            result,
            why: why.into(),
            command: String::new(),
        }
    }

    fn with(self, command: String) -> Self {
        Self { command, ..self }
    }

    fn output(self) -> Value {
        json!({"result": self.result, "why": self.why, "command": self.command})
    }
}

impl Removal {
    fn failed(&self, target: &Target, error: Error) -> StepError {
        failed(&self.0, target.kind, error, of_write)
    }

    async fn remove(&self, cx: &StepCx, target: &Target) -> Result<Ended, StepError> {
        let there = match self.look(target).await? {
            Look::There(there) => there,
            other => return Ok(absent(cx, &other)),
        };
        if let Some(kept) = self.kept(cx, target, &there).await? {
            return Ok(kept);
        }
        let verb = if target.archive { "archive " } else { "" };
        let what = format!("{verb}{}", target.artifact());
        let removing = async {
            match target.kind {
                TargetKind::GiteaRepository | TargetKind::GithubRepository => {
                    self.remove_repository(cx, target, &there).await
                }
                TargetKind::Mirror => self.remove_mirror(cx, target).await,
                TargetKind::Branch => self.remove_branch(cx, target).await,
                TargetKind::Namespace => self.remove_namespace(cx, target).await,
            }
        };
        self.0.audited(cx, &what, removing).await
    }

    /// Reads may lag, and a 404 may come from something in front: what is not there is looked for once more.
    async fn look(&self, target: &Target) -> Result<Look, StepError> {
        let first = look(&self.0, target).await?;
        if first != Look::Gone {
            return Ok(first);
        }
        let timings = &self.0.timings;
        let timing = match target.kind {
            TargetKind::GithubRepository => timings.github,
            TargetKind::Namespace => timings.kubernetes,
            _ => timings.gitea,
        };
        tokio::time::sleep(timing.settle).await;
        look(&self.0, target).await
    }

    /// Whether it is not as the plan saw it. What this run has archived already is opened again then.
    async fn kept(
        &self,
        cx: &StepCx,
        target: &Target,
        there: &There,
    ) -> Result<Option<Ended>, StepError> {
        let by_us = cx.fact(ARCHIVING).is_some();
        if there.archived && !by_us {
            return Ok(Some(Ended::new("kept", "somebody else has archived it")));
        }
        let differs = differences(&target.seen, &there.marks);
        if differs.is_empty() {
            return Ok(None);
        }
        let mut kept = Ended::new(
            "kept",
            format!("changed since the plan: {}", differs.join(", ")),
        );
        if by_us && there.archived {
            kept = self.reopened(target, kept).await;
        }
        Ok(Some(kept))
    }

    async fn set_archived(&self, target: &Target, archived: bool) -> Result<(), Error> {
        let Some(name) = target.repository() else {
            return Ok(());
        };
        match target.kind {
            TargetKind::GithubRepository => self.0.github.set_archived(&name, archived).await,
            _ => self.0.gitea.set_archived(&name, archived).await,
        }
    }

    /// What is not removed is not left read-only either.
    async fn reopened(&self, target: &Target, ended: Ended) -> Ended {
        match self.set_archived(target, false).await {
            Ok(()) => ended,
            Err(error) if error.kind == Kind::NotFound => ended,
            Err(error) => Ended {
                why: format!("{}; it is archived now ({error})", ended.why),
                ..ended
            },
        }
    }

    async fn remove_repository(
        &self,
        cx: &StepCx,
        target: &Target,
        there: &There,
    ) -> Result<Ended, StepError> {
        // Read-only first: nothing can be pushed between the last look and the deletion.
        if !there.archived {
            cx.record_fact(ARCHIVING, json!(there.id)).await?;
            match self.set_archived(target, true).await {
                Err(error) if error.kind == Kind::Denied => return Ok(blocked(target, &error)),
                other => other.map_err(|error| self.failed(target, error))?,
            }
        }
        if target.archive {
            return Ok(Ended::new("archived", "made read-only instead of deleted"));
        }
        match self.look(target).await? {
            Look::There(again) => {
                if let Some(kept) = self.kept(cx, target, &again).await? {
                    return Ok(kept);
                }
            }
            other => return Ok(absent(cx, &other)),
        }
        cx.record_fact(DELETING, json!(true)).await?;
        let name = target.repository();
        let deleted = match (&name, target.kind) {
            (Some(name), TargetKind::GithubRepository) => {
                self.0.github.delete_repository(name).await
            }
            (Some(name), _) => self.0.gitea.delete_repository(name).await,
            (None, _) => Ok(()),
        };
        match deleted {
            Err(error) if error.kind == Kind::Denied => {
                Ok(self.reopened(target, blocked(target, &error)).await)
            }
            deleted => match self.done(cx, target, deleted).await? {
                ended if ended.result == "blocked" => Ok(self.reopened(target, ended).await),
                ended => Ok(ended),
            },
        }
    }

    /// A 404 may come from something in front, or hide what a token may not do: only a look tells.
    async fn done(
        &self,
        cx: &StepCx,
        target: &Target,
        deleted: Result<(), Error>,
    ) -> Result<Ended, StepError> {
        match deleted {
            Ok(()) => Ok(Ended::new("deleted", "")),
            Err(error) if error.kind == Kind::Denied => Ok(blocked(target, &error)),
            Err(error) if error.kind == Kind::NotFound => match self.look(target).await? {
                Look::There(_) => Ok(blocked(target, &error)),
                other => Ok(absent(cx, &other)),
            },
            Err(error) => Err(self.failed(target, error)),
        }
    }

    async fn remove_mirror(&self, cx: &StepCx, target: &Target) -> Result<Ended, StepError> {
        cx.record_fact(DELETING, json!(true)).await?;
        let name = inside(target)?;
        let deleted = self.0.gitea.delete_push_mirror(&name, &target.name).await;
        self.done(cx, target, deleted).await
    }

    async fn remove_branch(&self, cx: &StepCx, target: &Target) -> Result<Ended, StepError> {
        cx.record_fact(DELETING, json!(true)).await?;
        let name = inside(target)?;
        let deleted = self.0.gitea.delete_branch(&name, &target.name).await;
        self.done(cx, target, deleted).await
    }

    async fn remove_namespace(&self, cx: &StepCx, target: &Target) -> Result<Ended, StepError> {
        let Some(cluster) = &self.0.kubernetes else {
            return Ok(Ended::new("gone", "no cluster is configured"));
        };
        let found = cluster.namespace(&target.name).await;
        let found = found.map_err(|error| self.failed(target, error))?;
        let Some(found) = found.filter(|found| found.uid == target.id) else {
            return match self.look(target).await? {
                Look::There(_) => {
                    let message = format!("namespace {} was there and is not", target.name);
                    Err(StepError {
                        retryable: true,
                        ..StepError::refused("kubernetes.not_found", message)
                    })
                }
                other => Ok(absent(cx, &other)),
            };
        };
        cx.record_fact(DELETING, json!(true)).await?;
        let patience = self.0.timings.namespace_patience;
        match cluster.delete_namespace(&found, patience).await {
            Ok(Deleted::Gone) => Ok(Ended::new("deleted", "")),
            Ok(Deleted::Terminating(why)) => {
                let command = format!("kubectl get namespace {} -o yaml", target.name);
                let why = format!("it is going away but not gone: {}", why.join("; "));
                Ok(Ended::new("failed", why).with(command))
            }
            Err(error) if error.kind == Kind::Conflict => {
                Ok(Ended::new("kept", "changed since the plan: version"))
            }
            // The refusal may have been of the deletion, or of a look at how far it is.
            Err(error) if error.kind == Kind::Denied => match self.look(target).await? {
                Look::There(there) if there.marks.is_empty() => {
                    let command = format!("kubectl get namespace {} -o yaml", target.name);
                    Ok(Ended::new("failed", "it is going away but not gone").with(command))
                }
                Look::There(_) => Ok(blocked(target, &error)),
                other => Ok(absent(cx, &other)),
            },
            Err(error) => Err(self.failed(target, error)),
        }
    }
}

fn inside(target: &Target) -> Result<FullName, StepError> {
    target.repository().ok_or_else(|| {
        let message = format!("`{}` is in no repository", target.artifact());
        StepError::refused("input.invalid", message)
    })
}

/// It is not there, or not under this name.
fn absent(cx: &StepCx, look: &Look) -> Ended {
    let ours = cx.fact(DELETING).is_some();
    match look {
        Look::Renamed => Ended::new("kept", "it was renamed or moved"),
        // Our own deletion was sent, and what has the name now came later.
        _ if ours => Ended::new("deleted", ""),
        Look::Another => Ended::new("kept", "another one has the name now"),
        Look::Gone | Look::There(_) => Ended::new("gone", "it was not there any more"),
    }
}

fn blocked(target: &Target, error: &Error) -> Ended {
    Ended::new("blocked", error.to_string()).with(unblocking(target))
}

/// The commands that grant the right and then remove the target.
pub(crate) fn unblocking(target: &Target) -> String {
    match target.kind {
        TargetKind::GithubRepository => format!(
            "gh auth refresh -h github.com -s delete_repo && {}",
            target.command()
        ),
        _ => target.command(),
    }
}

#[async_trait]
impl Step for Removal {
    async fn check(&self, _cx: &StepCx, _with: &Value) -> Result<Seen, StepError> {
        // Each attempt looks for itself, right before it acts.
        Ok(Seen::Absent)
    }

    async fn apply(&self, cx: &StepCx, with: &Value, _found: &Found) -> Result<Value, StepError> {
        let target = Target::of(with)?;
        let error = match self.remove(cx, &target).await {
            Ok(ended) => return Ok(ended.output()),
            Err(error) => error,
        };
        let tries = cx
            .fact("tries")
            .and_then(|tries| tries.as_u64())
            .unwrap_or(0)
            + 1;
        cx.record_fact("tries", json!(tries)).await?;
        if error.retryable && tries < TRIES {
            return Err(error);
        }
        if error.effect == Effect::Possible {
            // The names stay held until a late effect cannot come any more.
            cx.mark_ambiguous().await?;
        }
        let command = error.command.clone().unwrap_or_else(|| target.command());
        let mut ended = Ended::new("failed", error.message).with(command);
        if cx.fact(ARCHIVING).is_some() && !target.archive {
            ended = self.reopened(&target, ended).await;
        }
        Ok(ended.output())
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
        vec!["only a plan (`forgeline cleanup`, `forgeline delete`) makes such a step".into()]
    }

    fn timing(&self) -> Timing {
        // The slowest of the three, whichever the target is in.
        self.0.timings.github
    }
}
