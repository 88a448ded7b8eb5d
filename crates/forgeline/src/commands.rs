//! The commands. Each answers an exit code.

mod create;
mod runs;
mod sandbox;
mod serve;

use forgeline_provision::Actor;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Cli, Command};
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
