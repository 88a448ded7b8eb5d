//! The audit log: what stands in it, what nobody can change in it unseen, and that nothing is done that it cannot record.
//! Every verdict is also that of examples/audit_verify.py, which shares no code with us.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox, Server, canary, forgeline, run};

const KEY: &str = "an-audit-key-of-forty-bytes-0123456789ab";
const SEED: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// A log with a run, a refusal and a deletion in it, ended well.
struct Log {
    sandbox: Sandbox,
    dir: tempfile::TempDir,
    keyed: bool,
}

impl Log {
    async fn made(keyed: bool) -> Self {
        let mut sandbox = Sandbox::start("0ms");
        if keyed {
            sandbox.set("FORGELINE_AUDIT_KEY", KEY);
            sandbox.set("FORGELINE_AUDIT_SIGNING_KEY", SEED);
            for secret in [KEY, SEED] {
                canary(secret);
            }
        }
        let mut server = Server::against(&sandbox);
        server.view("project_create", json!({"name": "shop"})).await;
        let plan = server
            .view("project_delete", json!({"project": "shop"}))
            .await;
        let apply = json!({"project": "shop", "plan_id": plan["plan_id"]});
        let gone = server.view("project_delete", apply).await;
        assert_eq!(gone["state"], "succeeded", "{gone}");
        server.bearer = "wrong".into();
        assert_eq!(server.refused("project_list", json!({})).await.0, 401);
        stop(server);
        Self {
            sandbox,
            dir: tempfile::tempdir().unwrap(),
            keyed,
        }
    }

