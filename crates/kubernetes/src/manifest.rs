//! The manifests of a project's namespace, as JSON values: what is sent to the API server and what GitOps commits.

use serde_json::{Value, json};

/// Label and annotation: the run that made the object.
pub const RUN_ID: &str = "forgeline.dev/run-id";
/// Label and annotation: the project it belongs to.
pub const PROJECT: &str = "forgeline.dev/project";
/// The field manager of server-side apply.
pub const MANAGER: &str = "forgeline";

/// Whose the objects are.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The run that makes them.
    pub run_id: &'a str,
    /// The project.
    pub project: &'a str,
}

impl Claim<'_> {
    fn metadata(&self, name: &str) -> Value {
        // A run id is upper case in the annotation and lower case in the label, where selectors look for it.
        json!({
            "name": name,
            "labels": {
                "app.kubernetes.io/managed-by": MANAGER,
                "app.kubernetes.io/part-of": self.project,
                RUN_ID: self.run_id.to_ascii_lowercase(),
                PROJECT: self.project,
            },
            "annotations": { RUN_ID: self.run_id, PROJECT: self.project },
        })
    }
}

/// The namespace, with Pod Security at `restricted`.
pub fn namespace(claim: &Claim<'_>, name: &str) -> Value {
    let mut metadata = claim.metadata(name);
    for mode in ["enforce", "audit", "warn"] {
        metadata["labels"][format!("pod-security.kubernetes.io/{mode}")] = json!("restricted");
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

/// What stands in every project's namespace, in the order in which it is safe to apply.
pub fn contents(claim: &Claim<'_>) -> Vec<Value> {
    vec![
        limit_range(claim),
        resource_quota(claim),
        default_deny(claim),
        allow_dns(claim),
    ]
}

/// Containers without resources get these; without it the quota would refuse their pods.
fn limit_range(claim: &Claim<'_>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": claim.metadata("defaults"),
        "spec": {"limits": [{
            "type": "Container",
            "default": {"cpu": "500m", "memory": "512Mi"},
            "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
        }]},
    })
}

fn resource_quota(claim: &Claim<'_>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": claim.metadata("quota"),
        "spec": {"hard": {
            "requests.cpu": "2", "requests.memory": "4Gi", "limits.memory": "8Gi", "pods": "20",
            "persistentvolumeclaims": "5", "requests.storage": "20Gi",
            "services.nodeports": "0", "services.loadbalancers": "0",
        }},
    })
}

fn default_deny(claim: &Claim<'_>) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": claim.metadata("default-deny"),
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    })
}

fn allow_dns(claim: &Claim<'_>) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": claim.metadata("allow-dns"),
        "spec": {
            "podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{
                "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
                "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_carries_its_run_and_project() {
        let claim = Claim {
            run_id: "01JABC",
            project: "shop",
        };
        for object in contents(&claim)
            .into_iter()
            .chain([namespace(&claim, "shop")])
        {
            assert_eq!(object["metadata"]["labels"][RUN_ID], "01jabc", "{object}");
            assert_eq!(
                object["metadata"]["annotations"][PROJECT], "shop",
                "{object}"
            );
        }
    }
}
