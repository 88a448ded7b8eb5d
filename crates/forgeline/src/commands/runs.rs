//! `forgeline status`, `list`, `resume` and `cancel`.

use forgeline_provision::{Provisioner, RunView, Started};
use forgeline_step_engine::{Decision, RunState};
use serde_json::{Map, Value, json};

use super::remote::Server;
use super::{local, refuse, refuse_run, run};
use crate::cli::{Cancel, Format, List, Resume, Status};
use crate::env::Env;
use crate::{exit, output, wire};

/// Arguments of a tool; what is not given is left out.
fn arguments<const N: usize>(given: [(&str, Option<Value>); N]) -> Map<String, Value> {
    let given = given.into_iter();
    given
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// A fresh sandbox has no earlier run: exit 2 with what helps.
pub(super) fn no_sandbox() -> u8 {
    let help = "run `forgeline sandbox` in another terminal, set the variables that it prints, and leave --sandbox out";
    output::complain(
        "--sandbox is a fresh world without any earlier run",
        None,
        Some(help),
    );
    exit::USAGE
}

pub(super) async fn status(env: &Env, args: Status) -> u8 {
    if args.sandbox {
        return no_sandbox();
    }
    match Server::named(env, &args.remote) {
        Ok(None) => {}
        Ok(Some(server)) => {
            let asked = arguments([
                ("project", args.project.map(Value::from)),
                ("run_id", args.run.map(Value::from)),
            ]);
            return server.look(asked, args.output.format).await;
        }
        Err(code) => return code,
    }
    let provisioner = match wire::reader(env) {
        Ok(provisioner) => provisioner,
        Err(error) => return refuse(&error),
    };
    let view = provisioner
        .status(args.project.as_deref(), args.run.as_deref(), None)
        .await;
    output::run(&view, args.output.format);
    // The answer was given, whatever it says of the run.
    if view.run_id.is_some() {
        exit::OK
    } else {
        exit::code(&view)
    }
}

pub(super) async fn list(env: &Env, args: List) -> u8 {
    if args.sandbox {
        return no_sandbox();
    }
    let state = match args
        .state
        .as_deref()
        .map(|word| RunState::parse(word).ok_or(word))
        .transpose()
    {
        Ok(state) => state,
        Err(word) => {
            let help = "use running, interrupted, succeeded, compensating, compensated, failed, stuck or abandoned";
            output::complain(&format!("there is no state `{word}`"), None, Some(help));
            return exit::USAGE;
        }
    };
    match Server::named(env, &args.remote) {
        Ok(None) => {}
        Ok(Some(server)) => {
            let asked = arguments([
                ("state", state.map(|state| json!(state))),
                ("limit", Some(json!(args.limit))),
            ]);
            return server.list(asked, args.output.format).await;
        }
        Err(code) => return code,
    }
    let provisioner = match wire::reader(env) {
        Ok(provisioner) => provisioner,
        Err(error) => return refuse(&error),
    };
    let limit = usize::try_from(args.limit).unwrap_or(50);
    let list = provisioner.list(state, limit, None).await;
    output::list(&list, args.output.format);
    list.error
        .map_or(exit::OK, |error| exit::of_error(&error.code))
}

pub(super) async fn resume(env: &Env, args: Resume) -> u8 {
    if args.sandbox {
        return no_sandbox();
    }
    let decision = match (args.retry_undo, args.skip, args.abandon) {
        (true, _, _) => Decision::RetryUndo,
        (_, Some(step), _) => Decision::Skip(step),
        (_, _, true) => Decision::Abandon,
        (false, None, false) => Decision::Continue,
    };
    match Server::named(env, &args.remote) {
        Ok(None) => {}
        Ok(Some(server)) => {
            let (action, step) = match decision {
                Decision::Continue => ("continue", None),
                Decision::RetryUndo => ("retry_undo", None),
                Decision::Skip(step) => ("skip", Some(json!(step))),
                Decision::Abandon => ("abandon", None),
            };
            let asked = arguments([
                ("run_id", Some(json!(args.run))),
                ("action", Some(json!(action))),
                ("step", step),
            ]);
            return server.run("run_resume", asked, args.output.format).await;
        }
        Err(code) => return code,
    }
    let provisioner = match wire::writer(env, "forgeline resume").await {
        Ok(provisioner) => provisioner,
        Err(error) => return refuse_run(env, None, &error, args.output.format),
    };
    let view = provisioner
        .resume(
            &args.run,
            decision,
            &local(env),
            Some(std::time::Duration::ZERO),
        )
        .await;
    finish(&provisioner, view, args.output.format).await
}

pub(super) async fn cancel(env: &Env, args: Cancel) -> u8 {
    if args.sandbox {
        return no_sandbox();
    }
    match Server::named(env, &args.remote) {
        Ok(None) => {}
        Ok(Some(server)) => {
            let asked = arguments([("run_id", Some(json!(args.run)))]);
            return server.run("run_cancel", asked, args.output.format).await;
        }
        Err(code) => return code,
    }
    let provisioner = match wire::writer(env, "forgeline cancel").await {
        Ok(provisioner) => provisioner,
        Err(error) => return refuse_run(env, None, &error, args.output.format),
    };
    let view = provisioner
        .cancel(&args.run, &local(env), Some(std::time::Duration::ZERO))
        .await;
    finish(&provisioner, view, args.output.format).await
}

/// Follows a run that goes on, and shows its end.
async fn finish(provisioner: &Provisioner, view: RunView, format: Format) -> u8 {
    let goes_on = view
        .state
        .is_some_and(RunState::is_live)
        .then(|| view.run_id.as_ref()?.parse().ok())
        .flatten();
    let view = match goes_on {
        Some(run_id) => match run::follow(provisioner, &Started::known(run_id), format).await {
            Ok(view) => view,
            Err(code) => return code,
        },
        None => view,
    };
    output::run(&view, format);
    exit::code(&view)
}
