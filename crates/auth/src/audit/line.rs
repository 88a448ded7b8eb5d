//! One line: its text and its hash.

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Entry;
use crate::project_token::hex;

/// What stands before the first line.
pub(super) const BEGINNING: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";
const DOMAIN: &str = "forgeline-audit-v1";
/// Texts are cut to this many characters; what does not fit is told by its last one.
const LONGEST: usize = 400;

#[derive(Deserialize, Serialize)]
pub(super) struct Line {
    pub(super) v: u32,
    pub(super) seq: u64,
    pub(super) prev: String,
    pub(super) ts: String,
    pub(super) id: String,
    pub(super) phase: String,
    pub(super) actor: String,
    pub(super) via: String,
    pub(super) client: String,
    pub(super) tool: String,
    pub(super) target: String,
    pub(super) args: String,
    pub(super) decision: String,
    pub(super) reason: String,
}

impl Line {
    pub(super) fn of(entry: &Entry, seq: u64, prev: &str) -> Self {
        Self {
            v: 1,
            seq,
            prev: prev.to_owned(),
            ts: format!("{:.3}", jiff::Timestamp::now()),
            id: cut(&entry.id),
            phase: entry.phase.as_str().to_owned(),
            actor: cut(&entry.actor),
            via: cut(&entry.via),
            client: cut(&entry.client),
            tool: cut(&entry.tool),
            target: cut(&entry.target),
            args: cut(&entry.args),
            decision: cut(&entry.decision),
            reason: cut(&entry.reason),
        }
    }

    /// The text without the hash, in ASCII and on one line.
    pub(super) fn text(&self) -> String {
        ascii(&serde_json::to_string(self).unwrap_or_default())
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let kept = text.chars().take(LONGEST - 1);
    kept.chain("\u{2026}".chars()).collect()
}

/// JSON with every character beyond printable ASCII escaped: no reader breaks lines at them, no terminal obeys them.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// The text with its hash as the last member.
pub(super) fn with_hash(text: &str, hash: &str) -> String {
    format!(
        "{},\"hash\":\"{hash}\"}}",
        text.strip_suffix('}').unwrap_or(text)
    )
}

/// A line's text without its hash, and the hash. `None`: it has no such form.
pub(super) fn without_hash(line: &str) -> Option<(String, &str)> {
    let (text, rest) = line.rsplit_once(",\"hash\":\"")?;
    let hash = rest.strip_suffix("\"}")?;
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (hash.len() == 64 && hash.bytes().all(plain)).then(|| (format!("{text}}}"), hash))
}

pub(super) fn hash(key: Option<&[u8]>, prev: &str, text: &str) -> String {
    let whole = format!("{DOMAIN}\n{prev}\n{text}");
    match key {
        None => hex(&Sha256::digest(whole.as_bytes())),
        Some(key) => keyed(key, whole.as_bytes()),
    }
}

/// HMAC-SHA256 in hexadecimal.
pub(crate) fn keyed(key: &[u8], message: &[u8]) -> String {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(message);
            hex(&mac.finalize().into_bytes())
        }
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Phase;
    use super::*;

    #[test]
    fn whatever_a_caller_sends_is_one_line_of_ascii() {
        let entry = Entry {
            tool: "a\nb\r\u{1b}[31m\u{2028}\u{85}\u{202e}\u{1f600}\u{7f}\",\"hash\":\"x".into(),
            ..Entry::of(Phase::Deny, "oidc:x\n{}")
        };
        let text = Line::of(&entry, 1, BEGINNING).text();
        assert!(
            text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{text}"
        );
        let read: Line = serde_json::from_str(&text).unwrap();
        assert_eq!((read.tool, read.actor), (entry.tool, entry.actor));
        let hash = hash(None, BEGINNING, &text);
        let whole = with_hash(&text, &hash);
        assert_eq!(without_hash(&whole).unwrap(), (text, hash.as_str()));
        let long = Entry::of(Phase::Deny, &"a".repeat(5000));
        assert!(Line::of(&long, 1, BEGINNING).actor.chars().count() == LONGEST);
    }
}
