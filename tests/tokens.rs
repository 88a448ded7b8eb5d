//! The incident: a token that is missing or wrong in form is refused before any request, naming where it came from.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{BEARER, Ran, Sandbox, Server, run};

const ROLES: [&str; 5] = [
    "GITEA_MCP_TOKEN",
    "GITEA_TOKEN",
    "GITHUB_PAT",
    "GITHUB_MIRROR_TOKEN",
    "KUBE_TOKEN",
];
const BAD: [Option<&str>; 5] = [
    None,
    Some(""),
    Some("  "),
    Some("changeme"),
    Some("one\ntwo"),
];

fn create_with(sandbox: &Sandbox, changes: &[(&str, Option<&str>)]) -> Ran {
    let mut command = sandbox.forgeline(&["create", "shop"]);
    for (name, value) in changes {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    run(&mut command)
}

#[tokio::test]
async fn every_kind_of_bad_token_in_every_role_is_refused_before_any_request() {
    let sandbox = Sandbox::start("0ms");
    for role in ROLES {
        for bad in BAD {
            let ran = create_with(&sandbox, &[(role, bad)]);
            assert_eq!(ran.code, 3, "{role} {bad:?}: {ran:?}");
            assert!(ran.stderr.contains(role), "{role} {bad:?}: {ran:?}");
            assert_eq!(
                ran.stderr.matches("help:").count(),
                1,
                "{role} {bad:?}: {ran:?}"
            );
            assert_eq!(ran.stdout, "");
        }
    }
    assert!(sandbox.requests().await.is_empty());
}

#[tokio::test]
async fn all_bad_tokens_are_named_in_one_message() {
    let sandbox = Sandbox::start("0ms");
    let changes: Vec<(&str, Option<&str>)> = ROLES.into_iter().zip(BAD).collect();
    let ran = create_with(&sandbox, &changes);
    assert_eq!(ran.code, 3, "{ran:?}");
    for role in ROLES {
        assert!(ran.stderr.contains(role), "{role}: {ran:?}");
    }
    assert!(sandbox.requests().await.is_empty());
}

#[tokio::test]
async fn a_bad_inbound_bearer_keeps_the_server_from_starting() {
    let sandbox = Sandbox::start("0ms");
    for bad in ["", "  ", "changeme", "one\ntwo", "too-short"] {
        let mut command = sandbox.forgeline(&["serve", "--listen", "127.0.0.1:0"]);
        let ran = run(command.env("FORGELINE_STATIC_TOKEN", bad));
        assert_eq!(ran.code, 3, "{bad:?}: {ran:?}");
        assert!(
            ran.stderr.contains("FORGELINE_STATIC_TOKEN"),
            "{bad:?}: {ran:?}"
        );
    }
    // Without any, it serves on loopback with a bearer of its own, and nowhere else.
    let ran = run(&mut sandbox.forgeline(&["serve", "--listen", "0.0.0.0:0"]));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("FORGELINE_STATIC_TOKEN"), "{ran:?}");
    assert!(sandbox.requests().await.is_empty());
}

#[tokio::test]
async fn a_token_in_a_file_is_read_without_its_final_line_break() {
    let sandbox = Sandbox::start("0ms");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, format!("{}\n", sandbox.env["GITEA_TOKEN"])).unwrap();
    let mut command = sandbox.forgeline(&["create", "shop"]);
    let ran = run(command
        .env_remove("GITEA_TOKEN")
        .env("GITEA_TOKEN_FILE", &path));
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// The incident: the bearer for gitea-mcp is missing, empty, blank, a placeholder, or no longer good.
#[tokio::test]
async fn the_incident_is_named_by_doctor_serve_and_create_with_its_origin_and_the_fix() {
    let sandbox = Sandbox::start("0ms");
    for bad in [
        None,
        Some(""),
        Some("   "),
        Some("---"),
        Some("--- paste the token here"),
    ] {
        for args in [
            ["create", "shop"].as_slice(),
            &["serve", "--listen", "127.0.0.1:0"],
            &["serve", "--stdio"],
            &["doctor"],
        ] {
            let mut command = sandbox.forgeline(args);
            match bad {
                Some(bad) => command.env("GITEA_MCP_TOKEN", bad),
                None => command.env_remove("GITEA_MCP_TOKEN"),
            };
            let ran = run(&mut command);
            assert_eq!(ran.code, 3, "{args:?} {bad:?}: {ran:?}");
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(
                said.contains("GITEA_MCP_TOKEN"),
                "{args:?} {bad:?}: {ran:?}"
            );
            let origin = bad.map_or(
                "GITEA_MCP_TOKEN is not set",
                |_| "environment variable GITEA_MCP_TOKEN",
            );
            assert!(said.contains(origin), "{args:?} {bad:?}: {ran:?}");
            let fix = bad.map_or(
                "set GITEA_MCP_TOKEN",
                |_| "put the real token into GITEA_MCP_TOKEN",
            );
            assert!(said.contains(fix), "{args:?} {bad:?}: {ran:?}");
        }
    }
    // doctor looks at the other systems; to this one nobody has come, with a bearer or without.
    let requests = sandbox.requests().await;
    assert!(
        requests
            .iter()
            .all(|request| request["system"] != "gitea_mcp"),
        "{requests:?}"
    );
    let none = |request: &&Value| request["status"] == 401;
    assert_eq!(requests.iter().find(none), None);
    stale(&sandbox).await;
}

