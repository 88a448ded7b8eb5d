//! What stands in examples/ is taken by the program as it is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::issuer::{Issuer, Key, usual};
use crate::support::{BEARER, Sandbox, Server, forgeline, run};

fn example(name: &str) -> String {
    let path = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_policy_can_be_used_and_its_schema_is_that_of_the_tools() {
    let path = format!("{}/../../examples/policy.cedar", env!("CARGO_MANIFEST_DIR"));
    let checked = run(&mut forgeline(&["policy", "check", "--policy", &path]));
    assert_eq!(checked.code, 0, "{checked:?}");
    let schema = run(&mut forgeline(&["policy", "schema"]));
    assert_eq!(
        schema.stdout,
        example("policy.cedarschema"),
        "print it anew with `forgeline policy schema`"
    );
    let decided = |caller: &str, tool: &str, more: &[&str]| {
        let mut args = vec![
            "policy", "check", "--policy", &path, "--as", caller, "--tool", tool,
        ];
        args.extend(more);
        run(&mut forgeline(&args)).code
    };
    let test = ["--project", "test-a", "--owner", "acme"];
    assert_eq!(decided("svc:router", "project_create", &test), 0);
    assert_eq!(decided("svc:router", "project_delete", &test), 4);
    assert_eq!(
        decided(
            "svc:router",
            "project_delete",
            &["--project", "test-a", "--throwaway"]
        ),
        0
    );
    assert_eq!(
        decided(
            "svc:router",
            "project_create",
            &[
                "--project",
                "test-a",
                "--owner",
                "ACME",
                "--owner",
                "Acme-Org"
            ]
        ),
        4
    );
    assert_eq!(
        decided(
            "oidc:ada",
            "project_delete",
            &["--project", "shop", "--group", "platform"]
        ),
        0
    );
    assert_eq!(
        decided("oidc:eve", "project_delete", &["--project", "shop"]),
        4
    );
    assert_eq!(
        decided(
            "oidc:eve",
            "project_delete",
            &["--project", "shop", "--plan"]
        ),
        0
    );
    assert_eq!(decided("svc:cleanup", "cleanup_test_repos", &[]), 0);
}

#[tokio::test]
async fn the_static_tokens_are_callers_with_their_scopes() {
    let mut sandbox = Sandbox::start("0ms");
    let secret = json!({"what": "secret", "namespace": "forgeline", "name": "forgeline-callers", "data": {"dashboard": "d".repeat(40)}});
    sandbox.seed(secret).await;
    let dir = sandbox.dir().to_owned();
    for (file, letter) in [("router", "r"), ("router-next", "n")] {
        std::fs::write(dir.join(file), letter.repeat(40)).unwrap();
    }
    let text =
        example("static-tokens.toml").replace("/run/secrets/forgeline", &dir.display().to_string());
    std::fs::write(dir.join("forgeline.toml"), text).unwrap();
    sandbox.set("FORGELINE_CLEANUP_TOKEN", &"c".repeat(40));
    let mut command = sandbox.forgeline(&["serve"]);
    command.current_dir(&dir);
    let mut server = Server::start(command);
    // What each may: list, create, apply a deletion.
    for (letter, may) in [
        ("r", [200, 200, 403]),
        ("n", [200, 200, 403]),
        ("c", [200, 403, 200]),
        ("d", [200, 403, 403]),
        ("x", [401, 401, 401]),
    ] {
        server.bearer = letter.repeat(40);
        let calls = [
            ("project_list", json!({})),
            ("project_create", json!({"name": "shop"})),
            ("project_delete", json!({"project": "shop", "plan_id": "x"})),
        ];
        for ((tool, arguments), status) in calls.into_iter().zip(may) {
            assert_eq!(
                server.refused(tool, arguments).await.0,
                status,
                "{letter} {tool}"
            );
        }
    }
    server.bearer = "r".repeat(40);
    std::fs::write(dir.join("router"), "").unwrap();
    assert_eq!(server.refused("project_list", json!({})).await.0, 401);
}

#[tokio::test]
async fn the_jwt_configuration_takes_tokens_of_its_issuer() {
    let key = Key::new();
    let issuer = Issuer::start(vec![key.jwk("k1")]).await;
    let sandbox = Sandbox::start("0ms");
    let text = example("jwt.toml").replace("https://id.example.org", &issuer.url);
    std::fs::write(sandbox.dir().join("forgeline.toml"), text).unwrap();
    let mut command = sandbox.forgeline(&["serve"]);
    command
        .current_dir(sandbox.dir())
        .env("FORGELINE_STATIC_TOKEN", BEARER);
    let mut server = Server::start(command);
    let resource = "https://forgeline.example.org/mcp";
    let token = |claims: Value| {
        let (header, mut all) = usual(&issuer.url, resource);
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        key.token(&header, &all)
    };
    let create = json!({"name": "shop"});
    for (claims, status) in [
        (json!({"sub": "ci-robot", "scope": "forgeline:create"}), 200),
        (
            json!({"scope": null, "groups": ["developers"], "preferred_username": "acme"}),
            200,
        ),
        (
            json!({"scope": null, "groups": ["guests"], "preferred_username": "acme"}),
            403,
        ),
        (json!({"aud": server.url, "scope": "forgeline:create"}), 401),
    ] {
        server.bearer = token(claims.clone());
        assert_eq!(
            server.refused("project_create", create.clone()).await.0,
            status,
            "{claims}"
        );
    }
    let metadata = server
        .http
        .get(server.address("/.well-known/oauth-protected-resource/mcp"));
    let metadata: Value = metadata.send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["resource"], resource);
    assert_eq!(metadata["authorization_servers"], json!([issuer.url]));
}

#[tokio::test]
async fn the_secret_of_the_cluster_is_one_that_its_role_lets_us_follow() {
    let text = example("kubernetes-secret.yaml");
    let objects: Vec<Value> = text
        .split("\n---\n")
        .map(|part| serde_saphyr::from_str(part).unwrap())
        .collect();
    let kinds: BTreeMap<&str, &Value> = objects
        .iter()
        .map(|object| (object["kind"].as_str().unwrap(), object))
        .collect();
    let secret = kinds["Secret"];
    let rule = &kinds["Role"]["rules"][0];
    assert_eq!(rule["resourceNames"], json!([secret["metadata"]["name"]]));
    assert_eq!(rule["verbs"], json!(["get", "list", "watch"]));
    assert_eq!(
        kinds["RoleBinding"]["roleRef"]["name"],
        kinds["Role"]["metadata"]["name"]
    );
    // The reference in its first lines leads to it; what nobody has replaced yet is refused.
    let mut sandbox = Sandbox::start("0ms");
    let reference = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let reference: Vec<&str> = reference.collect();
    std::fs::write(sandbox.dir().join("forgeline.toml"), reference.join("\n")).unwrap();
    let good = sandbox.env.remove("GITEA_TOKEN").unwrap();
    for (value, code) in [("REPLACE_ME", 3), (good.as_str(), 0)] {
        let mut data = secret["stringData"].clone();
        data["GITEA_TOKEN"] = json!(value);
        let (namespace, name) = (
            &secret["metadata"]["namespace"],
            &secret["metadata"]["name"],
        );
        sandbox
            .seed(json!({"what": "secret", "namespace": namespace, "name": name, "data": data}))
            .await;
        let mut create = sandbox.forgeline(&["create", "shop"]);
        let ran = run(create.current_dir(sandbox.dir()));
        assert_eq!(ran.code, code, "{ran:?}");
    }
    assert!(example("kubernetes-secret.md").contains("sops --encrypt"));
}
