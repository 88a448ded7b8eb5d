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
    assert_eq!(error["code"], "journal.unwritable");
    assert!(
        error["remedy"]
            .as_str()
            .unwrap()
            .contains("FORGELINE_DATA_DIR"),
        "{error}"
    );
}
