//! Logs go to stderr: for eyes on a terminal, as JSON lines otherwise. Requests to upstreams are counted on the way.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use forgeline_mcp_server::metrics::Metrics;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::cli::{Cli, Command};
use crate::env::Env;

/// Foreign libraries log requests and bodies; they stay quiet.
const QUIET: &str = "rmcp=off,octocrab=off,kube_client=off,hyper=warn,tower=warn";

static METRICS: OnceLock<Metrics> = OnceLock::new();

/// What this process counts.
pub(crate) fn metrics() -> &'static Metrics {
    METRICS.get_or_init(Metrics::default)
}

/// Starts logging. `FORGELINE_LOG` is a filter; the default is `info` for servers, nothing for
/// the selftest, and `warn` for everything else.
pub(crate) fn start(cli: &Cli, env: &Env) {
    let level = match cli.command {
        Command::Serve(_) | Command::Sandbox(_) => "info",
        // Every failure there is ordered.
        Command::Selftest(_) => "off",
        _ => "warn",
    };
    let wanted = env.filled("FORGELINE_LOG").map_or_else(
        || format!("{level},{QUIET}"),
        |own| format!("{own},{QUIET}"),
    );
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new(level));
    let to_stderr = fmt::layer().with_writer(std::io::stderr);
    let shown = if std::io::stderr().is_terminal() {
        to_stderr
            .with_ansi(env.get("NO_COLOR").is_none())
            .with_filter(filter)
            .boxed()
    } else {
        to_stderr.json().with_filter(filter).boxed()
    };
    let serves = matches!(cli.command, Command::Serve(_));
    let counted =
        serves.then(|| Counter.with_filter(Targets::new().with_target("upstream", Level::DEBUG)));
    // A second start, as in tests, changes nothing.
    let _ = tracing_subscriber::registry()
        .with(shown)
        .with(counted)
        .try_init();
}

/// Counts the events that `forgeline_upstream::within` writes for each request.
struct Counter;

impl<S: Subscriber> Layer<S> for Counter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut request = Request::default();
        event.record(&mut request);
        let outcome = match (request.ok, request.status) {
            (true, _) => "ok".to_owned(),
            (false, Some(status)) => status.to_string(),
            (false, None) => "lost".to_owned(),
        };
        metrics().upstream(&request.system, &outcome, request.elapsed);
    }
}

#[derive(Default)]
struct Request {
    system: String,
    ok: bool,
    status: Option<u64>,
    elapsed: Duration,
}

impl Visit for Request {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "system" {
            value.clone_into(&mut self.system);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "ok" {
            self.ok = value;
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.status = Some(value),
            "elapsed_us" => self.elapsed = Duration::from_micros(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
