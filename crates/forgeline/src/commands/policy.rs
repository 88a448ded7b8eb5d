//! `forgeline policy check` and `policy schema`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use forgeline_auth::policy::{About, Policy, schema};
use forgeline_auth::{Caller, Scope, Via};
use serde_json::json;

use crate::cli::{Format, PolicyCheck, PolicyCommand};
use crate::env::Env;
use crate::{exit, output, wire};

pub(super) async fn run(env: &Env, command: PolicyCommand) -> u8 {
    let tools = match wire::tools(env).await {
        Ok(tools) => tools,
        Err(error) => return super::refuse(&error),
    };
    match command {
        PolicyCommand::Schema => {
            output::print(schema(&tools).trim_end());
            exit::OK
        }
        PolicyCommand::Check(args) => check(env, &args, &tools),
    }
}

fn check(env: &Env, args: &PolicyCheck, tools: &[(String, Scope)]) -> u8 {
    let named = args.policy.clone();
    let named = named.or_else(|| env.filled("FORGELINE_POLICY").map(PathBuf::from));
    let Some(path) = named else {
        let help = "name one with --policy, or set FORGELINE_POLICY";
        output::complain("there is no policy: scopes decide alone", None, Some(help));
        return exit::USAGE;
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("{} cannot be read", path.display());
            output::complain(&what, Some(&error.to_string()), None);
            return exit::CONFIGURATION;
        }
    };
    let policy = match Policy::parse(&text, tools) {
        Ok(policy) => policy,
        Err(mistakes) => {
            for mistake in mistakes {
                let help = "`forgeline policy schema` prints what a policy may speak of";
                output::complain(&format!("{}: {mistake}", path.display()), None, Some(help));
            }
            return exit::CONFIGURATION;
        }
    };
    match (&args.caller, &args.tool) {
        (Some(caller), Some(tool)) => explain(args, &policy, tools, caller, tool),
        _ => {
            output::say(&format!("{} can be used", path.display()));
            exit::OK
        }
    }
}

fn explain(
    args: &PolicyCheck,
    policy: &Policy,
    tools: &[(String, Scope)],
    name: &str,
    tool: &str,
) -> u8 {
    if !tools.iter().any(|(known, _)| known == tool) {
        let known: Vec<&str> = tools.iter().map(|(name, _)| name.as_str()).collect();
        let help = format!("there are {}", known.join(", "));
        output::complain(&format!("there is no tool `{tool}`"), None, Some(&help));
        return exit::USAGE;
    }
    let caller = Caller {
        groups: args.groups.clone(),
        ..Caller::new(name, via(name), BTreeSet::new())
    };
    let hours = args.ttl.map_or(0, |ttl| ttl.as_secs().div_ceil(3600));
    let about = match &args.project {
        Some(project) => About {
            project: project.clone(),
            owners: args
                .owners
                .iter()
                .map(|owner| owner.to_lowercase())
                .collect(),
            namespace: args.namespace.clone().unwrap_or_else(|| project.clone()),
            throwaway: args.throwaway || args.ttl.is_some(),
            ttl_hours: i64::try_from(hours).unwrap_or(i64::MAX),
            plan: args.plan,
        },
        None => About {
            plan: args.plan,
            ..About::everything()
        },
    };
    let decision = policy.decide(&caller, tool, &about);
    let word = if decision.allowed {
        "allowed"
    } else {
        "refused"
    };
    if args.output.format == Format::Table {
        let because = match decision.because.as_slice() {
            [] => "no permit names this call".to_owned(),
            named => named.join("; "),
        };
        output::print(&format!("{word}: {because}"));
        for error in &decision.errors {
            output::say(&format!("not evaluated: {error}"));
        }
    } else {
        let answer = json!({
            "decision": word, "caller": name, "tool": tool, "project": about.project,
            "because": decision.because, "errors": decision.errors,
        });
        output::json(&answer);
    }
    if decision.allowed {
        exit::OK
    } else {
        exit::NOT_AUTHORISED
    }
}

/// How a caller of this name is known.
fn via(name: &str) -> Via {
    match name.split(':').next() {
        Some("oidc") => Via::Jwt,
        Some("local") => Via::Local,
        Some("project") => Via::Project,
        _ => Via::Static,
    }
}
