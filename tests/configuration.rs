//! The configuration file, what `config show` says of it, completion, and tokens that change while a server runs.

use serde_json::{Value, json};

use crate::support::{BEARER, Sandbox, Server, forgeline, run};

#[tokio::test]
async fn a_file_and_the_environment_together_are_the_configuration() {
    let sandbox = Sandbox::start("0ms");
    let token = sandbox.dir().join("github-token");
    std::fs::write(&token, format!("{}\n", sandbox.env["GITHUB_PAT"])).unwrap();
    let file = format!(
        "data_dir = \"{}\"\n[gitea]\nurl = \"{}\"\ntoken = {{ env = \"MY_GITEA\" }}\nowner = \"nobody\"\n\
         [github]\ntoken = {{ file = \"{}\" }}\n",
        sandbox.dir().join("from-file").display(),
        sandbox.env["GITEA_URL"],
        token.display()
    );
    std::fs::write(sandbox.dir().join("forgeline.toml"), file).unwrap();
    let with = |args: &[&str]| {
        let mut command = sandbox.forgeline(args);
        command
            .current_dir(sandbox.dir())
            .env("MY_GITEA", &sandbox.env["GITEA_TOKEN"]);
        for name in [
            "GITEA_URL",
            "GITEA_TOKEN",
            "GITHUB_PAT",
            "FORGELINE_DATA_DIR",
        ] {
            command.env_remove(name);
        }
        run(&mut command)
    };
    let made = with(&["create", "shop", "-o", "json"]);
    assert_eq!(made.code, 0, "{made:?}");
    // The environment wins over the file.
    assert!(
        made.json()["artifacts"]["gitea_repository"]["url"]
            .as_str()
            .unwrap()
            .contains("/acme/shop")
    );
    assert!(sandbox.dir().join("from-file").exists());
    let shown = with(&["config", "show", "-o", "json"]);
    let rows = shown.json();
    let row = |name: &str| {
        rows.as_array()
            .unwrap()
            .iter()
            .find(|row| row["name"] == name)
            .cloned()
            .unwrap()
    };
    assert!(
        row("GITEA_TOKEN")["origin"]
            .as_str()
            .unwrap()
            .ends_with("forgeline.toml")
    );
    assert!(
        row("GITEA_TOKEN")["value"]
            .as_str()
            .unwrap()
            .starts_with("hmac:")
    );
    assert_eq!(row("FORGELINE_GITEA_OWNER")["origin"], "environment");
    assert_eq!(
        row("FORGELINE_LISTEN"),
        json!({"name": "FORGELINE_LISTEN", "value": "127.0.0.1:3210", "origin": "default",
        "secret": false, "key": "server.listen", "meaning": "Where serve listens."})
    );
    for secret in ["GITEA_TOKEN", "GITHUB_PAT", "KUBE_TOKEN"] {
        assert!(!shown.stdout.contains(&sandbox.env[secret]), "{secret}");
    }
}

#[tokio::test]
async fn a_secret_of_the_cluster_is_read_by_reference_and_a_missing_one_is_named() {
    let sandbox = Sandbox::start("0ms");
    let file = "[github]\ntoken = { kubernetes = { namespace = \"ci\", secret = \"tokens\", key = \"github\" } }\n";
    std::fs::write(sandbox.dir().join("forgeline.toml"), file).unwrap();
    sandbox.seed(json!({"what": "secret", "namespace": "ci", "name": "tokens", "data": {"github": sandbox.env["GITHUB_PAT"]}})).await;
    let create = || {
        let mut command = sandbox.forgeline(&["create", "shop", "-o", "json"]);
        run(command.current_dir(sandbox.dir()).env_remove("GITHUB_PAT"))
    };
    let made = create();
    assert_eq!(made.code, 0, "{made:?}");
    let file = file.replace("key = \"github\"", "key = \"other\"");
    std::fs::write(sandbox.dir().join("forgeline.toml"), file).unwrap();
    let refused = create();
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(
        refused.stderr.contains("key other of Secret ci/tokens"),
        "{refused:?}"
    );
}

#[test]
fn a_mistake_in_the_file_is_named_with_its_line_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("forgeline.toml"),
        "[gitea]\ntoken = \"hunter2\"\nulr = \"x\"\n",
    )
    .unwrap();
    for args in [["create", "shop"], ["config", "show"]] {
        let ran = run(forgeline(&args).current_dir(dir.path()));
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(
            ran.stderr.contains("gitea.token") && ran.stderr.contains("gitea.ulr"),
            "{ran:?}"
        );
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
    }
}

#[test]
fn an_address_with_a_password_is_shown_without_it() {
    let ran = run(forgeline(&["config", "show"]).env(
        "GITEA_URL",
        "https://bob:hunter2@gitea.example.org/git?a=b@c",
    ));
    assert!(
        ran.stdout
            .contains("https://***@gitea.example.org/git?a=b@c"),
        "{ran:?}"
    );
    assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
}

