//! Many projects at once and many calls for one, with a fault now and then: no duplicate, no lost run.

use std::sync::Arc;

use forgeline_sandbox::{Fault, FaultOrder};
use forgeline_step_engine::RunId;
use forgeline_step_engine::journal::memory::MemoryJournal;
use futures::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};

use super::oracle::{Baseline, judge, only_of};
use super::schedules::Stage;
use super::world::{Process, Times, World};

/// What many projects at once came to.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Load {
    /// Projects that were asked for at once.
    pub(crate) projects: usize,
    /// Calls at once for each of some of them.
    pub(crate) calls_for_one: usize,
    /// Faults among their requests.
    pub(crate) faults_fired: usize,
    /// How they ended: `S`, `C` or `L`.
    pub(crate) outcomes: std::collections::BTreeMap<String, usize>,
    /// From the first call to the last end, in milliseconds.
    pub(crate) milliseconds: u128,
    /// The most memory that this process has held so far, in MiB. `None`: this system does not say.
    pub(crate) peak_rss_mib: Option<u64>,
}

/// Calls for one project at once.
const CALLS: usize = 50;

/// Runs the stage's workflow for so many projects at once; the errors are broken promises.
pub(super) async fn run(
    stage: &Stage,
    projects: usize,
    seed: u64,
) -> Result<(Load, Vec<String>), String> {
    let world = World::new(&stage.scene, Times::QUICK, false).await?;
    for order in faults(stage, projects, seed) {
        world.sandbox.order(order);
    }
    let process = world.process(Arc::new(MemoryJournal::new()), None).await?;
    let began = std::time::Instant::now();
    let names: Vec<String> = (0..projects)
        .map(|number| format!("load-{number:03}"))
        .collect();
    let mut calls: Vec<&String> = names.iter().collect();
    // The first one is asked for by many.
    calls.extend(std::iter::repeat_n(&names[0], CALLS - 1));
    let started = join_all(calls.iter().map(|name| start(&world, &process, name))).await;
    let mut violations = Vec::new();
    let mut runs: Vec<(&String, RunId)> = Vec::new();
    for (name, run) in calls.into_iter().zip(started) {
        match (run, runs.iter().find(|(known, _)| *known == name)) {
            (Err(why), _) => violations.push(format!("{name}: {why}")),
            (Ok(run), Some((_, first))) if run != *first => {
                violations.push(format!("{name}: two runs at once, {first} and {run}"));
            }
            (Ok(_), Some(_)) => {}
            (Ok(run), None) => runs.push((name, run)),
        }
    }
    for (_, run) in &runs {
        process.engine().wait(run, None).await;
    }
    process.quiet().await?;
    let mut load = Load {
        projects,
        calls_for_one: CALLS,
        milliseconds: began.elapsed().as_millis(),
        faults_fired: fired(&world),
        peak_rss_mib: peak(),
        ..Load::default()
    };
    let all: Vec<RunId> = runs.iter().map(|(_, run)| run.clone()).collect();
    let store = world.store(&all).await;
    let of = |baseline: &Value| only_of(baseline, super::scene::PROJECT);
    let baseline = Baseline {
        before: of(&stage.forward.baseline.before),
        done: of(&stage.forward.baseline.done),
    };
    for (name, run) in &runs {
        let view = process.view(run).await;
        match judge(&view, &only_of(&store, name), &baseline) {
            Ok(outcome) => *load.outcomes.entry(outcome.sign().to_string()).or_default() += 1,
            Err(why) => violations.push(format!("{name}: {why}")),
        }
    }
    if runs.len() != projects {
        violations.push(format!(
            "{projects} projects were asked for, {} runs are there",
            runs.len()
        ));
    }
    Ok((load, violations))
}

async fn start(world: &World, process: &Process, name: &str) -> Result<RunId, String> {
    let mut request = world.request(process);
    request.subject = name.to_owned();
    request.inputs.insert("name".into(), json!(name));
    let admission = process.engine().start(request).await;
    let admission = admission.map_err(|error| error.to_string())?;
    let led_to = admission.led_to().cloned();
    led_to.ok_or_else(|| format!("was not admitted: {admission:?}"))
}

/// About one request of a hundred, of every kind.
fn faults(stage: &Stage, projects: usize, seed: u64) -> Vec<FaultOrder> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut orders = Vec::new();
    for asked in &stage.forward.asked {
        for _ in 0..projects.div_ceil(66) {
            let fault = match random.u8(..4) {
                0 => Fault::LostBefore,
                1 => Fault::LostAfter,
                2 => Fault::StatusAfter { status: 502 },
                _ => Fault::StatusBefore {
                    status: 503,
                    headers: std::collections::BTreeMap::new(),
                    body: String::new(),
                },
            };
            orders.push(FaultOrder {
                system: asked.system.clone(),
                operation: asked.operation.clone(),
                nth: random.usize(1..=projects),
                fault,
            });
        }
    }
    orders
}

fn fired(world: &World) -> usize {
    let orders = world.sandbox.faults();
    let orders = orders.as_array().into_iter().flatten();
    orders
        .filter(|order| order["fired"].as_u64() > Some(0))
        .count()
}

fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
