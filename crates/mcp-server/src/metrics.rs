//! `/metrics` in Prometheus' text form: runs, steps, retries, upstream requests, the journal. No label holds a name of
//! anybody's project.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forgeline_step_engine::{Engine, Record, Verb};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::broadcast::error::RecvError;

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// What is counted. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Mutex<Registry>,
    runs: Counters,
    steps: Counters,
    step_seconds: Histograms,
    retries: Counters,
    requests: Counters,
    request_seconds: Histograms,
    removals: Counters,
    records: Counter,
    missed: Counter,
    token_generation: Gauges,
    token_failures: Gauges,
    tokens: Mutex<Option<Tokens>>,
}

/// How tokens fare: the name of each in the configuration, how often it changed, and how often its place held none.
pub type Tokens = Arc<dyn Fn() -> Vec<(String, u64, u64)> + Send + Sync>;

/// What becomes of an item of a plan.
const RESULTS: [&str; 7] = [
    "deleted", "archived", "replaced", "kept", "blocked", "gone", "failed",
];

/// From 5 ms to about 40 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 14))
}

fn histograms() -> Histograms {
    Family::new_with_constructor(seconds as fn() -> Histogram)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("forgeline");
        let (runs, steps, retries, requests) = (
            Counters::default(),
            Counters::default(),
            Counters::default(),
            Counters::default(),
        );
        let (step_seconds, request_seconds) = (histograms(), histograms());
        let (records, missed) = (Counter::default(), Counter::default());
        let removals = Counters::default();
        registry.register(
            "removals",
            "Items of applied plans by what became of them",
            removals.clone(),
        );
        registry.register(
            "runs",
            "Runs by the state in which they ended",
            runs.clone(),
        );
        registry.register(
            "steps",
            "Operations of steps by verb and result",
            steps.clone(),
        );
        registry.register(
            "step_seconds",
            "Duration of operations by verb",
            step_seconds.clone(),
        );
        registry.register(
            "step_retries",
            "Tries beyond the first by verb",
            retries.clone(),
        );
        registry.register(
            "upstream_requests",
            "Requests to upstreams by system and outcome",
            requests.clone(),
        );
        registry.register(
            "upstream_seconds",
            "Duration of requests to upstreams by system",
            request_seconds.clone(),
        );
        registry.register(
            "journal_records",
            "Records that became durable",
            records.clone(),
        );
        registry.register(
            "journal_events_missed",
            "Records that were not counted because the counter was too slow",
            missed.clone(),
        );
        let (token_generation, token_failures) = (Gauges::default(), Gauges::default());
        registry.register(
            "secret_generation",
            "How often another value of a token was taken over, by its name in the configuration",
            token_generation.clone(),
        );
        registry.register(
            "secret_reload_errors",
            "How often the place of a token held no token; the last good one stayed in use",
            token_failures.clone(),
        );
        let inner = Inner {
            token_generation,
            token_failures,
            tokens: Mutex::default(),
            registry: Mutex::new(registry),
            runs,
            steps,
            step_seconds,
            retries,
            requests,
            request_seconds,
            removals,
            records,
            missed,
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl Metrics {
    /// Counts a request to an upstream. `outcome` is `ok`, a status, or `lost`.
    pub fn upstream(&self, system: &str, outcome: &str, elapsed: Duration) {
        let system = ("system", system.to_owned());
        let labels = vec![system.clone(), ("outcome", outcome.to_owned())];
        self.inner.requests.get_or_create(&labels).inc();
        self.inner
            .request_seconds
            .get_or_create(&vec![system])
            .observe(elapsed.as_secs_f64());
    }

    /// Shows how tokens fare whenever somebody looks.
    pub fn watch_tokens(&self, tokens: Tokens) {
        let mut watched = self
            .inner
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *watched = Some(tokens);
    }

    fn look_at_tokens(&self) {
        let tokens = self.inner.tokens.lock();
        let tokens = tokens.unwrap_or_else(PoisonError::into_inner).clone();
        for (name, generation, failures) in tokens.map(|tokens| tokens()).unwrap_or_default() {
            let labels = vec![("secret", name)];
            let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            let gauge = self.inner.token_generation.get_or_create(&labels);
            gauge.set(number(generation));
            let gauge = self.inner.token_failures.get_or_create(&labels);
            gauge.set(number(failures));
        }
    }

    /// Counts what an engine's journal records, until that engine ends.
    pub async fn watch(&self, engine: Engine) {
        let mut events = engine.events();
        drop(engine);
        loop {
            match events.recv().await {
                Ok(event) => self.count(&event.record),
                Err(RecvError::Lagged(lost)) => {
                    self.inner.missed.inc_by(lost);
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn count(&self, record: &Record) {
        self.inner.records.inc();
        match record {
            Record::Done {
                verb,
                attempts,
                duration_ms,
                output,
                ..
            } => {
                self.step(*verb, "done", *attempts, *duration_ms);
                let became = output["result"].as_str().unwrap_or_default();
                if let Some(result) = RESULTS.iter().find(|result| **result == became) {
                    let labels = vec![("result", (*result).to_owned())];
                    self.inner.removals.get_or_create(&labels).inc();
                }
            }
            Record::Failed {
                verb,
                attempts,
                duration_ms,
                ..
            } => self.step(*verb, "failed", *attempts, *duration_ms),
            Record::Ended { state, .. } => {
                let labels = vec![("state", state.as_str().to_owned())];
                self.inner.runs.get_or_create(&labels).inc();
            }
            _ => {}
        }
    }

    fn step(&self, verb: Verb, result: &str, attempts: u32, duration_ms: u64) {
        let word = match verb {
            Verb::Apply => "apply",
            Verb::Undo => "undo",
        };
        let verb = ("verb", word.to_owned());
        let labels = vec![verb.clone(), ("result", result.to_owned())];
        self.inner.steps.get_or_create(&labels).inc();
        let verb = vec![verb];
        let took = Duration::from_millis(duration_ms).as_secs_f64();
        self.inner.step_seconds.get_or_create(&verb).observe(took);
        let retries = u64::from(attempts.saturating_sub(1));
        self.inner.retries.get_or_create(&verb).inc_by(retries);
    }

    /// Everything as text.
    pub(crate) fn text(&self) -> String {
        self.look_at_tokens();
        let registry = self
            .inner
            .registry
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}
