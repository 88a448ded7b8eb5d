//! `forgeline run` and `create`: one workflow, here or on a server.

use forgeline_provision::{Call, Provisioner, RunView, Started};
use forgeline_sandbox::{Options, Sandbox};
use forgeline_step_engine::journal::RunOptions;
use forgeline_step_engine::{InputKind, OnFailure, Workflow};
use serde_json::{Map, Value, json};

use super::remote::Server;
use super::{Signals, local, no_signals, refuse_run};
use crate::cli::{Create, Format, Run, RunArgs};
use crate::env::Env;
use crate::{exit, output, progress, wire};

/// `forgeline create`.
pub(super) async fn create(env: &Env, args: &Create) -> u8 {
    let inputs = inputs(args);
    somewhere(env, "project_create", Inputs::Ready(inputs), &args.run).await
}

/// `forgeline run NAME`.
pub(super) async fn run(env: &Env, args: Run) -> u8 {
    let mut pairs = Vec::new();
    for text in &args.inputs {
        let Some((name, value)) = text.split_once('=') else {
            let help = "write each input as -i name=value";
            output::complain(&format!("`{text}` is no input"), None, Some(help));
            return exit::USAGE;
        };
        pairs.push((name.to_owned(), value.to_owned()));
    }
    somewhere(env, &args.workflow, Inputs::Texts(pairs), &args.run).await
}

/// Inputs as they were given.
enum Inputs {
    /// With their types.
    Ready(Map<String, Value>),
    /// As texts, to be read by the workflow's declaration.
    Texts(Vec<(String, String)>),
}

impl Inputs {
    fn typed(self, workflow: Option<&Workflow>) -> Map<String, Value> {
        let pairs = match self {
            Self::Ready(inputs) => return inputs,
            Self::Texts(pairs) => pairs,
        };
        let kind = |name: &str| {
            let inputs = workflow.map(|workflow| workflow.inputs.as_slice());
            let found = inputs
                .unwrap_or_default()
                .iter()
                .find(|input| input.name == name);
            found.map_or(InputKind::String, |input| input.kind)
        };
        pairs
            .into_iter()
            .map(|(name, text)| {
                let value = typed(kind(&name), &text);
                (name, value)
            })
            .collect()
    }

    fn project(&self) -> Option<String> {
        match self {
            Self::Ready(inputs) => inputs.get("name")?.as_str().map(str::to_owned),
            Self::Texts(pairs) => pairs
                .iter()
                .find(|(name, _)| name == "name")
                .map(|(_, value)| value.clone()),
        }
    }
}

/// A text as what the input wants; one that does not fit stays a text and is refused by the declaration.
fn typed(kind: InputKind, text: &str) -> Value {
    match kind {
        InputKind::String => json!(text),
        InputKind::Boolean => text
            .parse::<bool>()
            .map_or_else(|_| json!(text), Value::from),
        InputKind::Integer => text
            .parse::<i64>()
            .map_or_else(|_| json!(text), Value::from),
        InputKind::Strings => text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect(),
    }
}

async fn somewhere(env: &Env, workflow: &str, inputs: Inputs, args: &RunArgs) -> u8 {
    if args.issue_token && workflow != "project_create" {
        let what = format!("--issue-token goes with project_create, not with {workflow}");
        output::complain(&what, None, Some("leave it out"));
        return exit::USAGE;
    }
    if args.sandbox {
        return in_sandbox(env, workflow, inputs, args).await;
    }
    match Server::named(env, &args.remote) {
        Ok(Some(server)) => over_there(&server, workflow, inputs, args).await,
        Ok(None) => here(env, workflow, inputs, args).await,
        Err(code) => code,
    }
}

async fn in_sandbox(env: &Env, workflow: &str, inputs: Inputs, args: &RunArgs) -> u8 {
    let sandbox = match Sandbox::start(&Options::default()).await {
        Ok(sandbox) => sandbox,
        Err(error) => return super::no_sandbox_here(&error),
    };
    output::say(
        "sandbox: a fresh world inside this process, gone at exit; `forgeline sandbox` keeps one running",
    );
    let env = Env::of_sandbox(sandbox.exports(), &sandbox.data_dir(), env);
    let code = here(&env, workflow, inputs, args).await;
    // The directory goes with the sandbox.
    wire::keeping::close().await;
    code
}

