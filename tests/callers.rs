//! Who may do what: persons by their right in Gitea, callers by a policy, projects' own credentials; an issuer that is
//! down; a flood of strangers; TLS.

use serde_json::{Value, json};

use crate::issuer::{Issuer, Key, Mood, usual};
use crate::support::{BEARER, Sandbox, Server, canary, forgeline, run};

struct Place {
    sandbox: Sandbox,
    issuer: Issuer,
    key: Key,
}

impl Place {
    async fn new() -> Self {
        let key = Key::new();
        Self {
            issuer: Issuer::start(vec![key.jwk("k1")]).await,
            sandbox: Sandbox::start("0ms"),
            key,
        }
    }

    fn server(&self, more: &[(&str, &str)]) -> Server {
        let mut command = self.sandbox.forgeline(&["serve"]);
        command
            .current_dir(self.sandbox.dir())
            .env("FORGELINE_STATIC_TOKEN", BEARER)
            .env("DEX_ISSUER_URL", &self.issuer.url)
            .envs(more.iter().copied());
        Server::start(command)
    }

    /// A token for everything, with these claims besides.
    fn token(&self, server: &Server, more: &Value) -> String {
        let (header, mut claims) = usual(&self.issuer.url, &server.url);
        claims["scope"] = json!("forgeline:read forgeline:create forgeline:delete");
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = self.key.token(&header, &claims);
        canary(&token);
        token
    }
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn a_person_may_do_what_gitea_allows_that_person() {
    let place = Place::new().await;
    let mut server = place.server(&[("FORGELINE_OIDC_SERVICES", "robot")]);
    let create = json!({"name": "shop"});
    // Neither nobody nor somebody else: nothing is made, and no request changes anything.
    for claims in [
        json!({}),
        json!({"preferred_username": "someone"}),
        json!({"preferred_username": "no-such-user"}),
        json!({"preferred_username": "../../acme"}),
        json!({"preferred_username": ["acme"]}),
        json!({"preferred_username": ""}),
    ] {
        server.bearer = place.token(&server, &claims);
        let answer = server.view("project_create", create.clone()).await;
        assert_eq!(code(&answer), "caller.not_permitted", "{claims}: {answer}");
    }
    place.sandbox.assert_empty().await;
    // Gitea that does not answer is no yes.
    server.bearer = place.token(&server, &json!({"preferred_username": "acme"}));
    let made = server.view("project_create", create.clone()).await;
    assert_eq!(made["state"], "succeeded", "{made}");
    for fault in [
        json!({"kind": "status_before", "status": 500}),
        json!({"kind": "status_before", "status": 404}),
        json!({"kind": "lost_before"}),
        json!({"kind": "hang"}),
    ] {
        let order = json!({"system": "gitea", "operation": "GET /repos/{owner}/{name}/collaborators/{user}/permission", "fault": fault});
        place.sandbox.fault(order).await;
        let answer = server
            .view("project_status", json!({"project": "shop"}))
            .await;
        assert_eq!(code(&answer), "caller.not_permitted", "{fault}: {answer}");
        let requests = place.sandbox.requests().await;
        assert!(
            requests
                .iter()
                .any(|request| request["fault"]["kind"] == fault["kind"]),
            "{fault} did not happen"
        );
        place.sandbox.forget_requests().await;
    }
    let status = server
        .view("project_status", json!({"project": "shop"}))
        .await;
    assert_eq!(status["state"], "succeeded", "{status}");
    // Somebody who sees nothing of it neither looks at it nor deletes it, also not by a run's or a plan's id.
    let plan = server
        .view("project_delete", json!({"project": "shop"}))
        .await;
    let plan_id = plan["plan_id"].as_str().unwrap().to_owned();
    let old = json!({"what": "repository", "forge": "gitea", "owner": "acme", "name": "test-throwaway-old"});
    place.sandbox.seed(old).await;
    place
        .sandbox
        .seed(json!({"what": "time_passes", "hours": 5}))
        .await;
    let cleanup = server.view("cleanup_test_repos", json!({})).await;
    assert!(cleanup["plan_id"].is_string(), "{cleanup}");
    let run_id = made["run_id"].as_str().unwrap();
    server.bearer = place.token(&server, &json!({"preferred_username": "someone"}));
    for (tool, arguments) in [
        ("project_status", json!({"project": "shop"})),
        ("project_status", json!({"run_id": run_id})),
        ("project_check", json!({"project": "shop"})),
        ("project_delete", json!({"project": "shop"})),
        (
            "project_delete",
            json!({"project": "shop", "plan_id": plan_id}),
        ),
        ("project_renew", json!({"project": "shop", "ttl": "1h"})),
        (
            "project_token",
            json!({"project": "shop", "action": "rotate"}),
        ),
        ("run_cancel", json!({"run_id": run_id})),
        ("run_resume", json!({"run_id": run_id, "action": "abandon"})),
        ("cleanup_test_repos", json!({"plan_id": cleanup["plan_id"]})),
        ("mirror_rotate", json!({"plan_id": plan_id})),
    ] {
        let answer = server.view(tool, arguments.clone()).await;
        assert_eq!(
            code(&answer),
            "caller.not_permitted",
            "{tool} {arguments}: {answer}"
        );
    }
    // A program is no person.
    server.bearer = place.token(&server, &json!({"sub": "robot"}));
    let status = server
        .view("project_status", json!({"project": "shop"}))
        .await;
    assert_eq!(status["state"], "succeeded", "{status}");
}

#[tokio::test]
async fn groups_give_scopes_where_the_issuer_knows_none() {
    let place = Place::new().await;
    let file = "[[auth.groups]]\nname = \"platform\"\nscopes = [\"forgeline:read\"]\n";
    std::fs::write(place.sandbox.dir().join("forgeline.toml"), file).unwrap();
    let mut server = place.server(&[]);
    for (groups, status) in [
        (json!(["platform"]), 200),
        (json!(["others"]), 403),
        (json!("platform"), 403),
    ] {
        server.bearer = place.token(&server, &json!({"scope": null, "groups": groups}));
        let (got, _) = server.refused("project_list", json!({})).await;
        assert_eq!(got, status, "{groups}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_leaves_static_callers_in_and_tells_others_to_wait() {
    let place = Place::new().await;
    place.issuer.mood(Mood::Status(503));
    let mut server = place.server(&[]);
    assert!(server.view("project_list", json!({})).await["projects"].is_array());
    let token = place.token(&server, &json!({}));
    let ask = server.http.post(&server.url).bearer_auth(&token).body("{}");
    let answer = ask.send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(
        answer.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            >= 1
    );
    let mut doctor = place
        .sandbox
        .forgeline(&["doctor", "--only", "auth", "-o", "json"]);
    let report = run(doctor.env("DEX_ISSUER_URL", &place.issuer.url));
    assert_eq!(report.code, 3, "{report:?}");
    let check = report.json()["checks"].as_array().unwrap().clone();
    let issuer = check
        .iter()
        .find(|check| check["id"] == "auth.issuer")
        .unwrap();
    assert_eq!(issuer["status"], "fail", "{issuer}");
    place.issuer.mood(Mood::Well);
    let report = run(doctor.env("DEX_ISSUER_URL", &place.issuer.url));
    assert_eq!(report.code, 0, "{report:?}");
    server.bearer = token;
}

#[tokio::test]
async fn a_policy_decides_beside_the_scopes_and_check_explains_it() {
    let place = Place::new().await;
    let policy = place.sandbox.dir().join("policy.cedar");
    std::fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/policy.cedar"),
        &policy,
    )
    .unwrap();
    let file = "[[auth.static]]\nname = \"router\"\ntoken = { env = \"ROUTER\" }\nscopes = [\"forgeline:read\", \"forgeline:create\", \"forgeline:delete\"]\n";
    std::fs::write(place.sandbox.dir().join("forgeline.toml"), file).unwrap();
    let router = "router-router-router-router-router";
    let path = policy.display().to_string();
    let mut server = place.server(&[("FORGELINE_POLICY", &path), ("ROUTER", router)]);
    let made = server
        .view("project_create", json!({"name": "keep-me"}))
        .await;
    assert_eq!(
        code(&made),
        "policy.denied",
        "the static admin is not in the policy: {made}"
    );
    server.bearer = router.to_owned();
    for refused in [
        json!({"name": "shop"}),
        json!({"name": "test-a", "gitea_owner": "acme-org"}),
        json!({"name": "test-a", "ttl": "800h"}),
    ] {
        let answer = server.view("project_create", refused.clone()).await;
        assert_eq!(code(&answer), "policy.denied", "{refused}: {answer}");
    }
    place.sandbox.assert_empty().await;
    let brief = server
        .view("project_create", json!({"name": "test-a", "ttl": "1h"}))
        .await;
    let lasting = server
        .view(
            "project_create",
            json!({"name": "test-b", "issue_token": true}),
        )
        .await;
    assert_eq!(
        (&brief["state"], &lasting["state"]),
        (&json!("succeeded"), &json!("succeeded"))
    );
    // A throwaway may go, the other may not; nor does a run's id lead around it.
    for (project, refused) in [("test-a", false), ("test-b", true)] {
        let plan = server
            .view("project_delete", json!({"project": project}))
            .await;
        let plan_id = &plan["plan_id"];
        assert!(plan_id.is_string(), "{plan}");
        let gone = server
            .view(
                "project_delete",
                json!({"project": project, "plan_id": plan_id}),
            )
            .await;
        assert_eq!(code(&gone) == "policy.denied", refused, "{project}: {gone}");
    }
    // Nor does a credential that the router ordered.
    let own = lasting["access"]["token"].as_str().unwrap().to_owned();
    let router = std::mem::replace(&mut server.bearer, own);
    let plan = server
        .view("project_delete", json!({"project": "test-b"}))
        .await;
    let apply = json!({"project": "test-b", "plan_id": plan["plan_id"]});
    let laundered = server.view("project_delete", apply).await;
    assert_eq!(code(&laundered), "policy.denied", "{laundered}");
    server.bearer = router;
    let cancel = server
        .view("run_cancel", json!({"run_id": lasting["run_id"]}))
        .await;
    assert_eq!(code(&cancel), "policy.denied", "{cancel}");
    let check = |args: &[&str]| {
        let mut all = vec!["policy", "check", "--policy", &path];
        all.extend(args);
        run(&mut forgeline(&all))
    };
    assert_eq!(check(&[]).code, 0);
    let allowed = check(&[
        "--as",
        "svc:router",
        "--tool",
        "project_create",
        "--project",
        "test-a",
        "--owner",
        "acme",
    ]);
    assert!(
        allowed.code == 0 && allowed.stdout.starts_with("allowed: the routing pod"),
        "{allowed:?}"
    );
    let refused = check(&[
        "--as",
        "svc:router",
        "--tool",
        "project_delete",
        "--project",
        "test-b",
        "--owner",
        "acme",
    ]);
    assert!(
        refused.code == 4 && refused.stdout.starts_with("refused: no permit"),
        "{refused:?}"
    );
    std::fs::write(
        &policy,
        "permit (principal, action, resource) when { resource.nmae == \"x\" };",
    )
    .unwrap();
    assert_eq!(check(&[]).code, 3);
    drop(server);
    let mut serve = place
        .sandbox
        .forgeline(&["serve", "--listen", "127.0.0.1:0"]);
    let ran = run(serve.env("FORGELINE_POLICY", &path));
    assert!(ran.code == 3 && ran.stderr.contains("nmae"), "{ran:?}");
}

#[tokio::test]
async fn a_projects_credential_is_for_that_project_as_it_was_made() {
    let place = Place::new().await;
    let mut server = place.server(&[]);
    let made = server
        .view(
            "project_create",
            json!({"name": "shop", "ttl": "24h", "issue_token": true}),
        )
        .await;
    let access = made["access"].clone();
    let own = access["token"].as_str().unwrap().to_owned();
    assert!(
        own.starts_with("flp_") && access["expires_at"].is_string(),
        "{made}"
    );
    assert!(
        server
            .view("project_create", json!({"name": "other"}))
            .await["access"]
            .is_null()
    );
    let admin = std::mem::replace(&mut server.bearer, own.clone());
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
            "project_status",
            "project_check",
            "project_renew",
            "project_delete"
        ]
    );
    assert_eq!(
        server
            .view("project_status", json!({"project": "shop"}))
            .await["state"],
        "succeeded"
    );
    assert_eq!(
        server
            .view("project_check", json!({"project": "shop"}))
            .await["drift"],
        false
    );
    assert_eq!(
        server
            .view("project_renew", json!({"project": "shop", "ttl": "2h"}))
            .await["state"],
        "succeeded"
    );
    let other = server
        .view("project_status", json!({"project": "other"}))
        .await;
    assert_eq!(code(&other), "caller.not_permitted", "{other}");
    for (tool, arguments) in [
        ("project_list", json!({})),
        ("project_create", json!({"name": "shop"})),
        (
            "project_token",
            json!({"project": "shop", "action": "rotate"}),
        ),
        ("doctor", json!({})),
        ("run_cancel", json!({"run_id": made["run_id"]})),
    ] {
        let params = json!({"name": tool, "arguments": arguments});
        let (status, _) = server.refused(tool, arguments).await;
        if status == 200 {
            let answer = server.rpc("tools/call", params).await;
            assert!(answer["error"].is_object(), "{tool}: {answer}");
        }
    }
    // Rotated, the old one is nobody's; a project of the same name made later is another one.
    server.bearer = admin.clone();
    let rotated = server
        .view(
            "project_token",
            json!({"project": "shop", "action": "rotate"}),
        )
        .await;
    let new = rotated["access"]["token"].as_str().unwrap().to_owned();
    server.bearer = own;
    assert_eq!(
        server
            .refused("project_status", json!({"project": "shop"}))
            .await
            .0,
        401
    );
    server.bearer = new.clone();
    let plan = server
        .view("project_delete", json!({"project": "shop"}))
        .await;
    let arguments = json!({"project": "shop", "plan_id": plan["plan_id"]});
    let gone = server.view("project_delete", arguments).await;
    assert_eq!(gone["state"], "succeeded", "{gone}");
    server.bearer = admin.clone();
    assert_eq!(
        server.view("project_create", json!({"name": "shop"})).await["state"],
        "succeeded"
    );
    server.bearer = new.clone();
    let later = server
        .view("project_status", json!({"project": "shop"}))
        .await;
    assert_eq!(code(&later), "caller.not_permitted", "{later}");
    // Taken back, it is nobody's either.
    server.bearer = admin;
    let again = server
        .view(
            "project_token",
            json!({"project": "shop", "action": "rotate"}),
        )
        .await;
    let newest = again["access"]["token"].as_str().unwrap().to_owned();
    let revoked = server
        .view(
            "project_token",
            json!({"project": "shop", "action": "revoke"}),
        )
        .await;
    assert!(
        revoked["error"].is_null() && revoked["access"].is_null(),
        "{revoked}"
    );
    server.bearer = newest;
    assert_eq!(
        server
            .refused("project_status", json!({"project": "shop"}))
            .await
            .0,
        401
    );
}

