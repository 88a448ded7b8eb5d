//! What was tried, and what came of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::load::Load;
use super::play::Played;
use super::schedules::Schedule;

/// The answer of `forgeline selftest -o json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where the promise was broken.
    pub(crate) violations: Vec<Violation>,
    /// Runs with one trouble, each in a world of its own.
    pub(crate) schedules: usize,
    /// Of these, with the journal on disk and repositories of real git.
    pub(crate) on_disk: usize,
    /// Of these, a fault at a request.
    pub(crate) cells: usize,
    /// Troubles that happened; one that did not proves nothing.
    pub(crate) faults_fired: usize,
    /// Real processes that were killed.
    pub(crate) kills: usize,
    /// What chose the sample and the moments of the kills.
    pub(crate) seed: u64,
    /// How often each way of ending was seen.
    pub(crate) outcomes: BTreeMap<String, usize>,
    /// Many projects at once. `None`: not tried.
    pub(crate) load: Option<Load>,
    /// Every fault at every request.
    pub(crate) matrix: Vec<Cell>,
}

/// A broken promise.
#[derive(Debug, Serialize)]
pub(crate) struct Violation {
    /// What was run, where, and what went wrong with it; `--only` plays it again.
    pub(crate) schedule: String,
    /// What the world shows.
    pub(crate) why: String,
}

/// One fault at one request.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) scene: String,
    pub(crate) request: String,
    pub(crate) fault: &'static str,
    /// `S` succeeded, `C` compensated, `L` left something and listed it, `!` broke the promise, `-` did not fire.
    pub(crate) outcome: char,
}

impl Report {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            violations: Vec::new(),
            schedules: 0,
            on_disk: 0,
            cells: 0,
            faults_fired: 0,
            kills: 0,
            seed,
            outcomes: BTreeMap::new(),
            load: None,
            matrix: Vec::new(),
        }
    }

    pub(super) fn loaded(&mut self, load: Load, violations: Vec<String>) {
        let projects = load.projects;
        let violation = |why| Violation {
            schedule: format!("{projects} projects at once"),
            why,
        };
        self.violations
            .extend(violations.into_iter().map(violation));
        self.load = Some(load);
    }

    pub(super) fn add(&mut self, (schedule, played): (Schedule, Played)) {
        self.schedules += 1;
        self.on_disk += usize::from(schedule.is_on_disk());
        self.faults_fired += usize::from(played.fired > 0);
        let scene = schedule.stage.scene.name.clone();
        let sign = match &played.outcome {
            Err(why) => {
                self.violations.push(Violation {
                    schedule: schedule.name(),
                    why: why.clone(),
                });
                '!'
            }
            Ok(_) if played.fired == 0 => '-',
            Ok(outcome) => outcome.sign(),
        };
        *self.outcomes.entry(sign.to_string()).or_default() += 1;
        if let Some((asked, fault, undoing)) = schedule.trouble.cell() {
            self.cells += 1;
            let undoing = if undoing { " (run fails)" } else { "" };
            self.matrix.push(Cell {
                scene,
                request: format!("{}{undoing}", asked.name()),
                fault,
                outcome: sign,
            });
        }
    }
}
