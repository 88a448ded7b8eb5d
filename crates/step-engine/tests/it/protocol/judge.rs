//! What must hold when a schedule is over: everything once, or nothing, or a list of what is left; and what others made.

use forgeline_step_engine::journal::{Journal, RunRow};
use forgeline_step_engine::{Progress, RunId, RunState};

use super::instance::Instance;
use super::play::{Mode, Schedule};
use super::upstream::{Choice, Deed, Maker, Part, Thing, Upstream};

/// Each run has everything once, or nothing, or says what it has.
pub(crate) async fn judge(
    upstream: &Upstream,
    instance: &Instance,
    schedule: &Schedule,
) -> Vec<String> {
    let mut violations = Vec::new();
    let rows = instance.rows().await;
    let last_success = rows.iter().find(|row| row.state == RunState::Succeeded);
    for row in &rows {
        let history = instance.journal().history(&row.run_id).await.unwrap();
        let progress = Progress::of(&row.workflow, history.iter().map(|entry| &entry.record));
        let made = made_by(upstream, &row.run_id);
        match row.state {
            RunState::Succeeded if last_success.is_some_and(|last| last.run_id == row.run_id) => {
                violations.extend(is_whole(upstream, row, &progress, schedule));
                violations.extend(surplus(row, &progress, &made));
            }
            // What somebody deleted while it was still being made may come back to a run that is kept.
            RunState::Failed if schedule.has(Deed::DeletesIt) => {}
            RunState::Succeeded | RunState::Failed => {
                violations.extend(surplus(row, &progress, &made))
            }
            RunState::Compensated => {
                let listed = |step: &str| {
                    row.recheck_due.is_some() && progress.steps[step].recheck_error.is_some()
                };
                let left = made
                    .iter()
                    .filter(|(step, _)| !listed(step))
                    .map(|(step, id)| {
                        format!("{step} {id} is left of the undone run {}", row.run_id)
                    });
                violations.extend(left);
            }
            RunState::Stuck => {
                let unlisted = made
                    .iter()
                    .filter(|(step, _)| !progress.steps[*step].may_have_made());
                violations.extend(unlisted.map(|(step, id)| {
                    format!("{step} {id} is left of the stuck run and not listed")
                }));
            }
            other => violations.push(format!("run {} ended {other:?}", row.run_id)),
        }
        if row.state != RunState::Stuck && !schedule.has(Deed::Archives) {
            violations.extend(read_only(upstream, &row.run_id));
        }
    }
    violations
}

/// What this run has made and is there: step and id.
fn made_by(upstream: &Upstream, run: &RunId) -> Vec<(&'static str, u64)> {
    let by = Maker::Run(run.clone());
    let mut made = Vec::new();
    for (name, thing) in upstream.things() {
        if thing.by == by {
            made.push((
                if name == "shop" {
                    "repository"
                } else {
                    "namespace"
                },
                thing.id,
            ));
        }
        let parts = thing.mirrors.iter().map(|mirror| ("mirror", mirror));
        let parts = parts.chain(thing.issues.iter().map(|issue| ("issue", issue)));
        made.extend(
            parts
                .filter(|(_, part)| part.by == by)
                .map(|(step, part)| (step, part.id)),
        );
    }
    made
}

/// A run that made something owns what its journal records, and nothing beside it.
fn surplus(row: &RunRow, progress: &Progress, made: &[(&str, u64)]) -> Vec<String> {
    let recorded = |step: &str, id: u64| {
        let state = &progress.steps[step];
        let known = state
            .output
            .as_ref()
            .is_some_and(|output| output["id"] == id);
        let listed = row.recheck_due.is_some() && state.recheck_error.is_some();
        known
            || listed
            || (row.state == RunState::Failed && state.output.is_none() && state.may_have_made())
    };
    let beside = made.iter().filter(|(step, id)| !recorded(step, *id));
    beside
        .map(|(step, id)| {
            format!(
                "{step} {id} is surplus of run {} ({:?})",
                row.run_id, row.state
            )
        })
        .collect()
}

/// All that the newest successful run answers is there, unless somebody else took it away.
fn is_whole(
    upstream: &Upstream,
    row: &RunRow,
    progress: &Progress,
    schedule: &Schedule,
) -> Vec<String> {
    let things = upstream.things();
    let id = |step: &str| {
        progress.steps[step]
            .output
            .as_ref()
            .and_then(|output| output["id"].as_u64())
    };
    let mut missing = Vec::new();
    let namespace = things.get(row.inputs["namespace"].as_str().unwrap_or_default());
    if namespace.map(|thing| thing.id) != id("namespace") {
        missing.push("namespace");
    }
    let here = |thing: &&Thing| Some(thing.id) == id("repository");
    let taken_away = schedule.has(Deed::DeletesIt) || schedule.has(Deed::PutsAnotherInItsPlace);
    match things.get("shop").filter(here) {
        _ if taken_away => {}
        None => missing.push("repository"),
        Some(shop) => {
            let has = |parts: &[Part], step| parts.iter().any(|part| Some(part.id) == id(step));
            missing.extend((!has(&shop.mirrors, "mirror")).then_some("mirror"));
            missing.extend((!has(&shop.issues, "issue")).then_some("issue"));
        }
    }
    missing
        .iter()
        .map(|step| format!("{step} of the successful run {} is not there", row.run_id))
        .collect()
}

/// A repository that is not gone is not left read-only by us.
fn read_only(upstream: &Upstream, run: &RunId) -> Option<String> {
    let thing = upstream.things().remove("shop")?;
    (thing.archived && thing.by == Maker::Run(run.clone()))
        .then(|| format!("the repository of run {run} is read-only"))
}

/// What a person made and did not remove is there.
pub(crate) fn persons_work_is_there(upstream: &Upstream, schedule: &Schedule) -> Option<String> {
    let things = upstream.things();
    let count = |parts: &[Part]| parts.iter().filter(|part| part.by == Maker::Person).count();
    let shop = things.get("shop");
    let there = shop.map_or(0, |shop| {
        usize::from(shop.by == Maker::Person) + count(&shop.mirrors) + count(&shop.issues)
    });
    let done = |deed: Deed| {
        schedule
            .choices
            .iter()
            .filter(|(_, choice)| *choice == Choice::Deed(deed))
            .count()
    };
    // What the person removed themselves does not count.
    if done(Deed::DeletesIt) + done(Deed::PutsAnotherInItsPlace) > 0 {
        return None;
    }
    let given = if schedule.mode == Mode::Adopt { 2 } else { 0 };
    let made =
        given + done(Deed::TakesTheName) + done(Deed::OpensAnIssue) + done(Deed::AddsAMirror);
    (upstream.happened() == schedule.choices.len() && there < made)
        .then(|| format!("of {made} things that a person made {there} are there"))
}
