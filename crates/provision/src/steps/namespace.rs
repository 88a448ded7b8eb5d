//! `infra.namespace`: the project's namespace with limits, a quota and a network policy that denies by default.
//!
//! Ours by run id and project in labels and annotations of the POST itself, then by its uid in the journal. Undoing
//! deletes exactly that uid, and only while nothing else stands in it; a kind that cannot be listed counts as present.
//! What an adopted namespace holds is left untouched. A bare one is made for GitOps to fill.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_kubernetes::manifest::{self, Claim, Policy};
use forgeline_kubernetes::{Deleted, Kubernetes, Namespace};
use forgeline_step_engine::{
    Effect, Field, Found, KindSpec, Origin, Seen, Step, StepCx, StepError, Timing, Undone,
};
use forgeline_upstream::{Error, Kind};
use serde_json::{Value, json};

use super::with::{kept, text, with_command};
use crate::ownership::{ends_at, not_before_intent};
use crate::refusal::{Need, of_create, of_read, of_write};
use crate::upstreams::Upstreams;

pub(super) const KIND: KindSpec = KindSpec {
    name: "infra.namespace",
    description: "The project's Kubernetes namespace with limits, quota and network policy.",
    with: &[
        Field::required("name", "the namespace's name"),
        Field::optional(
            "policy",
            "quota, limits and the like; see [infra] in the configuration file",
        ),
        Field::optional("ttl", "of a throwaway: how long it lasts, for example 24h"),
        Field::optional(
            "bare",
            "true: only the namespace, for GitOps to fill; false by default",
        ),
    ],
    outputs: &["mode", "name", "uid", "objects"],
};

/// The infra namespace.
pub(super) struct InfraNamespace(pub(super) Arc<Upstreams>);

/// What stands in the namespace, as the step asks for it.
fn contents(with: &Value, claim: &Claim<'_>) -> Result<Vec<Value>, StepError> {
    if with["bare"] == true {
        return Ok(Vec::new());
    }
    Ok(manifest::contents(claim, &policy(with)?))
}

fn policy(with: &Value) -> Result<Policy, StepError> {
    Policy::read(&with["policy"]).map_err(|why| {
        StepError::refused("input.invalid", format!("the namespace's policy: {why}"))
    })
}

impl InfraNamespace {
    fn cluster(&self) -> Result<&Kubernetes, StepError> {
        self.0.kubernetes.as_ref().ok_or_else(|| {
            StepError::refused("address.absent", "no cluster is configured")
                .remedy("set KUBE_API_URL and KUBE_TOKEN, or KUBECONFIG")
        })
    }

