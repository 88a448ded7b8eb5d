//! The header of a JWT, judged before any key is looked up: what the library behind it does not look at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::strict_json::strict_json;

/// Members that bring a key, another meaning of the payload, or a duty that we do not know (RFC 7515 section 4.1).
const REFUSED: [&str; 9] = [
    "crit", "b64", "zip", "enc", "jku", "jwk", "x5u", "x5c", "cty",
];
const LONGEST_KID: usize = 128;

/// The header's `kid`, when everything in it may be.
pub(super) fn kid(token: &str) -> Result<String, &'static str> {
    let mut parts = token.split('.');
    let head = parts.next().unwrap_or_default();
    if parts.clone().count() != 2 {
        return Err("not three parts");
    }
    if parts.any(str::is_empty) || head.is_empty() {
        return Err("an empty part");
    }
    let bytes = URL_SAFE_NO_PAD
        .decode(head)
        .map_err(|_| "header is no base64url")?;
    let header = strict_json(&bytes).map_err(|_| "header is no JSON")?;
    let Value::Object(header) = header else {
        return Err("header is no object");
    };
    if header.keys().any(|name| REFUSED.contains(&name.as_str())) {
        return Err("header member that is not allowed");
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) => {
            let typ = typ.to_ascii_lowercase();
            if !matches!(typ.as_str(), "jwt" | "at+jwt" | "application/at+jwt") {
                return Err("typ is not of an access token");
            }
        }
        Some(_) => return Err("typ is no text"),
    }
    match header.get("kid") {
        Some(Value::String(kid)) if !kid.is_empty() && kid.len() <= LONGEST_KID => Ok(kid.clone()),
        Some(Value::String(_)) => Err("kid empty or too long"),
        Some(_) => Err("kid is no text"),
        None => Err("no kid"),
    }
}
