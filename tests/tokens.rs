//! The incident: a token that is missing or wrong in form is refused before any request, naming where it came from.

use crate::support::{Ran, Sandbox, run};

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
