//! The tools that remove or replace things: a plan first, then exactly that plan.

use std::time::Duration;

use forgeline_auth::Scope;
use forgeline_provision::{Actor, CleanupQuery, ErrorView, Plan};
use rmcp::RoleServer;
use rmcp::model::JsonObject;
use rmcp::service::RequestContext;
use serde_json::{Value, json};

use super::{Answer, Nature, Offer, WAIT, arguments, tool};
use crate::handler::Server;
use crate::{progress, schema};

const NATURE: Nature = Nature {
    read_only: false,
    destructive: true,
    idempotent: true,
};

/// Whether a call of such a tool only looks: it names no plan.
pub(super) fn only_looks(given: &JsonObject) -> bool {
    given.get("plan_id").is_none_or(Value::is_null)
}

pub(super) fn offers() -> Vec<Offer> {
    let project = json!({"type": "string", "description": "The project's name."});
    let cleanup = json!({
        "match": {"type": "array", "items": {"type": "string"}, "description": "Globs on the name; given, they filter every item. Default: what bears forgeline's marks, and of the rest test-throwaway-*."},
        "older_than": {"type": "string", "default": "1h", "description": "Keep what is younger, for example 30m, 1h, 7d."},
        "max": {"type": "integer", "minimum": 0, "maximum": 10000, "default": 20, "description": "More deletions than this make no plan that can be applied."},
    });
    let delete = json!({
        "project": project,
        "archive": {"type": "boolean", "default": false, "description": "Make its repositories read-only instead."},
    });
    let rotate = json!({
        "project": {"type": "array", "items": {"type": "string"}, "description": "Only the mirrors of these projects; default: all."},
    });
    vec![
        offer(
            "cleanup_test_repos",
            "Clean up test repositories",
            "Finds what lies about and nobody needs: throwaways past their time, what failed runs left, test repositories without any mark; on both forges, in the cluster and in the infra repository. Without plan_id it answers the plan and removes nothing; with plan_id it removes exactly what that plan shows, if it is unchanged.",
            cleanup,
            &[],
        ),
        offer(
            "project_delete",
            "Delete a project",
            "Deletes what forgeline made for a project and nobody has used since. Without plan_id it answers the plan and removes nothing; with plan_id it does exactly that.",
            delete,
            &["project"],
        ),
        offer(
            "mirror_rotate",
            "Rotate mirror tokens",
            "Gives the mirrors that forgeline made the present mirror token: adds a new one, proves it, removes the old one. Without plan_id it answers the plan and changes nothing; with plan_id it does exactly that.",
            rotate,
            &[],
        ),
    ]
}

fn offer(
    name: &str,
    title: &str,
    description: &str,
    mut properties: Value,
    required: &[&str],
) -> Offer {
    let schema = |properties: &Value| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    let looking = tool(
        name.into(),
        title,
        format!("{description} Your bearer allows plans only."),
        schema(&properties),
        schema::plan_answer(),
        Nature {
            read_only: true,
            destructive: false,
            idempotent: true,
        },
    );
    properties["plan_id"] = json!({"type": "string", "description": "The plan_id of a plan that was shown before: apply exactly that."});
    properties["wait_seconds"] = json!({"type": "integer", "minimum": 0, "maximum": 300, "description": "With plan_id: how long the call waits for the end."});
    let whole = tool(
        name.into(),
        title,
        description.into(),
        schema(&properties),
        schema::plan_answer(),
        NATURE,
    );
    Offer::planned(Scope::Delete, whole, looking)
}

/// A tool's name is one of these.
pub(super) fn is_one(name: &str) -> bool {
    matches!(
        name,
        "cleanup_test_repos" | "project_delete" | "mirror_rotate"
    )
}

pub(super) async fn call(
    server: &Server,
    name: &str,
    given: JsonObject,
    actor: &Actor,
    context: &RequestContext<RoleServer>,
) -> Answer {
    let plan = match asked(name, &given) {
        Ok(Asked::Plan(what)) => planned(server, what, actor).await,
        Ok(Asked::Apply {
            plan_id,
            project,
            wait,
        }) => {
            return applied(
                server,
                name,
                (&plan_id, project.as_deref(), wait),
                actor,
                context,
            )
            .await;
        }
        Err(error) => Plan::refused(error),
    };
    answer(&plan)
}

/// What a call wants.
enum Asked {
    Plan(What),
    Apply {
        plan_id: String,
        project: Option<String>,
        wait: Duration,
    },
}

/// What a plan is for.
enum What {
    Cleanup(CleanupQuery),
    Delete { project: String, archive: bool },
    Rotate(Vec<String>),
}

