//! What may go wrong, and how it is put into a world.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use forgeline_sandbox::{Fault, FaultOrder};
use forgeline_step_engine::fault::CrashPoint;
use forgeline_step_engine::{
    Effect, Found, Registry, Seen, Step, StepCx, StepError, Timing, Undone,
};
use serde_json::Value;

use super::others::Deed;

/// A request of a run: which one of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    pub(super) system: String,
    pub(super) operation: String,
    /// Counted from 1.
    pub(super) nth: usize,
}

impl Asked {
    pub(super) fn order(&self, fault: Fault) -> FaultOrder {
        FaultOrder {
            system: self.system.clone(),
            operation: self.operation.clone(),
            nth: self.nth,
            fault,
        }
    }

    /// For the matrix.
    pub(super) fn name(&self) -> String {
        format!("{} {} #{}", self.system, self.operation, self.nth)
    }
}

/// A column of the matrix: one thing that can go wrong with a request.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    fault: Fault,
    /// Answers do not come, so deadlines must be short.
    pub(super) is_slow: bool,
    /// Only for this system. `None`: for all.
    system: Option<&'static str>,
    /// So many requests of its kind are hit, one after the other; more than one only where they read.
    times: usize,
    /// See [`Trouble::outlasts`].
    outlasts: bool,
}

