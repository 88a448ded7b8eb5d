//! Several at work at once: two instances, two projects, a person, a later run. Nobody's work is deleted, and each is told.

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox, run};

/// A call by another instance: the same upstreams, a journal of its own.
fn elsewhere(sandbox: &Sandbox, args: &[&str]) -> Ran {
    let mut command = sandbox.forgeline(args);
    command.env("FORGELINE_DATA_DIR", sandbox.dir().join("elsewhere"));
    run(&mut command)
}

fn code(ran: &Ran) -> Value {
    ran.json()["error"]["code"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_instances_at_once_one_makes_the_project_and_the_other_is_told() {
    // Slow enough for both to be under way together.
    let sandbox = std::sync::Arc::new(Sandbox::start("20ms"));
    let other = std::sync::Arc::clone(&sandbox);
    let there =
        tokio::task::spawn_blocking(move || elsewhere(&other, &["create", "shop", "-o", "json"]));
    let here = std::sync::Arc::clone(&sandbox);
    let here = tokio::task::spawn_blocking(move || here.create("shop", &[]));
    let (here, there) = (here.await.unwrap(), there.await.unwrap());
    let succeeded = [&here, &there].iter().filter(|ran| ran.code == 0).count();
    let refused = [&here, &there]
        .into_iter()
        .filter(|ran| ran.code == 8 && code(ran) == "project.not_ours")
        .count();
    // Each may have been first at one of the forges: then both step back.
    assert!(
        (succeeded == 1 && refused == 1) || refused == 2,
        "{here:?} {there:?}"
    );
    let store = sandbox.store().await;
    let made = store["gitea"].as_array().unwrap().len();
    assert_eq!(made, succeeded, "{store}");
    if succeeded == 1 {
        assert_eq!(store["gitea"][0]["refs"], store["github"][0]["refs"]);
        assert_eq!(store["gitea"][0]["issues"].as_array().unwrap().len(), 1);
    } else {
        sandbox.assert_empty().await;
    }
}

#[tokio::test]
async fn another_instance_neither_takes_over_nor_undoes_a_finished_project() {
    let sandbox = Sandbox::start("0ms");
    assert_eq!(sandbox.create("shop", &[]).code, 0);
    let before = sandbox.store().await;
    let other = elsewhere(&sandbox, &["create", "shop", "-o", "json"]);
    assert_eq!((other.code, code(&other)), (8, json!("project.not_ours")));
    assert_eq!(sandbox.store().await, before);
}

#[tokio::test]
async fn two_projects_that_name_one_namespace_do_not_undo_each_other() {
    let sandbox = Sandbox::start("0ms");
    let first = sandbox.create("shop", &["--namespace", "shared"]);
    assert_eq!(first.code, 0, "{first:?}");
    let before = sandbox.store().await;
    let second = sandbox.create("till", &["--namespace", "shared"]);
    assert_eq!(
        (second.code, code(&second)),
        (8, json!("project.not_ours")),
        "{second:?}"
    );
    assert_eq!(sandbox.store().await, before);
    // Asked to use it, it does, and leaves it when it fails.
    sandbox
        .rights_lost_at(
            ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
            json!({"role": "github_mirror", "revoke": ["repo"]}),
        )
        .await;
    let adopting = sandbox.create("till", &["--namespace", "shared", "--adopt"]);
    assert_eq!(adopting.code, 6, "{adopting:?}");
    assert_eq!(sandbox.store().await, before);
}

/// A run that cannot be undone: GitHub's token loses its right to delete after the creation.
async fn stuck(sandbox: &Sandbox) -> String {
    for (at, change) in [
        (
            ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
            json!({"role": "github_mirror", "revoke": ["repo"]}),
        ),
        (
            ("github", "POST /user/repos"),
            json!({"role": "github", "revoke": ["delete_repo"]}),
        ),
    ] {
        sandbox.rights_lost_at(at, change).await;
    }
    let ran = sandbox.create("shop", &[]);
    assert_eq!(ran.code, 7, "{ran:?}");
    for (role, right) in [("github_mirror", "repo"), ("github", "delete_repo")] {
        sandbox
            .rights(json!({"role": role, "grant": [right]}))
            .await;
    }
    sandbox.clear_faults().await;
    ran.json()["run_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_stuck_project_stands_in_nobodys_way_but_its_own() {
    let sandbox = Sandbox::start("0ms");
    let run_id = stuck(&sandbox).await;
    let other = sandbox.create("till", &[]);
    assert_eq!(other.code, 0, "{other:?}");
    let own = sandbox.create("shop", &[]);
    assert_eq!(
        (own.code, code(&own)),
        (7, json!("project.stuck")),
        "{own:?}"
    );
    let remedy = own.json()["error"]["remedy"].as_str().unwrap().to_owned();
    for part in [&run_id, "--retry-undo", "--skip", "--abandon"] {
        assert!(remedy.contains(part), "{remedy}");
    }
    // It is listed first, although the other one is newer.
    let listed = run(&mut sandbox.forgeline(&["list", "-o", "json"])).json();
    let projects: Vec<&Value> = listed["projects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["project"])
        .collect();
    assert_eq!(projects, ["shop", "till"]);
}

#[tokio::test]
async fn what_an_abandoned_run_left_is_used_by_a_later_one_and_never_undone_with_it() {
    let sandbox = Sandbox::start("0ms");
    let run_id = stuck(&sandbox).await;
    let abandoned = run(&mut sandbox.forgeline(&["resume", &run_id, "--abandon", "-o", "json"]));
    assert_eq!(abandoned.code, 7, "{abandoned:?}");
    let left = abandoned.json()["left_behind"][0].clone();
    assert_eq!(left["command"], "gh repo delete acme/shop --yes", "{left}");
    let before = sandbox.store().await;
    sandbox
        .rights_lost_at(
            ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
            json!({"role": "github_mirror", "revoke": ["repo"]}),
        )
        .await;
    let failed = sandbox.create("shop", &[]);
    assert_eq!(failed.code, 6, "{failed:?}");
    assert_eq!(sandbox.store().await["github"], before["github"]);
    sandbox
        .rights(json!({"role": "github_mirror", "grant": ["repo"]}))
        .await;
    sandbox.clear_faults().await;
    let made = sandbox.create("shop", &[]);
    assert_eq!(made.code, 0, "{made:?}");
    let view = made.json();
    assert_eq!(view["artifacts"]["github_repository"]["origin"], "existing");
    // Nothing of it can be retried any more: the newest run has it.
    let late = run(&mut sandbox.forgeline(&["resume", &run_id, "--retry-undo", "-o", "json"]));
    assert_eq!(late.code, 8, "{late:?}");
}

#[tokio::test]
async fn a_mirror_that_a_person_adds_during_the_run_is_not_removed_with_ours() {
    // Between the look of the check and the list that is journaled before ours is added; and after ours was added.
    let listing = ("GET /repos/{owner}/{name}/push_mirrors", 2);
    let syncing = ("POST /repos/{owner}/{name}/push_mirrors-sync", 1);
    for (operation, nth) in [listing, syncing] {
        let sandbox = Sandbox::start("0ms");
        for (forge, files) in [("gitea", json!({"a": "b"})), ("github", json!({}))] {
            let seed = json!({"what": "repository", "forge": forge, "owner": "acme", "name": "shop", "user": "acme", "files": files});
            sandbox.seed(seed).await;
        }
        let address = format!("{}/acme/shop.git", sandbox.env["GITHUB_API_URL"]);
        let theirs =
            json!({"what": "mirror", "owner": "acme", "name": "shop", "remote_address": address});
        let order = json!({"system": "gitea", "operation": operation, "nth": nth,
            "fault": {"kind": "meanwhile", "seed": theirs}});
        sandbox.fault(order).await;
        sandbox
            .rights_lost_at(
                ("gitea", "POST /repos/{owner}/{name}/push_mirrors"),
                json!({"role": "github_mirror", "revoke": ["repo"]}),
            )
            .await;
        let ran = sandbox.create("shop", &["--adopt"]);
        assert_eq!(ran.code, 6, "{ran:?}");
        let store = sandbox.store().await;
        let mirrors: Vec<&str> = store["gitea"][0]["mirrors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mirror| mirror["remote_name"].as_str().unwrap())
            .collect();
        assert_eq!(mirrors.len(), 1, "{operation}: {store}");
        assert!(
            mirrors[0].starts_with("remote_mirror_theirs"),
            "{operation}: {store}"
        );
    }
}
