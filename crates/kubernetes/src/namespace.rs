//! The namespace: read, create, delete with preconditions; and server-side apply of what stands in it.

use std::collections::BTreeMap;
use std::time::Duration;

use forgeline_upstream::{Error, Kind, Reach};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Kubernetes;
use crate::manifest::{self, MANAGER};

/// A namespace as the API server answers it; only what we use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Never used again, unlike the name.
    pub uid: String,
    /// Changes with each change of the Namespace object itself (not of its contents).
    pub resource_version: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The run that made it, from our annotation. `None`: not made by us.
    pub run_id: Option<String>,
    /// The project it belongs to, from our annotation.
    pub project: Option<String>,
    /// When a throwaway ends, from our annotation.
    pub expires_at: Option<Timestamp>,
    /// It is going away.
    pub terminating: bool,
    /// Why it cannot go away, from its conditions; empty when nothing is said.
    pub blocked_by: Vec<String>,
}

/// How a deletion ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// It is still going away; the texts say what holds it up.
    Terminating(Vec<String>),
}

#[derive(Deserialize)]
struct Raw {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    uid: String,
    #[serde(default)]
    resource_version: String,
    creation_timestamp: Timestamp,
    deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    message: String,
}

impl From<Raw> for Namespace {
    fn from(raw: Raw) -> Self {
        let holds = raw
            .status
            .conditions
            .into_iter()
            .filter(|condition| condition.status == "True");
        Self {
            run_id: raw.metadata.annotations.get(manifest::RUN_ID).cloned(),
            project: raw.metadata.annotations.get(manifest::PROJECT).cloned(),
            expires_at: raw
                .metadata
                .annotations
                .get(manifest::EXPIRES_AT)
                .and_then(|at| at.parse().ok()),
            name: raw.metadata.name,
            uid: raw.metadata.uid,
            resource_version: raw.metadata.resource_version,
            created_at: raw.metadata.creation_timestamp,
            terminating: raw.metadata.deletion_timestamp.is_some(),
            blocked_by: holds
                .map(|condition| format!("{}: {}", condition.kind, condition.message))
                .collect(),
        }
    }
}

impl Kubernetes {
    /// The namespace of this name. `None`: there is none.
    ///
    /// # Errors
    /// As every read.
    pub async fn namespace(&self, name: &str) -> Result<Option<Namespace>, Error> {
        let operation = format!("read namespace {name}");
        match self
            .send(
                &operation,
                Method::GET,
                &format!("/api/v1/namespaces/{}", segment(name)?),
                None,
            )
            .await
        {
            Ok(body) => read(&operation, body).map(Some),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All namespaces of the cluster.
    ///
    /// # Errors
    /// As every read.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>, Error> {
        let operation = "list the namespaces";
        let mut all = Vec::new();
        let mut from = String::new();
        loop {
            let path = format!("/api/v1/namespaces?limit=500{from}");
            let mut body = self.send(operation, Method::GET, &path, None).await?;
            let items = body["items"].take();
            for item in items.as_array().cloned().unwrap_or_default() {
                all.push(read(operation, item)?);
            }
            match body["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => {
                    // base64 for use in addresses (API concepts, "Retrieving large results sets in chunks").
                    from = format!("&continue={next}");
                }
                _ => return Ok(all),
            }
        }
    }

    /// Sets when a throwaway's namespace ends, on exactly this namespace.
    ///
    /// # Errors
    /// As every write; [`Kind::Conflict`] when the uid is another one.
    pub async fn set_expiry(&self, name: &str, uid: &str, at: Timestamp) -> Result<(), Error> {
        let operation = format!("prolong namespace {name}");
        let path = format!(
            "/api/v1/namespaces/{}?fieldManager={MANAGER}",
            segment(name)?
        );
        // A uid in a patch is a precondition (API concepts, "Object names and IDs").
        let body = json!({"metadata": {"uid": uid, "annotations": {manifest::EXPIRES_AT: format!("{at:.0}")}}});
        let patch = Some(("application/merge-patch+json", &body));
        self.send(&operation, Method::PATCH, &path, patch)
            .await
            .map(drop)
    }

    /// Creates the namespace with a POST, which proves authorship; see [`manifest::namespace`].
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the name is taken, [`Kind::Unavailable`] while a former one is going away.
    pub async fn create_namespace(&self, manifest: &Value) -> Result<Namespace, Error> {
        let operation = format!(
            "create namespace {}",
            manifest["metadata"]["name"].as_str().unwrap_or_default()
        );
        let path = format!("/api/v1/namespaces?fieldManager={MANAGER}&fieldValidation=Strict");
        let body = self
            .send(
                &operation,
                Method::POST,
                &path,
                Some(("application/json", manifest)),
            )
            .await?;
        read(&operation, body)
    }

