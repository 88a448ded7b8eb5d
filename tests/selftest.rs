//! The promise, tried: `forgeline selftest` plays every shipped workflow under every trouble that it knows.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::Value;

use crate::support::{forgeline, run};

fn texts<'a>(cells: &[&'a Value], part: &str) -> BTreeSet<&'a str> {
    cells
        .iter()
        .map(|cell| cell[part].as_str().unwrap())
        .collect()
}

#[test]
fn no_trouble_at_any_request_record_or_step_breaks_the_promise() {
    let args = [
        "selftest", "--seed", "20261121", "--kills", "20", "-o", "json",
    ];
    let ran = run(&mut forgeline(&args));
    let report = ran.json();
    assert_eq!(
        report["violations"],
        Value::Array(Vec::new()),
        "{:#}",
        report["violations"]
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let number = |part: &str| report[part].as_u64().unwrap();
    // Written past the capture: a figure that nobody sees is none.
    let _ = writeln!(
        std::io::stderr(),
        "selftest: {} schedules, {} cells, {} troubles happened, {} kills: {}",
        number("schedules"),
        number("cells"),
        number("faults_fired"),
        number("kills"),
        report["outcomes"]
    );
    assert!(
        number("faults_fired") * 100 >= number("schedules") * 80,
        "too few troubles happened"
    );
    assert!(number("kills") >= 15, "too few processes were hit");
    let load = &report["load"];
    let _ = writeln!(std::io::stderr(), "selftest: {load}");
    assert!(load["faults_fired"].as_u64() > Some(5), "{load}");
    // The first scene's matrix is whole: these stand at every request, forward and undoing.
    let cells = report["matrix"].as_array().unwrap();
    let first = "project_create, kubernetes, plain";
    let whole: Vec<&Value> = cells.iter().filter(|cell| cell["scene"] == first).collect();
    let requests = texts(&whole, "request");
    assert!(requests.len() > 50, "{requests:?}");
    for fault in [
        "lost before",
        "lost after",
        "502 after",
        "403",
        "hang",
        "late after the undo looked",
    ] {
        let hit = whole.iter().copied().filter(|cell| cell["fault"] == fault);
        let hit = texts(&hit.collect::<Vec<_>>(), "request");
        let forward = requests
            .iter()
            .filter(|request| !request.ends_with("(run fails)"));
        let missed: Vec<_> = forward.filter(|request| !hit.contains(*request)).collect();
        assert!(missed.is_empty(), "{fault}: {missed:?}");
        assert!(
            hit.iter().any(|request| request.ends_with("(run fails)")),
            "{fault}"
        );
    }
    assert!(
        texts(&whole, "fault").contains("pushed on GitHub"),
        "nobody else came"
    );
    // Every scene is in the sample.
    let every: Vec<&Value> = cells.iter().collect();
    assert!(
        texts(&every, "scene").len() >= 8,
        "{:?}",
        texts(&every, "scene")
    );
}
