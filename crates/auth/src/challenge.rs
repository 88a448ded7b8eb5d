//! What an unknown or too weak caller is told: RFC 6750 challenges as MCP's authorization specification wants them, and
//! the metadata of RFC 9728 that they point to.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use url::Url;

use crate::caller::{Scope, words};

/// This server as an OAuth resource. All of it comes from the configuration, never from a request.
#[derive(Clone, Debug)]
pub struct Resource {
    url: String,
    metadata_url: String,
    issuer: Option<String>,
    asked: String,
}

impl Resource {
    /// The resource at `url` (for example `https://forgeline.example.org/mcp`). `issuer`: who makes tokens for it; `None`:
    /// nobody does. `asked`: the scopes that a client without a token is told to ask for.
    pub fn new(url: &Url, issuer: Option<&str>, asked: &BTreeSet<Scope>) -> Self {
        let mut metadata = url.clone();
        let path = url.path().trim_end_matches('/').to_owned();
        metadata.set_path(&format!("/.well-known/oauth-protected-resource{path}"));
        metadata.set_query(None);
        Self {
            url: url.as_str().trim_end_matches('/').to_owned(),
            metadata_url: metadata.to_string(),
            issuer: issuer.map(str::to_owned),
            asked: words(asked),
        }
    }

    /// The canonical address of this resource.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path of its metadata, also where the resource has another one than `/mcp`.
    pub fn metadata_path(&self) -> &str {
        let after = self
            .metadata_url
            .split_once("://")
            .map_or("", |(_, rest)| rest);
        after.find('/').map_or("/", |at| &after[at..])
    }

    /// The document of RFC 9728 section 2.
    pub fn metadata(&self) -> Value {
        let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        let mut document = json!({
            "resource": self.url, "resource_name": "forgeline", "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
        });
        if let Some(issuer) = &self.issuer {
            document["authorization_servers"] = json!([issuer]);
        }
        document
    }

    /// For 401. `presented`: the request carried something (RFC 6750 section 3.1).
    pub(crate) fn unauthorized(&self, presented: bool) -> String {
        let error = match presented {
            true => "error=\"invalid_token\", ",
            false => "",
        };
        format!(
            "Bearer {error}scope=\"{}\", resource_metadata=\"{}\"",
            self.asked, self.metadata_url
        )
    }

    /// For 403: every scope at once, also those that the caller has, so that a new token loses none.
    pub(crate) fn insufficient(&self, had: &BTreeSet<Scope>, needed: Scope) -> String {
        let mut all = had.clone();
        all.insert(needed);
        format!(
            "Bearer error=\"insufficient_scope\", scope=\"{}\", resource_metadata=\"{}\"",
            words(&all),
            self.metadata_url
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_stands_where_rfc_9728_says() {
        let at = |text: &str| {
            let url = Url::parse(text).unwrap();
            Resource::new(
                &url,
                Some("https://id.example.org"),
                &BTreeSet::from([Scope::Read]),
            )
        };
        let resource = at("https://h.example.org/mcp");
        assert_eq!(
            resource.unauthorized(false),
            "Bearer scope=\"forgeline:read\", resource_metadata=\"https://h.example.org/.well-known/oauth-protected-resource/mcp\""
        );
        assert_eq!(resource.metadata()["resource"], "https://h.example.org/mcp");
        assert_eq!(
            resource.metadata()["authorization_servers"],
            json!(["https://id.example.org"])
        );
        assert_eq!(at("https://h.example.org/").url(), "https://h.example.org");
        let had = BTreeSet::from([Scope::Read]);
        assert!(
            resource
                .insufficient(&had, Scope::Delete)
                .contains("scope=\"forgeline:read forgeline:delete\"")
        );
    }
}
