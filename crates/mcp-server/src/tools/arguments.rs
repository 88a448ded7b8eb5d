//! Arguments of the tools that are not workflows.

use std::time::Duration;

use forgeline_provision::ErrorView;
use rmcp::model::JsonObject;
use serde_json::Value;

/// Refuses arguments that the tool does not have, and texts that are not texts.
pub(super) fn only(arguments: &JsonObject, known: &[&str]) -> Result<(), ErrorView> {
    match arguments
        .keys()
        .find(|name| !known.contains(&name.as_str()))
    {
        Some(unknown) => Err(bad(format!(
            "unknown argument `{unknown}`; there are {}",
            known.join(", ")
        ))),
        None => Ok(()),
    }
}

/// A text; `None` when it is not given.
pub(super) fn text<'a>(
    arguments: &'a JsonObject,
    name: &str,
) -> Result<Option<&'a str>, ErrorView> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(bad(format!("`{name}` must be a string, not {other}"))),
    }
}

/// A text that must be given.
pub(super) fn required<'a>(arguments: &'a JsonObject, name: &str) -> Result<&'a str, ErrorView> {
    text(arguments, name)?.ok_or_else(|| bad(format!("`{name}` is missing")))
}

/// A list of texts; empty when it is not given.
pub(super) fn texts(arguments: &JsonObject, name: &str) -> Result<Vec<String>, ErrorView> {
    let wrong = |other: &Value| bad(format!("`{name}` must be a list of strings, not {other}"));
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong(item)))
            .collect(),
        Some(other) => Err(wrong(other)),
    }
}

/// A whole number up to `most`; `None` when it is not given.
pub(super) fn number(
    arguments: &JsonObject,
    name: &str,
    most: u64,
) -> Result<Option<u64>, ErrorView> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().filter(|number| *number <= most) {
            Some(number) => Ok(Some(number)),
            None => Err(bad(format!(
                "`{name}` must be a whole number from 0 to {most}, not {value}"
            ))),
        },
    }
}

/// `wait_seconds`, from 0 to 300.
pub(super) fn wait(arguments: &JsonObject) -> Result<Option<Duration>, ErrorView> {
    Ok(number(arguments, "wait_seconds", 300)?.map(Duration::from_secs))
}

pub(super) fn bad(message: String) -> ErrorView {
    ErrorView::new(
        "input.invalid",
        message,
        "correct the arguments and call again",
    )
}
