//! doctor: what can be known before anything is made.

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox, Server, run};

const SECRETS: [&str; 5] = [
    "GITEA_MCP_TOKEN",
    "GITEA_TOKEN",
    "GITHUB_PAT",
    "GITHUB_MIRROR_TOKEN",
    "KUBE_TOKEN",
];

fn doctor(sandbox: &Sandbox, changes: &[(&str, &str)]) -> Ran {
    let mut command = sandbox.forgeline(&["doctor", "-o", "json"]);
    command.envs(changes.iter().copied());
    run(&mut command)
}

fn failed(report: &Value) -> Vec<&Value> {
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .filter(|check| check["status"] == "fail")
        .collect()
}

fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["id"] == id)
        .unwrap_or_else(|| panic!("no check {id}: {report}"))
}

#[tokio::test]
async fn a_healthy_sandbox_has_no_failure_and_nothing_is_written() {
    for gitea in ["1.22", "1.25"] {
        let sandbox = Sandbox::with(&["--gitea", gitea]);
        let before = sandbox.store().await;
        let ran = doctor(&sandbox, &[]);
        assert_eq!(ran.code, 0, "{gitea}: {ran:?}");
        let report = ran.json();
        assert_eq!(report["ok"], true);
        assert!(report["checks"].as_array().unwrap().len() > 25, "{report}");
        for one in report["checks"].as_array().unwrap() {
            assert!(
                matches!(one["status"].as_str(), Some("ok" | "skip")),
                "{gitea}: {one}"
            );
        }
        assert_eq!(sandbox.store().await, before);
        let posts: Vec<Value> = sandbox.requests().await;
        let writes = posts.iter().filter(|request| {
            let operation = request["operation"].as_str().unwrap();
            let harmless =
                operation.ends_with("selfsubjectaccessreviews") || request["status"] == 404;
            !operation.starts_with("GET ") && request["system"] != "gitea_mcp" && !harmless
        });
        assert_eq!(writes.count(), 0, "{gitea}: {posts:?}");
        assert!(!std::path::Path::new(&sandbox.env["FORGELINE_DATA_DIR"]).exists());
    }
}

#[tokio::test]
async fn five_faults_at_once_are_five_findings_with_five_fixes_and_no_token() {
    let sandbox = Sandbox::start("0ms");
    sandbox
        .rights(json!({"role": "gitea", "revoke": ["write:issue"]}))
        .await;
    sandbox
        .rights(json!({"role": "github", "revoke": ["repo"]}))
        .await;
    sandbox
        .rights(json!({"role": "github_mirror", "valid": false}))
        .await;
    sandbox
        .rights(json!({"role": "kubernetes", "revoke": ["create namespaces"]}))
        .await;
    let ran = doctor(&sandbox, &[("FORGELINE_GITEA_OWNER", "nobody-here")]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let report = ran.json();
    let ids: Vec<&str> = failed(&report)
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [
            "gitea.owner",
            "gitea.scopes",
            "github.scopes",
            "github.mirror_token",
            "kubernetes.access"
        ]
    );
    let mut fixes: Vec<&str> = failed(&report)
        .iter()
        .map(|one| one["remedy"].as_str().unwrap())
        .collect();
    fixes.sort_unstable();
    fixes.dedup();
    assert_eq!(fixes.len(), 5, "{fixes:?}");
    let table = run(sandbox
        .forgeline(&["doctor"])
        .env("FORGELINE_GITEA_OWNER", "nobody-here"));
    assert_eq!(table.stdout.matches("    fix: ").count(), 5, "{table:?}");
    for secret in SECRETS {
        let value = &sandbox.env[secret];
        for text in [&ran.stdout, &ran.stderr, &table.stdout, &table.stderr] {
            assert!(!text.contains(value), "{secret} was shown");
        }
    }
}

#[tokio::test]
async fn tokens_of_bad_form_do_not_stop_the_other_checks() {
    let sandbox = Sandbox::start("0ms");
    let ran = doctor(&sandbox, &[("GITEA_TOKEN", ""), ("KUBE_TOKEN", "changeme")]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let report = ran.json();
    for id in ["token.gitea", "token.kubernetes"] {
        assert_eq!(check(&report, id)["status"], "fail", "{report}");
    }
    assert_eq!(check(&report, "github.token")["status"], "ok", "{report}");
    let only = run(&mut sandbox.forgeline(&["doctor", "--only", "github", "-o", "json"]));
    let report = only.json();
    assert!(
        report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["id"].as_str().unwrap().starts_with("github"))
    );
}