/// A bearer that was good once: the server starts, and says what is wrong with it as soon as somebody asks.
async fn stale(sandbox: &Sandbox) {
    sandbox
        .rights(json!({"role": "gitea_mcp", "valid": false}))
        .await;
    let server = Server::against(sandbox);
    let answer = server.view("project_create", json!({"name": "shop"})).await;
    let error = &answer["error"];
    assert_eq!(error["code"], "gitea_mcp.unauthorized", "{answer}");
    let said = error.to_string();
    for part in ["GITEA_MCP_TOKEN", "environment variable"] {
        assert!(said.contains(part), "{part}: {error}");
    }
    let report = run(&mut sandbox.forgeline(&["doctor", "-o", "json"]));
    assert_eq!(report.code, 3, "{report:?}");
    let report = report.json();
    let failed = report["checks"].as_array().unwrap().iter();
    let failed: Vec<&Value> = failed.filter(|check| check["status"] == "fail").collect();
    assert!(
        failed
            .iter()
            .any(|check| check.to_string().contains("GITEA_MCP_TOKEN")),
        "{failed:?}"
    );
    sandbox.assert_empty().await;
}

#[tokio::test]
async fn a_trailing_line_break_is_cut_off_with_a_warning_and_the_same_value_in_two_roles_too() {
    let sandbox = Sandbox::start("0ms");
    let with_break = format!("{}\n", sandbox.env["GITEA_MCP_TOKEN"]);
    let same = sandbox.env["GITEA_TOKEN"].clone();
    for (value, id, subject) in [
        (with_break, "token.gitea_mcp", "GITEA_MCP_TOKEN"),
        (same, "token.same", "GITEA_MCP_TOKEN and GITEA_TOKEN"),
    ] {
        let mut command = sandbox.forgeline(&["doctor", "--only", "token", "-o", "json"]);
        let ran = run(command.env("GITEA_MCP_TOKEN", &value));
        assert_eq!(ran.code, 0, "a warning is no failure: {ran:?}");
        let report = ran.json();
        let mut checks = report["checks"].as_array().unwrap().iter();
        let found = checks.find(|check| check["id"] == id).unwrap();
        assert_eq!(
            (&found["status"], &found["subject"]),
            (&json!("warn"), &json!(subject))
        );
    }
}

/// As the kubelet does it: every file is a link to `..data/NAME`, and `..data` is swapped as a whole.
fn swap(dir: &Path, name: &str, files: &[(&str, &str)]) {
    std::fs::create_dir(dir.join(name)).unwrap();
    for (file, text) in files {
        std::fs::write(dir.join(name).join(file), text).unwrap();
        let link = dir.join(file);
        if !link.exists() {
            symlink(format!("..data/{file}"), link).unwrap();
        }
    }
    symlink(name, dir.join("..data_tmp")).unwrap();
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
}

