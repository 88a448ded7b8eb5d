//! Plans that are shown first and applied later, as a command answers them.

use forgeline_provision::{Action, ErrorView, ItemResult, Plan};

use crate::cli::Format;
use crate::wire::WireError;
use crate::{exit, output};

/// Shows a plan and answers the exit code. `apply`: the command that applies it, without its name.
pub(super) fn show(plan: &Plan, apply: &str, format: Format) -> u8 {
    output::plan(plan, apply, format);
    code(plan)
}

/// Nothing could be connected.
pub(super) fn refuse(error: &WireError, format: Format) -> u8 {
    if format != Format::Table {
        let (code, message, remedy) = match error {
            WireError::Configuration(problems) => {
                problems.first().map_or_else(Default::default, |first| {
                    (
                        first.code.clone(),
                        first.message.clone(),
                        first.remedy.clone(),
                    )
                })
            }
            WireError::Journal(error) => {
                (error.code().to_owned(), error.to_string(), error.remedy())
            }
        };
        let error = ErrorView::new(&code, message, remedy);
        output::plan(&Plan::refused(error), "", format);
    }
    super::refuse(error)
}

fn code(plan: &Plan) -> u8 {
    if let Some(error) = &plan.error {
        return exit::of_error(&error.code);
    }
    let has = |result| plan.items.iter().any(|item| item.result == Some(result));
    let stale = |item: &forgeline_provision::PlanItem| {
        item.action == Action::Delete && item.result == Some(ItemResult::Kept)
    };
    match plan.run_id {
        None => exit::OK,
        Some(_) if has(ItemResult::Blocked) || has(ItemResult::Failed) => exit::LEFT,
        Some(_) if plan.items.iter().any(stale) => exit::STALE,
        Some(_) => exit::OK,
    }
}
