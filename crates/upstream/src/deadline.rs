//! A deadline around one request, and its line in the log.

use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Reach};

/// How long calls to upstreams may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// An ordinary call. Settle times outlive it.
    pub call: Duration,
    /// A mirror sync: a `git push` that Gitea itself ends after 300 s.
    pub sync: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(15),
            sync: Duration::from_secs(320),
        }
    }
}

/// Waits for one request, at most `deadline`. `operation` completes the sentence "could not …".
///
/// # Errors
/// The request's own error, or [`Kind::Unavailable`] with [`Reach::Unknown`] when it got no answer in time.
pub async fn within<T>(
    system: &'static str,
    operation: &str,
    deadline: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let started = Instant::now();
    let result = tokio::time::timeout(deadline, request)
        .await
        .unwrap_or_else(|_| Err(late(system, operation, deadline)));
    let (elapsed, status) = (
        started.elapsed(),
        result.as_ref().err().and_then(|error| error.status),
    );
    let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(target: "upstream", system, operation, ok = result.is_ok(), status, elapsed_us);
    result
}

/// The error of a request that got no answer in time.
pub(crate) fn late(system: &'static str, operation: &str, deadline: Duration) -> Error {
    let message = format!("no answer within {} s", deadline.as_secs_f32());
    Error::new(
        system,
        operation,
        Kind::Unavailable,
        Reach::Unknown,
        &message,
    )
}
