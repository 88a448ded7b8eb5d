//! The inputs of a workflow: their declaration, and the check of what a caller gave.

use regex_lite::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::reference::{Scope, resolve};

/// The type of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// A text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A list of texts.
    Strings,
}

impl InputKind {
    /// The reverse of the word in the file; `None` for an unknown one.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "string" => Some(Self::String),
            "boolean" => Some(Self::Boolean),
            "integer" => Some(Self::Integer),
            "strings" => Some(Self::Strings),
            _ => None,
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Boolean => value.is_boolean(),
            Self::Integer => value.is_i64(),
            Self::Strings => value
                .as_array()
                .is_some_and(|all| all.iter().all(Value::is_string)),
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Boolean => "true or false",
            Self::Integer => "a whole number",
            Self::Strings => "a list of strings",
        }
    }
}

/// One declared input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: InputKind,
    /// For people.
    pub description: String,
    /// A caller must give it.
    pub required: bool,
    /// Used when it is not given; may refer to `settings` and to inputs declared above. `None`: it is null then.
    pub default: Option<Value>,
    /// A regular expression that a text must match.
    pub pattern: Option<String>,
    /// The only texts allowed; empty: any.
    pub one_of: Vec<String>,
    /// The most characters a text may have. `None`: 10,000.
    pub max_length: Option<usize>,
}

const MAX_LENGTH: usize = 10_000;

impl InputSpec {
    /// The input as JSON Schema (draft 2020-12), as a tool shows it.
    pub fn schema(&self) -> Value {
        let mut schema = match self.kind {
            InputKind::String => {
                json!({"type": "string", "maxLength": self.max_length.unwrap_or(MAX_LENGTH)})
            }
            InputKind::Boolean => json!({"type": "boolean"}),
            InputKind::Integer => json!({"type": "integer"}),
            InputKind::Strings => json!({"type": "array", "items": {"type": "string"}}),
        };
        schema["description"] = json!(self.description);
        if let Some(pattern) = &self.pattern {
            schema["pattern"] = json!(pattern);
        }
        if !self.one_of.is_empty() {
            schema["enum"] = json!(self.one_of);
        }
        if let Some(default) = self.default.as_ref().filter(|value| !is_reference(value)) {
            schema["default"] = default.clone();
        }
        schema
    }

    pub(super) fn problem(&self, value: &Value) -> Option<String> {
        let name = &self.name;
        if !self.kind.fits(value) {
            return Some(format!(
                "input `{name}` must be {}, not {value}",
                self.kind.says()
            ));
        }
        let text = value.as_str()?;
        if text.chars().count() > self.max_length.unwrap_or(MAX_LENGTH) {
            return Some(format!(
                "input `{name}` is longer than {} characters",
                self.max_length.unwrap_or(MAX_LENGTH)
            ));
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|allowed| allowed == text) {
            return Some(format!(
                "input `{name}` must be one of {}, not `{text}`",
                self.one_of.join(", ")
            ));
        }
        let pattern = self.pattern.as_ref()?;
        match Regex::new(pattern) {
            Ok(regex) if regex.is_match(text) => None,
            _ => Some(format!(
                "input `{name}` must match {pattern}, and `{}` does not",
                short(text)
            )),
        }
    }
}

fn is_reference(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("${{"))
}

fn refers_to(default: &Value, what: &str) -> bool {
    super::reference::references(default)
        .iter()
        .any(|text| text.trim().starts_with(what))
}

fn short(text: &str) -> String {
    if text.chars().count() > 60 {
        text.chars().take(57).chain("...".chars()).collect()
    } else {
        text.to_owned()
    }
}

pub(crate) fn accept(
    specs: &[InputSpec],
    given: &Map<String, Value>,
    settings: &Value,
) -> Result<Value, Vec<String>> {
    let mut problems = Vec::new();
    for name in given.keys() {
        if !specs.iter().any(|spec| &spec.name == name) {
            let near = super::check::nearest(name, specs.iter().map(|spec| spec.name.as_str()));
            problems.push(format!("unknown input `{name}`{near}"));
        }
    }
    let mut accepted = Value::Object(Map::new());
    for spec in specs {
        let value = match given.get(&spec.name).filter(|value| !value.is_null()) {
            Some(value) => value.clone(),
            None if spec.required => {
                problems.push(format!("input `{}` is missing", spec.name));
                continue;
            }
            None => {
                let scope = Scope {
                    inputs: &accepted,
                    settings,
                    steps: None,
                };
                resolve(spec.default.as_ref().unwrap_or(&Value::Null), &scope)
            }
        };
        // What follows from another input was judged there.
        let derived = !given.contains_key(&spec.name)
            && spec
                .default
                .as_ref()
                .is_some_and(|default| refers_to(default, "inputs"));
        if !value.is_null() && !derived {
            problems.extend(spec.problem(&value));
        } else if value.is_null()
            && spec
                .default
                .as_ref()
                .is_some_and(|default| refers_to(default, "settings"))
        {
            problems.push(format!(
                "input `{}` is not given and has no default in the configuration",
                spec.name
            ));
        }
        accepted[&spec.name] = value;
    }
    if problems.is_empty() {
        Ok(accepted)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> InputSpec {
        InputSpec {
            name: name.into(),
            kind: InputKind::String,
            description: String::new(),
            required: false,
            default: None,
            pattern: None,
            one_of: Vec::new(),
            max_length: None,
        }
    }

    #[test]
    fn every_bad_input_is_named_at_once() {
        let specs = [
            InputSpec {
                required: true,
                ..spec("name")
            },
            InputSpec {
                one_of: vec!["private".into(), "public".into()],
                ..spec("visibility")
            },
        ];
        let given = json!({"visibility": "secret", "nam": "x"});
        let problems = accept(&specs, given.as_object().unwrap(), &Value::Null).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("did you mean `name`"), "{problems:?}");
    }

    #[test]
    fn a_default_may_refer_to_settings_and_to_inputs_above() {
        let specs = [
            InputSpec {
                required: true,
                ..spec("name")
            },
            InputSpec {
                default: Some(json!("${{ settings.owner }}")),
                ..spec("owner")
            },
            InputSpec {
                default: Some(json!("${{ inputs.name }}")),
                ..spec("namespace")
            },
        ];
        let given = json!({"name": "shop"});
        let accepted = accept(
            &specs,
            given.as_object().unwrap(),
            &json!({"owner": "acme"}),
        )
        .unwrap();
        assert_eq!(
            accepted,
            json!({"name": "shop", "owner": "acme", "namespace": "shop"})
        );
    }
}
