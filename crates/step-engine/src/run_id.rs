//! The name of one run.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// The name of one run: a ULID, so names sort by the time of their making.
///
/// Shown in upper case; [`RunId::lower`] is for systems that know lower case only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// A new name; two calls never answer the same.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Ulid::generate().to_string())
    }

    /// The 26 characters, upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the name was made, which is when its run was asked for: a ULID begins with the time.
    pub fn made_at(&self) -> Timestamp {
        let milliseconds = Ulid::from_string(&self.0).map(|id| id.timestamp_ms());
        let milliseconds = milliseconds.ok().and_then(|ms| i64::try_from(ms).ok());
        milliseconds
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The 26 characters in lower case, for topics, labels and host names.
    pub fn lower(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is not a run's name.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a run id; a run id has 26 characters, like 01JD8Z6Q5V0000000000000000")]
pub struct RunIdError(String);

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let upper = text.to_ascii_uppercase();
        match Ulid::from_string(&upper) {
            Ok(_) => Ok(Self(upper)),
            Err(_) => Err(RunIdError(text.chars().take(40).collect())),
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;

    fn try_from(text: String) -> Result<Self, RunIdError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_case_name_is_the_same_run() {
        let id = RunId::new();
        assert_eq!(id.lower().parse::<RunId>().unwrap(), id);
    }

    #[test]
    fn a_name_that_is_no_ulid_is_refused() {
        assert!("hello".parse::<RunId>().is_err());
    }
}
