//! A world of named things, a step that makes one, and faults to order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forgeline_step_engine::journal::{Admission, Journal, RunOptions};
use forgeline_step_engine::{
    Effect, Engine, Field, Found, KindSpec, Registry, Request, RunId, Seen, Step, StepCx,
    StepError, Timing, Undone, Workflow,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

pub(crate) const THING: KindSpec = KindSpec {
    name: "thing.make",
    description: "A thing in the world.",
    with: &[
        Field::required("name", "its name"),
        Field::optional("after", "what it follows"),
    ],
    outputs: &["name"],
};

/// What goes wrong with one call of `apply` for a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Refused without effect, for good.
    Refused,
    /// Refused without effect, once.
    Busy,
    /// The effect happens and the answer is lost.
    LostAfter,
    /// No effect, and the answer is lost.
    LostBefore,
}

/// Things by name: the run that made each, or `None` for somebody else's.
#[derive(Default)]
pub(crate) struct Things {
    pub(crate) made: BTreeMap<String, Option<RunId>>,
    pub(crate) troubles: BTreeMap<String, Vec<Trouble>>,
    pub(crate) fired: usize,
    pub(crate) applied: usize,
    /// The thing whose making waits.
    held: Option<(String, Held)>,
}

/// Holds a step where its request is under way.
#[derive(Clone, Default)]
pub(crate) struct Held {
    reached: Arc<Notify>,
    go: Arc<Notify>,
}

impl Held {
    /// Waits until the step is there.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    pub(crate) fn let_go(&self) {
        self.go.notify_one();
    }
}

#[derive(Clone)]
pub(crate) struct World {
    things: Arc<Mutex<Things>>,
    /// When the last look is due after an ambiguous request.
    recheck: Duration,
}

impl Default for World {
    fn default() -> Self {
        Self {
            things: Arc::default(),
            recheck: Duration::from_millis(4),
        }
    }
}

impl World {
    /// A world whose last looks are due this much later.
    pub(crate) fn with_recheck(recheck: Duration) -> Self {
        Self {
            recheck,
            ..Self::default()
        }
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Things) -> T) -> T {
        act(&mut self.things.lock().unwrap())
    }

    pub(crate) fn trouble(&self, name: &str, trouble: Trouble) {
        self.with(|things| {
            things
                .troubles
                .entry(name.to_owned())
                .or_default()
                .push(trouble)
        });
    }

    /// Lets the making of a thing wait, with its request under way.
    pub(crate) fn hold(&self, name: &str) -> Held {
        let held = Held::default();
        self.with(|things| things.held = Some((name.to_owned(), held.clone())));
        held
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.with(|things| things.made.keys().cloned().collect())
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        let mut registry = Registry::new();
        registry.register(THING, Arc::new(Make(self.clone())));
        Arc::new(registry)
    }

    pub(crate) fn engine(&self, journal: Arc<dyn Journal>) -> Engine {
        Engine::new(journal, self.registry())
    }
}

struct Make(World);

fn name(with: &Value) -> String {
    with["name"].as_str().unwrap().to_owned()
}

#[async_trait]
impl Step for Make {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let name = name(with);
        let output = json!({"name": name});
        match self.0.with(|things| things.made.get(&name).cloned()) {
            None => Ok(Seen::Absent),
            Some(Some(run)) if run == cx.run_id => Ok(Seen::Ours(output)),
            Some(Some(run)) if cx.subject_of(&run).await?.as_ref() == Some(&cx.subject) => {
                Ok(Seen::Project(output))
            }
            Some(_) => Ok(Seen::Foreign {
                why: format!("{name} is somebody else's"),
                adoptable: Some(output),
            }),
        }
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let name = name(with);
        if let Found::Ours(output) | Found::Project(output) | Found::Adopted(output) = found {
            return Ok(output.clone());
        }
        let held = self.0.with(|things| things.held.clone());
        if let Some((_, held)) = held.filter(|(held, _)| *held == name) {
            held.reached.notify_one();
            held.go.notified().await;
        }
        self.0.with(|things| {
            things.applied += 1;
            let trouble = things.troubles.get_mut(&name).and_then(Vec::pop);
            things.fired += usize::from(trouble.is_some());
            match trouble {
                Some(Trouble::Refused) => return Err(StepError::refused("thing.refused", "no")),
                Some(Trouble::Busy) => {
                    return Err(StepError {
                        retryable: true,
                        ..StepError::refused("thing.busy", "later")
                    });
                }
                Some(Trouble::LostBefore) => {
                    return Err(StepError::unknown("thing.lost", "no answer"));
                }
                Some(Trouble::LostAfter) | None => {}
            }
            if things.made.contains_key(&name) {
                return Err(StepError::refused("thing.taken", "taken").effect(Effect::Taken));
            }
            things.made.insert(name.clone(), Some(cx.run_id.clone()));
            match trouble {
                Some(_) => Err(StepError::unknown("thing.lost", "no answer")),
                None => Ok(json!({"name": name})),
            }
        })
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        _: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let name = name(with);
        self.0.with(|things| match things.made.get(&name) {
            Some(Some(run)) if *run == cx.run_id => {
                things.made.remove(&name);
                Ok(Undone::Removed)
            }
            _ => Ok(Undone::NotThere),
        })
    }

    fn resources(&self, with: &Value) -> Vec<String> {
        vec![format!("thing:{}", name(with))]
    }

    fn timing(&self) -> Timing {
        Timing {
            settle: SETTLE,
            recheck: self.0.recheck,
        }
    }
}

/// A diamond and a tail: a; b and c need a; d needs b and c; e needs nothing.
pub(crate) const WORKFLOW: &str = "
name: things
description: five things
inputs:
  colour: { type: string, default: red }
steps:
  - { id: a, kind: thing.make, with: { name: a }, retry: { attempts: 3, first_delay: 1ms, max_delay: 2ms } }
  - { id: b, kind: thing.make, needs: [a], with: { name: b, after: '${{ steps.a.name }}' }, retry: { attempts: 3, first_delay: 1ms, max_delay: 2ms } }
  - { id: c, kind: thing.make, needs: [a], with: { name: c }, retry: { attempts: 3, first_delay: 1ms, max_delay: 2ms } }
  - { id: d, kind: thing.make, needs: [b, c], with: { name: d }, retry: { attempts: 3, first_delay: 1ms, max_delay: 2ms } }
  - { id: e, kind: thing.make, with: { name: e }, retry: { attempts: 3, first_delay: 1ms, max_delay: 2ms } }
outputs: { last: '${{ steps.d.name }}' }
";

/// How long a look may lag in this world.
pub(crate) const SETTLE: Duration = Duration::from_millis(2);

pub(crate) const STEPS: [&str; 5] = ["a", "b", "c", "d", "e"];

pub(crate) fn request(world: &World, subject: &str) -> Request {
    Request {
        workflow: Workflow::parse("things.yaml", WORKFLOW, &world.registry()).unwrap(),
        inputs: serde_json::Map::new(),
        settings: json!({}),
        subject: subject.into(),
        options: RunOptions::default(),
        caller: "test".into(),
    }
}

/// Starts a run and waits until nothing drives it.
pub(crate) async fn run(engine: &Engine, request: Request) -> RunId {
    match engine.start(request).await.unwrap() {
        Admission::Fresh(row) | Admission::Joined(row) | Admission::Answered(row) => {
            engine.wait(&row.run_id, None).await;
            row.run_id
        }
        other => panic!("not admitted: {other:?}"),
    }
}
