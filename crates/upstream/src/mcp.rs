//! A client of an MCP server (Streamable HTTP, protocol 2025-11-25) that cannot be built without a token.
//!
//! rmcp sets no deadline on a request and takes any text as a bearer; both are closed here. The connection is made at
//! the first call and made again when it has broken.

mod bearer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig,
    Implementation, JsonObject, ProtocolVersion,
};
use rmcp::service::{ClientInitializeError, RunningService};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::common::client_side_sse::NeverRetry;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransport, StreamableHttpClientTransportConfig, StreamableHttpError,
};
use rmcp::{RoleClient, ServiceError, ServiceExt};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::error::{Error, Kind, Reach};
use crate::throttle::Throttle;
use crate::token::TokenHandle;
use bearer::BearerClient;

type Connection = RunningService<RoleClient, ClientConfig>;

/// A client of one MCP server.
#[derive(Clone)]
pub struct McpClient {
    inner: Arc<Inner>,
    throttle: Throttle,
}

struct Inner {
    system: &'static str,
    url: String,
    token: TokenHandle,
    http: reqwest::Client,
    connection: Mutex<Option<Arc<Connection>>>,
    tools: Mutex<Option<Listed>>,
}

/// The tools of a connection: their names, and the schema of each one's arguments.
#[derive(Clone)]
struct Listed {
    names: Arc<BTreeSet<String>>,
    inputs: Arc<BTreeMap<String, Value>>,
}

/// What a tool answered.
#[derive(Clone, Debug)]
pub struct ToolAnswer {
    /// The tool says that it failed.
    pub is_error: bool,
    /// The texts of the answer, joined by line breaks.
    pub text: String,
    /// The structured content, or the text read as JSON. `None`: neither.
    pub value: Option<Value>,
}

const START: Duration = Duration::from_secs(15);

impl McpClient {
    /// A client of the server at `url`. Nothing is sent yet.
    pub fn new(
        system: &'static str,
        url: &url::Url,
        token: TokenHandle,
        http: reqwest::Client,
    ) -> Self {
        let inner = Inner {
            system,
            url: url.to_string(),
            token,
            http,
            connection: Mutex::default(),
            tools: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
            throttle: Throttle::default(),
        }
    }

    /// The same client, within these limits.
    #[must_use]
    pub fn within(self, throttle: Throttle) -> Self {
        Self { throttle, ..self }
    }

    /// Where the token came from.
    pub fn token(&self) -> &TokenHandle {
        &self.inner.token
    }

    /// The names of the server's tools; asked for once per connection.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the token.
    pub async fn tools(&self) -> Result<Arc<BTreeSet<String>>, Error> {
        Ok(self.listed().await?.names)
    }

    /// The schema of a tool's arguments. `None`: the server lists no such tool for us.
    ///
    /// # Errors
    /// As [`McpClient::tools`].
    pub async fn input_schema(&self, tool: &str) -> Result<Option<Value>, Error> {
        Ok(self.listed().await?.inputs.get(tool).cloned())
    }

    async fn listed(&self) -> Result<Listed, Error> {
        // A new connection forgets the tools, so it comes first.
        let connection = self.connection("list tools").await?;
        let mut tools = self.inner.tools.lock().await;
        if let Some(tools) = &*tools {
            return Ok(tools.clone());
        }
        let listed = tokio::time::timeout(START, connection.list_all_tools()).await;
        let listed = listed.map_err(|_| self.late("list tools", START))?;
        let listed = listed.map_err(|error| self.service_error("list tools", &error))?;
        let inputs: BTreeMap<String, Value> = listed
            .into_iter()
            .map(|tool| {
                (
                    tool.name.into_owned(),
                    Value::Object((*tool.input_schema).clone()),
                )
            })
            .collect();
        let fresh = Listed {
            names: Arc::new(inputs.keys().cloned().collect()),
            inputs: Arc::new(inputs),
        };
        *tools = Some(fresh.clone());
        Ok(fresh)
    }

    /// What the server calls itself, and its version. Empty where it does not say.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the token.
    pub async fn server(&self) -> Result<(String, String), Error> {
        let connection = self.connection("ask the server's name").await?;
        let said = connection.peer_info();
        let me = said.as_ref().and_then(|info| info.server_info.as_ref());
        Ok(me.map_or_else(Default::default, |me| (me.name.clone(), me.version.clone())))
    }

