//! Refusals of the engine as answers.

use forgeline_step_engine::EngineError;
use forgeline_step_engine::journal::{Admission, JournalError};
use jiff::Timestamp;

use crate::view::ErrorView;

pub(crate) fn of_admission(admission: &Admission) -> ErrorView {
    match admission {
        Admission::Conflict { run_id, differing } => ErrorView::new(
            "project.conflict",
            format!(
                "run {run_id} made this project with other inputs; these differ: {}",
                differing.join(", ")
            ),
            "call with the same inputs, or choose another name",
        ),
        Admission::Busy { run_id, workflow } => {
            let message =
                format!("run {run_id} of the workflow `{workflow}` is under way for this project");
            ErrorView {
                retryable: true,
                ..ErrorView::new(
                    "project.busy",
                    message,
                    "wait until it has ended, then call again",
                )
            }
        }
        Admission::Locked {
            resource,
            run_id,
            subject,
        } => ErrorView::new(
            "project.locked",
            format!("{resource} is held by run {run_id} of the project `{subject}`"),
            format!("wait for it (`forgeline status --run {run_id}`), or choose other names"),
        ),
        Admission::Stuck { run_id } => ErrorView::new(
            "project.stuck",
            format!("run {run_id} of this project is stuck and wants a decision"),
            format!(
                "look at `forgeline status --run {run_id}`, then `forgeline resume {run_id} --retry-undo`, `--skip STEP` or `--abandon`"
            ),
        ),
        Admission::RequestConflict { run_id, differing } => {
            let what = if differing.is_empty() {
                "for another workflow or project".to_owned()
            } else {
                format!("with other inputs; these differ: {}", differing.join(", "))
            };
            ErrorView::new(
                "request.conflict",
                format!("this request_id was used before (run {run_id}) {what}"),
                "use a new request_id for a new request",
            )
        }
        Admission::Settling { run_id, due } => {
            let left = u64::try_from(due.duration_since(Timestamp::now()).as_millis()).unwrap_or(0);
            let message = format!("an ambiguous request of run {run_id} is being waited out");
            ErrorView {
                retryable: true,
                retry_after_ms: Some(left + 100),
                ..ErrorView::new(
                    "project.settling",
                    message,
                    "call again after retry_after_ms",
                )
            }
        }
        Admission::Fresh(_) | Admission::Joined(_) | Admission::Answered(_) => {
            ErrorView::new("internal", "an admitted run is no error", "report this")
        }
    }
}

pub(crate) fn of_engine(error: &EngineError) -> ErrorView {
    match error {
        EngineError::Journal(error) => of_journal(error),
        EngineError::Input(problems) => ErrorView::new(
            "input.invalid",
            problems.join("; "),
            "correct these inputs and call again",
        ),
        EngineError::Workflow { .. } => ErrorView::new(
            "workflow.invalid",
            error.to_string(),
            "mend the workflow file",
        ),
        EngineError::UnknownRun(_) => {
            ErrorView::new("run.unknown", error.to_string(), "look at `forgeline list`")
        }
        EngineError::NotNow(_) => ErrorView::new(
            "run.not_now",
            error.to_string(),
            "look where it stands (`forgeline status --run` with its id, or project_status)",
        ),
    }
}

pub(crate) fn of_journal(error: &JournalError) -> ErrorView {
    ErrorView::new(error.code(), error.to_string(), error.remedy())
}
