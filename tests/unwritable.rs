//! A data directory that cannot be written: a clear sentence, a server that lives, a typed error.

use serde_json::json;

use crate::support::{BEARER, Sandbox, Server, run};

/// A place where nobody can make a directory, not even root.
const UNWRITABLE: &str = "/sys/kernel/forgeline";

#[tokio::test]
async fn create_says_so_and_exits_3() {
    let sandbox = Sandbox::start("0ms");
    let ran = run(sandbox
        .forgeline(&["create", "shop"])
        .env("FORGELINE_DATA_DIR", UNWRITABLE));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stderr.contains("cannot be written") && ran.stderr.contains("FORGELINE_DATA_DIR"),
        "{ran:?}"
    );
    assert!(sandbox.requests().await.is_empty());
}

#[tokio::test]
async fn serve_lives_is_not_ready_and_answers_a_typed_error() {
    let sandbox = Sandbox::start("0ms");
    let mut command = sandbox.forgeline(&["serve"]);
    command
        .env("FORGELINE_DATA_DIR", UNWRITABLE)
        .env("FORGELINE_STATIC_TOKEN", BEARER);
    let server = Server::start(command);
    let status = async |path: &str| {
        server
            .http
            .get(server.address(path))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(status("/livez").await, 200);
    assert_eq!(status("/readyz").await, 503);
    let answer = server.call("project_create", json!({"name": "shop"})).await;
    assert_eq!(answer["isError"], true, "{answer}");
    let error = &answer["structuredContent"]["error"];
    // What cannot be recorded is not even begun.
    assert_eq!(error["code"], "audit.unwritable");
    assert!(
        error["remedy"]
            .as_str()
            .unwrap()
            .contains("FORGELINE_DATA_DIR"),
        "{error}"
    );
}

/// A command whose files may not grow beyond so many blocks: its disk is full there.
fn with_a_small_disk(sandbox: &Sandbox, blocks: u32, args: &[&str]) -> std::process::Command {
    let plain = sandbox.forgeline(args);
    let mut command = std::process::Command::new("bash");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(plain.get_program());
    command.args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[tokio::test]
async fn a_disk_that_fills_up_stops_the_run_says_so_and_loses_nothing() {
    let mut stopped = 0;
    for blocks in [40, 60, 80, 100, 120, 140, 160] {
        let sandbox = Sandbox::start("0ms");
        let full = run(&mut with_a_small_disk(
            &sandbox,
            blocks,
            &["create", "shop"],
        ));
        if full.code != 0 {
            stopped += 1;
            assert_eq!(full.code, 3, "{blocks}: {full:?}");
            assert!(
                full.stderr.contains("cannot be written"),
                "{blocks}: {full:?}"
            );
            assert!(
                full.stderr.contains("free disk space"),
                "{blocks}: {full:?}"
            );
        }
        let again = sandbox.create("shop", &[]);
        assert_eq!(again.code, 0, "{blocks}: {again:?}");
        let store = sandbox.store().await;
        for (what, count) in [("gitea", 1), ("github", 1), ("namespaces", 1)] {
            assert_eq!(
                store[what].as_array().unwrap().len(),
                count,
                "{blocks}: {store}"
            );
        }
        assert_eq!(store["gitea"][0]["mirrors"].as_array().unwrap().len(), 1);
        assert_eq!(store["gitea"][0]["issues"].as_array().unwrap().len(), 1);
    }
    assert!(stopped > 2, "the disk was full {stopped} times");
}
