//! Output schemas of the tools (JSON Schema 2020-12). They fit failures too: clients check those as well.

use rmcp::model::JsonObject;
use serde_json::{Value, json};

/// The fields of a schema that is an object.
pub(crate) fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(fields) => fields,
        _ => JsonObject::new(),
    }
}

fn or_null(schema: Value) -> Value {
    json!({"anyOf": Value::Array(vec![schema, json!({"type": "null"})])})
}

fn text_or_null() -> Value {
    or_null(json!({"type": "string"}))
}

fn error() -> Value {
    or_null(json!({
        "type": "object",
        "properties": {
            "code": {"type": "string", "description": "Stable and dotted, for example project.not_ours."},
            "step": text_or_null(),
            "message": {"type": "string"},
            "retryable": {"type": "boolean"},
            "retry_after_ms": or_null(json!({"type": "integer"})),
            "remedy": text_or_null(),
        },
        "required": ["code", "step", "message", "retryable", "retry_after_ms", "remedy"],
    }))
}

fn state() -> Value {
    json!({"type": "string", "enum": ["planned", "running", "interrupted", "succeeded", "compensating", "compensated", "failed", "stuck", "abandoned"]})
}

fn artifact(fields: &[(&str, Value)]) -> Value {
    let mut properties = JsonObject::new();
    for (name, schema) in fields {
        properties.insert((*name).to_owned(), schema.clone());
    }
    properties.insert(
        "origin".into(),
        json!({"type": "string", "enum": ["created", "existing", "adopted"]}),
    );
    or_null(json!({"type": "object", "properties": properties, "required": ["origin"]}))
}

fn access() -> Value {
    or_null(json!({
        "type": "object",
        "description": "A bearer for this project's tools alone; shown once.",
        "properties": {"token": {"type": "string"}, "scopes": {"type": "array", "items": {"type": "string"}}, "expires_at": {"type": "string"}},
        "required": ["token", "scopes", "expires_at"],
    }))
}

/// What `project_token` answers.
pub(crate) fn token_answer() -> Value {
    json!({
        "type": "object",
        "properties": {"project": {"type": "string"}, "access": access(), "error": error()},
        "required": ["project", "access", "error"],
    })
}

/// The RunView.
pub(crate) fn run_view() -> Value {
    let text = || json!({"type": "string"});
    let number = || json!({"type": "integer"});
    let repository = || artifact(&[("url", text()), ("clone_url", text()), ("id", number())]);
    json!({
        "type": "object",
        "properties": {
            "run_id": text_or_null(),
            "workflow": text_or_null(),
            "project": text_or_null(),
            "state": or_null(state()),
            "cause": or_null(json!({"type": "string", "enum": ["failure", "cancel"]})),
            "environment": {"type": "string", "enum": ["live", "sandbox"]},
            "joined": {"type": "boolean", "description": "The call joined a run that was under way."},
            "artifacts": {"type": "object", "properties": {
                "gitea_repository": repository(),
                "github_repository": repository(),
                "mirror": artifact(&[("remote", text()), ("verified", json!({"type": "boolean"})), ("refs", number()), ("head", text_or_null())]),
                "infra_namespace": artifact(&[("mode", text()), ("name", text()), ("uid", text()), ("objects", json!({"type": "array", "items": text()})), ("repository", text()), ("branch", text()), ("commit", text())]),
                "issue": artifact(&[("number", number()), ("url", text())]),
            }},
            "steps": {"type": "array", "items": {"type": "object", "properties": {
                "id": text(), "kind": text(),
                "state": {"type": "string", "enum": ["pending", "started", "applied", "existing", "adopted", "failed", "compensating", "compensated", "stuck", "skipped"]},
                "attempts": number(), "duration_ms": number(),
            }, "required": ["id", "kind", "state", "attempts", "duration_ms"]}},
            "warnings": {"type": "array", "items": text()},
            "left_behind": {"type": "array", "items": {"type": "object", "properties": {
                "artifact": text(), "why": text(), "command": text(),
            }, "required": ["artifact", "why", "command"]}},
            "error": error(),
            "access": access(),
            "plan": or_null(plan()),
            "outputs": {"type": "object", "description": "What the workflow's file names as outputs."},
        },
        "required": ["run_id", "workflow", "project", "state", "cause", "environment", "joined", "artifacts", "steps", "warnings", "left_behind", "error", "access", "plan"],
    })
}

