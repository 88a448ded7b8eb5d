//! The client: one request, one answer, one deadline.

use std::fmt;
use std::time::Duration;

use forgeline_upstream::{Error, Kind, Reach, Throttle, Token, TokenHandle};
use http::{HeaderMap, Method, StatusCode};
use octocrab::service::middleware::base_uri::BaseUriLayer;
use octocrab::{AuthState, OctoBody, Octocrab, OctocrabBuilder};
use serde_json::Value;
use url::Url;

const CONNECT: Duration = Duration::from_secs(5);

/// Why the client could not be built.
#[derive(Debug)]
pub struct BuildError(pub(crate) String);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the GitHub client cannot be built: {}", self.0)
    }
}

impl std::error::Error for BuildError {}

/// A client of GitHub. Cheap to clone.
#[derive(Clone)]
pub struct GitHub {
    crab: Octocrab,
    token: TokenHandle,
    deadline: Duration,
    throttle: Throttle,
}

pub(crate) struct Reply {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl GitHub {
    /// A client of the API at `api`, for example `https://api.github.com`. Each call may take
    /// `deadline`; GitHub itself cuts a request off after 10 s. Needs a tokio runtime; sends nothing yet.
    ///
    /// # Errors
    /// Trust roots that cannot be used.
    pub fn new(
        api: &Url,
        token: TokenHandle,
        extra_roots_pem: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<Self, BuildError> {
        let base: http::Uri = api
            .as_str()
            .trim_end_matches('/')
            .parse()
            .map_err(|error| BuildError(format!("{error}")))?;
        if base.scheme().is_none() || base.host().is_none() {
            return Err(BuildError("the address needs a scheme and a host".into()));
        }
        let connector =
            crate::connector::connector(extra_roots_pem, api.scheme() == "http", CONNECT)?;
        let service: hyper_util::client::legacy::Client<_, OctoBody> =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .timer(hyper_util::rt::TokioTimer::new())
                .pool_idle_timeout(Duration::from_secs(60))
                .build(connector);
        let built = OctocrabBuilder::new_empty()
            .with_service(service)
            .with_layer(&BaseUriLayer::new(base))
            .with_auth(AuthState::None)
            .build();
        let Ok(crab) = built;
        Ok(Self {
            crab,
            token,
            deadline,
            throttle: Throttle::default(),
        })
    }

    /// The same client, within these limits.
    #[must_use]
    pub fn within(self, throttle: Throttle) -> Self {
        Self { throttle, ..self }
    }

    /// The same client for requests of another priority.
    #[must_use]
    pub fn with_priority(&self, priority: forgeline_upstream::Priority) -> Self {
        Self {
            throttle: self.throttle.with_priority(priority),
            ..self.clone()
        }
    }

    /// Where the token came from.
    pub fn token(&self) -> &TokenHandle {
        &self.token
    }

    pub(crate) async fn send(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Error> {
        let writes = method != Method::GET;
        let _place = self.throttle.enter("github", operation, writes).await?;
        let request = async {
            let token = self.token.current();
            match self.exchange(operation, &method, path, body, &token).await {
                // A 401 did not act, and the token may have been rotated meanwhile.
                Err(error) if error.is_unauthenticated() && self.token.was_refused(&token) => {
                    let token = self.token.current();
                    self.exchange(operation, &method, path, body, &token).await
                }
                answer => answer,
            }
        };
        forgeline_upstream::within("github", operation, self.deadline, request).await
    }

    async fn exchange(
        &self,
        operation: &str,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        token: &Token,
    ) -> Result<Reply, Error> {
        let lost = |error: &octocrab::Error| {
            let reach = if never_sent(error) {
                Reach::NotSent
            } else {
                Reach::Unknown
            };
            let message = token.redact(&forgeline_upstream::http::chain(error));
            Error::new("github", operation, Kind::Unavailable, reach, &message)
        };
        let crab = self
            .crab
            .user_access_token(token.expose())
            .map_err(|error| lost(&error))?;
        let request = http::Request::builder()
            .method(method.clone())
            .uri(path)
            .header(http::header::ACCEPT, "application/vnd.github+json")
            .header(
                http::header::USER_AGENT,
                concat!("forgeline/", env!("CARGO_PKG_VERSION")),
            );
        let request = crab
            .build_request(request, body)
            .map_err(|error| lost(&error))?;
        let response = crab.execute(request).await.map_err(|error| lost(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = crab.body_to_string(response).await.map_err(|error| Error {
            reach: Reach::Unknown,
            ..lost(&error)
        })?;
        if !status.is_success() {
            return Err(refusal(operation, status, &headers, &token.redact(&text)));
        }
        let body = if text.trim().is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_str(&text)
        };
        let body = body.map_err(|error| {
            let message = format!("the answer is not JSON: {error}");
            let base = Error::new(
                "github",
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
        Ok(Reply { headers, body })
    }
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHub").finish_non_exhaustive()
    }
}

/// No connection was made: DNS, refused, connect time-out, TLS.
fn never_sent(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(client) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return client.is_connect();
        }
        next = error.source();
    }
    false
}

/// What a refusal means; GitHub uses 403 for rights and for limits, 422 for taken names and for much else.
fn refusal(operation: &str, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let message = message(parsed.as_ref(), body);
    let mut error =
        Error::from_status("github", operation, status.as_u16(), &message).with_headers(headers);
    let taken = message.to_ascii_lowercase().contains("already exists");
    let remaining = headers
        .get("x-ratelimit-remaining")
        .and_then(|value| value.to_str().ok());
    let limited = message.to_ascii_lowercase().contains("rate limit")
        || (status == 403 && remaining == Some("0"));
    match status.as_u16() {
        422 if taken => error.kind = Kind::Conflict,
        403 | 429 if limited => {
            error.kind = Kind::Unavailable;
            error.retry_after = error
                .retry_after
                .or_else(|| until_reset(headers))
                .or(Some(Duration::from_secs(60)));
        }
        _ => {}
    }
    error
}

/// The message and what its `errors` say; those are objects or texts.
fn message(parsed: Option<&Value>, body: &str) -> String {
    let Some(parsed) = parsed else {
        return body.to_owned();
    };
    let mut text = parsed["message"].as_str().unwrap_or_default().to_owned();
    for error in parsed["errors"].as_array().into_iter().flatten() {
        if let Some(detail) = error.as_str().or_else(|| error["message"].as_str()) {
            text.push_str(": ");
            text.push_str(detail);
        }
    }
    text
}

fn until_reset(headers: &HeaderMap) -> Option<Duration> {
    if headers.get("x-ratelimit-remaining")?.to_str().ok()? != "0" {
        return None;
    }
    let reset: i64 = headers
        .get("x-ratelimit-reset")?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    let left = reset - jiff::Timestamp::now().as_second();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_taken_name_is_a_conflict_among_the_422() {
        let body = r#"{"message":"Repository creation failed.","errors":[{"resource":"Repository","code":"custom","field":"name","message":"name already exists on this account"}]}"#;
        let taken = refusal(
            "x",
            StatusCode::UNPROCESSABLE_ENTITY,
            &HeaderMap::new(),
            body,
        );
        assert_eq!(taken.kind, Kind::Conflict);
        let other =
            r#"{"message":"Visibility can't be private. Please upgrade your subscription."}"#;
        assert_eq!(
            refusal(
                "x",
                StatusCode::UNPROCESSABLE_ENTITY,
                &HeaderMap::new(),
                other
            )
            .kind,
            Kind::Invalid
        );
    }

    #[test]
    fn a_secondary_limit_is_unavailable_and_a_missing_right_is_denied() {
        let limit = r#"{"message":"You have exceeded a secondary rate limit and have been temporarily blocked from content creation."}"#;
        let error = refusal("x", StatusCode::FORBIDDEN, &HeaderMap::new(), limit);
        assert_eq!(
            (error.kind, error.retry_after),
            (Kind::Unavailable, Some(Duration::from_secs(60)))
        );
        let right = r#"{"message":"Must have admin rights to Repository."}"#;
        assert_eq!(
            refusal("x", StatusCode::FORBIDDEN, &HeaderMap::new(), right).kind,
            Kind::Denied
        );
    }
}
