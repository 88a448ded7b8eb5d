//! `project_check` and `project_renew`.

use std::time::Duration;

use forgeline_auth::Scope;
use forgeline_provision::{Actor, CheckReport, ErrorView, RunView};
use rmcp::model::{JsonObject, Tool};
use serde_json::json;

use super::{Answer, Nature, WAIT, arguments, tool};
use crate::handler::Server;
use crate::schema;

pub(super) fn tools() -> Vec<(Scope, Tool)> {
    let project = json!({"type": "string", "description": "The project's name."});
    vec![
        (Scope::Read, tool(
            "project_check".into(),
            "Check a project",
            "Looks at everything that a project is made of, now: what is missing, changed, foreign or unreachable. Changes nothing; repeating the call that made the project repairs it.".into(),
            json!({"type": "object", "properties": {"project": project}, "required": ["project"], "additionalProperties": false}),
            schema::check_report(),
            Nature { read_only: true, destructive: false, idempotent: true },
        )),
        (Scope::Create, tool(
            "project_renew".into(),
            "Renew a throwaway",
            "Lets a throwaway project end this much later from now.".into(),
            json!({"type": "object", "properties": {
                "project": project,
                "ttl": {"type": "string", "description": "How long from now, for example 24h."},
                "wait_seconds": {"type": "integer", "minimum": 0, "maximum": 300},
            }, "required": ["project", "ttl"], "additionalProperties": false}),
            schema::run_view(),
            Nature { read_only: false, destructive: false, idempotent: true },
        )),
    ]
}

pub(super) async fn check(server: &Server, given: &JsonObject) -> Answer {
    let read = || {
        arguments::only(given, &["project"])?;
        arguments::required(given, "project")
    };
    let report = match read() {
        Ok(project) => server.provisioner().check(project).await,
        Err(error) => CheckReport {
            error: Some(error),
            ..CheckReport::default()
        },
    };
    let text = match &report.error {
        Some(error) => format!("{}: {}", error.code, error.message),
        None if report.drift => {
            let drifted = report
                .items
                .iter()
                .filter(|item| item.state != forgeline_provision::CheckState::Ok);
            let drifted: Vec<String> = drifted
                .map(|item| format!("{}: {}", item.artifact, item.observed))
                .collect();
            format!("{} has drifted: {}", report.project, drifted.join("; "))
        }
        None => format!("{}: no drift", report.project),
    };
    Answer {
        failed: report.error.is_some(),
        value: serde_json::to_value(&report).unwrap_or_default(),
        text,
    }
}

pub(super) async fn renew(server: &Server, given: JsonObject, actor: &Actor) -> Answer {
    let provisioner = server.provisioner();
    let read = || -> Result<(&str, &str, Duration), ErrorView> {
        arguments::only(&given, &["project", "ttl", "wait_seconds"])?;
        Ok((
            arguments::required(&given, "project")?,
            arguments::required(&given, "ttl")?,
            arguments::wait(&given)?.unwrap_or(WAIT),
        ))
    };
    let view = match read() {
        Ok((project, ttl, wait)) => provisioner.renew(project, ttl, actor, Some(wait)).await,
        Err(error) => RunView::refused(provisioner.environment(), None, error),
    };
    Answer::of_run(&view)
}
