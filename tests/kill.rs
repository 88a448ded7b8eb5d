//! kill -9 in the middle of a run: the next start completes it, and each artifact exists once.

use serde_json::json;

use crate::support::{Sandbox, Server};

/// Each artifact of `shop` exists exactly once and bears no trace of an unfinished creation.
async fn assert_each_exists_once(sandbox: &Sandbox) {
    let store = sandbox.store().await;
    for (what, count) in [("gitea", 1), ("github", 1), ("namespaces", 1)] {
        assert_eq!(
            store[what].as_array().unwrap().len(),
            count,
            "{what}: {store}"
        );
    }
    let gitea = &store["gitea"][0];
    assert_eq!(gitea["issues"].as_array().unwrap().len(), 1, "{gitea}");
    assert_eq!(gitea["mirrors"].as_array().unwrap().len(), 1, "{gitea}");
    assert_eq!(gitea["refs"], store["github"][0]["refs"]);
    assert_eq!(gitea["description"], "");
    assert!(
        gitea["topics"]
            .as_array()
            .unwrap()
            .contains(&json!("forgeline")),
        "{gitea}"
    );
}

#[tokio::test]
async fn a_killed_server_completes_its_run_at_the_next_start() {
    // Killed once the n-th upstream request has been seen, for points all along the run.
    for after in [1, 6, 10, 14, 18, 22] {
        let sandbox = Sandbox::start("25ms");
        let mut server = Server::against(&sandbox);
        let started = server
            .view("project_create", json!({"name": "shop", "wait_seconds": 0}))
            .await;
        let run = started["run_id"].as_str().unwrap().to_owned();
        while sandbox.run_requests().await < after {
            tokio::task::yield_now().await;
        }
        server.process.0.kill().unwrap();
        server.process.0.wait().unwrap();
        drop(server);
        let server = Server::against(&sandbox);
        let view = server
            .view("project_status", json!({"run_id": run, "wait_seconds": 60}))
            .await;
        assert_eq!(
            view["state"], "succeeded",
            "killed after {after} requests: {view}"
        );
        assert_each_exists_once(&sandbox).await;
    }
}

#[tokio::test]
async fn a_terminated_server_saves_at_a_journal_point_and_exits_0() {
    let sandbox = Sandbox::start("25ms");
    let mut server = Server::against(&sandbox);
    let started = server
        .view("project_create", json!({"name": "shop", "wait_seconds": 0}))
        .await;
    let run = started["run_id"].as_str().unwrap().to_owned();
    while sandbox.run_requests().await < 8 {
        tokio::task::yield_now().await;
    }
    let pid = server.process.0.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(server.process.0.wait().unwrap().code(), Some(0));
    drop(server);
    let server = Server::against(&sandbox);
    let view = server
        .view("project_status", json!({"run_id": run, "wait_seconds": 60}))
        .await;
    assert_eq!(view["state"], "succeeded", "{view}");
    assert_each_exists_once(&sandbox).await;
}

fn signal(pid: u32, name: &str) {
    let mut kill = std::process::Command::new("kill");
    let status = kill.args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_stopped_server_keeps_its_journal_and_goes_on_when_it_is_continued() {
    let sandbox = Sandbox::start("25ms");
    let server = Server::against(&sandbox);
    let started = server
        .view("project_create", json!({"name": "shop", "wait_seconds": 0}))
        .await;
    let run_id = started["run_id"].as_str().unwrap().to_owned();
    while sandbox.run_requests().await < 8 {
        tokio::task::yield_now().await;
    }
    let pid = server.process.0.id();
    signal(pid, "-STOP");
    let second = sandbox.create("other", &[]);
    signal(pid, "-CONT");
    assert_eq!(second.code, 8, "{second:?}");
    assert!(second.stderr.contains(&pid.to_string()), "{second:?}");
    let view = server
        .view(
            "project_status",
            json!({"run_id": run_id, "wait_seconds": 60}),
        )
        .await;
    assert_eq!(view["state"], "succeeded", "{view}");
    assert_each_exists_once(&sandbox).await;
}
