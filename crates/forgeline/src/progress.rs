//! What is shown while a run goes on: a spinner per step on a terminal, plain lines otherwise, always on stderr; and for
//! `-o ndjson` one line on stdout for each thing that happens.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use forgeline_step_engine::{Record, RunEvent, RunId, Verb};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::cli::Format;

/// Shows a run until the events end; meant to be dropped when the run has settled.
pub(crate) async fn show(mut events: Receiver<RunEvent>, run: RunId, format: Format) {
    let mut screen = Screen::new();
    if format == Format::Ndjson {
        crate::output::line(
            &json!({"type": "version", "format": 1, "forgeline": env!("CARGO_PKG_VERSION")}),
        );
    }
    loop {
        match events.recv().await {
            Ok(event) if event.run_id == run && format == Format::Ndjson => {
                crate::output::line(&told(&event));
            }
            Ok(event) if event.run_id == run => screen.show(&event.record),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// A record as a line for programs: `type` is the record's name, unknown ones are to be passed over.
fn told(event: &RunEvent) -> Value {
    let (at, run) = (event.at.to_string(), event.run_id.as_str());
    match &event.record {
        Record::Started { step, verb } => {
            json!({"type": "started", "at": at, "run_id": run, "step": step, "verb": verb})
        }
        Record::Done {
            step,
            verb,
            origin,
            duration_ms,
            attempts,
            ..
        } => {
            json!({"type": "done", "at": at, "run_id": run, "step": step, "verb": verb, "origin": origin, "duration_ms": duration_ms, "attempts": attempts})
        }
        Record::Failed {
            step,
            verb,
            error,
            duration_ms,
            attempts,
        } => {
            json!({"type": "failed", "at": at, "run_id": run, "step": step, "verb": verb, "code": error.code, "message": error.message, "duration_ms": duration_ms, "attempts": attempts})
        }
        Record::Settling => json!({"type": "settling", "at": at, "run_id": run}),
        Record::Ended { state, cause, .. } => {
            json!({"type": "ended", "at": at, "run_id": run, "state": state, "cause": cause})
        }
        _ => json!({"type": "other", "at": at, "run_id": run}),
    }
}

struct Screen {
    bars: Option<MultiProgress>,
    steps: HashMap<String, ProgressBar>,
}

impl Screen {
    fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self {
            bars,
            steps: HashMap::new(),
        }
    }

    fn show(&mut self, record: &Record) {
        match record {
            Record::Started { step, verb } => {
                let doing = if *verb == Verb::Apply {
                    "..."
                } else {
                    "undoing ..."
                };
                self.begin(step, doing);
            }
            Record::Done {
                step,
                verb,
                duration_ms,
                origin,
                ..
            } => {
                let origin = origin.map(|origin| format!("{origin:?}").to_lowercase());
                let done = if *verb == Verb::Apply {
                    origin.unwrap_or_else(|| "done".into())
                } else {
                    "undone".into()
                };
                self.end(step, "✔", &format!("{done} in {duration_ms} ms"));
            }
            Record::Failed { step, error, .. } => self.end(step, "✗", &error.message),
            Record::Settling => {
                crate::output::say("waiting until an ambiguous request has settled")
            }
            _ => {}
        }
    }

    fn begin(&mut self, step: &str, doing: &str) {
        let Some(bars) = &self.bars else {
            crate::output::say(&format!("{step}: {doing}"));
            return;
        };
        let bar = bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(step.to_owned());
        bar.set_message(doing.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        self.steps.insert(step.to_owned(), bar);
    }

    fn end(&mut self, step: &str, sign: &str, how: &str) {
        match self.steps.remove(step) {
            Some(bar) => {
                if let Ok(style) = ProgressStyle::with_template("{msg}") {
                    bar.set_style(style);
                }
                bar.finish_with_message(format!("{sign} {step}: {how}"));
            }
            None => crate::output::say(&format!("{sign} {step}: {how}")),
        }
    }
}

/// How far a long list of things is: a bar on a terminal, a line now and then otherwise, on stderr.
pub(crate) struct Counter {
    bar: Option<ProgressBar>,
    what: &'static str,
    all: usize,
    done: std::sync::atomic::AtomicUsize,
}

impl Counter {
    pub(crate) fn start(all: usize, what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(u64::try_from(all).unwrap_or(u64::MAX));
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
                bar.set_style(style);
            }
            bar.with_message(what)
        });
        Self {
            bar,
            what,
            all,
            done: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    pub(crate) fn tick(&self) {
        let done = 1 + self.done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if done.is_multiple_of(200) || done == self.all => {
                crate::output::say(&format!("{}: {done} of {}", self.what, self.all));
            }
            None => {}
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
