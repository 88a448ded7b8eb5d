//! `${{ inputs.x }}`, `${{ settings.x }}`, `${{ steps.id }}` and `${{ steps.id.field }}`: look-ups, nothing more. In the
//! `undo` of a step `${{ output.field }}` names what that step itself answered; it is looked up when the undo begins.
//!
//! In a text that is one address (it begins with `http://` or `https://` and has no blanks) values are percent-encoded,
//! so that no value leads to another path; one that is null, empty, `.` or `..` makes the whole text null.

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

/// Replaces `${{ output.field }}`, as [`resolve`] has left it, by what the step answered.
///
/// # Errors
/// The name of a field that the answer does not have: what is undone would not be what was made.
pub fn resolve_own(value: &Value, output: &Value) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => {
            let pieces = split(text, OWN);
            for piece in &pieces {
                if let Piece::Reference(reference) = piece
                    && own(reference, output).is_null()
                {
                    return Err(reference.trim().to_owned());
                }
            }
            replaced(text, pieces, |reference| own(reference, output))
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| resolve_own(item, output));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, item)| Ok((name.clone(), resolve_own(item, output)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// How references are written, and how those to the own output stand in a resolved value: no value can forge the latter,
/// because its mark is taken out of every value.
const WRITTEN: &str = "${{";
const OWN: &str = "\u{0}{{";

fn own(reference: &str, output: &Value) -> Value {
    let field = reference.trim().strip_prefix("output.").unwrap_or_default();
    output.get(field).cloned().unwrap_or(Value::Null)
}

fn resolve_text(text: &str, scope: &Scope<'_>) -> Value {
    replaced(text, split(text, WRITTEN), |reference| {
        match parse(reference) {
            Ok(Reference::Own(field)) => Value::String(format!("{OWN} output.{field} }}}}")),
            Ok(other) => unmarked(look_up(&other, scope)),
            Err(_) => Value::Null,
        }
    })
}

/// A value without the mark of references to the own output.
fn unmarked(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\u{0}') => Value::String(text.replace('\u{0}', "")),
        Value::Array(items) => items.into_iter().map(unmarked).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, item)| (name, unmarked(item)))
            .collect(),
        other => other,
    }
}

fn replaced(text: &str, pieces: Vec<Piece<'_>>, look: impl Fn(&str) -> Value) -> Value {
    if let [Piece::Reference(reference)] = pieces.as_slice() {
        return look(reference);
    }
    let address = is_address(text, &pieces);
    let mut out = String::new();
    for piece in pieces {
        let value = match piece {
            Piece::Text(text) => {
                out.push_str(text);
                continue;
            }
            Piece::Reference(reference) => look(reference),
        };
        let inserted = match value {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        };
        if !address || inserted.starts_with(OWN) {
            out.push_str(&inserted);
        } else if matches!(inserted.as_str(), "" | "." | "..") {
            return Value::Null;
        } else {
            out.push_str(&encoded(&inserted));
        }
    }
    Value::String(out)
}

/// One address, with references behind its beginning.
fn is_address(text: &str, pieces: &[Piece<'_>]) -> bool {
    (text.starts_with("http://") || text.starts_with("https://"))
        && pieces.iter().all(|piece| match piece {
            Piece::Text(text) => !text.contains(char::is_whitespace),
            Piece::Reference(_) => true,
        })
}

/// Percent-encoded but for the unreserved characters of RFC 3986, section 2.3.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
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
        Value::String(text) => split(text, WRITTEN)
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

/// The mistake of a value that [`is_unclosed`].
pub(crate) const UNCLOSED: &str = "a reference is opened with `${{` and not closed with `}}`";

/// Some text in the value opens a reference and does not close it.
pub(crate) fn is_unclosed(value: &Value) -> bool {
    match value {
        Value::String(text) => split(text, WRITTEN)
            .iter()
            .any(|piece| matches!(piece, Piece::Text(text) if text.contains(WRITTEN))),
        Value::Array(items) => items.iter().any(is_unclosed),
        Value::Object(fields) => fields.values().any(is_unclosed),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
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

fn split<'a>(text: &'a str, opening: &str) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(opening) {
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
        let second = resolve_own(&first, &json!({"id": 7}));
        assert_eq!(second, Ok(json!({"id": 7, "url": "http://x/7/shop"})));
        assert_eq!(resolve_own(&first, &json!({})), Err("output.id".into()));
    }

    #[test]
    fn no_value_leads_to_another_address_or_to_the_own_output() {
        let undo = json!({"url": "https://x/items/${{ inputs.item }}/archive", "text": "see ${{ inputs.item }}"});
        let with = |item: &str| {
            let scope = Scope {
                inputs: &json!({"item": item}),
                settings: &Value::Null,
                steps: None,
            };
            resolve_own(&resolve(&undo, &scope), &json!({"secret": "s"})).unwrap()
        };
        assert_eq!(with("../a?b")["url"], "https://x/items/..%2Fa%3Fb/archive");
        for gone in ["", ".", ".."] {
            assert_eq!(with(gone)["url"], Value::Null, "{gone}");
        }
        for forged in ["${{ output.secret }}", "\u{0}{{ output.secret }}"] {
            let text = with(forged)["text"].clone();
            assert_eq!(text, format!("see {}", forged.replace('\u{0}', "")));
        }
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
