//! A token that cannot be empty, printed or serialised.

mod handle;

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

pub use handle::{TokenHandle, TokenState};

/// Where a secret came from; shown in every refusal, so that people know what to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An environment variable.
    Variable(String),
    /// A file, named by an environment variable such as `GITEA_TOKEN_FILE`.
    File {
        /// The variable whose value this is, without `_FILE`.
        variable: String,
        /// The file.
        path: PathBuf,
    },
    /// A place that the configuration file refers to.
    Referred {
        /// What the secret is for, for example `GITEA_TOKEN`.
        name: String,
        /// Where it is, in words.
        place: String,
    },
    /// Made by this process for itself, for example by the embedded sandbox.
    Own(String),
}

impl Origin {
    /// An environment variable.
    pub fn variable(name: &str) -> Self {
        Self::Variable(name.to_owned())
    }

    /// The variable that configures this secret.
    pub fn name(&self) -> &str {
        match self {
            Self::Variable(name)
            | Self::File { variable: name, .. }
            | Self::Referred { name, .. }
            | Self::Own(name) => name,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File { variable, path } => {
                write!(f, "file {} (from {variable}_FILE)", path.display())
            }
            Self::Referred { place, .. } => f.write_str(place),
            Self::Own(name) => write!(f, "{name} (made by this process)"),
        }
    }
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Not set at all.
    Absent,
    /// Set, with nothing in it.
    Empty,
    /// Only white space.
    Blank,
    /// A word that stands for a token, such as `changeme`.
    Placeholder,
    /// A control character, inner white space, or a character that no HTTP header can carry.
    Malformed,
    /// Shorter than its use allows.
    TooShort,
    /// The file that should hold it cannot be read.
    Unreadable,
}

impl TokenFault {
    /// The stable dotted code for answers.
    pub fn code(self) -> &'static str {
        match self {
            Self::Absent => "token.absent",
            Self::Empty => "token.empty",
            Self::Blank => "token.blank",
            Self::Placeholder => "token.placeholder",
            Self::Malformed => "token.malformed",
            Self::TooShort => "token.too_short",
            Self::Unreadable => "token.unreadable",
        }
    }
}

/// A text that was refused as a token. Never holds the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenError {
    /// Where the text came from.
    pub origin: Origin,
    /// What is wrong with it.
    pub fault: TokenFault,
}

impl TokenError {
    /// What to do next.
    pub fn remedy(&self) -> String {
        let name = match &self.origin {
            Origin::Referred { place, .. } => place,
            other => other.name(),
        };
        match self.fault {
            TokenFault::Absent => {
                format!("set {name}, or {name}_FILE to the path of a file that holds it")
            }
            TokenFault::Unreadable => {
                format!(
                    "make the file of {name}_FILE readable, and set only one of {name} and {name}_FILE"
                )
            }
            TokenFault::Empty
            | TokenFault::Blank
            | TokenFault::Placeholder
            | TokenFault::Malformed => {
                format!("put the real token into {name}, without quotes, spaces or line breaks")
            }
            TokenFault::TooShort => format!(
                "put at least 32 random bytes into {name}, for example from `openssl rand -hex 32`"
            ),
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            TokenFault::Absent => "is not set",
            TokenFault::Empty => "is empty",
            TokenFault::Blank => "holds only white space",
            TokenFault::Placeholder => "holds a placeholder, not a token",
            TokenFault::Malformed => {
                "holds white space, a line break or a character that no token has"
            }
            TokenFault::TooShort => "holds a token that is too short",
            TokenFault::Unreadable => "cannot be read",
        };
        write!(f, "{} {what}", self.origin)
    }
}

impl std::error::Error for TokenError {}

/// A secret that was judged when it was made. It has no `Display` and no `Serialize`; `Debug` shows stars.
#[derive(Clone)]
pub struct Token {
    secret: SecretString,
    origin: Origin,
    trimmed: bool,
}

impl Token {
    /// Judges a text. One trailing line break is cut off (see [`Token::was_trimmed`]).
    ///
    /// # Errors
    /// The text is empty, blank, a placeholder, or holds what no token holds.
    pub fn new(text: &str, origin: Origin) -> Result<Self, TokenError> {
        let body = text
            .strip_suffix('\n')
            .map_or(text, |rest| rest.strip_suffix('\r').unwrap_or(rest));
        let fault = if text.is_empty() {
            Some(TokenFault::Empty)
        } else if text.trim().is_empty() {
            Some(TokenFault::Blank)
        } else if !body.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some(TokenFault::Malformed)
        } else if is_placeholder(body) {
            Some(TokenFault::Placeholder)
        } else {
            None
        };
        match fault {
            Some(fault) => Err(TokenError { origin, fault }),
            None => Ok(Self {
                trimmed: body.len() != text.len(),
                secret: SecretString::from(body.to_owned()),
                origin,
            }),
        }
    }

    /// The secret itself. For the one place that puts it into a request.
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A trailing line break was cut off.
    pub fn was_trimmed(&self) -> bool {
        self.trimmed
    }

    /// Whether both are the same secret.
    pub fn is_same(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }

    /// The text with every occurrence of the secret replaced by stars.
    pub fn redact(&self, text: &str) -> String {
        text.replace(self.expose(), "***")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

fn is_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = [
        "changeme",
        "change_me",
        "change-me",
        "todo",
        "replace_me",
        "replaceme",
        "replace-me",
    ];
    let starts = ["---", "xxx", "your-token", "your_token", "yourtoken"];
    words.contains(&lower.as_str())
        || starts.iter().any(|start| lower.starts_with(start))
        || (lower.starts_with('<') && lower.ends_with('>'))
        || (lower.starts_with("${") && lower.ends_with('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<TokenFault> {
        Token::new(text, Origin::variable("GITEA_TOKEN"))
            .err()
            .map(|error| error.fault)
    }

    #[test]
    fn an_empty_token_is_refused_at_construction() {
        assert_eq!(fault(""), Some(TokenFault::Empty));
        assert_eq!(fault(" \t"), Some(TokenFault::Blank));
        assert_eq!(fault("\n"), Some(TokenFault::Blank));
    }

    #[test]
    fn a_placeholder_is_refused_in_any_case() {
        for text in [
            "---",
            "--- your token",
            "changeme",
            "CHANGE_ME",
            "<token>",
            "${TOKEN}",
            "xxxxxxxx",
            "TODO",
            "REPLACE_ME",
            "your-token-here",
        ] {
            let found = fault(text);
            assert!(
                matches!(found, Some(TokenFault::Placeholder | TokenFault::Malformed)),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn inner_white_space_and_control_characters_are_refused() {
        for text in ["a b", "a\nb", "abc\n\n", "abc\0", "t\u{f6}ken", "abc "] {
            assert_eq!(fault(text), Some(TokenFault::Malformed), "{text:?}");
        }
    }

    #[test]
    fn one_trailing_line_break_is_cut_off_and_remembered() {
        let token = Token::new("abc\r\n", Origin::variable("T")).unwrap();
        assert_eq!((token.expose(), token.was_trimmed()), ("abc", true));
    }

    #[test]
    fn a_token_shows_only_stars() {
        let token = Token::new("s3cret", Origin::variable("T")).unwrap();
        assert_eq!(
            format!("{token:?} {:?}", TokenHandle::fixed(token.clone())),
            "Token(***) TokenHandle(***)"
        );
        assert_eq!(token.redact("bad token s3cret!"), "bad token ***!");
    }
}
