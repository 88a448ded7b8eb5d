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
    /// Takes a token for a caller. What its file holds later counts within seconds; while that is shorter than
    /// [`MIN_LENGTH`], nobody is this caller.
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

    pub(crate) fn read_only(self) -> Self {
        Self {
            caller: self.caller.read_only(),
            ..self
        }
    }

    pub(crate) fn matches(&self, presented: &[u8; 32]) -> bool {
        let token = self.token.current();
        let same: bool = digest(token.expose()).ct_eq(presented).into();
        same && token.expose().len() >= MIN_LENGTH
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }
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
