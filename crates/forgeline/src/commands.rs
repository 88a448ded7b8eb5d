//! The commands. Each answers an exit code.

mod audit;
mod cleanup;
mod config;
mod doctor;
mod health;
mod plans;
mod policy;
mod project;
mod remote;
mod run;
mod runs;
mod sandbox;
mod selftest;
mod serve;
mod token;
mod workflow;

use forgeline_provision::{Actor, ErrorView, RunView};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{AuditCommand, Cli, Command, Format};
use crate::env::Env;
use crate::exit;
use crate::output;
use crate::wire::WireError;

pub(crate) async fn run(cli: Cli, env: &Env) -> u8 {
    match cli.command {
        Command::Create(args) => run::create(env, &args).await,
        Command::Run(args) => run::run(env, args).await,
        Command::Doctor(args) => doctor::run(env, args).await,
        Command::Workflow(command) => workflow::run(env, command).await,
        Command::Config(command) => config::run(&crate::wire::prepared(env).await, command),
        Command::Policy(command) => policy::run(env, command).await,
        Command::Audit(AuditCommand::Verify(args)) => audit::verify(env, &args),
        Command::Token(command) => token::run(env, command).await,
        Command::Completion { shell } => completion(shell),
        Command::Health { url } => health::run(&url).await,
        Command::Status(args) => runs::status(env, args).await,
        Command::List(args) => runs::list(env, args).await,
        Command::Resume(args) => runs::resume(env, args).await,
        Command::Cancel(args) => runs::cancel(env, args).await,
        Command::Check(args) => project::check(env, args).await,
        Command::Renew(args) => project::renew(env, args).await,
        Command::Delete(args) => cleanup::delete(env, args).await,
        Command::MirrorRotate(args) => cleanup::rotate(env, args).await,
        Command::Cleanup(args) => cleanup::cleanup(env, args).await,
        Command::Serve(args) => serve::run(env, args).await,
        Command::Sandbox(args) => sandbox::run(args).await,
        Command::Selftest(args) => selftest::run(args).await,
    }
}

fn completion(shell: clap_complete::Shell) -> u8 {
    let mut command = <Cli as clap::CommandFactory>::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "forgeline", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end());
    exit::OK
}

/// The embedded sandbox cannot start.
fn no_sandbox_here(error: &forgeline_sandbox::StartError) -> u8 {
    output::complain(
        &error.to_string(),
        None,
        Some("install git and make the temporary directory writable"),
    );
    exit::UNEXPECTED
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
    if format != Format::Table {
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
            let view = RunView::refused(env.environment(), project, first);
            output::answer(&view, format);
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
