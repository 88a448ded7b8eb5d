//! What stands in a namespace that is not ours: asked before it is deleted.

use forgeline_upstream::Error;
use futures::future::join_all;
use http::Method;
use serde_json::Value;

use crate::client::Kubernetes;
use crate::manifest::RUN_ID;
use crate::namespace::segment;

/// The kinds that are looked at: API root and resource.
const KINDS: [(&str, &str); 16] = [
    ("/api/v1", "pods"),
    ("/api/v1", "services"),
    ("/api/v1", "configmaps"),
    ("/api/v1", "secrets"),
    ("/api/v1", "serviceaccounts"),
    ("/api/v1", "persistentvolumeclaims"),
    ("/api/v1", "resourcequotas"),
    ("/api/v1", "limitranges"),
    ("/apis/apps/v1", "deployments"),
    ("/apis/apps/v1", "statefulsets"),
    ("/apis/apps/v1", "daemonsets"),
    ("/apis/batch/v1", "jobs"),
    ("/apis/batch/v1", "cronjobs"),
    ("/apis/networking.k8s.io/v1", "ingresses"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
    ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
];

/// Something in a namespace that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// For example `configmaps/settings`, or `secrets (cannot be listed)`.
    pub what: String,
}

impl Kubernetes {
    /// Every object of the fixed list of kinds that does not carry this run's label, beside what every cluster makes by
    /// itself. A kind that cannot be listed counts as present.
    ///
    /// # Errors
    /// None of the kinds could be asked for: the cluster is not reachable.
    pub async fn foreign_objects(
        &self,
        namespace: &str,
        run_id: &str,
    ) -> Result<Vec<Foreign>, Error> {
        let looks = KINDS.iter().map(|(root, resource)| async move {
            let operation = format!("list {resource} in namespace {namespace}");
            let path = format!(
                "{root}/namespaces/{}/{resource}?limit=500",
                segment(namespace)?
            );
            Ok::<_, Error>((
                *resource,
                self.send(&operation, Method::GET, &path, None).await,
            ))
        });
        let mut foreign = Vec::new();
        for look in join_all(looks).await {
            match look? {
                (resource, Ok(list)) => foreign.extend(foreign_in(resource, &list, run_id)),
                (_, Err(error)) if error.is_retryable() => return Err(error),
                (resource, Err(_)) => foreign.push(Foreign {
                    what: format!("{resource} (cannot be listed)"),
                }),
            }
        }
        Ok(foreign)
    }
}

fn foreign_in(resource: &str, list: &Value, run_id: &str) -> Vec<Foreign> {
    let items = list["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let ours = run_id.to_ascii_lowercase();
    items
        .iter()
        .filter(|item| {
            item["metadata"]["labels"][RUN_ID].as_str() != Some(&ours)
                && !is_made_by_cluster(resource, item)
        })
        .map(|item| Foreign {
            what: format!(
                "{resource}/{}",
                item["metadata"]["name"].as_str().unwrap_or("?")
            ),
        })
        .collect()
}

fn is_made_by_cluster(resource: &str, item: &Value) -> bool {
    let name = item["metadata"]["name"].as_str().unwrap_or_default();
    match resource {
        "configmaps" => name == "kube-root-ca.crt",
        "serviceaccounts" => name == "default",
        "secrets" => {
            item["type"] == "kubernetes.io/service-account-token"
                && name.starts_with("default-token-")
        }
        _ => false,
    }
}
