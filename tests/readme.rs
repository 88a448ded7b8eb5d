//! What the README says is run. (Its two set-up commands are run by `.ci/run`.)

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{BEARER, Server, forgeline};

const README: &str = include_str!("../README.md");

/// The text of the first fenced block of this language that holds `part`.
fn block(language: &str, part: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let found = README
        .split(fence.as_str())
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next());
    found
        .into_iter()
        .find(|text| text.contains(part))
        .expect("the block is in the README")
}

#[tokio::test]
async fn the_curl_example_creates_a_project() {
    let example = block("sh", "curl -sS");
    let mut command = forgeline(&["serve", "--sandbox"]);
    command.env("FORGELINE_STATIC_TOKEN", BEARER);
    let server = Server::start(command);
    let mut request = server.http.post(&server.url);
    for line in example
        .lines()
        .filter_map(|line| line.trim().strip_prefix("-H "))
    {
        let header = line.trim_end_matches('\\').trim().trim_matches(['"', '\'']);
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value.replace("$FORGELINE_STATIC_TOKEN", BEARER));
    }
    let body = example
        .split("-d '")
        .nth(1)
        .unwrap()
        .trim_end_matches('\'')
        .to_owned();
    let answer: Value = request
        .body(body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        answer["result"]["structuredContent"]["state"], "succeeded",
        "{answer}"
    );
}

#[test]
fn the_mcp_json_is_json_and_names_the_default_address() {
    let parsed: Value = serde_json::from_str(block("json", "mcpServers")).unwrap();
    assert_eq!(
        parsed["mcpServers"]["forgeline"]["url"],
        "http://127.0.0.1:3210/mcp"
    );
}

#[test]
fn the_output_shown_is_the_output_of_today() {
    let shown = block("text", "hello-world: succeeded");
    let ran = crate::support::run(&mut forgeline(&["create", "hello-world", "--sandbox"]));
    assert_eq!(
        crate::command_line::steady(shown),
        crate::command_line::steady(ran.stdout.trim_end())
    );
}

#[test]
fn the_plan_shown_is_the_plan_of_today() {
    let shown = block("text", "hello-world: plan");
    let ran = crate::support::run(&mut forgeline(&[
        "create",
        "hello-world",
        "--sandbox",
        "--dry-run",
    ]));
    assert_eq!(shown, ran.stdout.trim_end());
}

#[test]
fn the_workflow_shown_has_no_mistake() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("announced.yaml"),
        block("yaml", "announced_repository"),
    )
    .unwrap();
    std::fs::write(
        dir.path().join("forgeline.toml"),
        "[[mcp_servers]]\nname = \"tickets\"\nurl = \"http://127.0.0.1:1/mcp\"\ntoken = { env = \"TICKETS_TOKEN\" }\n",
    )
    .unwrap();
    let mut check = forgeline(&["workflow", "check", "announced.yaml"]);
    let checked = check
        .current_dir(dir.path())
        .env("TICKETS_TOKEN", "a-token-of-the-ticket-server");
    let checked = crate::support::run(checked);
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn every_variable_that_is_read_is_in_the_readme() {
    let source = include_str!("../crates/forgeline/src/variables.rs");
    let list = source.split("ALL: &[Variable]").nth(1).unwrap();
    let lines = list.split("];").next().unwrap().lines();
    let read: BTreeSet<&str> = lines.filter_map(|line| line.split('"').nth(1)).collect();
    assert!(read.len() > 20, "{read:?}");
    for name in read {
        assert!(README.contains(name) || name == "USER", "{name}");
    }
}

#[test]
fn every_command_of_the_pages_is_one_that_the_program_takes() {
    let pages = [
        README,
        include_str!("../docs/clean-up.md"),
        include_str!("../docs/callers.md"),
    ];
    let blocks = pages
        .iter()
        .flat_map(|page| page.split("```sh\n").skip(1))
        .filter_map(|rest| rest.split("\n```").next());
    let mut count = 0;
    for line in blocks.flat_map(str::lines) {
        let Some(line) = line.strip_prefix("forgeline ") else {
            continue;
        };
        let line = line.split("  #").next().unwrap();
        // Asked for help right behind its arguments, the program refuses only what it does not know.
        let script = format!("exec \"$0\" {line} --help");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_forgeline")]);
        let ran = crate::support::run(&mut command);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        count += 1;
    }
    assert!(count > 8, "{count}");
}
