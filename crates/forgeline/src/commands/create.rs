//! `forgeline create`: drives the run itself and shows it.

use forgeline_provision::{Call, Provisioner, RunView, Started};
use forgeline_sandbox::{Options, Sandbox};
use forgeline_step_engine::OnFailure;
use forgeline_step_engine::journal::RunOptions;
use serde_json::{Map, Value, json};

use super::{Signals, local, no_signals, refuse_run};
use crate::cli::Create;
use crate::env::Env;
use crate::{exit, output, progress, wire};

pub(super) async fn run(env: &Env, args: Create) -> u8 {
    if !args.sandbox {
        return with(env, &args).await;
    }
    let sandbox = match Sandbox::start(&Options::default()).await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            output::complain(
                &error.to_string(),
                None,
                Some("install git and make the temporary directory writable"),
            );
            return exit::UNEXPECTED;
        }
    };
    output::say(
        "sandbox: a fresh world inside this process, gone at exit; `forgeline sandbox` keeps one running",
    );
    let env = Env::of_sandbox(sandbox.exports(), &sandbox.data_dir(), env);
    with(&env, &args).await
}

async fn with(env: &Env, args: &Create) -> u8 {
    let provisioner = match wire::writer(env, "forgeline create").await {
        Ok(provisioner) => provisioner,
        Err(error) => return refuse_run(env, Some(&args.name), &error, args.output.format),
    };
    name_others(&provisioner, &args.name).await;
    let call = Call {
        workflow: "project_create".into(),
        inputs: inputs(args),
        options: options(args),
    };
    let view = match provisioner.start(&call, &local(env)).await {
        Ok(started) => match follow(&provisioner, &started).await {
            Ok(view) => view,
            Err(code) => return code,
        },
        Err(refused) => *refused,
    };
    output::run(&view, args.output.format);
    exit::code(&view)
}

/// Waits for the run with progress. The first interrupt stops after the current step, the second one at once.
pub(super) async fn follow(provisioner: &Provisioner, started: &Started) -> Result<RunView, u8> {
    let mut signals = Signals::listen().map_err(|error| no_signals(&error))?;
    let engine = provisioner.engine();
    let shown = tokio::spawn(progress::show(engine.events(), started.run_id.clone()));
    let view = tokio::select! {
        view = provisioner.wait(started, None) => view,
        () = signals.next() => {
            let run = &started.run_id;
            output::say(&format!(
                "interrupted: stopping after the current step; once more to stop now
    help: `forgeline resume {run}` continues it, `forgeline cancel {run}` undoes it"
            ));
            tokio::select! {
                () = engine.stop() => {}
                () = signals.next() => return Err(exit::INTERRUPTED),
            }
            provisioner.status(None, Some(started.run_id.as_str()), None).await
        }
    };
    shown.abort();
    Ok(view)
}

/// A command drives its own project's run only; others that stand still are named.
async fn name_others(provisioner: &Provisioner, project: &str) {
    let list = provisioner
        .list(Some(forgeline_step_engine::RunState::Interrupted), 20, None)
        .await;
    for other in list
        .projects
        .iter()
        .filter(|other| other.project != project)
    {
        output::say(&format!(
            "note: the project `{}` has an interrupted run; `forgeline resume {}` continues it",
            other.project, other.run_id
        ));
    }
}

fn options(args: &Create) -> RunOptions {
    let keep = args.on_failure.as_deref() == Some("keep");
    RunOptions {
        adopt: args.adopt,
        on_failure: if keep {
            OnFailure::Keep
        } else {
            OnFailure::Compensate
        },
    }
}

fn inputs(args: &Create) -> Map<String, Value> {
    let given = [
        ("description", &args.description),
        ("visibility", &args.visibility),
        ("gitea_owner", &args.gitea_owner),
        ("github_owner", &args.github_owner),
        ("namespace", &args.namespace),
        ("issue_title", &args.issue_title),
        ("issue_body", &args.issue_body),
    ];
    let mut inputs = Map::from_iter([("name".to_owned(), json!(args.name))]);
    inputs.extend(
        given
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?)))),
    );
    inputs
}
