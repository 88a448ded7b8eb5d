//! The keys of an issuer, from its JWKS (RFC 7517): only those that may verify signatures.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// More keys than this make no set that is taken.
const MOST: usize = 64;
/// The shortest RSA modulus, in bits.
const SHORTEST_RSA: usize = 2048;

/// A key and the one algorithm that it is used with.
pub(super) struct Key {
    pub(super) key: DecodingKey,
    pub(super) algorithm: Algorithm,
}

/// By `kid`.
pub(super) type Keys = HashMap<String, Key>;

/// Reads a set. Keys that cannot verify are left out; two keys with one `kid` are both left out.
///
/// # Errors
/// It is no set, holds too many keys, or none that can be used.
pub(super) fn read(set: &Value) -> Result<Keys, String> {
    let all = set["keys"].as_array().ok_or("it has no list `keys`")?;
    if all.len() > MOST {
        return Err(format!("it holds {} keys, more than {MOST}", all.len()));
    }
    let mut keys = Keys::new();
    let mut twice = Vec::new();
    for jwk in all {
        let Some(kid) = jwk["kid"].as_str() else {
            continue;
        };
        if twice.iter().any(|seen| seen == kid) {
            keys.remove(kid);
        }
        twice.push(kid.to_owned());
        if let Some(key) = key(jwk)
            && twice.iter().filter(|seen| *seen == kid).count() == 1
        {
            keys.insert(kid.to_owned(), key);
        }
    }
    if keys.is_empty() {
        return Err("it holds no key that can verify signatures".to_owned());
    }
    Ok(keys)
}

fn key(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk[name].as_str();
    if !matches!(text("use"), None | Some("sig")) || !jwk["d"].is_null() {
        return None;
    }
    if let Some(operations) = jwk["key_ops"].as_array()
        && !operations.iter().any(|operation| operation == "verify")
    {
        return None;
    }
    let (key, fitting): (DecodingKey, &[&str]) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (n, e) = (text("n")?, text("e")?);
            let modulus = URL_SAFE_NO_PAD.decode(n).ok()?;
            let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
            if (modulus.len() - zeros) * 8 < SHORTEST_RSA {
                return None;
            }
            let key = DecodingKey::from_rsa_components(n, e).ok()?;
            (key, &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
        }
        ("EC", Some("P-256")) => (
            DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?,
            &["ES256"],
        ),
        ("EC", Some("P-384")) => (
            DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?,
            &["ES384"],
        ),
        ("OKP", Some("Ed25519")) => (
            DecodingKey::from_ed_components(text("x")?).ok()?,
            &["EdDSA"],
        ),
        _ => return None,
    };
    // Without a word of its own a key has one algorithm, the first: the token never chooses.
    let word = text("alg").unwrap_or(fitting[0]);
    let algorithm = fitting
        .contains(&word)
        .then(|| word.parse().ok())
        .flatten()?;
    Some(Key { key, algorithm })
}