fn asked(name: &str, given: &JsonObject) -> Result<Asked, ErrorView> {
    let mut known = vec!["plan_id", "wait_seconds"];
    known.extend(match name {
        "cleanup_test_repos" => ["match", "older_than", "max"].as_slice(),
        "project_delete" => &["project", "archive"],
        _ => &["project"],
    });
    arguments::only(given, &known)?;
    let wait = arguments::wait(given)?.unwrap_or(WAIT);
    if let Some(plan_id) = arguments::text(given, "plan_id")? {
        let project = match name {
            "project_delete" => Some(arguments::required(given, "project")?.to_owned()),
            _ => None,
        };
        return Ok(Asked::Apply {
            plan_id: plan_id.to_owned(),
            project,
            wait,
        });
    }
    Ok(Asked::Plan(match name {
        "cleanup_test_repos" => What::Cleanup(query(given)?),
        "project_delete" => What::Delete {
            project: arguments::required(given, "project")?.to_owned(),
            archive: archive(given)?,
        },
        _ => What::Rotate(arguments::texts(given, "project")?),
    }))
}

fn archive(given: &JsonObject) -> Result<bool, ErrorView> {
    match given.get("archive") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(archive)) => Ok(*archive),
        Some(other) => Err(arguments::bad(format!(
            "`archive` must be true or false, not {other}"
        ))),
    }
}

fn query(given: &JsonObject) -> Result<CleanupQuery, ErrorView> {
    let matching = arguments::texts(given, "match")?;
    let mut query = CleanupQuery {
        matching: (!matching.is_empty()).then_some(matching),
        ..CleanupQuery::default()
    };
    if let Some(text) = arguments::text(given, "older_than")? {
        query.older_than = forgeline_provision::duration(text).ok_or_else(|| {
            arguments::bad(format!(
                "`older_than` is `{text}`; write it like 30m, 1h or 7d"
            ))
        })?;
    }
    if let Some(max) = arguments::number(given, "max", 10_000)? {
        query.max = usize::try_from(max).unwrap_or(usize::MAX);
    }
    Ok(query)
}

async fn planned(server: &Server, what: What, actor: &Actor) -> Plan {
    let provisioner = server.provisioner();
    match what {
        What::Cleanup(query) => provisioner.cleanup_plan(&query, actor).await,
        What::Delete { project, archive } => {
            provisioner.delete_plan(&project, archive, actor).await
        }
        What::Rotate(projects) => provisioner.rotate_plan(&projects, actor).await,
    }
}

async fn applied(
    server: &Server,
    name: &str,
    (plan_id, project, wait): (&str, Option<&str>, Duration),
    actor: &Actor,
    context: &RequestContext<RoleServer>,
) -> Answer {
    let begun = apply(server, name, (plan_id, project), actor, Duration::ZERO).await;
    let live = begun
        .state
        .is_some_and(forgeline_step_engine::RunState::is_live);
    let run = begun
        .run_id
        .as_ref()
        .filter(|_| live)
        .and_then(|run| run.parse().ok());
    match run {
        Some(run) => {
            let waiting = apply(server, name, (plan_id, project), actor, wait);
            let engine = server.provisioner().engine();
            answer(&progress::told(engine, &run, context, waiting).await)
        }
        None => answer(&begun),
    }
}

async fn apply(
    server: &Server,
    name: &str,
    (plan_id, project): (&str, Option<&str>),
    actor: &Actor,
    limit: Duration,
) -> Plan {
    let (provisioner, limit) = (server.provisioner(), Some(limit));
    match (name, project) {
        ("cleanup_test_repos", _) => provisioner.cleanup_apply(plan_id, actor, limit).await,
        ("project_delete", Some(project)) => {
            provisioner
                .delete_apply(project, plan_id, actor, limit)
                .await
        }
        _ => provisioner.rotate_apply(plan_id, actor, limit).await,
    }
}

fn answer(plan: &Plan) -> Answer {
    let text = match (&plan.error, &plan.run_id, &plan.plan_id) {
        (Some(error), _, _) => format!("{}: {}", error.code, error.message),
        (None, Some(run), _) => {
            let became: Vec<String> = plan
                .items
                .iter()
                .filter_map(|item| {
                    let result = serde_json::to_value(item.result?).unwrap_or_default();
                    Some(format!(
                        "{} {}",
                        item.artifact,
                        result.as_str().unwrap_or_default()
                    ))
                })
                .collect();
            format!("run {run}: {}", became.join(", "))
        }
        (None, None, Some(plan_id)) => format!(
            "{} Nothing was done; show this to your user, then call again with plan_id {plan_id} to do exactly this",
            plan.summary()
        ),
        (None, None, None) => format!("{} There is nothing to do", plan.summary()),
    };
    Answer {
        failed: plan.error.is_some(),
        value: serde_json::to_value(plan).unwrap_or_default(),
        text,
    }
}
