//! `doctor`: everything that can be known before anything is made.

use forgeline_provision::{Report, Status};
use rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};

use super::{Answer, Nature, arguments};
use crate::handler::Server;
use crate::schema;

pub(super) fn tool() -> Tool {
    super::tool(
        "doctor".into(),
        "Doctor",
        "Looks at every token, right and system that a project needs, and says what to mend. Changes nothing.".into(),
        json!({"type": "object", "properties": {
            "only": {"type": "array", "items": {"type": "string"}, "description": "Only checks whose id begins so, for example github."},
        }, "additionalProperties": false}),
        schema::report(),
        Nature {
            read_only: true,
            destructive: false,
            idempotent: true,
        },
    )
}

pub(super) async fn call(server: &Server, given: &JsonObject) -> Answer {
    let read = || {
        arguments::only(given, &["only"])?;
        arguments::texts(given, "only")
    };
    let report = match read() {
        Ok(only) => server.provisioner().doctor(&only).await,
        Err(error) => Report {
            error: Some(error),
            ..Report::default()
        },
    };
    Answer {
        failed: report.error.is_some(),
        text: text(&report),
        value: serde_json::to_value(&report).unwrap_or(Value::Null),
    }
}

fn text(report: &Report) -> String {
    if let Some(error) = &report.error {
        return format!("{}: {}", error.code, error.message);
    }
    let told = report
        .checks
        .iter()
        .filter(|check| matches!(check.status, Status::Fail | Status::Warn));
    let lines: Vec<String> = told
        .map(|check| {
            let remedy = check.remedy.clone().unwrap_or_default();
            format!(
                "{}: {} ({}). Fix: {remedy}",
                check.id, check.detail, check.subject
            )
        })
        .collect();
    if lines.is_empty() {
        format!("all {} checks passed", report.checks.len())
    } else {
        lines.join("\n")
    }
}