#[tokio::test]
async fn a_credential_that_cannot_be_kept_is_a_warning_and_the_project_stands() {
    let sandbox = Sandbox::start("0ms");
    let data = &sandbox.env["FORGELINE_DATA_DIR"];
    std::fs::create_dir_all(format!("{data}/project-tokens.json")).unwrap();
    let ran = sandbox.create("shop", &["--issue-token"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let view = ran.json();
    assert_eq!(
        (&view["state"], &view["access"]),
        (&json!("succeeded"), &Value::Null)
    );
    assert!(
        view["warnings"]
            .to_string()
            .contains("forgeline token rotate shop"),
        "{view}"
    );
    std::fs::remove_dir(format!("{data}/project-tokens.json")).unwrap();
    let rotated = run(&mut sandbox.forgeline(&["token", "rotate", "shop"]));
    assert!(
        rotated.code == 0 && rotated.stdout.starts_with("flp_"),
        "{rotated:?}"
    );
    let revoked = run(&mut sandbox.forgeline(&["token", "revoke", "shop"]));
    assert_eq!(revoked.code, 0, "{revoked:?}");
    let unknown = run(&mut sandbox.forgeline(&["token", "rotate", "nosuch"]));
    assert_eq!(unknown.code, 2, "{unknown:?}");
}

#[tokio::test]
async fn a_flood_of_strangers_is_told_to_wait_and_known_callers_are_not() {
    let sandbox = Sandbox::start("0ms");
    let server = Server::against(&sandbox);
    let mut told = (0, 0);
    for _ in 0..400 {
        let ask = server
            .http
            .post(&server.url)
            .bearer_auth("wrong")
            .body("{}");
        match ask.send().await.unwrap().status().as_u16() {
            401 => told.0 += 1,
            429 => told.1 += 1,
            other => panic!("{other}"),
        }
    }
    assert!(told.0 >= 60 && told.1 >= 100, "{told:?}");
    assert!(server.view("project_list", json!({})).await["projects"].is_array());
}

#[tokio::test]
async fn serve_speaks_tls_with_a_certificate_of_ones_own() {
    let sandbox = Sandbox::start("0ms");
    let dir = sandbox.dir();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let file = |name: &str| dir.join(name).display().to_string();
    let mut command = sandbox.forgeline(&[
        "serve",
        "--tls-cert",
        &file("cert.pem"),
        "--tls-key",
        &file("key.pem"),
    ]);
    command.env("FORGELINE_STATIC_TOKEN", BEARER);
    let server = Server::start(command);
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let mut status = forgeline(&["list", "--server", &server.url, "-o", "json"]);
    let ran = run(status
        .env("FORGELINE_SERVER_TOKEN", BEARER)
        .env("FORGELINE_CA_FILE", file("cert.pem")));
    assert_eq!(ran.code, 0, "{ran:?}");
    let bad = run(&mut sandbox.forgeline(&[
        "serve",
        "--tls-cert",
        &file("key.pem"),
        "--tls-key",
        &file("cert.pem"),
    ]));
    assert_eq!(bad.code, 3, "{bad:?}");
    assert!(!bad.stderr.contains("PRIVATE KEY"), "{bad:?}");
}

/// What a removal has left is still the project's.
#[tokio::test]
async fn what_a_half_done_deletion_has_left_is_not_the_next_ones_for_the_asking() {
    let place = Place::new().await;
    let mut server = place.server(&[]);
    let alice = place.token(&server, &json!({"preferred_username": "acme"}));
    server.bearer = alice;
    let made = server.view("project_create", json!({"name": "shop"})).await;
    assert_eq!(made["state"], "succeeded", "{made}");
    let plan = server
        .view("project_delete", json!({"project": "shop"}))
        .await;
    let change = json!({"role": "github", "revoke": ["delete_repo"]});
    let operation = ("github", "DELETE /repos/{owner}/{name}");
    place.sandbox.rights_lost_at(operation, change).await;
    let apply = json!({"project": "shop", "plan_id": plan["plan_id"]});
    let half = server.view("project_delete", apply).await;
    assert!(half.to_string().contains("\"blocked\""), "{half}");
    let left = place.sandbox.store().await;
    assert_eq!(left["gitea"], json!([]), "{left}");
    assert_ne!(left["github"], json!([]), "{left}");
    server.bearer = place.token(&server, &json!({"preferred_username": "someone"}));
    for arguments in [
        json!({"name": "shop", "gitea_owner": "someone", "visibility": "public"}),
        json!({"name": "shop", "gitea_owner": "someone"}),
    ] {
        let answer = server.view("project_create", arguments.clone()).await;
        assert_eq!(
            code(&answer),
            "caller.not_permitted",
            "{arguments}: {answer}"
        );
    }
    assert_eq!(place.sandbox.store().await, left);
}

/// Names in a call are no proof of what it touches: everything that the project's runs hold is asked about.
#[tokio::test]
async fn nobody_takes_a_project_over_by_its_name() {
    let place = Place::new().await;
    let mut server = place.server(&[]);
    let alice = place.token(&server, &json!({"preferred_username": "acme"}));
    let mallory = place.token(&server, &json!({"preferred_username": "someone"}));
    server.bearer = alice.clone();
    let made = server.view("project_create", json!({"name": "shop"})).await;
    assert_eq!(made["state"], "succeeded", "{made}");
    let secret = json!({"what": "repository", "forge": "gitea", "owner": "acme", "name": "secret-template",
        "private": true, "template": true, "files": {"a": "b"}});
    place.sandbox.seed(secret).await;
    let before = place.sandbox.store().await;
    server.bearer = mallory;
    for (tool, arguments) in [
        (
            "library_create",
            json!({"name": "shop", "gitea_owner": "someone", "template": "someone/t", "visibility": "public"}),
        ),
        (
            "project_create",
            json!({"name": "shop", "gitea_owner": "someone", "visibility": "public"}),
        ),
        (
            "project_create",
            json!({"name": "payroll", "gitea_owner": "someone", "adopt": true}),
        ),
        (
            "project_create",
            json!({"name": "copy", "gitea_owner": "someone", "template": "acme/secret-template"}),
        ),
        (
            "project_create",
            json!({"name": "in-org", "gitea_owner": "acme-org"}),
        ),
    ] {
        let answer = server.view(tool, arguments.clone()).await;
        assert_eq!(
            code(&answer),
            "caller.not_permitted",
            "{tool} {arguments}: {answer}"
        );
    }
    // A user whose name is that of an organisation is not that organisation.
    server.bearer = place.token(&server, &json!({"preferred_username": "acme-org"}));
    let named = server
        .view(
            "project_create",
            json!({"name": "in-org", "gitea_owner": "acme-org"}),
        )
        .await;
    assert_eq!(code(&named), "caller.not_permitted", "{named}");
    assert_eq!(place.sandbox.store().await, before);
}

#[tokio::test]
async fn a_credential_outlives_a_rotation_of_mirrors_and_allows_no_more_than_its_maker() {
    let mut place = Place::new().await;
    let file = "[[auth.static]]\nname = \"maker\"\ntoken = { env = \"MAKER\" }\nscopes = [\"forgeline:read\", \"forgeline:create\"]\n";
    std::fs::write(place.sandbox.dir().join("forgeline.toml"), file).unwrap();
    let maker = "maker-maker-maker-maker-maker-maker";
    place.sandbox.set("MAKER", maker);
    let mut server = place.server(&[]);
    server.bearer = maker.into();
    let made = server
        .view(
            "project_create",
            json!({"name": "shop", "issue_token": true}),
        )
        .await;
    assert_eq!(
        made["access"]["scopes"],
        json!(["forgeline:read", "forgeline:create"]),
        "{made}"
    );
    let own = made["access"]["token"].as_str().unwrap().to_owned();
    server.bearer = BEARER.into();
    let plan = server.view("mirror_rotate", json!({})).await;
    assert!(plan["plan_id"].is_string(), "{plan}");
    let rotated = server
        .view("mirror_rotate", json!({"plan_id": plan["plan_id"]}))
        .await;
    assert_eq!(rotated["state"], "succeeded", "{rotated}");
    server.bearer = own.clone();
    let status = server
        .view("project_status", json!({"project": "shop"}))
        .await;
    assert_eq!(status["project"], "shop", "{status}");
    assert!(status["error"].is_null(), "{status}");
    let delete = json!({"project": "shop", "plan_id": "x"});
    assert_eq!(server.refused("project_delete", delete).await.0, 403);
    // Made by a person, it asks about that person at every use.
    server.bearer = place.token(&server, &json!({"preferred_username": "acme"}));
    let again = server
        .view(
            "project_token",
            json!({"project": "shop", "action": "rotate"}),
        )
        .await;
    let token = again["access"]["token"].as_str().unwrap().to_owned();
    server.bearer = token;
    let order = json!({"system": "gitea", "operation": "GET /repos/{owner}/{name}/collaborators/{user}/permission",
        "fault": {"kind": "status_before", "status": 404}});
    place.sandbox.fault(order).await;
    let refused = server
        .view("project_status", json!({"project": "shop"}))
        .await;
    assert_eq!(code(&refused), "caller.not_permitted", "{refused}");
    place.sandbox.clear_faults().await;
    let status = server
        .view("project_status", json!({"project": "shop"}))
        .await;
    assert!(status["error"].is_null(), "{status}");
}

#[tokio::test]
async fn a_bearer_is_taken_back_by_emptying_its_file() {
    let sandbox = Sandbox::start("0ms");
    let path = sandbox.dir().join("bearer");
    std::fs::write(&path, BEARER).unwrap();
    let mut command = sandbox.forgeline(&["serve"]);
    command.env("FORGELINE_STATIC_TOKEN_FILE", &path);
    let server = Server::start(command);
    assert_eq!(server.refused("project_list", json!({})).await.0, 200);
    std::fs::write(&path, "").unwrap();
    assert_eq!(server.refused("project_list", json!({})).await.0, 401);
    std::fs::write(&path, BEARER).unwrap();
    assert_eq!(server.refused("project_list", json!({})).await.0, 200);
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_is_never_taken_for_none() {
    let sandbox = Sandbox::start("0ms");
    for args in [
        ["serve", "--stdio"].as_slice(),
        &["serve", "--listen", "127.0.0.1:0"],
    ] {
        let mut serve = sandbox.forgeline(args);
        let ran = run(serve.env("FORGELINE_POLICY", "/nowhere/policy.cedar"));
        assert!(
            ran.code == 3 && ran.stderr.contains("FORGELINE_POLICY"),
            "{args:?}: {ran:?}"
        );
    }
}