/// Everything that can go wrong with one request.
pub(super) fn columns() -> Vec<Column> {
    let status = |status: u16, headers: &[(&str, &str)], body: &str| Fault::StatusBefore {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.to_owned(),
    };
    let quick = |name, fault| Column {
        name,
        fault,
        is_slow: false,
        system: None,
        times: 1,
        outlasts: false,
    };
    let slow = |name, fault| Column {
        is_slow: true,
        ..quick(name, fault)
    };
    let body = |text: &str| Fault::Body { text: text.into() };
    let json = ("content-type", "application/json");
    let secondary = r#"{"message": "You have exceeded a secondary rate limit."}"#;
    vec![
        quick("lost before", Fault::LostBefore),
        quick("connection refused", Fault::Down { ms: 40 }),
        quick("lost after", Fault::LostAfter),
        quick("502 after", Fault::StatusAfter { status: 502 }),
        quick("503 once", status(503, &[], "")),
        quick("429", status(429, &[("retry-after", "0")], "")),
        Column {
            system: Some("github"),
            ..quick("secondary limit", status(403, &[json], secondary))
        },
        quick("malformed", body("{\"id\": ")),
        quick("html", body("<html><body>502 Bad Gateway</body></html>")),
        quick(
            "401",
            status(401, &[json], r#"{"message": "Bad credentials"}"#),
        ),
        quick("403", status(403, &[json], r#"{"message": "Forbidden"}"#)),
        quick(
            "404 once",
            status(404, &[json], r#"{"message": "Not Found"}"#),
        ),
        Column {
            times: 2,
            outlasts: true,
            ..quick(
                "404 for a while",
                status(404, &[json], r#"{"message": "Not Found"}"#),
            )
        },
        slow("hang", Fault::Hang),
        slow("late", Fault::Late { ms: 700 }),
        Column {
            outlasts: true,
            ..slow("late after the undo looked", Fault::Late { ms: 1900 })
        },
    ]
}

impl Column {
    /// Whether it can happen to this request.
    pub(super) fn fits(&self, asked: &Asked) -> bool {
        let reads = asked.operation.starts_with("GET ");
        self.system.is_none_or(|system| system == asked.system) && (self.times == 1 || reads)
    }
}

/// What goes wrong in one schedule.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// A fault at a request; `failing`: in a run that fails at this step, so that it is undone.
    Fault {
        asked: Asked,
        column: Column,
        failing: Option<String>,
    },
    /// Somebody else acts right before a request.
    Meanwhile {
        asked: Asked,
        deed: Deed,
        failing: Option<String>,
    },
    /// A step refuses, before its effect or after it.
    Failing { step: String, after: bool },
    /// Every apply and every undo happens twice.
    Twice { failing: Option<String> },
    /// The process ends at a record of the journal, and its successor at another one.
    Crash {
        at: (usize, CrashPoint),
        again: Option<usize>,
        failing: Option<String>,
    },
    /// The process is gone while it waits for an answer, before the effect or after it.
    Gone {
        asked: Asked,
        after: bool,
        failing: Option<String>,
    },
}

impl Trouble {
    pub(super) fn name(&self) -> String {
        let undoing = |failing: &Option<String>| match failing {
            Some(step) => format!(" (run fails at {step})"),
            None => String::new(),
        };
        match self {
            Self::Fault {
                asked,
                column,
                failing,
            } => {
                format!("{} at {}{}", column.name, asked.name(), undoing(failing))
            }
            Self::Meanwhile {
                asked,
                deed,
                failing,
            } => {
                format!("{} before {}{}", deed.name, asked.name(), undoing(failing))
            }
            Self::Failing { step, after } => {
                let when = if *after { "after" } else { "before" };
                format!("{step} fails {when} its effect")
            }
            Self::Twice { failing } => format!("everything twice{}", undoing(failing)),
            Self::Crash {
                at: (nth, point),
                again,
                failing,
            } => {
                let again = again.map(|nth| format!(", then at record {nth}"));
                let (again, failing) = (again.unwrap_or_default(), undoing(failing));
                format!("crash at record {nth} ({point:?}){again}{failing}")
            }
            Self::Gone {
                asked,
                after,
                failing,
            } => {
                let when = if *after { "after" } else { "before" };
                format!("gone {when} {}{}", asked.name(), undoing(failing))
            }
        }
    }

    /// It may be felt after the run has ended: an effect that comes later than any settle time, a read that lags so long.
    pub(super) fn outlasts(&self) -> bool {
        match self {
            Self::Fault { column, .. } => column.outlasts,
            Self::Meanwhile { .. }
            | Self::Failing { .. }
            | Self::Twice { .. }
            | Self::Crash { .. }
            | Self::Gone { .. } => false,
        }
    }

    /// Request, fault and whether the run fails, where it is a cell of the matrix.
    pub(super) fn cell(&self) -> Option<(&Asked, &'static str, bool)> {
        match self {
            Self::Fault {
                asked,
                column,
                failing,
            } => Some((asked, column.name, failing.is_some())),
            Self::Meanwhile {
                asked,
                deed,
                failing,
            } => Some((asked, deed.name, failing.is_some())),
            Self::Failing { .. } | Self::Twice { .. } | Self::Crash { .. } | Self::Gone { .. } => {
                None
            }
        }
    }

    /// The faults to order on the wire.
    pub(super) fn orders(&self) -> Vec<FaultOrder> {
        match self {
            Self::Fault { asked, column, .. } => (0..column.times)
                .map(|more| FaultOrder {
                    nth: asked.nth + more,
                    ..asked.order(column.fault.clone())
                })
                .collect(),
            Self::Gone { asked, after, .. } => {
                let fault = if *after {
                    Fault::HangAfter
                } else {
                    Fault::Hang
                };
                vec![asked.order(fault)]
            }
            Self::Meanwhile { asked, deed, .. } => vec![deed.order(asked)],
            Self::Failing { .. } | Self::Twice { .. } | Self::Crash { .. } => Vec::new(),
        }
    }

    /// What happens around the steps.
    pub(super) fn around(&self) -> Arc<Around> {
        let (failing, after) = match self {
            Self::Failing { step, after } => (Some(step.clone()), *after),
            Self::Fault { failing, .. }
            | Self::Meanwhile { failing, .. }
            | Self::Twice { failing }
            | Self::Crash { failing, .. }
            | Self::Gone { failing, .. } => (failing.clone(), false),
        };
        Arc::new(Around {
            failing,
            after,
            twice: matches!(self, Self::Twice { .. }),
            fired: AtomicUsize::new(0),
        })
    }
}

/// What happens around every step of a run.
#[derive(Debug, Default)]
pub(super) struct Around {
    failing: Option<String>,
    after: bool,
    twice: bool,
    fired: AtomicUsize,
}

impl Around {
    /// A run that fails at this step.
    pub(super) fn failing(step: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            failing: step,
            ..Self::default()
        })
    }

    pub(super) fn fired(&self) -> usize {
        self.fired.load(Ordering::SeqCst)
    }

    /// The same kinds, each with this around it.
    pub(super) fn wrap(self: &Arc<Self>, registry: &Registry) -> Registry {
        let mut wrapped = Registry::new();
        let names: Vec<&'static str> = registry.names().collect();
        for name in names {
            if let (Some(spec), Some(step)) = (registry.spec(name), registry.step(name)) {
                let around = Arc::clone(self);
                wrapped.register(*spec, Arc::new(Troubled { step, around }));
            }
        }
        wrapped
    }

    fn fire(&self) {
        self.fired.fetch_add(1, Ordering::SeqCst);
    }

    fn refusal(&self) -> StepError {
        self.fire();
        let effect = if self.after {
            Effect::Left
        } else {
            Effect::None
        };
        StepError::refused("selftest.refused", "an ordered failure").effect(effect)
    }
}

struct Troubled {
    step: Arc<dyn Step>,
    around: Arc<Around>,
}

#[async_trait]
impl Step for Troubled {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        self.step.check(cx, with).await
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let fails = self.around.failing.as_deref() == Some(cx.step.as_str());
        if fails && !self.around.after {
            return Err(self.around.refusal());
        }
        let output = self.step.apply(cx, with, found).await?;
        if fails {
            return Err(self.around.refusal());
        }
        if !self.around.twice {
            return Ok(output);
        }
        // As after a crash: look, then once more.
        self.around.fire();
        let found = match self.step.check(cx, with).await? {
            Seen::Ours(output) => Found::Ours(output),
            Seen::Project(output) => Found::Project(output),
            Seen::Adopted(output) => Found::Adopted(output),
            other => {
                let what = format!("what was just made is seen as {other:?}");
                return Err(StepError::refused("selftest.lost", what));
            }
        };
        self.step.apply(cx, with, &found).await
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let undone = self.step.compensate(cx, with, output).await?;
        if self.around.twice {
            self.around.fire();
            self.step.compensate(cx, with, output).await?;
        }
        Ok(undone)
    }

    async fn recheck(
        &self,
        cx: &StepCx,
        with: &Value,
        recorded: Option<&Value>,
    ) -> Result<(), StepError> {
        self.step.recheck(cx, with, recorded).await
    }

    fn resources(&self, with: &Value) -> Vec<String> {
        self.step.resources(with)
    }

    fn creates_first(&self, with: &Value) -> bool {
        self.step.creates_first(with)
    }

    fn is_reversible(&self, with: &Value) -> bool {
        self.step.is_reversible(with)
    }

    fn outputs(&self, with: &Value) -> Option<Vec<String>> {
        self.step.outputs(with)
    }

    fn problems(&self, with: &Value) -> Vec<String> {
        self.step.problems(with)
    }

    fn timing(&self) -> Timing {
        self.step.timing()
    }
}

/// Every request of a log, each with its number among those of its kind.
pub(super) fn asked(log: &Value) -> Vec<Asked> {
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut all = Vec::new();
    for request in log.as_array().into_iter().flatten() {
        let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        let (system, operation) = (text("system"), text("operation"));
        let nth = seen.entry((system.clone(), operation.clone())).or_default();
        *nth += 1;
        all.push(Asked {
            system,
            operation,
            nth: *nth,
        });
    }
    all
}
