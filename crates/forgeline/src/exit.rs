//! The exit codes of the contract.

use forgeline_provision::RunView;
use forgeline_step_engine::RunState;

pub(crate) const OK: u8 = 0;
pub(crate) const UNEXPECTED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const CONFIGURATION: u8 = 3;
pub(crate) const NOT_AUTHORISED: u8 = 4;
pub(crate) const STALE: u8 = 5;
pub(crate) const UNDONE: u8 = 6;
pub(crate) const LEFT: u8 = 7;
pub(crate) const CONFLICT: u8 = 8;
pub(crate) const UNAVAILABLE: u8 = 9;
pub(crate) const DRIFT: u8 = 10;
pub(crate) const INTERRUPTED: u8 = 130;

/// The code of an answer.
pub(crate) fn code(view: &RunView) -> u8 {
    let error = view.error.as_ref().map(|error| of_error(&error.code));
    match view.state {
        None => error.unwrap_or(UNEXPECTED),
        Some(
            RunState::Succeeded | RunState::Planned | RunState::Running | RunState::Compensating,
        ) => OK,
        // The journal refused, or somebody stopped the command.
        Some(RunState::Interrupted) => error
            .filter(|code| *code == CONFIGURATION)
            .unwrap_or(INTERRUPTED),
        Some(RunState::Compensated) if !view.left_behind.is_empty() => LEFT,
        Some(RunState::Compensated) => match error {
            Some(CONFLICT) => CONFLICT,
            _ => UNDONE,
        },
        Some(RunState::Failed | RunState::Stuck | RunState::Abandoned) => LEFT,
    }
}

/// The code of a refusal.
pub(crate) fn of_error(code: &str) -> u8 {
    match code {
        "project.conflict" | "project.in_use" | "project.not_ours" | "project.locked"
        | "project.busy" | "request.conflict" | "journal.held" | "run.not_now" => CONFLICT,
        "server.unauthorized" | "server.forbidden" | "policy.denied" | "caller.not_permitted" => {
            NOT_AUTHORISED
        }
        "plan.unknown" | "plan.expired" | "plan.over_max" => STALE,
        "project.settling" => UNAVAILABLE,
        other if other.ends_with(".unavailable") => UNAVAILABLE,
        "project.stuck" => LEFT,
        "input.invalid"
        | "project.not_throwaway"
        | "workflow.unknown"
        | "project.unknown"
        | "run.unknown" => USAGE,
        other if CONFIGURED.iter().any(|area| other.starts_with(area)) => CONFIGURATION,
        _ => UNEXPECTED,
    }
}

/// Areas of codes that people mend in the configuration or at the upstream before anything was begun.
const CONFIGURED: [&str; 19] = [
    "audit.",
    "project_token.",
    "cleanup.",
    "token.",
    "address.",
    "file.",
    "journal.",
    "environment.",
    "configuration.",
    "workflow.",
    "preflight.",
    "gitea.",
    "gitea_mcp.",
    "github.",
    "kubernetes.",
    "infra.",
    "mirror.",
    "template.",
    "http.",
];

#[cfg(test)]
mod tests {
    use forgeline_provision::ErrorView;

    use super::*;

    #[test]
    fn a_compensated_run_exits_6_and_one_that_met_somebody_elses_artifact_8() {
        let mut view = RunView {
            state: Some(RunState::Compensated),
            ..RunView::default()
        };
        assert_eq!(code(&view), 6);
        view.error = Some(ErrorView::new("project.not_ours", "x", "y"));
        assert_eq!(code(&view), 8);
    }
}
