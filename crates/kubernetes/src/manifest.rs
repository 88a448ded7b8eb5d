//! The manifests of a project's namespace, as JSON values: what is sent to the API server and what GitOps commits.

mod files;
mod policy;

use serde_json::{Value, json};

pub use files::{File, files, parse, refuse_plain_secret};
pub use policy::{Policy, Subject};

/// Label and annotation: the run that made the object.
pub const RUN_ID: &str = "forgeline.dev/run-id";
/// Label and annotation: the project it belongs to.
pub const PROJECT: &str = "forgeline.dev/project";
/// Annotation: when a throwaway ends (RFC 3339).
pub const EXPIRES_AT: &str = "forgeline.dev/expires-at";
/// Annotation of Flux: the object is never pruned, so that a branch that goes away takes no namespace with it.
const KEEP: &str = "kustomize.toolkit.fluxcd.io/prune";
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

/// The namespace, with Pod Security as the policy says (`restricted` by default).
pub fn namespace(claim: &Claim<'_>, policy: &Policy, name: &str) -> Value {
    let mut metadata = claim.metadata(name);
    for mode in ["enforce", "audit", "warn"] {
        metadata["labels"][format!("pod-security.kubernetes.io/{mode}")] =
            json!(policy.pod_security);
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

/// The namespace where GitOps brings its contents, or the namespace itself: Flux must never prune it.
pub fn unpruned_namespace(claim: &Claim<'_>, policy: &Policy, name: &str) -> Value {
    let mut object = namespace(claim, policy, name);
    object["metadata"]["annotations"][KEEP] = json!("disabled");
    object
}

/// What stands in a project's namespace, in the order in which it is safe to apply.
pub fn contents(claim: &Claim<'_>, policy: &Policy) -> Vec<Value> {
    let mut all = vec![limit_range(claim, policy), resource_quota(claim, policy)];
    if policy.network_policy {
        all.extend([default_deny(claim), allow_dns(claim)]);
    }
    if !policy.subjects.is_empty() {
        all.push(role_binding(claim, policy));
    }
    if let Some(secret) = &policy.image_pull_secret {
        all.push(service_account(secret));
    }
    all
}

/// `Kind/name` of an object.
pub fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{}/{}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// Containers without resources get these; without it the quota would refuse their pods.
fn limit_range(claim: &Claim<'_>, policy: &Policy) -> Value {
    json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": claim.metadata("defaults"),
        "spec": {"limits": [{
            "type": "Container",
            "default": policy.limits,
            "defaultRequest": policy.requests,
        }]},
    })
}

fn resource_quota(claim: &Claim<'_>, policy: &Policy) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": claim.metadata("quota"),
        "spec": {"hard": policy.quota},
    })
}

/// Who works in the namespace. Binding a role that one does not hold needs the verb `bind` on it.
fn role_binding(claim: &Claim<'_>, policy: &Policy) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": claim.metadata("members"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": policy.role},
        "subjects": policy.subjects.iter().map(Subject::to_value).collect::<Vec<_>>(),
    })
}

/// Pods of the default service account pull with a Secret that somebody else brings; only its name stands here.
fn service_account(secret: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"},
        "imagePullSecrets": [{"name": secret}],
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
    fn every_object_of_ours_carries_its_run_and_project() {
        let claim = Claim {
            run_id: "01JABC",
            project: "shop",
        };
        let policy = Policy::read(&json!({"subjects": ["Group:devs"]})).unwrap();
        for object in contents(&claim, &policy)
            .into_iter()
            .chain([namespace(&claim, &policy, "shop")])
        {
            assert_eq!(object["metadata"]["labels"][RUN_ID], "01jabc", "{object}");
            assert_eq!(
                object["metadata"]["annotations"][PROJECT], "shop",
                "{object}"
            );
        }
    }
}
