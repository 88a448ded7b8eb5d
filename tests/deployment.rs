//! Deployment: the manifests are taken by an API server, and the program runs where it may write two places only.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{BEARER, Sandbox, run};

fn manifests() -> Vec<(String, Value)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kubernetes");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let object = !name.starts_with('.') && name != "kustomization.yaml";
        if object && path.extension().is_some_and(|end| end == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
            all.extend(
                documents
                    .into_iter()
                    .map(|document| (name.clone(), document)),
            );
        }
    }
    all
}

#[tokio::test]
async fn an_api_server_takes_every_manifest_in_a_dry_run() {
    let sandbox = Sandbox::start("0ms");
    let all = manifests();
    assert!(all.len() > 10, "{}", all.len());
    let http = reqwest::Client::new();
    for (name, object) in all {
        let api = object["apiVersion"].as_str().unwrap();
        let root = if api.contains('/') { "apis" } else { "api" };
        let kind = object["kind"].as_str().unwrap().to_lowercase();
        let plural = match kind.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{kind}s"),
        };
        let namespace = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("/namespaces/{namespace}"),
            None => String::new(),
        };
        let url = format!(
            "{}/{root}/{api}{namespace}/{plural}?dryRun=All&fieldValidation=Strict",
            sandbox.env["KUBE_API_URL"]
        );
        let posted = http
            .post(url)
            .bearer_auth(&sandbox.env["KUBE_TOKEN"])
            .json(&object)
            .send()
            .await
            .unwrap();
        assert_eq!(
            posted.status(),
            201,
            "{name}: {}",
            posted.text().await.unwrap_or_default()
        );
    }
    assert_eq!(
        sandbox.store().await["namespaces"],
        Value::Array(Vec::new()),
        "nothing is kept"
    );
}

/// Runs a shell script as another user in a world that is read-only but for two places. `None`: this machine allows no
/// user namespaces.
fn confined(script: &str, writable: &[&Path]) -> Option<Command> {
    let usable = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !usable {
        return None;
    }
    let keep: String = writable
        .iter()
        .map(|place| format!("mount --bind {0} {0}; ", place.display()))
        .collect();
    let inner = format!(
        "set -e; {keep} mount -o remount,bind,ro / ; exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs sh -c '{script}'"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &inner])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Some(command)
}

#[tokio::test]
async fn it_runs_as_another_user_on_a_read_only_root_with_two_writable_places() {
    let sandbox = Sandbox::start("0ms");
    let dir = tempfile::tempdir().unwrap();
    let (data, temporary) = (dir.path().join("data"), dir.path().join("tmp"));
    for place in [&data, &temporary] {
        std::fs::create_dir(place).unwrap();
        open_to_all(place);
    }
    open_to_all(dir.path());
    // The program where another user can reach it.
    let program = dir.path().join("forgeline");
    std::fs::copy(env!("CARGO_BIN_EXE_forgeline"), &program).unwrap();
    let script = format!(
        "touch /etc/x 2>/dev/null && echo writable-root; {} create shop -o json",
        program.display()
    );
    let mut command = match confined(&script, &[&data, &temporary]) {
        Some(command) if is_root() => command,
        // Without the right to unshare: permissions alone keep the program to its two places.
        _ => {
            let mut command = Command::new("sh");
            command
                .args(["-c", &script])
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .current_dir("/");
            command
        }
    };
    command
        .envs(&sandbox.env)
        .env("FORGELINE_STATIC_TOKEN", BEARER);
    command
        .env("FORGELINE_DATA_DIR", &data)
        .env("TMPDIR", &temporary)
        .env("HOME", &temporary);
    let ran = run(&mut command);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        !ran.stdout.contains("writable-root") || !is_root(),
        "{ran:?}"
    );
    let json = &ran.stdout[ran.stdout.find('{').unwrap()..];
    let view: Value = serde_json::from_str(json).unwrap();
    assert_eq!(view["state"], "succeeded", "{view}");
    assert!(data.join("journal.db").exists() || std::fs::read_dir(&data).unwrap().count() > 0);
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn open_to_all(place: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o777)).unwrap();
}
