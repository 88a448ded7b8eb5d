//! Data on stdout, talk on stderr.

use std::io::Write;

use comfy_table::{Table, presets};
use forgeline_provision::{
    CheckReport, ItemResult, NamespaceArtifact, Plan, ProjectList, Report, RunView, Status,
};
use forgeline_step_engine::Origin;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Format;
use crate::config::Problem;

/// Talk: one or more lines on stderr.
pub(crate) fn say(text: &str) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Data: a text on stdout.
pub(crate) fn print(text: &str) {
    // A reader that closed the pipe has what it wanted.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// `error: …`, `help: …` on stderr.
pub(crate) fn complain(what: &str, why: Option<&str>, help: Option<&str>) {
    let mut text = format!("error: {what}");
    if let Some(why) = why {
        text.push_str(&format!("\ncaused by: {why}"));
    }
    if let Some(help) = help {
        text.push_str(&format!("\nhelp: {help}"));
    }
    say(&text);
}

/// All problems of a configuration in one message.
pub(crate) fn complain_of(problems: &[Problem]) {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("  {}\n    help: {}", problem.message, problem.remedy))
        .collect();
    say(&format!(
        "error: the configuration cannot be used; nothing was sent to any system\n{}",
        lines.join("\n")
    ));
}

/// A run.
pub(crate) fn run(view: &RunView, format: Format) {
    match format {
        Format::Json | Format::Ndjson => answer(view, format),
        Format::Table => {
            match &view.plan {
                Some(plan) => print(&plan_table(view, plan)),
                None if view.run_id.is_some() => print(&run_table(view)),
                None => {}
            }
            run_talk(view);
        }
    }
}

/// An answer for programs: one object, or the last of several lines.
pub(crate) fn answer(view: &RunView, format: Format) {
    match format {
        Format::Ndjson => line(&serde_json::json!({"type": "answer", "run": view})),
        Format::Json | Format::Table => json(view),
    }
}

/// One JSON value in one line on stdout.
pub(crate) fn line(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        print(&text);
    }
}

/// Rows for programs: one object with all of them, or one line each.
fn rows_as<T: Serialize>(whole: &impl Serialize, rows: &[T], format: Format) {
    match format {
        Format::Ndjson => rows.iter().for_each(line),
        Format::Json | Format::Table => json(whole),
    }
}

/// One JSON value on stdout.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&text),
        Err(error) => complain(
            "the answer cannot be written as JSON",
            Some(&error.to_string()),
            None,
        ),
    }
}

fn run_talk(view: &RunView) {
    for warning in &view.warnings {
        say(&format!("warning: {warning}"));
    }
    if let Some(error) = &view.error {
        complain(
            &format!("{} ({})", error.message, error.code),
            None,
            error.remedy.as_deref(),
        );
    }
}

fn run_table(view: &RunView) -> String {
    let state = view.state.map_or("unknown", |state| state.as_str());
    let project = view.project.as_deref().unwrap_or_default();
    let run = view.run_id.as_deref().unwrap_or_default();
    let joined = if view.joined { ", joined" } else { "" };
    let mut text = format!(
        "{project}: {state} (run {run}, {}{joined})",
        view.environment
    );
    let rows = artifact_rows(view);
    if !rows.is_empty() {
        text.push_str("\n\n");
        text.push_str(&table(["ARTIFACT", "ORIGIN", "WHAT"], rows));
    }
    if !view.left_behind.is_empty() {
        let rows = view.left_behind.iter().map(|left| {
            [
                left.artifact.clone(),
                left.why.clone(),
                left.command.clone(),
            ]
        });
        text.push_str("\n\n");
        text.push_str(&table(["LEFT BEHIND", "WHY", "COMMAND"], rows.collect()));
    }
    if let Some(access) = &view.access {
        let until = format!("until {}; shown only here", access.expires_at);
        let rows = vec![[access.token.clone(), access.scopes.join(" "), until]];
        text.push_str("\n\n");
        text.push_str(&table(["BEARER OF THIS PROJECT", "SCOPES", "NOTE"], rows));
    }
    text
}

