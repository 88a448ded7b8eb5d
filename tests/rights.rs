//! A right that is missing: nothing is begun where that can be known before; where it is lost while a run goes on, that
//! is undone. Either way it is said with variable, system, right and fix.

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox};

const SECRETS: [&str; 5] = [
    "GITEA_MCP_TOKEN",
    "GITEA_TOKEN",
    "GITHUB_PAT",
    "GITHUB_MIRROR_TOKEN",
    "KUBE_TOKEN",
];

fn shows_no_secret(sandbox: &Sandbox, ran: &Ran) {
    for secret in SECRETS {
        let value = &sandbox.env[secret];
        assert!(
            !ran.stdout.contains(value) && !ran.stderr.contains(value),
            "{secret} was shown"
        );
    }
}

/// The right is lost while the run goes on: everything is undone.
async fn compensated_after(at: (&str, &str), change: Value) -> Value {
    let sandbox = Sandbox::start("0ms");
    sandbox.rights_lost_at(at, change.clone()).await;
    let ran = sandbox.create("shop", &[]);
    assert_eq!(ran.code, 6, "{change}: {ran:?}");
    let view = ran.json();
    assert_eq!(view["state"], "compensated", "{view}");
    sandbox.assert_empty().await;
    shows_no_secret(&sandbox, &ran);
    view["error"].clone()
}

/// The right is missing from the start: nothing is begun.
async fn refused_before(change: Value) -> Value {
    let sandbox = Sandbox::start("0ms");
    sandbox.rights(change.clone()).await;
    let ran = sandbox.create("shop", &[]);
    assert_eq!(ran.code, 3, "{change}: {ran:?}");
    let view = ran.json();
    assert_eq!(view["run_id"], Value::Null, "{view}");
    sandbox.assert_empty().await;
    shows_no_secret(&sandbox, &ran);
    view["error"].clone()
}