#[test]
fn the_example_names_every_setting_with_its_meaning() {
    let ran = run(&mut forgeline(&["config", "show", "--example"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let rows = run(&mut forgeline(&["config", "show", "-o", "json"])).json();
    let settings = rows.as_array().unwrap().iter();
    for row in settings.filter(|row| row["name"] != "configuration_hash") {
        for part in ["name", "meaning"] {
            assert!(ran.stdout.contains(row[part].as_str().unwrap()), "{row}");
        }
    }
    for table in [
        "[[mcp_servers]]",
        "allow_hosts",
        "[[auth.static]]",
        "image_pull_secret",
    ] {
        assert!(ran.stdout.contains(table), "{table}");
    }
}

#[test]
fn completion_scripts_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = run(&mut forgeline(&["completion", shell]));
        assert_eq!(ran.code, 0, "{shell}");
        assert!(
            ran.stdout.contains("forgeline") && ran.stdout.contains("doctor"),
            "{shell}"
        );
    }
}

#[tokio::test]
async fn a_mounted_token_that_is_rotated_is_used_without_a_restart() {
    let sandbox = Sandbox::start("0ms");
    let file = sandbox.dir().join("token");
    std::fs::write(&file, "a-token-that-was-revoked").unwrap();
    let mut command = sandbox.forgeline(&["serve"]);
    command
        .env_remove("GITHUB_PAT")
        .env("GITHUB_PAT_FILE", &file)
        .env("FORGELINE_STATIC_TOKEN", BEARER);
    let server = Server::start(command);
    let refused = server.view("project_create", json!({"name": "shop"})).await;
    assert_eq!(refused["error"]["code"], "github.unauthorized", "{refused}");
    std::fs::write(&file, &sandbox.env["GITHUB_PAT"]).unwrap();
    // It is looked at again within seconds.
    let began = std::time::Instant::now();
    loop {
        let view = server.view("project_create", json!({"name": "shop"})).await;
        if view["state"] == "succeeded" {
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "{view}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_mounted_bearer_of_callers_that_is_rotated_shuts_the_old_one_out() {
    let sandbox = Sandbox::start("0ms");
    let file = sandbox.dir().join("bearer");
    std::fs::write(&file, BEARER).unwrap();
    let mut command = sandbox.forgeline(&["serve"]);
    command.env("FORGELINE_STATIC_TOKEN_FILE", &file);
    let mut server = Server::start(command);
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let status = async |bearer: &str| {
        let request = server.http.post(&server.url).bearer_auth(bearer);
        request.json(&hello).send().await.unwrap().status().as_u16()
    };
    assert_ne!(status(BEARER).await, 401);
    let new = BEARER.replace('e', "f");
    assert_eq!(status(&new).await, 401);
    std::fs::write(&file, &new).unwrap();
    let began = std::time::Instant::now();
    while status(&new).await == 401 {
        assert!(began.elapsed().as_secs() < 60, "the new one is never taken");
        tokio::task::yield_now().await;
    }
    assert_eq!(status(BEARER).await, 401);
    new.clone_into(&mut server.bearer);
    let view = server.view("project_create", json!({"name": "shop"})).await;
    assert_eq!(view["state"], "succeeded", "{view}");
}

#[tokio::test]
async fn a_request_id_answers_its_run_and_a_throwaway_has_an_end() {
    let sandbox = Sandbox::start("0ms");
    let first = sandbox.create("shop", &["--request-id", "r1", "--ttl", "24h"]);
    assert_eq!(first.code, 0, "{first:?}");
    sandbox.forget_requests().await;
    let again = sandbox.create("shop", &["--request-id", "r1", "--ttl", "24h"]);
    assert_eq!(again.json()["run_id"], first.json()["run_id"]);
    let asked = sandbox.requests().await;
    let acts = |request: &&Value| {
        let operation = request["operation"].as_str().unwrap();
        operation.starts_with("tools/call create") || operation.starts_with("PATCH ")
    };
    assert_eq!(asked.iter().filter(acts).count(), 0, "{asked:?}");
    // The answer needs no upstream.
    let gone = run(sandbox
        .forgeline(&[
            "create",
            "shop",
            "--request-id",
            "r1",
            "--ttl",
            "24h",
            "-o",
            "json",
        ])
        .env("GITEA_MCP_URL", "http://127.0.0.1:9/mcp"));
    assert_eq!(
        (gone.code, &gone.json()["run_id"]),
        (0, &first.json()["run_id"]),
        "{gone:?}"
    );
    let other = sandbox.create("other", &["--request-id", "r1"]);
    assert_eq!(
        (other.code, &other.json()["error"]["code"]),
        (8, &json!("request.conflict")),
        "{other:?}"
    );
    let changed = sandbox.create("shop", &["--request-id", "r1", "--ttl", "48h"]);
    assert_eq!(
        changed.json()["error"]["code"],
        "request.conflict",
        "{changed:?}"
    );
    let listed = run(&mut sandbox.forgeline(&["list", "-o", "json"])).json();
    let row = &listed["projects"][0];
    let day: i64 = 24 * 60 * 60;
    let at = |value: &Value| {
        value
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
            .as_second()
    };
    assert!(
        (at(&row["expires_at"]) - at(&row["updated_at"]) - day).abs() < 60,
        "{row}"
    );
    let bad = sandbox.create("third", &["--ttl", "soon"]);
    assert_eq!(bad.code, 2, "{bad:?}");
}

#[tokio::test]
async fn ndjson_tells_each_thing_and_ends_with_the_answer() {
    let sandbox = Sandbox::start("0ms");
    let ran = run(&mut sandbox.forgeline(&["create", "shop", "-o", "ndjson"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["type"], &lines[0]["format"]),
        (&json!("version"), &json!(1))
    );
    let done = lines.iter().filter(|line| line["type"] == "done").count();
    assert_eq!(done, 7, "{ran:?}");
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["type"], &last["run"]["state"]),
        (&json!("answer"), &json!("succeeded"))
    );
}
