//! The tools: their schemas, and what a call does.

mod arguments;
mod check;
mod doctor;
mod plans;
mod runs;
mod token;
mod workflow;

use std::sync::Arc;
use std::time::Duration;

use forgeline_auth::{Caller, PROJECT_TOOLS, Scope};
use forgeline_provision::{
    Actor, CheckReport, ErrorView, Plan, ProjectList, Provisioner, Report, RunView,
};
use forgeline_step_engine::RunState;
use rmcp::RoleServer;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use rmcp::service::RequestContext;
use serde_json::Value;

use crate::handler::Server;
use crate::schema;

/// The wait of a call that does not say one.
const WAIT: Duration = Duration::from_secs(40);

/// What a tool answers.
pub(crate) struct Answer {
    /// The structured content; fits the tool's output schema, also on failure.
    pub(crate) value: Value,
    /// One or two sentences for the model and its user.
    pub(crate) text: String,
    /// A domain failure.
    pub(crate) failed: bool,
}

impl Answer {
    /// The end of a call that wanted something of a run: failed when the run did not get there.
    fn of_run(view: &RunView) -> Self {
        let failed = view.error.is_some() || view.state == Some(RunState::Stuck);
        Self {
            value: serde_json::to_value(view).unwrap_or_default(),
            text: sentence(view),
            failed,
        }
    }

    /// The answer to a question about a run: failed only when there is no answer.
    fn of_look(view: &RunView) -> Self {
        Self {
            failed: view.run_id.is_none(),
            ..Self::of_run(view)
        }
    }
}

/// A tool and who may use it.
pub(crate) struct Offer {
    pub(crate) scope: Scope,
    pub(crate) tool: Tool,
    /// The same tool for a caller who may only look: it answers plans. `None`: such a caller does not see it.
    plan: Option<Tool>,
    /// Whether a call with these arguments only looks.
    pub(crate) only_looks: fn(&JsonObject) -> bool,
}

/// What a caller may do with a tool.
pub(crate) enum Use<'a> {
    /// Call it.
    Call(&'a Tool),
    /// Call it for a plan.
    Plan(&'a Tool),
}

impl<'a> Use<'a> {
    /// The tool as that caller sees it.
    pub(crate) fn tool(&self) -> &'a Tool {
        match self {
            Self::Call(tool) | Self::Plan(tool) => tool,
        }
    }
}

impl Offer {
    /// What the caller may do with it. `None`: nothing, and it is not shown.
    pub(crate) fn to(&self, caller: &Caller) -> Option<Use<'_>> {
        if caller.project.is_some() && !PROJECT_TOOLS.contains(&self.tool.name.as_ref()) {
            return None;
        }
        if caller.may(self.scope) {
            return Some(Use::Call(&self.tool));
        }
        let plan = self.plan.as_ref().filter(|_| caller.may(Scope::Read));
        plan.map(Use::Plan)
    }
}

/// The scope that a call needs; the gate in front and the handler behind it both ask here. What nobody offers needs admin,
/// like what only an operator knows of.
pub(crate) fn need(offers: &[Offer], tool: &str, given: &JsonObject) -> Scope {
    let Some(offer) = offers.iter().find(|offer| offer.tool.name == tool) else {
        return Scope::Admin;
    };
    let looks = offer.plan.is_some() && (offer.only_looks)(given);
    if looks { Scope::Read } else { offer.scope }
}

/// A dry run of a workflow.
fn is_dry_run(given: &JsonObject) -> bool {
    given.get("dry_run") == Some(&true.into())
}

impl Offer {
    /// A tool that answers a plan to who may only look.
    fn planned(scope: Scope, tool: Tool, plan: Tool) -> Self {
        Self {
            scope,
            tool,
            plan: Some(plan),
            only_looks: plans::only_looks,
        }
    }
}

impl From<(Scope, Tool)> for Offer {
    fn from((scope, tool): (Scope, Tool)) -> Self {
        Self {
            scope,
            tool,
            plan: None,
            only_looks: is_dry_run,
        }
    }
}

/// All tools, workflows first.
pub(crate) fn all(provisioner: &Provisioner) -> Vec<Offer> {
    let workflows = provisioner.catalogue().all().iter();
    let mut offers: Vec<Offer> = workflows.map(workflow::offer).collect();
    offers.extend(runs::tools().into_iter().map(Offer::from));
    offers.push((Scope::Read, doctor::tool()).into());
    offers.extend(check::tools().into_iter().map(Offer::from));
    offers.extend(plans::offers());
    offers.extend(token::tools().into_iter().map(Offer::from));
    offers
}

