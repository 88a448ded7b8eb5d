//! One fault at every request that a workflow makes: it ends with everything once, or with nothing.
//!
//! The requests are those that were seen, so a new one cannot escape.

use std::collections::BTreeMap;
use std::time::Duration;

use forgeline_sandbox::{Fault, FaultOrder};
use forgeline_step_engine::journal::RunOptions;
use futures::StreamExt;
use serde_json::json;

use crate::world::{Scene, Times, World};

fn faults() -> Vec<(&'static str, Fault)> {
    let status = |status: u16, headers: &[(&str, &str)]| Fault::StatusBefore {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: "{}".into(),
    };
    vec![
        ("lost before", Fault::LostBefore),
        ("lost after", Fault::LostAfter),
        ("502 after", Fault::StatusAfter { status: 502 }),
        ("503 before", status(503, &[])),
        ("429", status(429, &[("retry-after", "0")])),
        ("403", status(403, &[])),
        (
            "malformed",
            Fault::Body {
                text: "<html>".into(),
            },
        ),
    ]
}

/// Every request of a run without faults: system, operation, and which one of its kind.
async fn requests(scene: Scene) -> Vec<(String, String, usize)> {
    let world = World::of(scene).await;
    let view = world.create(RunOptions::default()).await;
    world.assert_consistent(&view, "without faults");
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut requests = Vec::new();
    for request in world.sandbox.requests().as_array().unwrap() {
        let system = request["system"].as_str().unwrap().to_owned();
        let operation = request["operation"].as_str().unwrap().to_owned();
        let nth = seen.entry((system.clone(), operation.clone())).or_default();
        *nth += 1;
        requests.push((system, operation, *nth));
    }
    requests
}

/// One run with one fault: the state it ended in, and whether the fault fired.
async fn cell(scene: Scene, name: &str, order: FaultOrder, times: Option<Times>) -> (String, bool) {
    let what = format!(
        "{name} at {} {} #{}",
        order.system, order.operation, order.nth
    );
    let world = match times {
        Some(times) => World::with_times(scene, times).await,
        None => World::of(scene).await,
    };
    world.sandbox.order(order);
    let view = world.create(RunOptions::default()).await;
    world.assert_consistent(&view, &what);
    let fired = world.sandbox.faults()[0]["fired"].as_u64() > Some(0);
    (format!("{:?}", view.state.unwrap()), fired)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_fault_at_any_request_ends_with_everything_once_or_with_nothing() {
    let mut cells = Vec::new();
    for scene in Scene::ALL {
        let requests = requests(scene).await;
        assert!(requests.len() > 20, "{requests:?}");
        for (system, operation, nth) in requests {
            for (name, fault) in faults() {
                let order = FaultOrder {
                    system: system.clone(),
                    operation: operation.clone(),
                    nth,
                    fault,
                };
                cells.push(cell(scene, name, order, None));
            }
        }
    }
    let count = cells.len();
    let ended: Vec<(String, bool)> = futures::stream::iter(cells)
        .buffer_unordered(8)
        .collect()
        .await;
    let fired = ended.iter().filter(|(_, fired)| *fired).count();
    let succeeded = ended
        .iter()
        .filter(|(state, _)| state == "Succeeded")
        .count();
    println!(
        "{count} cells, {fired} faults fired, {succeeded} succeeded, {} compensated",
        count - succeeded
    );
    assert!(
        fired * 10 >= count * 9,
        "only {fired} of {count} faults fired"
    );
    assert!(
        succeeded * 2 > count,
        "only {succeeded} of {count} succeeded"
    );
}

/// Answers that never come, and effects that come after the client has given up but within the settle time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_or_a_late_effect_at_any_request_ends_with_everything_once_or_with_nothing() {
    let times = Times {
        deadline: Duration::from_millis(800),
        settle: Duration::from_millis(900),
    };
    let mut cells = Vec::new();
    let scene = Scene::TemplateAndGit;
    for (system, operation, nth) in requests(scene).await {
        for (name, fault) in [("hang", Fault::Hang), ("late", Fault::Late { ms: 1000 })] {
            let order = FaultOrder {
                system: system.clone(),
                operation: operation.clone(),
                nth,
                fault,
            };
            cells.push(cell(scene, name, order, Some(times)));
        }
    }
    let count = cells.len();
    let ended: Vec<(String, bool)> = futures::stream::iter(cells)
        .buffer_unordered(12)
        .collect()
        .await;
    let fired = ended.iter().filter(|(_, fired)| *fired).count();
    println!("{count} cells, {fired} faults fired");
    assert!(
        fired * 10 >= count * 9,
        "only {fired} of {count} faults fired"
    );
}

#[tokio::test]
async fn an_undo_never_touches_what_was_adopted_even_after_a_lost_answer() {
    let world = World::new().await;
    for forge in ["gitea", "github"] {
        let seed = json!({"what": "repository", "forge": forge, "owner": "acme", "name": "shop", "user": "acme"});
        world.sandbox.seed(seed).await.unwrap();
    }
    let before = world.sandbox.store();
    for (system, operation) in [
        ("gitea_mcp", "tools/call create_repo"),
        ("github", "POST /user/repos"),
    ] {
        let fault = Fault::LostBefore;
        world.sandbox.order(FaultOrder {
            system: system.into(),
            operation: operation.into(),
            nth: 1,
            fault,
        });
    }
    let fault = Fault::StatusBefore {
        status: 403,
        headers: BTreeMap::new(),
        body: "{}".into(),
    };
    let operation = "POST /api/v1/namespaces".to_owned();
    world.sandbox.order(FaultOrder {
        system: "kubernetes".into(),
        operation,
        nth: 0,
        fault,
    });
    let view = world
        .create(RunOptions {
            adopt: true,
            ..RunOptions::default()
        })
        .await;
    assert_eq!(
        view.state,
        Some(forgeline_step_engine::RunState::Compensated),
        "{:?}",
        view.left_behind
    );
    assert_eq!(world.sandbox.store(), before);
    let fired = world.sandbox.faults();
    assert!(
        fired
            .as_array()
            .unwrap()
            .iter()
            .all(|order| order["fired"].as_u64() > Some(0)),
        "{fired}"
    );
}
