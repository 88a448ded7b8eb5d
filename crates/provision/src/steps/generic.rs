//! What `mcp.call` and `http.request` share: steps that are written in a workflow file alone.
//!
//! With a `check` call such a step is looked at before it is made, and after an unknown outcome. Without one it is never
//! repeated once its request may have acted: the run is stuck with what to look at. Without an `undo` its effect stays.
//! Only the fields that `output` names are kept in the journal, so that an answer's secrets never get there.

use async_trait::async_trait;
use forgeline_step_engine::{
    Effect, Found, Origin, Seen, Step, StepCx, StepError, Timing, Undone, resolve_own,
};
use serde_json::{Map, Value, json};

/// How a call is made; there are MCP and HTTP.
#[async_trait]
pub(super) trait Transport: Send + Sync {
    /// Makes the call that these arguments describe.
    async fn call(&self, call: &Value) -> Result<Value, StepError>;

    /// Looks with a `check` call. `None`: what it asks for is not there.
    async fn look(&self, check: &Value) -> Result<Option<Value>, StepError>;

    /// Takes back with an `undo` call. `false`: there was nothing to take back.
    async fn undo(&self, undo: &Value) -> Result<bool, StepError>;

    /// What is wrong with the arguments as they are written.
    fn problems(&self, with: &Value) -> Vec<String>;

    /// For people: what the call does.
    fn title(&self, call: &Value) -> String;
}

/// A step over one transport.
pub(super) struct Generic<T> {
    pub(super) transport: T,
    pub(super) timing: Timing,
}

/// The fact that the request may have been sent: `true` before it is, `false` when it was refused.
const SENT: &str = "sent";

impl<T: Transport> Generic<T> {
    /// The call of a part (`check`, `undo`) with what it inherits from the step.
    fn part(with: &Value, name: &str) -> Option<Value> {
        let mut part = with[name].as_object()?.clone();
        for inherited in ["server", "token"] {
            if let Some(value) = with.get(inherited) {
                part.entry(inherited).or_insert_with(|| value.clone());
            }
        }
        Some(Value::Object(part))
    }

    fn may_have_acted(cx: &StepCx) -> bool {
        cx.fact(SENT) == Some(json!(true))
    }

    fn unknown(&self, cx: &StepCx, with: &Value, why: &str) -> StepError {
        let what = self.transport.title(with);
        let run = &cx.run_id;
        StepError::unknown(
            "step.unknown_outcome",
            format!("nobody knows whether this acted: {what}{why}"),
        )
        .remedy(format!(
            "look whether it did, then `forgeline resume {run} --skip {}`; a `check` in the workflow file lets forgeline look itself",
            cx.step
        ))
        .command(format!("look whether this was done: {what}"))
    }

    /// Only what the step says it keeps.
    fn kept(with: &Value, answer: &Value) -> Value {
        let names = with["output"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let names = names.iter().filter_map(Value::as_str);
        let fields: Map<String, Value> = names
            .map(|name| {
                (
                    name.to_owned(),
                    answer.get(name).cloned().unwrap_or(Value::Null),
                )
            })
            .collect();
        Value::Object(fields)
    }

    /// What an earlier run for the same subject made with this call. A `check` says what a call is about; without one two
    /// calls are the same when all of their arguments are.
    fn earlier<'a>(cx: &'a StepCx, with: &Value) -> Option<(Origin, &'a Value)> {
        cx.earlier_call(|call| match &with["check"] {
            Value::Null => call == with,
            check => call["check"] == *check,
        })
    }

    async fn looked(&self, with: &Value) -> Result<Option<Value>, StepError> {
        match Self::part(with, "check") {
            Some(check) => {
                let found = self.transport.look(&check).await?;
                Ok(found.map(|found| Self::kept(with, &found)))
            }
            None => Ok(None),
        }
    }
}

