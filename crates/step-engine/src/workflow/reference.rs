//! `${{ inputs.x }}`, `${{ settings.x }}`, `${{ steps.id }}` and `${{ steps.id.field }}`: look-ups, nothing more. In the
//! `undo` of a step `${{ output.field }}` names what that step itself answered; it is looked up when the undo begins.

use std::collections::BTreeMap;

use serde_json::Value;

/// What references are looked up in.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The accepted inputs.
    pub inputs: &'a Value,
    /// Configuration that is not secret.
    pub settings: &'a Value,
    /// Outputs of the steps that are done. `None`: references to steps answer null.
    pub steps: Option<&'a BTreeMap<String, Value>>,
}

/// One reference as written, without the braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Input(String),
    Setting(String),
    Step {
        id: String,
        field: Option<String>,
    },
    /// A field of the step's own output.
    Own(String),
}

/// Replaces every reference in a value by what it names; a text that is one reference keeps the value's type. What
/// is not there becomes null, or the empty text inside a longer one.
pub fn resolve(value: &Value, scope: &Scope<'_>) -> Value {
    match value {
        Value::String(text) => resolve_text(text, scope),
        Value::Array(items) => items.iter().map(|item| resolve(item, scope)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, item)| (name.clone(), resolve(item, scope)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Replaces `${{ output.field }}` by what the step answered, and leaves everything else as it is.
pub fn resolve_own(value: &Value, output: &Value) -> Value {
    match value {
        Value::String(text) => replaced(text, |reference| match reference {
            Reference::Own(field) => Some(output.get(field).cloned().unwrap_or(Value::Null)),
            Reference::Input(_) | Reference::Setting(_) | Reference::Step { .. } => None,
        }),
        Value::Array(items) => items.iter().map(|item| resolve_own(item, output)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, item)| (name.clone(), resolve_own(item, output)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn resolve_text(text: &str, scope: &Scope<'_>) -> Value {
    replaced(text, |reference| match reference {
        Reference::Own(_) => None,
        other => Some(look_up(other, scope)),
    })
}

/// A text with its references replaced; one for which `look` answers nothing stays as it is written.
fn replaced(text: &str, look: impl Fn(&Reference) -> Option<Value>) -> Value {
    let pieces = split(text);
    if let [Piece::Reference(reference)] = pieces.as_slice() {
        return match parse(reference) {
            Ok(reference) => look(&reference).unwrap_or_else(|| Value::String(text.to_owned())),
            Err(_) => Value::Null,
        };
    }
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Reference(reference) => match parse(reference).map(|parsed| look(&parsed)) {
                Ok(Some(Value::String(text))) => out.push_str(&text),
                Ok(Some(Value::Null)) | Err(_) => {}
                Ok(Some(other)) => out.push_str(&other.to_string()),
                Ok(None) => out.push_str(&format!("${{{{{reference}}}}}")),
            },
        }
    }
    Value::String(out)
}

fn look_up(reference: &Reference, scope: &Scope<'_>) -> Value {
    let found = match reference {
        Reference::Own(_) => None,
        Reference::Input(name) => scope.inputs.get(name),
        Reference::Setting(name) => scope.settings.get(name),
        Reference::Step { id, field } => {
            let output = scope.steps.and_then(|steps| steps.get(id));
            match field {
                None => output,
                Some(field) => output.and_then(|output| output.get(field)),
            }
        }
    };
    found.cloned().unwrap_or(Value::Null)
}

/// Every reference in a value, as written between the braces.
pub(crate) fn references(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => split(text)
            .into_iter()
            .filter_map(|piece| match piece {
                Piece::Reference(reference) => Some(reference.to_owned()),
                Piece::Text(_) => None,
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(fields) => fields.values().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Reads a reference; the error says what forms there are.
pub(crate) fn parse(text: &str) -> Result<Reference, String> {
    let parts: Vec<&str> = text.trim().split('.').map(str::trim).collect();
    match parts.as_slice() {
        ["inputs", name] => Ok(Reference::Input((*name).to_owned())),
        ["settings", name] => Ok(Reference::Setting((*name).to_owned())),
        ["steps", id] => Ok(Reference::Step {
            id: (*id).to_owned(),
            field: None,
        }),
        ["steps", id, field] => Ok(Reference::Step {
            id: (*id).to_owned(),
            field: Some((*field).to_owned()),
        }),
        ["output", field] => Ok(Reference::Own((*field).to_owned())),
        _ => Err(format!(
            "bad reference `${{{{ {} }}}}`; write inputs.NAME, settings.NAME, steps.ID or steps.ID.FIELD",
            text.trim()
        )),
    }
}

enum Piece<'a> {
    Text(&'a str),
    Reference(&'a str),
}

fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find("${{") {
        let Some(close) = rest[open..].find("}}") else {
            break;
        };
        if open > 0 {
            pieces.push(Piece::Text(&rest[..open]));
        }
        pieces.push(Piece::Reference(&rest[open + 3..open + close]));
        rest = &rest[open + close + 2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_own_output_waits_for_the_undo() {
        let undo = json!({"id": "${{ output.id }}", "url": "http://x/${{ output.id }}/${{ inputs.name }}"});
        let scope = Scope {
            inputs: &json!({"name": "shop"}),
            settings: &Value::Null,
            steps: None,
        };
        let first = resolve(&undo, &scope);
        assert_eq!(first["id"], "${{ output.id }}");
        let second = resolve_own(&first, &json!({"id": 7}));
        assert_eq!(second, json!({"id": 7, "url": "http://x/7/shop"}));
    }

    #[test]
    fn a_lone_reference_keeps_its_type_and_a_longer_text_joins() {
        let inputs = json!({"n": 3, "name": "shop"});
        let steps = BTreeMap::from([("repo".to_owned(), json!({"url": "http://x/y"}))]);
        let scope = Scope {
            inputs: &inputs,
            settings: &Value::Null,
            steps: Some(&steps),
        };
        let with = json!({"n": "${{ inputs.n }}", "text": "see ${{steps.repo.url}} of ${{ inputs.name }}", "all": "${{ steps.repo }}"});
        assert_eq!(
            resolve(&with, &scope),
            json!({"n": 3, "text": "see http://x/y of shop", "all": {"url": "http://x/y"}})
        );
    }
}
