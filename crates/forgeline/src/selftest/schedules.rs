//! The list of what is tried: generated from what a run without trouble was seen to do.

use std::collections::BTreeSet;
use std::sync::Arc;

use forgeline_step_engine::fault::CrashPoint;

use super::Effort;
use super::others::deeds;
use super::play::{Ground, Played, Rehearsal, play, rehearse};
use super::scene::Scene;
use super::trouble::{Asked, Trouble, columns};

/// A scene with what its runs were seen to do.
pub(super) struct Stage {
    pub(super) scene: Scene,
    /// A run that succeeds.
    pub(super) forward: Rehearsal,
    /// A run that fails at this step, and is undone.
    pub(super) failing: String,
    pub(super) backward: Rehearsal,
}

/// A trouble in a scene.
#[derive(Clone)]
pub(super) struct Schedule {
    pub(super) stage: Arc<Stage>,
    pub(super) trouble: Trouble,
    pub(super) ground: Ground,
}

impl Stage {
    pub(super) async fn rehearse(scene: Scene) -> Result<Self, String> {
        let forward = rehearse(&scene, Ground::Light, None).await?;
        let failing = last_step(&scene);
        let backward = rehearse(&scene, Ground::Light, Some(failing.clone())).await?;
        Ok(Self {
            scene,
            forward,
            failing,
            backward,
        })
    }

    /// Only what must be given is given, all of it as texts.
    pub(super) fn is_plain(&self) -> bool {
        self.scene.inputs.values().all(serde_json::Value::is_string)
    }

    /// The requests that only an undone run makes.
    fn undoing(&self) -> Vec<&Asked> {
        let all = self.backward.asked.iter();
        all.filter(|asked| !self.forward.asked.contains(asked))
            .collect()
    }
}

impl Schedule {
    /// For people: what is run, where, and what goes wrong.
    pub(super) fn name(&self) -> String {
        let scene = &self.stage.scene.name;
        format!("{scene}, {:?}: {}", self.ground, self.trouble.name())
    }

    /// With the journal on disk and repositories of real git.
    pub(super) fn is_on_disk(&self) -> bool {
        self.ground == Ground::Real
    }

    pub(super) async fn play(self) -> (Self, Played) {
        let baseline = &self.stage.forward.baseline;
        let played = play(&self.stage.scene, &self.trouble, baseline, self.ground).await;
        (self, played)
    }
}

/// The step behind most others: when it fails, most has been made.
fn last_step(scene: &Scene) -> String {
    let steps = &scene.workflow.steps;
    let depth = |step: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![step.to_owned()]);
        while let Some(id) = open.pop() {
            if let Some(spec) = scene.workflow.step(&id).filter(|_| seen.insert(id.clone())) {
                open.extend(spec.needs.iter().cloned());
            }
        }
        seen.len()
    };
    let deepest = steps.iter().max_by_key(|step| depth(&step.id));
    deepest.map(|step| step.id.clone()).unwrap_or_default()
}

/// What is tried. Without `full`: the whole matrix of the first scene, and a sample of everything else; with `only`:
/// whatever bears that text.
pub(super) fn of(stages: &[Arc<Stage>], effort: &Effort) -> Vec<Schedule> {
    let mut chosen = Vec::new();
    let mut others = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let light = |trouble| Schedule {
            stage: Arc::clone(stage),
            trouble,
            ground: Ground::Light,
        };
        let matrix = matrix(stage).into_iter().map(light);
        let whole = effort.full || effort.only.is_some();
        if whole || index == 0 {
            chosen.extend(matrix);
        } else {
            others.extend(matrix);
        }
        let all = rest(stage, whole && index == 0).into_iter();
        let real = |trouble| Schedule {
            ground: Ground::Real,
            ..light(trouble)
        };
        if whole {
            chosen.extend(all.map(light));
            chosen.extend(crashes(stage).into_iter().map(real));
        } else {
            others.extend(all.map(light));
            others.extend(crashes(stage).into_iter().map(real));
        }
    }
    if let Some(text) = &effort.only {
        chosen.retain(|schedule| schedule.name().contains(text.as_str()));
    }
    let mut random = fastrand::Rng::with_seed(effort.seed);
    random.shuffle(&mut others);
    chosen.extend(others.into_iter().take(SAMPLE));
    chosen
}