/// Calls a tool that exists.
pub(crate) async fn call(
    server: &Server,
    name: &str,
    arguments: JsonObject,
    caller: &Caller,
    context: &RequestContext<RoleServer>,
) -> Answer {
    let actor = &Actor::new(caller.name.clone());
    match name {
        "project_status" => runs::status(server, arguments, context).await,
        "project_list" => runs::list(server, arguments).await,
        "run_resume" => runs::resume(server, arguments, actor, context).await,
        "run_cancel" => runs::cancel(server, arguments, actor, context).await,
        "doctor" => doctor::call(server, &arguments).await,
        "project_check" => check::check(server, &arguments).await,
        "project_renew" => check::renew(server, arguments, actor).await,
        "project_token" => token::call(server, &arguments, caller).await,
        name if plans::is_one(name) => plans::call(server, name, arguments, actor, context).await,
        workflow => workflow::call(server, workflow, arguments, caller, context).await,
    }
}

/// The answer of a tool to a call that is refused before anything is done: its usual object, with the error.
pub(crate) fn refused(server: &Server, name: &str, error: ErrorView) -> Answer {
    let text = match &error.remedy {
        Some(remedy) => format!("{}: {}. What to do: {remedy}", error.code, error.message),
        None => format!("{}: {}", error.code, error.message),
    };
    let error = Some(error);
    let value = match name {
        "doctor" => serde_json::to_value(Report {
            error,
            ..Report::default()
        }),
        "project_list" => serde_json::to_value(ProjectList {
            error,
            ..ProjectList::default()
        }),
        "project_check" => serde_json::to_value(CheckReport {
            error,
            ..CheckReport::default()
        }),
        "project_token" => {
            let answer = crate::project_token::TokenAnswer {
                error,
                ..Default::default()
            };
            serde_json::to_value(answer)
        }
        name if plans::is_one(name) => serde_json::to_value(Plan {
            error,
            ..Plan::default()
        }),
        _ => {
            let environment = server.provisioner().environment().to_owned();
            serde_json::to_value(RunView {
                environment,
                error,
                ..RunView::default()
            })
        }
    };
    Answer {
        value: value.unwrap_or_default(),
        text,
        failed: true,
    }
}

/// How a tool behaves, said honestly.
#[derive(Clone, Copy)]
struct Nature {
    read_only: bool,
    destructive: bool,
    idempotent: bool,
}

fn tool(
    name: String,
    title: &str,
    description: String,
    input: Value,
    output: Value,
    nature: Nature,
) -> Tool {
    let annotations = ToolAnnotations::with_title(title)
        .read_only(nature.read_only)
        .destructive(nature.destructive)
        .idempotent(nature.idempotent)
        .open_world(!nature.read_only);
    Tool::new(name, description, schema::object(input))
        .with_title(title)
        .with_raw_output_schema(Arc::new(schema::object(output)))
        .with_annotations(annotations)
}

/// A run in a sentence.
fn sentence(view: &RunView) -> String {
    let mut text = match (&view.project, view.state) {
        (Some(project), Some(state)) => format!("{project}: {}", state.as_str()),
        _ => "no run".to_owned(),
    };
    if let Some(run) = &view.run_id {
        text.push_str(&format!(" (run {run}, {})", view.environment));
    }
    if let Some(error) = &view.error {
        text.push_str(&format!(". {}: {}", error.code, error.message));
        if let Some(remedy) = &error.remedy {
            text.push_str(&format!(". What to do: {remedy}"));
        }
    }
    if let Some(plan) = &view.plan {
        text.push_str(&format!(". {} Nothing was done", plan.summary()));
    }
    if !view.left_behind.is_empty() {
        let left: Vec<String> = view
            .left_behind
            .iter()
            .map(|left| format!("{} ({})", left.artifact, left.command))
            .collect();
        text.push_str(&format!(". Left behind: {}", left.join(", ")));
    }
    if view.state.is_some_and(|state| state.is_live()) {
        text.push_str(". Call project_status with this run_id and wait_seconds to follow it");
    }
    text
}
