//! Watches: one line of JSON for each change after a resourceVersion, until the time is over.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures::stream::{StreamExt, unfold};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::World;

/// What a list or a watch asks for.
#[derive(Deserialize)]
pub(super) struct Asked {
    watch: Option<String>,
    #[serde(rename = "fieldSelector")]
    field_selector: Option<String>,
    #[serde(rename = "resourceVersion")]
    resource_version: Option<String>,
    #[serde(rename = "timeoutSeconds")]
    timeout_seconds: Option<u64>,
}

impl Asked {
    pub(super) fn watches(&self) -> bool {
        matches!(self.watch.as_deref(), Some("true" | "1"))
    }

    /// The only field selector that is known is `metadata.name`.
    pub(super) fn selects(&self, name: &str) -> bool {
        let selected = self.field_selector.as_deref();
        selected.is_none_or(|selector| selector == format!("metadata.name={name}"))
    }
}

/// What a watch has told so far.
struct Told {
    world: World,
    namespace: String,
    resource: String,
    asked: Asked,
    /// The last version of each object.
    known: BTreeMap<String, Value>,
    changes: tokio::sync::watch::Receiver<u64>,
    waiting: VecDeque<String>,
    end: tokio::time::Instant,
}

pub(super) fn stream(world: &World, namespace: String, resource: String, asked: Asked) -> Response {
    let since = asked.resource_version.as_deref();
    let since: u64 = since.and_then(|text| text.parse().ok()).unwrap_or(0);
    let patience = Duration::from_secs(asked.timeout_seconds.unwrap_or(300));
    let changes = world.state().cluster.changes();
    let mut told = Told {
        world: world.clone(),
        namespace,
        resource,
        asked,
        known: BTreeMap::new(),
        changes,
        waiting: VecDeque::new(),
        end: tokio::time::Instant::now() + patience,
    };
    told.known = told.now();
    told.known.retain(|_, object| version(object) <= since);
    let lines = unfold(told, |mut told| async move {
        let line = told.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), told))
    });
    let body = Body::from_stream(lines.boxed());
    ([("content-type", "application/json")], body).into_response()
}

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Told {
    fn now(&self) -> BTreeMap<String, Value> {
        let state = self.world.state();
        let all = state.cluster.objects.iter();
        all.filter(|(key, _)| {
            key.0 == self.namespace && key.1 == self.resource && self.asked.selects(&key.2)
        })
        .map(|(key, object)| (key.2.clone(), object.clone()))
        .collect()
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Some(line);
            }
            self.compare();
            if self.waiting.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep_until(self.end) => return None,
                    changed = self.changes.changed() => changed.ok()?,
                }
            }
        }
    }

    fn compare(&mut self) {
        let now = self.now();
        let mut tell = |kind: &str, object: &Value| {
            let line = json!({"type": kind, "object": object});
            self.waiting.push_back(format!("{line}\n"));
        };
        for (name, object) in &now {
            match self.known.get(name) {
                None => tell("ADDED", object),
                Some(before) if before != object => tell("MODIFIED", object),
                Some(_) => {}
            }
        }
        for (name, object) in &self.known {
            if !now.contains_key(name) {
                tell("DELETED", object);
            }
        }
        self.known = now;
    }
}