#[tokio::test]
async fn what_could_not_be_deleted_again_is_a_warning() {
    let sandbox = Sandbox::start("0ms");
    sandbox
        .rights(json!({"role": "github", "revoke": ["delete_repo"]}))
        .await;
    sandbox
        .rights(json!({"role": "kubernetes", "revoke": ["delete namespaces"]}))
        .await;
    let ran = doctor(
        &sandbox,
        &[("GITEA_TOKEN", sandbox.env["GITEA_MCP_TOKEN"].as_str())],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    for id in ["github.delete", "kubernetes.undo", "token.same"] {
        assert_eq!(check(&report, id)["status"], "warn", "{report}");
    }
    let made = sandbox.create("shop", &[]);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(
        made.json()["warnings"].as_array().unwrap().len(),
        2,
        "{made:?}"
    );
}

#[tokio::test]
async fn switched_off_mirrors_a_closed_door_and_an_upstream_that_is_down_are_found() {
    let sandbox = Sandbox::start("0ms");
    sandbox.seed(json!({"what": "mirrors_disabled"})).await;
    let report = doctor(&sandbox, &[("GITHUB_API_URL", "http://127.0.0.1:9")]).json();
    assert_eq!(
        check(&report, "gitea.mirrors")["status"],
        "fail",
        "{report}"
    );
    assert_eq!(check(&report, "github.token")["status"], "fail", "{report}");
    // An upstream that is down may come back: nothing was begun, exit 9.
    let fresh = Sandbox::start("0ms");
    let mut command = fresh.forgeline(&["create", "shop", "-o", "json"]);
    let ran = run(command.env("GITHUB_API_URL", "http://127.0.0.1:9"));
    assert_eq!(ran.code, 9, "{ran:?}");
    assert_eq!(ran.json()["error"]["retryable"], true);
    fresh.assert_empty().await;
}

#[tokio::test]
async fn the_tool_answers_the_same_and_every_id_has_its_page() {
    let sandbox = Sandbox::start("0ms");
    let server = Server::against(&sandbox);
    let answer = server.call("doctor", json!({})).await;
    assert_eq!(answer["structuredContent"]["ok"], true);
    let runbook = include_str!("../docs/runbook.md");
    let mut report = answer["structuredContent"].clone();
    let local = doctor(&sandbox, &[]).json();
    report["checks"]
        .as_array_mut()
        .unwrap()
        .extend(local["checks"].as_array().unwrap().clone());
    for one in report["checks"].as_array().unwrap() {
        let heading = format!("\n## {}\n", one["id"].as_str().unwrap());
        assert!(runbook.contains(&heading), "no section{heading}");
    }
    let few = server.call("doctor", json!({"only": ["clock"]})).await;
    assert!(few["structuredContent"]["checks"].as_array().unwrap().len() <= 2);
    let bad = server.call("doctor", json!({"only": "clock"})).await;
    assert_eq!(bad["isError"], true);
}

#[tokio::test]
async fn what_stops_create_or_serve_is_a_failure_here_too() {
    let mut sandbox = Sandbox::start("0ms");
    let pat = sandbox.env["GITHUB_PAT"].clone();
    for (changes, id) in [
        (
            vec![("GITHUB_MIRROR_TOKEN", "ghs_0123456789")],
            "configuration",
        ),
        (vec![("FORGELINE_STATIC_TOKEN", "short")], "configuration"),
        (vec![("FORGELINE_MIRROR_USE_PAT", "yes")], "configuration"),
        (vec![("FORGELINE_CA_FILE", "/dev/null")], "configuration"),
        (vec![("FORGELINE_LISTEN", "0.0.0.0:0")], "server.port"),
        (vec![("FORGELINE_LISTEN", "foo")], "server.port"),
    ] {
        let ran = doctor(&sandbox, &changes);
        assert_eq!(ran.code, 3, "{changes:?}: {ran:?}");
        assert_eq!(
            check(&ran.json(), id)["status"],
            "fail",
            "{changes:?}: {ran:?}"
        );
    }
    sandbox.env.remove("GITHUB_PAT");
    let empty = doctor(&sandbox, &[("GITHUB_TOKEN", "")]);
    assert_eq!(empty.code, 3, "{empty:?}");
    assert_eq!(
        check(&empty.json(), "token.github")["subject"],
        "GITHUB_TOKEN"
    );
    let whole = doctor(&sandbox, &[("GITHUB_TOKEN", &pat)]);
    assert_eq!(whole.code, 0, "{whole:?}");
}

#[tokio::test]
async fn checks_can_be_chosen_and_an_unknown_one_is_named() {
    let sandbox = Sandbox::start("0ms");
    let only =
        |wanted: &str| run(&mut sandbox.forgeline(&["doctor", "--only", wanted, "-o", "json"]));
    let chosen = only("gitea").json();
    let checks = chosen["checks"].as_array().unwrap();
    assert!(checks.len() > 3, "{chosen}");
    assert!(
        checks
            .iter()
            .all(|check| check["id"].as_str().unwrap().starts_with("gitea.")),
        "{chosen}"
    );
    let unknown = only("nonsense");
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("`nonsense`"), "{unknown:?}");
}