    fn data(&self) -> PathBuf {
        PathBuf::from(&self.sandbox.env["FORGELINE_DATA_DIR"])
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.data().join("audit.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// A copy with these lines, and what both verifiers say of it.
    fn verdict(&self, text: &str, what: &str) -> i32 {
        let log = self.dir.path().join("audit.jsonl");
        std::fs::write(&log, text).unwrap();
        std::fs::copy(
            self.data().join("audit.checkpoints"),
            self.dir.path().join("audit.checkpoints"),
        )
        .unwrap();
        verdicts(self.dir.path(), &[log], self.keyed, what)
    }
}

/// Asks a server to end, and waits until it has.
fn stop(mut server: Server) {
    let id = server.process.0.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert!(server.process.0.wait().unwrap().success());
}

fn verify(log: &Path, keyed: bool) -> Ran {
    let mut command = forgeline(&["audit", "verify", "-o", "json"]);
    command.arg("--log").arg(log);
    if keyed {
        command.envs([
            ("FORGELINE_AUDIT_KEY", KEY),
            ("FORGELINE_AUDIT_SIGNING_KEY", SEED),
        ]);
    }
    run(&mut command)
}

/// The exit code of both.
fn verdicts(dir: &Path, files: &[PathBuf], keyed: bool, what: &str) -> i32 {
    let ours = verify(dir, keyed);
    let mut python = Command::new("python3");
    python
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../examples/audit_verify.py"
        ))
        .args(files);
    if keyed {
        let key = dir.join("key");
        std::fs::write(&key, format!("{KEY}\n")).unwrap();
        python.arg("--key-file").arg(key);
    }
    let theirs = python
        .arg("--checkpoints")
        .arg(dir.join("audit.checkpoints"))
        .output();
    match theirs {
        Ok(theirs) => assert_eq!(
            Some(ours.code),
            theirs.status.code(),
            "{what}: {ours:?} {theirs:?}"
        ),
        Err(error) if std::env::var_os("CI").is_none() => {
            let why = format!("python3 does not run here ({error})");
            let _ = writeln!(
                std::io::stderr(),
                "the second verifier was not asked: {why}"
            );
        }
        Err(error) => panic!("CI has Python: {error}"),
    }
    ours.code
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn a_change_of_the_log_is_seen_whatever_it_is() {
    for keyed in [false, true] {
        let log = Log::made(keyed).await;
        let lines = log.lines();
        assert!(lines.len() > 10, "{lines:#?}");
        assert_eq!(log.verdict(&joined(&lines), "untouched"), 0);
        for at in 0..lines.len() {
            let mut changed = lines.clone();
            changed[at] = changed[at].replacen("\"actor\":\"", "\"actor\":\"x", 1);
            assert_eq!(log.verdict(&joined(&changed), "an edit"), 1, "{at}");
            let mut changed = lines.clone();
            changed.remove(at);
            let last = at + 1 == lines.len();
            // Without its first line it begins as a log whose older files are kept elsewhere.
            let end = at == 0 || last;
            assert_eq!(
                log.verdict(&joined(&changed), "a deletion"),
                if end { 7 } else { 1 },
                "{at}"
            );
            if !last {
                let mut changed = lines.clone();
                changed.swap(at, at + 1);
                assert_eq!(log.verdict(&joined(&changed), "another order"), 1, "{at}");
                let cut = joined(&lines[..=at]);
                assert_eq!(log.verdict(&cut, "a cut"), 7, "{at}");
                let torn = format!("{cut}{}", &lines[at + 1][..20]);
                assert_eq!(log.verdict(&torn, "a torn line"), 7, "{at}");
            }
        }
        assert_eq!(log.verdict("", "an empty file"), 7);
        let doubled = joined(&lines) + &joined(&lines[lines.len() - 1..]);
        assert_eq!(log.verdict(&doubled, "a line twice"), 1);
        rewritten(&log, &lines);
    }
}

/// Whoever has the file writes the whole log anew: without a key that gives a chain that holds, and the checkpoint shows it;
/// with a key nobody else can.
fn rewritten(log: &Log, lines: &[String]) {
    let (mut head, mut text) = ("0".repeat(64), String::new());
    for line in lines {
        let body = line
            .split(",\"hash\":")
            .next()
            .unwrap()
            .replace("svc:static", "svc:nobody");
        let (before, rest) = body.split_once("\"prev\":\"").unwrap();
        let body = format!("{before}\"prev\":\"{head}{}", &rest[64..]);
        let bound = format!("forgeline-audit-v1\n{head}\n{body}}}");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bound.as_bytes());
        head = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        text.push_str(&format!("{body},\"hash\":\"{head}\"}}\n"));
    }
    assert!(text.contains("svc:nobody"));
    assert_eq!(log.verdict(&text, "a whole new log"), 1);
    let own = log.dir.path().join("audit.checkpoints");
    std::fs::remove_file(&own).unwrap();
    let without = verify(&log.dir.path().join("audit.jsonl"), log.keyed);
    assert_eq!(without.code, i32::from(log.keyed), "{without:?}");
}

#[tokio::test]
async fn every_destruction_is_announced_and_its_end_recorded() {
    let log = Log::made(true).await;
    let lines: Vec<Value> = log
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |phase: &str, tool: &str| {
        let found = lines
            .iter()
            .filter(|line| line["phase"] == phase && line["tool"] == tool);
        found.collect::<Vec<_>>()
    };
    let begun = of("intent", "destroy");
    let targets: Vec<&str> = begun
        .iter()
        .map(|line| line["target"].as_str().unwrap())
        .collect();
    for wanted in ["gitea:acme/shop", "github:acme/shop", "ns:shop"] {
        assert!(
            targets.iter().any(|target| target.contains(wanted)),
            "{wanted}: {targets:?}"
        );
    }
    for intent in begun
        .iter()
        .chain(&of("intent", "project_create"))
        .chain(&of("intent", "project_delete"))
    {
        let end = lines
            .iter()
            .find(|line| line["phase"] == "outcome" && line["id"] == intent["id"]);
        let end = end.unwrap_or_else(|| panic!("no end of {intent}"));
        assert!(end["seq"].as_u64() > intent["seq"].as_u64());
        assert_eq!(intent["actor"], "svc:static");
        assert_eq!(end["decision"], "done", "{end}");
    }
    let args = of("intent", "project_create")[0]["args"].as_str().unwrap();
    assert!(
        args.starts_with("hmac:") && !args.contains("shop"),
        "{args}"
    );
    assert_eq!(lines[0]["phase"], "boot");
    assert!(
        lines[0]["target"]
            .as_str()
            .unwrap()
            .contains("configuration "),
        "{}",
        lines[0]
    );
    assert_eq!(lines[0]["decision"], "keyed");
    let wrong = verify(&log.data(), false);
    assert_eq!(
        wrong.code, 1,
        "without its key it cannot be verified: {wrong:?}"
    );
}