fn plan() -> Value {
    let text = || json!({"type": "string"});
    let number = || json!({"type": "integer"});
    json!({"type": "object", "properties": {
        "plan_id": text_or_null(), "expires_at": text_or_null(), "blocked": number(),
        "items": {"type": "array", "items": {"type": "object", "properties": {
            "id": text(), "system": text(), "artifact": text(), "project": text(), "url": text_or_null(),
            "action": {"type": "string", "enum": ["create", "found", "update", "delete", "keep", "blocked"]},
            "why": text(), "evidence": text_or_null(), "command": text(),
            "result": or_null(json!({"type": "string", "enum": ["deleted", "archived", "replaced", "kept", "blocked", "gone", "failed"]})),
        }, "required": ["id", "system", "artifact", "project", "url", "action", "why", "evidence", "command"]}},
        "counts": {"type": "object", "properties": {
            "create": number(), "found": number(), "update": number(), "delete": number(), "keep": number(), "blocked": number(),
        }},
        "needs": {"type": "object", "properties": {
            "rights": {"type": "array", "items": {"type": "object", "properties": {
                "variable": text(), "right": text(), "ok": or_null(json!({"type": "boolean"})),
            }, "required": ["variable", "right", "ok"]}},
            "requests": {"type": "object", "properties": {
                "gitea": number(), "gitea_mcp": number(), "github": number(), "kubernetes": number(),
            }},
        }},
    }, "required": ["plan_id", "expires_at", "items", "counts", "blocked", "needs"]})
}

/// A plan that is applied by a second call, or a refusal.
pub(crate) fn plan_answer() -> Value {
    let mut plan = plan();
    plan["properties"]["run_id"] = text_or_null();
    plan["properties"]["state"] = or_null(state());
    plan["properties"]["error"] = error();
    plan["properties"]["warnings"] = json!({"type": "array", "items": {"type": "string"}});
    plan
}

/// What `project_check` answers.
pub(crate) fn check_report() -> Value {
    let text = || json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {
            "project": text(),
            "drift": {"type": "boolean", "description": "Something is not as it was made."},
            "items": {"type": "array", "items": {"type": "object", "properties": {
                "artifact": text(), "state": {"type": "string", "enum": ["ok", "missing", "changed", "foreign", "unreachable"]},
                "expected": text(), "observed": text(), "detail": text(),
            }, "required": ["artifact", "state", "expected", "observed", "detail"]}},
            "error": error(),
        },
        "required": ["project", "drift", "items"],
    })
}

/// What doctor answers.
pub(crate) fn report() -> Value {
    json!({
        "type": "object",
        "properties": {
            "ok": {"type": "boolean", "description": "No check failed."},
            "checks": {"type": "array", "items": {"type": "object", "properties": {
                "id": {"type": "string"}, "status": {"type": "string", "enum": ["ok", "warn", "fail", "skip"]},
                "subject": {"type": "string"}, "detail": {"type": "string"}, "remedy": text_or_null(),
            }, "required": ["id", "status", "subject", "detail", "remedy"]}},
            "error": error(),
        },
        "required": ["ok", "checks"],
    })
}

/// The list of projects.
pub(crate) fn project_list() -> Value {
    json!({
        "type": "object",
        "properties": {
            "projects": {"type": "array", "items": {"type": "object", "properties": {
                "project": {"type": "string"}, "state": state(), "run_id": {"type": "string"},
                "updated_at": {"type": "string"}, "expires_at": text_or_null(), "url": text_or_null(),
            }, "required": ["project", "state", "run_id", "updated_at", "expires_at", "url"]}},
            "next_cursor": text_or_null(),
            "error": error(),
        },
        "required": ["projects", "next_cursor"],
    })
}
