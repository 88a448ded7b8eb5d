//! One HTTP client: connect 5 s, a deadline per call, no redirects, no proxy, no retries, TCP_NODELAY.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::Value;
use url::Url;

use crate::error::{Error, Kind, Reach};
use crate::throttle::Throttle;
use crate::token::{Token, TokenHandle};

/// The time to connect.
pub const CONNECT: Duration = Duration::from_secs(5);

/// Trust roots and the like, shared by the clients of all upstreams.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// PEM certificates that are trusted beside the system's roots. `None`: only those.
    pub extra_roots_pem: Option<Vec<u8>>,
}

/// Why an HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The certificates cannot be used.
    #[error("the extra trust roots are not valid PEM certificates")]
    Roots(#[source] reqwest::Error),
    /// There is no certificate in what was given.
    #[error("the extra trust roots hold no PEM certificate")]
    NoRoots,
    /// The client cannot be built, for example because the system has no trust roots.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
    /// The address is no http(s) address, or a plain http address that is not on this machine.
    #[error("{0}")]
    Address(String),
}

/// The pooled connections that clients share.
pub type Connections = reqwest::Client;

/// The reqwest client that all of ours are built on.
///
/// # Errors
/// Trust roots that cannot be used.
pub fn reqwest_client(trust: &Trust) -> Result<Connections, BuildError> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .user_agent(concat!("forgeline/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = &trust.extra_roots_pem {
        let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(BuildError::Roots)?;
        if roots.is_empty() {
            return Err(BuildError::NoRoots);
        }
        builder = builder.tls_certs_merge(roots);
    }
    builder.build().map_err(BuildError::Client)
}

/// Reads an upstream's address: http or https, with a host, without credentials.
///
/// # Errors
/// A sentence that says what is wrong; the address is not repeated when it holds credentials.
pub fn address(variable: &str, text: &str) -> Result<Url, BuildError> {
    let bad = |why: &str| BuildError::Address(format!("{variable} {why}"));
    let url = Url::parse(text.trim()).map_err(|error| bad(&format!("is no address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(bad("must start with http:// or https:// and name a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            "must not hold a user name or password; tokens have variables of their own",
        ));
    }
    Ok(url)
}

/// An answer with a success status.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; null when it is empty.
    pub body: Value,
}

/// A client of one upstream's JSON API.
#[derive(Clone, Debug)]
pub struct HttpClient {
    system: &'static str,
    base: Url,
    token: TokenHandle,
    client: reqwest::Client,
    throttle: Throttle,
}

impl HttpClient {
    /// A client of the API below `base`, for example `https://git.example.org/api/v1`.
    pub fn new(
        system: &'static str,
        base: Url,
        token: TokenHandle,
        client: reqwest::Client,
    ) -> Self {
        Self {
            system,
            base,
            token,
            client,
            throttle: Throttle::default(),
        }
    }

    /// The same client, within these limits.
    #[must_use]
    pub fn within(self, throttle: Throttle) -> Self {
        Self { throttle, ..self }
    }

    /// The same client for requests of another priority.
    #[must_use]
    pub fn with_priority(&self, priority: crate::throttle::Priority) -> Self {
        Self {
            throttle: self.throttle.with_priority(priority),
            ..self.clone()
        }
    }

    /// Where the token came from.
    pub fn token(&self) -> &TokenHandle {
        &self.token
    }

    /// Sends one request and reads the whole answer within `deadline`. `operation` completes the sentence "could not …".
    ///
    /// # Errors
    /// A status that is not a success, or no readable answer in time.
    pub async fn send(
        &self,
        operation: &str,
        method: Method,
        path_and_query: &str,
        body: Option<&Value>,
        deadline: Duration,
    ) -> Result<Reply, Error> {
        let writes = method != Method::GET;
        let _place = self.throttle.enter(self.system, operation, writes).await?;
        let request = async {
            let token = self.token.current();
            let first = self.exchange(operation, &method, path_and_query, body, &token);
            match first.await {
                // A 401 did not act, and the token may have been rotated meanwhile.
                Err(error) if error.is_unauthenticated() && self.token.was_refused(&token) => {
                    let token = self.token.current();
                    self.exchange(operation, &method, path_and_query, body, &token)
                        .await
                }
                answer => answer,
            }
        };
        crate::deadline::within(self.system, operation, deadline, request).await
    }

    async fn exchange(
        &self,
        operation: &str,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        token: &Token,
    ) -> Result<Reply, Error> {
        let url = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let request = self.client.request(method.clone(), url);
        let mut request = request.bearer_auth(token.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        exchange(self.system, operation, request, Some(token), Server::Known).await
    }
}

/// A client of any JSON API, for addresses that a workflow names. It follows no redirect either.
#[derive(Clone, Debug)]
pub struct OpenClient {
    client: reqwest::Client,
    deadline: Duration,
}

impl OpenClient {
    /// A client whose requests may each take `deadline`.
    pub fn new(client: reqwest::Client, deadline: Duration) -> Self {
        Self { client, deadline }
    }

