//! The arrows between our crates, and the libraries that one crate confines.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each of our crates may depend on, besides foreign libraries. What is not here must not be.
const ARROWS: [(&str, &[&str]); 10] = [
    ("forgeline-step-engine", &[]),
    ("forgeline-sandbox", &[]),
    ("forgeline-upstream", &[]),
    ("forgeline-gitea", &["forgeline-upstream"]),
    ("forgeline-github", &["forgeline-upstream"]),
    ("forgeline-kubernetes", &["forgeline-upstream"]),
    ("forgeline-auth", &["forgeline-upstream"]),
    (
        "forgeline-provision",
        &[
            "forgeline-step-engine",
            "forgeline-gitea",
            "forgeline-github",
            "forgeline-kubernetes",
            "forgeline-upstream",
        ],
    ),
    (
        "forgeline-mcp-server",
        &[
            "forgeline-step-engine",
            "forgeline-provision",
            "forgeline-auth",
        ],
    ),
    (
        "forgeline",
        &[
            "forgeline-auth",
            "forgeline-gitea",
            "forgeline-github",
            "forgeline-kubernetes",
            "forgeline-mcp-server",
            "forgeline-provision",
            "forgeline-sandbox",
            "forgeline-step-engine",
            "forgeline-upstream",
        ],
    ),
];

/// Foreign libraries and the only crates of ours that may name them.
const CONFINED: [(&str, &[&str]); 19] = [
    ("jsonwebtoken", &["forgeline-auth"]),
    ("cedar-policy", &["forgeline-auth"]),
    ("rusqlite", &["forgeline-step-engine"]),
    (
        "serde-saphyr",
        &["forgeline-step-engine", "forgeline-kubernetes"],
    ),
    ("toml", &["forgeline", "forgeline-gitea"]),
    ("prometheus-client", &["forgeline-mcp-server"]),
    ("clap_complete", &["forgeline"]),
    ("backoff", &["forgeline-step-engine"]),
    ("reqwest", &["forgeline-upstream"]),
    ("secrecy", &["forgeline-upstream", "forgeline-kubernetes"]),
    ("octocrab", &["forgeline-github"]),
    ("kube", &["forgeline-kubernetes"]),
    ("k8s-openapi", &["forgeline-kubernetes"]),
    (
        "rmcp",
        &[
            "forgeline-upstream",
            "forgeline-mcp-server",
            "forgeline-sandbox",
        ],
    ),
    (
        "axum",
        &[
            "forgeline-auth",
            "forgeline-mcp-server",
            "forgeline-sandbox",
        ],
    ),
    ("clap", &["forgeline"]),
    ("indicatif", &["forgeline"]),
    ("tracing-subscriber", &["forgeline"]),
    ("comfy-table", &["forgeline"]),
];

/// Package to its dependencies, development ones left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let named = |package: &cargo_metadata::Package| {
        let normal = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development);
        (
            package.name.to_string(),
            normal.map(|dependency| dependency.name.clone()).collect(),
        )
    };
    metadata.packages.iter().map(named).collect()
}

#[test]
fn our_crates_depend_on_each_other_only_along_the_arrows() {
    let found = dependencies();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        found.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known
    );
    for (name, allowed) in ARROWS {
        let ours = found[name]
            .iter()
            .filter(|dependency| known.contains(dependency.as_str()));
        for dependency in ours {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn confined_libraries_stay_in_their_crate() {
    let found = dependencies();
    for (library, allowed) in CONFINED {
        let users: Vec<&String> = found
            .iter()
            .filter(|(_, needs)| needs.contains(library))
            .map(|(name, _)| name)
            .collect();
        assert!(
            !users.is_empty(),
            "nobody uses {library}; take it off the list"
        );
        for user in users {
            assert!(
                allowed.contains(&user.as_str()),
                "{library} is confined to {allowed:?}, and {user} names it"
            );
        }
    }
}