fn artifact_rows(view: &RunView) -> Vec<[String; 3]> {
    let artifacts = &view.artifacts;
    let row = |what: &str, origin: Origin, value: String| {
        [what.to_owned(), origin_word(origin).to_owned(), value]
    };
    let mut rows = Vec::new();
    if let Some(found) = &artifacts.gitea_repository {
        rows.push(row("Gitea repository", found.origin, found.url.clone()));
    }
    if let Some(found) = &artifacts.github_repository {
        rows.push(row("GitHub repository", found.origin, found.url.clone()));
    }
    if let Some(found) = &artifacts.mirror {
        let head = found
            .head
            .as_deref()
            .and_then(|head| head.get(..12))
            .unwrap_or("none");
        rows.push(row(
            "Push mirror",
            found.origin,
            format!("verified, {} ref(s), head {head}", found.refs),
        ));
    }
    if let Some(found) = &artifacts.infra_namespace {
        rows.push(row(
            "Namespace",
            found.origin.unwrap_or(Origin::Created),
            namespace_words(found),
        ));
    }
    if let Some(found) = &artifacts.issue {
        rows.push(row("First issue", found.origin, found.url.clone()));
    }
    rows
}

fn namespace_words(found: &NamespaceArtifact) -> String {
    let mut parts = Vec::new();
    if let Some(name) = &found.name {
        let objects = found.objects.as_deref().unwrap_or_default();
        parts.push(if objects.is_empty() {
            name.clone()
        } else {
            format!("{name} with {}", objects.join(", "))
        });
    }
    if let (Some(repository), Some(branch)) = (&found.repository, &found.branch) {
        parts.push(format!("manifests in {repository} on {branch}"));
    }
    parts.join("; ")
}

fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Created => "created",
        Origin::Existing => "existing",
        Origin::Adopted => "adopted",
    }
}

fn plan_table(view: &RunView, plan: &Plan) -> String {
    let project = view.project.as_deref().unwrap_or_default();
    let rows = plan.items.iter().map(|item| {
        let url = item.url.as_deref().unwrap_or("known after it is made");
        [
            format!("{} {}", item.action.symbol(), item.id),
            item.artifact.clone(),
            item.why.clone(),
            url.to_owned(),
        ]
    });
    let mut text = format!("{project}: plan ({})\n\n", view.environment);
    text.push_str(&table(["STEP", "ARTIFACT", "WHY", "URL"], rows.collect()));
    let missing: Vec<String> = plan
        .needs
        .rights
        .iter()
        .filter(|right| right.ok == Some(false))
        .map(|right| format!("{} for {}", right.right, right.variable))
        .collect();
    let needs = &plan.needs.requests;
    text.push_str(&format!(
        "\n\nRequests: Gitea {}, gitea-mcp {}, GitHub {}, Kubernetes {}.",
        needs.gitea, needs.gitea_mcp, needs.github, needs.kubernetes
    ));
    if !missing.is_empty() {
        text.push_str(&format!("\nMissing rights: {}.", missing.join(", ")));
    }
    text.push_str(&format!("\n{}", plan.summary()));
    text
}

/// A plan of removals, or what became of it. `apply`: the command that applies it, without its name.
pub(crate) fn plan(plan: &Plan, apply: &str, format: Format) {
    if format != Format::Table {
        return match format {
            Format::Ndjson => line(&serde_json::json!({"type": "answer", "plan": plan})),
            Format::Json | Format::Table => json(plan),
        };
    }
    let row = |item: &forgeline_provision::PlanItem| {
        let became = item.result.map_or_else(
            || item.action.symbol().to_string(),
            |result| {
                let word = serde_json::to_value(result).unwrap_or_default();
                word.as_str().unwrap_or_default().to_owned()
            },
        );
        let evidence = item.evidence.clone().unwrap_or_default();
        [
            became,
            item.project.clone(),
            item.artifact.clone(),
            evidence,
            item.why.clone(),
        ]
    };
    if !plan.items.is_empty() {
        print(&table(
            ["", "PROJECT", "ARTIFACT", "EVIDENCE", "WHY"],
            plan.items.iter().map(row).collect(),
        ));
        print("");
    }
    let blocked = plan.items.iter().filter(|item| {
        item.action == forgeline_provision::Action::Blocked
            || matches!(item.result, Some(ItemResult::Blocked | ItemResult::Failed))
    });
    for item in blocked {
        let word = if plan.run_id.is_some() {
            "is left"
        } else {
            "would be left"
        };
        print(&format!("{} {word}: {}", item.artifact, item.command));
    }
    print(&plan_words(plan));
    for warning in &plan.warnings {
        say(&format!("warning: {warning}"));
    }
    if let Some(error) = &plan.error {
        let what = format!("{} ({})", error.message, error.code);
        complain(&what, None, error.remedy.as_deref());
    } else if let Some(plan_id) = plan.plan_id.as_ref().filter(|_| plan.run_id.is_none()) {
        say(&format!(
            "nothing was removed; to remove exactly this: {apply} {plan_id}"
        ));
    }
}

