//! Workflow files of the user's: tools and commands without Rust, undone on failure, refused when they are broken.

use serde_json::{Value, json};

use crate::support::{BEARER, Ran, Sandbox, Server, forgeline, run};
use crate::tickets::{TOKEN, Tickets};

/// A sandbox, a server with tickets, and a directory with one workflow file.
struct Place {
    sandbox: Sandbox,
    tickets: Tickets,
}

impl Place {
    fn with(name: &str, file: &str) -> Self {
        let mut sandbox = Sandbox::start("0ms");
        let tickets = Tickets::start();
        let files = sandbox.dir().join("workflows");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join(name), file.replace("HOST", &tickets.host)).unwrap();
        std::fs::write(
            sandbox.dir().join("forgeline.toml"),
            tickets.configuration(),
        )
        .unwrap();
        let files = files.display().to_string();
        sandbox.set("FORGELINE_WORKFLOWS_DIR", &files);
        sandbox.set("TICKETS_TOKEN", TOKEN);
        Self { sandbox, tickets }
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.sandbox.forgeline(args);
        command.current_dir(self.sandbox.dir());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut all = vec!["run"];
        all.extend(args);
        all.extend(["-o", "json"]);
        run(&mut self.command(&all))
    }

    fn serve(&self) -> Server {
        let mut command = self.command(&["serve"]);
        command.env("FORGELINE_STATIC_TOKEN", BEARER);
        Server::start(command)
    }
}

/// A repository and a ticket about it; then a request that may be refused.
const ANNOUNCE: &str = r#"
name: announced_repository
description: A repository, and a ticket that announces it.
inputs:
  name: { type: string, required: true, pattern: "^[a-z-]+$", description: Its name. }
  last: { type: string, default: fine, description: What the last request is about. }
steps:
  - id: repository
    kind: gitea.repository
    with: { owner: acme, name: "${{ inputs.name }}" }
  - id: ticket
    kind: mcp.call
    needs: [repository]
    with:
      server: tickets
      tool: open_ticket
      arguments: { title: "new: ${{ steps.repository.full_name }}" }
      output: [number]
      check: { tool: find_ticket, arguments: { title: "new: ${{ steps.repository.full_name }}" }, found: /number, absent: no such ticket }
      undo: { tool: close_ticket, arguments: { number: "${{ output.number }}" }, absent: no such ticket }
  - id: hook
    kind: http.request
    needs: [ticket]
    with:
      url: "http://HOST/tickets"
      token: tickets
      body: { title: "${{ inputs.last }}" }
      output: [number]
      check: { url: "http://HOST/tickets?title=${{ inputs.last }}", found: /number }
      undo: { url: "http://HOST/tickets/${{ output.number }}", method: DELETE }
outputs: { ticket: "${{ steps.ticket.number }}" }
"#;

