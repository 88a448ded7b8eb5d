//! Checkpoints: how many lines there are and the hash of the last one, in the form of a C2SP signed note.
//!
//! ```text
//! forgeline-audit-v1
//! 100
//! 5f2c…
//! 2026-11-21T10:00:00Z
//!
//! — forgeline BASE64
//!
//! ```

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::project_token::hex;

const ORIGIN: &str = "forgeline-audit-v1";

/// Signs checkpoints (Ed25519).
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Takes the 32 bytes of a private key, in hexadecimal.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_hex(text: &str) -> Result<Self, &'static str> {
        let bytes = unhex(text).filter(|bytes| bytes.len() == 32);
        let bytes = bytes
            .ok_or("must be 64 hexadecimal digits, for example from `openssl rand -hex 32`")?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&bytes);
        pair.map(Self).map_err(|_| "is no Ed25519 key")
    }

    /// What signatures are verified with, in hexadecimal.
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }
}

/// Reads a public key, as [`SigningKey::public`] writes it. `None`: it is none.
pub fn public_key(text: &str) -> Option<Vec<u8>> {
    unhex(text.trim()).filter(|bytes| bytes.len() == 32)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs = digits.chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) count: u64,
    pub(super) head: String,
    pub(super) at: String,
}

impl Checkpoint {
    fn body(&self) -> String {
        format!("{ORIGIN}\n{}\n{}\n{}\n", self.count, self.head, self.at)
    }

    /// As it is written, with an empty line at its end.
    pub(super) fn text(&self, key: Option<&SigningKey>) -> String {
        let body = self.body();
        let signature = key.map_or_else(
            || "unsigned".to_owned(),
            |key| STANDARD.encode(key.0.sign(body.as_bytes())),
        );
        format!("{body}\n\u{2014} forgeline {signature}\n\n")
    }
}

/// Reads a file of checkpoints. What is no whole one (a crash may leave a part) is passed over. With a public key every one
/// from the first signed one on must be signed with its private key.
///
/// # Errors
/// What is wrong, and with which checkpoint.
pub(super) fn read(text: &str, public: Option<&[u8]>) -> Result<Vec<Checkpoint>, String> {
    let (mut all, mut signed_before) = (Vec::new(), false);
    for (at, _) in text.match_indices(ORIGIN) {
        let lines: Vec<&str> = text[at..].lines().take(7).collect();
        let Some((checkpoint, signature)) = whole(&lines) else {
            continue;
        };
        let number = all.len() + 1;
        let bad = |why: &str| format!("checkpoint {number} {why}");
        if let Some(public) = public {
            let unsigned = signature == "unsigned";
            if unsigned && signed_before {
                return Err(bad("is not signed, and one before it is"));
            }
            let key = UnparsedPublicKey::new(&ED25519, public);
            let bytes = STANDARD.decode(signature).ok();
            let body = checkpoint.body();
            let good = bytes.is_some_and(|it| key.verify(body.as_bytes(), &it).is_ok());
            if !unsigned && !good {
                return Err(bad("is not signed with that key"));
            }
            signed_before |= good;
        }
        all.push(checkpoint);
    }
    if public.is_some() && !signed_before && !all.is_empty() {
        return Err("no checkpoint is signed with that key".to_owned());
    }
    Ok(all)
}

/// A checkpoint that begins with the first of these lines, and its signature. `None`: none does.
fn whole<'a>(lines: &[&'a str]) -> Option<(Checkpoint, &'a str)> {
    let [origin, count, head, at, empty, signed, end] = lines else {
        return None;
    };
    let form = *origin == ORIGIN && empty.is_empty() && end.is_empty() && head.len() == 64;
    let checkpoint = Checkpoint {
        count: count.parse().ok().filter(|_| form)?,
        head: (*head).to_owned(),
        at: (*at).to_owned(),
    };
    Some((checkpoint, signed.strip_prefix("\u{2014} forgeline ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_back_and_its_signature_holds_for_it_alone() {
        let key = SigningKey::from_hex(&"07".repeat(32)).unwrap();
        let public = public_key(&key.public()).unwrap();
        let checkpoint = Checkpoint {
            count: 7,
            head: "ab".repeat(32),
            at: "2026-11-21T10:00:00Z".into(),
        };
        let text = checkpoint.text(Some(&key));
        assert_eq!(
            read(&text, Some(&public)).unwrap(),
            std::slice::from_ref(&checkpoint)
        );
        assert!(read(&text.replace("\n7\n", "\n8\n"), Some(&public)).is_err());
        assert!(read(&checkpoint.text(None), Some(&public)).is_err());
        assert_eq!(read(&checkpoint.text(None), None).unwrap().len(), 1);
        let torn = format!("{}{text}", &text[..text.len() - 60]);
        assert_eq!(read(&torn, Some(&public)).unwrap().len(), 1);
        let unsigned_after = format!("{text}{}", checkpoint.text(None));
        assert!(read(&unsigned_after, Some(&public)).is_err());
        let unsigned_before = format!("{}{text}", checkpoint.text(None));
        assert_eq!(read(&unsigned_before, Some(&public)).unwrap().len(), 2);
        assert!(SigningKey::from_hex("07").is_err());
    }
}
