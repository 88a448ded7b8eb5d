//! A stand-in for the official gitea-mcp server of 2026: its tools' names, arguments and result style. The bearer is
//! passed through to Gitea; without a valid one every request is 401.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use crate::gitea::operations::{self, Creation};
use crate::gitea::{Gitea, Refusal, authenticate, repository_json, scope};
use crate::world::Credential;

#[derive(Clone)]
struct GiteaMcp {
    gitea: Gitea,
}

pub(crate) fn router(gitea: Gitea) -> axum::Router {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    let handler = GiteaMcp {
        gitea: gitea.clone(),
    };
    let service: StreamableHttpService<GiteaMcp, NeverSessionManager> = StreamableHttpService::new(
        move || Ok(handler.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    axum::Router::new()
        .route_service("/mcp", service)
        .layer(axum::middleware::from_fn_with_state(gitea, bearer))
}

async fn bearer(State(gitea): State<Gitea>, mut request: Request, next: Next) -> Response {
    match authenticate(&gitea.world, request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(_) => {
            let challenge = [(http::header::WWW_AUTHENTICATE, "Bearer realm=\"gitea-mcp\"")];
            (StatusCode::UNAUTHORIZED, challenge, "unauthorized").into_response()
        }
    }
}

impl ServerHandler for GiteaMcp {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("Gitea MCP Server", "2026.9"))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let offered = self.gitea.world.state().gitea_mcp_tools.clone();
        let mut tools = tools();
        if offered.is_some() {
            tools.push(create_issue_of_2025());
        }
        tools.retain(|tool| {
            offered
                .as_ref()
                .is_none_or(|names| names.iter().any(|name| *name == tool.name))
        });
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = context
            .extensions
            .get::<http::request::Parts>()
            .and_then(|parts| parts.extensions.get::<Credential>())
            .cloned()
            .ok_or_else(|| ErrorData::internal_error("no caller", None))?;
        let arguments = Value::Object(call.arguments.unwrap_or_default());
        let result = match call.name.as_ref() {
            "get_me" => get_me(&caller),
            "create_repo" => self.create_repo(&caller, &arguments).await,
            "issue_write" => self.issue_write(&caller, &arguments),
            "create_issue" => {
                let mut arguments = arguments;
                arguments["method"] = json!("create");
                arguments["labels"] = Value::Null;
                self.issue_write(&caller, &arguments)
            }
            "list_issues" => self.list_issues(&caller, &arguments),
            "list_branches" => self.list_branches(&caller, &arguments),
            "list_my_repos" => self.list_my_repos(&caller),
            other => {
                return Err(ErrorData::invalid_params(
                    format!("tool '{other}' not found"),
                    None,
                ));
            }
        };
        Ok(match result {
            Ok(value) => CallToolResult::success(vec![ContentBlock::text(value.to_string())]),
            Err(text) => CallToolResult::error(vec![ContentBlock::text(text)]),
        }
        .into())
    }
}

fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments[name].as_str().unwrap_or_default()
}

fn get_me(caller: &Credential) -> Result<Value, String> {
    scope(caller, "read:user")
        .map_err(|refusal| format!("get user info err: {}", refusal.message))?;
    Ok(json!({"id": 1, "login": caller.user, "full_name": "", "email": "", "is_admin": false}))
}

impl GiteaMcp {
    async fn create_repo(&self, caller: &Credential, arguments: &Value) -> Result<Value, String> {
        let name = text(arguments, "name");
        let organization = text(arguments, "organization");
        let creation = Creation {
            owner: if organization.is_empty() {
                &caller.user
            } else {
                organization
            },
            name,
            description: text(arguments, "description"),
            private: arguments["private"] == true,
            auto_init: arguments["auto_init"] == true,
            default_branch: text(arguments, "default_branch"),
            license: text(arguments, "license"),
            gitignores: text(arguments, "gitignores"),
        };
        let made = operations::create_repository(&self.gitea.world, caller, &creation).await;
        let made = made.map_err(|refusal| match organization {
            "" => format!("create repository '{name}' err: {}", said(&refusal)),
            org => format!(
                "create organization repository '{name}' in '{org}' err: {}",
                said(&refusal)
            ),
        })?;
        let full = repository_json(&self.gitea.world, &self.gitea.base, &made);
        let slim = [
            "id",
            "full_name",
            "description",
            "html_url",
            "clone_url",
            "default_branch",
            "private",
            "archived",
            "created_at",
            "updated_at",
        ];
        let mut answer: JsonObject = slim
            .iter()
            .map(|field| ((*field).to_owned(), full[*field].clone()))
            .collect();
        answer.insert("owner".into(), json!(made.owner));
        Ok(Value::Object(answer))
    }

