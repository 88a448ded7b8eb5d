//! gitea-mcp servers that lack tools, lie, or are not known. (Two third-party servers run in `tests/interop`.)

use serde_json::json;

use crate::support::{Sandbox, run};

#[tokio::test]
async fn a_server_with_two_tools_and_no_rest_is_refused_with_everything_that_is_missing() {
    let sandbox = Sandbox::start("0ms");
    sandbox
        .seed(json!({"what": "gitea_mcp_tools", "tools": ["create_repo", "create_issue"]}))
        .await;
    let mut command = sandbox.forgeline(&["create", "shop", "-o", "json"]);
    let ran = run(command.env_remove("GITEA_URL").env_remove("GITEA_TOKEN"));
    assert_eq!(ran.code, 3, "{ran:?}");
    let error = ran.json()["error"].clone();
    assert_eq!(error["code"], "gitea_mcp.operations_missing");
    let said = error["message"].as_str().unwrap();
    for operation in [
        "who_am_i",
        "read_repository",
        "delete_repository",
        "add_push_mirror",
        "sync_push_mirrors",
        "list_issues",
    ] {
        assert!(said.contains(operation), "{operation}: {said}");
    }
    assert!(!said.contains("create_issue"), "{said}");
    sandbox.assert_empty().await;
    // With REST the same server serves.
    assert_eq!(sandbox.create("shop", &[]).code, 0);
}

#[tokio::test]
async fn a_server_that_answers_success_without_doing_anything_is_found_out() {
    let sandbox = Sandbox::start("0ms");
    let lie = json!({"jsonrpc": "2.0", "id": "$id", "result": {"content": [{"type": "text", "text": "{\"message\":\"Repository Created\"}"}]}});
    let fault = json!({"system": "gitea_mcp", "operation": "tools/call create_repo", "nth": 0,
        "fault": {"kind": "body_before", "text": lie.to_string()}});
    sandbox.fault(fault).await;
    let ran = sandbox.create("shop", &[]);
    assert_eq!(ran.code, 6, "{ran:?}");
    let view = ran.json();
    assert_eq!(view["state"], "compensated");
    let said = view["error"]["message"].as_str().unwrap();
    assert!(
        said.contains("answered success, but no such repository is there"),
        "{said}"
    );
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn an_unknown_server_wants_a_mapping_file_and_works_with_one() {
    let sandbox = Sandbox::start("0ms");
    let official = include_str!("../crates/gitea/dialects/official.toml");
    // The sandbox's server under a name that nobody knows.
    let other = official.replace("Gitea MCP Server", "Somebody's Server");
    let file = sandbox.dir().join("mapping.toml");
    std::fs::write(&file, &other).unwrap();
    let with = |sandbox: &Sandbox, file: &std::path::Path| {
        let mut command = sandbox.forgeline(&["create", "shop", "-o", "json"]);
        run(command.env("GITEA_MCP_DIALECT", file))
    };
    let rename = |name: &str| {
        let hello = json!({"jsonrpc": "2.0", "id": "$id", "result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": name, "version": "1"}}});
        json!({"system": "gitea_mcp", "operation": "initialize", "nth": 0, "fault": {"kind": "body_before", "text": hello.to_string()}})
    };
    sandbox.fault(rename("Somebody's Server")).await;
    let unknown = sandbox.create("shop", &[]);
    assert_eq!(unknown.code, 3, "{unknown:?}");
    assert!(
        unknown.stdout.contains("Somebody's Server")
            && unknown.stdout.contains("GITEA_MCP_DIALECT"),
        "{unknown:?}"
    );
    sandbox.assert_empty().await;
    let known = with(&sandbox, &file);
    assert_eq!(known.code, 0, "{known:?}");
    std::fs::write(&file, "name = 1").unwrap();
    let broken = with(&sandbox, &file);
    assert_eq!(broken.code, 3, "{broken:?}");
    assert!(broken.stderr.contains("line 1"), "{broken:?}");
}