#[tokio::test]
async fn a_torn_line_is_put_aside_and_the_log_goes_on() {
    let log = Log::made(false).await;
    let path = log.data().join("audit.jsonl");
    let before = log.lines().len();
    let mut text = std::fs::read_to_string(&path).unwrap();
    let whole = text.len();
    text.push_str("{\"v\":1,\"seq\":99,\"pr");
    std::fs::write(&path, &text).unwrap();
    assert_eq!(verify(&log.data(), false).code, 7);
    let made = log.sandbox.create("other", &["--ttl", "1h"]);
    assert_eq!(made.code, 0, "{made:?}");
    let delete = log
        .sandbox
        .forgeline(&["delete", "other", "-o", "json"])
        .output()
        .unwrap();
    let plan: Value = serde_json::from_slice(&delete.stdout).unwrap();
    let plan_id = plan["plan_id"].as_str().unwrap();
    let ran = run(&mut log
        .sandbox
        .forgeline(&["delete", "other", "--plan-id", plan_id]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let aside = std::fs::read_to_string(log.data().join(format!("audit.torn-{whole}"))).unwrap();
    assert_eq!(aside, "{\"v\":1,\"seq\":99,\"pr");
    let boot: Value = serde_json::from_str(&log.lines()[before]).unwrap();
    assert_eq!(
        boot["reason"],
        format!("a torn line at byte {whole} was put aside")
    );
    let verified = verify(&log.data(), false);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done() {
    let sandbox = Sandbox::start("0ms");
    let made = sandbox.create("shop", &[]);
    assert_eq!(made.code, 0, "{made:?}");
    // A directory in its place: nobody can write there, whatever the user's rights are.
    let log = PathBuf::from(&sandbox.env["FORGELINE_DATA_DIR"]).join("audit.jsonl");
    let _ = std::fs::remove_file(&log);
    std::fs::create_dir(&log).unwrap();
    let server = Server::against(&sandbox);
    let before = sandbox.store().await;
    for (tool, arguments) in [
        ("project_create", json!({"name": "other"})),
        ("project_renew", json!({"project": "shop", "ttl": "1h"})),
        (
            "project_token",
            json!({"project": "shop", "action": "rotate"}),
        ),
    ] {
        let answer = server.view(tool, arguments).await;
        assert_eq!(
            answer["error"]["code"], "audit.unwritable",
            "{tool}: {answer}"
        );
    }
    let plan = server
        .view("project_delete", json!({"project": "shop"}))
        .await;
    let apply = json!({"project": "shop", "plan_id": plan["plan_id"]});
    let refused = server.view("project_delete", apply).await;
    assert_eq!(refused["error"]["code"], "audit.unwritable", "{refused}");
    assert_eq!(sandbox.store().await, before);
    stop(server);
    // On the command line, where no tool is called, the step itself asks.
    let shown = run(&mut sandbox.forgeline(&["delete", "shop", "-o", "json"])).json();
    let plan_id = shown["plan_id"].as_str().unwrap();
    let ran = run(&mut sandbox.forgeline(&["delete", "shop", "--plan-id", plan_id]));
    assert_eq!(ran.code, 7, "{ran:?}");
    let report = run(&mut sandbox.forgeline(&["doctor", "--only", "audit", "-o", "json"]));
    assert_eq!(report.code, 3, "{report:?}");
    assert_eq!(sandbox.store().await["gitea"], before["gitea"]);
}

#[test]
fn verify_says_what_it_cannot_do() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(verify(&dir.path().join("nowhere"), false).code, 2);
    let mut bad = forgeline(&["audit", "verify", "--pubkey", "xyz"]);
    assert_eq!(run(&mut bad).code, 2);
}
