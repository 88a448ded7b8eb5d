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
        number("faults_fired") * 100 >= number("schedules") * 95,
        "too few troubles happened"
    );
    assert!(number("kills") >= 15, "too few processes were hit");
    // The first scene's matrix is whole: every fault stands at every request.
    let cells = report["matrix"].as_array().unwrap();
    let first = "project_create, kubernetes, plain";
    let whole: Vec<&Value> = cells.iter().filter(|cell| cell["scene"] == first).collect();
    let (requests, faults) = (texts(&whole, "request"), texts(&whole, "fault"));
    assert!(
        requests.len() > 50 && faults.len() > 12,
        "{requests:?} {faults:?}"
    );
    for request in &requests {
        let here: Vec<&Value> = whole
            .iter()
            .copied()
            .filter(|cell| cell["request"] == *request)
            .collect();
        let common = texts(&here, "fault").len();
        let expected = faults.len() - usize::from(!request.starts_with("github"));
        assert_eq!(common, expected, "{request}");
    }
    // Every scene is in the sample.
    let every: Vec<&Value> = cells.iter().collect();
    assert!(
        texts(&every, "scene").len() >= 8,
        "{:?}",
        texts(&every, "scene")
    );
}
