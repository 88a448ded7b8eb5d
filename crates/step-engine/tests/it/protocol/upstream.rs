//! A forge in a few lines: repositories with unique names, mirrors and issues in them without, and namespaces.
//!
//! Every request is one entry in a log. A schedule says what becomes of it, and what somebody else does just before.
//! Time is tokio's, paused: it moves only when everybody waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use forgeline_step_engine::fault::CrashPlan;
use forgeline_step_engine::{Effect, RunId, StepError};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a request takes that is answered.
const LATENCY: Duration = Duration::from_millis(1);
/// What a caller waits for an answer that never comes.
const DEADLINE: Duration = Duration::from_millis(10);
/// How old what a lagging read shows may be. Less than [`SETTLE`].
pub(crate) const LAG: Duration = Duration::from_millis(40);
/// The upstream's settle time.
pub(crate) const SETTLE: Duration = Duration::from_millis(50);
/// The age of an ambiguous request at which the last look is owed.
pub(crate) const RECHECK: Duration = Duration::from_millis(300);

/// Who has made something, whatever it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Run(RunId),
    Person,
}

/// A repository or a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Thing {
    pub(crate) id: u64,
    pub(crate) by: Maker,
    /// What it says of itself: the run that asked for it.
    pub(crate) claim: Option<RunId>,
    pub(crate) made_at: Timestamp,
    pub(crate) archived: bool,
    pub(crate) description: Option<RunId>,
    pub(crate) mirrors: Vec<Part>,
    pub(crate) issues: Vec<Part>,
}

/// A mirror or an issue.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) id: u64,
    pub(crate) by: Maker,
}

/// A request that changes something.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Create,
    Delete { id: Option<u64> },
    Archive(bool),
    Describe,
    AddMirror,
    DeleteMirror(u64),
    OpenIssue,
    CloseIssue(u64),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Refused for good, without effect.
    Refused,
    /// No effect and no answer.
    LostBefore,
    /// The effect, and no answer.
    LostAfter,
    /// No answer; the effect comes this many milliseconds later.
    Late(u64),
    /// A read shows what was there a moment ago.
    Lagging,
    /// A read fails once.
    Unread,
}

/// What somebody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Deed {
    TakesTheName,
    OpensAnIssue,
    AddsAMirror,
    Archives,
    DeletesIt,
    PutsAnotherInItsPlace,
    Cancels,
    /// Another instance, with a journal of its own, is asked for the same project.
    AnotherInstance,
    /// Another project of this instance wants the same repository.
    AnotherProject,
}

/// One entry of the schedule: a request by its words and its number among those with the same words.
pub(crate) type Key = (String, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Choice {
    Trouble(Trouble),
    /// Just before the request.
    Deed(Deed),
}

/// A request that was made.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) key: Key,
    pub(crate) reads: bool,
    pub(crate) at: Instant,
}

#[derive(Default)]
struct State {
    things: BTreeMap<String, Thing>,
    /// What was there before each change of the last moments.
    before: Vec<(Instant, BTreeMap<String, Thing>)>,
    next_id: u64,
    choices: Vec<(Key, Choice)>,
    happened: usize,
    log: Vec<Seen>,
    calls: Option<mpsc::UnboundedSender<Deed>>,
}

/// The forge. A clone talks to the same one.
#[derive(Clone, Default)]
pub(crate) struct Upstream {
    state: Arc<Mutex<State>>,
    /// The end of the process that asks: from then on it sends nothing.
    pub(crate) process: CrashPlan,
}

impl Upstream {
    /// A forge at which this happens; cancels and other instances are told to the receiver.
    pub(crate) fn with(choices: Vec<(Key, Choice)>) -> (Self, mpsc::UnboundedReceiver<Deed>) {
        let (calls, called) = mpsc::unbounded_channel();
        let state = State {
            choices,
            calls: Some(calls),
            ..State::default()
        };
        let upstream = Self {
            state: Arc::new(Mutex::new(state)),
            process: CrashPlan::default(),
        };
        (upstream, called)
    }

