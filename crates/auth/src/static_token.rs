//! A bearer that is configured: kept as a digest, compared in constant time.

use forgeline_upstream::{Token, TokenError, TokenFault};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::caller::Caller;

/// The least length of a static bearer, in bytes.
pub const MIN_LENGTH: usize = 32;

/// A static bearer and whose it is.
#[derive(Clone)]
pub struct StaticToken {
    digest: [u8; 32],
    caller: Caller,
}

impl StaticToken {
    /// Takes a token for a caller; only its digest is kept.
    ///
    /// # Errors
    /// The token is shorter than [`MIN_LENGTH`].
    pub fn new(token: &Token, caller: Caller) -> Result<Self, TokenError> {
        if token.expose().len() < MIN_LENGTH {
            return Err(TokenError {
                origin: token.origin().clone(),
                fault: TokenFault::TooShort,
            });
        }
        Ok(Self {
            digest: digest(token.expose()),
            caller,
        })
    }

    pub(crate) fn read_only(self) -> Self {
        Self {
            caller: self.caller.read_only(),
            ..self
        }
    }

    pub(crate) fn matches(&self, presented: &[u8; 32]) -> bool {
        self.digest.ct_eq(presented).into()
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
