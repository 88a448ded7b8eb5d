//! A sandbox in a process of its own, the program against it, and a plain JSON-RPC client.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

/// A program under test that ends with its test.
pub(crate) struct Running(pub(crate) Child);

/// Where everything that programs print, answer and keep is collected, so that tests/canary.py can look for secrets in it
/// after all tests. `None`: nothing is collected.
fn collection() -> Option<PathBuf> {
    std::env::var_os("FORGELINE_CANARY_DIR").map(PathBuf::from)
}

/// Collects what a program has shown or kept.
pub(crate) fn collect(what: &str, bytes: &[u8]) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let Some(dir) = collection() else { return };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("{}-{number}-{what}", std::process::id()));
    std::fs::create_dir_all(dir).expect("a directory for the collection");
    std::fs::write(path, bytes).expect("the collection can be written");
}

/// A secret that must be nowhere in the collection.
pub(crate) fn canary(value: &str) {
    collect("canary", value.as_bytes());
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program without any of our variables.
pub(crate) fn forgeline(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forgeline"));
    command.args(args).env_clear().stdin(Stdio::null());
    for name in ["PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("USER", "tester").env("HOME", "/nonexistent");
    command
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// stdout as exactly one JSON value.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON value: {error}\n{self:?}"))
    }
}

pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("the program can be started");
    collect("stdout", &output.stdout);
    collect("stderr", &output.stderr);
    Ran::of(&output)
}

/// `forgeline sandbox` in a process of its own, with a data directory for the programs that use it.
pub(crate) struct Sandbox {
    _process: Running,
    pub(crate) env: BTreeMap<String, String>,
    http: reqwest::Client,
    dir: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn start(latency: &str) -> Self {
        Self::with(&["--latency", latency])
    }

    /// A sandbox with these flags.
    pub(crate) fn with(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut command = forgeline(&["sandbox"]);
        command.args(flags);
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the sandbox starts");
        let stdout = process.stdout.take().expect("its stdout");
        let mut env = BTreeMap::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("a line of text");
            collect("sandbox", line.as_bytes());
            let (name, value) = line
                .strip_prefix("export ")
                .and_then(|rest| rest.split_once('='))
                .expect("an export line");
            let value = value.trim_matches('\'');
            if name.contains("TOKEN") || name == "GITHUB_PAT" {
                canary(value);
            }
            env.insert(name.to_owned(), value.to_owned());
            if name == "FORGELINE_SANDBOX_SECOND_TOKEN" {
                break;
            }
        }
        env.insert(
            "FORGELINE_DATA_DIR".into(),
            dir.path().join("data").display().to_string(),
        );
        Self {
            _process: Running(process),
            env,
            http: reqwest::Client::new(),
            dir,
        }
    }

    /// A directory of its own, gone with the sandbox; commands run in it when they are told to.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A variable for every program that is started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// The requests since the first creation: those of the run itself.
    pub(crate) async fn run_requests(&self) -> usize {
        let requests = self.requests().await;
        let creates = [
            "tools/call create_repo",
            "POST /user/repos",
            "POST /api/v1/namespaces",
        ];
        let first = requests.iter().position(|request| {
            request["operation"]
                .as_str()
                .is_some_and(|operation| creates.contains(&operation))
        });
        first.map_or(0, |first| requests.len() - first)
    }

    /// The program with the variables that the sandbox printed.
    pub(crate) fn forgeline(&self, args: &[&str]) -> Command {
        let mut command = forgeline(args);
        command.envs(&self.env);
        command
    }

    pub(crate) fn create(&self, name: &str, more: &[&str]) -> Ran {
        let mut args = vec!["create", name, "-o", "json"];
        args.extend(more);
        run(&mut self.forgeline(&args))
    }

    async fn control(&self, method: reqwest::Method, what: &str, body: Option<&Value>) -> Value {
        let url = format!("{}/{what}", self.env["FORGELINE_SANDBOX_URL"]);
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(&self.env["FORGELINE_SANDBOX_TOKEN"]);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.expect("the control API answers");
        assert!(
            response.status().is_success(),
            "{what}: {}",
            response.status()
        );
        let text = response.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub(crate) async fn store(&self) -> Value {
        self.control(reqwest::Method::GET, "store", None).await
    }

    pub(crate) async fn requests(&self) -> Vec<Value> {
        self.control(reqwest::Method::GET, "requests", None)
            .await
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) async fn forget_requests(&self) {
        self.control(reqwest::Method::DELETE, "requests", None)
            .await;
    }

    pub(crate) async fn rights(&self, change: Value) {
        self.control(reqwest::Method::POST, "rights", Some(&change))
            .await;
    }

    /// Rights change right before this request is handled: after everything that was looked at before a run.
    pub(crate) async fn rights_lost_at(&self, (system, operation): (&str, &str), change: Value) {
        let order = json!({"system": system, "operation": operation,
            "fault": {"kind": "meanwhile", "seed": {"what": "rights", "change": change}}});
        self.fault(order).await;
    }

    pub(crate) async fn fault(&self, order: Value) {
        self.control(reqwest::Method::POST, "faults", Some(&order))
            .await;
    }

    pub(crate) async fn clear_faults(&self) {
        self.control(reqwest::Method::DELETE, "faults", None).await;
    }

    pub(crate) async fn seed(&self, seed: Value) {
        self.control(reqwest::Method::POST, "seed", Some(&seed))
            .await;
    }

    /// Asserts that no repository, namespace or object of anybody is there.
    pub(crate) async fn assert_empty(&self) {
        let store = self.store().await;
        for what in ["gitea", "github", "namespaces", "objects"] {
            assert_eq!(store[what], json!([]), "{what}");
        }
    }

    /// A clone address with the login of one of the sandbox's tokens.
    pub(crate) fn with_login(&self, url: &str, token: &str) -> String {
        url.replacen("http://", &format!("http://acme:{}@", self.env[token]), 1)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if collection().is_none() {
            return;
        }
        // What the test itself has put there is no output of a program.
        let files = std::fs::read_dir(self.dir.path().join("data"));
        for file in files.into_iter().flatten().flatten() {
            if let Ok(bytes) = std::fs::read(file.path()) {
                collect(&format!("data-{}", file.file_name().display()), &bytes);
            }
        }
    }
}

