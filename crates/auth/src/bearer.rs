//! The bearer of a request: exactly one header `Authorization: Bearer TOKEN` (RFC 6750 section 2.1), never the query.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};

/// The longest token that is looked at, in bytes.
pub(crate) const LONGEST: usize = 8192;

/// What a request carries.
#[derive(PartialEq, Eq)]
pub(crate) enum Presented<'a> {
    /// No header.
    Nothing,
    /// A header that is no bearer; why, for the audit.
    Unusable(&'static str),
    /// More than one credential: whoever reads the other one would see another caller.
    Ambiguous(&'static str),
    /// One token.
    Token(&'a str),
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Unusable(why) | Self::Ambiguous(why) => f.write_str(why),
            Self::Token(_) => f.write_str("Token(***)"),
        }
    }
}

pub(crate) fn presented<'a>(headers: &'a HeaderMap, uri: &Uri) -> Presented<'a> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return match in_query(uri) {
            true => Presented::Unusable("token in the query"),
            false => Presented::Nothing,
        };
    };
    if values.next().is_some() {
        return Presented::Ambiguous("two Authorization headers");
    }
    if in_query(uri) {
        return Presented::Ambiguous("a token in the header and one in the query");
    }
    let Ok(text) = value.to_str() else {
        return Presented::Unusable("header is not text");
    };
    let Some((scheme, token)) = text.split_once(' ') else {
        return Presented::Unusable("no token in the header");
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Presented::Unusable("not the scheme Bearer");
    }
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Presented::Unusable("no token in the header");
    }
    if token.len() > LONGEST {
        return Presented::Unusable("token too long");
    }
    Presented::Token(token)
}

fn in_query(uri: &Uri) -> bool {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut names = pairs.map(|pair| pair.split('=').next().unwrap_or_default());
    names.any(|name| matches!(name, "access_token" | "token"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str], uri: &'static str) -> Presented<'static> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        presented(Box::leak(Box::new(headers)), &Uri::from_static(uri))
    }

    #[test]
    fn only_one_header_with_one_bearer_counts() {
        assert_eq!(of(&[], "/mcp"), Presented::Nothing);
        for value in ["Bearer abc", "bearer abc", "BEARER abc"] {
            assert_eq!(of(&[value], "/mcp"), Presented::Token("abc"));
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  abc",
            "Bearer\tabc",
            "Bearer abc ",
            "Bearer a, Bearer b",
            "Basic abc",
        ] {
            let found = of(&[value], "/mcp");
            assert!(
                matches!(found, Presented::Unusable(_)),
                "{value}: {found:?}"
            );
        }
        let long = format!("Bearer {}", "a".repeat(LONGEST + 1));
        assert!(matches!(of(&[&long], "/mcp"), Presented::Unusable(_)));
    }

    #[test]
    fn two_credentials_are_ambiguous_and_one_in_the_query_is_none() {
        let two = of(&["Bearer a", "Bearer b"], "/mcp");
        assert!(matches!(two, Presented::Ambiguous(_)), "{two:?}");
        let both = of(&["Bearer a"], "/mcp?x=1&access_token=b");
        assert!(matches!(both, Presented::Ambiguous(_)), "{both:?}");
        let query = of(&[], "/mcp?token=a");
        assert!(matches!(query, Presented::Unusable(_)), "{query:?}");
    }
}