#[async_trait]
impl<T: Transport> Step for Generic<T> {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let earlier = Self::earlier(cx, with);
        if with["check"].is_null() {
            if Self::may_have_acted(cx) {
                return Err(StepError {
                    retryable: false,
                    ..self.unknown(cx, with, "")
                });
            }
            return Ok(earlier.map_or(Seen::Absent, |(_, output)| Seen::Project(output.clone())));
        }
        let Some(output) = self.looked(with).await? else {
            return Ok(Seen::Absent);
        };
        if Self::may_have_acted(cx) {
            return Ok(Seen::Ours(output));
        }
        Ok(match earlier {
            Some((Origin::Adopted, _)) => Seen::Adopted(output),
            Some((Origin::Created | Origin::Existing, _)) => Seen::Project(output),
            None => Seen::Foreign {
                why: format!(
                    "what step `{}` would make is there already: {}",
                    cx.step,
                    self.transport.title(with)
                ),
                adoptable: Some(output),
            },
        })
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        match found {
            Found::Ours(output) | Found::Project(output) | Found::Adopted(output) => {
                return Ok(output.clone());
            }
            Found::NotLooked | Found::Absent => {}
        }
        let checked = !with["check"].is_null();
        if !checked && Self::may_have_acted(cx) {
            return Err(StepError {
                retryable: false,
                ..self.unknown(cx, with, "")
            });
        }
        let sent_before = Self::may_have_acted(cx);
        cx.record_fact(SENT, json!(true)).await?;
        match self.transport.call(with).await {
            Ok(answer) => Ok(Self::kept(with, &answer)),
            Err(error) if error.effect == Effect::Possible && !checked => Err(StepError {
                retryable: false,
                ..self.unknown(cx, with, &format!(" ({error})"))
            }),
            Err(error) => {
                // A refusal says nothing of what was sent before it.
                if error.effect == Effect::None && !sent_before {
                    cx.record_fact(SENT, json!(false)).await?;
                }
                Err(error)
            }
        }
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let known = match output.filter(|output| !output.is_null()) {
            Some(output) => Some(output.clone()),
            None if !Self::may_have_acted(cx) => return Ok(Undone::NotThere),
            None if with["check"].is_null() => {
                return Err(StepError {
                    retryable: false,
                    ..self.unknown(cx, with, "")
                });
            }
            None => self.looked(with).await?,
        };
        let Some(output) = known else {
            return Ok(Undone::NotThere);
        };
        let Some(undo) = Self::part(with, "undo") else {
            return Ok(Undone::Removed);
        };
        let undo = resolve_own(&undo, &output).map_err(|field| {
            let what = self.transport.title(with);
            StepError::refused(
                "step.undo_incomplete",
                format!("the answer has no `{field}`, which the undo of this needs: {what}"),
            )
            .remedy("undo it by hand; then skip the step")
            .command(format!("undo by hand: {what}"))
        })?;
        let undone = self.transport.undo(&undo).await?;
        Ok(if undone {
            Undone::Removed
        } else {
            Undone::NotThere
        })
    }

    fn resources(&self, with: &Value) -> Vec<String> {
        with["resource"]
            .as_str()
            .map(str::to_owned)
            .into_iter()
            .collect()
    }

    fn creates_first(&self, with: &Value) -> bool {
        with["check"].is_null()
    }

    fn requests(&self, _with: &Value) -> Vec<(&'static str, u32)> {
        vec![("other", 1)]
    }

    fn is_reversible(&self, with: &Value) -> bool {
        !with["undo"].is_null()
    }

    fn outputs(&self, with: &Value) -> Option<Vec<String>> {
        let names = with["output"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        Some(
            names
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
        )
    }

    fn problems(&self, with: &Value) -> Vec<String> {
        let mut problems = self.transport.problems(with);
        let names = &with["output"];
        let texts = names
            .as_array()
            .is_some_and(|names| names.iter().all(Value::is_string));
        if !names.is_null() && !texts {
            problems.push("`output` must be a list of the answer's fields to keep".into());
        }
        if !with["resource"].is_null() && !with["resource"].is_string() {
            problems.push("`resource` must be a text".into());
        }
        let found = &with["check"]["found"];
        let pointer = found
            .as_str()
            .is_some_and(|text| text.is_empty() || text.starts_with('/'));
        if !found.is_null() && !pointer {
            problems.push(format!(
                "`found` must be a JSON pointer like /id, not {found}"
            ));
        }
        problems
    }

    fn timing(&self) -> Timing {
        self.timing
    }
}

/// The value at a JSON pointer, when there is something: not null, false, empty text or empty list.
pub(super) fn something<'a>(answer: &'a Value, pointer: &str) -> Option<&'a Value> {
    let found = answer.pointer(pointer)?;
    let nothing = match found {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Object(_) => false,
    };
    (!nothing).then_some(found)
}

/// What a `check` found: the object that holds what `found` points at, so that `output` can name its fields.
pub(super) fn found_in(answer: Value, check: &Value) -> Option<Value> {
    let Some(pointer) = check["found"].as_str() else {
        return Some(answer);
    };
    let found = something(&answer, pointer)?;
    if found.is_object() {
        return Some(found.clone());
    }
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    answer.pointer(parent).cloned()
}

/// Names in a part that are not known.
pub(super) fn unknown_fields(part: &Value, what: &str, known: &[&str]) -> Vec<String> {
    let Some(fields) = part.as_object() else {
        return if part.is_null() {
            Vec::new()
        } else {
            vec![format!("`{what}` must be a map")]
        };
    };
    let unknown = fields.keys().filter(|name| !known.contains(&name.as_str()));
    unknown
        .map(|name| format!("`{what}` takes no `{name}`; there are {}", known.join(", ")))
        .collect()
}

/// Fields that are there and no text.
pub(super) fn not_texts(part: &Value, names: &[&str]) -> Vec<String> {
    let wrong = names.iter().filter(|name| {
        part.get(**name)
            .is_some_and(|value| value.as_str().is_none_or(|text| text.trim().is_empty()))
    });
    wrong
        .map(|name| format!("`{name}` must be a text, not {}", part[*name]))
        .collect()
}

/// A literal, as opposed to something that is looked up when the step runs.
pub(super) fn literal(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.contains("${{"))
}
