//! `project_token`.

use forgeline_auth::{Caller, Scope};
use rmcp::model::{JsonObject, Tool};
use serde_json::json;

use super::{Answer, Nature, arguments};
use crate::handler::Server;
use crate::project_token::{Action, TokenAnswer, act};
use crate::schema;

pub(super) fn tools() -> Vec<(Scope, Tool)> {
    let tool = super::tool(
        "project_token".into(),
        "Project credential",
        "Gives a project's own credential anew, or takes it back. It allows project_status, project_check, project_renew and project_delete for that project alone, and is shown once.".into(),
        json!({"type": "object", "properties": {
            "project": {"type": "string", "description": "The project's name."},
            "action": {"type": "string", "enum": ["rotate", "revoke"], "description": "rotate: a new one, the old one no longer counts; revoke: none any more."},
        }, "required": ["project", "action"], "additionalProperties": false}),
        schema::token_answer(),
        Nature { read_only: false, destructive: true, idempotent: false },
    );
    vec![(Scope::Create, tool)]
}

pub(super) async fn call(server: &Server, given: &JsonObject, by: &Caller) -> Answer {
    let read = || {
        arguments::only(given, &["project", "action"])?;
        let word = arguments::required(given, "action")?;
        let action = Action::parse(word).ok_or_else(|| {
            arguments::bad(format!("`action` is `{word}`; there are rotate and revoke"))
        })?;
        Ok((arguments::required(given, "project")?, action))
    };
    let answer = match read() {
        Ok((project, action)) => {
            let tokens = &server.access().project_tokens;
            act(server.provisioner(), tokens, by, project, action).await
        }
        Err(error) => TokenAnswer {
            error: Some(error),
            ..TokenAnswer::default()
        },
    };
    let text = match (&answer.error, &answer.access) {
        (Some(error), _) => format!("{}: {}", error.code, error.message),
        (None, Some(access)) => format!(
            "a new credential for {} until {}; it is shown only here",
            answer.project, access.expires_at
        ),
        (None, None) => format!("{} has no credential any more", answer.project),
    };
    Answer {
        failed: answer.error.is_some(),
        value: serde_json::to_value(&answer).unwrap_or_default(),
        text,
    }
}
