//! What is somebody else's stays somebody else's.

use serde_json::{Value, json};

use crate::support::Sandbox;

async fn refused(sandbox: &Sandbox, name: &str) -> Value {
    let ran = sandbox.create(name, &[]);
    assert_eq!(ran.code, 8, "{ran:?}");
    let view = ran.json();
    assert_eq!(view["error"]["code"], "project.not_ours", "{view}");
    assert_eq!(view["state"], "compensated");
    assert_eq!(view["left_behind"], json!([]));
    view
}

#[tokio::test]
async fn a_foreign_gitea_repository_is_left_alone_and_nothing_of_ours_stays() {
    let sandbox = Sandbox::start("0ms");
    sandbox
        .seed(json!({"what": "repository", "forge": "gitea", "owner": "acme", "name": "shop", "files": {"a.txt": "theirs"}}))
        .await;
    let before = sandbox.store().await;
    refused(&sandbox, "shop").await;
    assert_eq!(sandbox.store().await, before);
}

#[tokio::test]
async fn a_foreign_github_repository_is_left_alone_and_nothing_of_ours_stays() {
    let sandbox = Sandbox::start("0ms");
    sandbox
        .seed(json!({"what": "repository", "forge": "github", "owner": "acme", "name": "shop", "files": {"a.txt": "theirs"}}))
        .await;
    let before = sandbox.store().await;
    refused(&sandbox, "shop").await;
    assert_eq!(sandbox.store().await, before);
}

#[tokio::test]
async fn a_foreign_namespace_is_left_alone_and_nothing_of_ours_stays() {
    let sandbox = Sandbox::start("0ms");
    sandbox
        .seed(json!({"what": "namespace", "name": "shop"}))
        .await;
    let before = sandbox.store().await;
    refused(&sandbox, "shop").await;
    assert_eq!(sandbox.store().await, before);
}

#[tokio::test]
async fn adopting_uses_what_is_there_and_a_repeat_knows_it_again() {
    let sandbox = Sandbox::start("0ms");
    sandbox.seed(json!({"what": "repository", "forge": "gitea", "owner": "acme", "name": "shop", "user": "acme", "description": "theirs", "files": {"a.txt": "theirs"}})).await;
    sandbox.seed(json!({"what": "repository", "forge": "github", "owner": "acme", "name": "shop", "user": "acme"})).await;
    sandbox
        .seed(json!({"what": "namespace", "name": "shop"}))
        .await;
    let ran = sandbox.create("shop", &["--adopt"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let view = ran.json();
    for (artifact, origin) in [
        ("gitea_repository", "adopted"),
        ("github_repository", "adopted"),
        ("infra_namespace", "adopted"),
        ("mirror", "created"),
        ("issue", "created"),
    ] {
        assert_eq!(
            view["artifacts"][artifact]["origin"], origin,
            "{artifact}: {view}"
        );
    }
    let store = sandbox.store().await;
    assert_eq!(store["gitea"][0]["description"], "theirs");
    assert_eq!(store["gitea"][0]["refs"], store["github"][0]["refs"]);
    let again = sandbox.create("shop", &[]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(
        again.json()["artifacts"]["gitea_repository"]["origin"],
        "adopted"
    );
    assert_eq!(sandbox.store().await, store);
}

#[tokio::test]
async fn a_mirror_is_never_pointed_at_a_repository_with_foreign_refs() {
    let sandbox = Sandbox::start("0ms");
    assert_eq!(sandbox.create("shop", &[]).code, 0);
    sandbox
        .seed(
            json!({"what": "push", "forge": "github", "owner": "acme", "name": "shop", "branch": "theirs", "files": {"x": "y"}}),
        )
        .await;
    let before = sandbox.store().await;
    let again = sandbox.create("shop", &[]);
    assert_eq!(again.code, 6, "{again:?}");
    assert_eq!(again.json()["error"]["code"], "mirror.diverged");
    assert_eq!(sandbox.store().await, before);
}

#[tokio::test]
async fn a_push_to_gitea_is_mirrored_by_the_next_call() {
    let sandbox = Sandbox::start("0ms");
    assert_eq!(sandbox.create("shop", &[]).code, 0);
    sandbox
        .seed(json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "shop", "branch": "main", "files": {"x": "y"}}))
        .await;
    let again = sandbox.create("shop", &[]);
    assert_eq!(again.code, 0, "{again:?}");
    let store = sandbox.store().await;
    assert_eq!(store["gitea"][0]["refs"], store["github"][0]["refs"]);
}

#[tokio::test]
async fn what_others_put_into_it_since_keeps_a_repository_from_being_undone() {
    let sandbox = Sandbox::start("0ms");
    // The mirror token loses its right, so the run fails late; meanwhile somebody opens an issue.
    sandbox
        .rights_lost_at(
            ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
            json!({"role": "github_mirror", "revoke": ["repo"]}),
        )
        .await;
    let fault = json!({"system": "gitea", "operation": "POST /repos/{owner}/{name}/push_mirrors-sync",
        "fault": {"kind": "meanwhile", "seed": {"what": "issue", "owner": "acme", "name": "shop", "title": "mine"}}});
    sandbox.fault(fault).await;
    let ran = sandbox.create("shop", &[]);
    assert_eq!(ran.code, 7, "{ran:?}");
    let view = ran.json();
    assert_eq!(view["state"], "stuck");
    let left = &view["left_behind"][0];
    assert!(left["why"].as_str().unwrap().contains("issue"), "{left}");
    assert!(
        left["command"]
            .as_str()
            .unwrap()
            .contains("/repos/acme/shop"),
        "{left}"
    );
    let store = sandbox.store().await;
    assert_eq!(store["gitea"][0]["issues"][0]["title"], "mine");
    assert_eq!(store["gitea"][0]["archived"], false);
    assert_eq!(store["github"], json!([]));
    let again = sandbox.create("shop", &[]);
    assert_eq!(
        (again.code, again.json()["error"]["code"].as_str()),
        (7, Some("project.stuck"))
    );
}