    /// The same forge as another process sees it.
    pub(crate) fn seen_by(&self, process: CrashPlan) -> Self {
        Self {
            state: Arc::clone(&self.state),
            process,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn log(&self) -> Vec<Seen> {
        self.state().log.clone()
    }

    /// How many entries of the schedule have happened.
    pub(crate) fn happened(&self) -> usize {
        self.state().happened
    }

    /// Nothing of the schedule happens from now on, and nothing is read-only any more.
    pub(crate) fn calm(&self) {
        let mut state = self.state();
        state.choices.clear();
        for thing in state.things.values_mut() {
            thing.archived = false;
        }
    }

    pub(crate) fn things(&self) -> BTreeMap<String, Thing> {
        self.state().things.clone()
    }

    /// What somebody does outside of any request. `false`: there is nothing to do it to.
    pub(crate) fn does(&self, deed: Deed, name: &str, now: Timestamp) -> bool {
        self.state().deed(deed, name, now)
    }

    /// Reads what has this name.
    pub(crate) async fn look(
        &self,
        now: Timestamp,
        name: &str,
    ) -> Result<Option<Thing>, StepError> {
        let trouble = self.receive(&format!("look at {name}"), true, name, now)?;
        tokio::time::sleep(LATENCY).await;
        match trouble {
            None => Ok(self.state().things.get(name).cloned()),
            Some(Trouble::Lagging) => Ok(self.state().shown_late(name)),
            Some(_) => Err(busy()),
        }
    }

    /// Sends a change and answers the id of what was made.
    pub(crate) async fn send(
        &self,
        now: impl Fn() -> Timestamp + Send + 'static,
        by: &RunId,
        name: &str,
        mutation: Mutation,
    ) -> Result<u64, StepError> {
        let words = format!("{} {name}", words(&mutation));
        let trouble = self.receive(&words, false, name, now())?;
        match trouble {
            None => {
                tokio::time::sleep(LATENCY).await;
                self.state().change(now(), by, name, &mutation)
            }
            Some(Trouble::LostAfter) => {
                drop(self.state().change(now(), by, name, &mutation));
                tokio::time::sleep(DEADLINE).await;
                Err(lost())
            }
            Some(Trouble::Late(after)) => {
                let (late, name, by) = (self.clone(), name.to_owned(), by.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    drop(late.state().change(now(), &by, &name, &mutation));
                });
                tokio::time::sleep(DEADLINE).await;
                Err(lost())
            }
            Some(Trouble::LostBefore) => {
                tokio::time::sleep(DEADLINE).await;
                Err(lost())
            }
            Some(_) => Err(StepError::refused("refused", "no")),
        }
    }

    fn receive(
        &self,
        words: &str,
        reads: bool,
        name: &str,
        now: Timestamp,
    ) -> Result<Option<Trouble>, StepError> {
        if self.process.fired() {
            // The process has ended: nothing leaves it.
            return Err(lost());
        }
        let mut state = self.state();
        let nth = state.log.iter().filter(|seen| seen.key.0 == words).count() + 1;
        let key = (words.to_owned(), nth);
        state.log.push(Seen {
            key: key.clone(),
            reads,
            at: Instant::now(),
        });
        let chosen: Vec<Choice> = state
            .choices
            .iter()
            .filter(|(at, _)| *at == key)
            .map(|(_, choice)| *choice)
            .collect();
        let mut trouble = None;
        for choice in chosen {
            match choice {
                Choice::Trouble(ordered) => {
                    trouble = Some(ordered);
                    state.happened += 1;
                }
                Choice::Deed(deed) => state.happened += usize::from(state.deed(deed, name, now)),
            }
        }
        Ok(trouble)
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn shown_late(&self, name: &str) -> Option<Thing> {
        let since = Instant::now() - LAG;
        let shown = self.before.iter().find(|(at, _)| *at >= since);
        shown
            .map_or(&self.things, |(_, things)| things)
            .get(name)
            .cloned()
    }

    fn make(&mut self, name: &str, by: Maker, now: Timestamp) -> u64 {
        let id = self.id();
        let claim = match &by {
            Maker::Run(run) => Some(run.clone()),
            Maker::Person => None,
        };
        let thing = Thing {
            id,
            by,
            claim,
            made_at: now,
            archived: false,
            description: None,
            mirrors: Vec::new(),
            issues: Vec::new(),
        };
        self.things.insert(name.to_owned(), thing);
        id
    }

    fn change(
        &mut self,
        now: Timestamp,
        by: &RunId,
        name: &str,
        mutation: &Mutation,
    ) -> Result<u64, StepError> {
        self.before.push((Instant::now(), self.things.clone()));
        let (part, maker) = (self.id(), Maker::Run(by.clone()));
        let Some(thing) = self.things.get_mut(name) else {
            return match mutation {
                Mutation::Create => Ok(self.make(name, maker, now)),
                _ => Err(StepError::refused("gone", "there is nothing of this name")),
            };
        };
        match mutation {
            Mutation::Create => {
                return Err(StepError::refused("taken", "the name is taken").effect(Effect::Taken));
            }
            // Only namespaces take the id along.
            Mutation::Delete { id: Some(id) } if *id != thing.id => {
                return Err(StepError::refused("gone", "it is another one"));
            }
            Mutation::Delete { .. } => drop(self.things.remove(name)),
            Mutation::Archive(archived) => thing.archived = *archived,
            _ if thing.archived => return Err(StepError::refused("archived", "it is read-only")),
            Mutation::Describe => thing.description = Some(by.clone()),
            Mutation::AddMirror => thing.mirrors.push(Part {
                id: part,
                by: maker,
            }),
            Mutation::DeleteMirror(id) => thing.mirrors.retain(|mirror| mirror.id != *id),
            Mutation::OpenIssue => thing.issues.push(Part {
                id: part,
                by: maker,
            }),
            Mutation::CloseIssue(id) => thing.issues.retain(|issue| issue.id != *id),
        }
        Ok(part)
    }

    fn deed(&mut self, deed: Deed, name: &str, now: Timestamp) -> bool {
        if let Deed::Cancels | Deed::AnotherInstance | Deed::AnotherProject = deed {
            return self
                .calls
                .as_ref()
                .is_some_and(|calls| calls.send(deed).is_ok());
        }
        self.before.push((Instant::now(), self.things.clone()));
        let part = self.id();
        let there = self.things.get_mut(name);
        match (deed, there) {
            (Deed::TakesTheName, None) => drop(self.make(name, Maker::Person, now)),
            (Deed::DeletesIt, Some(_)) => drop(self.things.remove(name)),
            (Deed::PutsAnotherInItsPlace, Some(_)) => drop(self.make(name, Maker::Person, now)),
            (Deed::Archives, Some(thing)) if !thing.archived => thing.archived = true,
            (Deed::OpensAnIssue, Some(thing)) if !thing.archived => thing.issues.push(Part {
                id: part,
                by: Maker::Person,
            }),
            (Deed::AddsAMirror, Some(thing)) if !thing.archived => thing.mirrors.push(Part {
                id: part,
                by: Maker::Person,
            }),
            _ => return false,
        }
        true
    }
}

fn words(mutation: &Mutation) -> &'static str {
    match mutation {
        Mutation::Create => "create",
        Mutation::Delete { .. } => "delete",
        Mutation::Archive(true) => "archive",
        Mutation::Archive(false) => "unarchive",
        Mutation::Describe => "describe",
        Mutation::AddMirror => "add a mirror to",
        Mutation::DeleteMirror(_) => "delete a mirror of",
        Mutation::OpenIssue => "open an issue in",
        Mutation::CloseIssue(_) => "close an issue in",
    }
}

fn lost() -> StepError {
    StepError::unknown("lost", "no answer")
}

fn busy() -> StepError {
    StepError {
        retryable: true,
        ..StepError::refused("busy", "later")
    }
}
