//! Logs go to stderr: for eyes on a terminal, as JSON lines otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::env::Env;

/// Foreign libraries log requests and bodies; they stay quiet.
const QUIET: &str = "rmcp=off,octocrab=off,kube_client=off,hyper=warn,tower=warn";

/// Starts logging. `FORGELINE_LOG` is a filter; the default is `info` for servers and `warn` for everything else.
pub(crate) fn start(cli: &Cli) {
    let level = match cli.command {
        Command::Serve(_) | Command::Sandbox(_) => "info",
        _ => "warn",
    };
    let env = Env::of_process();
    let wanted = env.filled("FORGELINE_LOG").map_or_else(
        || format!("{level},{QUIET}"),
        |own| format!("{own},{QUIET}"),
    );
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second start, as in tests, changes nothing.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_ansi(env.get("NO_COLOR").is_none()).try_init()
    } else {
        builder.json().try_init()
    };
}