    /// Server-side apply of one object in a namespace, without force: a conflict is an error.
    ///
    /// # Errors
    /// As every write.
    pub async fn apply(&self, namespace: &str, manifest: &Value) -> Result<(), Error> {
        let operation = format!(
            "apply {} in namespace {namespace}",
            manifest::title(manifest)
        );
        let path = format!(
            "{}?fieldManager={MANAGER}&fieldValidation=Strict",
            object_path(namespace, manifest)?
        );
        self.send(
            &operation,
            Method::PATCH,
            &path,
            Some(("application/apply-patch+yaml", manifest)),
        )
        .await
        .map(drop)
    }

    /// One object of a namespace. `None`: there is none.
    ///
    /// # Errors
    /// As every read.
    pub async fn object(&self, namespace: &str, manifest: &Value) -> Result<Option<Value>, Error> {
        let operation = format!(
            "read {} in namespace {namespace}",
            manifest::title(manifest)
        );
        let path = object_path(namespace, manifest)?;
        match self.send(&operation, Method::GET, &path, None).await {
            Ok(body) => Ok(Some(body)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes exactly this namespace (uid and resourceVersion as preconditions) and waits until it is gone, at most
    /// `patience`.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when it has changed since it was read, [`Kind::NotFound`] when the answer was so and it is there.
    pub async fn delete_namespace(
        &self,
        namespace: &Namespace,
        patience: Duration,
    ) -> Result<Deleted, Error> {
        if !namespace.terminating {
            let operation = format!("delete namespace {}", namespace.name);
            let body = json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
                "preconditions": {"uid": namespace.uid, "resourceVersion": namespace.resource_version},
            });
            let path = format!("/api/v1/namespaces/{}", segment(&namespace.name)?);
            match self
                .send(
                    &operation,
                    Method::DELETE,
                    &path,
                    Some(("application/json", &body)),
                )
                .await
            {
                Ok(_) => {}
                // Something in front of the cluster may have said so: only a look tells.
                Err(error) if error.kind == Kind::NotFound => {
                    let now = self.namespace(&namespace.name).await?;
                    if now.is_some_and(|now| now.uid == namespace.uid && !now.terminating) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.wait_until_gone(namespace, patience).await
    }

    async fn wait_until_gone(
        &self,
        namespace: &Namespace,
        patience: Duration,
    ) -> Result<Deleted, Error> {
        let end = tokio::time::Instant::now() + patience;
        let mut pause = Duration::from_millis(50);
        let mut absent = false;
        loop {
            let now = self
                .namespace(&namespace.name)
                .await?
                .filter(|now| now.uid == namespace.uid);
            let Some(now) = now else {
                // A 404 may come from something in front: it is gone when two looks say so.
                if absent {
                    return Ok(Deleted::Gone);
                }
                absent = true;
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            absent = false;
            if tokio::time::Instant::now() + pause > end {
                return Ok(Deleted::Terminating(now.blocked_by));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

fn read(operation: &str, body: Value) -> Result<Namespace, Error> {
    let raw: Raw = serde_json::from_value(body).map_err(|error| {
        let message = format!("the answer has an unknown form: {error}");
        Error::new(
            "kubernetes",
            operation,
            Kind::Unexpected,
            Reach::Unknown,
            &message,
        )
    })?;
    Ok(raw.into())
}

fn object_path(namespace: &str, manifest: &Value) -> Result<String, Error> {
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
    Ok(format!(
        "{}/namespaces/{}/{}/{}",
        root(manifest),
        segment(namespace)?,
        plural(manifest),
        segment(name)?
    ))
}

fn root(manifest: &Value) -> String {
    let api = manifest["apiVersion"].as_str().unwrap_or("v1");
    let group = if api.contains('/') { "apis" } else { "api" };
    format!("/{group}/{api}")
}

/// The resource of a manifest's kind.
fn plural(manifest: &Value) -> String {
    match manifest["kind"].as_str().unwrap_or_default() {
        "NetworkPolicy" => "networkpolicies".to_owned(),
        other => format!("{}s", other.to_ascii_lowercase()),
    }
}

/// A name that stands in a path: DNS labels and dots only.
pub(crate) fn segment(name: &str) -> Result<&str, Error> {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    if !name.is_empty() && name.len() <= 253 && name.bytes().all(plain) && !name.contains("..") {
        return Ok(name);
    }
    let message = format!(
        "`{}` is no Kubernetes name",
        name.chars().take(60).collect::<String>()
    );
    Err(Error::new(
        "kubernetes",
        "name an object",
        Kind::Invalid,
        Reach::NotSent,
        &message,
    ))
}
