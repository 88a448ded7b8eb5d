//! The client: both doors to one Gitea, and the check that they open for the same user.

use std::sync::Arc;

use forgeline_upstream::http::HttpClient;
use forgeline_upstream::mcp::McpClient;
use forgeline_upstream::{Deadlines, Error, Kind, Reach, TokenHandle};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// A client of one Gitea. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gitea {
    pub(crate) mcp: McpClient,
    pub(crate) rest: HttpClient,
    pub(crate) deadlines: Deadlines,
    user: Arc<OnceCell<User>>,
}

/// The user behind the tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub login: String,
    /// Whether the gitea-mcp server said so too. `false`: it has no tool for it, and the first write decides.
    pub confirmed: bool,
}

#[derive(Deserialize)]
struct Login {
    login: String,
}

impl Gitea {
    /// A client over both doors. Nothing is sent yet.
    pub fn new(mcp: McpClient, rest: HttpClient, deadlines: Deadlines) -> Self {
        Self {
            mcp,
            rest,
            deadlines,
            user: Arc::default(),
        }
    }

    /// Where the token of the gitea-mcp server came from.
    pub fn mcp_token(&self) -> &TokenHandle {
        self.mcp.token()
    }

    /// Where the token of the REST API came from.
    pub fn rest_token(&self) -> &TokenHandle {
        self.rest.token()
    }

    /// Who both doors say that we are; asked once.
    ///
    /// # Errors
    /// A door is closed, or the two see different users.
    pub async fn user(&self) -> Result<User, Error> {
        self.user.get_or_try_init(|| self.ask_user()).await.cloned()
    }

    async fn ask_user(&self) -> Result<User, Error> {
        let (over_rest, over_mcp) = tokio::join!(self.rest_login(), self.mcp_login());
        let (login, other) = (over_rest?, over_mcp?);
        match other {
            Some(other) if !other.eq_ignore_ascii_case(&login) => {
                let message = format!(
                    "{} belongs to `{other}`, but {} belongs to `{login}`; both must be the same user",
                    self.mcp_token().origin(),
                    self.rest_token().origin()
                );
                Err(Error::new(
                    "gitea",
                    "tell who we are",
                    Kind::Invalid,
                    Reach::Refused,
                    &message,
                ))
            }
            other => Ok(User {
                login,
                confirmed: other.is_some(),
            }),
        }
    }

    async fn rest_login(&self) -> Result<String, Error> {
        let operation = "tell who we are";
        let body = self.get(operation, "/user").await?;
        let user: Login = read("gitea", operation, body)?;
        Ok(user.login)
    }

    async fn mcp_login(&self) -> Result<Option<String>, Error> {
        let operation = "tell who we are";
        let tools = self.mcp.tools().await?;
        let Some(tool) = ["get_me", "get_my_user_info"]
            .into_iter()
            .find(|tool| tools.contains(*tool))
        else {
            return Ok(None);
        };
        let answer = self
            .mcp
            .call(operation, tool, json!({}), self.deadlines.call)
            .await?;
        let user: Login = read(
            "gitea-mcp",
            operation,
            crate::tool_error::value(answer, operation)?,
        )?;
        Ok(Some(user.login))
    }

    pub(crate) async fn get(&self, operation: &str, path: &str) -> Result<Value, Error> {
        Ok(self
            .rest
            .send(
                operation,
                http::Method::GET,
                path,
                None,
                self.deadlines.call,
            )
            .await?
            .body)
    }

    /// `None` for 404.
    pub(crate) async fn get_if_there(
        &self,
        operation: &str,
        path: &str,
    ) -> Result<Option<Value>, Error> {
        match self.get(operation, path).await {
            Ok(body) => Ok(Some(body)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All pages of a list: until `X-Total-Count` is reached or a page is empty, never by a page's length.
    pub(crate) async fn get_all(&self, operation: &str, path: &str) -> Result<Vec<Value>, Error> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        for page in 1.. {
            let path = format!("{path}{joint}limit=50&page={page}");
            let reply = self
                .rest
                .send(
                    operation,
                    http::Method::GET,
                    &path,
                    None,
                    self.deadlines.call,
                )
                .await?;
            let total = reply
                .headers
                .get("x-total-count")
                .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
            let items = reply.body.as_array().cloned().unwrap_or_default();
            let empty = items.is_empty();
            all.extend(items);
            if empty || total.is_some_and(|total| all.len() >= total) {
                break;
            }
        }
        Ok(all)
    }

    pub(crate) async fn write(
        &self,
        operation: &str,
        method: http::Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Error> {
        Ok(self
            .rest
            .send(operation, method, path, body.as_ref(), self.deadlines.call)
            .await?
            .body)
    }

    /// Calls a tool and reads its answer.
    pub(crate) async fn tool(
        &self,
        operation: &str,
        tool: &str,
        arguments: Value,
    ) -> Result<Value, Error> {
        match self
            .mcp
            .call(operation, tool, arguments, self.deadlines.call)
            .await
        {
            Ok(answer) => crate::tool_error::value(answer, operation),
            // Older servers answer a failed operation with a JSON-RPC error; its text says the same.
            Err(error)
                if error.status.is_none()
                    && error.kind == Kind::Invalid
                    && error.reach == Reach::Unknown =>
            {
                Err(crate::tool_error::refusal(operation, &error.message))
            }
            Err(error) => Err(error),
        }
    }
}

/// Reads a body as `T`. The request was answered, but nobody can tell with what.
pub(crate) fn read<T: serde::de::DeserializeOwned>(
    system: &'static str,
    operation: &str,
    body: Value,
) -> Result<T, Error> {
    serde_json::from_value(body).map_err(|error| {
        let message = format!("the answer has an unknown form: {error}");
        Error::new(
            system,
            operation,
            Kind::Unexpected,
            Reach::Unknown,
            &message,
        )
    })
}
