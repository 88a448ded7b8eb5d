//! The one shape of an upstream's error.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// What an upstream's refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not there, or not visible to this token.
    NotFound,
    /// The name is taken, or the object has changed meanwhile.
    Conflict,
    /// The token is missing, wrong, or lacks a right.
    Denied,
    /// Not reachable, overloaded or rate limited.
    Unavailable,
    /// The request itself does not fit.
    Invalid,
    /// An answer that fits nothing known: unreadable, a redirect, an unknown status.
    Unexpected,
}

/// Whether the request may have acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Never sent.
    NotSent,
    /// Answered with a refusal: it did not act.
    Refused,
    /// The reply was lost, late, a 5xx or unreadable: nobody knows.
    Unknown,
}

/// A request to an upstream that did not succeed. Holds no token, header or request body.
#[derive(Clone, Debug)]
pub struct Error {
    /// For example `gitea`.
    pub system: &'static str,
    /// For example `create repository acme/shop`.
    pub operation: String,
    /// What it means.
    pub kind: Kind,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// What the upstream said, shortened.
    pub message: String,
    /// How long it asked us to wait.
    pub retry_after: Option<Duration>,
    /// Its name for the request.
    pub request_id: Option<String>,
    /// Whether the request may have acted.
    pub reach: Reach,
}

impl Error {
    /// An error without an HTTP status.
    pub fn new(
        system: &'static str,
        operation: impl Into<String>,
        kind: Kind,
        reach: Reach,
        message: &str,
    ) -> Self {
        Self {
            system,
            operation: operation.into(),
            kind,
            status: None,
            message: shorten(message),
            retry_after: None,
            request_id: None,
            reach,
        }
    }

    /// An error from an HTTP status. Statuses that stand for something else with one upstream are set by its client.
    pub fn from_status(
        system: &'static str,
        operation: impl Into<String>,
        status: u16,
        message: &str,
    ) -> Self {
        let (kind, reach) = match status {
            401 | 403 => (Kind::Denied, Reach::Refused),
            404 | 410 => (Kind::NotFound, Reach::Refused),
            409 | 412 => (Kind::Conflict, Reach::Refused),
            400 | 405 | 406 | 411 | 413 | 414 | 415 | 422 | 423 | 451 => {
                (Kind::Invalid, Reach::Refused)
            }
            429 => (Kind::Unavailable, Reach::Refused),
            300..=399 => (Kind::Unexpected, Reach::Refused),
            500..=599 => (Kind::Unavailable, Reach::Unknown),
            _ => (Kind::Unexpected, Reach::Unknown),
        };
        Self {
            status: Some(status),
            ..Self::new(system, operation, kind, reach, message)
        }
    }

    /// Adds what the reply's headers say of waiting and of the request's name.
    #[must_use]
    pub fn with_headers(mut self, headers: &http::HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        self.retry_after = text("retry-after").and_then(retry_after);
        self.request_id = text("x-github-request-id")
            .or_else(|| text("x-request-id"))
            .map(shorten);
        self
    }

    /// The token was not accepted at all, as opposed to lacking a right.
    pub fn is_unauthenticated(&self) -> bool {
        self.status == Some(401)
    }

    /// The name is an alias of something else (renamed or moved): never "gone".
    pub fn is_redirect(&self) -> bool {
        matches!(self.status, Some(300..=399))
    }

    /// The same request may succeed later without anybody acting.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            Kind::Unavailable => true,
            Kind::Unexpected => self.reach == Reach::Unknown,
            Kind::NotFound | Kind::Conflict | Kind::Denied | Kind::Invalid => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} could not {}", self.system, self.operation)?;
        if let Some(status) = self.status {
            write!(f, " (status {status})")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Seconds or an HTTP date (RFC 9110 section 10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default())
}

fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 300 {
        line
    } else {
        line.chars().take(297).chain("...".chars()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_did_not_act_and_a_server_error_may_have() {
        assert_eq!(
            Error::from_status("gitea", "x", 409, "").reach,
            Reach::Refused
        );
        assert_eq!(
            Error::from_status("gitea", "x", 502, "").reach,
            Reach::Unknown
        );
        assert!(Error::from_status("gitea", "x", 502, "").is_retryable());
        assert!(!Error::from_status("gitea", "x", 403, "").is_retryable());
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("soon"), None);
    }
}
