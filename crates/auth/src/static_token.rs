//! A bearer that is configured: compared by digest, in constant time, and as its file has it now.

use forgeline_upstream::{TokenError, TokenFault, TokenHandle};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::caller::Caller;

/// The least length of a static bearer, in bytes.
pub const MIN_LENGTH: usize = 32;

/// A static bearer and whose it is.
#[derive(Clone)]
pub struct StaticToken {
    token: TokenHandle,
    caller: Caller,
}

impl StaticToken {
    /// Takes a token for a caller. What its file holds later counts at once; while that is no token or shorter than
    /// [`MIN_LENGTH`], nobody is this caller: that is how a bearer is taken back.
    ///
    /// # Errors
    /// The token is shorter than [`MIN_LENGTH`].
    pub fn new(token: TokenHandle, caller: Caller) -> Result<Self, TokenError> {
        if token.current().expose().len() < MIN_LENGTH {
            return Err(TokenError {
                origin: token.origin().clone(),
                fault: TokenFault::TooShort,
            });
        }
        Ok(Self { token, caller })
    }

    pub(crate) fn matches(&self, presented: &[u8; 32]) -> bool {
        let token = self.token.current();
        let same: bool = digest(token.expose()).ct_eq(presented).into();
        same && token.expose().len() >= MIN_LENGTH && self.token.state().trouble.is_none()
    }

    /// The token, for checks of the configuration.
    pub fn token(&self) -> &TokenHandle {
        &self.token
    }

    /// Whose it is.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Whose bearer this is. All of them are compared, so that the time tells nothing.
pub(crate) fn owner<'a>(tokens: &'a [StaticToken], presented: &str) -> Option<&'a Caller> {
    let presented = digest(presented);
    let mut found = None;
    for known in tokens {
        if known.matches(&presented) {
            found = found.or(Some(known.caller()));
        }
    }
    found
}

impl std::fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticToken")
            .field("caller", &self.caller.name)
            .finish_non_exhaustive()
    }
}

pub(crate) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use forgeline_upstream::{Origin, Token};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn token(text: &str) -> TokenHandle {
        let origin = Origin::variable("FORGELINE_STATIC_TOKEN");
        TokenHandle::fixed(Token::new(text, origin).unwrap())
    }

    #[test]
    fn only_the_exact_bearer_is_known() {
        let known = [StaticToken::new(token(SECRET), Caller::local("x")).unwrap()];
        assert_eq!(owner(&known, SECRET).unwrap().name, "local:x");
        let last = &SECRET[..SECRET.len() - 1];
        for wrong in [
            last,
            &format!("{SECRET}0"),
            &SECRET.to_uppercase(),
            &SECRET[..8],
        ] {
            assert!(owner(&known, wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_short_bearer_is_refused_at_start() {
        let error = StaticToken::new(token("short"), Caller::local("x")).unwrap_err();
        assert_eq!(error.fault, TokenFault::TooShort);
    }
}
