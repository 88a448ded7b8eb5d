//! After the project: check, renew, delete, rotate.

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox, Server, run};

fn command(sandbox: &Sandbox, args: &[&str]) -> Ran {
    let mut all = args.to_vec();
    all.extend(["-o", "json"]);
    run(&mut sandbox.forgeline(&all))
}

fn made(sandbox: &Sandbox, args: &[&str]) {
    let ran = sandbox.create("shop", args);
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn states(report: &Value) -> Vec<(&str, &str)> {
    let items = report["items"].as_array().unwrap().iter();
    let drifted = items.filter(|item| item["state"] != "ok");
    drifted
        .map(|item| {
            (
                item["artifact"].as_str().unwrap(),
                item["state"].as_str().unwrap(),
            )
        })
        .collect()
}

fn results(plan: &Value) -> Vec<&str> {
    let items = plan["items"].as_array().unwrap().iter();
    items.map(|item| item["result"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_project_as_it_was_made_has_no_drift() {
    let sandbox = Sandbox::start("0ms");
    made(&sandbox, &[]);
    let ran = command(&sandbox, &["check", "shop", "--exit-code"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["drift"], false, "{report:#}");
    assert_eq!(report["items"].as_array().unwrap().len(), 7);
    let unknown = command(&sandbox, &["check", "other"]);
    assert_eq!(
        (unknown.code, &unknown.json()["error"]["code"]),
        (2, &json!("project.unknown"))
    );
}

#[tokio::test]
async fn drift_is_named_and_a_repeat_repairs_it() {
    let sandbox = Sandbox::start("0ms");
    made(&sandbox, &[]);
    // Somebody makes it public, deletes the namespace's quota with the namespace, and pushes to Gitea.
    for seed in [
        json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "shop", "branch": "main", "files": {"a": "b"}}),
        json!({"what": "visibility", "forge": "github", "owner": "acme", "name": "shop", "private": false}),
    ] {
        sandbox.seed(seed).await;
    }
    let ran = command(&sandbox, &["check", "shop", "--exit-code"]);
    assert_eq!(ran.code, 10, "{ran:?}");
    let report = ran.json();
    assert_eq!(
        states(&report),
        [("github_repository", "changed"), ("mirror", "changed")],
        "{report:#}"
    );
    assert_eq!(
        command(&sandbox, &["check", "shop"]).code,
        0,
        "a report is no failure"
    );
    made(&sandbox, &[]);
    let after = command(&sandbox, &["check", "shop", "--exit-code"]);
    assert_eq!(after.code, 0, "{after:?}");
}

#[tokio::test]
async fn a_mirror_that_fails_shows_gits_words_and_a_diverged_one_is_not_repaired() {
    let sandbox = Sandbox::start("0ms");
    made(&sandbox, &[]);
    let sync = ("gitea", "POST /repos/{owner}/{name}/push_mirrors-sync");
    let revoked = json!({"role": "github_mirror", "revoke": ["repo"]});
    sandbox.rights_lost_at(sync, revoked).await;
    sandbox.seed(json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "shop", "branch": "main", "files": {"a": "b"}})).await;
    let failed = sandbox.create("shop", &[]);
    assert_eq!(failed.code, 6, "{failed:?}");
    let report = command(&sandbox, &["check", "shop"]).json();
    assert_eq!(states(&report), [("mirror", "changed")], "{report:#}");
    sandbox
        .rights(json!({"role": "github_mirror", "grant": ["repo"]}))
        .await;
    sandbox.seed(json!({"what": "push", "forge": "github", "owner": "acme", "name": "shop", "branch": "theirs", "files": {"c": "d"}})).await;
    let report = command(&sandbox, &["check", "shop"]).json();
    let mirror = report["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["artifact"] == "mirror")
        .unwrap();
    assert_eq!(
        (&mirror["state"], &mirror["observed"]),
        (&json!("changed"), &json!("mirror.diverged")),
        "{report:#}"
    );
    let repeated = sandbox.create("shop", &[]);
    assert_ne!(repeated.code, 0);
    let store = sandbox.store().await;
    assert!(
        store["github"][0]["refs"]
            .get("refs/heads/theirs")
            .is_some(),
        "{store}"
    );
}

#[tokio::test]
async fn a_throwaway_is_renewed_where_each_system_says_so() {
    let sandbox = Sandbox::start("0ms");
    made(&sandbox, &["--ttl", "1h"]);
    let before = command(&sandbox, &["list"]).json()["projects"][0]["expires_at"].clone();
    let ran = command(&sandbox, &["renew", "shop", "--ttl", "48h"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let listed = command(&sandbox, &["list"]).json()["projects"][0].clone();
    assert_ne!(listed["expires_at"], before);
    let ends = listed["expires_at"].as_str().unwrap();
    let store = sandbox.store().await;
    let annotation = &store["namespaces"][0]["metadata"]["annotations"]["forgeline.dev/expires-at"];
    assert_eq!(annotation.as_str().unwrap()[..16], ends[..16]);
    for forge in ["gitea", "github"] {
        let topics = store[forge][0]["topics"].as_array().unwrap();
        let until = topics
            .iter()
            .filter(|topic| topic.as_str().unwrap().starts_with("forgeline-until-"));
        assert_eq!(until.count(), 1, "{topics:?}");
    }
    let too_long = command(&sandbox, &["renew", "shop", "--ttl", "900d"]);
    assert_eq!(
        (too_long.code, &too_long.json()["error"]["code"]),
        (2, &json!("input.invalid"))
    );
    assert!(
        too_long.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("FORGELINE_MAX_TTL")
    );
    let bounded = sandbox.create("other", &["--ttl", "900d"]);
    assert_eq!(bounded.code, 2, "{bounded:?}");
    sandbox.create("plain", &[]);
    let plain = command(&sandbox, &["renew", "plain", "--ttl", "1h"]);
    assert_eq!(plain.json()["error"]["code"], "project.not_throwaway");
}

#[tokio::test]
async fn a_project_that_nobody_used_is_deleted_by_its_plan_and_can_be_made_again() {
    let mut sandbox = Sandbox::start("0ms");
    sandbox.set("FORGELINE_INFRA_MODE", "both");
    let before = sandbox.store().await;
    made(&sandbox, &["--description", "first"]);
    let planned = command(&sandbox, &["delete", "shop"]);
    assert_eq!(planned.code, 0, "{planned:?}");
    let plan = planned.json();
    assert_eq!(plan["counts"]["delete"], 5, "{plan:#}");
    let plan_id = plan["plan_id"].as_str().unwrap();
    let wrong = command(&sandbox, &["delete", "other", "--plan-id", plan_id]);
    assert_eq!(wrong.code, 5, "{wrong:?}");
    let done = command(&sandbox, &["delete", "shop", "--plan-id", plan_id]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(results(&done.json()), ["deleted"; 5]);
    assert_eq!(sandbox.store().await["gitea"], before["gitea"]);
    assert_eq!(sandbox.store().await["infra"], before["infra"]);
    assert_eq!(sandbox.store().await["namespaces"], before["namespaces"]);
    // Other inputs are no conflict: nothing of the first one is there.
    made(&sandbox, &["--description", "second"]);
}

#[tokio::test]
async fn a_project_that_somebody_uses_is_refused_with_the_reasons_and_archived_on_request() {
    let sandbox = Sandbox::start("0ms");
    made(&sandbox, &[]);
    for seed in [
        json!({"what": "issue", "owner": "acme", "name": "shop", "title": "a bug"}),
        json!({"what": "object", "namespace": "shop", "resource": "configmaps", "name": "settings"}),
    ] {
        sandbox.seed(seed).await;
    }
    let refused = command(&sandbox, &["delete", "shop"]);
    assert_eq!(
        (refused.code, &refused.json()["error"]["code"]),
        (8, &json!("project.in_use"))
    );
    let message = refused.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("issue") && message.contains("configmaps/settings"),
        "{message}"
    );
    let plan = command(&sandbox, &["delete", "shop", "--archive"]).json();
    let done = command(
        &sandbox,
        &[
            "delete",
            "shop",
            "--plan-id",
            plan["plan_id"].as_str().unwrap(),
        ],
    );
    assert_eq!(done.code, 0, "{done:?}");
    let store = sandbox.store().await;
    assert_eq!(
        (
            &store["gitea"][0]["archived"],
            &store["github"][0]["archived"]
        ),
        (&json!(true), &json!(true))
    );
    assert_eq!(store["namespaces"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn mirrors_get_the_present_token_and_a_bad_one_changes_nothing() {
    let mut sandbox = Sandbox::start("0ms");
    made(&sandbox, &[]);
    let old = sandbox.store().await["gitea"][0]["mirrors"][0]["remote_name"].clone();
    let bad = sandbox.env["FORGELINE_SANDBOX_SECOND_TOKEN"].clone();
    let good = sandbox.env["GITHUB_MIRROR_TOKEN"].clone();
    // A token that may not push: the old mirror stays, and only it.
    sandbox.set("GITHUB_MIRROR_TOKEN", &bad);
    let plan = command(&sandbox, &["mirror-rotate"]).json();
    assert_eq!(plan["counts"]["update"], 1, "{plan:#}");
    let failed = command(
        &sandbox,
        &[
            "mirror-rotate",
            "--plan-id",
            plan["plan_id"].as_str().unwrap(),
        ],
    );
    assert_eq!(failed.code, 7, "{failed:?}");
    assert!(!failed.stdout.contains(&bad));
    let mirrors = sandbox.store().await["gitea"][0]["mirrors"].clone();
    assert_eq!(
        (
            mirrors.as_array().unwrap().len(),
            &mirrors[0]["remote_name"]
        ),
        (1, &old)
    );
    // A good one replaces it; the answer says what remains.
    sandbox.set("GITHUB_MIRROR_TOKEN", &good);
    let plan = command(&sandbox, &["mirror-rotate", "--project", "shop"]).json();
    let done = command(
        &sandbox,
        &[
            "mirror-rotate",
            "--plan-id",
            plan["plan_id"].as_str().unwrap(),
        ],
    );
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(results(&done.json()), ["replaced"]);
    assert!(done.stdout.contains("git configuration"), "{done:?}");
    let mirrors = sandbox.store().await["gitea"][0]["mirrors"].clone();
    assert_eq!(mirrors.as_array().unwrap().len(), 1);
    assert_ne!(mirrors[0]["remote_name"], old);
    // It is still this project's mirror.
    assert_eq!(command(&sandbox, &["check", "shop", "--exit-code"]).code, 0);
    let plan = command(&sandbox, &["delete", "shop"]).json();
    let done = command(
        &sandbox,
        &[
            "delete",
            "shop",
            "--plan-id",
            plan["plan_id"].as_str().unwrap(),
        ],
    );
    assert_eq!(
        (done.code, results(&done.json())),
        (0, vec!["deleted"; 4]),
        "{done:?}"
    );
}

#[tokio::test]
async fn over_mcp_a_plan_is_shown_first_and_exactly_that_is_done() {
    let sandbox = Sandbox::start("0ms");
    let server = Server::against(&sandbox);
    server.call("project_create", json!({"name": "shop"})).await;
    let check = server
        .call("project_check", json!({"project": "shop"}))
        .await;
    assert_eq!(check["structuredContent"]["drift"], false, "{check}");
    let planned = server
        .call("project_delete", json!({"project": "shop"}))
        .await;
    let plan = &planned["structuredContent"];
    assert_eq!(
        (&planned["isError"], &plan["counts"]["delete"]),
        (&json!(false), &json!(4)),
        "{planned}"
    );
    let apply = json!({"project": "shop", "plan_id": plan["plan_id"]});
    let done = server.call("project_delete", apply.clone()).await;
    assert_eq!(
        results(&done["structuredContent"]),
        ["deleted"; 4],
        "{done}"
    );
    let again = server.call("project_delete", apply).await;
    assert_eq!(again["structuredContent"], done["structuredContent"]);
    let odd = json!({"project": "shop", "archive": "yes"});
    let refused = server.call("project_delete", odd).await;
    assert_eq!(
        refused["structuredContent"]["error"]["code"],
        "input.invalid"
    );
    let none = server.call("cleanup_test_repos", json!({})).await;
    assert_eq!(
        (&none["structuredContent"]["plan_id"], &none["isError"]),
        (&Value::Null, &json!(false)),
        "{none}"
    );
    let metrics = server
        .http
        .get(server.address("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("forgeline_removals_total{result=\"deleted\"} 4"),
        "{metrics}"
    );
}