/// How many schedules of everything but the first matrix are in a sample.
const SAMPLE: usize = 240;

/// Every fault at every request of a run, on its way forward and while it is undone.
fn matrix(stage: &Stage) -> Vec<Trouble> {
    let forward = stage.forward.asked.iter().map(|asked| (asked, None));
    let undoing = stage.undoing().into_iter();
    let undoing = undoing.map(|asked| (asked, Some(stage.failing.clone())));
    let mut cells = Vec::new();
    for (asked, failing) in forward.chain(undoing) {
        for column in columns().into_iter().filter(|column| column.fits(asked)) {
            cells.push(Trouble::Fault {
                asked: asked.clone(),
                column,
                failing: failing.clone(),
            });
        }
    }
    cells.extend(deeds_among(stage));
    cells
}

/// Every deed of somebody else before every request that it may concern, in runs that succeed and that are undone.
fn deeds_among(stage: &Stage) -> Vec<Trouble> {
    let mut cells = Vec::new();
    let fails = || Some(stage.failing.clone());
    let forward = stage.forward.asked.iter();
    let forward = forward.flat_map(|asked| [(asked, None, false), (asked, fails(), false)]);
    let undoing = stage.undoing().into_iter();
    let undoing = undoing.map(|asked| (asked, fails(), true));
    for (asked, failing, undoing) in forward.chain(undoing) {
        let here = deeds().into_iter().filter(|deed| deed.fits(asked, undoing));
        cells.extend(here.map(|deed| Trouble::Meanwhile {
            asked: asked.clone(),
            deed,
            failing: failing.clone(),
        }));
    }
    cells
}

/// Crashes at every record of a run that succeeds and of one that is undone.
fn crashes(stage: &Stage) -> Vec<Trouble> {
    let mut all = Vec::new();
    let runs = [
        (&stage.forward, None),
        (&stage.backward, Some(stage.failing.clone())),
    ];
    for (rehearsal, failing) in runs {
        for nth in 1..=rehearsal.records {
            for point in [CrashPoint::BeforeCommit, CrashPoint::AfterCommit] {
                all.push(Trouble::Crash {
                    at: (nth, point),
                    again: None,
                    failing: failing.clone(),
                });
            }
        }
    }
    all
}

/// Everything else. `pairs`: the successor of a crashed process crashes too, at every record of its own.
fn rest(stage: &Stage, pairs: bool) -> Vec<Trouble> {
    let mut all = crashes(stage);
    if pairs {
        let first = crashes(stage);
        for trouble in first {
            let Trouble::Crash { at, failing, .. } = trouble else {
                continue;
            };
            all.extend((1..=stage.backward.records).map(|again| Trouble::Crash {
                at,
                again: Some(again),
                failing: failing.clone(),
            }));
        }
    }
    for step in &stage.scene.workflow.steps {
        for after in [false, true] {
            all.push(Trouble::Failing {
                step: step.id.clone(),
                after,
            });
        }
        all.push(Trouble::Twice {
            failing: Some(step.id.clone()),
        });
    }
    all.push(Trouble::Twice { failing: None });
    for after in [false, true] {
        let forward = stage.forward.asked.iter().map(|asked| (asked, None));
        let undoing = stage.undoing().into_iter();
        let undoing = undoing.map(|asked| (asked, Some(stage.failing.clone())));
        all.extend(
            forward
                .chain(undoing)
                .map(|(asked, failing)| Trouble::Gone {
                    asked: asked.clone(),
                    after,
                    failing,
                }),
        );
    }
    all
}
