//! Clean-up: the leftovers of the incident go, everything else stays.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{BEARER, Ran, Running, Sandbox, Server, run};

fn cleanup(sandbox: &Sandbox, args: &[&str]) -> Ran {
    let mut all = vec!["cleanup", "-o", "json"];
    all.extend(args);
    run(&mut sandbox.forgeline(&all))
}

async fn repository(sandbox: &Sandbox, forge: &str, name: &str, topics: Value) {
    let seed = json!({"what": "repository", "forge": forge, "owner": "acme", "name": name, "user": "acme",
        "files": {"README.md": "a test"}, "topics": topics});
    sandbox.seed(seed).await;
}

/// What the incident left, three days ago, among things that look like it.
async fn incident(sandbox: &Sandbox) {
    for name in [
        "test-throwaway-001",
        "test-throwaway-002",
        "test-throwaway-003",
        "test-throwaway-mine",
    ] {
        repository(sandbox, "gitea", name, json!([])).await;
    }
    for name in [
        "my-test-throwaway",
        "test-throwaway-archived",
        "test-throwaway-moved",
    ] {
        repository(sandbox, "gitea", name, json!([])).await;
    }
    repository(sandbox, "gitea", "test-throwaway-kept", json!(["keep"])).await;
    repository(sandbox, "github", "test-throwaway-002", json!([])).await;
    for seed in [
        json!({"what": "archive", "forge": "gitea", "owner": "acme", "name": "test-throwaway-archived"}),
        json!({"what": "rename", "forge": "gitea", "owner": "acme", "name": "test-throwaway-moved", "to": "precious"}),
        json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "infra", "branch": "staging/test-throwaway-003",
            "files": {"k3s/apps/test-throwaway-003/ns.yaml": "a: b"}}),
        json!({"what": "pull_request", "owner": "acme", "name": "infra", "branch": "staging/test-throwaway-003", "title": "infra"}),
        json!({"what": "namespace", "name": "test-throwaway-001"}),
        json!({"what": "namespace", "name": "test-throwaway-data"}),
        json!({"what": "object", "namespace": "test-throwaway-data", "resource": "persistentvolumeclaims", "name": "data"}),
        json!({"what": "time_passes", "hours": 72}),
        json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "test-throwaway-mine", "branch": "main",
            "files": {"work.txt": "somebody's"}}),
    ] {
        sandbox.seed(seed).await;
    }
    sandbox
        .rights(json!({"role": "github", "revoke": ["delete_repo"]}))
        .await;
}

