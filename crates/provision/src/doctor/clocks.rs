//! Clocks: ownership compares times, so they must not be far apart.

use jiff::Timestamp;

use super::Check;

/// Claims count only when they are not older than the intent, minus ten seconds.
const APART: i64 = 8;

pub(super) fn check(system: &str, theirs: Timestamp) -> Check {
    let apart = theirs.duration_since(Timestamp::now()).as_secs();
    if apart.abs() <= APART {
        return Check::ok("clock", system, format!("{apart} s apart from ours"));
    }
    Check::fail(
        "clock",
        system,
        format!(
            "its clock is {apart} s apart from ours, so what we make there may look older than our intent"
        ),
        "let both machines keep their time by NTP",
    )
}
