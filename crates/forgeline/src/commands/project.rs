//! `forgeline check` and `renew`.

use forgeline_provision::CheckReport;
use serde_json::{Map, json};

use super::remote::Server;
use super::{local, refuse, refuse_run, runs};
use crate::cli::{Check, Renew};
use crate::env::Env;
use crate::{exit, output, wire};

pub(super) async fn check(env: &Env, args: Check) -> u8 {
    if args.sandbox {
        return runs::no_sandbox();
    }
    let report = match Server::named(env, &args.remote) {
        Ok(Some(server)) => {
            let asked = Map::from_iter([("project".to_owned(), json!(args.project))]);
            server.check(&args.project, asked).await
        }
        Ok(None) => match wire::observer(env).await {
            Ok(provisioner) => provisioner.check(&args.project).await,
            Err(error) => return refuse(&error),
        },
        Err(code) => return code,
    };
    output::check(&report, args.output.format);
    code(&report, args.exit_code)
}

fn code(report: &CheckReport, wanted: bool) -> u8 {
    match &report.error {
        Some(error) => exit::of_error(&error.code),
        None if report.drift && wanted => exit::DRIFT,
        None => exit::OK,
    }
}

pub(super) async fn renew(env: &Env, args: Renew) -> u8 {
    if args.sandbox {
        return runs::no_sandbox();
    }
    let format = args.output.format;
    match Server::named(env, &args.remote) {
        Ok(Some(server)) => {
            let given = [("project", &args.project), ("ttl", &args.ttl)];
            let asked = given.map(|(name, value)| (name.to_owned(), json!(value)));
            return server
                .run("project_renew", Map::from_iter(asked), format)
                .await;
        }
        Ok(None) => {}
        Err(code) => return code,
    }
    let provisioner = match wire::writer(env, "forgeline renew").await {
        Ok(provisioner) => provisioner,
        Err(error) => return refuse_run(env, Some(&args.project), &error, format),
    };
    let view = provisioner
        .renew(&args.project, &args.ttl, &local(env), None)
        .await;
    output::run(&view, format);
    exit::code(&view)
}
