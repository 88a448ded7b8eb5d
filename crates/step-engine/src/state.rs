//! The states of a run and of a step, and the one table of legal transitions.

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Shown only: nothing was begun.
    Planned,
    /// Steps are being applied.
    Running,
    /// No process drives it; it continues at the next start or the next call.
    Interrupted,
    /// Every step is done.
    Succeeded,
    /// What it made is being undone.
    Compensating,
    /// Nothing that it made is left.
    Compensated,
    /// It failed and its artifacts were kept, as asked.
    Failed,
    /// An undo failed: somebody has to look.
    Stuck,
    /// Given up by an operator.
    Abandoned,
}

impl RunState {
    /// No operation follows, unless an operator asks for one.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Planned
            | Self::Succeeded
            | Self::Compensated
            | Self::Failed
            | Self::Abandoned => true,
            Self::Running | Self::Interrupted | Self::Compensating | Self::Stuck => false,
        }
    }

    /// Running or compensating: a process drives it, or should.
    pub fn is_live(self) -> bool {
        match self {
            Self::Running | Self::Interrupted | Self::Compensating => true,
            Self::Planned
            | Self::Succeeded
            | Self::Compensated
            | Self::Failed
            | Self::Stuck
            | Self::Abandoned => false,
        }
    }

    /// Whether the journal may record `next` after this state.
    pub fn may_become(self, next: RunState) -> bool {
        use RunState::{
            Abandoned, Compensated, Compensating, Failed, Interrupted, Planned, Running, Stuck,
            Succeeded,
        };
        match self {
            Planned => next == Running,
            Running => matches!(
                next,
                Running | Compensating | Succeeded | Compensated | Failed | Stuck | Interrupted
            ),
            Interrupted => matches!(next, Running | Compensating),
            Compensating => matches!(next, Compensating | Compensated | Stuck | Interrupted),
            Stuck => matches!(
                next,
                Compensating | Abandoned | Compensated | Stuck | Running
            ),
            Failed => matches!(next, Running | Compensating | Abandoned),
            Succeeded | Compensated | Abandoned => false,
        }
    }

    /// The word used in JSON and in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Succeeded => "succeeded",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
            Self::Abandoned => "abandoned",
        }
    }

    /// The reverse of [`RunState::as_str`]; `None` for an unknown word.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Planned,
            Self::Running,
            Self::Interrupted,
            Self::Succeeded,
            Self::Compensating,
            Self::Compensated,
            Self::Failed,
            Self::Stuck,
            Self::Abandoned,
        ]
        .into_iter()
        .find(|state| state.as_str() == word)
    }
}

/// Why a run left its forward path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A step failed.
    Failure,
    /// Somebody cancelled it.
    Cancel,
}

/// Where a step of a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Its intent is durable; its operation runs, or was running when the process ended.
    Started,
    /// Done, and this run made the artifact.
    Applied,
    /// Done; an earlier run for the same subject had made the artifact.
    Existing,
    /// Done; the artifact is somebody else's and was taken over on request.
    Adopted,
    /// Its apply ended without success.
    Failed,
    /// Being undone.
    Compensating,
    /// Nothing that this run made in this step is left.
    Compensated,
    /// Its undo failed.
    Stuck,
    /// Not done, by its `when`, by an operator, or because an irreversible step before it failed.
    Skipped,
}

/// Whose artifact a finished step stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// This run made it.
    Created,
    /// An earlier run for the same subject made it.
    Existing,
    /// It was somebody else's and was taken over on request.
    Adopted,
}

impl Origin {
    /// The state of a step that ended with this origin.
    pub fn step_state(self) -> StepState {
        match self {
            Self::Created => StepState::Applied,
            Self::Existing => StepState::Existing,
            Self::Adopted => StepState::Adopted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_ended_for_good_never_changes_again() {
        for ended in [
            RunState::Succeeded,
            RunState::Compensated,
            RunState::Abandoned,
        ] {
            for next in [RunState::Running, RunState::Compensating, RunState::Stuck] {
                assert!(!ended.may_become(next), "{ended:?} -> {next:?}");
            }
        }
    }

    #[test]
    fn every_state_survives_its_own_word() {
        for word in [
            "planned",
            "running",
            "interrupted",
            "succeeded",
            "compensating",
            "compensated",
            "failed",
            "stuck",
            "abandoned",
        ] {
            assert_eq!(RunState::parse(word).unwrap().as_str(), word);
        }
    }
}
