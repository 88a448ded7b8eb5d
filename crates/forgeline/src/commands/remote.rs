//! `--server`: the command line as a client of a running server, over MCP.

use std::time::Duration;

use forgeline_mcp_server::project_token::TokenAnswer;
use forgeline_provision::{CheckReport, ErrorView, Plan, ProjectList, Report, RunView};
use forgeline_step_engine::{InputKind, RunState};
use forgeline_upstream::http::{Trust, address, reqwest_client};
use forgeline_upstream::mcp::{McpClient, ToolAnswer};
use forgeline_upstream::{Error, Origin, Reach, TokenError, TokenFault};
use serde_json::{Map, Value};

use crate::cli::{Format, Remote};
use crate::config::Problem;
use crate::env::Env;
use crate::{exit, output};

/// A running server.
pub(super) struct Server {
    client: McpClient,
    environment: String,
}

/// The longest wait of a call, and what the answer may take besides.
const DEADLINE: Duration = Duration::from_secs(330);

/// What a server says of a workflow's inputs.
pub(super) struct Declaration(Value);

impl Declaration {
    pub(super) fn kind(&self, name: &str) -> InputKind {
        match self.0["properties"][name]["type"].as_str() {
            Some("boolean") => InputKind::Boolean,
            Some("integer") => InputKind::Integer,
            Some("array") => InputKind::Strings,
            _ => InputKind::String,
        }
    }
}

impl Server {
    /// The server that the flag or the configuration names. `None`: this process works itself.
    pub(super) fn named(env: &Env, remote: &Remote) -> Result<Option<Self>, u8> {
        let named = remote
            .server
            .as_deref()
            .or_else(|| env.filled("FORGELINE_SERVER"));
        let Some(text) = named else { return Ok(None) };
        Self::connect(env, text).map(Some).map_err(|problem| {
            output::complain_of(&[problem]);
            exit::CONFIGURATION
        })
    }

