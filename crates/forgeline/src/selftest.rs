//! `forgeline selftest`: the promise, tried against an in-process sandbox.
//!
//! Every shipped workflow is run in a world of its own with one trouble: a fault at a request, a step that fails, a
//! crash at a record, a process that is gone while it waits. What stands afterwards is compared with what stood before
//! and with what a run without trouble makes. The requests, steps and records are those that were seen, so a new one
//! cannot escape.

mod kills;
mod load;
mod oracle;
mod others;
mod play;
mod report;
mod scene;
mod schedules;
mod trouble;
mod world;

use std::sync::Arc;

use forgeline_provision::Catalogue;
use futures::StreamExt;

use crate::env::Env;
use crate::progress::Counter;
use crate::wire;
pub(crate) use report::Report;
use scene::Scene;
use schedules::{Schedule, Stage};

/// How much is tried.
#[derive(Clone, Debug)]
pub(crate) struct Effort {
    /// Everything, instead of a sample.
    pub(crate) full: bool,
    /// Chooses the sample and the moments of the kills.
    pub(crate) seed: u64,
    /// How many real processes are killed.
    pub(crate) kills: usize,
    /// How many projects are made at once.
    pub(crate) projects: usize,
    /// Only schedules whose name has this text, and all of them. `None`: as `full` says.
    pub(crate) only: Option<String>,
}

/// Schedules at once. Most of each is waiting.
const AT_ONCE: usize = 32;

/// Tries the promise; the error is why nothing could be tried.
pub(crate) async fn run(effort: Effort) -> Result<Report, String> {
    let (registry, _) = wire::kinds(&Env::default()).await;
    let catalogue = Catalogue::shipped(&registry).map_err(|error| error.to_string())?;
    let mut stages = Vec::new();
    for scene in Scene::all(&catalogue) {
        stages.push(Arc::new(Stage::rehearse(scene).await?));
    }
    let schedules = schedules::of(&stages, &effort);
    if schedules.is_empty() && effort.kills == 0 && effort.projects == 0 {
        return Err("nothing that can be tried bears this text".into());
    }
    let counter = Counter::start(schedules.len() + effort.kills, "selftest");
    let mut report = Report::new(effort.seed);
    let mut playing =
        futures::stream::iter(schedules.into_iter().map(Schedule::play)).buffer_unordered(AT_ONCE);
    while let Some(played) = playing.next().await {
        counter.tick();
        report.add(played);
    }
    if let Some(stage) = stages.first().filter(|_| effort.projects > 0) {
        let (load, violations) = load::run(stage, effort.projects, effort.seed).await?;
        report.loaded(load, violations);
    }
    kills::run(&effort, &stages, &mut report, &counter).await?;
    Ok(report)
}