/// `forgeline serve` over HTTP.
pub(crate) struct Server {
    pub(crate) process: Running,
    pub(crate) url: String,
    pub(crate) bearer: String,
    pub(crate) http: reqwest::Client,
    /// What it said on stderr before it was ready.
    pub(crate) said: String,
}

pub(crate) const BEARER: &str = "0123456789abcdef0123456789abcdef";

impl Server {
    /// Starts a server with these variables and waits until it says that it serves.
    pub(crate) fn start(mut command: Command) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        command.env("FORGELINE_LISTEN", format!("127.0.0.1:{port}"));
        let mut process = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut stderr = BufReader::new(process.stderr.take().expect("its stderr"));
        let (mut said, mut url, mut bearer) = (String::new(), String::new(), BEARER.to_owned());
        loop {
            let mut line = String::new();
            let read = stderr.read_line(&mut line).expect("a line of text");
            assert_ne!(read, 0, "the server ended before it served:\n{said}");
            said.push_str(&line);
            if let Some(at) = line.strip_prefix("forgeline serves MCP at ") {
                url = at.trim().to_owned();
            }
            if let Some((_, rest)) = line.split_once("Authorization: Bearer ") {
                let shown = rest.trim().trim_end_matches('"');
                if shown != "$FORGELINE_STATIC_TOKEN" {
                    bearer = shown.to_owned();
                }
                break;
            }
        }
        collect("stderr", said.as_bytes());
        // The rest is read so that the server never blocks on a full pipe.
        std::thread::spawn(move || {
            let mut rest = Vec::new();
            let read = stderr.read_to_end(&mut rest);
            collect("stderr", &rest);
            read
        });
        Self {
            process: Running(process),
            url,
            bearer,
            http: reqwest::Client::new(),
            said,
        }
    }

    /// A server against a sandbox in another process.
    pub(crate) fn against(sandbox: &Sandbox) -> Self {
        let mut command = sandbox.forgeline(&["serve"]);
        command.env("FORGELINE_STATIC_TOKEN", BEARER);
        Self::start(command)
    }

    pub(crate) fn address(&self, path: &str) -> String {
        self.url.replace("/mcp", path)
    }

    /// One JSON-RPC request of the initialize era (stateless, JSON answer).
    pub(crate) async fn rpc(&self, method: &str, params: Value) -> Value {
        let request = self.http.post(&self.url).bearer_auth(&self.bearer);
        let request = request
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        let response = request
            .json(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            .send()
            .await;
        let response = response.expect("the server answers");
        assert_eq!(response.status(), 200, "{method}");
        let bytes = response.bytes().await.expect("an answer");
        collect("answer", &bytes);
        serde_json::from_slice(&bytes).expect("a JSON answer")
    }

    /// Calls a tool, and answers the status and the challenge of a refusal at the door.
    pub(crate) async fn refused(&self, tool: &str, arguments: Value) -> (u16, String) {
        let call = json!({"name": tool, "arguments": arguments});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call});
        let request = self.http.post(&self.url).bearer_auth(&self.bearer);
        let request = request.header("accept", "application/json, text/event-stream");
        let response = request.json(&body).send().await.expect("an answer");
        let challenge = response.headers().get("www-authenticate");
        let challenge = challenge.map_or("", |value| value.to_str().expect("a text"));
        (response.status().as_u16(), challenge.to_owned())
    }

    /// Calls a tool and answers its result.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        let answer = self
            .rpc("tools/call", json!({"name": tool, "arguments": arguments}))
            .await;
        assert!(answer["error"].is_null(), "{tool}: {answer}");
        answer["result"].clone()
    }

    /// Calls a tool and answers its structured content.
    pub(crate) async fn view(&self, tool: &str, arguments: Value) -> Value {
        self.call(tool, arguments).await["structuredContent"].clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let host = self.url.trim_start_matches("http://");
        let host = host.trim_end_matches("/mcp").to_owned();
        if collection().is_none() {
            return;
        }
        // A server that has ended, or speaks TLS, shows nothing more.
        for path in ["/metrics", "/readyz?verbose"] {
            if let Ok(mut stream) = TcpStream::connect(&host) {
                let ask =
                    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
                let mut answer = Vec::new();
                let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(2)));
                let _ = stream.write_all(ask.as_bytes());
                let _ = stream.read_to_end(&mut answer);
                collect("watched", &answer);
            }
        }
    }
}

/// The commit of a clone's HEAD.
pub(crate) fn cloned_head(url: &str, dir: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(args)
            .env("GIT_TERMINAL_PROMPT", "0")
            .output()
            .expect("git runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let target = dir.display().to_string();
    git(&["clone", "--quiet", url, &target]);
    git(&["-C", &target, "rev-parse", "HEAD"])
}