#[tokio::test]
async fn a_secret_that_is_rotated_under_a_running_server_counts_with_the_next_call() {
    let sandbox = Sandbox::start("0ms");
    let secrets = tempfile::tempdir().unwrap();
    let good: Vec<(&str, &str)> = ROLES
        .iter()
        .map(|role| (*role, sandbox.env[*role].as_str()))
        .collect();
    let old: Vec<(&str, &str)> = ROLES
        .iter()
        .map(|role| (*role, "an-old-token-that-was-revoked"))
        .collect();
    swap(secrets.path(), "..1", &old);
    let mut command = sandbox.forgeline(&["serve"]);
    command.env("FORGELINE_STATIC_TOKEN", BEARER);
    for role in ROLES {
        command.env_remove(role);
        command.env(format!("{role}_FILE"), secrets.path().join(role));
    }
    let server = Server::start(command);
    let refused = server.view("project_create", json!({"name": "shop"})).await;
    assert!(refused["error"]["code"].is_string(), "{refused}");
    let before = readyz(&server).await;
    swap(secrets.path(), "..2", &good);
    let made = server.view("project_create", json!({"name": "shop"})).await;
    assert_eq!(made["state"], "succeeded", "{made}");
    let after = readyz(&server).await;
    for role in ROLES {
        let (before, after) = (&before["tokens"][role], &after["tokens"][role]);
        assert_eq!(
            (&before["generation"], &after["generation"]),
            (&json!(0), &json!(1)),
            "{role}"
        );
        assert_ne!(before["fingerprint"], after["fingerprint"], "{role}");
    }
    assert_ne!(before["configuration_hash"], after["configuration_hash"]);
    // A bad rotation: the last good one stays, and everybody who looks is told.
    let bad: Vec<(&str, &str)> = ROLES.iter().map(|role| (*role, "")).collect();
    swap(secrets.path(), "..3", &bad);
    let again = server.view("project_create", json!({"name": "shop"})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
    let kept = readyz(&server).await;
    assert_eq!(
        kept["tokens"]["GITEA_TOKEN"]["fingerprint"],
        after["tokens"]["GITEA_TOKEN"]["fingerprint"]
    );
    assert_eq!(kept["tokens"]["GITEA_TOKEN"]["trouble"], "token.empty");
    let report = server
        .view("doctor", json!({"only": ["token.reload"]}))
        .await;
    let told = report["checks"].as_array().unwrap();
    assert_eq!(told.len(), ROLES.len(), "{report}");
    assert!(
        told.iter().all(|check| check["status"] == "warn"),
        "{report}"
    );
    let metrics = server
        .http
        .get(server.address("/metrics"))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = "forgeline_secret_reload_errors{secret=\"GITEA_TOKEN\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

async fn readyz(server: &Server) -> Value {
    let answer = server
        .http
        .get(server.address("/readyz?verbose"))
        .send()
        .await
        .unwrap();
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_token_in_a_secret_of_the_cluster_follows_it() {
    let mut sandbox = Sandbox::start("0ms");
    let secret = |token: &str| json!({"what": "secret", "namespace": "forgeline", "name": "tokens", "data": {"gitea": token}});
    let good = sandbox.env["GITEA_TOKEN"].clone();
    sandbox.seed(secret("an-old-token-that-was-revoked")).await;
    sandbox.env.remove("GITEA_TOKEN");
    let file = "[gitea]\ntoken = { kubernetes = { namespace = \"forgeline\", secret = \"tokens\", key = \"gitea\" } }\n";
    std::fs::write(sandbox.dir().join("forgeline.toml"), file).unwrap();
    let mut command = sandbox.forgeline(&["serve"]);
    command
        .current_dir(sandbox.dir())
        .env("FORGELINE_STATIC_TOKEN", BEARER);
    let server = Server::start(command);
    let generation = async |wanted: u64| {
        let seen = async {
            while readyz(&server).await["tokens"]["GITEA_TOKEN"]["generation"] != wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), seen)
            .await
            .expect("the watch tells")
    };
    generation(0).await;
    sandbox.seed(secret(&good)).await;
    generation(1).await;
    let made = server.view("project_create", json!({"name": "shop"})).await;
    assert_eq!(made["state"], "succeeded", "{made}");
    // Gone, or without the key: the last good one stays in use.
    sandbox
        .seed(json!({"what": "secret_gone", "namespace": "forgeline", "name": "tokens"}))
        .await;
    let told = async {
        while readyz(&server).await["tokens"]["GITEA_TOKEN"]["trouble"].is_null() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), told)
        .await
        .expect("the watch tells");
    let again = server.view("project_create", json!({"name": "shop"})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
    // doctor, in a process of its own, names the Secret.
    let mut doctor = sandbox.forgeline(&["doctor", "--only", "token.secret", "-o", "json"]);
    let report = run(doctor.current_dir(sandbox.dir()));
    assert_eq!(report.code, 3, "{report:?}");
    assert!(
        report
            .stdout
            .contains("there is no Secret forgeline/tokens"),
        "{report:?}"
    );
    sandbox.seed(json!({"what": "secret", "namespace": "forgeline", "name": "tokens", "data": {"other": "x"}})).await;
    let report = run(&mut doctor);
    assert!(
        report.stdout.contains("has no key gitea; it has other"),
        "{report:?}"
    );
    sandbox.seed(secret("")).await;
    let report = run(&mut doctor);
    assert!(report.stdout.contains("is empty"), "{report:?}");
}

#[tokio::test]
async fn a_token_file_that_everybody_can_read_is_warned_about() {
    let sandbox = Sandbox::start("0ms");
    let path = sandbox.dir().join("token");
    std::fs::write(&path, &sandbox.env["GITEA_TOKEN"]).unwrap();
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut doctor = sandbox.forgeline(&["doctor", "--only", "token", "-o", "json"]);
        let ran = run(doctor
            .env_remove("GITEA_TOKEN")
            .env("GITEA_TOKEN_FILE", &path));
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(
            ran.stdout.contains("token.readable"),
            warned,
            "{mode:o}: {ran:?}"
        );
    }
}