/// A run that is under way: its process was killed while it waited for its issue.
async fn live_run(sandbox: &Sandbox, name: &str) {
    let hang = json!({"system": "gitea_mcp", "operation": "tools/call issue_write", "fault": {"kind": "hang"}});
    sandbox.fault(hang).await;
    let mut command = sandbox.forgeline(&["create", name]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _running = Running(child);
    let reached = async || {
        let requests = sandbox.requests().await;
        requests.iter().any(|request| !request["fault"].is_null())
    };
    while !reached().await {
        tokio::task::yield_now().await;
    }
}

fn names(store: &Value, what: &str) -> Vec<String> {
    let all = store[what].as_array().unwrap();
    let name = |one: &Value| {
        let full = one["full_name"]
            .as_str()
            .or(one["metadata"]["name"].as_str());
        full.unwrap().trim_start_matches("acme/").to_owned()
    };
    let mut names: Vec<String> = all.iter().map(name).collect();
    names.sort();
    names
}

fn items<'a>(plan: &'a Value, field: &str, value: &str) -> Vec<&'a str> {
    let items = plan["items"].as_array().unwrap().iter();
    let items = items.filter(|item| item[field] == value);
    items
        .map(|item| item["artifact"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn one_plan_and_one_apply_leave_the_decoys_and_name_what_is_blocked() {
    let mut sandbox = Sandbox::start("0ms");
    sandbox.set("FORGELINE_INFRA_MODE", "both");
    incident(&sandbox).await;
    live_run(&sandbox, "test-throwaway-live").await;

    let planned = cleanup(&sandbox, &[]);
    assert_eq!(planned.code, 0, "{planned:?}");
    let plan = planned.json();
    let deleted = [
        "ns:test-throwaway-001",
        "gitea:acme/test-throwaway-001",
        "gitea:acme/test-throwaway-002",
        "branch:acme/infra/staging/test-throwaway-003",
        "gitea:acme/test-throwaway-003",
    ];
    assert_eq!(items(&plan, "action", "delete"), deleted, "{plan:#}");
    assert_eq!(
        items(&plan, "action", "blocked"),
        ["github:acme/test-throwaway-002"]
    );
    assert_eq!(plan["blocked"], 1);
    let evidence = plan["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["action"] == "delete");
    assert!(
        evidence.clone().all(|item| item["evidence"] == "name_only"),
        "{plan:#}"
    );
    // Nothing was removed by looking.
    assert!(names(&sandbox.store().await, "gitea").contains(&"test-throwaway-001".to_owned()));

    let plan_id = plan["plan_id"].as_str().unwrap();
    let applied = cleanup(&sandbox, &["--plan-id", plan_id]);
    assert_eq!(applied.code, 7, "{applied:?}");
    let answer = applied.json();
    assert_eq!(items(&answer, "result", "deleted"), deleted, "{answer:#}");
    let blocked = &answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["result"] == "blocked")
        .unwrap()["command"];
    let command = "gh auth refresh -h github.com -s delete_repo && gh repo delete acme/test-throwaway-002 --yes";
    assert_eq!(blocked, command);
    let store = sandbox.store().await;
    let decoys = [
        "my-test-throwaway",
        "precious",
        "test-throwaway-archived",
        "test-throwaway-kept",
        "test-throwaway-live",
        "test-throwaway-mine",
    ];
    assert_eq!(names(&store, "gitea"), decoys);
    assert_eq!(
        names(&store, "github"),
        ["test-throwaway-002", "test-throwaway-live"]
    );
    assert_eq!(
        names(&store, "namespaces"),
        ["test-throwaway-data", "test-throwaway-live"]
    );
    let branches = store["infra"][0]["refs"].as_object().unwrap();
    assert!(
        !branches.contains_key("refs/heads/staging/test-throwaway-003"),
        "{branches:?}"
    );

    // The same plan again answers the same and does nothing.
    sandbox.forget_requests().await;
    let again = cleanup(&sandbox, &["--plan-id", plan_id]);
    assert_eq!((again.code, again.json()), (applied.code, answer));
    let writes = sandbox.requests().await.into_iter().filter(|request| {
        let operation = request["operation"].as_str().unwrap_or_default();
        operation.starts_with("DELETE") || operation.starts_with("PATCH")
    });
    assert_eq!(writes.count(), 0);
    assert_eq!(sandbox.store().await, store);

    // With the scope a new plan finishes.
    sandbox
        .rights(json!({"role": "github", "grant": ["delete_repo"]}))
        .await;
    let finished = cleanup(&sandbox, &["--apply"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(
        items(&finished.json(), "result", "deleted"),
        ["github:acme/test-throwaway-002"]
    );
    assert_eq!(names(&sandbox.store().await, "gitea"), decoys);
    assert_eq!(
        names(&sandbox.store().await, "github"),
        ["test-throwaway-live"]
    );
}

/// A throwaway of one second that is over, as the journal says.
async fn ended_throwaway(sandbox: &Sandbox, name: &str) {
    let made = sandbox.create(name, &["--ttl", "1s"]);
    assert_eq!(made.code, 0, "{made:?}");
    let over = || {
        let plan = cleanup(
            sandbox,
            &["--match", name, "--older-than", "0s", "--max", "0"],
        )
        .json();
        !items(&plan, "action", "delete").is_empty()
    };
    while !over() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_throwaway_past_its_time_goes_as_a_whole_and_one_before_it_stays() {
    let sandbox = Sandbox::start("0ms");
    ended_throwaway(&sandbox, "short").await;
    assert_eq!(sandbox.create("long", &["--ttl", "24h"]).code, 0);
    assert_eq!(sandbox.create("shop", &[]).code, 0);
    // Too young for the default.
    let young = cleanup(&sandbox, &[]).json();
    assert_eq!(items(&young, "action", "delete"), [""; 0], "{young:#}");
    let done = cleanup(&sandbox, &["--older-than", "0s", "--apply"]);
    assert_eq!(done.code, 0, "{done:?}");
    let plan = done.json();
    let gone = items(&plan, "result", "deleted");
    assert_eq!(gone.len(), 4, "{plan:#}");
    assert!(
        gone[0].starts_with("mirror:acme/short/"),
        "the mirror goes first: {gone:?}"
    );
    assert_eq!(
        gone[1..],
        ["github:acme/short", "ns:short", "gitea:acme/short"]
    );
    assert!(
        plan["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["evidence"] == "receipt"),
        "{plan:#}"
    );
    let store = sandbox.store().await;
    assert_eq!(names(&store, "gitea"), ["long", "shop"]);
    assert_eq!(names(&store, "github"), ["long", "shop"]);
    assert_eq!(names(&store, "namespaces"), ["long", "shop"]);
    let topics = store["gitea"][0]["topics"].as_array().unwrap();
    assert!(
        topics
            .iter()
            .any(|topic| topic.as_str().unwrap().starts_with("forgeline-until-")),
        "{topics:?}"
    );
}

#[tokio::test]
async fn what_somebody_touched_between_plan_and_apply_is_kept_and_reported() {
    let touches = [
        json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "test-throwaway-1", "branch": "theirs", "files": {"a": "b"}}),
        json!({"what": "issue", "owner": "acme", "name": "test-throwaway-1", "title": "mine"}),
        json!({"what": "rename", "forge": "gitea", "owner": "acme", "name": "test-throwaway-1", "to": "precious"}),
        json!({"what": "star", "forge": "gitea", "owner": "acme", "name": "test-throwaway-1"}),
        json!({"what": "archive", "forge": "gitea", "owner": "acme", "name": "test-throwaway-1"}),
    ];
    for touch in touches {
        let sandbox = Sandbox::start("0ms");
        for name in ["test-throwaway-1", "test-throwaway-2"] {
            repository(&sandbox, "gitea", name, json!([])).await;
        }
        sandbox
            .seed(json!({"what": "time_passes", "hours": 72}))
            .await;
        let plan = cleanup(&sandbox, &[]).json();
        assert_eq!(plan["counts"]["delete"], 2, "{plan:#}");
        sandbox.seed(touch.clone()).await;
        let applied = cleanup(&sandbox, &["--plan-id", plan["plan_id"].as_str().unwrap()]);
        assert_eq!(applied.code, 5, "{touch}: {applied:?}");
        let answer = applied.json();
        assert_eq!(
            items(&answer, "result", "kept"),
            ["gitea:acme/test-throwaway-1"],
            "{touch}"
        );
        assert_eq!(
            items(&answer, "result", "deleted"),
            ["gitea:acme/test-throwaway-2"]
        );
        let store = sandbox.store().await;
        assert_eq!(store["gitea"].as_array().unwrap().len(), 1, "{touch}");
        let archived = touch["what"] == "archive";
        assert_eq!(
            store["gitea"][0]["archived"], archived,
            "{touch}: nothing is left read-only"
        );
    }
}

#[tokio::test]
async fn more_than_the_maximum_deletes_nothing_and_exits_5() {
    let sandbox = Sandbox::start("0ms");
    for name in ["test-throwaway-1", "test-throwaway-2"] {
        repository(&sandbox, "gitea", name, json!([])).await;
    }
    sandbox
        .seed(json!({"what": "time_passes", "hours": 72}))
        .await;
    let over = cleanup(&sandbox, &["--max", "1", "--apply"]);
    assert_eq!(over.code, 5, "{over:?}");
    let plan = over.json();
    assert_eq!(
        (&plan["plan_id"], &plan["error"]["code"]),
        (&Value::Null, &json!("plan.over_max"))
    );
    assert_eq!(
        items(&plan, "action", "delete").len(),
        2,
        "the plan shows all"
    );
    assert_eq!(names(&sandbox.store().await, "gitea").len(), 2);
    let unknown = cleanup(&sandbox, &["--plan-id", "01JD8Z6Q5V0000000000000000"]);
    assert_eq!(
        (unknown.code, &unknown.json()["error"]["code"]),
        (5, &json!("plan.unknown"))
    );
}

#[tokio::test]
async fn without_owners_nothing_is_looked_at_and_a_kept_name_stays() {
    let mut sandbox = Sandbox::start("0ms");
    for name in ["test-throwaway-1", "test-throwaway-2"] {
        repository(&sandbox, "gitea", name, json!([])).await;
    }
    sandbox
        .seed(json!({"what": "time_passes", "hours": 72}))
        .await;
    sandbox.set("FORGELINE_CLEANUP_KEEP", "*-1, acme/other");
    let done = cleanup(&sandbox, &["--apply"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(names(&sandbox.store().await, "gitea"), ["test-throwaway-1"]);
    sandbox.set("FORGELINE_CLEANUP_OWNERS", "");
    sandbox.forget_requests().await;
    let refused = cleanup(&sandbox, &[]);
    assert_eq!(
        (refused.code, &refused.json()["error"]["code"]),
        (3, &json!("cleanup.no_owners"))
    );
    assert!(sandbox.requests().await.is_empty());
}

#[tokio::test]
async fn an_apply_that_is_killed_goes_on_and_removes_each_item_once() {
    for after in [1, 3, 6, 9, 12] {
        let sandbox = Sandbox::start("10ms");
        for number in 0..6 {
            repository(
                &sandbox,
                "gitea",
                &format!("test-throwaway-{number}"),
                json!([]),
            )
            .await;
        }
        repository(&sandbox, "gitea", "other", json!([])).await;
        sandbox
            .seed(json!({"what": "time_passes", "hours": 72}))
            .await;
        let plan = cleanup(&sandbox, &[]).json();
        let plan_id = plan["plan_id"].as_str().unwrap();
        let writes = async || {
            let requests = sandbox.requests().await;
            let writes = requests.iter().filter(|request| {
                let operation = request["operation"].as_str().unwrap_or_default();
                operation.starts_with("PATCH") || operation.starts_with("DELETE")
            });
            writes.count()
        };
        let mut command = sandbox.forgeline(&["cleanup", "--plan-id", plan_id]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running(child);
        while writes().await < after {
            tokio::task::yield_now().await;
        }
        drop(running);
        let applied = cleanup(&sandbox, &["--plan-id", plan_id]);
        assert_eq!(applied.code, 0, "{after}: {applied:?}");
        let answer = applied.json();
        assert_eq!(
            items(&answer, "result", "deleted").len(),
            6,
            "{after}: {answer:#}"
        );
        assert_eq!(names(&sandbox.store().await, "gitea"), ["other"], "{after}");
    }
}

#[tokio::test]
async fn what_a_kept_run_left_goes_and_what_another_instance_made_stays() {
    let mut sandbox = Sandbox::start("0ms");
    // A run that failed and was kept; and a project of another instance, with a journal of its own.
    let broken = json!({"system": "gitea_mcp", "operation": "tools/call issue_write", "nth": 0,
        "fault": {"kind": "body_before", "text": r#"{"jsonrpc":"2.0","id":"$id","result":{"isError":true,"content":[{"type":"text","text":"403: no"}]}}"#}});
    sandbox.fault(broken).await;
    let kept = sandbox.create("left", &["--on-failure", "keep"]);
    assert_eq!(kept.code, 7, "{kept:?}");
    sandbox.clear_faults().await;
    let home = sandbox.env["FORGELINE_DATA_DIR"].clone();
    sandbox.set("FORGELINE_DATA_DIR", &format!("{home}-of-another"));
    assert_eq!(sandbox.create("theirs", &[]).code, 0);
    sandbox.set("FORGELINE_DATA_DIR", &home);
    let over = || cleanup(&sandbox, &["--older-than", "0s"]).json();
    // The last look of the run that failed may be owed still.
    let mut plan = over();
    for _ in 0..100 {
        if !items(&plan, "action", "delete").is_empty() {
            break;
        }
        plan = over();
    }
    assert_eq!(items(&plan, "action", "delete").len(), 4, "{plan:#}");
    let theirs: Vec<&Value> = plan["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["project"] == "theirs")
        .collect();
    assert!(
        theirs.iter().all(|item| item["action"] == "keep"
            && item["why"].as_str().unwrap().contains("does not know")),
        "{theirs:#?}"
    );
    let applied = cleanup(&sandbox, &["--plan-id", plan["plan_id"].as_str().unwrap()]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let store = sandbox.store().await;
    assert_eq!(
        (names(&store, "gitea"), names(&store, "github")),
        (vec!["theirs".to_owned()], vec!["theirs".to_owned()])
    );
}

#[tokio::test]
async fn an_unfinished_creation_of_an_unknown_run_goes_once_its_claim_is_over() {
    let sandbox = Sandbox::start("0ms");
    let claim = |until: &str| format!("forgeline claim 01JD8Z6Q5V0000000000000000 until {until}");
    for (name, until) in [
        ("over", "2026-01-01T00:00:00Z"),
        ("claimed", "2099-01-01T00:00:00Z"),
    ] {
        let seed = json!({"what": "repository", "forge": "gitea", "owner": "acme", "name": name, "user": "acme",
            "files": {"a": "b"}, "description": claim(until)});
        sandbox.seed(seed).await;
    }
    let done = cleanup(&sandbox, &["--older-than", "0s", "--apply"]);
    assert_eq!(done.code, 0, "{done:?}");
    let plan = done.json();
    assert_eq!(
        items(&plan, "result", "deleted"),
        ["gitea:acme/over"],
        "{plan:#}"
    );
    let item = plan["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["result"] == "deleted")
        .unwrap();
    assert_eq!(item["evidence"], "claim");
    assert_eq!(names(&sandbox.store().await, "gitea"), ["claimed"]);
}

/// The text of the first block of this language in the page that holds `part`.
fn block<'a>(page: &'a str, language: &str, part: &str) -> &'a str {
    let fence = format!("```{language}\n");
    let blocks = page.split(fence.as_str()).skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("\n```").next());
    blocks
        .find(|text| text.contains(part))
        .expect("the block is in the page")
}

/// What differs from run to run in an answer.
fn plain(text: &str) -> String {
    let id = |word: &str| word.len() == 26 && word.starts_with("01");
    let lines = text.lines().map(|line| {
        let time = |word: &str| word.len() == 20 && word.ends_with('Z') && word.starts_with("20");
        let words = line.split_whitespace().map(|word| match word {
            word if id(word) => "ID",
            word if time(word) => "TIME",
            word => word,
        });
        words.collect::<Vec<_>>().join(" ")
    });
    lines
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn the_examples_of_the_page_show_what_is_printed() {
    let page = include_str!("../docs/clean-up.md");
    let mut sandbox = Sandbox::start("0ms");
    sandbox.set("FORGELINE_INFRA_MODE", "both");
    incident(&sandbox).await;
    let planned = run(&mut sandbox.forgeline(&["cleanup"]));
    let shown = block(page, "text", "test-throwaway-001");
    assert_eq!(plain(&planned.stdout), plain(shown), "{}", planned.stdout);
    let plan_id = planned.stderr.split_whitespace().last().unwrap();
    let applied = run(&mut sandbox.forgeline(&["cleanup", "--plan-id", plan_id]));
    let shown = block(page, "text", "Done:");
    assert_eq!(plain(&applied.stdout), plain(shown), "{}", applied.stdout);
}

#[tokio::test]
async fn what_a_user_below_owner_level_may_not_remove_is_blocked_and_the_rest_goes() {
    let mut sandbox = Sandbox::start("0ms");
    repository(&sandbox, "gitea", "test-throwaway-ours", json!([])).await;
    let theirs = json!({"what": "repository", "forge": "gitea", "owner": "someone", "name": "test-throwaway-theirs", "files": {"a": "b"}});
    sandbox.seed(theirs).await;
    sandbox
        .seed(json!({"what": "time_passes", "hours": 72}))
        .await;
    sandbox.set("FORGELINE_CLEANUP_OWNERS", "acme,someone");
    let done = cleanup(&sandbox, &["--apply"]);
    assert_eq!(done.code, 7, "{done:?}");
    let plan = done.json();
    assert_eq!(
        items(&plan, "result", "deleted"),
        ["gitea:acme/test-throwaway-ours"]
    );
    assert_eq!(
        items(&plan, "result", "blocked"),
        ["gitea:someone/test-throwaway-theirs"],
        "{plan:#}"
    );
    let store = sandbox.store().await;
    assert_eq!(store["gitea"][0]["archived"], false, "{store}");
    // A schedule hears of it also when nothing else is to be done.
    assert_eq!(cleanup(&sandbox, &["--apply"]).code, 7);
    assert_eq!(cleanup(&sandbox, &[]).code, 0, "a plan was shown");
}

#[tokio::test]
async fn a_schedule_cleans_up_through_the_server_with_a_bearer_of_its_own_and_a_reader_only_plans()
{
    let sandbox = Sandbox::start("0ms");
    repository(&sandbox, "gitea", "test-throwaway-1", json!([])).await;
    sandbox
        .seed(json!({"what": "time_passes", "hours": 72}))
        .await;
    let caller = |name: &str, scopes: &str| {
        format!(
            "[[auth.static]]\nname = \"{name}\"\ntoken = {{ env = \"BEARER_OF_{name}\" }}\nscopes = [{scopes}]\n"
        )
    };
    let configuration = caller("cleanup", "\"forgeline:read\", \"forgeline:delete\"")
        + &caller("reader", "\"forgeline:read\"");
    std::fs::write(sandbox.dir().join("forgeline.toml"), configuration).unwrap();
    let bearer = |name: &str| format!("{name}-{name}-{name}-{name}-{name}-{name}");
    let mut command = sandbox.forgeline(&["serve"]);
    command
        .current_dir(sandbox.dir())
        .env("FORGELINE_STATIC_TOKEN", BEARER)
        .env("BEARER_OF_cleanup", bearer("cleanup"))
        .env("BEARER_OF_reader", bearer("reader"));
    let server = Server::start(command);
    let client = |name: &str, args: &[&str]| {
        let mut all = vec!["cleanup", "-o", "json", "--server", &server.url];
        all.extend(args);
        run(crate::support::forgeline(&all).env("FORGELINE_SERVER_TOKEN", bearer(name)))
    };
    let planned = client("reader", &[]);
    assert_eq!(planned.code, 0, "{planned:?}");
    let plan_id = planned.json()["plan_id"].as_str().unwrap().to_owned();
    let refused = client("reader", &["--plan-id", &plan_id]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(names(&sandbox.store().await, "gitea"), ["test-throwaway-1"]);
    let done = client("cleanup", &["--apply"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(
        items(&done.json(), "result", "deleted"),
        ["gitea:acme/test-throwaway-1"]
    );
    assert!(names(&sandbox.store().await, "gitea").is_empty());
}

#[tokio::test]
async fn a_project_goes_as_a_whole_and_stays_where_a_part_of_it_is_protected() {
    let sandbox = Sandbox::start("0ms");
    repository(&sandbox, "gitea", "test-throwaway-1", json!(["keep"])).await;
    repository(&sandbox, "github", "test-throwaway-1", json!([])).await;
    sandbox
        .seed(json!({"what": "time_passes", "hours": 72}))
        .await;
    let plan = cleanup(&sandbox, &["--apply"]).json();
    assert_eq!(plan["counts"]["delete"], 0, "{plan:#}");
    assert_eq!(items(&plan, "action", "keep").len(), 2);
    assert_eq!(
        names(&sandbox.store().await, "github"),
        ["test-throwaway-1"]
    );
}
