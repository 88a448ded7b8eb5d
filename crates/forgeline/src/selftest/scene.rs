//! What is tried: every shipped workflow, plain and with everything, in every mode of infra that it knows.

use forgeline_provision::Catalogue;
use forgeline_step_engine::{InputKind, Workflow};
use serde_json::{Map, Value, json};

/// A call, and the configuration that it meets.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// For people: workflow, mode, and whether everything is asked for.
    pub(super) name: String,
    pub(super) workflow: Workflow,
    pub(super) inputs: Map<String, Value>,
    /// `FORGELINE_INFRA_MODE`.
    pub(super) infra: &'static str,
}

/// The name of the project in every scene.
pub(super) const PROJECT: &str = "shop";

/// The template that stands in every scene's world.
pub(super) const TEMPLATE: &str = "acme/template";

impl Scene {
    /// Every scene. A workflow file that is added is in them without a word here.
    pub(super) fn all(catalogue: &Catalogue) -> Vec<Self> {
        let mut scenes = Vec::new();
        for entry in catalogue.all() {
            let workflow = quick(entry.workflow.clone());
            let modes: &[&'static str] = if knows_infra(&workflow) {
                &["kubernetes", "gitops", "both", "none"]
            } else {
                &["none"]
            };
            for infra in modes {
                for whole in [false, true] {
                    let inputs = inputs(&workflow, whole);
                    let how = if whole { "whole" } else { "plain" };
                    scenes.push(Self {
                        name: format!("{}, {infra}, {how}", workflow.name),
                        workflow: workflow.clone(),
                        inputs,
                        infra,
                    });
                }
            }
        }
        let mut seen: Vec<(String, Map<String, Value>, &str)> = Vec::new();
        scenes.retain(|scene| {
            let key = (
                scene.workflow.name.clone(),
                scene.inputs.clone(),
                scene.infra,
            );
            let fresh = !seen.contains(&key);
            seen.push(key);
            fresh
        });
        scenes
    }
}

fn knows_infra(workflow: &Workflow) -> bool {
    let steps = workflow.steps.iter();
    let texts = steps.map(|step| format!("{:?} {}", step.when, step.with));
    texts
        .into_iter()
        .any(|text| text.contains("settings.infra_"))
}

/// The waits between tries are for people's upstreams; here nothing gets better by waiting.
fn quick(mut workflow: Workflow) -> Workflow {
    for step in &mut workflow.steps {
        step.retry.first_delay_ms = 5;
        step.retry.max_delay_ms = 20;
    }
    workflow
}

/// What the workflow asks for; `whole`: and everything that makes it do more.
fn inputs(workflow: &Workflow, whole: bool) -> Map<String, Value> {
    let mut inputs = Map::new();
    for input in &workflow.inputs {
        let value = match (input.name.as_str(), input.kind) {
            ("name", _) => json!(PROJECT),
            ("template", _) => json!(TEMPLATE),
            (_, InputKind::Strings) => json!(["setup", "first"]),
            (_, InputKind::Boolean) => json!(true),
            _ => continue,
        };
        if input.required || whole {
            inputs.insert(input.name.clone(), value);
        }
    }
    inputs
}
