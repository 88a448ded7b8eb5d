//! A workflow file as text to a [`Workflow`] with the line of each part.

mod node;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::reference::{self, Reference, UNCLOSED};
use super::{InputKind, InputSpec, Problem, StepSpec, Workflow};
use crate::retry::RetryPolicy;
use node::Node;

/// A workflow and where its parts stand.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) workflow: Workflow,
    /// Mistakes that the parser found; the checker adds its own.
    pub(crate) problems: Vec<Problem>,
    step_lines: Vec<BTreeMap<String, usize>>,
    output_lines: BTreeMap<String, usize>,
}

impl Source {
    pub(crate) fn without_lines(workflow: Workflow) -> Self {
        Self {
            file: String::new(),
            workflow,
            problems: Vec::new(),
            step_lines: Vec::new(),
            output_lines: BTreeMap::new(),
        }
    }

    /// The line of a step's part, or of the step when the part is missing; 0 without a file.
    pub(crate) fn line(&self, step: usize, part: &str) -> usize {
        let Some(lines) = self.step_lines.get(step) else {
            return 0;
        };
        lines
            .get(part)
            .or_else(|| lines.get(""))
            .copied()
            .unwrap_or(0)
    }

    pub(crate) fn output_line(&self, name: &str) -> usize {
        self.output_lines.get(name).copied().unwrap_or(0)
    }
}

/// Reads a file. Fails only on text that is no YAML map; every other mistake is kept for the checker.
pub(crate) fn parse(file: &str, text: &str) -> Result<Source, Vec<Problem>> {
    let root = Node::parse(text).map_err(|(line, message)| {
        vec![Problem {
            file: file.to_owned(),
            line,
            message,
        }]
    })?;
    let mut reader = Reader {
        file: file.to_owned(),
        problems: Vec::new(),
    };
    let mut source = Source::without_lines(Workflow {
        name: String::new(),
        description: String::new(),
        scope: None,
        removes: false,
        inputs: Vec::new(),
        steps: Vec::new(),
        outputs: BTreeMap::new(),
    });
    reader.only(
        &root,
        "the workflow",
        &["name", "description", "scope", "inputs", "steps", "outputs"],
    );
    for part in ["inputs", "outputs"] {
        reader.must(&root, part, "a map", Node::is_map);
    }
    reader.must(&root, "steps", "a list", Node::is_list);
    source.workflow.name = reader.name(&root, "name");
    source.workflow.description = reader.text(&root, "description").unwrap_or_default();
    source.workflow.scope = reader.text(&root, "scope");
    for (name, node) in root.get("inputs").map(Node::fields).unwrap_or_default() {
        let input = reader.input(name, node);
        reader.default(&input, &source.workflow.inputs, node);
        source.workflow.inputs.push(input);
    }
    for node in root.get("steps").map(Node::items).unwrap_or_default() {
        let (step, lines) = reader.step(node);
        source.workflow.steps.push(step);
        source.step_lines.push(lines);
    }
    for (name, node) in root.get("outputs").map(Node::fields).unwrap_or_default() {
        source
            .workflow
            .outputs
            .insert(name.to_owned(), node.to_value());
        source.output_lines.insert(name.to_owned(), node.line);
    }
    source.file = reader.file;
    source.problems = reader.problems;
    Ok(source)
}

struct Reader {
    file: String,
    problems: Vec<Problem>,
}

const STEP_PARTS: [&str; 8] = [
    "id",
    "kind",
    "needs",
    "with",
    "retry",
    "timeout",
    "when",
    "irreversible",
];
const INPUT_PARTS: [&str; 7] = [
    "type",
    "description",
    "required",
    "default",
    "pattern",
    "enum",
    "max_length",
];

