//! What a repository starts with: a template, a licence, a branch; and the labels of the first issue.

use serde_json::{Value, json};

use crate::support::{Sandbox, cloned_head, run};

async fn with_template(gitea: &str) -> Sandbox {
    let sandbox = Sandbox::with(&["--gitea", gitea]);
    let seed = json!({"what": "repository", "forge": "gitea", "owner": "acme", "name": "starter", "user": "acme", "template": true,
        "topics": ["not-copied"], "files": {"src/main.rs": "fn main() {}", "README.md": "# Starter"}});
    sandbox.seed(seed).await;
    sandbox
}

fn repository<'a>(store: &'a Value, name: &str) -> &'a Value {
    let all = store["gitea"].as_array().unwrap();
    all.iter()
        .find(|one| one["full_name"] == format!("acme/{name}"))
        .unwrap()
}

#[tokio::test]
async fn a_project_starts_from_a_template_in_one_commit_on_the_branch_that_was_asked_for() {
    for gitea in ["1.22", "1.25"] {
        let sandbox = with_template(gitea).await;
        let ran = sandbox.create(
            "shop",
            &["--template", "acme/starter", "--default-branch", "trunk"],
        );
        assert_eq!(ran.code, 0, "{gitea}: {ran:?}");
        let view = ran.json();
        let store = sandbox.store().await;
        let made = repository(&store, "shop");
        assert_eq!(made["refs"], store["github"][0]["refs"], "{gitea}");
        let topics = made["topics"].as_array().unwrap();
        assert!(
            !topics.contains(&json!("not-copied")),
            "{gitea}: {topics:?}"
        );
        let dir = tempfile::tempdir().unwrap();
        let url = view["artifacts"]["github_repository"]["clone_url"]
            .as_str()
            .unwrap();
        let head = cloned_head(
            &sandbox.with_login(url, "GITHUB_PAT"),
            &dir.path().join("shop"),
        );
        assert_eq!(view["artifacts"]["mirror"]["head"], head.as_str());
        assert!(dir.path().join("shop/src/main.rs").exists());
        assert!(made["refs"]["refs/heads/trunk"].is_string(), "{made}");
        let again = sandbox.create(
            "shop",
            &["--template", "acme/starter", "--default-branch", "trunk"],
        );
        assert_eq!(
            again.json()["artifacts"]["gitea_repository"]["origin"],
            "existing",
            "{gitea}"
        );
    }
}

#[tokio::test]
async fn a_failed_run_from_a_template_leaves_nothing_but_the_template() {
    for gitea in ["1.22", "1.25"] {
        let sandbox = with_template(gitea).await;
        let before = sandbox.store().await;
        sandbox
            .rights_lost_at(
                ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
                json!({"role": "github_mirror", "revoke": ["repo"]}),
            )
            .await;
        let ran = sandbox.create(
            "shop",
            &["--template", "acme/starter", "--issue-label", "setup"],
        );
        assert_eq!(ran.code, 6, "{gitea}: {ran:?}");
        assert_eq!(sandbox.store().await, before, "{gitea}");
    }
}

#[tokio::test]
async fn what_is_no_template_is_said_with_what_to_do() {
    let sandbox = with_template("1.25").await;
    sandbox
        .seed(json!({"what": "repository", "forge": "gitea", "owner": "acme", "name": "plain", "files": {"x": "y"}}))
        .await;
    for template in ["acme/plain", "acme/nowhere"] {
        let ran = sandbox.create("shop", &["--template", template]);
        assert_eq!(ran.code, 6, "{ran:?}");
        let error = ran.json()["error"].clone();
        assert_eq!(error["code"], "template.unusable", "{error}");
        assert!(
            error["remedy"].as_str().unwrap().contains(template),
            "{error}"
        );
    }
}

#[tokio::test]
async fn licence_gitignore_and_branch_are_in_the_first_commit() {
    let sandbox = Sandbox::start("0ms");
    let ran = sandbox.create(
        "shop",
        &[
            "--license",
            "MIT",
            "--gitignore",
            "Rust",
            "--default-branch",
            "trunk",
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let dir = tempfile::tempdir().unwrap();
    let view = ran.json();
    let url = view["artifacts"]["gitea_repository"]["clone_url"]
        .as_str()
        .unwrap();
    cloned_head(
        &sandbox.with_login(url, "GITEA_TOKEN"),
        &dir.path().join("shop"),
    );
    for file in ["README.md", "LICENSE", ".gitignore"] {
        assert!(dir.path().join("shop").join(file).exists(), "{file}");
    }
    let store = sandbox.store().await;
    assert!(
        store["github"][0]["refs"]["refs/heads/trunk"].is_string(),
        "{store}"
    );
}

#[tokio::test]
async fn labels_that_are_missing_are_made_once_and_those_that_are_there_are_used() {
    let sandbox = Sandbox::start("0ms");
    let ran = sandbox.create(
        "shop",
        &["--issue-label", "setup", "--issue-label", "first"],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let store = sandbox.store().await;
    let made = repository(&store, "shop");
    assert_eq!(made["labels"], json!(["setup", "first"]));
    assert_eq!(made["issues"][0]["labels"], json!([1, 2]));
    assert_eq!(
        sandbox
            .create(
                "shop",
                &["--issue-label", "setup", "--issue-label", "first"]
            )
            .code,
        0
    );
    assert_eq!(sandbox.store().await, store);
}

#[tokio::test]
async fn labels_that_a_server_drops_silently_are_set_again() {
    let sandbox = Sandbox::start("0ms");
    // A server of 2025 has no labels in its tool; the mapping goes to REST then.
    sandbox
        .seed(
            json!({"what": "gitea_mcp_tools", "tools": ["get_me", "create_repo", "create_issue"]}),
        )
        .await;
    let ran = sandbox.create("shop", &["--issue-label", "setup"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        repository(&sandbox.store().await, "shop")["issues"][0]["labels"],
        json!([1])
    );
}

#[tokio::test]
async fn a_library_is_a_workflow_of_its_own() {
    let sandbox = with_template("1.25").await;
    let ran = run(&mut sandbox.forgeline(&[
        "run",
        "library_create",
        "-i",
        "name=parser",
        "-i",
        "template=acme/starter",
        "-i",
        "issue_labels=library,help",
        "-o",
        "json",
    ]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let view = ran.json();
    assert_eq!(
        (&view["workflow"], &view["state"]),
        (&json!("library_create"), &json!("succeeded"))
    );
    assert_eq!(view["artifacts"]["infra_namespace"], Value::Null);
    assert!(
        view["outputs"]["gitea_clone_url"]
            .as_str()
            .unwrap()
            .ends_with("/acme/parser.git"),
        "{view}"
    );
    let store = sandbox.store().await;
    assert_eq!(
        repository(&store, "parser")["labels"],
        json!(["library", "help"])
    );
    assert_eq!(store["namespaces"], json!([]));
}