    /// Sends one request to an absolute address, with a bearer where there is one.
    ///
    /// # Errors
    /// A status that is not a success, or no readable answer in time.
    pub async fn send(
        &self,
        operation: &str,
        method: Method,
        url: &Url,
        token: Option<&TokenHandle>,
        body: Option<&Value>,
    ) -> Result<Reply, Error> {
        let token = token.map(TokenHandle::current);
        let reads = method == Method::GET;
        let mut request = self.client.request(method, url.clone());
        if let Some(token) = &token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = exchange("http", operation, request, token.as_ref(), Server::Any);
        let reply = crate::deadline::within("http", operation, self.deadline, answer).await;
        // A form's handler answers a redirect after it has acted.
        reply.map_err(|error| match error.is_redirect() && !reads {
            true => Error {
                reach: Reach::Unknown,
                ..error
            },
            false => error,
        })
    }
}

async fn exchange(
    system: &'static str,
    operation: &str,
    request: reqwest::RequestBuilder,
    token: Option<&Token>,
    server: Server,
) -> Result<Reply, Error> {
    let redact = |text: &str| token.map_or_else(|| text.to_owned(), |token| token.redact(text));
    let lost = |error: reqwest::Error| {
        let error = match server {
            Server::Known => error,
            Server::Any => error.without_url(),
        };
        let reach = if error.is_connect() || error.is_builder() {
            Reach::NotSent
        } else {
            Reach::Unknown
        };
        Error::new(
            system,
            operation,
            Kind::Unavailable,
            reach,
            &redact(&chain(&error)),
        )
    };
    let response = request
        .header("accept", "application/json")
        .send()
        .await
        .map_err(lost)?;
    let status = response.status();
    let headers = response.headers().clone();
    let text = response.text().await.map_err(lost)?;
    if !status.is_success() {
        let message = redact(&message_of(&text));
        return Err(
            Error::from_status(system, operation, status.as_u16(), &message).with_headers(&headers),
        );
    }
    let body = if text.trim().is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_str(&text).or_else(|error| match server {
            Server::Known => Err(error),
            Server::Any => Ok(Value::String(text)),
        })
    };
    let body = body.map_err(|error| {
        let message = format!("the answer is not JSON: {error}");
        let base = Error::new(
            system,
            operation,
            Kind::Unexpected,
            Reach::Unknown,
            &message,
        );
        Error {
            status: Some(status.as_u16()),
            ..base
        }
    })?;
    Ok(Reply {
        status: status.as_u16(),
        headers,
        body,
    })
}

/// The `message` (or `error`) of a JSON error body, else the body itself.
pub fn message_of(body: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let field = parsed
        .as_ref()
        .and_then(|value| value.get("message").or_else(|| value.get("error")));
    match field.and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => body.to_owned(),
    }
}

/// Whose answer is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    /// One whose API we know: it answers JSON.
    Known,
    /// Any: its answer may be a plain text, and the address may hold what nobody should read.
    Any,
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;
    use crate::token::Origin;

    /// Answers 401 to the first request, after `then` has been done, and 200 to all others; tells every bearer that came.
    fn server(then: impl FnOnce() + Send + 'static) -> (Url, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut then = Some(then);
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let bearer = head
                    .lines()
                    .find_map(|line| line.strip_prefix("authorization: "));
                tell.send(bearer.unwrap().to_owned()).unwrap();
                let status = match then.take() {
                    Some(then) => {
                        then();
                        "401 Unauthorized"
                    }
                    None => "200 OK",
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        (url.parse().unwrap(), told)
    }

    async fn ask(url: Url, token: TokenHandle) -> Result<Reply, Error> {
        let http = reqwest_client(&Trust::default()).unwrap();
        let client = HttpClient::new("gitea", url, token, http);
        let patience = Duration::from_secs(10);
        client
            .send("look", Method::POST, "/x", None, patience)
            .await
    }

    #[tokio::test]
    async fn a_token_that_is_rotated_during_a_request_gets_one_more_try() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "first").unwrap();
        let origin = Origin::File {
            variable: "GITEA_TOKEN".into(),
            path: path.clone(),
        };
        let token = TokenHandle::from_file(&origin).unwrap();
        let (url, told) = server(move || std::fs::write(&path, "second").unwrap());
        assert_eq!(ask(url, token).await.unwrap().status, 200);
        let bearers: Vec<String> = told.try_iter().collect();
        assert_eq!(bearers, ["Bearer first", "Bearer second"]);
    }

    #[tokio::test]
    async fn a_token_that_stays_as_it_is_gets_none() {
        let token = Token::new("only", Origin::variable("GITEA_TOKEN")).unwrap();
        let (url, told) = server(|| {});
        let refused = ask(url, TokenHandle::fixed(token)).await.unwrap_err();
        assert!(refused.is_unauthenticated());
        assert_eq!(told.try_iter().count(), 1);
    }
}
