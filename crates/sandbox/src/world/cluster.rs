//! A cluster's namespaces and what stands in them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

/// How long the deletion of a namespace takes.
const DELETION: Duration = Duration::from_millis(30);

/// The namespaces of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    namespaces: BTreeMap<String, Value>,
    /// Namespace, resource, name to object.
    pub(crate) objects: BTreeMap<(String, String, String), Value>,
    /// Namespaces that are going away, and when they will be gone. `None`: never (a finalizer holds them).
    going: BTreeMap<String, Option<Timestamp>>,
    counter: u64,
    /// Told after every change of an object; its value is the newest resourceVersion.
    changes: tokio::sync::watch::Sender<u64>,
    /// A deletion never ends: a finalizer holds every namespace.
    pub(crate) deletion_hangs: bool,
}

impl Cluster {
    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// The newest resourceVersion.
    pub(crate) fn version(&self) -> u64 {
        self.counter
    }

    /// Wakes whenever an object has changed.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes an object away. `false`: there was none.
    pub(crate) fn remove(&mut self, namespace: &str, resource: &str, name: &str) -> bool {
        let number = self.next();
        let key = (namespace.to_owned(), resource.to_owned(), name.to_owned());
        let was = self.objects.remove(&key).is_some();
        self.changes.send_replace(number);
        was
    }

    /// Fills in what the server sets: uid, resourceVersion, creationTimestamp.
    pub(crate) fn stamp(&mut self, object: &mut Value) {
        let number = self.next();
        object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{number:012}"));
        object["metadata"]["resourceVersion"] = json!(number.to_string());
        object["metadata"]["creationTimestamp"] = json!(format!("{:.0}", super::now()));
    }

    pub(crate) fn touch(&mut self, object: &mut Value) {
        object["metadata"]["resourceVersion"] = json!(self.next().to_string());
    }

    pub(crate) fn add_namespace(&mut self, name: &str, mut object: Value) -> Value {
        self.stamp(&mut object);
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
        object["status"] = json!({"phase": "Active"});
        self.namespaces.insert(name.to_owned(), object.clone());
        for (resource, kind, item) in [
            ("configmaps", "ConfigMap", "kube-root-ca.crt"),
            ("serviceaccounts", "ServiceAccount", "default"),
        ] {
            let made = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": item, "namespace": name}});
            self.put(name, resource, item, made);
        }
        object
    }

    pub(crate) fn put(
        &mut self,
        namespace: &str,
        resource: &str,
        name: &str,
        mut object: Value,
    ) -> Value {
        let key = (namespace.to_owned(), resource.to_owned(), name.to_owned());
        match self.objects.get(&key).cloned() {
            Some(old) => {
                object["metadata"]["uid"] = old["metadata"]["uid"].clone();
                object["metadata"]["creationTimestamp"] =
                    old["metadata"]["creationTimestamp"].clone();
                object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
                if object != old {
                    self.touch(&mut object);
                }
            }
            None => self.stamp(&mut object),
        }
        self.objects.insert(key, object.clone());
        self.changes.send_replace(self.counter);
        object
    }

    pub(crate) fn namespace(&mut self, name: &str) -> Option<Value> {
        self.sweep();
        self.namespaces.get(name).cloned()
    }

    pub(crate) fn namespaces(&mut self) -> Vec<Value> {
        self.sweep();
        self.namespaces.values().cloned().collect()
    }

    /// Merges annotations into a namespace; an error when the patch names another uid. `None`: there is none.
    pub(crate) fn annotate_namespace(
        &mut self,
        name: &str,
        patch: &Value,
    ) -> Option<Result<Value, ()>> {
        self.sweep();
        let number = self.next();
        let object = self.namespaces.get_mut(name)?;
        let uid = &patch["metadata"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return Some(Err(()));
        }
        for (key, value) in patch["metadata"]["annotations"]
            .as_object()
            .into_iter()
            .flatten()
        {
            object["metadata"]["annotations"][key] = value.clone();
        }
        object["metadata"]["resourceVersion"] = json!(number.to_string());
        Some(Ok(object.clone()))
    }

    /// Begins a deletion; answers the namespace as it is then.
    pub(crate) fn delete_namespace(&mut self, name: &str) -> Option<Value> {
        let number = self.next();
        let gone = (!self.deletion_hangs).then(|| Timestamp::now() + DELETION);
        let object = self.namespaces.get_mut(name)?;
        object["metadata"]["deletionTimestamp"] = json!(format!("{:.0}", super::now()));
        object["metadata"]["resourceVersion"] = json!(number.to_string());
        object["status"]["phase"] = json!("Terminating");
        self.going.entry(name.to_owned()).or_insert(gone);
        Some(object.clone())
    }

    fn sweep(&mut self) {
        let now = Timestamp::now();
        let gone: Vec<String> = self
            .going
            .iter()
            .filter(|(_, at)| at.is_some_and(|at| at <= now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.going.remove(&name);
            self.namespaces.remove(&name);
            self.objects
                .retain(|(namespace, _, _), _| *namespace != name);
        }
    }
}
