//! `forgeline cleanup`, `delete` and `mirror-rotate`: a plan first, then exactly that plan.

use forgeline_provision::{CleanupQuery, Plan};
use serde_json::{Map, Value, json};

use super::remote::Server;
use super::{local, plans, runs};
use crate::cli::{Cleanup, Delete, MirrorRotate};
use crate::env::Env;
use crate::{exit, wire};

pub(super) async fn cleanup(env: &Env, args: Cleanup) -> u8 {
    if args.sandbox {
        return runs::no_sandbox();
    }
    let again = "forgeline cleanup --plan-id";
    let format = args.output.format;
    match Server::named(env, &args.remote) {
        Ok(Some(server)) => {
            let given = [
                (
                    "match",
                    (!args.matching.is_empty()).then(|| json!(args.matching)),
                ),
                (
                    "older_than",
                    Some(json!(format!("{}s", args.older_than.as_secs()))),
                ),
                ("max", Some(json!(args.max))),
            ];
            let asked = Asked {
                tool: "cleanup_test_repos",
                given: arguments(given),
                always: Map::new(),
                plan_id: args.plan_id,
                at_once: args.apply,
            };
            let plan = over_there(&server, asked).await;
            return ended(plans::show(&plan, again, format), &plan, args.apply);
        }
        Ok(None) => {}
        Err(code) => return code,
    }
    let provisioner = match wire::writer(env, "forgeline cleanup").await {
        Ok(provisioner) => provisioner,
        Err(error) => return plans::refuse(&error, format),
    };
    let actor = local(env);
    let plan = match &args.plan_id {
        Some(plan_id) => provisioner.cleanup_apply(plan_id, &actor, None).await,
        None => provisioner.cleanup_plan(&query(&args), &actor).await,
    };
    let plan = match applicable(&plan).filter(|_| args.apply) {
        Some(plan_id) => provisioner.cleanup_apply(&plan_id, &actor, None).await,
        None => plan,
    };
    ended(plans::show(&plan, again, format), &plan, args.apply)
}

/// A schedule hears of what is blocked, also where nothing else was to be done.
fn ended(code: u8, plan: &Plan, apply: bool) -> u8 {
    if apply && code == exit::OK && plan.blocked > 0 {
        return exit::LEFT;
    }
    code
}

pub(super) async fn delete(env: &Env, args: Delete) -> u8 {
    if args.sandbox {
        return runs::no_sandbox();
    }
    let again = format!("forgeline delete {} --plan-id", args.project);
    let format = args.output.format;
    match Server::named(env, &args.remote) {
        Ok(Some(server)) => {
            let asked = Asked {
                tool: "project_delete",
                given: arguments([("archive", args.archive.then(|| json!(true)))]),
                always: arguments([("project", Some(json!(args.project)))]),
                plan_id: args.plan_id,
                at_once: false,
            };
            return plans::show(&over_there(&server, asked).await, &again, format);
        }
        Ok(None) => {}
        Err(code) => return code,
    }
    let provisioner = match wire::writer(env, "forgeline delete").await {
        Ok(provisioner) => provisioner,
        Err(error) => return plans::refuse(&error, format),
    };
    let actor = local(env);
    let plan = match &args.plan_id {
        Some(plan_id) => {
            provisioner
                .delete_apply(&args.project, plan_id, &actor, None)
                .await
        }
        None => {
            provisioner
                .delete_plan(&args.project, args.archive, &actor)
                .await
        }
    };
    plans::show(&plan, &again, format)
}

pub(super) async fn rotate(env: &Env, args: MirrorRotate) -> u8 {
    if args.sandbox {
        return runs::no_sandbox();
    }
    let again = "forgeline mirror-rotate --plan-id";
    let format = args.output.format;
    match Server::named(env, &args.remote) {
        Ok(Some(server)) => {
            let asked = Asked {
                tool: "mirror_rotate",
                given: arguments([(
                    "project",
                    (!args.projects.is_empty()).then(|| json!(args.projects)),
                )]),
                always: Map::new(),
                plan_id: args.plan_id,
                at_once: false,
            };
            return plans::show(&over_there(&server, asked).await, again, format);
        }
        Ok(None) => {}
        Err(code) => return code,
    }
    let provisioner = match wire::writer(env, "forgeline mirror-rotate").await {
        Ok(provisioner) => provisioner,
        Err(error) => return plans::refuse(&error, format),
    };
    let actor = local(env);
    let plan = match &args.plan_id {
        Some(plan_id) => provisioner.rotate_apply(plan_id, &actor, None).await,
        None => provisioner.rotate_plan(&args.projects, &actor).await,
    };
    plans::show(&plan, again, format)
}

fn query(args: &Cleanup) -> CleanupQuery {
    CleanupQuery {
        matching: (!args.matching.is_empty()).then(|| args.matching.clone()),
        older_than: args.older_than,
        max: args.max,
    }
}

/// The name of a plan that was made and refused nothing.
fn applicable(plan: &Plan) -> Option<String> {
    plan.plan_id
        .clone()
        .filter(|_| plan.error.is_none() && plan.run_id.is_none())
}

/// A call of a server's tool that answers a plan.
struct Asked {
    tool: &'static str,
    /// What makes the plan.
    given: Map<String, Value>,
    /// What goes with both calls.
    always: Map<String, Value>,
    plan_id: Option<String>,
    /// Plan and apply.
    at_once: bool,
}

async fn over_there(server: &Server, asked: Asked) -> Plan {
    let apply = async |plan_id: String| {
        let mut arguments = asked.always.clone();
        arguments.insert("plan_id".into(), json!(plan_id));
        server.plan_to_its_end(asked.tool, arguments).await
    };
    if let Some(plan_id) = asked.plan_id.clone() {
        return apply(plan_id).await;
    }
    let mut arguments = asked.given.clone();
    arguments.extend(asked.always.clone());
    let plan = server.plan(asked.tool, arguments).await;
    match applicable(&plan).filter(|_| asked.at_once) {
        Some(plan_id) => apply(plan_id).await,
        None => plan,
    }
}

fn arguments<const N: usize>(given: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let given = given.into_iter();
    given
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}
