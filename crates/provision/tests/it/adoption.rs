//! What was adopted is never undone.

use std::collections::BTreeMap;

use forgeline_sandbox::{Fault, FaultOrder};
use forgeline_step_engine::journal::RunOptions;
use serde_json::json;

use crate::world::World;

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