async fn here(env: &Env, workflow: &str, inputs: Inputs, args: &RunArgs) -> u8 {
    let format = args.output.format;
    let project = inputs.project();
    let connected = if args.dry_run {
        wire::observer(env).await
    } else {
        wire::writer(env, &format!("forgeline run {workflow}")).await
    };
    let provisioner = match connected {
        Ok(provisioner) => provisioner,
        Err(error) => return refuse_run(env, project.as_deref(), &error, format),
    };
    let declared = provisioner.catalogue().get(workflow);
    let call = Call {
        workflow: workflow.to_owned(),
        inputs: inputs.typed(declared),
        options: options(args),
    };
    let actor = local(env);
    let view = if args.dry_run {
        provisioner.plan(&call, &actor).await
    } else {
        name_others(&provisioner, project.as_deref()).await;
        match provisioner.start(&call, &actor).await {
            Ok(started) => match follow(&provisioner, &started, format).await {
                Ok(view) => view,
                Err(code) => return code,
            },
            Err(refused) => *refused,
        }
    };
    let mut view = view;
    if args.issue_token && !args.dry_run {
        let tokens = wire::keeping::project_tokens(env);
        let by = forgeline_auth::Caller::local(env.user());
        forgeline_mcp_server::project_token::issue(&provisioner, &tokens, &by, &mut view).await;
    }
    output::run(&view, format);
    exit::code(&view)
}

async fn over_there(server: &Server, workflow: &str, inputs: Inputs, args: &RunArgs) -> u8 {
    let declared = match server.declaration(workflow).await {
        Ok(declared) => declared,
        Err(error) => return server.refuse(None, error, args.output.format),
    };
    let mut arguments = match inputs {
        Inputs::Ready(inputs) => inputs,
        Inputs::Texts(pairs) => pairs
            .into_iter()
            .map(|(name, text)| {
                let value = typed(declared.kind(&name), &text);
                (name, value)
            })
            .collect(),
    };
    let keep = args.on_failure.as_deref() == Some("keep");
    let more = [
        ("adopt", args.adopt.then(|| json!(true))),
        ("dry_run", args.dry_run.then(|| json!(true))),
        ("issue_token", args.issue_token.then(|| json!(true))),
        ("on_failure", keep.then(|| json!("keep"))),
        ("request_id", args.request_id.as_ref().map(|id| json!(id))),
        ("wait_seconds", args.wait_seconds.map(|wait| json!(wait))),
    ];
    arguments.extend(
        more.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    server.run(workflow, arguments, args.output.format).await
}

/// Waits for the run with progress. The first interrupt stops after the current step, the second one at once.
pub(super) async fn follow(
    provisioner: &Provisioner,
    started: &Started,
    format: Format,
) -> Result<RunView, u8> {
    let mut signals = Signals::listen().map_err(|error| no_signals(&error))?;
    let engine = provisioner.engine();
    let shown = tokio::spawn(progress::show(
        engine.events(),
        started.run_id.clone(),
        format,
    ));
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
async fn name_others(provisioner: &Provisioner, project: Option<&str>) {
    let list = provisioner
        .list(Some(forgeline_step_engine::RunState::Interrupted), 20, None)
        .await;
    for other in list
        .projects
        .iter()
        .filter(|other| Some(other.project.as_str()) != project)
    {
        output::say(&format!(
            "note: the project `{}` has an interrupted run; `forgeline resume {}` continues it",
            other.project, other.run_id
        ));
    }
}

fn options(args: &RunArgs) -> RunOptions {
    let keep = args.on_failure.as_deref() == Some("keep");
    RunOptions {
        adopt: args.adopt,
        on_failure: if keep {
            OnFailure::Keep
        } else {
            OnFailure::Compensate
        },
        request_id: args.request_id.clone(),
        ..RunOptions::default()
    }
}

fn inputs(args: &Create) -> Map<String, Value> {
    let given = [
        ("description", &args.description),
        ("visibility", &args.visibility),
        ("template", &args.template),
        ("default_branch", &args.default_branch),
        ("readme", &args.readme),
        ("license", &args.license),
        ("gitignore", &args.gitignore),
        ("gitea_owner", &args.gitea_owner),
        ("github_owner", &args.github_owner),
        ("namespace", &args.namespace),
        ("issue_title", &args.issue_title),
        ("issue_body", &args.issue_body),
        ("ttl", &args.ttl),
    ];
    let mut inputs = Map::from_iter([("name".to_owned(), json!(args.name))]);
    inputs.extend(
        given
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?)))),
    );
    if !args.issue_labels.is_empty() {
        inputs.insert("issue_labels".into(), json!(args.issue_labels));
    }
    inputs
}
