//! The steps of a small project, by the rules that every real step follows: claim in the creation, journal before
//! acting, look before undoing, archive, look again, delete.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_step_engine::journal::Journal;
use forgeline_step_engine::{
    Effect, Field, Found, KindSpec, Registry, RunId, Seen, Step, StepCx, StepError, Timing, Undone,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::upstream::{Maker, Mutation, Part, RECHECK, SETTLE, Thing, Upstream};

/// A repository; beside it a namespace; in it a mirror, an issue, and its final description.
pub(crate) const WORKFLOW: &str = "
name: project
inputs:
  name: { type: string, default: shop }
  namespace: { type: string, default: space }
steps:
  - { id: repository, kind: model.repository, with: { name: '${{ inputs.name }}' }, retry: { attempts: 2, first_delay: 1ms, max_delay: 1ms } }
  - { id: namespace, kind: model.namespace, with: { name: '${{ inputs.namespace }}' }, retry: { attempts: 2, first_delay: 1ms, max_delay: 1ms } }
  - { id: mirror, kind: model.mirror, needs: [repository], with: { of: '${{ steps.repository }}' }, retry: { attempts: 2, first_delay: 1ms, max_delay: 1ms } }
  - { id: issue, kind: model.issue, needs: [repository, namespace], with: { of: '${{ steps.repository }}' }, retry: { attempts: 2, first_delay: 1ms, max_delay: 1ms } }
  - { id: describe, kind: model.describe, needs: [repository], with: { of: '${{ steps.repository }}' }, retry: { attempts: 2, first_delay: 1ms, max_delay: 1ms } }
";

/// What every step has: the forge, and the clock of the process.
#[derive(Clone)]
struct At {
    upstream: Upstream,
    journal: Arc<dyn Journal>,
}

impl At {
    fn now(&self) -> Timestamp {
        self.journal.now()
    }

    async fn look(&self, name: &str) -> Result<Option<Thing>, StepError> {
        self.upstream.look(self.now(), name).await
    }

    async fn send(&self, cx: &StepCx, name: &str, mutation: Mutation) -> Result<u64, StepError> {
        let clock = Arc::clone(&self.journal);
        let now = move || clock.now();
        self.upstream.send(now, &cx.run_id, name, mutation).await
    }
}

/// The kinds of this model, as one process knows them.
pub(crate) fn registry(upstream: &Upstream, journal: &Arc<dyn Journal>) -> Arc<Registry> {
    let at = At {
        upstream: upstream.clone(),
        journal: Arc::clone(journal),
    };
    let kind = |name: &'static str, with: &'static [Field]| KindSpec {
        name,
        description: "part of the model",
        with,
        outputs: &["name", "id"],
    };
    const NAMED: &[Field] = &[Field::required("name", "its name")];
    const IN: &[Field] = &[Field::required("of", "the repository's output")];
    let mut registry = Registry::new();
    let archives = [("model.repository", true), ("model.namespace", false)];
    for (name, archives) in archives {
        let step = Unique {
            at: at.clone(),
            archives,
        };
        registry.register(kind(name, NAMED), Arc::new(step));
    }
    let parts = [
        ("model.mirror", Which::Mirror),
        ("model.issue", Which::Issue),
    ];
    for (name, which) in parts {
        let step = Inside {
            at: at.clone(),
            which,
        };
        registry.register(kind(name, IN), Arc::new(step));
    }
    registry.register(kind("model.describe", IN), Arc::new(Describe(at)));
    Arc::new(registry)
}

const TIMING: Timing = Timing {
    settle: SETTLE,
    recheck: RECHECK,
};

fn name(with: &Value) -> &str {
    with["name"]
        .as_str()
        .or_else(|| with["of"]["name"].as_str())
        .unwrap()
}

/// A repository, or a namespace.
struct Unique {
    at: At,
    archives: bool,
}

impl Unique {
    fn is_ours(cx: &StepCx, thing: &Thing, output: Option<&Value>) -> bool {
        let receipt = output.is_some_and(|output| output["id"] == thing.id);
        receipt || (thing.claim.as_ref() == Some(&cx.run_id) && thing.made_at >= cx.intent_at)
    }

    fn foreign_work(cx: &StepCx, thing: &Thing) -> bool {
        let ours = |part: &Part| part.by == Maker::Run(cx.run_id.clone());
        !thing.issues.iter().chain(&thing.mirrors).all(ours)
    }

    async fn remove(&self, cx: &StepCx, name: &str, found: Thing) -> Result<Undone, StepError> {
        let kept = || Err(StepError::refused("kept", "others use it").effect(Effect::Left));
        if Self::foreign_work(cx, &found) || (found.archived && cx.fact("archiving").is_none()) {
            return kept();
        }
        if self.archives {
            if !found.archived {
                cx.record_fact("archiving", json!(found.id)).await?;
                self.at.send(cx, name, Mutation::Archive(true)).await?;
            }
            let again = self.at.look(name).await?;
            if again.is_some_and(|again| Self::foreign_work(cx, &again)) {
                self.at.send(cx, name, Mutation::Archive(false)).await?;
                return kept();
            }
        }
        let id = (!self.archives).then_some(found.id);
        match self.at.send(cx, name, Mutation::Delete { id }).await {
            Ok(_) => Ok(Undone::Removed),
            Err(error) if error.code == "gone" => Ok(Undone::NotThere),
            Err(error) if error.effect == Effect::None && self.archives => {
                let reopened = self.at.send(cx, name, Mutation::Archive(false)).await;
                let code = if reopened.is_ok() {
                    "kept"
                } else {
                    "still_archived"
                };
                Err(StepError {
                    code: code.into(),
                    ..error.effect(Effect::Left)
                })
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Step for Unique {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let Some(thing) = self.at.look(name(with)).await? else {
            return Ok(Seen::Absent);
        };
        let output = json!({"name": name(with), "id": thing.id});
        if Self::is_ours(cx, &thing, None) {
            return Ok(Seen::Ours(output));
        }
        let subject = match &thing.claim {
            Some(run) => cx.subject_of(run).await?,
            None => None,
        };
        if subject.as_ref() == Some(&cx.subject) {
            return Ok(Seen::Project(output));
        }
        Ok(Seen::Foreign {
            why: "somebody else's".into(),
            adoptable: thing.claim.is_none().then_some(output),
        })
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let name = name(with);
        if let Found::Ours(output) | Found::Project(output) | Found::Adopted(output) = found {
            if matches!(found, Found::Ours(_)) && cx.fact("archiving").is_some() {
                self.at.send(cx, name, Mutation::Archive(false)).await?;
            }
            return Ok(output.clone());
        }
        let id = self.at.send(cx, name, Mutation::Create).await?;
        Ok(json!({"name": name, "id": id}))
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        match self.at.look(name(with)).await? {
            Some(found) if Self::is_ours(cx, &found, output) => {
                self.remove(cx, name(with), found).await
            }
            _ => Ok(Undone::NotThere),
        }
    }

    fn resources(&self, with: &Value) -> Vec<String> {
        vec![format!("{}:{}", self.archives, name(with))]
    }

    fn timing(&self) -> Timing {
        TIMING
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Mirror,
    Issue,
}

/// A mirror or an issue: what may be there twice.
struct Inside {
    at: At,
    which: Which,
}

impl Inside {
    async fn all(&self, with: &Value) -> Result<Vec<Part>, StepError> {
        let thing = self.at.look(name(with)).await?;
        Ok(thing.map_or_else(Vec::new, |thing| match self.which {
            Which::Mirror => thing.mirrors,
            Which::Issue => thing.issues,
        }))
    }

    /// An issue says in its text who opened it, a mirror in its interval.
    fn is_ours(cx: &StepCx, part: &Part) -> bool {
        part.by == Maker::Run(cx.run_id.clone())
    }

    fn of_earlier(cx: &StepCx, part: &Part) -> bool {
        let mut earlier = cx.earlier.iter();
        earlier.any(|run| part.by == Maker::Run(run.run_id.clone()))
    }

    /// Whether the removal was answered; a read that finds nothing may lag.
    async fn remove(&self, cx: &StepCx, with: &Value, part: &Part) -> Result<bool, StepError> {
        let mutation = match self.which {
            Which::Mirror => Mutation::DeleteMirror(part.id),
            Which::Issue => {
                // Its words are read right before: numbers begin anew in a repository that was made again.
                let now = self.all(with).await?;
                if !now
                    .iter()
                    .any(|now| now.id == part.id && Self::is_ours(cx, now))
                {
                    return Ok(false);
                }
                Mutation::CloseIssue(part.id)
            }
        };
        match self.at.send(cx, name(with), mutation).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == "gone" => Ok(false),
            Err(error) => Err(error.effect_if_none(Effect::Left)),
        }
    }
}

/// What was refused while something was there leaves it.
trait OrLeft {
    fn effect_if_none(self, effect: Effect) -> Self;
}

impl OrLeft for StepError {
    fn effect_if_none(self, effect: Effect) -> Self {
        if self.effect == Effect::None {
            self.effect(effect)
        } else {
            self
        }
    }
}

#[async_trait]
impl Step for Inside {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let all = self.all(with).await?;
        let output = |part: &Part| json!({"name": name(with), "id": part.id});
        if let Some(ours) = all.iter().find(|part| Self::is_ours(cx, part)) {
            return Ok(Seen::Ours(output(ours)));
        }
        if let Some(known) = all.iter().find(|part| Self::of_earlier(cx, part)) {
            return Ok(Seen::Project(output(known)));
        }
        let other = all.first().filter(|_| self.which == Which::Mirror);
        Ok(other.map_or(Seen::Absent, |mirror| Seen::Adopted(output(mirror))))
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        match found {
            Found::Project(output) | Found::Adopted(output) => return Ok(output.clone()),
            Found::Ours(output) => {
                self.recheck(cx, with, Some(output)).await?;
                return Ok(output.clone());
            }
            Found::NotLooked | Found::Absent => {}
        }
        let mutation = match self.which {
            Which::Issue => Mutation::OpenIssue,
            Which::Mirror => {
                if with["of"]["origin"] != "created" && cx.fact("listed").is_none() {
                    let listed: Vec<u64> =
                        self.all(with).await?.iter().map(|part| part.id).collect();
                    cx.record_fact("listed", json!(listed)).await?;
                }
                Mutation::AddMirror
            }
        };
        let id = self.at.send(cx, name(with), mutation).await?;
        if self.which == Which::Mirror {
            cx.record_fact("added", json!(id)).await?;
        }
        Ok(json!({"name": name(with), "id": id}))
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        _: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let all = self.all(with).await?;
        let ours: Vec<&Part> = all.iter().filter(|part| Self::is_ours(cx, part)).collect();
        let mut removed = !ours.is_empty();
        for part in &ours {
            removed &= self.remove(cx, with, part).await?;
        }
        Ok(if removed {
            Undone::Removed
        } else {
            Undone::NotThere
        })
    }

    async fn recheck(
        &self,
        cx: &StepCx,
        with: &Value,
        recorded: Option<&Value>,
    ) -> Result<(), StepError> {
        let Some(recorded) = recorded else {
            return self.compensate(cx, with, None).await.map(drop);
        };
        let Some(kept) = recorded["id"].as_u64() else {
            return Ok(());
        };
        for part in self.all(with).await? {
            if part.id != kept && Self::is_ours(cx, &part) {
                let removed = self.remove(cx, with, &part).await?;
                if !removed {
                    return Err(StepError::refused(
                        "unread",
                        "it was listed and is not found",
                    ));
                }
            }
        }
        Ok(())
    }

    fn creates_first(&self, with: &Value) -> bool {
        with["of"]["origin"] == "created"
    }

    fn timing(&self) -> Timing {
        TIMING
    }
}

/// The final description: an effect on a repository that goes with it.
struct Describe(At);

#[async_trait]
impl Step for Describe {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let thing = self.0.look(name(with)).await?;
        let described = thing.and_then(|thing| thing.description);
        let output = json!({"name": name(with), "id": with["of"]["id"]});
        let of_earlier = |run: &RunId| cx.earlier.iter().any(|earlier| earlier.run_id == *run);
        Ok(match described {
            Some(run) if run == cx.run_id => Seen::Ours(output),
            Some(run) if of_earlier(&run) => Seen::Project(output),
            _ => Seen::Absent,
        })
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let output = json!({"name": name(with), "id": with["of"]["id"]});
        if matches!(found, Found::NotLooked | Found::Absent) && with["of"]["origin"] != "adopted" {
            self.0.send(cx, name(with), Mutation::Describe).await?;
        }
        Ok(output)
    }

    async fn compensate(
        &self,
        _: &StepCx,
        _: &Value,
        _: Option<&Value>,
    ) -> Result<Undone, StepError> {
        Ok(Undone::Removed)
    }

    fn timing(&self) -> Timing {
        TIMING
    }
}
