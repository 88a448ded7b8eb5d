//! The checker: all mistakes of a workflow at once, before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::parse::Source;
use super::reference::{self, Reference};
use super::{InputKind, Problem, StepSpec};
use crate::registry::{KindSpec, Registry};

pub(crate) fn check(source: &Source, registry: &Registry) -> Vec<Problem> {
    let mut checker = Checker {
        source,
        registry,
        problems: source.problems.clone(),
    };
    checker.names();
    for index in 0..source.workflow.steps.len() {
        checker.step(index);
    }
    checker.cycles();
    checker.outputs();
    let mut problems = checker.problems;
    problems.sort_by_key(|problem| problem.line);
    problems.dedup();
    problems
}

struct Checker<'a> {
    source: &'a Source,
    registry: &'a Registry,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn say(&mut self, line: usize, message: String) {
        self.problems.push(Problem {
            file: self.source.file.clone(),
            line,
            message,
        });
    }

    fn names(&mut self) {
        let mut seen = BTreeSet::new();
        for (index, step) in self.source.workflow.steps.iter().enumerate() {
            if !seen.insert(step.id.as_str()) {
                self.say(
                    self.source.line(index, "id"),
                    format!("step id `{}` is used twice", step.id),
                );
            }
        }
        if self.source.workflow.steps.is_empty() {
            self.say(1, "a workflow needs at least one step".into());
        }
    }

    fn step(&mut self, index: usize) {
        let step = &self.source.workflow.steps[index];
        self.kind(index, step);
        self.needs(index, step);
        let line = self.source.line(index, "with");
        self.closed(line, &step.with);
        for text in reference::references(&step.with) {
            self.reference(line, &text, Some(step));
        }
        self.own_output(line, step);
        self.judged_by_kind(line, step);
        if let Some(when) = &step.when {
            let line = self.source.line(index, "when");
            match reference::references(&Value::String(when.clone())).as_slice() {
                [one] => {
                    self.reference(line, one, None);
                    self.boolean(line, one);
                }
                _ => self.say(
                    line,
                    format!(
                        "`when` must be one reference to a boolean input or setting, not `{when}`"
                    ),
                ),
            }
        }
    }

    fn boolean(&mut self, line: usize, text: &str) {
        let inputs = &self.source.workflow.inputs;
        if let Ok(Reference::Input(name)) = reference::parse(text)
            && let Some(input) = inputs.iter().find(|input| input.name == name)
            && input.kind != InputKind::Boolean
        {
            self.say(
                line,
                format!("`when` needs a boolean, and input `{name}` is none"),
            );
        }
    }

    fn closed(&mut self, line: usize, value: &Value) {
        if reference::is_unclosed(value) {
            self.say(line, reference::UNCLOSED.into());
        }
    }

    fn kind(&mut self, index: usize, step: &StepSpec) {
        let Some(spec) = self.registry.spec(&step.kind).copied() else {
            let near = nearest(&step.kind, self.registry.names());
            self.say(
                self.source.line(index, "kind"),
                format!("unknown step kind `{}`{near}", step.kind),
            );
            return;
        };
        self.with(index, step, &spec);
    }

    fn with(&mut self, index: usize, step: &StepSpec, spec: &KindSpec) {
        let line = self.source.line(index, "with");
        let empty = serde_json::Map::new();
        let Some(given) = (if step.with.is_null() {
            Some(&empty)
        } else {
            step.with.as_object()
        }) else {
            self.say(line, format!("`with` of step `{}` must be a map", step.id));
            return;
        };
        for name in given.keys() {
            if !spec.with.iter().any(|field| field.name == name) {
                let near = nearest(name, spec.with.iter().map(|field| field.name));
                self.say(
                    line,
                    format!(
                        "step `{}`: `{}` takes no `{name}`{near}",
                        step.id, step.kind
                    ),
                );
            }
        }
        for field in spec
            .with
            .iter()
            .filter(|field| field.required && !given.contains_key(field.name))
        {
            self.say(
                line,
                format!(
                    "step `{}`: `{}` needs `{}` ({})",
                    step.id, step.kind, field.name, field.description
                ),
            );
        }
    }

    fn needs(&mut self, index: usize, step: &StepSpec) {
        for need in &step.needs {
            if self.source.workflow.step(need).is_none() {
                let near = nearest(
                    need,
                    self.source
                        .workflow
                        .steps
                        .iter()
                        .map(|other| other.id.as_str()),
                );
                self.say(
                    self.source.line(index, "needs"),
                    format!("step `{}` needs the unknown step `{need}`{near}", step.id),
                );
            }
        }
    }

    /// `${{ output.field }}` has a meaning in an `undo` only.
    fn own_output(&mut self, line: usize, step: &StepSpec) {
        let Some(fields) = step.with.as_object() else {
            return;
        };
        let kind = self.registry.step(&step.kind);
        if let Some(kept) = kind.and_then(|kind| kind.outputs(&step.with)) {
            for text in fields
                .get("undo")
                .map(reference::references)
                .unwrap_or_default()
            {
                if let Ok(Reference::Own(field)) = reference::parse(&text)
                    && !kept.contains(&field)
                {
                    self.say(
                        line,
                        format!(
                            "step `{}`: `undo` names `output.{field}`, which `output` does not keep",
                            step.id
                        ),
                    );
                }
            }
        }
        for (name, value) in fields.iter().filter(|(name, _)| *name != "undo") {
            let own = |text: &String| matches!(reference::parse(text), Ok(Reference::Own(_)));
            if reference::references(value).iter().any(own) {
                self.say(
                    line,
                    format!(
                        "step `{}`: `output` can be named in `undo` only, not in `{name}`",
                        step.id
                    ),
                );
            }
        }
    }

    /// What the kind itself has against the arguments.
    fn judged_by_kind(&mut self, line: usize, step: &StepSpec) {
        if let Some(kind) = self.registry.step(&step.kind) {
            for problem in kind.problems(&step.with) {
                self.say(line, format!("step `{}`: {problem}", step.id));
            }
        }
    }

    /// `user`: the step that refers, which must need the step it refers to.
    fn reference(&mut self, line: usize, text: &str, user: Option<&StepSpec>) {
        let workflow = &self.source.workflow;
        match reference::parse(text) {
            Err(message) => self.say(line, message),
            Ok(Reference::Setting(_)) => {}
            // Judged where it stands.
            Ok(Reference::Own(_)) if user.is_some() => {}
            Ok(Reference::Own(field)) => {
                self.say(
                    line,
                    format!("`output.{field}` can be named in the `undo` of a step only"),
                );
            }
            Ok(Reference::Input(name)) => {
                if !workflow.inputs.iter().any(|input| input.name == name) {
                    let near = nearest(
                        &name,
                        workflow.inputs.iter().map(|input| input.name.as_str()),
                    );
                    self.say(
                        line,
                        format!("reference to the unknown input `{name}`{near}"),
                    );
                }
            }
            Ok(Reference::Step { id, field }) => {
                self.step_reference(line, &id, field.as_deref(), user)
            }
        }
    }

    fn step_reference(
        &mut self,
        line: usize,
        id: &str,
        field: Option<&str>,
        user: Option<&StepSpec>,
    ) {
        let workflow = &self.source.workflow;
        let Some(target) = workflow.step(id) else {
            let near = nearest(id, workflow.steps.iter().map(|step| step.id.as_str()));
            self.say(line, format!("reference to the unknown step `{id}`{near}"));
            return;
        };
        if let Some(user) = user
            && !ancestors(&workflow.steps, user).contains(id)
        {
            self.say(
                line,
                format!(
                    "step `{}` refers to `{id}` without needing it; add `{id}` to its needs",
                    user.id
                ),
            );
        }
        let known: Option<Vec<String>> = self.registry.step(&target.kind).map(|kind| {
            let own = kind.outputs(&target.with);
            let spec = self.registry.spec(&target.kind);
            let listed = spec.map(|spec| spec.outputs).unwrap_or_default();
            own.unwrap_or_else(|| listed.iter().map(|name| (*name).to_owned()).collect())
        });
        if let (Some(field), Some(known)) = (field, known)
            && field != "origin"
            && !known.iter().any(|name| name == field)
        {
            let near = nearest(field, known.iter().map(String::as_str));
            self.say(
                line,
                format!(
                    "step `{id}` (`{}`) has no output `{field}`{near}",
                    target.kind
                ),
            );
        }
    }

    fn cycles(&mut self) {
        let steps = &self.source.workflow.steps;
        let mut open: BTreeMap<&str, &StepSpec> =
            steps.iter().map(|step| (step.id.as_str(), step)).collect();
        loop {
            let free: Vec<&str> = open
                .values()
                .filter(|step| {
                    !step
                        .needs
                        .iter()
                        .any(|need| open.contains_key(need.as_str()))
                })
                .map(|step| step.id.as_str())
                .collect();
            if free.is_empty() {
                break;
            }
            for id in free {
                open.remove(id);
            }
        }
        // What waits for a cycle is left over too; only the steps that reach themselves are on one.
        let on_cycle: Vec<&StepSpec> = open
            .values()
            .copied()
            .filter(|step| ancestors(steps, step).contains(step.id.as_str()))
            .collect();
        if let Some(first) = on_cycle.first() {
            let names: Vec<&str> = on_cycle.iter().map(|step| step.id.as_str()).collect();
            let index = steps
                .iter()
                .position(|step| step.id == first.id)
                .unwrap_or(0);
            let message = format!(
                "these steps need each other in a circle: {}",
                names.join(", ")
            );
            self.say(self.source.line(index, "needs"), message);
        }
    }

    fn outputs(&mut self) {
        let outputs = self.source.workflow.outputs.clone();
        for (name, value) in &outputs {
            self.closed(self.source.output_line(name), value);
            for text in reference::references(value) {
                self.reference(self.source.output_line(name), &text, None);
            }
        }
    }
}

/// Every step that `step` needs, directly or through others; itself only when it is on a cycle.
pub(crate) fn ancestors<'a>(steps: &'a [StepSpec], step: &'a StepSpec) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = step.needs.iter().map(String::as_str).collect();
    while let Some(id) = open.pop() {
        if found.insert(id)
            && let Some(next) = steps.iter().find(|other| other.id == id)
        {
            open.extend(next.needs.iter().map(String::as_str));
        }
    }
    found
}

/// ` (did you mean …)` for the nearest known name, or nothing when none is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(name.len()) / 4)
        .min()
        .map_or_else(String::new, |(_, candidate)| {
            format!("; did you mean `{candidate}`?")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let known = ["gitea.repository", "github.repository"];
        assert_eq!(
            nearest("gitea.repositry", known.into_iter()),
            "; did you mean `gitea.repository`?"
        );
        assert_eq!(nearest("teapot", known.into_iter()), "");
    }
}
