//! The arguments of a step, read into types that cannot be wrong.

use forgeline_step_engine::StepError;
use forgeline_upstream::{Error, FullName, Reach};
use serde_json::Value;

/// A text argument; the empty text when it is not given.
pub(super) fn text<'a>(with: &'a Value, name: &str) -> &'a str {
    with[name].as_str().unwrap_or_default()
}

/// `owner` and `name` as a repository's name.
pub(super) fn repository(with: &Value) -> Result<FullName, StepError> {
    let (owner, name) = (text(with, "owner"), text(with, "name"));
    FullName::new(owner, name).ok_or_else(|| {
        StepError::refused(
            "input.invalid",
            format!("`{owner}/{name}` is no repository name"),
        )
        .remedy("give an owner (an input, or the default in the configuration) and a plain name")
    })
}

/// The `full_name` of another step's output.
pub(super) fn full_name(output: &Value) -> Result<FullName, StepError> {
    let text = text(output, "full_name");
    let parts = text
        .split_once('/')
        .and_then(|(owner, name)| FullName::new(owner, name));
    parts.ok_or_else(|| {
        StepError::refused("input.invalid", format!("`{text}` is no repository name"))
    })
}

/// Whether another step's artifact was made by this run.
pub(super) fn is_created(output: &Value) -> bool {
    output["origin"] == "created"
}

/// Whether another step's artifact was adopted.
pub(super) fn is_adopted(output: &Value) -> bool {
    output["origin"] == "adopted"
}

/// What a repository's visibility would be changed to.
pub(super) fn visibility_change(with: &Value, found: &Value) -> Vec<String> {
    let private = text(with, "visibility") != "public";
    if found["private"] == private {
        return Vec::new();
    }
    let word = if private { "private" } else { "public" };
    vec![format!("make it {word}")]
}

/// The error of something that others use: kept, with the command that would remove it.
pub(super) fn kept(what: &str, why: &str, command: String) -> StepError {
    StepError::refused("undo.kept", format!("{what} was kept: {why}"))
        .remedy("look at what is in it; remove it yourself if nobody needs it, then skip this step")
        .command(command)
}

/// The failure of a removal that left a read-only repository behind.
pub(super) fn still_archived(error: StepError) -> StepError {
    StepError {
        message: format!("{}; it is archived now", error.message),
        ..error
    }
}

/// The result of two writes that went side by side; the one that may have acted wins.
pub(super) fn both(first: Result<(), Error>, second: Result<(), Error>) -> Result<(), Error> {
    match (first, second) {
        (Err(first), Err(second)) => Err(if second.reach == Reach::Unknown {
            second
        } else {
            first
        }),
        (first, second) => first.and(second),
    }
}

/// Adds the command that would remove what is left, unless a better one is there.
pub(super) fn with_command(error: StepError, command: String) -> StepError {
    if error.command.is_none() {
        error.command(command)
    } else {
        error
    }
}