    fn issue_write(&self, caller: &Credential, arguments: &Value) -> Result<Value, String> {
        let (owner, name) = (text(arguments, "owner"), text(arguments, "repo"));
        if text(arguments, "method") != "create" {
            return Err(format!("unknown method '{}'", text(arguments, "method")));
        }
        let labels: Vec<u64> = arguments["labels"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .collect();
        let (repository, issue) = operations::create_issue(
            &self.gitea.world,
            caller,
            owner,
            name,
            text(arguments, "title"),
            text(arguments, "body"),
            &labels,
        )
        .map_err(|refusal| format!("create {owner}/{name}/issue err: {}", said(&refusal)))?;
        let mut slim = operations::issue_json(&self.gitea.base, &repository, &issue);
        slim["user"] = json!(issue.user);
        let names: Vec<Value> = slim["labels"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|label| label["name"].clone())
            .collect();
        slim["labels"] = json!(names);
        Ok(slim)
    }

    fn list_issues(&self, caller: &Credential, arguments: &Value) -> Result<Value, String> {
        let (owner, name) = (text(arguments, "owner"), text(arguments, "repo"));
        let (repository, found) = operations::list_issues(&self.gitea.world, caller, owner, name)
            .map_err(|refusal| said(&refusal))?;
        Ok(found
            .iter()
            .map(|issue| operations::issue_json(&self.gitea.base, &repository, issue))
            .collect())
    }

    fn list_branches(&self, caller: &Credential, arguments: &Value) -> Result<Value, String> {
        let found = crate::gitea::visible(
            &self.gitea.world,
            &caller.user,
            text(arguments, "owner"),
            text(arguments, "repo"),
        );
        let found = found.map_err(|refusal| said(&refusal))?;
        let refs = crate::git::refs(&self.gitea.world.git_dir("gitea", found.id));
        Ok(refs
            .iter()
            .filter_map(|(name, id)| {
                Some(json!({"name": name.strip_prefix("refs/heads/")?, "commit_sha": id}))
            })
            .collect())
    }

    fn list_my_repos(&self, caller: &Credential) -> Result<Value, String> {
        let mine: Vec<_> = {
            let state = self.gitea.world.state();
            state
                .gitea
                .repositories
                .values()
                .filter(|one| crate::gitea::owns(&caller.user, one))
                .cloned()
                .collect()
        };
        Ok(mine
            .iter()
            .map(|one| repository_json(&self.gitea.world, &self.gitea.base, one))
            .collect())
    }
}

fn said(refusal: &Refusal) -> String {
    if refusal.status == 500 {
        "unknown API error: 500".to_owned()
    } else {
        refusal.message.clone()
    }
}

/// What servers of 2025 had instead of `issue_write`; it drops labels.
fn create_issue_of_2025() -> Tool {
    let string = || json!({"type": "string"});
    let properties =
        json!({"owner": string(), "repo": string(), "title": string(), "body": string()});
    Tool::new(
        "create_issue",
        "Create issue",
        rmcp::object!({"type": "object", "properties": properties, "required": ["owner", "repo", "title", "body"]}),
    )
}

fn tools() -> Vec<Tool> {
    let string = || json!({"type": "string"});
    let boolean = || json!({"type": "boolean"});
    let number = || json!({"type": "number"});
    let tool =
        |name: &'static str, description: &'static str, properties: Value, required: &[&str]| {
            Tool::new(
                name,
                description,
                rmcp::object!({"type": "object", "properties": properties, "required": required}),
            )
        };
    vec![
        tool("get_me", "Get current user", json!({}), &[]),
        tool(
            "create_repo",
            "Create repository",
            json!({"name": string(), "description": string(), "private": boolean(), "issue_labels": string(), "auto_init": boolean(),
                "template": boolean(), "gitignores": string(), "license": string(), "readme": string(),
                "default_branch": string(), "trust_model": string(), "object_format_name": string(), "organization": string()}),
            &["name"],
        ),
        tool(
            "issue_write",
            "Create or update issues",
            json!({"method": string(), "owner": string(), "repo": string(), "title": string(), "body": string(),
                "index": number(), "state": string(), "labels": {"type": "array", "items": number()}}),
            &["method", "owner", "repo"],
        ),
        tool(
            "list_issues",
            "List issues",
            json!({"owner": string(), "repo": string(), "state": string(), "page": number(), "per_page": number()}),
            &["owner", "repo"],
        ),
        tool(
            "list_branches",
            "List branches",
            json!({"owner": string(), "repo": string()}),
            &["owner", "repo"],
        ),
        tool(
            "list_my_repos",
            "List my repositories",
            json!({"page": number(), "per_page": number()}),
            &["page", "per_page"],
        ),
    ]
}
