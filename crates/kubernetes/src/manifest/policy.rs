//! What a project's namespace allows: quota, limits, Pod Security, who works in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The policy of a namespace; every part has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `spec.hard` of the ResourceQuota.
    pub quota: BTreeMap<String, String>,
    /// Limits of a container that says none.
    pub limits: BTreeMap<String, String>,
    /// Requests of a container that says none.
    pub requests: BTreeMap<String, String>,
    /// Pod Security level: `restricted` (default), `baseline` or `privileged`.
    pub pod_security: String,
    /// Deny everything but DNS by default.
    pub network_policy: bool,
    /// The ClusterRole that the subjects get in the namespace.
    pub role: String,
    /// Who gets it; without any there is no RoleBinding.
    pub subjects: Vec<Subject>,
    /// The name of a Secret that somebody else brings and pods pull images with. `None`: none.
    pub image_pull_secret: Option<String>,
    /// Objects that GitOps commits beside ours.
    pub extra_manifests: Vec<Value>,
}

/// Somebody who works in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user.
    User(String),
    /// A group.
    Group(String),
    /// A service account: namespace and name.
    ServiceAccount(String, String),
}

impl Subject {
    /// Reads `User:NAME`, `Group:NAME` or `ServiceAccount:NAMESPACE/NAME`.
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("User", name) if !name.is_empty() => Some(Self::User(name.to_owned())),
            ("Group", name) if !name.is_empty() => Some(Self::Group(name.to_owned())),
            ("ServiceAccount", rest) => {
                let (namespace, name) = rest.split_once('/')?;
                Some(Self::ServiceAccount(namespace.to_owned(), name.to_owned()))
            }
            _ => None,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        let group = "rbac.authorization.k8s.io";
        match self {
            Self::User(name) => json!({"kind": "User", "apiGroup": group, "name": name}),
            Self::Group(name) => json!({"kind": "Group", "apiGroup": group, "name": name}),
            Self::ServiceAccount(namespace, name) => {
                json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
            }
        }
    }
}

impl Policy {
    /// Reads what the configuration says; null stands for the default.
    ///
    /// # Errors
    /// A sentence that names the part that cannot be used.
    pub fn read(given: &Value) -> Result<Self, String> {
        let pod_security = given["pod_security"].as_str().unwrap_or("restricted");
        if !matches!(pod_security, "restricted" | "baseline" | "privileged") {
            return Err(format!(
                "pod_security is `{pod_security}`; use restricted, baseline or privileged"
            ));
        }
        let mut subjects = Vec::new();
        for text in texts(&given["subjects"]) {
            let subject = Subject::parse(&text).ok_or_else(|| {
                format!(
                    "subject `{text}`; write User:NAME, Group:NAME or ServiceAccount:NAMESPACE/NAME"
                )
            })?;
            subjects.push(subject);
        }
        let limits = &given["limits"];
        if let Some(unknown) = limits.as_object().and_then(|parts| {
            parts
                .keys()
                .find(|part| !matches!(part.as_str(), "default" | "request"))
        }) {
            return Err(format!(
                "limits has no `{unknown}`; there are default and request"
            ));
        }
        Ok(Self {
            quota: amounts(&given["quota"]).unwrap_or_else(|| {
                table(&[
                    ("requests.cpu", "2"),
                    ("requests.memory", "4Gi"),
                    ("limits.memory", "8Gi"),
                    ("pods", "20"),
                    ("persistentvolumeclaims", "5"),
                    ("requests.storage", "20Gi"),
                    ("services.nodeports", "0"),
                    ("services.loadbalancers", "0"),
                ])
            }),
            limits: amounts(&limits["default"])
                .unwrap_or_else(|| table(&[("cpu", "500m"), ("memory", "512Mi")])),
            requests: amounts(&limits["request"])
                .unwrap_or_else(|| table(&[("cpu", "50m"), ("memory", "64Mi")])),
            pod_security: pod_security.to_owned(),
            network_policy: given["network_policy"].as_bool().unwrap_or(true),
            role: given["role"].as_str().unwrap_or("edit").to_owned(),
            subjects,
            image_pull_secret: given["image_pull_secret"].as_str().map(str::to_owned),
            extra_manifests: given["extra_manifests"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        })
    }
}

fn table(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter()
        .map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned()))
        .collect()
}

fn amounts(value: &Value) -> Option<BTreeMap<String, String>> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let fields = value.as_object()?;
    Some(
        fields
            .iter()
            .map(|(name, amount)| (name.clone(), text(amount)))
            .collect(),
    )
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default_and_what_is_wrong_is_named() {
        let policy = Policy::read(&Value::Null).unwrap();
        assert_eq!(
            (policy.quota["pods"].as_str(), policy.role.as_str()),
            ("20", "edit")
        );
        assert!(
            Policy::read(&json!({"subjects": ["devs"]}))
                .unwrap_err()
                .contains("devs")
        );
        assert!(Policy::read(&json!({"pod_security": "lax"})).is_err());
        let bound = Policy::read(&json!({"subjects": ["ServiceAccount:ci/deployer"]})).unwrap();
        assert_eq!(
            bound.subjects,
            [Subject::ServiceAccount("ci".into(), "deployer".into())]
        );
    }
}
