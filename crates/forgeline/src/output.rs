//! Data on stdout, talk on stderr.

use std::io::Write;

use comfy_table::{Table, presets};
use forgeline_provision::{ProjectList, RunView};
use forgeline_step_engine::Origin;
use serde::Serialize;

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
        Format::Json => json(view),
        Format::Table => {
            if view.run_id.is_some() {
                print(&run_table(view));
            }
            run_talk(view);
        }
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
            found.origin,
            namespace_words(&found.name, &found.objects),
        ));
    }
    if let Some(found) = &artifacts.issue {
        rows.push(row("First issue", found.origin, found.url.clone()));
    }
    rows
}

fn namespace_words(name: &str, objects: &[String]) -> String {
    if objects.is_empty() {
        name.to_owned()
    } else {
        format!("{name} with {}", objects.join(", "))
    }
}

fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Created => "created",
        Origin::Existing => "existing",
        Origin::Adopted => "adopted",
    }
}

/// A list of projects.
pub(crate) fn list(list: &ProjectList, format: Format) {
    match format {
        Format::Json => json(list),
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
