//! What a failed gitea-mcp tool means: the status of Gitea stands only in its text.

use forgeline_upstream::mcp::ToolAnswer;
use forgeline_upstream::{Error, Kind, Reach};

use crate::dialect::Dialect;

/// The value of a tool's answer.
///
/// # Errors
/// The tool said that it failed. A text that is not known may hide a lost reply, so it may have acted.
pub(crate) fn value(
    dialect: &Dialect,
    answer: ToolAnswer,
    operation: &str,
) -> Result<serde_json::Value, Error> {
    if !answer.is_error {
        return Ok(answer
            .value
            .unwrap_or(serde_json::Value::String(answer.text)));
    }
    Err(refusal(dialect, operation, &answer.text))
}

/// What a text of a failed tool, or of a JSON-RPC error of an older server, means.
pub(crate) fn refusal(dialect: &Dialect, operation: &str, text: &str) -> Error {
    let text = without_request(text);
    match dialect.status(text) {
        Some(status) => Error::from_status("gitea-mcp", operation, status, text),
        None => Error::new(
            "gitea-mcp",
            operation,
            Kind::Unavailable,
            Reach::Unknown,
            text,
        ),
    }
}

/// Some versions of Gitea's Go client print the failed request with its headers, the token among them.
fn without_request(text: &str) -> &str {
    let headers = ["' method 'map[", "Authorization:[", "\nRequest: "];
    let end = headers.iter().filter_map(|marker| text.find(marker)).min();
    end.map_or(text, |end| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(operation: &str, text: &str) -> Error {
        let official = Dialect::shipped().into_iter().next().unwrap();
        super::refusal(&official, operation, text)
    }

    #[test]
    fn a_known_refusal_did_not_act_and_an_unknown_text_may_have() {
        let known = refusal(
            "x",
            "create repository 'shop' err: The repository with the same name already exists.",
        );
        assert_eq!((known.kind, known.reach), (Kind::Conflict, Reach::Refused));
        assert_eq!(refusal("x", "unknown API error: 500").reach, Reach::Unknown);
    }

    #[test]
    fn the_headers_of_a_failed_request_never_get_into_an_error() {
        let text = "unknown API Error: 502\nRequest: '/x' with 'POST' method 'map[Authorization:[token s3cret]]' not found";
        let error = refusal("x", text);
        assert_eq!(error.reach, Reach::Unknown);
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