    fn connect(env: &Env, text: &str) -> Result<Self, Problem> {
        let bad = |why: String| {
            Problem::new(
                "address.invalid",
                why,
                "correct --server or FORGELINE_SERVER",
            )
        };
        let mut url = address("FORGELINE_SERVER", text).map_err(|error| bad(error.to_string()))?;
        if matches!(url.path(), "" | "/") {
            url.set_path("/mcp");
        }
        let token = env
            .secret("FORGELINE_SERVER_TOKEN")?
            .ok_or_else(|| TokenError {
                origin: Origin::variable("FORGELINE_SERVER_TOKEN"),
                fault: TokenFault::Absent,
            })?;
        let extra_roots_pem = match env.filled("FORGELINE_CA_FILE") {
            Some(path) => {
                Some(std::fs::read(path).map_err(|error| bad(format!("{path}: {error}")))?)
            }
            None => None,
        };
        let http =
            reqwest_client(&Trust { extra_roots_pem }).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            client: McpClient::new("forgeline", &url, token, http),
            environment: env.environment().to_owned(),
        })
    }

    /// The inputs of a workflow as that server declares them; nothing for one that it does not have.
    pub(super) async fn declaration(&self, workflow: &str) -> Result<Declaration, ErrorView> {
        match self.client.input_schema(workflow).await {
            Ok(Some(schema)) => Ok(Declaration(schema)),
            Ok(None) => {
                // Every server has the shipped ones, so this caller may not use it.
                let shipped = ["project_create", "library_create"].contains(&workflow);
                Err(ErrorView::new(
                    if shipped {
                        "server.forbidden"
                    } else {
                        "workflow.unknown"
                    },
                    format!("the server has no workflow `{workflow}` for this caller"),
                    "use a name that the server lists, or a bearer with the scope for it",
                ))
            }
            Err(error) => Err(refusal(&error)),
        }
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<T, ErrorView> {
        let operation = format!("call {tool}");
        let called = self
            .client
            .call(&operation, tool, Value::Object(arguments), DEADLINE)
            .await;
        called
            .map_err(|error| refusal(&error))
            .and_then(|answer| read(&answer))
    }

    /// Shows the refusal of a call for a run.
    pub(super) fn refuse(&self, project: Option<&str>, error: ErrorView, format: Format) -> u8 {
        let view = RunView::refused(&self.environment, project, error);
        output::run(&view, format);
        exit::code(&view)
    }

    /// Calls a tool that answers a run, and shows that.
    pub(super) async fn run(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        format: Format,
    ) -> u8 {
        let project = arguments.get("name").and_then(Value::as_str);
        let project = project.map(str::to_owned);
        match self.call::<RunView>(tool, arguments).await {
            Ok(view) => {
                output::run(&view, format);
                exit::code(&view)
            }
            Err(error) => self.refuse(project.as_deref(), error, format),
        }
    }

    /// As [`Server::run`], for a question: it is answered whatever the answer says of the run.
    pub(super) async fn look(&self, arguments: Map<String, Value>, format: Format) -> u8 {
        match self.call::<RunView>("project_status", arguments).await {
            Ok(view) => {
                output::run(&view, format);
                if view.run_id.is_some() {
                    exit::OK
                } else {
                    exit::code(&view)
                }
            }
            Err(error) => self.refuse(None, error, format),
        }
    }

    /// The list of projects.
    pub(super) async fn list(&self, arguments: Map<String, Value>, format: Format) -> u8 {
        let answer = self.call("project_list", arguments).await;
        let list = answer.unwrap_or_else(|error| ProjectList {
            error: Some(error),
            ..ProjectList::default()
        });
        output::list(&list, format);
        list.error
            .map_or(exit::OK, |error| exit::of_error(&error.code))
    }

    /// Calls a tool that answers a plan.
    pub(super) async fn plan(&self, tool: &str, arguments: Map<String, Value>) -> Plan {
        let answer = self.call(tool, arguments).await;
        answer.unwrap_or_else(Plan::refused)
    }

    /// As [`Server::plan`], until the run that applies it has ended.
    pub(super) async fn plan_to_its_end(&self, tool: &str, arguments: Map<String, Value>) -> Plan {
        loop {
            let plan = self.plan(tool, arguments.clone()).await;
            if plan.error.is_some() || !plan.state.is_some_and(RunState::is_live) {
                return plan;
            }
        }
    }

    /// A project as it is now.
    pub(super) async fn check(&self, project: &str, arguments: Map<String, Value>) -> CheckReport {
        let answer = self.call("project_check", arguments).await;
        answer.unwrap_or_else(|error| CheckReport {
            project: project.to_owned(),
            error: Some(error),
            ..CheckReport::default()
        })
    }

    /// What becomes of a project's credential.
    pub(super) async fn token(&self, arguments: Map<String, Value>) -> TokenAnswer {
        let answer = self.call("project_token", arguments).await;
        answer.unwrap_or_else(|error| TokenAnswer {
            error: Some(error),
            ..TokenAnswer::default()
        })
    }

    /// doctor, as that server sees it.
    pub(super) async fn doctor(&self, arguments: Map<String, Value>) -> Report {
        let answer = self.call("doctor", arguments).await;
        answer.unwrap_or_else(|error| Report {
            error: Some(error),
            ..Report::default()
        })
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &ToolAnswer) -> Result<T, ErrorView> {
    let value = answer.value.clone().unwrap_or_default();
    serde_json::from_value(value).map_err(|error| {
        let message = format!("the server's answer has an unknown form: {error}");
        ErrorView::new(
            "server.unexpected",
            message,
            "use a forgeline of the server's version",
        )
    })
}

fn refusal(error: &Error) -> ErrorView {
    let (code, remedy) = if error.is_unauthenticated() {
        (
            "server.unauthorized",
            "put the server's bearer into FORGELINE_SERVER_TOKEN",
        )
    } else if error.status == Some(403)
        || error.message.contains("unknown tool")
        || error.message.contains("may only plan")
    {
        (
            "server.forbidden",
            "use a bearer with the scope for that tool; if it has it, the server is another version",
        )
    } else if error.reach == Reach::Unknown {
        (
            "server.unexpected",
            "the call may have begun a run: look with `forgeline status` before you call again",
        )
    } else {
        (
            "server.unavailable",
            "look whether the server runs, and at --server",
        )
    };
    ErrorView::new(code, error.to_string(), remedy)
}
