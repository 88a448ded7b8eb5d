//! `forgeline sandbox`: the stand-ins in the foreground.

use forgeline_sandbox::{Options, Sandbox};

use super::{Signals, no_signals};
use crate::cli;
use crate::{exit, output};

pub(super) async fn run(args: cli::Sandbox) -> u8 {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return no_signals(&error),
    };
    let options = Options {
        latency: args.latency,
        first_port: args.port,
        gitea: args.gitea,
        ..Options::default()
    };
    let sandbox = match Sandbox::start(&options).await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            output::complain(
                &error.to_string(),
                None,
                Some(
                    "choose another --port, install git, or make the temporary directory writable",
                ),
            );
            return exit::UNEXPECTED;
        }
    };
    let data_dir = (
        "FORGELINE_DATA_DIR",
        sandbox.data_dir().display().to_string(),
    );
    let all = sandbox
        .exports()
        .into_iter()
        .chain([data_dir])
        .chain(sandbox.control_exports());
    let lines: Vec<String> = all
        .map(|(name, value)| format!("export {name}='{value}'"))
        .collect();
    output::print(&lines.join("\n"));
    output::say(
        "sandbox: running until Ctrl-C; set the variables above in another terminal, then `forgeline create NAME` or `forgeline serve`",
    );
    signals.next().await;
    exit::OK
}
