//! Plans: what a call would do, with nothing done.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Sandbox, Server, run};

fn actions(view: &Value) -> BTreeMap<String, String> {
    let items = view["plan"]["items"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    items
        .iter()
        .map(|item| (text(&item["id"]), text(&item["action"])))
        .collect()
}

#[tokio::test]
async fn a_dry_run_shows_everything_and_writes_nothing() {
    let sandbox = Sandbox::start("0ms");
    let before = sandbox.store().await;
    let ran = sandbox.create("shop", &["--dry-run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let view = ran.json();
    assert_eq!(
        (&view["state"], &view["run_id"]),
        (&json!("planned"), &Value::Null)
    );
    assert!(
        actions(&view).values().all(|action| action == "create"),
        "{view}"
    );
    assert_eq!(view["plan"]["counts"]["create"], 7);
    let rights = view["plan"]["needs"]["rights"].as_array().unwrap();
    let has = |right: &str| {
        rights
            .iter()
            .any(|one| one["right"] == right && one["ok"] == true)
    };
    for right in [
        "write:repository",
        "repo",
        "delete_repo",
        "create namespaces",
    ] {
        assert!(has(right), "{right}: {rights:?}");
    }
    assert_eq!(sandbox.store().await, before);
    assert!(
        !std::path::Path::new(&sandbox.env["FORGELINE_DATA_DIR"]).exists(),
        "no journal is made"
    );
    let table = run(&mut sandbox.forgeline(&["create", "shop", "--dry-run"]));
    assert!(table.stdout.contains("+ gitea_repository"), "{table:?}");
    assert!(
        table
            .stdout
            .trim_end()
            .ends_with("Plan: 7 to create, 0 found, 0 to update, 0 blocked."),
        "{table:?}"
    );
}

#[tokio::test]
async fn the_budget_is_what_a_creation_then_asks_for() {
    let sandbox = Sandbox::start("0ms");
    let server = Server::against(&sandbox);
    // Connections, identity and preflight are there already.
    assert_eq!(
        server
            .view("project_create", json!({"name": "first"}))
            .await["state"],
        "succeeded"
    );
    for more in [json!({}), json!({"issue_labels": ["setup"]})] {
        let name = if more["issue_labels"].is_null() {
            "second"
        } else {
            "third"
        };
        let mut call = json!({"name": name});
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let mut dry = call.clone();
        dry["dry_run"] = json!(true);
        let planned = server.view("project_create", dry).await;
        let budget = &planned["plan"]["needs"]["requests"];
        sandbox.forget_requests().await;
        assert_eq!(
            server.view("project_create", call).await["state"],
            "succeeded"
        );
        let mut asked: BTreeMap<String, u64> = BTreeMap::new();
        for request in sandbox.requests().await {
            // git's own requests do not count against an API's limit.
            if !request["operation"].as_str().unwrap().starts_with("git ") {
                *asked
                    .entry(request["system"].as_str().unwrap().to_owned())
                    .or_default() += 1;
            }
        }
        for system in ["gitea", "gitea_mcp", "github", "kubernetes"] {
            assert_eq!(
                budget[system], asked[system],
                "{name} {system}: {budget} {asked:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_there_is_found_what_changed_is_updated_and_what_is_foreign_blocks() {
    let sandbox = Sandbox::start("0ms");
    assert_eq!(sandbox.create("shop", &[]).code, 0);
    let found = sandbox.create("shop", &["--dry-run"]).json();
    assert!(
        actions(&found).values().all(|action| action == "found"),
        "{found}"
    );
    sandbox
        .seed(json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "shop", "branch": "main", "files": {"x": "y"}}))
        .await;
    let changed = sandbox.create("shop", &["--dry-run"]).json();
    assert_eq!(actions(&changed)["mirror"], "update", "{changed}");
    assert_eq!(changed["plan"]["counts"]["update"], 1);
    // Other inputs would be refused, and the plan says so.
    let other = sandbox.create("shop", &["--dry-run", "--visibility", "public"]);
    assert_eq!(
        (other.code, &other.json()["error"]["code"]),
        (8, &json!("project.conflict"))
    );
    sandbox
        .seed(json!({"what": "repository", "forge": "github", "owner": "acme", "name": "other", "files": {"x": "y"}}))
        .await;
    let blocked = sandbox.create("other", &["--dry-run"]);
    assert_eq!(blocked.code, 0, "{blocked:?}");
    let view = blocked.json();
    assert_eq!(
        (
            actions(&view)["github_repository"].as_str(),
            &view["plan"]["blocked"]
        ),
        ("blocked", &json!(1))
    );
    assert_eq!(sandbox.create("other", &[]).code, 8, "as the plan said");
}
