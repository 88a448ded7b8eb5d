//! What the token is and whose: one request tells most of it.

use std::fmt;

use forgeline_upstream::{Error, Kind};
use http::{HeaderMap, Method};
use jiff::Timestamp;

use crate::client::GitHub;

/// The kinds of tokens that GitHub gives out, by prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// `ghp_`: scopes are told with every answer.
    Classic,
    /// `github_pat_`: bound to one owner; rights are not told.
    FineGrained,
    /// `gho_`: of an OAuth App, as `gh auth login` makes.
    Oauth,
    /// `ghu_`: of a user through a GitHub App.
    User,
    /// `ghs_`: of an installation; lasts an hour.
    Installation,
    /// Anything else, for example of another server.
    Unknown,
}

impl TokenKind {
    fn of(token: &str) -> Self {
        let kinds = [
            ("ghp_", Self::Classic),
            ("github_pat_", Self::FineGrained),
            ("gho_", Self::Oauth),
            ("ghu_", Self::User),
            ("ghs_", Self::Installation),
        ];
        let found = kinds.iter().find(|(prefix, _)| token.starts_with(prefix));
        found.map_or(Self::Unknown, |(_, kind)| *kind)
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "a classic token",
            Self::FineGrained => "a fine-grained token",
            Self::Oauth => "an OAuth token",
            Self::User => "a user token of a GitHub App",
            Self::Installation => "an installation token of a GitHub App",
            Self::Unknown => "a token of unknown kind",
        })
    }
}

/// What GitHub says of the token.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user behind it.
    pub login: String,
    /// Its kind.
    pub kind: TokenKind,
    /// Its scopes. `None`: GitHub does not tell them for this kind.
    pub scopes: Option<Vec<String>>,
    /// When it expires. `None`: not said.
    pub expires_at: Option<Timestamp>,
    /// Requests left this hour. `None`: not said.
    pub remaining: Option<u64>,
    /// The server's clock. `None`: not said.
    pub clock: Option<Timestamp>,
}

impl GitHub {
    /// The account behind the token.
    ///
    /// # Errors
    /// As every read; 401 when the token is not accepted.
    pub async fn account(&self) -> Result<Account, Error> {
        let reply = self
            .send("tell who we are", Method::GET, "/user", None)
            .await?;
        let headers = &reply.headers;
        Ok(Account {
            login: reply.body["login"].as_str().unwrap_or_default().to_owned(),
            kind: TokenKind::of(self.token().current().expose()),
            scopes: scopes(headers),
            expires_at: text(headers, "github-authentication-token-expiration").and_then(expiry),
            remaining: text(headers, "x-ratelimit-remaining").and_then(|left| left.parse().ok()),
            clock: text(headers, "date")
                .and_then(|date| Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp())),
        })
    }

    /// Whether there is a user or an organisation of this name.
    ///
    /// # Errors
    /// As every read.
    pub async fn owner_exists(&self, owner: &str) -> Result<bool, Error> {
        let operation = format!("read the owner {owner}");
        match self
            .send(&operation, Method::GET, &format!("/users/{owner}"), None)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.kind == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Absent, and empty for kinds that have none.
fn scopes(headers: &HeaderMap) -> Option<Vec<String>> {
    let told = text(headers, "x-oauth-scopes")?;
    let scopes = told.split(',').map(str::trim);
    Some(
        scopes
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

/// `2026-12-01 10:00:00 UTC`, or with an offset.
fn expiry(text: &str) -> Option<Timestamp> {
    let plain = text
        .trim()
        .replace(" UTC", "Z")
        .replacen(' ', "T", 1)
        .replace(' ', "");
    plain.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_prefix() {
        assert_eq!(TokenKind::of("ghp_abc"), TokenKind::Classic);
        assert_eq!(TokenKind::of("github_pat_abc"), TokenKind::FineGrained);
        assert_eq!(TokenKind::of("sandbox"), TokenKind::Unknown);
    }

    #[test]
    fn both_forms_of_expiry_are_read() {
        let wanted: Timestamp = "2026-12-01T10:00:00Z".parse().unwrap();
        assert_eq!(expiry("2026-12-01 10:00:00 UTC"), Some(wanted));
        assert_eq!(expiry("2026-12-01 11:00:00 +0100"), Some(wanted));
    }
}