    fn failed(&self, error: Error, map: fn(Error, &Need<'_>) -> StepError) -> StepError {
        let cluster = self.0.kubernetes.as_ref();
        let credential = cluster.map(Kubernetes::credential).unwrap_or_default();
        let need = Need {
            credential,
            right: "the RBAC verbs create, get, delete on namespaces and get, list, create, patch on what stands in them (for a RoleBinding also bind on its role)",
            fix: "grant them to the service account behind KUBE_TOKEN (or KUBECONFIG) with a ClusterRole and a ClusterRoleBinding",
        };
        map(error, &need)
    }

    async fn find(&self, name: &str) -> Result<Option<Namespace>, StepError> {
        self.cluster()?
            .namespace(name)
            .await
            .map_err(|error| self.failed(error, of_read))
    }

    async fn apply_contents(
        &self,
        objects: &[Value],
        namespace: &str,
        missing_only: bool,
    ) -> Result<(), StepError> {
        let cluster = self.cluster()?;
        let applied = futures::future::join_all(objects.iter().map(|object| async move {
            if missing_only && self.stands(namespace, object).await? {
                return Ok(());
            }
            // The namespace is there already, whatever becomes of this object.
            cluster
                .apply(namespace, object)
                .await
                .map_err(|error| left(self.failed(error, of_write)))
        }));
        let mut errors: Vec<StepError> =
            applied.await.into_iter().filter_map(Result::err).collect();
        // The one that may have acted wins.
        errors.sort_by_key(|error| error.effect != Effect::Possible);
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    async fn stands(&self, namespace: &str, object: &Value) -> Result<bool, StepError> {
        let found = self
            .cluster()?
            .object(namespace, object)
            .await
            .map_err(|error| self.failed(error, of_read))?;
        Ok(found.is_some_and(|found| stands_as(&found, object)))
    }

    async fn undo(
        &self,
        cx: &StepCx,
        name: &str,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let found = self
            .find(name)
            .await?
            .filter(|found| Self::is_ours(cx, found, output));
        let Some(found) = found else {
            return Ok(Undone::NotThere);
        };
        let command = format!("kubectl delete namespace {name}");
        if !found.terminating {
            let foreign = self
                .cluster()?
                .foreign_objects(name, cx.run_id.as_str())
                .await;
            let foreign = foreign.map_err(|error| self.failed(error, of_read))?;
            if let Some(first) = foreign.first() {
                let why = format!("it holds {} ({} in all)", first.what, foreign.len());
                return Err(kept(&format!("namespace {name}"), &why, command));
            }
        }
        let terminating = found.terminating;
        let deleting = async {
            match self
                .cluster()?
                .delete_namespace(&found, self.0.timings.namespace_patience)
                .await
            {
                Ok(Deleted::Gone) => Ok(Undone::Removed),
                Ok(Deleted::Terminating(why)) => {
                    let why = if why.is_empty() {
                        "the cluster does not say why".to_owned()
                    } else {
                        why.join("; ")
                    };
                    let message = format!("namespace {name} is going away but not gone: {why}");
                    Err(StepError::refused("kubernetes.terminating", message)
                        .remedy("find what holds it (its status.conditions), then retry the undo")
                        .command(format!("kubectl get namespace {name} -o yaml")))
                }
                Err(error) => {
                    // It changed between our look and the deletion, or only the answer said that it is gone: look again.
                    let changed = matches!(error.kind, Kind::Conflict | Kind::NotFound);
                    let failed = self.failed(error, of_write).command(command);
                    Err(StepError {
                        retryable: failed.retryable || changed,
                        ..failed
                    })
                }
            }
        };
        if terminating {
            return deleting.await;
        }
        self.0.audited(cx, &format!("ns:{name}"), deleting).await
    }

    fn is_ours(cx: &StepCx, found: &Namespace, output: Option<&Value>) -> bool {
        if let Some(uid) = output.and_then(|output| output["uid"].as_str()) {
            return uid == found.uid;
        }
        found.run_id.as_deref() == Some(cx.run_id.as_str())
            && not_before_intent(cx, found.created_at)
    }

    async fn seen(&self, cx: &StepCx, with: &Value, found: &Namespace) -> Result<Seen, StepError> {
        let output = output(with, found)?;
        if Self::is_ours(cx, found, None) {
            return Ok(Seen::Ours(output));
        }
        let receipt = cx.earlier.iter().find_map(|run| {
            let (origin, output) = run.done.get(&cx.step)?;
            (output["uid"] == found.uid.as_str()).then_some(*origin)
        });
        match receipt {
            Some(Origin::Adopted) => return Ok(Seen::Adopted(output)),
            Some(Origin::Created | Origin::Existing) => return Ok(Seen::Project(output)),
            None => {}
        }
        let name = &found.name;
        let run = found.run_id.as_deref().and_then(|run| run.parse().ok());
        let Some(run) = run else {
            let why = format!("namespace {name} exists and was not made by forgeline");
            return Ok(Seen::Foreign {
                why,
                adoptable: Some(output),
            });
        };
        Ok(match cx.subject_of(&run).await? {
            Some(subject) if subject == cx.subject => Seen::Project(output),
            Some(subject) => Seen::Foreign {
                why: format!("namespace {name} belongs to the project `{subject}`"),
                adoptable: Some(output),
            },
            None => Seen::Foreign {
                why: format!(
                    "namespace {name} was made by run {run}, which this journal does not know: another instance is at work"
                ),
                adoptable: None,
            },
        })
    }
}

/// The namespace was made: something of this step is there.
fn left(error: StepError) -> StepError {
    match error.effect {
        Effect::Possible => error,
        Effect::None | Effect::Taken | Effect::Left => error.effect(Effect::Left),
    }
}

/// Whether every field of `wanted` stands in `found` with the same value.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|found| contains(found, value))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| contains(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

/// Whether an object stands as a manifest has it, metadata aside.
fn stands_as(found: &Value, manifest: &Value) -> bool {
    let parts = manifest.as_object().into_iter().flatten();
    parts
        .filter(|(name, _)| *name != "metadata")
        .all(|(name, wanted)| contains(&found[name.as_str()], wanted))
}

fn output(with: &Value, found: &Namespace) -> Result<Value, StepError> {
    let claim = Claim {
        run_id: "",
        project: "",
    };
    let objects: Vec<String> = contents(with, &claim)?
        .iter()
        .map(manifest::title)
        .collect();
    Ok(
        json!({"mode": "kubernetes", "name": found.name, "uid": found.uid, "objects": objects, "run_id": found.run_id}),
    )
}

#[async_trait]
impl Step for InfraNamespace {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let Some(found) = self.find(text(with, "name")).await? else {
            return Ok(Seen::Absent);
        };
        if found.terminating {
            let message = format!("namespace {} is still going away", found.name);
            let error = StepError::refused("kubernetes.terminating", message)
                .remedy("wait until it is gone, then call again");
            return Err(StepError {
                retryable: true,
                ..error
            });
        }
        self.seen(cx, with, &found).await
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let name = text(with, "name");
        let claim = Claim {
            run_id: cx.run_id.as_str(),
            project: &cx.subject,
        };
        match found {
            // Nothing of ours stands in it.
            Found::Adopted(output) => Ok(
                json!({"mode": "kubernetes", "name": output["name"], "uid": output["uid"], "objects": []}),
            ),
            Found::Ours(output) => {
                self.apply_contents(&contents(with, &claim)?, name, false)
                    .await?;
                Ok(output.clone())
            }
            Found::Project(output) => {
                // What stands there keeps the label of the run that made it.
                let run_id = output["run_id"].as_str().unwrap_or(cx.run_id.as_str());
                let objects = contents(with, &Claim { run_id, ..claim })?;
                self.apply_contents(&objects, name, true).await?;
                Ok(output.clone())
            }
            Found::NotLooked | Found::Absent => {
                let (objects, policy) = (contents(with, &claim)?, policy(with)?);
                let mut manifest = if with["bare"] == true {
                    manifest::unpruned_namespace(&claim, &policy, name)
                } else {
                    manifest::namespace(&claim, &policy, name)
                };
                if let Some(at) = ends_at(&cx.run_id, &with["ttl"]) {
                    manifest["metadata"]["annotations"][manifest::EXPIRES_AT] =
                        json!(format!("{at:.0}"));
                }
                let made = self.cluster()?.create_namespace(&manifest).await;
                let made = made.map_err(|error| self.failed(error, of_create))?;
                self.apply_contents(&objects, name, false).await?;
                output(with, &made)
            }
        }
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let name = text(with, "name");
        let undone = self.undo(cx, name, output).await;
        undone.map_err(|error| with_command(error, format!("kubectl delete namespace {name}")))
    }

    async fn changes(
        &self,
        cx: &StepCx,
        with: &Value,
        _found: &Value,
    ) -> Result<Vec<String>, StepError> {
        let claim = Claim {
            run_id: cx.run_id.as_str(),
            project: &cx.subject,
        };
        let mut changes = Vec::new();
        for object in contents(with, &claim)? {
            if !self.stands(text(with, "name"), &object).await? {
                changes.push(format!("apply {}", manifest::title(&object)));
            }
        }
        Ok(changes)
    }

    fn requests(&self, with: &Value) -> Vec<(&'static str, u32)> {
        let claim = Claim {
            run_id: "",
            project: "",
        };
        let objects = contents(with, &claim).map_or(0, |objects| objects.len());
        vec![("kubernetes", 1 + u32::try_from(objects).unwrap_or(0))]
    }

    fn resources(&self, with: &Value) -> Vec<String> {
        vec![format!("ns:{}", text(with, "name"))]
    }

    fn timing(&self) -> Timing {
        self.0.timings.kubernetes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_may_hold_more_than_we_want_but_not_less() {
        let wanted = json!({"hard": {"pods": "20"}});
        assert!(contains(
            &json!({"hard": {"pods": "20", "secrets": "9"}, "x": 1}),
            &wanted
        ));
        assert!(!contains(&json!({"hard": {"pods": "21"}}), &wanted));
    }
}
