//! The manifests as the files that GitOps commits.

use serde_json::{Value, json};

use super::{Claim, Policy, contents, title, unpruned_namespace};

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name within the project's directory.
    pub name: String,
    /// YAML.
    pub text: String,
}

/// The files of a project's directory, `kustomization.yaml` last. `with_namespace`: the Namespace itself is among them.
///
/// # Errors
/// A sentence that names the object that must not be committed.
pub fn files(
    claim: &Claim<'_>,
    policy: &Policy,
    namespace: &str,
    with_namespace: bool,
) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    if with_namespace {
        let object = unpruned_namespace(claim, policy, namespace);
        files.push(file("namespace", &[object])?);
    }
    let mut objects = contents(claim, policy);
    for object in &mut objects {
        object["metadata"]["namespace"] = json!(namespace);
    }
    for (name, kinds) in [
        ("limits", ["LimitRange"]),
        ("quota", ["ResourceQuota"]),
        ("network-policy", ["NetworkPolicy"]),
        ("role-binding", ["RoleBinding"]),
        ("service-account", ["ServiceAccount"]),
    ] {
        let of_kind: Vec<Value> = objects
            .iter()
            .filter(|object| kinds.iter().any(|kind| object["kind"] == *kind))
            .cloned()
            .collect();
        if !of_kind.is_empty() {
            files.push(file(name, &of_kind)?);
        }
    }
    for (index, object) in policy.extra_manifests.iter().enumerate() {
        // As it is: SOPS signs the whole object, so its namespace comes from the kustomization.
        files.push(file(
            &format!("extra-{}", index + 1),
            std::slice::from_ref(object),
        )?);
    }
    let resources: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "namespace": namespace, "resources": resources,
    });
    files.push(file("kustomization", &[kustomization])?);
    Ok(files)
}

fn file(name: &str, objects: &[Value]) -> Result<File, String> {
    let mut texts = Vec::new();
    for object in objects {
        refuse_plain_secret(object)?;
        texts.push(serde_saphyr::to_string(object).map_err(|error| error.to_string())?);
    }
    Ok(File {
        name: format!("{name}.yaml"),
        text: texts.join("---\n"),
    })
}

/// Refuses a Secret that is not encrypted by SOPS: what is in Git stays there for ever.
///
/// # Errors
/// A sentence that names the Secret.
pub fn refuse_plain_secret(object: &Value) -> Result<(), String> {
    let plain = object["kind"] == "Secret" && object["sops"]["mac"].is_null();
    if plain {
        return Err(format!(
            "{} is a Secret in plain text; encrypt it with SOPS before it is committed",
            title(object)
        ));
    }
    match object["items"].as_array() {
        Some(items) => items.iter().try_for_each(refuse_plain_secret),
        None => Ok(()),
    }
}

/// The objects of a YAML text with one or more documents.
///
/// # Errors
/// A sentence with the line.
pub fn parse(text: &str) -> Result<Vec<Value>, String> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let line = error.location().map_or(1, |at| at.line());
        format!("line {line}: not valid YAML")
    })?;
    let whole = |object: &Value| {
        ["apiVersion", "kind"]
            .iter()
            .all(|part| object[*part].is_string())
            && object["metadata"]["name"].is_string()
    };
    match objects.iter().find(|object| !whole(object)) {
        Some(object) => Err(format!(
            "an object without apiVersion, kind or metadata.name: {}",
            title(object)
        )),
        None => Ok(objects),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim<'_> = Claim {
        run_id: "01JABC",
        project: "shop",
    };

    #[test]
    fn the_files_are_yaml_that_reads_back_and_kustomization_names_them_all() {
        let policy =
            Policy::read(&json!({"subjects": ["Group:devs"], "image_pull_secret": "registry"}))
                .unwrap();
        let made = files(&CLAIM, &policy, "shop", true).unwrap();
        let names: Vec<&str> = made.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "namespace.yaml",
                "limits.yaml",
                "quota.yaml",
                "network-policy.yaml",
                "role-binding.yaml",
                "service-account.yaml",
                "kustomization.yaml"
            ]
        );
        let kustomization: Value = serde_saphyr::from_str(&made[6].text).unwrap();
        assert_eq!(kustomization["resources"].as_array().unwrap().len(), 6);
        let policies = parse(&made[3].text).unwrap();
        assert_eq!(policies.len(), 2);
        assert_eq!(policies[0]["metadata"]["namespace"], "shop");
        let quota = parse(&made[2].text).unwrap();
        assert_eq!(
            quota[0]["spec"]["hard"]["pods"], "20",
            "a quantity stays a text"
        );
    }

    #[test]
    fn a_plain_secret_is_never_committed_and_an_encrypted_one_is() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"x": "y"}});
        let mut policy = Policy::read(&Value::Null).unwrap();
        policy.extra_manifests = vec![secret.clone()];
        let refused = files(&CLAIM, &policy, "shop", true).unwrap_err();
        assert!(
            refused.contains("Secret/a") && refused.contains("SOPS"),
            "{refused}"
        );
        let mut encrypted = secret;
        encrypted["sops"] = json!({"mac": "ENC[...]"});
        policy.extra_manifests = vec![encrypted];
        assert!(files(&CLAIM, &policy, "shop", true).is_ok());
    }
}