fn says(error: &Value, parts: &[&str]) {
    let text = format!(
        "{} {}",
        error["message"].as_str().unwrap(),
        error["remedy"].as_str().unwrap()
    );
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

#[tokio::test]
async fn a_gitea_mcp_token_that_is_no_longer_accepted() {
    let error = compensated_after(
        ("gitea_mcp", "tools/call create_repo"),
        json!({"role": "gitea_mcp", "valid": false}),
    )
    .await;
    assert_eq!(error["code"], "gitea_mcp.unauthorized");
    let before = refused_before(json!({"role": "gitea_mcp", "valid": false})).await;
    assert_eq!(before["code"], "gitea_mcp.unauthorized");
    says(
        &error,
        &[
            "gitea-mcp",
            "GITEA_MCP_TOKEN",
            "not accepted",
            "put a valid token",
        ],
    );
}

#[tokio::test]
async fn a_gitea_mcp_token_without_the_scope_for_issues() {
    let error = compensated_after(
        ("gitea_mcp", "tools/call issue_write"),
        json!({"role": "gitea_mcp", "revoke": ["write:issue"]}),
    )
    .await;
    assert_eq!(
        (error["code"].as_str(), error["step"].as_str()),
        (Some("gitea_mcp.missing_scope"), Some("issue"))
    );
    says(
        &error,
        &[
            "gitea-mcp",
            "GITEA_MCP_TOKEN",
            "`write:issue`",
            "make a Gitea token",
        ],
    );
}

#[tokio::test]
async fn a_github_token_without_the_scope_repo() {
    let error = compensated_after(
        ("github", "POST /user/repos"),
        json!({"role": "github", "revoke": ["repo"]}),
    )
    .await;
    let parts = ["GITHUB_PAT", "`repo`", "gh auth refresh"];
    says(&error, &parts);
    let before = refused_before(json!({"role": "github", "revoke": ["repo"]})).await;
    assert_eq!(before["code"], "github.missing_scope");
    says(&before, &parts);
}

#[tokio::test]
async fn a_service_account_that_may_not_create_namespaces() {
    let change = json!({"role": "kubernetes", "revoke": ["create namespaces"]});
    let error = compensated_after(("kubernetes", "POST /api/v1/namespaces"), change.clone()).await;
    assert_eq!(error["code"], "kubernetes.missing_scope");
    let before = refused_before(change).await;
    says(&before, &["KUBE_TOKEN", "create namespaces", "ClusterRole"]);
    says(
        &error,
        &["kubernetes", "KUBE_TOKEN", "create", "ClusterRole"],
    );
}

#[tokio::test]
async fn a_service_account_that_may_not_apply_a_quota_leaves_no_namespace() {
    let error = compensated_after(
        ("kubernetes", "POST /api/v1/namespaces"),
        json!({"role": "kubernetes", "revoke": ["patch resourcequotas"]}),
    )
    .await;
    says(
        &error,
        &["ResourceQuota", "KUBE_TOKEN", "patch", "ClusterRole"],
    );
}

#[tokio::test]
async fn a_mirror_token_that_may_not_push() {
    let error = compensated_after(
        ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
        json!({"role": "github_mirror", "revoke": ["repo"]}),
    )
    .await;
    assert_eq!(error["code"], "mirror.push_refused");
    says(
        &error,
        &["github", "GITHUB_MIRROR_TOKEN", "right to push", "grant"],
    );
}

#[tokio::test]
async fn two_tokens_of_different_gitea_users_are_refused() {
    let error = refused_before(json!({"role": "gitea_mcp", "user": "someone"})).await;
    assert_eq!(error["code"], "gitea.identity");
    says(&error, &["GITEA_MCP_TOKEN", "GITEA_TOKEN", "same user"]);
}

#[tokio::test]
async fn a_repository_that_cannot_be_deleted_is_listed_with_the_command() {
    let sandbox = Sandbox::start("0ms");
    sandbox
        .rights(json!({"role": "github", "revoke": ["delete_repo"]}))
        .await;
    sandbox
        .rights_lost_at(
            ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
            json!({"role": "github_mirror", "revoke": ["repo"]}),
        )
        .await;
    let ran = sandbox.create("shop", &[]);
    assert_eq!(ran.code, 7, "{ran:?}");
    let view = ran.json();
    assert_eq!(view["state"], "stuck");
    // It was a warning before anything was made.
    let warned = view["warnings"][0].as_str().unwrap();
    assert!(warned.contains("`delete_repo`"), "{warned}");
    assert_eq!(view["left_behind"].as_array().unwrap().len(), 1, "{view}");
    assert_eq!(
        view["left_behind"][0]["command"],
        "gh repo delete acme/shop --yes"
    );
    // It was made read-only before the refused delete; it is not left so.
    let store = sandbox.store().await;
    assert_eq!(store["github"][0]["archived"], false, "{store}");
    // With the right granted, the undo can be retried.
    sandbox
        .rights(json!({"role": "github", "grant": ["delete_repo"]}))
        .await;
    let run = view["run_id"].as_str().unwrap();
    let retried =
        crate::support::run(&mut sandbox.forgeline(&["resume", run, "--retry-undo", "-o", "json"]));
    assert_eq!(
        (retried.code, retried.json()["state"].as_str()),
        (6, Some("compensated")),
        "{retried:?}"
    );
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn a_skipped_step_stays_listed_and_the_exit_code_says_so() {
    let sandbox = Sandbox::start("0ms");
    sandbox
        .rights_lost_at(
            ("kubernetes", "POST /api/v1/namespaces"),
            json!({"role": "kubernetes", "revoke": ["patch networkpolicies", "delete namespaces"]}),
        )
        .await;
    let ran = sandbox.create("shop", &[]);
    assert_eq!(ran.code, 7, "{ran:?}");
    let view = ran.json();
    let run = view["run_id"].as_str().unwrap();
    let resume = |args: &[&str]| {
        let mut all = vec!["resume", run, "-o", "json"];
        all.extend(args);
        crate::support::run(&mut sandbox.forgeline(&all))
    };
    let unknown = resume(&["--skip", "nosuch"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stdout.contains("infra_namespace"), "{unknown:?}");
    let skipped = resume(&["--skip", "infra_namespace"]);
    assert_eq!(skipped.code, 7, "{skipped:?}");
    let view = skipped.json();
    assert_eq!(view["state"], "compensated");
    assert_eq!(
        view["left_behind"][0]["command"], "kubectl delete namespace shop",
        "{view}"
    );
    assert_eq!(
        sandbox.store().await["namespaces"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_kept_run_that_fails_again_lists_only_what_is_there() {
    let sandbox = Sandbox::start("0ms");
    sandbox
        .rights_lost_at(
            ("kubernetes", "POST /api/v1/namespaces"),
            json!({"role": "kubernetes", "revoke": ["create namespaces"]}),
        )
        .await;
    let ran = sandbox.create("shop", &["--on-failure", "keep"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    let view = ran.json();
    let run = view["run_id"].as_str().unwrap();
    let again = crate::support::run(&mut sandbox.forgeline(&["resume", run, "-o", "json"]));
    let second = again.json();
    assert_eq!(second["state"], "failed");
    // What was made while it went on is there too; the namespace never was.
    for left in second["left_behind"].as_array().unwrap() {
        assert!(
            !left["artifact"].as_str().unwrap().contains("namespace"),
            "{left}"
        );
        assert_ne!(left["command"], "", "{left}");
    }
    assert_eq!(second["warnings"], json!([]));
    sandbox
        .rights(json!({"role": "kubernetes", "grant": ["create namespaces"]}))
        .await;
    let done = crate::support::run(&mut sandbox.forgeline(&["resume", run, "-o", "json"]));
    assert_eq!(
        (done.code, done.json()["state"].as_str()),
        (0, Some("succeeded")),
        "{done:?}"
    );
}
