//! The two tables of the contract, row by row: states with their exit codes, and what a repeated call answers.

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox, Server, run};

/// A failure after everything else was made.
async fn fails_late(sandbox: &Sandbox) {
    sandbox
        .rights_lost_at(
            ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
            json!({"role": "github_mirror", "revoke": ["repo"]}),
        )
        .await;
}

/// A failure whose undo fails too.
async fn gets_stuck(sandbox: &Sandbox) {
    fails_late(sandbox).await;
    sandbox
        .rights_lost_at(
            ("github", "POST /user/repos"),
            json!({"role": "github", "revoke": ["delete_repo"]}),
        )
        .await;
}

async fn mended(sandbox: &Sandbox) {
    sandbox
        .rights(json!({"role": "github_mirror", "grant": ["repo"]}))
        .await;
    sandbox
        .rights(json!({"role": "github", "grant": ["delete_repo"]}))
        .await;
}

fn ends(ran: &Ran, code: i32, state: &str) -> Value {
    assert_eq!(
        (ran.code, ran.json()["state"].as_str()),
        (code, Some(state)),
        "{ran:?}"
    );
    ran.json()
}

fn resume(sandbox: &Sandbox, view: &Value, flags: &[&str]) -> Ran {
    let mut args = vec!["resume", view["run_id"].as_str().unwrap(), "-o", "json"];
    args.extend(flags);
    run(&mut sandbox.forgeline(&args))
}

const PUBLIC: [&str; 2] = ["--visibility", "public"];

