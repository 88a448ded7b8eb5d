//! MCP over HTTP in both protocol eras, and over stdio, with a client that knows nothing but JSON-RPC.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Running, Sandbox, Server, forgeline};

fn sandboxed() -> Server {
    Server::start(forgeline(&["serve", "--sandbox"]))
}

async fn post(server: &Server, bearer: Option<&str>, body: &Value) -> reqwest::Response {
    let mut request = server
        .http
        .post(&server.url)
        .header("accept", "application/json, text/event-stream");
    if let Some(bearer) = bearer {
        request = request.header("authorization", bearer);
    }
    request.json(body).send().await.expect("the server answers")
}

#[tokio::test]
async fn without_with_an_empty_and_with_a_wrong_bearer_it_is_401_with_a_challenge() {
    let server = sandboxed();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    for bearer in [
        None,
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer wrong"),
        Some("Basic YTpi"),
    ] {
        let response = post(&server, bearer, &body).await;
        assert_eq!(response.status(), 401, "{bearer:?}");
        let error = if bearer.is_some() {
            "error=\"invalid_token\", "
        } else {
            ""
        };
        let metadata = server.address("/.well-known/oauth-protected-resource/mcp");
        assert_eq!(
            response.headers()["www-authenticate"],
            format!("Bearer {error}scope=\"forgeline:read forgeline:create\", resource_metadata=\"{metadata}\"")
                .as_str()
        );
    }
    let query = format!("{}?access_token={}", server.url, server.bearer);
    assert_eq!(
        server
            .http
            .post(query)
            .json(&body)
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
}

#[tokio::test]
async fn serve_with_sandbox_says_how_to_connect_and_how_to_clone() {
    let server = sandboxed();
    assert!(
        server
            .said
            .contains("claude mcp add --transport http forgeline http://127.0.0.1:"),
        "{}",
        server.said
    );
    assert_eq!(server.bearer.len(), 64);
}

#[tokio::test]
async fn a_client_of_the_initialize_era_lists_and_creates() {
    let server = sandboxed();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "plain", "version": "1"}});
    let hello = server.rpc("initialize", params).await;
    assert_eq!(hello["result"]["serverInfo"]["name"], "forgeline");
    assert_eq!(hello["result"]["protocolVersion"], "2025-11-25");
    let tools = server.rpc("tools/list", json!({})).await;
    let names: Vec<&str> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "project_create",
            "library_create",
            "project_status",
            "project_list",
            "run_resume",
            "run_cancel",
            "doctor",
            "project_check",
            "project_renew",
            "cleanup_test_repos",
            "project_delete",
            "mirror_rotate",
            "project_token",
        ]
    );
    let made = server.call("project_create", json!({"name": "shop"})).await;
    assert_eq!(made["isError"], false, "{made}");
    assert_eq!(made["structuredContent"]["state"], "succeeded", "{made}");
    assert!(
        made["content"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("shop: succeeded"),
        "{made}"
    );
}

#[tokio::test]
async fn a_client_of_the_2026_era_discovers_lists_and_creates() {
    let server = sandboxed();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "plain", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let ask = async |method: &str, name: Option<&str>, mut params: Value| {
        params["_meta"] = meta.clone();
        let mut request = server.http.post(&server.url).bearer_auth(&server.bearer);
        request = request.header("accept", "application/json, text/event-stream");
        request = request
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let response = request.json(&body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{method}");
        response.json::<Value>().await.unwrap()
    };
    let found = ask("server/discover", None, json!({})).await;
    assert!(
        found["result"]["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&json!("2026-07-28")),
        "{found}"
    );
    let tools = ask("tools/list", None, json!({})).await;
    assert_eq!(
        tools["result"]["tools"].as_array().unwrap().len(),
        13,
        "{tools}"
    );
    let made = ask(
        "tools/call",
        Some("project_create"),
        json!({"name": "project_create", "arguments": {"name": "shop"}}),
    )
    .await;
    assert_eq!(
        made["result"]["structuredContent"]["state"], "succeeded",
        "{made}"
    );
}

#[tokio::test]
async fn progress_arrives_for_every_step_when_it_is_asked_for() {
    let server = sandboxed();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "project_create", "arguments": {"name": "shop"}, "_meta": {"progressToken": "p1"}}});
    let response = post(&server, Some(&format!("Bearer {}", server.bearer)), &body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok())
        .collect();
    let notes: Vec<&Value> = events
        .iter()
        .filter(|event| event["method"] == "notifications/progress")
        .collect();
    let told = |part: &str| {
        notes.iter().any(|note| {
            note["params"]["message"]
                .as_str()
                .is_some_and(|message| message.contains(part))
        })
    };
    for step in [
        "gitea_repository: done",
        "github_repository: done",
        "infra_namespace: done",
        "mirror: done",
        "issue: done",
    ] {
        assert!(told(step), "{step}: {notes:?}");
    }
    let numbers: Vec<f64> = notes
        .iter()
        .map(|note| note["params"]["progress"].as_f64().unwrap())
        .collect();
    assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
    assert_eq!(
        events.last().unwrap()["result"]["structuredContent"]["state"],
        "succeeded"
    );
}

