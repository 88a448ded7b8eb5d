//! A journal in memory: the same decisions as on disk, gone with the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::broadcast;

use super::admission::{admit, may_retake};
use super::{Admission, Journal, JournalError, RunQuery, RunRow};
use crate::event::RunEvent;
use crate::fault::{CrashPlan, CrashPoint};
use crate::record::{Entry, Record};
use crate::run_id::RunId;
use crate::state::RunState;

/// A journal in memory.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    world: Mutex<World>,
    crash: CrashPlan,
    watchers: Watchers,
    /// The time of day at one moment of tokio's clock. `None`: the system's.
    clock: Option<(Timestamp, tokio::time::Instant)>,
}

#[derive(Debug)]
struct Watchers(broadcast::Sender<RunEvent>);

impl Default for Watchers {
    fn default() -> Self {
        Self(broadcast::channel(super::EVENTS).0)
    }
}

#[derive(Debug, Default)]
struct World {
    runs: Vec<RunRow>,
    entries: Vec<(RunId, Entry)>,
    /// Caller and request id to the run that it led to last.
    requests: HashMap<(String, String), RunId>,
    seq: u64,
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty journal that stops where the plan says.
    pub fn with_crash(crash: CrashPlan) -> Self {
        Self {
            crash,
            ..Self::default()
        }
    }

    /// An empty journal whose time of day follows tokio's clock: where a test has paused that, no schedule takes time and
    /// each happens the same way again. Call it within a runtime.
    pub fn on_tokio_clock(crash: CrashPlan) -> Self {
        Self {
            crash,
            clock: Some((Timestamp::now(), tokio::time::Instant::now())),
            ..Self::default()
        }
    }

    /// What a restarted process finds: the same records.
    pub fn reopened(&self) -> Self {
        self.reopened_with(CrashPlan::default())
    }

    /// As [`MemoryJournal::reopened`], for a process that stops where the plan says.
    pub fn reopened_with(&self, crash: CrashPlan) -> Self {
        let world = self.world();
        let copy = World {
            runs: world.runs.clone(),
            entries: world.entries.clone(),
            requests: world.requests.clone(),
            seq: world.seq,
        };
        Self {
            world: Mutex::new(copy),
            crash,
            clock: self.clock,
            ..Self::default()
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn admit(&self, run: RunRow) -> Result<Admission, JournalError> {
        self.crash.reach(CrashPoint::BeforeCommit, 1)?;
        let answer = {
            let mut world = self.world();
            let earlier = world.runs.iter().rev();
            let earlier: Vec<&RunRow> = earlier.filter(|row| row.subject == run.subject).collect();
            let request = run
                .options
                .request_id
                .clone()
                .map(|request| (run.caller.clone(), request));
            let requested = request
                .as_ref()
                .and_then(|request| world.requests.get(request))
                .and_then(|id| world.runs.iter().find(|row| row.run_id == *id));
            let answer = admit(&run, requested, &earlier, world.runs.iter());
            if let Admission::Fresh(row) = &answer {
                world.runs.push((**row).clone());
            }
            if let (Some(run), Some(request)) = (answer.led_to(), request) {
                world.requests.insert(request, run.clone());
            }
            answer
        };
        self.crash.reach(CrashPoint::AfterCommit, 0)?;
        Ok(answer)
    }

    async fn append(&self, run: &RunId, records: Vec<Record>) -> Result<Vec<Entry>, JournalError> {
        self.crash.reach(CrashPoint::BeforeCommit, records.len())?;
        let entries = {
            let mut world = self.world();
            let world = &mut *world;
            let at = self.now();
            let position = world
                .runs
                .iter()
                .position(|row| row.run_id == *run)
                .ok_or_else(|| JournalError::Damaged(format!("run {run} is not in the journal")))?;
            let mut followed = world.runs[position].clone();
            for record in &records {
                followed.follow(record, at)?;
            }
            if !world.runs[position].holds_resources() && followed.holds_resources() {
                let newest =
                    world.runs.iter().rev().find(|row| {
                        row.subject == followed.subject && row.state != RunState::Planned
                    });
                may_retake(&followed, newest, world.runs.iter())
                    .map_err(JournalError::Superseded)?;
            }
            world.runs[position] = followed;
            let mut entries = Vec::with_capacity(records.len());
            for record in records {
                world.seq += 1;
                entries.push(Entry {
                    seq: world.seq,
                    at,
                    record,
                });
            }
            world
                .entries
                .extend(entries.iter().map(|entry| (run.clone(), entry.clone())));
            super::tell(&self.watchers.0, run, &entries);
            entries
        };
        self.crash.reach(CrashPoint::AfterCommit, 0)?;
        Ok(entries)
    }

    async fn run(&self, run: &RunId) -> Result<Option<RunRow>, JournalError> {
        Ok(self
            .world()
            .runs
            .iter()
            .find(|row| row.run_id == *run)
            .cloned())
    }

    async fn history(&self, run: &RunId) -> Result<Vec<Entry>, JournalError> {
        Ok(self
            .world()
            .entries
            .iter()
            .filter(|(id, _)| id == run)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRow>, JournalError> {
        let world = self.world();
        let found = world
            .runs
            .iter()
            .rev()
            .filter(|row| query.fits(row))
            .cloned();
        Ok(found.take(query.limit.unwrap_or(usize::MAX)).collect())
    }

    fn now(&self) -> Timestamp {
        let Some((then, moment)) = self.clock else {
            return Timestamp::now();
        };
        then.saturating_add(moment.elapsed()).unwrap_or(then)
    }

    fn events(&self) -> broadcast::Receiver<RunEvent> {
        self.watchers.0.subscribe()
    }
}
