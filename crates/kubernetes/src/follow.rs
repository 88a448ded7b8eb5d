//! A Secret as it is now and as it becomes: a list, then a watch from there, over and over.
//!
//! Needs `get`, `list` and `watch` on that one Secret (`resourceNames`); both requests carry the field selector that makes
//! such a narrow right enough.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use http::Method;
use k8s_openapi::api::core::v1::Secret;
use kube::core::WatchEvent;
use serde_json::Value;

use crate::client::Kubernetes;
use crate::namespace::segment;

/// How long the server keeps one watch, in seconds.
const WATCH: u64 = 280;
/// Between a watch that broke and the next list.
const AGAIN: Duration = Duration::from_secs(2);
/// The same after several failures.
const LATER: Duration = Duration::from_secs(30);

impl Kubernetes {
    /// Tells what the Secret holds, now and after every change: its keys that hold text. A Secret that is not there holds
    /// nothing. Never returns; a cluster that cannot be asked changes nothing.
    pub async fn follow_secret(
        &self,
        namespace: &str,
        name: &str,
        mut told: impl FnMut(&BTreeMap<String, String>),
    ) {
        let (Ok(namespace), Ok(name)) = (segment(namespace), segment(name)) else {
            return;
        };
        let path =
            format!("/api/v1/namespaces/{namespace}/secrets?fieldSelector=metadata.name%3D{name}");
        let mut failures = 0_u32;
        loop {
            // A connection that died without a word would be waited on for ever.
            let limit = Duration::from_secs(WATCH + 20);
            let followed = tokio::time::timeout(limit, self.follow_once(&path, &mut told)).await;
            match followed {
                Ok(Ok(())) | Err(_) => failures = 0,
                Ok(Err(why)) => {
                    failures += 1;
                    tracing::warn!(secret = format!("{namespace}/{name}"), %why, "the Secret cannot be watched; its last content stays in use");
                }
            }
            tokio::time::sleep(if failures > 3 { LATER } else { AGAIN }).await;
        }
    }

    async fn follow_once(
        &self,
        path: &str,
        told: &mut impl FnMut(&BTreeMap<String, String>),
    ) -> Result<(), String> {
        let list = self.send("list a Secret", Method::GET, path, None).await;
        let list = list.map_err(|error| error.to_string())?;
        told(&texts(list["items"].get(0).map(|one| &one["data"])));
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        let watch = format!("{path}&watch=true&resourceVersion={version}&timeoutSeconds={WATCH}");
        let request = http::Request::get(watch).body(Vec::new());
        let request = request.map_err(|error| error.to_string())?;
        let events = self.raw().request_events::<Secret>(request).await;
        let mut events = pin!(events.map_err(|error| error.to_string())?);
        while let Some(event) = events.next().await {
            match event.map_err(|error| error.to_string())? {
                WatchEvent::Added(secret) | WatchEvent::Modified(secret) => {
                    let data = secret.data.unwrap_or_default();
                    let texts = data
                        .into_iter()
                        .filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?)));
                    told(&texts.collect());
                }
                WatchEvent::Deleted(_) => told(&BTreeMap::new()),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => return Err(status.message.clone()),
            }
        }
        Ok(())
    }
}

fn texts(data: Option<&Value>) -> BTreeMap<String, String> {
    let all = data.and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(key, value)| {
        let bytes = STANDARD.decode(value.as_str()?).ok()?;
        Some((key.clone(), String::from_utf8(bytes).ok()?))
    })
    .collect()
}
