//! The commands. Each answers an exit code.

mod create;
mod runs;
mod sandbox;
mod serve;

use forgeline_provision::{Actor, ErrorView, RunView};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Cli, Command, Format};
use crate::env::Env;
use crate::exit;
use crate::output;
use crate::wire::WireError;

pub(crate) async fn run(cli: Cli) -> u8 {
    let env = Env::of_process();
    match cli.command {
        Command::Create(args) => create::run(&env, args).await,
        Command::Status(args) => runs::status(&env, args).await,
        Command::List(args) => runs::list(&env, args).await,
        Command::Resume(args) => runs::resume(&env, args).await,
        Command::Cancel(args) => runs::cancel(&env, args).await,
        Command::Serve(args) => serve::run(&env, args).await,
        Command::Sandbox(args) => sandbox::run(args).await,
    }
}

fn local(env: &Env) -> Actor {
    Actor::new(format!("local:{}", env.user()))
}

/// Says why nothing could be connected, and answers the exit code.
fn refuse(error: &WireError) -> u8 {
    match error {
        WireError::Configuration(problems) => {
            output::complain_of(problems);
            exit::CONFIGURATION
        }
        WireError::Journal(error) => {
            output::complain(&error.to_string(), None, Some(&error.remedy()));
            exit::of_error(error.code())
        }
    }
}

/// As [`refuse`], for a command that answers a run: with `-o json` the refusal is a RunView on stdout too.
fn refuse_run(env: &Env, project: Option<&str>, error: &WireError, format: Format) -> u8 {
    if format == Format::Json {
        let first = match error {
            WireError::Configuration(problems) => problems
                .first()
                .map(|problem| ErrorView::new(&problem.code, &problem.message, &problem.remedy)),
            WireError::Journal(error) => Some(ErrorView::new(
                error.code(),
                error.to_string(),
                error.remedy(),
            )),
        };
        if let Some(first) = first {
            let environment = env.filled("FORGELINE_ENVIRONMENT").unwrap_or("live");
            output::json(&RunView::refused(environment, project, first));
        }
    }
    refuse(error)
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn no_signals(error: &std::io::Error) -> u8 {
    output::complain(
        "the program cannot listen for signals",
        Some(&error.to_string()),
        None,
    );
    exit::UNEXPECTED
}
