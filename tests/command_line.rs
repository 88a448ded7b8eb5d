//! `forgeline create` and its siblings, as people and scripts use them.

use serde_json::json;

use crate::support::{Sandbox, cloned_head, forgeline, run};

/// The output with everything that changes from run to run replaced.
pub(crate) fn steady(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ') {
            let port = word
                .split("127.0.0.1:")
                .nth(1)
                .map(|rest| rest.split('/').next().unwrap_or_default());
            words.push(match (word, port) {
                (_, Some(port)) => word.replace(port, "PORT"),
                (word, _) if word.len() == 27 && word.starts_with("01") => "RUN,".to_owned(),
                (word, _)
                    if word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
                {
                    "COMMIT".to_owned()
                }
                (word, _) => word.to_owned(),
            });
        }
        out.push_str(&words.join(" "));
        out.push('\n');
    }
    out
}

#[test]
fn create_with_sandbox_makes_five_artifacts_and_shows_them_in_a_table() {
    let ran = run(&mut forgeline(&["create", "hello-world", "--sandbox"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    insta::assert_snapshot!(steady(&ran.stdout), @r"
    hello-world: succeeded (run RUN, sandbox)

    ARTIFACT           ORIGIN   WHAT
    Gitea repository   created  http://127.0.0.1:PORT/acme/hello-world
    GitHub repository  created  http://127.0.0.1:PORT/acme/hello-world
    Push mirror        created  verified, 1 ref(s), head COMMIT
    Namespace          created  hello-world with LimitRange/defaults, ResourceQuota/quota, NetworkPolicy/default-deny, NetworkPolicy/allow-dns
    First issue        created  http://127.0.0.1:PORT/acme/hello-world/issues/1
    ");
    assert!(ran.stderr.contains("gone at exit"), "{}", ran.stderr);
    assert!(ran.stderr.contains("mirror: created in"), "{}", ran.stderr);
}

#[test]
fn create_with_json_output_prints_exactly_one_run_view() {
    let view = run(&mut forgeline(&[
        "create",
        "hello-world",
        "--sandbox",
        "-o",
        "json",
    ]))
    .json();
    let names: Vec<&String> = view.as_object().unwrap().keys().collect();
    let contract = [
        "run_id",
        "workflow",
        "project",
        "state",
        "cause",
        "environment",
        "joined",
        "artifacts",
        "steps",
        "warnings",
        "left_behind",
        "error",
        "access",
        "plan",
    ];
    assert_eq!(names, contract);
    assert_eq!(view["state"], "succeeded");
    assert_eq!(view["environment"], "sandbox");
    for artifact in [
        "gitea_repository",
        "github_repository",
        "mirror",
        "infra_namespace",
        "issue",
    ] {
        assert_eq!(
            view["artifacts"][artifact]["origin"], "created",
            "{artifact}"
        );
    }
}

#[tokio::test]
async fn both_clones_have_the_same_commit_and_a_repeat_changes_nothing() {
    let sandbox = Sandbox::start("0ms");
    let first = sandbox.create("shop", &["--description", "Our web shop"]);
    assert_eq!(first.code, 0, "{first:?}");
    let first = first.json();
    let dir = tempfile::tempdir().unwrap();
    let clone = |artifact: &str, token: &str| {
        let url = first["artifacts"][artifact]["clone_url"].as_str().unwrap();
        cloned_head(&sandbox.with_login(url, token), &dir.path().join(artifact))
    };
    let head = clone("gitea_repository", "GITEA_TOKEN");
    assert_eq!(head, clone("github_repository", "GITHUB_PAT"));
    assert_eq!(first["artifacts"]["mirror"]["head"], head.as_str());

    let before = sandbox.store().await;
    assert_eq!(before["gitea"][0]["description"], "Our web shop");
    sandbox.forget_requests().await;
    let again = sandbox.create("shop", &["--description", "Our web shop"]);
    assert_eq!(again.code, 0, "{again:?}");
    let again = again.json();
    for artifact in [
        "gitea_repository",
        "github_repository",
        "mirror",
        "infra_namespace",
        "issue",
    ] {
        let mut existing = first["artifacts"][artifact].clone();
        existing["origin"] = json!("existing");
        assert_eq!(again["artifacts"][artifact], existing);
    }
    assert_eq!(sandbox.store().await, before);
    let writes: Vec<_> = sandbox
        .requests()
        .await
        .into_iter()
        .filter(|request| {
            let operation = request["operation"].as_str().unwrap_or_default();
            [
                "POST /",
                "PATCH /",
                "PUT /",
                "DELETE /",
                "git git-receive-pack",
                "tools/call create",
                "tools/call issue",
            ]
            .iter()
            .any(|write| operation.starts_with(write))
                && request["system"] != "gitea_mcp"
                // A question that is asked with a POST.
                && !operation.ends_with("selfsubjectaccessreviews")
                || operation.starts_with("tools/call create")
                || operation.starts_with("tools/call issue")
        })
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
}

#[tokio::test]
async fn other_arguments_for_a_project_that_exists_are_a_conflict() {
    let sandbox = Sandbox::start("0ms");
    assert_eq!(sandbox.create("shop", &[]).code, 0);
    let other = sandbox.create("shop", &["--visibility", "public"]);
    assert_eq!(other.code, 8, "{other:?}");
    let view = other.json();
    assert_eq!(view["error"]["code"], "project.conflict");
    assert!(
        view["error"]["message"]
            .as_str()
            .unwrap()
            .contains("visibility"),
        "{view}"
    );
    assert!(view["run_id"].is_null() && view["state"].is_null());
}

#[tokio::test]
async fn status_and_list_show_what_create_made() {
    let sandbox = Sandbox::start("0ms");
    assert_eq!(sandbox.create("shop", &[]).code, 0);
    let status = run(&mut sandbox.forgeline(&["status", "shop", "-o", "json"]));
    assert_eq!(
        (status.code, status.json()["state"].as_str()),
        (0, Some("succeeded")),
        "{status:?}"
    );
    let list = run(&mut sandbox.forgeline(&["list", "-o", "json"])).json();
    assert_eq!(list["projects"][0]["project"], "shop");
    assert_eq!(list["next_cursor"], json!(null));
    let unknown = run(&mut sandbox.forgeline(&["status", "nothing"]));
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("forgeline list"), "{unknown:?}");
}

#[test]
fn a_bad_name_is_refused_with_every_bad_input_at_once() {
    let ran = run(&mut forgeline(&[
        "create",
        "Bad Name",
        "--sandbox",
        "--visibility",
        "secret",
        "-o",
        "json",
    ]));
    assert_eq!(ran.code, 2, "{ran:?}");
    let message = ran.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("`name`") && message.contains("`visibility`"),
        "{message}"
    );
}

#[test]
fn commands_that_need_an_earlier_run_refuse_a_fresh_sandbox() {
    for args in [
        &["status", "x", "--sandbox"][..],
        &["list", "--sandbox"],
        &["resume", "x", "--sandbox"],
        &["cancel", "x", "--sandbox"],
    ] {
        let ran = run(&mut forgeline(args));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("forgeline sandbox"), "{ran:?}");
    }
}

#[tokio::test]
async fn while_a_server_holds_the_journal_reading_works_and_writing_names_the_holder() {
    let sandbox = Sandbox::start("0ms");
    let server = crate::support::Server::against(&sandbox);
    assert_eq!(
        server.view("project_create", json!({"name": "shop"})).await["state"],
        "succeeded"
    );
    let status = run(&mut sandbox.forgeline(&["status", "shop", "-o", "json"]));
    assert_eq!(status.json()["state"], "succeeded");
    let create = sandbox.create("other", &[]);
    assert_eq!(create.code, 8, "{create:?}");
    assert!(
        create.stderr.contains("forgeline serve")
            && create.stderr.contains(&server.process.0.id().to_string()),
        "{create:?}"
    );
}
