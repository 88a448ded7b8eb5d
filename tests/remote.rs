//! The command line as a client of a running server, read-only servers, and what `/metrics` and the log tell.

use serde_json::{Value, json};

use crate::support::{BEARER, Ran, Sandbox, Server, run};

/// The program as a client of this server: it has no other variable of ours.
fn client(server: &Server, args: &[&str]) -> Ran {
    let mut command = crate::support::forgeline(args);
    let base = server.url.trim_end_matches("/mcp");
    run(command.envs([
        ("FORGELINE_SERVER", base),
        ("FORGELINE_SERVER_TOKEN", BEARER),
    ]))
}

#[tokio::test]
async fn every_command_works_through_a_server() {
    let sandbox = Sandbox::start("0ms");
    let server = Server::against(&sandbox);
    let planned = client(&server, &["create", "shop", "--dry-run"]);
    assert!(planned.stdout.contains("Plan: 7 to create"), "{planned:?}");
    let made = client(
        &server,
        &["create", "shop", "--issue-label", "setup", "-o", "json"],
    );
    assert_eq!(
        (made.code, &made.json()["state"]),
        (0, &json!("succeeded")),
        "{made:?}"
    );
    let run_id = made.json()["run_id"].as_str().unwrap().to_owned();
    let status = client(&server, &["status", "shop", "-o", "json"]);
    assert_eq!(status.json()["run_id"], run_id.as_str());
    let listed = client(&server, &["list", "-o", "ndjson"]);
    assert_eq!(
        serde_json::from_str::<Value>(listed.stdout.trim()).unwrap()["project"],
        "shop"
    );
    let doctor = client(&server, &["doctor", "--only", "github"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    let cancel = client(&server, &["cancel", &run_id]);
    assert_eq!(cancel.code, 8, "it is over: {cancel:?}");
    let resume = client(&server, &["resume", &run_id]);
    assert_eq!(resume.code, 8, "{resume:?}");
    let unknown = client(&server, &["run", "nosuch"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    let ran = client(
        &server,
        &[
            "run",
            "project_create",
            "-i",
            "name=other",
            "-i",
            "issue_labels=a,b",
            "-o",
            "json",
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    // The journal is the server's: a command beside it is told so.
    let beside = sandbox.create("third", &[]);
    assert_eq!(beside.code, 8, "{beside:?}");
}

#[tokio::test]
async fn a_wrong_bearer_is_exit_4_none_is_exit_3_and_a_server_that_is_not_there_exit_9() {
    let sandbox = Sandbox::start("0ms");
    let server = Server::against(&sandbox);
    let wrong = |url: &str, token: &str| {
        let mut command = crate::support::forgeline(&["status", "shop", "--server", url]);
        run(command.env("FORGELINE_SERVER_TOKEN", token))
    };
    let ran = wrong(&server.url, "wrong-wrong-wrong-wrong-wrong-wrong");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("FORGELINE_SERVER_TOKEN"), "{ran:?}");
    assert_eq!(wrong(&server.url, "").code, 3);
    assert_eq!(wrong("http://127.0.0.1:9", "some-token").code, 9);
}

#[tokio::test]
async fn a_read_only_server_plans_and_refuses_what_changes_anything() {
    let sandbox = Sandbox::start("0ms");
    let mut command = sandbox.forgeline(&["serve", "--read-only"]);
    command.env("FORGELINE_STATIC_TOKEN", BEARER);
    let server = Server::start(command);
    let tools = server.rpc("tools/list", json!({})).await;
    let names: Vec<&Value> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(
        names,
        [
            "project_create",
            "library_create",
            "project_status",
            "project_list",
            "doctor",
            "project_check",
            "cleanup_test_repos",
            "project_delete",
            "mirror_rotate"
        ]
    );
    let planned = &tools["result"]["tools"][0];
    assert_eq!(planned["annotations"]["readOnlyHint"], true, "{planned}");
    assert_eq!(
        planned["inputSchema"]["properties"]["dry_run"]["const"],
        true
    );
    let refused = client(&server, &["create", "shop", "-o", "json"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(
        refused.json()["error"]["code"],
        "server.forbidden",
        "{refused:?}"
    );
    let planned = client(&server, &["create", "shop", "--dry-run", "-o", "json"]);
    assert_eq!(planned.code, 0, "{planned:?}");
    assert_eq!(planned.json()["state"], "planned");
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn metrics_and_readiness_tell_what_happens_and_name_no_project() {
    let sandbox = Sandbox::start("0ms");
    let server = Server::against(&sandbox);
    assert_eq!(
        server
            .view("project_create", json!({"name": "secret-plans"}))
            .await["state"],
        "succeeded"
    );
    let get = async |path: &str| {
        server
            .http
            .get(server.address(path))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let metrics = get("/metrics").await;
    for line in [
        "forgeline_runs_total{state=\"succeeded\"} 1",
        "forgeline_steps_total{verb=\"apply\",result=\"done\"} 7",
        "forgeline_upstream_requests_total{system=\"github\",outcome=\"ok\"}",
        "forgeline_step_seconds_count{verb=\"apply\"} 7",
        "forgeline_journal_records_total",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains("secret-plans"), "{metrics}");
    let ready: Value = serde_json::from_str(&get("/readyz?verbose").await).unwrap();
    assert_eq!(
        (&ready["ready"], &ready["journal"], &ready["runs_under_way"]),
        (&json!(true), &json!("readable"), &json!(0))
    );
    let token = &ready["tokens"]["GITEA_TOKEN"];
    let shown = token["fingerprint"].as_str().unwrap();
    assert!(shown.starts_with("hmac:"), "{ready}");
    assert_eq!(ready["configuration_hash"].as_str().unwrap().len(), 12);
    let healthy = run(&mut crate::support::forgeline(&[
        "health",
        "--url",
        &server.address("/livez"),
    ]));
    assert_eq!(healthy.code, 0, "{healthy:?}");
    assert_eq!(
        run(&mut crate::support::forgeline(&[
            "health",
            "--url",
            "http://127.0.0.1:9/livez"
        ]))
        .code,
        1
    );
}

#[tokio::test]
async fn the_log_is_json_with_run_and_step_ids() {
    let sandbox = Sandbox::start("0ms");
    let mut command = sandbox.forgeline(&["create", "shop"]);
    let ran = run(command.env("FORGELINE_LOG", "info"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> = ran
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let done = lines
        .iter()
        .find(|line| line["fields"]["message"] == "step done")
        .unwrap();
    assert!(
        done["span"]["run_id"].is_string() && done["span"]["step"].is_string(),
        "{done}"
    );
}
