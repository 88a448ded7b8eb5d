//! An upstream's error as a step's error: what it left, whether to try again, and what to do.

use std::time::Duration;

use forgeline_step_engine::{Effect, StepError};
use forgeline_upstream::{Error, Kind, Origin, Reach};

/// What a call needs, for the message of a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need<'a> {
    /// Where the credential came from, for example `environment variable GITHUB_PAT`.
    pub(crate) credential: &'a str,
    /// The right that the call asks for, for example ``the scope `repo` ``.
    pub(crate) right: &'a str,
    /// How to grant it.
    pub(crate) fix: &'a str,
}

/// A failed write.
#[allow(clippy::needless_pass_by_value)] // it is what `map_err` gives
pub(crate) fn of_write(error: Error, need: &Need<'_>) -> StepError {
    let effect = match error.reach {
        Reach::NotSent | Reach::Refused => Effect::None,
        Reach::Unknown => Effect::Possible,
    };
    from(&error, need).effect(effect)
}

/// A failed creation, where a conflict means that the name is taken.
pub(crate) fn of_create(error: Error, need: &Need<'_>) -> StepError {
    let taken = error.kind == Kind::Conflict;
    let made = of_write(error, need);
    if taken {
        made.effect(Effect::Taken)
    } else {
        made
    }
}

/// A failed read; it left nothing.
#[allow(clippy::needless_pass_by_value)] // it is what `map_err` gives
pub(crate) fn of_read(error: Error, need: &Need<'_>) -> StepError {
    from(&error, need).effect(Effect::None)
}

/// An upstream's refusal in words: what failed, and what to do.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// Stable and dotted.
    pub(crate) code: String,
    /// What failed, with names and values.
    pub(crate) message: String,
    /// What to do next; empty when nothing helps but trying again.
    pub(crate) remedy: String,
}

impl Refusal {
    /// What an upstream's error means for a call that needs this.
    pub(crate) fn of(error: &Error, need: &Need<'_>) -> Self {
        let refused = from(error, need);
        Self {
            code: refused.code,
            message: refused.message,
            remedy: refused.remedy.unwrap_or_default(),
        }
    }
}

fn from(error: &Error, need: &Need<'_>) -> StepError {
    let system = error.system.replace('-', "_");
    let (word, remedy) = match error.kind {
        Kind::Denied if error.is_unauthenticated() => (
            "unauthorized",
            Some(format!(
                "put a valid token into {} and start again",
                variable(need.credential)
            )),
        ),
        Kind::Denied => ("missing_scope", Some(need.fix.to_owned())),
        Kind::NotFound => ("not_found", Some(need.fix.to_owned())),
        Kind::Conflict => ("conflict", None),
        Kind::Unavailable => (
            "unavailable",
            Some(format!(
                "look whether {} is up, then call again",
                error.system
            )),
        ),
        Kind::Invalid => (
            "invalid",
            Some("correct what the message names, then call again".to_owned()),
        ),
        Kind::Unexpected if error.is_redirect() => (
            "renamed",
            Some("the repository was renamed or moved; call with its present name".to_owned()),
        ),
        Kind::Unexpected => ("unexpected", None),
    };
    let mut message = error.to_string();
    match error.kind {
        Kind::Denied if error.is_unauthenticated() => {
            message.push_str(&format!("; {} is not accepted", need.credential));
        }
        // GitHub answers 404 where a right is missing, so that nobody learns what is there.
        Kind::Denied | Kind::NotFound => {
            message.push_str(&format!("; {} needs {}", need.credential, need.right))
        }
        Kind::Conflict | Kind::Unavailable | Kind::Invalid | Kind::Unexpected => {}
    }
    StepError {
        remedy,
        retryable: error.is_retryable(),
        retry_after_ms: error
            .retry_after
            .and_then(|wait: Duration| u64::try_from(wait.as_millis()).ok()),
        ..StepError::refused(&format!("{system}.{word}"), message)
    }
}

/// The variable's name out of "environment variable X" and the like.
fn variable(credential: &str) -> &str {
    credential
        .strip_prefix("environment variable ")
        .unwrap_or(credential)
}

/// How a credential is named in messages.
pub(crate) fn named(origin: &Origin) -> String {
    origin.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need<'_> = Need {
        credential: "environment variable GITHUB_PAT",
        right: "the scope `repo`",
        fix: "grant it with `gh auth refresh -h github.com -s repo`",
    };

    #[test]
    fn a_missing_right_names_variable_system_right_and_fix() {
        let error = of_create(
            Error::from_status("github", "create repository acme/shop", 404, "Not Found"),
            &NEED,
        );
        for part in ["github", "GITHUB_PAT", "`repo`"] {
            assert!(error.message.contains(part), "{}", error.message);
        }
        assert!(error.remedy.unwrap().contains("gh auth refresh"));
        assert_eq!(error.effect, Effect::None);
    }

    #[test]
    fn a_lost_reply_may_have_acted_and_a_taken_name_leads_to_a_look() {
        assert_eq!(
            of_create(Error::from_status("github", "x", 502, ""), &NEED).effect,
            Effect::Possible
        );
        assert_eq!(
            of_create(Error::from_status("gitea", "x", 409, ""), &NEED).effect,
            Effect::Taken
        );
    }
}