/// A plan in a sentence: what it would do, or what it did.
fn plan_words(plan: &Plan) -> String {
    if plan.run_id.is_none() {
        let counts = &plan.counts;
        return format!(
            "Plan: {} to delete, {} to keep, {} blocked.",
            counts.delete, counts.keep, counts.blocked
        );
    }
    let count = |result| {
        plan.items
            .iter()
            .filter(|item| item.result == Some(result))
            .count()
    };
    format!(
        "Done: {} deleted, {} kept, {} blocked, {} gone, {} failed.",
        count(ItemResult::Deleted) + count(ItemResult::Archived) + count(ItemResult::Replaced),
        count(ItemResult::Kept),
        count(ItemResult::Blocked),
        count(ItemResult::Gone),
        count(ItemResult::Failed)
    )
}

/// A project as it is now.
pub(crate) fn check(report: &CheckReport, format: Format) {
    if let Some(error) = &report.error {
        let what = format!("{} ({})", error.message, error.code);
        complain(&what, None, error.remedy.as_deref());
    }
    if format != Format::Table {
        return rows_as(report, &report.items, format);
    }
    if report.error.is_some() {
        return;
    }
    let rows = report.items.iter().map(|item| {
        let state = serde_json::to_value(item.state).unwrap_or_default();
        [
            item.artifact.clone(),
            state.as_str().unwrap_or_default().to_owned(),
            item.observed.clone(),
            item.detail.clone(),
        ]
    });
    print(&table(
        ["ARTIFACT", "STATE", "NOW", "DETAIL"],
        rows.collect(),
    ));
    let word = if report.drift { "drift" } else { "no drift" };
    print(&format!("\n{}: {word}", report.project));
}

/// doctor's findings.
pub(crate) fn report(report: &Report, format: Format) {
    if let Some(error) = &report.error {
        complain(&error.message, None, error.remedy.as_deref());
    }
    if format != Format::Table {
        return rows_as(report, &report.checks, format);
    }
    if report.error.is_some() {
        return;
    }
    let mut lines = Vec::new();
    for check in &report.checks {
        let sign = match check.status {
            Status::Ok => '✔',
            Status::Warn => '⚠',
            Status::Fail => '✗',
            Status::Skip => '-',
        };
        lines.push(format!(
            "{sign} {}: {} ({})",
            check.subject, check.detail, check.id
        ));
        if let Some(remedy) = check.remedy.as_ref().filter(|_| check.status != Status::Ok) {
            lines.push(format!("    fix: {remedy}"));
        }
    }
    let count = |status| {
        report
            .checks
            .iter()
            .filter(|check| check.status == status)
            .count()
    };
    lines.push(format!(
        "{} ok, {} warning(s), {} failed, {} skipped; docs/runbook.md explains each",
        count(Status::Ok),
        count(Status::Warn),
        count(Status::Fail),
        count(Status::Skip)
    ));
    print(&lines.join("\n"));
}

/// The workflow files.
pub(crate) fn workflows(rows: &[Value], format: Format) {
    if format != Format::Table {
        return rows_as(&rows, rows, format);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = rows.iter().map(|row| {
        let inputs = row["inputs"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let names = inputs.iter().map(|input| {
            let mark = if input["required"] == true { "" } else { "?" };
            format!("{}{mark}", text(&input["name"]))
        });
        [
            text(&row["name"]),
            text(&row["file"]),
            names.collect::<Vec<_>>().join(" "),
        ]
    });
    print(&table(
        ["WORKFLOW", "FILE", "INPUTS (? may be left out)"],
        lines.collect(),
    ));
}

/// The configuration.
pub(crate) fn settings(rows: &[Value], format: Format) {
    if format != Format::Table {
        return rows_as(&rows, rows, format);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = rows.iter().map(|row| {
        [
            text(&row["name"]),
            text(&row["value"]),
            text(&row["origin"]),
        ]
    });
    print(&table(["SETTING", "VALUE", "ORIGIN"], lines.collect()));
}

/// A list of projects.
pub(crate) fn list(list: &ProjectList, format: Format) {
    match format {
        Format::Json => json(list),
        Format::Ndjson => list.projects.iter().for_each(line),
        Format::Table => match &list.error {
            Some(error) => complain(&error.message, None, error.remedy.as_deref()),
            None => print(&table(
                ["PROJECT", "STATE", "UPDATED", "URL"],
                list_rows(list),
            )),
        },
    }
}

fn list_rows(list: &ProjectList) -> Vec<[String; 4]> {
    let row = |row: &forgeline_provision::ProjectRow| {
        let url = row.url.clone().unwrap_or_default();
        [
            row.project.clone(),
            row.state.as_str().to_owned(),
            row.updated_at.clone(),
            url,
        ]
    };
    list.projects.iter().map(row).collect()
}

fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}
