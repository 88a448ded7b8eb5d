//! `forgeline workflow list`, `check` and `graph`: work without any configuration.

use std::path::Path;

use forgeline_provision::{Catalogue, CatalogueError};
use serde_json::{Value, json};

use crate::cli::{Format, WorkflowCommand};
use crate::env::Env;
use crate::{exit, output, wire};

pub(super) async fn run(env: &Env, command: WorkflowCommand) -> u8 {
    match command {
        WorkflowCommand::List { output } => list(env, output.format).await,
        WorkflowCommand::Check { file } => check(env, &file).await,
        WorkflowCommand::Graph { name } => graph(env, &name).await,
    }
}

fn broken(error: &CatalogueError) -> u8 {
    output::complain(
        &format!("workflow files have mistakes:\n{error}"),
        None,
        Some("mend these lines; `forgeline workflow check FILE` looks at one file"),
    );
    exit::CONFIGURATION
}

async fn catalogue(env: &Env) -> Result<Catalogue, u8> {
    let (registry, config) = wire::kinds(env).await;
    Catalogue::read(&registry, config.workflows_dir.as_deref()).map_err(|error| broken(&error))
}

async fn list(env: &Env, format: Format) -> u8 {
    let catalogue = match catalogue(env).await {
        Ok(catalogue) => catalogue,
        Err(code) => return code,
    };
    let rows: Vec<Value> = catalogue
        .all()
        .iter()
        .map(|entry| {
            let inputs = entry.workflow.inputs.iter();
            let inputs: Vec<Value> = inputs
                .map(|input| json!({"name": input.name, "required": input.required, "description": input.description}))
                .collect();
            json!({
                "name": entry.workflow.name,
                "description": entry.workflow.description,
                "file": entry.file,
                "shipped": entry.shipped,
                "inputs": inputs,
            })
        })
        .collect();
    output::workflows(&rows, format);
    exit::OK
}

async fn check(env: &Env, file: &Path) -> u8 {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("{} cannot be read", file.display());
            output::complain(&what, Some(&error.to_string()), None);
            return exit::USAGE;
        }
    };
    let (registry, _) = wire::kinds(env).await;
    let name = file.display().to_string();
    match forgeline_provision::check(&name, &text, &registry) {
        Ok(workflow) => {
            let steps = workflow.steps.len();
            output::print(&format!(
                "{name}: `{}` has {steps} step(s) and no mistake",
                workflow.name
            ));
            exit::OK
        }
        Err(problems) => {
            let count = problems.len();
            let lines: Vec<String> = problems
                .iter()
                .map(|problem| format!("  {problem}"))
                .collect();
            output::complain(
                &format!("{count} mistake(s)\n{}", lines.join("\n")),
                None,
                Some("mend these lines and check again"),
            );
            exit::CONFIGURATION
        }
    }
}

async fn graph(env: &Env, name: &str) -> u8 {
    let catalogue = match catalogue(env).await {
        Ok(catalogue) => catalogue,
        Err(code) => return code,
    };
    match catalogue.get(name) {
        Some(workflow) => {
            output::print(&workflow.graph());
            exit::OK
        }
        None => {
            let known: Vec<&str> = catalogue
                .all()
                .iter()
                .map(|entry| entry.workflow.name.as_str())
                .collect();
            let help = format!("use one of {}", known.join(", "));
            output::complain(&format!("there is no workflow `{name}`"), None, Some(&help));
            exit::USAGE
        }
    }
}
