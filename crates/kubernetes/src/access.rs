//! What the credential may do, and what it may read for the configuration.

use base64::Engine as _;
use forgeline_upstream::{Error, Kind, Reach};
use http::Method;
use serde_json::{Value, json};

use crate::client::Kubernetes;
use crate::namespace::segment;

/// A right to ask about: SelfSubjectAccessReview in all namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Review {
    /// For example `create`.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// For example `namespaces`.
    pub resource: &'static str,
}

impl std::fmt::Display for Review {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

impl Kubernetes {
    /// The server's version, for example `v1.33.0`. Needs a token that the server accepts, no right.
    ///
    /// # Errors
    /// As every read.
    pub async fn version(&self) -> Result<String, Error> {
        let body = self
            .send("tell its version", Method::GET, "/version", None)
            .await?;
        Ok(body["gitVersion"].as_str().unwrap_or("unknown").to_owned())
    }

    /// Whether the credential may do this; `name` narrows it to one object. Changes nothing.
    ///
    /// # Errors
    /// As every read.
    pub async fn may(&self, review: &Review, name: Option<&str>) -> Result<bool, Error> {
        let operation = format!("tell whether we may {review}");
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "verb": review.verb, "group": review.group, "resource": review.resource, "name": name.unwrap_or_default(),
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = self
            .send(
                &operation,
                Method::POST,
                path,
                Some(("application/json", &body)),
            )
            .await?;
        answer["status"]["allowed"].as_bool().ok_or_else(|| {
            let message = "the answer has no status.allowed";
            Error::new(
                "kubernetes",
                &operation,
                Kind::Unexpected,
                Reach::Refused,
                message,
            )
        })
    }

    /// One key of a Secret.
    ///
    /// # Errors
    /// As every read; never with a value in it.
    pub async fn secret_key(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<SecretKey, Error> {
        let operation = format!("read Secret {name} in namespace {namespace}");
        let path = format!(
            "/api/v1/namespaces/{}/secrets/{}",
            segment(namespace)?,
            segment(name)?
        );
        let body = match self.send(&operation, Method::GET, &path, None).await {
            Ok(body) => body,
            Err(error) if error.kind == Kind::NotFound => return Ok(SecretKey::NoSecret),
            Err(error) => return Err(error),
        };
        let Some(encoded) = body["data"].get(key).and_then(Value::as_str) else {
            let keys = body["data"].as_object().into_iter().flatten();
            return Ok(SecretKey::NoKey(keys.map(|(key, _)| key.clone()).collect()));
        };
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
        let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.map_or(SecretKey::NoText, SecretKey::Text))
    }
}

/// What a key of a Secret holds.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretKey {
    /// A text, maybe an empty one.
    Text(String),
    /// Bytes that are no text.
    NoText,
    /// The Secret has other keys.
    NoKey(Vec<String>),
    /// There is no such Secret, or it is not visible to us.
    NoSecret,
}
