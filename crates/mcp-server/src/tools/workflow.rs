//! A workflow as a tool: its inputs, and what every run takes besides.

use forgeline_auth::{Caller, Scope};
use forgeline_provision::{Actor, Call, Entry, ErrorView, RunView, Started};
use forgeline_step_engine::journal::RunOptions;
use forgeline_step_engine::{OnFailure, Workflow};
use rmcp::RoleServer;
use rmcp::model::{JsonObject, Tool};
use rmcp::service::RequestContext;
use serde_json::{Value, json};

use super::{Answer, Nature, Offer, WAIT, arguments};
use crate::handler::Server;
use crate::{progress, schema};

/// The workflow whose callers may ask for a credential.
const PROJECT_CREATE: &str = "project_create";

fn input(workflow: &Workflow) -> Value {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for input in &workflow.inputs {
        properties.insert(input.name.clone(), input.schema());
        if input.required {
            required.push(input.name.clone());
        }
    }
    properties.insert(
        "adopt".into(),
        json!({"type": "boolean", "default": false, "description": "Use what exists and is not this project's: it is recorded as adopted and never undone. On GitHub only an empty repository can be adopted."}),
    );
    properties.insert(
        "on_failure".into(),
        json!({"type": "string", "enum": ["compensate", "keep"], "default": "compensate", "description": "After a failure, undo what this run made, or keep it."}),
    );
    properties.insert(
        "dry_run".into(),
        json!({"type": "boolean", "default": false, "description": "Only look, and answer the plan: what would be created, found, updated, blocked. Writes nothing."}),
    );
    properties.insert(
        "request_id".into(),
        json!({"type": "string", "minLength": 1, "maxLength": 200, "description": "Your name for this request: repeating it answers the same run, other inputs under it are refused."}),
    );
    properties.insert(
        "wait_seconds".into(),
        json!({"type": "integer", "minimum": 0, "maximum": 300, "default": 40, "description": "How long the call waits; the run goes on after it."}),
    );
    if workflow.name == PROJECT_CREATE {
        properties.insert(
            "issue_token".into(),
            json!({"type": "boolean", "default": false, "description": "Answer in `access` a bearer for this project's tools alone; an earlier one no longer counts."}),
        );
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// What a caller needs for a workflow: `forgeline:create` for those that ship, admin for a user's unless the file names
/// another.
fn scope(entry: &Entry) -> Scope {
    let named = entry.workflow.scope.as_deref().and_then(Scope::parse);
    let default = if entry.shipped {
        Scope::Create
    } else {
        Scope::Admin
    };
    named.unwrap_or(default)
}

pub(super) fn offer(entry: &Entry) -> Offer {
    let (scope, workflow) = (scope(entry), &entry.workflow);
    Offer {
        scope,
        tool: tool(workflow, input(workflow)),
        // Who may not know of an operator's workflow does not see its plan either.
        plan: (scope == Scope::Create).then(|| plan(workflow)),
        only_looks: super::is_dry_run,
    }
}

fn tool(workflow: &Workflow, input: Value) -> Tool {
    let mut title = workflow.name.replace('_', " ");
    title[..1].make_ascii_uppercase();
    let nature = Nature {
        read_only: false,
        destructive: false,
        idempotent: true,
    };
    super::tool(
        workflow.name.clone(),
        &title,
        workflow.description.clone(),
        input,
        schema::run_view(),
        nature,
    )
}

/// The tool of a caller who may only look.
fn plan(workflow: &Workflow) -> Tool {
    let mut input = input(workflow);
    input["properties"]["dry_run"] = json!({"type": "boolean", "const": true, "description": "Only look, and answer the plan: what would be created, found, updated, blocked. Your bearer allows nothing more."});
    if let Some(required) = input["required"].as_array_mut() {
        required.push(json!("dry_run"));
    }
    let tool = tool(workflow, input);
    let annotations = tool.annotations.clone().unwrap_or_default();
    tool.with_annotations(annotations.read_only(true))
}

pub(super) async fn call(
    server: &Server,
    workflow: &str,
    mut given: JsonObject,
    caller: &Caller,
    context: &RequestContext<RoleServer>,
) -> Answer {
    let provisioner = server.provisioner();
    let actor = &Actor::new(caller.name.clone());
    let project = given.get("name").and_then(Value::as_str).map(str::to_owned);
    let refused = |error: ErrorView| {
        Answer::of_run(&RunView::refused(
            provisioner.environment(),
            project.as_deref(),
            error,
        ))
    };
    let wait = match arguments::wait(&given) {
        Ok(wait) => wait.unwrap_or(WAIT),
        Err(error) => return refused(error),
    };
    let options = match options(&mut given) {
        Ok(options) => options,
        Err(error) => return refused(error),
    };
    let dry_run = match flag(&mut given, "dry_run") {
        Ok(dry_run) => dry_run,
        Err(error) => return refused(error),
    };
    let issues = match workflow == PROJECT_CREATE {
        true => flag(&mut given, "issue_token"),
        false => Ok(false),
    };
    let issues = match issues {
        Ok(issues) => issues,
        Err(error) => return refused(error),
    };
    let call = Call {
        workflow: workflow.to_owned(),
        inputs: given,
        options,
    };
    if dry_run {
        return Answer::of_run(&provisioner.plan(&call, actor).await);
    }
    let started: Started = match provisioner.start(&call, actor).await {
        Ok(started) => started,
        Err(view) => return Answer::of_run(&view),
    };
    let waiting = provisioner.wait(&started, Some(wait));
    let mut view = progress::told(provisioner.engine(), &started.run_id, context, waiting).await;
    if issues {
        let tokens = &server.access().project_tokens;
        crate::project_token::issue(provisioner, tokens, caller, &mut view).await;
    }
    Answer::of_run(&view)
}

/// Takes what is not an input of the workflow out of the arguments.
fn options(given: &mut JsonObject) -> Result<RunOptions, ErrorView> {
    given.remove("wait_seconds");
    let adopt = flag(given, "adopt")?;
    let request_id = match given.remove("request_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if (1..=200).contains(&id.chars().count()) => Some(id),
        Some(other) => {
            return Err(arguments::bad(format!(
                "`request_id` must be a string of 1 to 200 characters, not {other}"
            )));
        }
    };
    let on_failure = match given.remove("on_failure") {
        None | Some(Value::Null) => OnFailure::Compensate,
        Some(word) if word == "compensate" => OnFailure::Compensate,
        Some(word) if word == "keep" => OnFailure::Keep,
        Some(other) => {
            return Err(arguments::bad(format!(
                "`on_failure` must be compensate or keep, not {other}"
            )));
        }
    };
    Ok(RunOptions {
        adopt,
        on_failure,
        request_id,
        ..RunOptions::default()
    })
}

fn flag(given: &mut JsonObject, name: &str) -> Result<bool, ErrorView> {
    match given.remove(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(other) => Err(arguments::bad(format!(
            "`{name}` must be true or false, not {other}"
        ))),
    }
}
