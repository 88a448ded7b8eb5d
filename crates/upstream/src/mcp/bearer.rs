//! rmcp's HTTP client with the bearer taken anew for each request: never none, never an old one.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage};
use rmcp::transport::common::client_side_sse::BoxedSseResponse;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};

use crate::token::{Token, TokenHandle};

#[derive(Clone)]
pub(super) struct BearerClient {
    pub(super) http: reqwest::Client,
    pub(super) token: TokenHandle,
}

type HttpError = StreamableHttpError<reqwest::Error>;
type Headers = HashMap<HeaderName, HeaderValue>;

impl BearerClient {
    fn bearer(&self) -> Option<String> {
        Some(self.token.current().expose().to_owned())
    }

    /// The bearer for one more try: the server refused `used`, and there is another one now. A 401 did not act.
    fn another(&self, used: &Token, answer: &HttpError) -> Option<String> {
        let unauthorised = match answer {
            HttpError::AuthRequired(_) => true,
            HttpError::HttpStatus(reply) => reply.status == 401,
            _ => false,
        };
        (unauthorised && self.token.was_refused(used))
            .then(|| self.bearer())
            .flatten()
    }
}

/// An error that answers no request would be waited for in vain. Some servers say so that they forgot the session (npm
/// gitea-mcp 0.0.10, 20 minutes after initialize): then it is made again, because nothing was dispatched.
fn judged(
    answer: Result<StreamableHttpPostResponse, HttpError>,
    attached: bool,
) -> Result<StreamableHttpPostResponse, HttpError> {
    let Ok(StreamableHttpPostResponse::Json(JsonRpcMessage::Error(error), _)) = &answer else {
        return answer;
    };
    if error.id.is_some() {
        return answer;
    }
    let said = &error.error.message;
    if attached && said.to_ascii_lowercase().contains("not initialized") {
        return Err(HttpError::SessionExpired);
    }
    Err(HttpError::UnexpectedServerResponse(said.to_string().into()))
}

impl StreamableHttpClient for BearerClient {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let attached = session_id.is_some();
        let used = self.token.current();
        let post = |bearer: Option<String>| {
            let (uri, message) = (uri.clone(), message.clone());
            let (session, headers) = (session_id.clone(), headers.clone());
            self.http
                .post_message(uri, message, session, bearer, headers)
        };
        let mut answer = post(Some(used.expose().to_owned())).await;
        if let Err(error) = &answer
            && let Some(bearer) = self.another(&used, error)
        {
            answer = post(Some(bearer)).await;
        }
        judged(answer, attached)
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth: Option<String>,
        headers: Headers,
        max: usize,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let attached = session_id.is_some();
        let used = self.token.current();
        let post = |bearer: Option<String>| {
            let (uri, message) = (uri.clone(), message.clone());
            let (session, headers) = (session_id.clone(), headers.clone());
            self.http
                .post_message_with_max_sse_event_size(uri, message, session, bearer, headers, max)
        };
        let mut answer = post(Some(used.expose().to_owned())).await;
        if let Err(error) = &answer
            && let Some(bearer) = self.another(&used, error)
        {
            answer = post(Some(bearer)).await;
        }
        judged(answer, attached)
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth: Option<String>,
        headers: Headers,
    ) -> Result<(), HttpError> {
        self.http
            .delete_session(uri, session_id, self.bearer(), headers)
            .await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth: Option<String>,
        headers: Headers,
    ) -> Result<BoxedSseResponse, HttpError> {
        self.http
            .get_stream(uri, session_id, last_event_id, self.bearer(), headers)
            .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth: Option<String>,
        headers: Headers,
        max: usize,
    ) -> Result<BoxedSseResponse, HttpError> {
        self.http
            .get_stream_with_max_sse_event_size(
                uri,
                session_id,
                last_event_id,
                self.bearer(),
                headers,
                max,
            )
            .await
    }
}
