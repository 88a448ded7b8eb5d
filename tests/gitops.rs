//! The namespace by GitOps, directly, both, or not at all.

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox, cloned_head};

fn gitops(gitea: &str, mode: &str) -> Sandbox {
    let mut sandbox = Sandbox::with(&["--gitea", gitea]);
    sandbox.set("FORGELINE_INFRA_MODE", mode);
    sandbox
}

async fn infra_branches(sandbox: &Sandbox) -> Vec<String> {
    let store = sandbox.store().await;
    let refs = store["infra"][0]["refs"].as_object().unwrap().clone();
    refs.keys().cloned().collect()
}

fn artifact(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json()["artifacts"]["infra_namespace"].clone()
}

/// The right to push is lost once everything else was made.
async fn fails_late(sandbox: &Sandbox) {
    sandbox
        .rights_lost_at(
            ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
            json!({"role": "github_mirror", "revoke": ["repo"]}),
        )
        .await;
}

#[tokio::test]
async fn gitops_is_one_commit_on_a_branch_of_its_own() {
    for gitea in ["1.22", "1.25"] {
        let sandbox = gitops(gitea, "gitops");
        let made = artifact(&sandbox.create("shop", &[]));
        assert_eq!(made["mode"], "gitops");
        assert_eq!(made["repository"], "acme/infra");
        assert_eq!(made["branch"], "staging/shop");
        let store = sandbox.store().await;
        assert_eq!(store["namespaces"], json!([]), "nothing is made directly");
        assert_eq!(
            store["infra"][0]["refs"]["refs/heads/staging/shop"],
            made["commit"]
        );
        let issue = store["gitea"][0]["issues"][0]["body"].as_str().unwrap();
        assert!(
            issue.contains("acme/infra on branch staging/shop"),
            "{issue}"
        );
        let dir = tempfile::tempdir().unwrap();
        let url = sandbox.with_login(
            &format!("{}/acme/infra.git", sandbox.env["GITEA_URL"]),
            "GITEA_TOKEN",
        );
        cloned_head(&url, &dir.path().join("infra"));
        let git = |args: &[&str]| {
            let output = std::process::Command::new("git")
                .arg("-C")
                .arg(dir.path().join("infra"))
                .args(args)
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let listed = git(&["ls-tree", "-r", "--name-only", "origin/staging/shop", "k3s"]);
        let files = [
            "kustomization",
            "limits",
            "namespace",
            "network-policy",
            "quota",
        ];
        let wanted: Vec<String> = files
            .iter()
            .map(|file| format!("k3s/apps/shop/{file}.yaml"))
            .collect();
        assert_eq!(listed.lines().collect::<Vec<_>>(), wanted);
        let message = git(&["log", "-1", "--format=%B", "origin/staging/shop"]);
        assert!(message.contains("Forgeline-Run: 01"), "{message}");
        assert_eq!(
            git(&["rev-list", "--count", "origin/main..origin/staging/shop"]).trim(),
            "1"
        );
        let again = artifact(&sandbox.create("shop", &[]));
        assert_eq!(
            (&again["origin"], &again["commit"]),
            (&json!("existing"), &made["commit"])
        );
    }
}

#[tokio::test]
async fn both_makes_a_bare_namespace_and_commits_the_rest() {
    let sandbox = gitops("1.25", "both");
    let made = artifact(&sandbox.create("shop", &[]));
    assert_eq!(
        (&made["mode"], &made["name"]),
        (&json!("both"), &json!("shop"))
    );
    assert!(
        made["uid"].is_string() && made["commit"].is_string(),
        "{made}"
    );
    let store = sandbox.store().await;
    let namespace = &store["namespaces"][0]["metadata"];
    assert_eq!(
        namespace["annotations"]["kustomize.toolkit.fluxcd.io/prune"],
        "disabled"
    );
    assert_eq!(
        store["objects"].as_array().unwrap().len(),
        2,
        "only what every cluster makes"
    );
}

#[tokio::test]
async fn none_makes_no_namespace() {
    let sandbox = gitops("1.25", "none");
    assert_eq!(artifact(&sandbox.create("shop", &[])), Value::Null);
    assert_eq!(sandbox.store().await["namespaces"], json!([]));
}

#[tokio::test]
async fn a_failed_run_deletes_its_branch() {
    for gitea in ["1.22", "1.25"] {
        for mode in ["gitops", "both"] {
            let sandbox = gitops(gitea, mode);
            fails_late(&sandbox).await;
            let ran = sandbox.create("shop", &[]);
            assert_eq!(ran.code, 6, "{gitea} {mode}: {ran:?}");
            sandbox.assert_empty().await;
            assert_eq!(
                infra_branches(&sandbox).await,
                ["refs/heads/main"],
                "{gitea} {mode}"
            );
        }
    }
}

#[tokio::test]
async fn a_branch_that_others_pushed_to_or_merged_is_kept_and_listed() {
    let push = json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "infra", "branch": "staging/shop", "files": {"x": "y"}});
    let merge =
        json!({"what": "merge", "owner": "acme", "name": "infra", "branch": "staging/shop"});
    let squash = json!({"what": "merge", "owner": "acme", "name": "infra", "branch": "staging/shop", "squash": true});
    for (seed, why) in [
        (push, "pushed"),
        (merge, "its commit is part of main"),
        (squash, "part of main by another commit"),
    ] {
        let sandbox = gitops("1.25", "gitops");
        fails_late(&sandbox).await;
        // Right before the undo looks at the branch.
        let fault = json!({"system": "gitea", "operation": "GET /repos/{owner}/{name}/branches/{*branch}",
            "fault": {"kind": "meanwhile", "seed": seed}});
        sandbox.fault(fault).await;
        let ran = sandbox.create("shop", &[]);
        assert_eq!(ran.code, 7, "{ran:?}");
        let left = &ran.json()["left_behind"][0];
        assert!(left["why"].as_str().unwrap().contains(why), "{left}");
        assert!(
            left["command"]
                .as_str()
                .unwrap()
                .contains("/branches/staging/shop"),
            "{left}"
        );
        assert!(
            infra_branches(&sandbox)
                .await
                .contains(&"refs/heads/staging/shop".to_owned())
        );
    }
}

