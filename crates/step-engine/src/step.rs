//! What the author of a step writes: `check`, `apply`, `compensate`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::journal::{Journal, JournalError};
use crate::record::Record;
use crate::run_id::RunId;
use crate::state::{Origin, RunState};

/// What `check` saw upstream. `check` only reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Nothing has this name.
    Absent,
    /// This run made it; the value is what `apply` would answer.
    Ours(Value),
    /// An earlier run for the same subject made it.
    Project(Value),
    /// An earlier run for the same subject adopted it: it is used again and stays somebody else's.
    Adopted(Value),
    /// It is somebody else's.
    Foreign {
        /// What was seen, in a sentence for people.
        why: String,
        /// What `apply` would answer if the caller asked to adopt it; `None` where it must not be adopted.
        adoptable: Option<Value>,
    },
}

/// What `apply` starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Nobody looked: the first attempt of a fresh run. Creation is the check.
    NotLooked,
    /// `check` just answered [`Seen::Absent`].
    Absent,
    /// `check` just answered [`Seen::Ours`]: complete what may be missing.
    Ours(Value),
    /// `check` just answered [`Seen::Project`]: repair what is missing or changed, nothing else.
    Project(Value),
    /// Somebody else's, adopted by this caller or an earlier run: use it, change nothing in it.
    Adopted(Value),
}

impl Found {
    /// Whose artifact the step stands for once `apply` succeeded from here.
    pub fn origin(&self) -> Origin {
        match self {
            Self::NotLooked | Self::Absent | Self::Ours(_) => Origin::Created,
            Self::Project(_) => Origin::Existing,
            Self::Adopted(_) => Origin::Adopted,
        }
    }
}

/// How an undo ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// Our own removal was answered, or the absence is proved otherwise.
    Removed,
    /// It was not there when we looked. Reads may lag, so the engine looks a second time after the settle time.
    NotThere,
}

/// What a failed operation may have left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Proved: this attempt left nothing.
    None,
    /// Proved: this attempt made nothing, because something has the name already. The engine looks whose it is.
    Taken,
    /// Ambiguous: the reply was lost, late, a 5xx or unreadable.
    Possible,
    /// Known: a part of the step's effect is there.
    Left,
}

/// A failed operation: what failed, what it may have left, and what to do.
///
/// Goes into the journal and into answers, so it never holds a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// A stable dotted word, for example `github.missing_scope`.
    pub code: String,
    /// What failed, with names and values; no token, header or request body.
    pub message: String,
    /// What to do next, as an imperative. `None` when nothing helps but trying again.
    pub remedy: Option<String>,
    /// The exact command that would remove what is left. `None` when nothing is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Whether the same request may succeed later without anybody acting.
    pub retryable: bool,
    /// How long the upstream asked us to wait, in milliseconds. `None`: it did not say.
    pub retry_after_ms: Option<u64>,
    /// What this operation may have left behind.
    pub effect: Effect,
}

impl StepError {
    /// A terminal refusal: proved to have left nothing, and repeating it does not help.
    pub fn refused(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            remedy: None,
            command: None,
            retryable: false,
            retry_after_ms: None,
            effect: Effect::None,
        }
    }

    /// An outcome that nobody knows: it may have acted.
    pub fn unknown(code: &str, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            effect: Effect::Possible,
            ..Self::refused(code, message)
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds the command that removes what is left.
    #[must_use]
    pub fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Says what may be left.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

impl From<JournalError> for StepError {
    fn from(error: JournalError) -> Self {
        Self::unknown("journal.unwritable", error.to_string()).remedy(error.remedy())
    }
}

/// How long the upstream of a step needs before a look can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// After an ambiguous mutation, the wait before the next look. Outlives the longest call to that upstream.
    pub settle: Duration,
    /// After a run with an ambiguous mutation ended, the age of that mutation at which a last look is owed.
    pub recheck: Duration,
}

/// One kind of step. The same value serves every run, so it holds clients, never a run's data.
///
/// Every method may be called again after a crash and must reach the same world. The engine gives each call a
/// deadline (the step's `timeout`) and repeats it by the step's `retry`; the step itself repeats nothing.
#[async_trait]
pub trait Step: Send + Sync {
    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// A read that failed; its effect is [`Effect::None`].
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError>;

    /// Makes it so, from what was found, and returns only when the effect is proved: by the reply where that
    /// carries id and name, else by reading it back. The answer is journaled: serialisable, without any secret.
    ///
    /// # Errors
    /// With [`Effect::Taken`] the engine calls `check`; with [`Effect::Possible`] it waits the settle time and calls
    /// `check` before anything else.
    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError>;

    /// Removes what this run made, and only that. `output` is missing when the process died before the reply was
    /// journaled: find the artifact by name and claim. Succeeds when nothing of this run is left.
    ///
    /// # Errors
    /// What could not be removed, or was kept because others use it, with the command that would remove it.
    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError>;

    /// A last look after an ambiguous mutation: removes surplus only (a late twin), never the recorded artifact.
    /// `recorded` is the artifact that the run keeps (null when its output is not known); `None` when the run keeps
    /// nothing.
    ///
    /// # Errors
    /// What could not be looked at or removed; the re-check stays owed.
    async fn recheck(
        &self,
        cx: &StepCx,
        with: &Value,
        recorded: Option<&Value>,
    ) -> Result<(), StepError> {
        match recorded {
            None => self.compensate(cx, with, None).await.map(|_| ()),
            Some(_) => Ok(()),
        }
    }