#[tokio::test]
async fn eight_calls_at_once_make_one_project() {
    let sandbox = Sandbox::start("5ms");
    let server = Server::against(&sandbox);
    let calls = (0..8).map(|_| server.view("project_create", json!({"name": "shop"})));
    let views = join_all(calls).await;
    let runs: std::collections::BTreeSet<&str> = views
        .iter()
        .map(|view| view["run_id"].as_str().unwrap())
        .collect();
    assert_eq!(runs.len(), 1, "{views:?}");
    assert!(views.iter().all(|view| view["state"] == "succeeded"));
    assert_eq!(
        views.iter().filter(|view| view["joined"] == true).count(),
        7
    );
    let store = sandbox.store().await;
    for what in ["gitea", "github", "namespaces"] {
        assert_eq!(store[what].as_array().unwrap().len(), 1, "{what}");
    }
    assert_eq!(store["gitea"][0]["issues"].as_array().unwrap().len(), 1);
    assert_eq!(store["gitea"][0]["mirrors"].as_array().unwrap().len(), 1);
}

async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pinned: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = pinned.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (future, slot) in pinned
            .iter_mut()
            .zip(&mut done)
            .filter(|(_, slot)| slot.is_none())
        {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *slot = Some(value),
                std::task::Poll::Pending => waiting = true,
            }
        }
        if waiting {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_cancel_the_run() {
    let sandbox = Sandbox::start("25ms");
    let server = Server::against(&sandbox);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "project_create", "arguments": {"name": "shop"}}});
    let request = server
        .http
        .post(&server.url)
        .bearer_auth(&server.bearer)
        .header("accept", "application/json, text/event-stream");
    let call = tokio::spawn(request.json(&body).send());
    let creates = |request: &Value| request["operation"] == "POST /user/repos";
    while !sandbox.requests().await.iter().any(creates) {
        tokio::task::yield_now().await;
    }
    call.abort();
    let view = server
        .view(
            "project_status",
            json!({"project": "shop", "wait_seconds": 30}),
        )
        .await;
    assert_eq!(view["state"], "succeeded", "{view}");
}

#[tokio::test]
async fn a_cancelled_run_is_undone() {
    let sandbox = Sandbox::start("40ms");
    let server = Server::against(&sandbox);
    let started = server
        .view("project_create", json!({"name": "shop", "wait_seconds": 0}))
        .await;
    assert_eq!(started["state"], "running");
    while sandbox.requests().await.len() < 8 {
        tokio::task::yield_now().await;
    }
    let view = server
        .view(
            "run_cancel",
            json!({"run_id": started["run_id"], "wait_seconds": 60}),
        )
        .await;
    assert_eq!(
        (view["state"].as_str(), view["cause"].as_str()),
        (Some("compensated"), Some("cancel")),
        "{view}"
    );
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn domain_failures_are_results_and_malformed_requests_are_protocol_errors() {
    let server = sandboxed();
    let refused = server
        .call("project_create", json!({"name": "shop", "colour": "red"}))
        .await;
    assert_eq!(refused["isError"], true);
    assert_eq!(
        refused["structuredContent"]["error"]["code"],
        "input.invalid"
    );
    let unknown = server
        .rpc("tools/call", json!({"name": "nothing", "arguments": {}}))
        .await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let server = sandboxed();
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    for (header, value) in [
        ("host", "evil.example.org"),
        ("origin", "https://evil.example.org"),
    ] {
        let request = server
            .http
            .post(&server.url)
            .bearer_auth(&server.bearer)
            .header("accept", "application/json, text/event-stream");
        assert_eq!(
            request
                .header(header, value)
                .json(&body)
                .send()
                .await
                .unwrap()
                .status(),
            403,
            "{header}"
        );
    }
}

#[tokio::test]
async fn the_tools_schemas_are_a_public_interface() {
    let server = sandboxed();
    let tools = server.rpc("tools/list", json!({})).await["result"]["tools"].clone();
    insta::assert_json_snapshot!("tools", tools);
}

#[test]
fn serve_over_stdio_speaks_the_same_protocol() {
    let mut command = forgeline(&["serve", "--stdio", "--sandbox"]);
    let mut process = Running(
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut stdin = process.0.stdin.take().unwrap();
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let mut ask = |message: Value| writeln!(stdin, "{message}").unwrap();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "plain", "version": "1"}});
    ask(json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}));
    let mut answer = |id: u64| -> Value {
        loop {
            let message: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if message["id"] == id {
                return message;
            }
        }
    };
    assert_eq!(answer(1)["result"]["serverInfo"]["name"], "forgeline");
    ask(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    ask(
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "project_create", "arguments": {"name": "shop"}}}),
    );
    assert_eq!(
        answer(2)["result"]["structuredContent"]["state"],
        "succeeded"
    );
    drop(stdin);
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}

#[test]
fn over_stdio_an_answer_arrives_even_when_stdin_has_ended() {
    let mut command = forgeline(&["serve", "--stdio", "--sandbox"]);
    let mut process = Running(
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut stdin = process.0.stdin.take().unwrap();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "plain", "version": "1"}});
    let call = json!({"name": "project_create", "arguments": {"name": "shop"}, "_meta": {"progressToken": "p"}});
    for message in [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}),
    ] {
        writeln!(stdin, "{message}").unwrap();
    }
    drop(stdin);
    let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let messages: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    let answer = messages
        .iter()
        .find(|message| message["id"] == 2)
        .expect("an answer");
    assert_eq!(answer["result"]["structuredContent"]["state"], "succeeded");
}
