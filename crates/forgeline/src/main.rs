//! forgeline: provisions a software project end to end, from one call.

mod cli;
mod commands;
mod config;
mod config_file;
mod env;
mod exit;
mod logging;
mod output;
mod progress;
mod selftest;
mod variables;
mod wire;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap says where its text belongs.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    // One provider of cryptography for every client; a second one would be refused, which is fine.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let env = env::Env::of_process();
    logging::start(&cli, &env);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::say(&format!(
                "error: the program cannot start its runtime\ncaused by: {error}"
            ));
            return ExitCode::from(1);
        }
    };
    let code = runtime.block_on(async {
        let code = commands::run(cli, &env).await;
        wire::keeping::close().await;
        code
    });
    // A blocked read of stdin must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}
