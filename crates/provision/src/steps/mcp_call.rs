//! `mcp.call`: a tool of any configured MCP server, with calls to look and to undo.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use forgeline_step_engine::{Effect, Field, KindSpec, StepError};
use forgeline_upstream::mcp::{McpClient, ToolAnswer};
use serde_json::{Value, json};

use super::generic::{Transport, found_in, literal, not_texts, unknown_fields};
use super::with::text;
use crate::refusal::{Need, of_read, of_write};

pub(super) const KIND: KindSpec = KindSpec {
    name: "mcp.call",
    description: "A call of a tool of a configured MCP server.",
    with: &[
        Field::required(
            "server",
            "a name of `[[mcp_servers]]` in the configuration file, or `gitea`",
        ),
        Field::required("tool", "the tool's name"),
        Field::optional("arguments", "the tool's arguments"),
        Field::optional(
            "output",
            "the fields of the answer that are kept; none by default",
        ),
        Field::optional("check", "how to look: {tool, arguments, found, absent}"),
        Field::optional(
            "undo",
            "how to take it back: {tool, arguments, absent}; may name `output.FIELD`",
        ),
        Field::optional("resource", "a name that only one run at a time holds"),
    ],
    outputs: &[],
};

/// The MCP servers that a workflow may call.
pub(super) struct Mcp {
    pub(super) servers: BTreeMap<String, McpClient>,
}

/// How long a tool may take; below the settle time.
const DEADLINE: Duration = Duration::from_secs(15);

impl Mcp {
    fn server(&self, call: &Value) -> Result<&McpClient, StepError> {
        let name = text(call, "server");
        self.servers.get(name).ok_or_else(|| {
            StepError::refused("input.invalid", self.no_server(name))
                .remedy("add it as [[mcp_servers]] to the configuration file")
        })
    }

    fn no_server(&self, name: &str) -> String {
        let known: Vec<&str> = self.servers.keys().map(String::as_str).collect();
        format!(
            "no MCP server `{name}` is configured; there are {}",
            known.join(", ")
        )
    }

    async fn answer(&self, call: &Value, reads: bool) -> Result<ToolAnswer, StepError> {
        let (server, tool) = (self.server(call)?, text(call, "tool"));
        let operation = format!("call {tool}");
        let arguments = match &call["arguments"] {
            Value::Null => json!({}),
            given => given.clone(),
        };
        let known = tokio::time::timeout(DEADLINE, server.tools()).await;
        // Servers differ in what they answer for a tool that they do not have; asked before, nothing was sent.
        if let Ok(Ok(known)) = known
            && !known.contains(tool)
        {
            let message = format!("the MCP server {} has no tool {tool}", text(call, "server"));
            return Err(StepError::refused("mcp.no_tool", message)
                .remedy("correct the workflow file, or look at that server"));
        }
        let answer = server.call(&operation, tool, arguments, DEADLINE).await;
        answer.map_err(|error| {
            let credential = server.token().origin().to_string();
            let need = Need {
                credential: &credential,
                right: &format!("the right to call {tool}"),
                fix: "grant it on that server, or put another token into the configuration",
            };
            if reads {
                of_read(error, &need)
            } else {
                of_write(error, &need)
            }
        })
    }
}

/// A tool that says that it failed counts as not having acted.
fn failed(call: &Value, answer: &ToolAnswer) -> StepError {
    let said: String = answer.text.chars().take(300).collect();
    let message = format!(
        "the tool {} of {} failed: {said}",
        text(call, "tool"),
        text(call, "server")
    );
    StepError::refused("mcp.tool_failed", message)
        .remedy("correct the step's arguments, or look at that server")
}

fn is_absent(part: &Value, answer: &ToolAnswer) -> bool {
    let absent = text(part, "absent").to_ascii_lowercase();
    answer.is_error && !absent.is_empty() && answer.text.to_ascii_lowercase().contains(&absent)
}

fn value(answer: ToolAnswer) -> Value {
    match answer.value {
        Some(value @ Value::Object(_)) => value,
        Some(other) => json!({"value": other, "text": answer.text}),
        None => json!({"text": answer.text}),
    }
}

#[async_trait]
impl Transport for Mcp {
    async fn call(&self, call: &Value) -> Result<Value, StepError> {
        let answer = self.answer(call, false).await?;
        if answer.is_error {
            // With a `check` it is looked at all the same: a tool may fail half-way.
            let effect = if call["check"].is_null() {
                Effect::None
            } else {
                Effect::Possible
            };
            return Err(failed(call, &answer).effect(effect));
        }
        Ok(value(answer))
    }

    async fn look(&self, check: &Value) -> Result<Option<Value>, StepError> {
        let answer = self.answer(check, true).await?;
        if is_absent(check, &answer) {
            return Ok(None);
        }
        if answer.is_error {
            return Err(failed(check, &answer));
        }
        Ok(found_in(value(answer), check))
    }

    async fn undo(&self, undo: &Value) -> Result<bool, StepError> {
        let answer = self.answer(undo, false).await?;
        if is_absent(undo, &answer) {
            return Ok(false);
        }
        if answer.is_error {
            return Err(failed(undo, &answer).command(self.title(undo)));
        }
        Ok(true)
    }

    fn problems(&self, with: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        for part in [with, &with["check"], &with["undo"]] {
            if let Some(name) = literal(&part["server"])
                && !self.servers.contains_key(name)
            {
                problems.push(self.no_server(name));
            }
            problems.extend(not_texts(part, &["server", "tool", "absent"]));
            let arguments = &part["arguments"];
            if !arguments.is_null() && !arguments.is_object() {
                problems.push(format!("`arguments` must be a map, not {arguments}"));
            }
        }
        problems.extend(unknown_fields(
            &with["check"],
            "check",
            &["server", "tool", "arguments", "found", "absent"],
        ));
        problems.extend(unknown_fields(
            &with["undo"],
            "undo",
            &["server", "tool", "arguments", "absent"],
        ));
        for part in ["check", "undo"] {
            if with[part].is_object() && with[part]["tool"].is_null() {
                problems.push(format!("`{part}` needs a `tool`"));
            }
        }
        if with["check"].is_object()
            && with["check"]["found"].is_null()
            && with["check"]["absent"].is_null()
        {
            problems.push(
                "`check` needs `found` (a JSON pointer to what is there) or `absent` (a text of the tool's failure)"
                    .into(),
            );
        }
        problems
    }

    fn title(&self, call: &Value) -> String {
        format!(
            "tool {} of MCP server {} with {}",
            text(call, "tool"),
            text(call, "server"),
            call["arguments"]
        )
    }
}