fn conflicts(ran: &Ran) {
    assert_eq!(
        (ran.code, &ran.json()["error"]["code"]),
        (8, &json!("project.conflict")),
        "{ran:?}"
    );
    assert!(
        ran.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("visibility"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn planned_is_0_and_holds_nothing() {
    let sandbox = Sandbox::start("0ms");
    ends(&sandbox.create("shop", &["--dry-run"]), 0, "planned");
    ends(&sandbox.create("shop", &PUBLIC), 0, "succeeded");
}

#[tokio::test]
async fn running_is_0_when_the_wait_is_over_and_a_live_run_is_joined_or_in_conflict() {
    let sandbox = Sandbox::start("40ms");
    let server = Server::against(&sandbox);
    let mut command =
        crate::support::forgeline(&["create", "shop", "--wait-seconds", "0", "-o", "json"]);
    command.envs([
        ("FORGELINE_SERVER", server.url.as_str()),
        ("FORGELINE_SERVER_TOKEN", &server.bearer),
    ]);
    let view = ends(&run(&mut command), 0, "running");
    let joined = server.view("project_create", json!({"name": "shop"})).await;
    assert_eq!(
        (&joined["run_id"], &joined["joined"]),
        (&view["run_id"], &json!(true)),
        "{joined}"
    );
    let slow = server
        .view(
            "project_create",
            json!({"name": "other", "wait_seconds": 0}),
        )
        .await;
    let other = server
        .view(
            "project_create",
            json!({"name": "other", "visibility": "public"}),
        )
        .await;
    assert_eq!(
        (&other["error"]["code"], &slow["state"]),
        (&json!("project.conflict"), &json!("running")),
        "{other}"
    );
}

#[tokio::test]
async fn interrupted_is_130_and_goes_on_at_the_next_call() {
    let sandbox = Sandbox::start("40ms");
    let mut command = sandbox.forgeline(&["create", "shop", "-o", "json"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    while sandbox.run_requests().await < 4 {
        tokio::task::yield_now().await;
    }
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(130),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(view["state"], "interrupted", "{view}");
    let other = sandbox.create("shop", &PUBLIC);
    conflicts(&other);
    let again = ends(&sandbox.create("shop", &[]), 0, "succeeded");
    assert_eq!(again["run_id"], view["run_id"]);
}

#[tokio::test]
async fn succeeded_is_0_and_is_observed_again_or_in_conflict() {
    let sandbox = Sandbox::start("0ms");
    let first = ends(&sandbox.create("shop", &[]), 0, "succeeded");
    let again = ends(&sandbox.create("shop", &[]), 0, "succeeded");
    assert_ne!(first["run_id"], again["run_id"]);
    assert_eq!(again["artifacts"]["gitea_repository"]["origin"], "existing");
    conflicts(&sandbox.create("shop", &PUBLIC));
}

#[tokio::test]
async fn compensated_is_6_or_8_and_is_followed_by_a_fresh_run() {
    for flags in [&[][..], &PUBLIC] {
        let sandbox = Sandbox::start("0ms");
        fails_late(&sandbox).await;
        let failed = ends(&sandbox.create("shop", &[]), 6, "compensated");
        assert_eq!(failed["cause"], "failure");
        mended(&sandbox).await;
        let fresh = ends(&sandbox.create("shop", flags), 0, "succeeded");
        assert_ne!(failed["run_id"], fresh["run_id"]);
    }
    let sandbox = Sandbox::start("0ms");
    sandbox
        .seed(json!({"what": "namespace", "name": "shop"}))
        .await;
    ends(&sandbox.create("shop", &[]), 8, "compensated");
}

#[tokio::test]
async fn kept_is_7_and_is_resumed_followed_or_abandoned() {
    let sandbox = Sandbox::start("0ms");
    fails_late(&sandbox).await;
    let kept = ends(
        &sandbox.create("shop", &["--on-failure", "keep"]),
        7,
        "failed",
    );
    assert!(!kept["left_behind"].as_array().unwrap().is_empty());
    mended(&sandbox).await;
    ends(&resume(&sandbox, &kept, &[]), 0, "succeeded");
    fails_late(&sandbox).await;
    let other = ends(
        &sandbox.create("other", &["--on-failure", "keep"]),
        7,
        "failed",
    );
    mended(&sandbox).await;
    ends(&resume(&sandbox, &other, &["--abandon"]), 7, "abandoned");
    // After an abandoned run the same call begins afresh and finds what is there.
    ends(&sandbox.create("other", &[]), 0, "succeeded");
}

#[tokio::test]
async fn stuck_is_7_and_wants_its_verb_first() {
    let sandbox = Sandbox::start("0ms");
    gets_stuck(&sandbox).await;
    let stuck = ends(&sandbox.create("shop", &[]), 7, "stuck");
    mended(&sandbox).await;
    for flags in [&[][..], &PUBLIC] {
        let refused = sandbox.create("shop", flags);
        assert_eq!(
            (refused.code, &refused.json()["error"]["code"]),
            (7, &json!("project.stuck")),
            "{refused:?}"
        );
        assert!(
            refused.json()["error"]["remedy"]
                .as_str()
                .unwrap()
                .contains("--retry-undo")
        );
    }
    ends(
        &resume(&sandbox, &stuck, &["--retry-undo"]),
        6,
        "compensated",
    );
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn while_a_recheck_is_owed_the_same_call_gets_that_run_and_another_settles() {
    let sandbox = Sandbox::start("0ms");
    let fault = json!({"system": "github", "operation": "POST /user/repos", "fault": {"kind": "lost_after"}});
    sandbox.fault(fault).await;
    let first = ends(&sandbox.create("shop", &[]), 0, "succeeded");
    let same = ends(&sandbox.create("shop", &[]), 0, "succeeded");
    assert_eq!(same["run_id"], first["run_id"], "that run's view");
    let other = sandbox.create("shop", &PUBLIC);
    assert_eq!(
        (other.code, &other.json()["error"]["code"]),
        (9, &json!("project.settling")),
        "{other:?}"
    );
    assert!(other.json()["error"]["retry_after_ms"].as_u64().unwrap() > 0);
}

#[test]
fn usage_is_2_and_a_configuration_that_is_not_whole_3() {
    assert_eq!(run(&mut crate::support::forgeline(&["create"])).code, 2);
    assert_eq!(
        run(&mut crate::support::forgeline(&["create", "shop"])).code,
        3
    );
}