#[tokio::test]
async fn a_branch_of_somebody_else_is_left_alone() {
    let sandbox = gitops("1.25", "gitops");
    let push = json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "infra", "branch": "staging/shop", "files": {"x": "y"}});
    sandbox.seed(push).await;
    let before = sandbox.store().await;
    let ran = sandbox.create("shop", &[]);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert_eq!(sandbox.store().await, before);
}

#[tokio::test]
async fn an_infra_repository_that_cannot_take_a_commit_is_found_before_anything_is_begun() {
    for (repository, seed, why) in [
        ("acme/nowhere", None, "not there"),
        (
            "acme/bare",
            Some(json!({"what": "repository", "forge": "gitea", "owner": "acme", "name": "bare"})),
            "empty",
        ),
        (
            "acme/infra",
            Some(json!({"what": "archive", "forge": "gitea", "owner": "acme", "name": "infra"})),
            "archived",
        ),
    ] {
        let mut sandbox = gitops("1.25", "gitops");
        if let Some(seed) = seed {
            sandbox.seed(seed).await;
        }
        sandbox.set("FORGELINE_INFRA_REPOSITORY", repository);
        let ran = sandbox.create("shop", &[]);
        assert_eq!(ran.code, 3, "{repository}: {ran:?}");
        let error = &ran.json()["error"];
        assert_eq!(error["code"], "infra.repository_missing");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
        assert_eq!(sandbox.store().await["github"], json!([]));
    }
}

#[tokio::test]
async fn the_policy_of_the_file_is_what_stands_in_the_namespace() {
    let sandbox = Sandbox::start("0ms");
    let file = "[infra]\nquota = { pods = \"3\" }\nsubjects = [\"Group:devs\"]\nimage_pull_secret = \"registry\"\nnetwork_policy = false\n";
    std::fs::write(sandbox.dir().join("forgeline.toml"), file).unwrap();
    let create = |name: &str| {
        let mut command = sandbox.forgeline(&["create", name, "-o", "json"]);
        crate::support::run(command.current_dir(sandbox.dir()))
    };
    let made = artifact(&create("shop"));
    assert_eq!(
        made["objects"],
        json!([
            "LimitRange/defaults",
            "ResourceQuota/quota",
            "RoleBinding/members",
            "ServiceAccount/default"
        ])
    );
    let store = sandbox.store().await;
    let objects = store["objects"].as_array().unwrap();
    let found = |resource: &str| {
        let of_kind = objects.iter().filter(|one| one["resource"] == resource);
        of_kind
            .map(|one| one["object"].clone())
            .next_back()
            .unwrap()
    };
    assert_eq!(
        found("resourcequotas")["spec"]["hard"],
        json!({"pods": "3"})
    );
    assert_eq!(found("rolebindings")["subjects"][0]["name"], "devs");
    assert_eq!(
        found("serviceaccounts")["imagePullSecrets"],
        json!([{"name": "registry"}])
    );
    // Binding a role that one does not hold needs its own right, which is asked for before.
    sandbox
        .rights(json!({"role": "kubernetes", "revoke": ["bind clusterroles"]}))
        .await;
    let refused = create("other");
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stdout.contains("bind clusterroles"), "{refused:?}");
}

#[tokio::test]
async fn a_plain_secret_is_never_committed() {
    let sandbox = gitops("1.25", "gitops");
    let manifests = sandbox.dir().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: registry}\nstringData: {password: hunter2}\n";
    std::fs::write(manifests.join("secret.yaml"), secret).unwrap();
    let file = format!("[infra]\nextra_manifests = \"{}\"\n", manifests.display());
    std::fs::write(sandbox.dir().join("forgeline.toml"), file).unwrap();
    let mut command = sandbox.forgeline(&["create", "shop"]);
    let ran = crate::support::run(command.current_dir(sandbox.dir()));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stderr.contains("Secret/registry") && ran.stderr.contains("SOPS"),
        "{ran:?}"
    );
    assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    assert!(sandbox.requests().await.is_empty());
}
