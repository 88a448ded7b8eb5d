//! The client: both doors to one Gitea, and the check that they open for the same user.

use std::sync::Arc;

use forgeline_upstream::http::{HttpClient, Reply};
use forgeline_upstream::mcp::McpClient;
use forgeline_upstream::{Deadlines, Error, Kind, Reach, TokenHandle};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::dialect::{Dialect, Operation};

/// A client of one Gitea. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gitea {
    pub(crate) mcp: McpClient,
    rest: Option<HttpClient>,
    pub(crate) deadlines: Deadlines,
    dialects: Arc<Vec<Dialect>>,
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
    /// A client over both doors. `own` is a mapping of the user's, asked before those that ship. Without `rest`
    /// nothing works that the gitea-mcp server has no tool for. Nothing is sent yet.
    pub fn new(
        mcp: McpClient,
        rest: Option<HttpClient>,
        own: Option<Dialect>,
        deadlines: Deadlines,
    ) -> Self {
        let dialects = own.into_iter().chain(Dialect::shipped()).collect();
        Self {
            mcp,
            rest,
            deadlines,
            dialects: Arc::new(dialects),
            user: Arc::default(),
        }
    }

    /// The same client, its REST requests with another priority.
    #[must_use]
    pub fn with_priority(&self, priority: forgeline_upstream::Priority) -> Self {
        let rest = self.rest.as_ref().map(|rest| rest.with_priority(priority));
        Self {
            rest,
            ..self.clone()
        }
    }

    /// Where the token of the gitea-mcp server came from.
    pub fn mcp_token(&self) -> &TokenHandle {
        self.mcp.token()
    }

    /// Where the token of the REST API came from. `None`: REST is not configured.
    pub fn rest_token(&self) -> Option<&TokenHandle> {
        self.rest.as_ref().map(HttpClient::token)
    }

    /// Who both doors say that we are; asked once.
    ///
    /// # Errors
    /// A door is closed, or the two see different users.
    pub async fn user(&self) -> Result<User, Error> {
        self.user.get_or_try_init(|| self.ask_user()).await.cloned()
    }

    /// The same, asked now: tokens may have changed since.
    ///
    /// # Errors
    /// As [`Gitea::user`].
    pub async fn ask_user(&self) -> Result<User, Error> {
        let (over_rest, over_mcp) = tokio::join!(self.rest_login(), self.mcp_login());
        match (over_rest?, over_mcp?) {
            (Some(login), Some(other)) if !other.eq_ignore_ascii_case(&login) => {
                let rest = self.rest_token().map(|token| token.origin().to_string());
                let message = format!(
                    "{} belongs to `{other}`, but {} belongs to `{login}`; both must be the same user",
                    self.mcp_token().origin(),
                    rest.unwrap_or_default(),
                );
                Err(invalid("tell who we are", &message))
            }
            (Some(login), other) => Ok(User {
                login,
                confirmed: other.is_some(),
            }),
            (None, Some(login)) => Ok(User {
                login,
                confirmed: true,
            }),
            (None, None) => Err(invalid(
                "tell who we are",
                "the gitea-mcp server has no tool for it, and REST is not configured (GITEA_URL, GITEA_TOKEN)",
            )),
        }
    }

    async fn rest_login(&self) -> Result<Option<String>, Error> {
        if self.rest.is_none() {
            return Ok(None);
        }
        let operation = "tell who we are";
        let body = self.get(operation, "/user").await?;
        let user: Login = read("gitea", operation, body)?;
        Ok(Some(user.login))
    }

    async fn mcp_login(&self) -> Result<Option<String>, Error> {
        let operation = "tell who we are";
        let answer = self
            .over_mcp(Operation::WhoAmI, operation, &json!({}))
            .await?;
        match answer {
            // Some servers answer the name alone.
            Some(Value::String(login)) => Ok(Some(login)),
            Some(answer) => {
                let user: Login = read("gitea-mcp", operation, answer)?;
                Ok(Some(user.login))
            }
            None => Ok(None),
        }
    }

    /// How the server at the other end speaks.
    ///
    /// # Errors
    /// It cannot be reached, or nothing says how it speaks.
    pub async fn dialect(&self) -> Result<&Dialect, Error> {
        let (server, _) = self.mcp.server().await?;
        let tools = self.mcp.tools().await?;
        let known = self
            .dialects
            .iter()
            .find(|dialect| dialect.is_of(&server, &tools));
        known.ok_or_else(|| {
            let message = format!(
                "the server calls itself `{server}`, which no mapping knows; give one in the file that GITEA_MCP_DIALECT names"
            );
            invalid("tell how the gitea-mcp server speaks", &message)
        })
    }

    /// Asks the gitea-mcp server. `None`: it has no tool for this.
    pub(crate) async fn over_mcp(
        &self,
        what: Operation,
        operation: &str,
        values: &Value,
    ) -> Result<Option<Value>, Error> {
        // Until the tool itself is called nothing can have acted.
        let unsent = |error: Error| Error {
            reach: Reach::NotSent,
            ..error
        };
        let dialect = self.dialect().await.map_err(unsent)?;
        let tools = self.mcp.tools().await.map_err(unsent)?;
        let Some(mapping) = dialect.mapping(what, &tools, values) else {
            return Ok(None);
        };
        let arguments = mapping.arguments(values);
        let call = self
            .mcp
            .call(operation, &mapping.tool, arguments, self.deadlines.call);
        let answer = match call.await {
            Ok(answer) => crate::tool_error::value(dialect, answer, operation)?,
            // Older servers answer a failed operation with a JSON-RPC error; its text says the same.
            Err(error)
                if error.status.is_none()
                    && error.kind == Kind::Invalid
                    && error.reach == Reach::Unknown =>
            {
                return Err(crate::tool_error::refusal(
                    dialect,
                    operation,
                    &error.message,
                ));
            }
            Err(error) => return Err(error),
        };
        Ok(Some(mapping.result(answer)))
    }

    pub(crate) async fn send(
        &self,
        operation: &str,
        method: http::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Error> {
        self.send_within(operation, method, path, body, self.deadlines.call)
            .await
    }

    pub(crate) async fn send_within(
        &self,
        operation: &str,
        method: http::Method,
        path: &str,
        body: Option<&Value>,
        deadline: std::time::Duration,
    ) -> Result<Reply, Error> {
        let Some(rest) = &self.rest else {
            let message = "the gitea-mcp server has no tool for it, and REST is not configured (GITEA_URL, GITEA_TOKEN)";
            return Err(Error {
                reach: Reach::NotSent,
                ..invalid(operation, message)
            });
        };
        rest.send(operation, method, path, body, deadline).await
    }

    pub(crate) async fn get(&self, operation: &str, path: &str) -> Result<Value, Error> {
        Ok(self
            .send(operation, http::Method::GET, path, None)
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
        self.get_all_as(operation, path).await
    }

    /// As [`Gitea::get_all`], each item read as `T` page by page.
    pub(crate) async fn get_all_as<T: serde::de::DeserializeOwned>(
        &self,
        operation: &str,
        path: &str,
    ) -> Result<Vec<T>, Error> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        for page in 1.. {
            let path = format!("{path}{joint}limit=50&page={page}");
            let reply = self.send(operation, http::Method::GET, &path, None).await?;
            let total = reply
                .headers
                .get("x-total-count")
                .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
            let items: Vec<T> = read("gitea", operation, reply.body)?;
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
            .send(operation, method, path, body.as_ref())
            .await?
            .body)
    }
}

fn invalid(operation: &str, message: &str) -> Error {
    Error::new("gitea", operation, Kind::Invalid, Reach::Refused, message)
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
