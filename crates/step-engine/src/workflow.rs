//! A workflow: a checked graph of steps, its inputs and its outputs.
//!
//! Written as a YAML file ([`Workflow::parse`]) or built in code ([`Workflow::checked`]). The journal keeps the whole
//! definition with each run, so a later version of the file never changes a run in flight.

mod check;
mod input;
mod parse;
mod reference;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use check::ancestors;
pub use input::{InputKind, InputSpec};
pub use reference::{Scope, resolve, resolve_own};

use crate::registry::Registry;
use crate::retry::RetryPolicy;

/// A checked definition of what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Lower case with `_`; also the name of the tool.
    pub name: String,
    /// For people: one or two sentences.
    pub description: String,
    /// What a caller needs; the engine only carries it. `None`: the default of whoever serves the workflow.
    #[serde(default)]
    pub scope: Option<String>,
    /// Its success ends what earlier runs for the same subject made: a later run starts fresh. Only in workflows that are
    /// built in code.
    #[serde(default)]
    pub removes: bool,
    /// What a caller may give, in the file's order.
    pub inputs: Vec<InputSpec>,
    /// The steps, in the file's order.
    pub steps: Vec<StepSpec>,
    /// Name to value with references; resolved when the run has succeeded.
    pub outputs: BTreeMap<String, Value>,
}

/// One step of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Unique in the workflow.
    pub id: String,
    /// What it does: a name in the [`Registry`].
    pub kind: String,
    /// The steps that must be done before it.
    pub needs: Vec<String>,
    /// The steps that must be over before it, however they ended. Only in workflows that are built in code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Its arguments, with references.
    pub with: Value,
    /// How often it is tried.
    pub retry: RetryPolicy,
    /// The deadline of each try, in milliseconds.
    pub timeout_ms: u64,
    /// A reference to a boolean; the step is skipped when that is false. `None`: always.
    pub when: Option<String>,
    /// Never undone; the run goes on past its failure.
    #[serde(default)]
    pub irreversible: bool,
    /// Its kind cannot undo it as it is written: never undone, but its failure is the run's.
    #[serde(default)]
    pub without_undo: bool,
}

impl StepSpec {
    /// No undo ever begins for it.
    pub fn is_never_undone(&self) -> bool {
        self.irreversible || self.without_undo
    }

    /// Whether its arguments name what this step answered.
    pub(crate) fn refers_to(&self, id: &str) -> bool {
        reference::references(&self.with).iter().any(|text| {
            matches!(reference::parse(text), Ok(reference::Reference::Step { id: named, .. }) if named == id)
        })
    }
}

impl Workflow {
    /// Reads and checks a workflow file. `file` names it in the problems.
    ///
    /// # Errors
    /// Every mistake at once, in the order of their lines.
    pub fn parse(file: &str, text: &str, registry: &Registry) -> Result<Self, Vec<Problem>> {
        let source = parse::parse(file, text)?;
        let problems = check::check(&source, registry);
        if problems.is_empty() {
            Ok(source.workflow.with_irreversible_steps(registry))
        } else {
            Err(problems)
        }
    }

    /// Marks the steps whose kind cannot undo them as they are written.
    fn with_irreversible_steps(mut self, registry: &Registry) -> Self {
        for step in &mut self.steps {
            let kind = registry.step(&step.kind);
            step.without_undo = kind.is_some_and(|kind| !kind.is_reversible(&step.with));
        }
        self
    }

    /// The workflow as a Mermaid flow chart: an arrow from each step to those that need it.
    pub fn graph(&self) -> String {
        let mut lines = vec!["flowchart LR".to_owned()];
        for step in &self.steps {
            let mark = if step.is_never_undone() {
                " (irreversible)"
            } else {
                ""
            };
            lines.push(format!(
                "    {}[\"{}<br/>{}{mark}\"]",
                step.id, step.id, step.kind
            ));
        }
        for step in &self.steps {
            for need in &step.needs {
                let arrow = if step.when.is_some() { "-.->" } else { "-->" };
                lines.push(format!("    {need} {arrow} {}", step.id));
            }
        }
        lines.join("\n")
    }

    /// Checks a workflow that was built in code.
    ///
    /// # Errors
    /// Every mistake at once; they carry no line.
    pub fn checked(self, registry: &Registry) -> Result<Self, Vec<Problem>> {
        let source = parse::Source::without_lines(self);
        let problems = check::check(&source, registry);
        if problems.is_empty() {
            Ok(source.workflow.with_irreversible_steps(registry))
        } else {
            Err(problems)
        }
    }

    /// The step with this id.
    pub fn step(&self, id: &str) -> Option<&StepSpec> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// Fills in defaults and checks what a caller gave against `inputs`.
    ///
    /// # Errors
    /// Every problem, each a sentence that names the input.
    pub fn accept(
        &self,
        given: &serde_json::Map<String, Value>,
        settings: &Value,
    ) -> Result<Value, Vec<String>> {
        input::accept(&self.inputs, given, settings)
    }
}

/// A mistake in a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file; empty for a workflow built in code.
    pub file: String,
    /// The line, counted from 1; 0 when it is not known.
    pub line: usize,
    /// What is wrong, and the nearest known name where there is one.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}:{}: {}", self.file, self.line, self.message)
        }
    }
}
