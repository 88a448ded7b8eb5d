//! Short keyed digests of secrets: they tell two secrets apart, and tell who does not have the key nothing.

use forgeline_upstream::Token;

use crate::audit::keyed;

/// The key under which digests are made. Cheap to clone.
#[derive(Clone)]
pub struct Fingerprints {
    key: Vec<u8>,
}

impl Fingerprints {
    /// Digests under this key; whoever has the same key gets the same ones.
    pub fn new(key: &[u8]) -> Self {
        Self { key: key.to_vec() }
    }

    /// Of a token, with its length in bytes.
    pub fn of_token(&self, token: &Token) -> String {
        let digest = self.of("token", token.expose());
        format!("hmac:{digest} ({} bytes)", token.expose().len())
    }

    /// Of any text; `what` keeps texts of different kinds apart. 12 hexadecimal digits.
    pub fn of(&self, what: &str, text: &str) -> String {
        let message = format!("forgeline-{what}-v1\n{text}");
        keyed(&self.key, message.as_bytes())[..12].to_owned()
    }
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprints(***)")
    }
}
