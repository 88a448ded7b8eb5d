//! The tools that look at runs and act on them.

use std::time::Duration;

use forgeline_auth::Scope;
use forgeline_provision::{Actor, ErrorView, ProjectList, RunView};
use forgeline_step_engine::{Decision, RunState};
use rmcp::RoleServer;
use rmcp::model::{JsonObject, Tool};
use rmcp::service::RequestContext;
use serde_json::json;

use super::{Answer, Nature, WAIT, arguments, tool};
use crate::handler::Server;
use crate::{progress, schema};

const READ: Nature = Nature {
    read_only: true,
    destructive: false,
    idempotent: true,
};

pub(super) fn tools() -> Vec<(Scope, Tool)> {
    let wait = json!({"type": "integer", "minimum": 0, "maximum": 300, "description": "How long the call waits for the run to settle."});
    let run_id = json!({"type": "string", "description": "The run_id of an answer."});
    let states = json!([
        "running",
        "interrupted",
        "succeeded",
        "compensating",
        "compensated",
        "failed",
        "stuck",
        "abandoned"
    ]);
    vec![
        (Scope::Read, tool(
            "project_status".into(),
            "Project status",
            "Where a project's newest run, or one run, stands. Reads the journal only; with wait_seconds it waits for the run to settle.".into(),
            json!({"type": "object", "properties": {
                "project": {"type": "string", "description": "The project's name."},
                "run_id": run_id, "wait_seconds": wait,
            }, "additionalProperties": false}),
            schema::run_view(),
            READ,
        )),
        (Scope::Read, tool(
            "project_list".into(),
            "Project list",
            "All projects by their newest runs: stuck ones first, then the newest.".into(),
            json!({"type": "object", "properties": {
                "state": {"type": "string", "enum": states, "description": "Only projects in this state."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
                "cursor": {"type": "string", "description": "next_cursor of the page before."},
            }, "additionalProperties": false}),
            schema::project_list(),
            READ,
        )),
        (Scope::Create, tool(
            "run_resume".into(),
            "Resume a run",
            "Acts on a run that stands still: `continue` an interrupted or kept one, `retry_undo` of a stuck one, `skip` one of its steps, `abandon` it.".into(),
            json!({"type": "object", "properties": {
                "run_id": run_id,
                "action": {"type": "string", "enum": ["continue", "retry_undo", "skip", "abandon"], "default": "continue"},
                "step": {"type": "string", "description": "The step to skip."},
                "wait_seconds": wait,
            }, "required": ["run_id"], "additionalProperties": false}),
            schema::run_view(),
            Nature { read_only: false, destructive: true, idempotent: true },
        )),
        (Scope::Create, tool(
            "run_cancel".into(),
            "Cancel a run",
            "Starts nothing more, lets requests in flight end, then undoes what the run made.".into(),
            json!({"type": "object", "properties": {"run_id": run_id, "wait_seconds": wait},
                "required": ["run_id"], "additionalProperties": false}),
            schema::run_view(),
            Nature { read_only: false, destructive: true, idempotent: true },
        )),
    ]
}

fn refused(server: &Server, error: ErrorView) -> Answer {
    Answer::of_run(&RunView::refused(
        server.provisioner().environment(),
        None,
        error,
    ))
}

pub(super) async fn status(
    server: &Server,
    given: JsonObject,
    context: &RequestContext<RoleServer>,
) -> Answer {
    let read = || -> Result<_, ErrorView> {
        arguments::only(&given, &["project", "run_id", "wait_seconds"])?;
        Ok((
            arguments::text(&given, "project")?,
            arguments::text(&given, "run_id")?,
            arguments::wait(&given)?,
        ))
    };
    let (project, run_id, wait) = match read() {
        Ok(read) => read,
        Err(error) => return refused(server, error),
    };
    let provisioner = server.provisioner();
    let view = provisioner.status(project, run_id, None).await;
    let running = view
        .run_id
        .as_ref()
        .filter(|_| view.state.is_some_and(RunState::is_live))
        .and_then(|id| id.parse().ok());
    match (running, wait) {
        (Some(run), Some(wait)) => {
            let waiting = provisioner.status(None, view.run_id.as_deref(), Some(wait));
            Answer::of_look(&progress::told(provisioner.engine(), &run, context, waiting).await)
        }
        _ => Answer::of_look(&view),
    }
}

pub(super) async fn list(server: &Server, given: JsonObject) -> Answer {
    let read = || -> Result<_, ErrorView> {
        arguments::only(&given, &["state", "limit", "cursor"])?;
        let state = arguments::text(&given, "state")?;
        let state = state
            .map(|word| {
                RunState::parse(word)
                    .ok_or_else(|| arguments::bad(format!("there is no state `{word}`")))
            })
            .transpose()?;
        let limit = arguments::number(&given, "limit", 200)?.unwrap_or(50);
        if limit == 0 {
            return Err(arguments::bad(
                "`limit` must be a whole number from 1 to 200, not 0".into(),
            ));
        }
        Ok((
            state,
            usize::try_from(limit).unwrap_or(50),
            arguments::text(&given, "cursor")?,
        ))
    };
    let list = match read() {
        Ok((state, limit, cursor)) => server.provisioner().list(state, limit, cursor).await,
        Err(error) => ProjectList {
            error: Some(error),
            ..ProjectList::default()
        },
    };
    let text = match &list.error {
        Some(error) => format!("{}: {}", error.code, error.message),
        None => format!("{} project(s)", list.projects.len()),
    };
    Answer {
        failed: list.error.is_some(),
        value: serde_json::to_value(&list).unwrap_or_default(),
        text,
    }
}

pub(super) async fn resume(
    server: &Server,
    given: JsonObject,
    actor: &Actor,
    context: &RequestContext<RoleServer>,
) -> Answer {
    let read = || -> Result<_, ErrorView> {
        arguments::only(&given, &["run_id", "action", "step", "wait_seconds"])?;
        let decision = match arguments::text(&given, "action")?.unwrap_or("continue") {
            "continue" => Decision::Continue,
            "retry_undo" => Decision::RetryUndo,
            "skip" => Decision::Skip(arguments::required(&given, "step")?.to_owned()),
            "abandon" => Decision::Abandon,
            other => return Err(arguments::bad(format!("there is no action `{other}`"))),
        };
        Ok((
            arguments::required(&given, "run_id")?,
            decision,
            arguments::wait(&given)?.unwrap_or(WAIT),
        ))
    };
    match read() {
        Ok((run_id, decision, wait)) => {
            let acting = server
                .provisioner()
                .resume(run_id, decision, actor, Some(wait));
            followed(server, run_id, context, acting).await
        }
        Err(error) => refused(server, error),
    }
}

pub(super) async fn cancel(
    server: &Server,
    given: JsonObject,
    actor: &Actor,
    context: &RequestContext<RoleServer>,
) -> Answer {
    let read = || -> Result<(&str, Duration), ErrorView> {
        arguments::only(&given, &["run_id", "wait_seconds"])?;
        Ok((
            arguments::required(&given, "run_id")?,
            arguments::wait(&given)?.unwrap_or(WAIT),
        ))
    };
    match read() {
        Ok((run_id, wait)) => {
            let acting = server.provisioner().cancel(run_id, actor, Some(wait));
            followed(server, run_id, context, acting).await
        }
        Err(error) => refused(server, error),
    }
}

async fn followed(
    server: &Server,
    run_id: &str,
    context: &RequestContext<RoleServer>,
    acting: impl Future<Output = RunView>,
) -> Answer {
    match run_id.parse() {
        Ok(run) => Answer::of_run(
            &progress::told(server.provisioner().engine(), &run, context, acting).await,
        ),
        Err(_) => Answer::of_run(&acting.await),
    }
}
