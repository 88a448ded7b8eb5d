//! `forgeline doctor`.

use forgeline_sandbox::{Options, Sandbox};
use serde_json::{Map, json};

use super::remote::Server;
use crate::cli::Doctor;
use crate::env::Env;
use crate::{exit, output, wire};

pub(super) async fn run(env: &Env, args: Doctor) -> u8 {
    let report = if args.sandbox {
        let sandbox = match Sandbox::start(&Options::default()).await {
            Ok(sandbox) => sandbox,
            Err(error) => return super::no_sandbox_here(&error),
        };
        let env = Env::of_sandbox(sandbox.exports(), &sandbox.data_dir(), env);
        here(&env, &args.only).await
    } else {
        match Server::named(env, &args.remote) {
            Ok(Some(server)) => {
                let only = Map::from_iter([("only".to_owned(), json!(args.only))]);
                server.doctor(only).await
            }
            Ok(None) => here(env, &args.only).await,
            Err(code) => return code,
        }
    };
    output::report(&report, args.output.format);
    match &report.error {
        Some(error) => exit::of_error(&error.code),
        None if report.ok => exit::OK,
        None => exit::CONFIGURATION,
    }
}

async fn here(env: &Env, only: &[String]) -> forgeline_provision::Report {
    let listen = env.or_default("FORGELINE_LISTEN").to_owned();
    wire::doctor(env, Some(listen)).await.examine(only).await
}