    /// Calls a tool. `operation` completes the sentence "could not …".
    ///
    /// # Errors
    /// No answer within `deadline`, or a protocol error. A tool that answers `isError` is an answer, not an error.
    pub async fn call(
        &self,
        operation: &str,
        tool: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<ToolAnswer, Error> {
        let limits = &self.throttle;
        let _place = limits.enter(self.inner.system, operation, true).await?;
        let call = self.exchange(operation, tool, arguments);
        crate::deadline::within(self.inner.system, operation, deadline, call).await
    }

    async fn exchange(
        &self,
        operation: &str,
        tool: &str,
        arguments: Value,
    ) -> Result<ToolAnswer, Error> {
        let connection = self.connection(operation).await?;
        let arguments: JsonObject = match arguments {
            Value::Object(fields) => fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect(),
            _ => JsonObject::new(),
        };
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        match connection.call_tool_once(params).await {
            Ok(CallToolResponse::Complete(result)) => Ok(self.answer(result)),
            Ok(_) => {
                let message = "the tool asked for input, which nobody here can give";
                Err(Error::new(
                    self.inner.system,
                    operation,
                    Kind::Unexpected,
                    Reach::Unknown,
                    message,
                ))
            }
            Err(error) => Err(self.service_error(operation, &error)),
        }
    }

    fn answer(&self, result: CallToolResult) -> ToolAnswer {
        let texts: Vec<&str> = result
            .content
            .iter()
            .filter_map(|block| block.as_text())
            .map(|text| text.text.as_str())
            .collect();
        let text = self.inner.token.redact(&texts.join("\n"));
        let value = result
            .structured_content
            .or_else(|| serde_json::from_str(&text).ok());
        ToolAnswer {
            is_error: result.is_error.unwrap_or(false),
            text,
            value,
        }
    }

    async fn connection(&self, operation: &str) -> Result<Arc<Connection>, Error> {
        let mut connection = self.inner.connection.lock().await;
        if let Some(connection) = connection
            .as_ref()
            .filter(|connection| !connection.is_transport_closed())
        {
            return Ok(Arc::clone(connection));
        }
        *self.inner.tools.lock().await = None;
        let fresh = Arc::new(self.connect(operation).await?);
        *connection = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    async fn connect(&self, operation: &str) -> Result<Connection, Error> {
        let client = BearerClient {
            http: self.inner.http.clone(),
            token: self.inner.token.clone(),
        };
        let mut config = StreamableHttpClientTransportConfig::with_uri(self.inner.url.as_str())
            .max_concurrent_requests(64)
            .control_request_timeout(Duration::from_secs(1));
        config.retry_config = Arc::new(NeverRetry::default());
        let transport = StreamableHttpClientTransport::with_client(client, config);
        let me = ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new("forgeline", env!("CARGO_PKG_VERSION")),
        )
        .with_protocol_version(ProtocolVersion::V_2025_11_25);
        // Until the tool call itself is sent nothing can have acted.
        match tokio::time::timeout(START, me.serve(transport)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(Error {
                reach: Reach::NotSent,
                ..self.connect_error(operation, &error)
            }),
            Err(_) => Err(Error {
                reach: Reach::NotSent,
                ..self.late(operation, START)
            }),
        }
    }

    fn late(&self, operation: &str, deadline: Duration) -> Error {
        crate::deadline::late(self.inner.system, operation, deadline)
    }

    fn connect_error(&self, operation: &str, error: &ClientInitializeError) -> Error {
        match error {
            ClientInitializeError::TransportError { error, .. } => {
                self.transport_error(operation, error)
            }
            ClientInitializeError::JsonRpcError(error) => Error::new(
                self.inner.system,
                operation,
                Kind::Invalid,
                Reach::Refused,
                &error.message,
            ),
            other => Error::new(
                self.inner.system,
                operation,
                Kind::Unavailable,
                Reach::Unknown,
                &other.to_string(),
            ),
        }
    }

    fn service_error(&self, operation: &str, error: &ServiceError) -> Error {
        match error {
            ServiceError::TransportSend(error) => self.transport_error(operation, error),
            // Older servers answer a failed operation with a JSON-RPC error: its text says what happened.
            ServiceError::McpError(error) => {
                let message = self.inner.token.redact(&error.message);
                let reach = if matches!(error.code.0, -32700 | -32600 | -32601) {
                    Reach::Refused
                } else {
                    Reach::Unknown
                };
                Error::new(self.inner.system, operation, Kind::Invalid, reach, &message)
            }
            other => Error::new(
                self.inner.system,
                operation,
                Kind::Unavailable,
                Reach::Unknown,
                &other.to_string(),
            ),
        }
    }

    fn transport_error(&self, operation: &str, error: &DynamicTransportError) -> Error {
        let system = self.inner.system;
        let Some(http) = error
            .error
            .downcast_ref::<StreamableHttpError<reqwest::Error>>()
        else {
            return Error::new(
                system,
                operation,
                Kind::Unavailable,
                Reach::Unknown,
                &error.error.to_string(),
            );
        };
        let message = self.inner.token.redact(&crate::http::chain(http));
        match http {
            StreamableHttpError::Client(error) if error.is_connect() || error.is_builder() => {
                Error::new(
                    system,
                    operation,
                    Kind::Unavailable,
                    Reach::NotSent,
                    &message,
                )
            }
            StreamableHttpError::Io(_) => Error::new(
                system,
                operation,
                Kind::Unavailable,
                Reach::NotSent,
                &message,
            ),
            StreamableHttpError::AuthRequired(_) => {
                Error::from_status(system, operation, 401, "the bearer was not accepted")
            }
            StreamableHttpError::InsufficientScope(_) => {
                Error::from_status(system, operation, 403, &message)
            }
            StreamableHttpError::SessionExpired => Error::new(
                system,
                operation,
                Kind::Unavailable,
                Reach::Refused,
                "the server forgot the session",
            ),
            StreamableHttpError::HttpStatus(reply) => {
                let retry_after = reply
                    .retry_after
                    .as_ref()
                    .and_then(|text| text.parse().ok())
                    .map(Duration::from_secs);
                Error {
                    retry_after,
                    ..Error::from_status(system, operation, reply.status, &message)
                }
            }
            StreamableHttpError::UnexpectedServerResponse(text) => match status_in(text) {
                Some(status) => Error::from_status(system, operation, status, &message),
                None => Error::new(
                    system,
                    operation,
                    Kind::Unexpected,
                    Reach::Unknown,
                    &message,
                ),
            },
            _ => Error::new(
                system,
                operation,
                Kind::Unavailable,
                Reach::Unknown,
                &message,
            ),
        }
    }
}

/// rmcp keeps most statuses only in a text: `HTTP 401 Unauthorized: …`.
fn status_in(text: &str) -> Option<u16> {
    text.strip_prefix("HTTP ")?.get(..3)?.parse().ok()
}

impl std::fmt::Debug for McpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpClient")
            .field("system", &self.inner.system)
            .field("url", &self.inner.url)
            .finish_non_exhaustive()
    }
}