#[tokio::test]
async fn a_users_workflow_works_from_the_command_line_and_over_mcp() {
    let place = Place::with("announced.yaml", ANNOUNCE);
    let ran = place.run(&["announced_repository", "-i", "name=shop"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let view = ran.json();
    assert_eq!(view["outputs"], json!({"ticket": 1}));
    assert_eq!(place.tickets.open(), ["new: acme/shop", "fine"]);
    assert!(!ran.stdout.contains("never-journal-this"), "{ran:?}");
    let server = place.serve();
    let tools = server.rpc("tools/list", json!({})).await;
    let tool = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["name"] == "announced_repository")
        .cloned()
        .unwrap();
    assert_eq!(tool["inputSchema"]["required"], json!(["name"]));
    let made = server
        .view(
            "announced_repository",
            json!({"name": "other", "last": "more"}),
        )
        .await;
    assert_eq!(
        (&made["state"], &made["outputs"]["ticket"]),
        (&json!("succeeded"), &json!(3)),
        "{made}"
    );
    // Asking twice makes one.
    let again = server
        .view(
            "announced_repository",
            json!({"name": "other", "last": "more"}),
        )
        .await;
    assert_eq!(again["state"], "succeeded", "{again}");
    assert_eq!(place.tickets.opened(), 4);
    let bad = server
        .call("announced_repository", json!({"name": "Not A Name"}))
        .await;
    assert_eq!(
        (&bad["isError"], &bad["structuredContent"]["error"]["code"]),
        (&json!(true), &json!("input.invalid"))
    );
}

#[tokio::test]
async fn a_users_steps_are_undone_when_a_later_one_fails() {
    let place = Place::with("announced.yaml", ANNOUNCE);
    let ran = place.run(&[
        "announced_repository",
        "-i",
        "name=shop",
        "-i",
        "last=refused",
    ]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert_eq!(ran.json()["error"]["step"], "hook");
    assert_eq!(place.tickets.open(), [""; 0]);
    assert!(place.tickets.calls().contains(&"close_ticket".to_owned()));
    place.sandbox.assert_empty().await;
}

#[tokio::test]
async fn with_a_check_a_lost_answer_is_looked_up_and_nothing_is_made_twice() {
    let place = Place::with("announced.yaml", ANNOUNCE);
    place.tickets.lose_next();
    let ran = place.run(&["announced_repository", "-i", "name=shop"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        (
            place.tickets.opened(),
            ran.json()["outputs"]["ticket"].clone()
        ),
        (2, json!(1))
    );
}

fn without(part: &str) -> String {
    ANNOUNCE
        .lines()
        .filter(|line| !line.trim_start().starts_with(part))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn without_a_check_an_unknown_outcome_is_stuck_with_what_to_look_at() {
    let place = Place::with("announced.yaml", &without("check:"));
    place.tickets.lose_next();
    let ran = place.run(&["announced_repository", "-i", "name=shop"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    let view = ran.json();
    assert_eq!(
        (&view["state"], &view["error"]["code"]),
        (&json!("stuck"), &json!("step.unknown_outcome")),
        "{view}"
    );
    let left = view["left_behind"].as_array().unwrap();
    assert!(
        left.iter()
            .any(|one| one["command"].as_str().unwrap().contains("open_ticket")),
        "{view}"
    );
    assert_eq!(place.tickets.opened(), 1, "it is never repeated");
    let step = [
        "resume",
        view["run_id"].as_str().unwrap(),
        "--skip",
        "ticket",
        "-o",
        "json",
    ];
    let skipped = run(&mut place.command(&step));
    assert_eq!(
        (skipped.code, &skipped.json()["state"]),
        (7, &json!("compensated")),
        "{skipped:?}"
    );
    place.sandbox.assert_empty().await;
    assert_eq!(place.tickets.opened(), 1);
}

#[tokio::test]
async fn without_an_undo_a_step_is_irreversible_and_listed() {
    let place = Place::with("announced.yaml", &without("undo:"));
    let ran = place.run(&["announced_repository", "-i", "name=shop"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let graph = run(&mut place.command(&["workflow", "graph", "announced_repository"]));
    assert!(
        graph.stdout.contains("ticket<br/>mcp.call (irreversible)"),
        "{graph:?}"
    );
    // Its own failure is the run's: what went before is undone, or listed where it cannot be.
    let refused = place.run(&[
        "announced_repository",
        "-i",
        "name=other",
        "-i",
        "last=refused",
    ]);
    assert_eq!(refused.code, 7, "{refused:?}");
    let left = refused.json()["left_behind"].clone();
    assert_eq!(left.as_array().unwrap().len(), 1, "{refused:?}");
    assert!(
        left[0]["artifact"].as_str().unwrap().contains("ticket"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_irreversible_step_of_unknown_outcome_stops_the_run_until_somebody_looked() {
    let file = without("undo:")
        .lines()
        .filter(|line| !line.trim_start().starts_with("check:"))
        .collect::<Vec<_>>()
        .join("\n");
    let place = Place::with("announced.yaml", &file);
    place.tickets.lose_next();
    let ran = place.run(&["announced_repository", "-i", "name=shop"]);
    assert_eq!(
        (ran.code, &ran.json()["state"]),
        (7, &json!("stuck")),
        "{ran:?}"
    );
    let view = ran.json();
    let step = [
        "resume",
        view["run_id"].as_str().unwrap(),
        "--skip",
        "ticket",
        "-o",
        "json",
    ];
    let skipped = run(&mut place.command(&step));
    assert_eq!(
        skipped.json()["left_behind"].as_array().unwrap().len(),
        1,
        "{skipped:?}"
    );
    assert_eq!(skipped.json()["state"], "succeeded", "{skipped:?}");
    assert_eq!(place.tickets.opened(), 2, "the ticket once, the hook once");
}

/// Every line has a mistake.
const BROKEN: &str = r#"
name: announced_repository
inputs:
  name: { type: sting }
  adopt: { type: boolean }
steps:
  - id: ticket
    kind: mcp.cal
  - id: other
    kind: mcp.call
    needs: [tickt]
    with: { server: nobody, tool: x, arguments: { a: "${{ output.number }}" }, check: { tool: y } }
  - id: hook
    kind: http.request
    with: { url: "http://evil.example.org/x", token: nosuch, method: BREW, undo: { method: DELETE } }
"#;

#[tokio::test]
async fn a_broken_file_is_refused_at_start_with_all_its_mistakes() {
    let place = Place::with("broken.yaml", BROKEN);
    let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let refused = run(serve.env("FORGELINE_STATIC_TOKEN", BEARER));
    let file = place
        .sandbox
        .dir()
        .join("workflows/broken.yaml")
        .display()
        .to_string();
    let checked = run(&mut place.command(&["workflow", "check", &file]));
    for ran in [&refused, &checked] {
        assert_eq!(ran.code, 3, "{ran:?}");
        for part in [
            "broken.yaml:4",
            "`sting`",
            "`mcp.cal`",
            "did you mean `mcp.call`",
            "`tickt`",
            "did you mean `ticket`",
            "no MCP server `nobody`",
            "`output` can be named in `undo` only",
            "`check` needs `found`",
            "evil.example.org is not in [http] allow_hosts",
            "no token `nosuch`",
            "`BREW` is no method",
            "`undo` needs a `url`",
        ] {
            assert!(
                ran.stderr.contains(part),
                "`{part}` is missing: {}",
                ran.stderr
            );
        }
    }
    assert!(place.sandbox.requests().await.is_empty());
}

#[tokio::test]
async fn names_that_are_taken_and_options_as_inputs_are_refused() {
    for (file, why) in [
        (
            "name: doctor\nsteps:\n  - { id: a, kind: mcp.call, with: { server: gitea, tool: get_me } }\n",
            "name of another tool",
        ),
        (
            "name: mine\ninputs: { dry_run: { type: boolean } }\nsteps:\n  - { id: a, kind: mcp.call, with: { server: gitea, tool: get_me } }\n",
            "name of an option",
        ),
    ] {
        let place = Place::with("x.yaml", file);
        let listed = run(&mut place.command(&["workflow", "list"]));
        assert_eq!(listed.code, 3, "{listed:?}");
        assert!(listed.stderr.contains(why), "{listed:?}");
    }
}

#[tokio::test]
async fn a_file_of_a_shipped_name_takes_its_place_and_needs_the_admin_scope() {
    let file = ANNOUNCE.replace("announced_repository", "library_create");
    let place = Place::with("library.yaml", &file);
    let configuration = format!(
        "{}[[auth.static]]\nname = \"router\"\ntoken = {{ env = \"ROUTER_TOKEN\" }}\nscopes = [\"forgeline:read\", \"forgeline:create\"]\n\
         [[auth.static]]\nname = \"reader\"\ntoken = {{ env = \"READER_TOKEN\" }}\nscopes = [\"forgeline:read\"]\n",
        place.tickets.configuration()
    );
    std::fs::write(place.sandbox.dir().join("forgeline.toml"), configuration).unwrap();
    let (router, reader) = (
        "router-router-router-router-router",
        "reader-reader-reader-reader-reader",
    );
    let mut command = place.command(&["serve"]);
    command.envs([
        ("FORGELINE_STATIC_TOKEN", BEARER),
        ("ROUTER_TOKEN", router),
        ("READER_TOKEN", reader),
    ]);
    let mut server = Server::start(command);
    let mut names = async |bearer: &str| {
        server.bearer = bearer.to_owned();
        let tools = server.rpc("tools/list", json!({})).await;
        let all = tools["result"]["tools"].as_array().unwrap().clone();
        all.iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(names(BEARER).await.contains(&"library_create".to_owned()));
    assert_eq!(
        names(router).await,
        [
            "project_create",
            "project_status",
            "project_list",
            "run_resume",
            "run_cancel",
            "doctor",
            "project_check",
            "project_renew",
            "cleanup_test_repos",
            "project_delete",
            "mirror_rotate",
            "project_token"
        ]
    );
    // A reader sees what it may plan with, and no workflow of the operator.
    assert_eq!(
        names(reader).await,
        [
            "project_create",
            "project_status",
            "project_list",
            "doctor",
            "project_check",
            "cleanup_test_repos",
            "project_delete",
            "mirror_rotate"
        ]
    );
    let (status, challenge) = server
        .refused("project_create", json!({"name": "shop"}))
        .await;
    assert_eq!(status, 403);
    assert!(
        challenge.contains("scope=\"forgeline:read forgeline:create\""),
        "{challenge}"
    );
    // Of what the operator has, a reader learns nothing: it is answered like a tool that is not there.
    let mut answers = Vec::new();
    for tool in ["library_create", "no_such_tool"] {
        let call = json!({"name": tool, "arguments": {"name": "shop", "dry_run": true}});
        let answer = server.rpc("tools/call", call).await;
        answers.push(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .replace(tool, "TOOL"),
        );
    }
    assert!(
        answers[0].contains("unknown tool") && answers[0] == answers[1],
        "{answers:?}"
    );
    let plan = json!({"name": "shop", "dry_run": true});
    let planned = server.view("project_create", plan).await;
    assert_eq!(planned["state"], "planned", "{planned}");
    place.sandbox.assert_empty().await;
}

#[test]
fn workflow_commands_need_no_configuration() {
    let listed = run(&mut forgeline(&["workflow", "list", "-o", "json"]));
    assert_eq!(listed.code, 0, "{listed:?}");
    let names: Vec<Value> = listed
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, ["project_create", "library_create"]);
    let graph = run(&mut forgeline(&["workflow", "graph", "project_create"]));
    assert!(
        graph.stdout.starts_with("flowchart LR")
            && graph.stdout.contains("gitea_repository --> mirror"),
        "{graph:?}"
    );
    let unknown = run(&mut forgeline(&["workflow", "graph", "nosuch"]));
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert_eq!(
        run(&mut forgeline(&[
            "workflow",
            "check",
            "../../workflows/library_create.yaml"
        ]))
        .code,
        0
    );
}

/// A workflow of one request to the tickets' server, and of one that is refused.
fn requests(with: &str) -> String {
    format!(
        r#"
name: requests
description: Requests.
inputs:
  name: {{ type: string, required: true, description: What it is about. }}
steps:
  - id: first
    kind: http.request
    with: {{ {with} }}
  - id: last
    kind: http.request
    needs: [first]
    with: {{ url: "http://HOST/tickets", token: tickets, body: {{ title: refused }} }}
"#
    )
}

#[tokio::test]
async fn an_undo_whose_field_the_answer_lacks_is_not_sent_but_listed() {
    let with = r#"url: "http://HOST/tickets", token: tickets, body: { title: a }, output: [id], undo: { url: "http://HOST/tickets/${{ output.id }}" }"#;
    let place = Place::with("requests.yaml", &requests(with));
    let ran = place.run(&["requests", "-i", "name=shop"]);
    assert_eq!(
        (ran.code, &ran.json()["state"]),
        (7, &json!("stuck")),
        "{ran:?}"
    );
    assert_eq!(place.tickets.calls(), ["POST /tickets", "POST /tickets"]);
    assert_eq!(
        ran.json()["left_behind"].as_array().unwrap().len(),
        1,
        "{ran:?}"
    );
}

#[tokio::test]
async fn no_input_leads_a_request_to_another_address() {
    let with =
        r#"method: DELETE, url: "http://HOST/projects/${{ inputs.name }}/x", token: tickets"#;
    let place = Place::with("requests.yaml", &requests(with));
    let ran = place.run(&["requests", "-i", "name=../tickets/1?"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert_eq!(
        place.tickets.calls(),
        ["DELETE /projects/..%2Ftickets%2F1%3F/x"]
    );
    let up = place.run(&["requests", "-i", "name=.."]);
    assert_eq!(up.code, 6, "{up:?}");
    assert_eq!(place.tickets.calls().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_not_there_sends_nothing() {
    let with = r#"url: "http://HOST/tickets", token: "${{ settings.nosuch }}", body: { title: a }"#;
    let place = Place::with("requests.yaml", &requests(with));
    let ran = place.run(&["requests", "-i", "name=shop"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stdout.contains("nothing is sent without it"), "{ran:?}");
    assert!(place.tickets.calls().is_empty());
}

#[tokio::test]
async fn what_would_look_by_deleting_or_never_find_is_refused() {
    let with = r#"url: 5, resource: [a], output: [number], check: { url: "http://HOST/tickets", method: DELETE, found: number }, undo: { url: "http://HOST/tickets/${{ output.nr }}" }"#;
    let file = format!("scope: forgeline:read\n{}", requests(with));
    let place = Place::with("requests.yaml", &file);
    let checked = run(&mut place.command(&["workflow", "check", "workflows/requests.yaml"]));
    assert_eq!(checked.code, 3, "{checked:?}");
    for part in [
        "`url` must be a text, not 5",
        "`resource` must be a text",
        "`check` takes no `method`",
        "`found` must be a JSON pointer",
        "`output.nr`, which `output` does not keep",
    ] {
        assert!(checked.stderr.contains(part), "{part}: {checked:?}");
    }
    let file = format!(
        "scope: forgeline:read\n{}",
        requests(r#"url: "http://HOST/tickets", token: tickets"#)
    );
    let place = Place::with("requests.yaml", &file);
    let checked = run(&mut place.command(&["workflow", "check", "workflows/requests.yaml"]));
    assert!(
        checked.stderr.contains("`scope` must be one of"),
        "{checked:?}"
    );
}

#[tokio::test]
async fn another_workflow_does_not_lift_a_conflict_nor_count_as_done_before() {
    let with = r#"url: "http://HOST/tickets", token: tickets, body: { title: one }"#;
    let only_first = requests(with);
    let only_first = only_first.split("  - id: last").next().unwrap();
    let place = Place::with("requests.yaml", only_first);
    let second = only_first
        .replace("name: requests", "name: others")
        .replace("title: one", "title: two")
        .replace("HOST", &place.tickets.host);
    std::fs::write(place.sandbox.dir().join("workflows/others.yaml"), second).unwrap();
    let made = place.run(&["project_create", "-i", "name=shop"]);
    assert_eq!(made.code, 0, "{made:?}");
    for workflow in ["requests", "others"] {
        let ran = place.run(&[workflow, "-i", "name=shop"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(place.tickets.open(), ["one", "two"]);
    let public = place.run(&[
        "project_create",
        "-i",
        "name=shop",
        "-i",
        "visibility=public",
    ]);
    assert_eq!(
        (public.code, &public.json()["error"]["code"]),
        (8, &json!("project.conflict")),
        "{public:?}"
    );
}