    /// The resources that this step changes, for example `gitea:acme/shop`. Only one run at a time holds a resource.
    /// Fields that refer to another step's output are null here.
    fn resources(&self, _with: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Whether the first attempt of a fresh run may create without looking: because the upstream's names are unique, or
    /// because it happens inside something that this run has just created.
    fn creates_first(&self, _with: &Value) -> bool {
        true
    }

    /// What `apply` would change, in words, from [`Found::Project`]; nothing when all is as it should be. Only reads.
    ///
    /// # Errors
    /// A read that failed.
    async fn changes(
        &self,
        _cx: &StepCx,
        _with: &Value,
        _found: &Value,
    ) -> Result<Vec<String>, StepError> {
        Ok(Vec::new())
    }

    /// The requests that a creation makes, by system, for a plan's budget.
    fn requests(&self, _with: &Value) -> Vec<(&'static str, u32)> {
        Vec::new()
    }

    /// Whether `compensate` can take back what `apply` does with these arguments. A step that cannot is never undone.
    fn is_reversible(&self, _with: &Value) -> bool {
        true
    }

    /// The fields of the output where they follow from the arguments. `None`: those of the kind.
    fn outputs(&self, _with: &Value) -> Option<Vec<String>> {
        None
    }

    /// What is wrong with the arguments as a workflow file writes them; references stand in them unresolved.
    fn problems(&self, _with: &Value) -> Vec<String> {
        Vec::new()
    }

    /// The upstream's settle and re-check times.
    fn timing(&self) -> Timing;
}

/// What a step of an earlier run for the same subject left in the journal.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// The earlier run.
    pub run_id: RunId,
    /// Where that run stands.
    pub state: RunState,
    /// Step id to origin and output, for the steps that are done and not undone.
    pub done: BTreeMap<String, (Origin, Value)>,
    /// Step id to the arguments that those steps were done with.
    pub calls: BTreeMap<String, Value>,
}

/// What the engine knows about the run and step that an operation belongs to.
#[derive(Clone)]
pub struct StepCx {
    /// The run.
    pub run_id: RunId,
    /// What the run is about, for example a project's name.
    pub subject: String,
    /// Who asked for the run: a name, never a credential.
    pub caller: String,
    /// The step's id in the workflow.
    pub step: String,
    /// When the step's first intent became durable: nothing older can be this run's.
    pub intent_at: Timestamp,
    /// Whether the caller asked to adopt what is somebody else's.
    pub adopt: bool,
    /// Earlier runs for the same subject, newest first.
    pub earlier: Arc<Vec<Earlier>>,
    pub(crate) facts: BTreeMap<String, Value>,
    pub(crate) run_facts: BTreeMap<String, Value>,
    /// Set when the run is being cancelled or the process stops: start no further request.
    pub cancelled: CancellationToken,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) aside: Aside,
}

/// What a step journaled while its operation ran; the host adds it to its history when the operation ends.
pub(crate) type Aside = Arc<std::sync::Mutex<Vec<Record>>>;

impl StepCx {
    /// Journals something that was learnt before it is acted on; durable once this returns.
    ///
    /// # Errors
    /// The journal refused; do not act.
    pub async fn record_fact(&self, name: &str, value: Value) -> Result<(), StepError> {
        self.record(Record::Fact {
            step: self.step.clone(),
            name: name.to_owned(),
            value,
        })
        .await
    }

    /// What this step journaled under this name in this run. `None`: nothing.
    pub fn fact(&self, name: &str) -> Option<Value> {
        let aside = self
            .aside
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let fresh = aside.iter().rev().find_map(|record| match record {
            Record::Fact {
                name: known, value, ..
            } if known == name => Some(value.clone()),
            _ => None,
        });
        fresh.or_else(|| self.facts.get(name).cloned())
    }

    /// What any step of this run had journaled under this name when this operation began. `None`: nothing.
    pub fn run_fact(&self, name: &str) -> Option<&Value> {
        self.run_facts.get(name)
    }

    /// Sets the sticky mark: a mutation of this step had an outcome that nobody knows.
    ///
    /// # Errors
    /// The journal refused; the run stops.
    pub async fn mark_ambiguous(&self) -> Result<(), StepError> {
        self.record(Record::Ambiguous {
            step: self.step.clone(),
        })
        .await
    }

    async fn record(&self, record: Record) -> Result<(), StepError> {
        self.journal
            .append(&self.run_id, vec![record.clone()])
            .await?;
        self.aside
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(record);
        Ok(())
    }

    /// The subject of another run, `None` when this journal does not know it.
    ///
    /// # Errors
    /// The journal could not be read.
    pub async fn subject_of(&self, run: &RunId) -> Result<Option<String>, StepError> {
        Ok(self.journal.run(run).await?.map(|row| row.subject))
    }

    /// What this step left behind in the newest earlier run that has it done: origin and output.
    pub fn earlier_output(&self) -> Option<(&RunId, Origin, &Value)> {
        self.earlier.iter().find_map(|run| {
            let (origin, output) = run.done.get(&self.step)?;
            Some((&run.run_id, *origin, output))
        })
    }

    /// Like [`StepCx::earlier_output`], of runs whose arguments of this step fit.
    pub fn earlier_call(&self, fits: impl Fn(&Value) -> bool) -> Option<(Origin, &Value)> {
        let mut runs = self.earlier.iter();
        runs.find_map(|run| {
            let (origin, output) = run.done.get(&self.step)?;
            let call = run.calls.get(&self.step)?;
            fits(call).then_some((*origin, output))
        })
    }
}