impl Reader {
    fn say(&mut self, line: usize, message: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.clone(),
            line,
            message: message.into(),
        });
    }

    fn must(&mut self, node: &Node, part: &str, what: &str, is: fn(&Node) -> bool) {
        if let Some(found) = node.get(part).filter(|found| !is(found)) {
            self.say(found.line, format!("`{part}` must be {what}"));
        }
    }

    fn only(&mut self, node: &Node, what: &str, known: &[&str]) {
        for (name, part) in node.fields() {
            if !known.contains(&name) {
                let near = super::check::nearest(name, known.iter().copied());
                self.say(part.line, format!("{what} has no part `{name}`{near}"));
            }
        }
    }

    fn text(&mut self, node: &Node, part: &str) -> Option<String> {
        let found = node.get(part)?;
        match found.to_value() {
            Value::String(text) => Some(text),
            other => {
                self.say(found.line, format!("`{part}` must be a text, not {other}"));
                None
            }
        }
    }

    fn name(&mut self, node: &Node, part: &str) -> String {
        let line = node.get(part).map_or(node.line, |found| found.line);
        let name = self.text(node, part).unwrap_or_default();
        let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 64
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !fits {
            self.say(
                line,
                format!("`{part}` must be lower case letters, digits and `_`, not `{name}`"),
            );
        }
        name
    }

    fn flag(&mut self, node: &Node, part: &str) -> bool {
        let Some(found) = node.get(part) else {
            return false;
        };
        let value = found.to_value();
        if !value.is_boolean() {
            self.say(
                found.line,
                format!("`{part}` must be true or false, not {value}"),
            );
        }
        value == Value::Bool(true)
    }

    fn texts(&mut self, node: &Node, part: &str) -> Vec<String> {
        let Some(found) = node.get(part) else {
            return Vec::new();
        };
        match found.to_value() {
            Value::Array(items) if items.iter().all(Value::is_string) => items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            other => {
                self.say(
                    found.line,
                    format!("`{part}` must be a list of texts, not {other}"),
                );
                Vec::new()
            }
        }
    }

    fn count(&mut self, node: &Node, part: &str) -> Option<u64> {
        let found = node.get(part)?;
        let count = found.to_value().as_u64().filter(|count| *count > 0);
        if count.is_none() {
            self.say(
                found.line,
                format!("`{part}` must be a whole number from 1"),
            );
        }
        count
    }

    fn milliseconds(&mut self, node: &Node, part: &str) -> Option<u64> {
        let found = node.get(part)?;
        let text = found.to_value();
        let parsed = text
            .as_str()
            .and_then(|text| text.parse::<SignedDuration>().ok());
        let milliseconds = parsed
            .and_then(|duration| u64::try_from(duration.as_millis()).ok())
            .filter(|milliseconds| *milliseconds > 0);
        if milliseconds.is_none() {
            self.say(
                found.line,
                format!("`{part}` must be a duration like 200ms, 30s or 5m, not {text}"),
            );
        }
        milliseconds
    }

    fn input(&mut self, name: &str, node: &Node) -> InputSpec {
        self.only(node, &format!("input `{name}`"), &INPUT_PARTS);
        let word = self.text(node, "type").unwrap_or_default();
        // An input of an unknown type is still known by its name.
        let kind = InputKind::parse(&word).unwrap_or_else(|| {
            let near = super::check::nearest(
                &word,
                ["string", "boolean", "integer", "strings"].into_iter(),
            );
            let line = node.get("type").map_or(node.line, |found| found.line);
            self.say(
                line,
                format!("input `{name}` has the unknown type `{word}`{near}"),
            );
            InputKind::String
        });
        let pattern = self.text(node, "pattern");
        if let Some(error) = pattern
            .as_ref()
            .and_then(|pattern| regex_lite::Regex::new(pattern).err())
        {
            let line = node.get("pattern").map_or(node.line, |found| found.line);
            self.say(line, format!("input `{name}` has a bad pattern: {error}"));
        }
        let default = node.get("default").map(Node::to_value);
        let required = if node.get("required").is_some() {
            self.flag(node, "required")
        } else {
            false
        };
        InputSpec {
            name: name.to_owned(),
            kind,
            description: self.text(node, "description").unwrap_or_default(),
            required,
            default,
            pattern,
            one_of: self.texts(node, "enum"),
            max_length: self
                .count(node, "max_length")
                .and_then(|count| usize::try_from(count).ok()),
        }
    }

    /// A default must be what a caller could have given; it may refer to settings and to the inputs `above`.
    fn default(&mut self, input: &InputSpec, above: &[InputSpec], node: &Node) {
        let Some(default) = &input.default else {
            return;
        };
        let line = node.get("default").map_or(node.line, |found| found.line);
        let references = reference::references(default);
        for text in &references {
            let why = match reference::parse(text) {
                Ok(Reference::Setting(_)) => continue,
                Ok(Reference::Input(name)) if above.iter().any(|other| other.name == name) => {
                    continue;
                }
                Ok(_) => format!(
                    "the default of input `{}` may refer to settings and to inputs above it, not to `{}`",
                    input.name,
                    text.trim()
                ),
                Err(why) => why,
            };
            self.say(line, why);
        }
        if reference::is_unclosed(default) {
            self.say(line, UNCLOSED);
        } else if references.is_empty()
            && !default.is_null()
            && let Some(why) = input.problem(default)
        {
            self.say(line, format!("the default does not fit: {why}"));
        }
    }

    fn step(&mut self, node: &Node) -> (StepSpec, BTreeMap<String, usize>) {
        let mut lines = BTreeMap::from([(String::new(), node.line)]);
        lines.extend(
            node.fields()
                .into_iter()
                .map(|(name, part)| (name.to_owned(), part.line)),
        );
        self.only(node, "a step", &STEP_PARTS);
        let with = node
            .get("with")
            .map_or(Value::Object(Map::new()), Node::to_value);
        let step = StepSpec {
            id: self.name(node, "id"),
            kind: self.text(node, "kind").unwrap_or_default(),
            needs: self.texts(node, "needs"),
            with,
            retry: node
                .get("retry")
                .map_or_else(RetryPolicy::default, |retry| self.retry(retry)),
            timeout_ms: self.milliseconds(node, "timeout").unwrap_or(60_000),
            when: self.text(node, "when"),
            irreversible: self.flag(node, "irreversible"),
            without_undo: false,
            after: Vec::new(),
        };
        (step, lines)
    }

    fn retry(&mut self, node: &Node) -> RetryPolicy {
        if !node.is_map() {
            self.say(
                node.line,
                "`retry` must be a map of attempts, first_delay and max_delay",
            );
        }
        self.only(node, "`retry`", &["attempts", "first_delay", "max_delay"]);
        let default = RetryPolicy::default();
        let attempts = self
            .count(node, "attempts")
            .and_then(|count| u32::try_from(count).ok());
        RetryPolicy {
            attempts: attempts.unwrap_or(default.attempts),
            first_delay_ms: self
                .milliseconds(node, "first_delay")
                .unwrap_or(default.first_delay_ms),
            max_delay_ms: self
                .milliseconds(node, "max_delay")
                .unwrap_or(default.max_delay_ms),
        }
    }
}
