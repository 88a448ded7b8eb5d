//! `forgeline token rotate` and `token revoke`: a project's own credential.

use forgeline_auth::Caller;
use forgeline_auth::audit::{Entry, Phase};
use forgeline_mcp_server::project_token::{Action, TokenAnswer, act};
use serde_json::{Map, json};

use super::remote::Server;
use crate::cli::{Format, TokenCommand, TokenOf};
use crate::env::Env;
use crate::{exit, output, wire};

pub(super) async fn run(env: &Env, command: TokenCommand) -> u8 {
    let (args, action, word) = match command {
        TokenCommand::Rotate(args) => (args, Action::Rotate, "rotate"),
        TokenCommand::Revoke(args) => (args, Action::Revoke, "revoke"),
    };
    if args.sandbox {
        return super::runs::no_sandbox();
    }
    let answer = match Server::named(env, &args.remote) {
        Ok(Some(server)) => {
            let given = [("project", args.project.as_str()), ("action", word)];
            let given = given.map(|(name, value)| (name.to_owned(), json!(value)));
            server.token(Map::from_iter(given)).await
        }
        Ok(None) => match here(env, &args, action).await {
            Ok(answer) => answer,
            Err(code) => return code,
        },
        Err(code) => return code,
    };
    told(&answer, args.output.format)
}

async fn here(env: &Env, args: &TokenOf, action: Action) -> Result<TokenAnswer, u8> {
    let what = "forgeline token";
    let provisioner = wire::writer(env, what).await;
    let provisioner = provisioner.map_err(|error| super::refuse(&error))?;
    let tokens = wire::keeping::project_tokens(env);
    let by = Caller::local(env.user());
    let audit = wire::keeping::audit(env).ok();
    let intent = Entry {
        via: by.via.as_str().into(),
        tool: "project_token".into(),
        target: args.project.clone(),
        decision: "allowed".into(),
        ..Entry::of(Phase::Intent, &by.name)
    };
    if let Some(audit) = &audit
        && let Err(error) = audit.write(intent.clone()).await
    {
        let help = "forgeline changes nothing that it cannot record";
        output::complain(&error.to_string(), None, Some(help));
        return Err(exit::CONFIGURATION);
    }
    let answer = act(&provisioner, &tokens, &by, &args.project, action).await;
    if let Some(audit) = &audit {
        let decision = if answer.error.is_some() {
            "failed"
        } else {
            "done"
        };
        let outcome = Entry {
            phase: Phase::Outcome,
            decision: decision.into(),
            ..intent
        };
        // It is done; that its line is missing shows as an intent without an outcome.
        let _ = audit.write(outcome).await;
    }
    Ok(answer)
}

fn told(answer: &TokenAnswer, format: Format) -> u8 {
    if format != Format::Table {
        output::json(answer);
    }
    if let Some(error) = &answer.error {
        if format == Format::Table {
            output::complain(&error.message, None, error.remedy.as_deref());
        }
        return exit::of_error(&error.code);
    }
    if format == Format::Table {
        match &answer.access {
            Some(access) => {
                output::say(&format!(
                    "a bearer for the project {} alone, until {}; it is shown only here:",
                    answer.project, access.expires_at
                ));
                output::print(&access.token);
            }
            None => output::say(&format!("{} has no credential any more", answer.project)),
        }
    }
    exit::OK
}
