//! A small server of somebody else's, with tickets: over MCP (`/mcp`) and over plain HTTP (`/tickets`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const TOKEN: &str = "tickets-token-0123456789";

#[derive(Default)]
struct State {
    /// Number to title.
    open: BTreeMap<u64, String>,
    /// How many were ever opened.
    opened: u64,
    /// The next answer to an opening is lost, after its effect.
    lose_next: bool,
    /// Tools that were called, and requests that were made.
    calls: Vec<String>,
}

/// The running server, on a thread of its own: tests block theirs while they wait for a program.
pub(crate) struct Tickets {
    state: Arc<Mutex<State>>,
    pub(crate) host: String,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Tickets {
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        let state = Arc::clone(&shared);
                        tokio::spawn(async move { serve(stream, &state).await });
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            state,
            host,
            _stop: stop,
        }
    }

    /// Numbers and titles of the open ones.
    pub(crate) fn open(&self) -> Vec<String> {
        self.state.lock().unwrap().open.values().cloned().collect()
    }

    pub(crate) fn opened(&self) -> u64 {
        self.state.lock().unwrap().opened
    }

    pub(crate) fn lose_next(&self) {
        self.state.lock().unwrap().lose_next = true;
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The configuration that lets workflows call it.
    pub(crate) fn configuration(&self) -> String {
        format!(
            "[[mcp_servers]]\nname = \"tickets\"\nurl = \"http://{0}/mcp\"\ntoken = {{ env = \"TICKETS_TOKEN\" }}\n\
             [http]\nallow_hosts = [\"{0}\"]\n[[http.tokens]]\nname = \"tickets\"\nhosts = [\"{0}\"]\ntoken = {{ env = \"TICKETS_TOKEN\" }}\n",
            self.host
        )
    }
}

async fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut first, mut known) = (0, String::new(), false);
        if stream.read_line(&mut first).await.unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            known |= line.contains(&format!("Bearer {TOKEN}"));
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let answer = if known {
            handle(state, method, path, &body)
        } else {
            Some((401, json!({"message": "who are you?"})))
        };
        // A lost answer: the connection ends without one.
        let Some((status, answer)) = answer else {
            return;
        };
        let text = if answer.is_null() {
            String::new()
        } else {
            answer.to_string()
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        if stream
            .write_all(format!("{head}{text}").as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

fn open(state: &mut State, title: &str) -> Option<Value> {
    state.opened += 1;
    let number = state.opened;
    state.open.insert(number, title.to_owned());
    if std::mem::take(&mut state.lose_next) {
        return None;
    }
    Some(json!({"number": number, "title": title, "secret": "never-journal-this"}))
}

fn handle(state: &Mutex<State>, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    let mut state = state.lock().unwrap();
    if path != "/mcp" {
        state.calls.push(format!("{method} {path}"));
        let number = path
            .rsplit('/')
            .next()
            .and_then(|last| last.parse::<u64>().ok());
        return Some(match (method, number) {
            ("POST", _) if body["title"] == "refused" => {
                (422, json!({"message": "no such project"}))
            }
            ("POST", _) => (201, open(&mut state, body["title"].as_str().unwrap_or(""))?),
            ("DELETE", Some(number)) if state.open.remove(&number).is_some() => (204, Value::Null),
            ("GET", None) => {
                let wanted = path.rsplit("title=").next().unwrap_or("");
                match state.open.iter().find(|(_, title)| *title == wanted) {
                    Some((number, title)) => (200, json!({"number": number, "title": title})),
                    None => (404, json!({"message": "none"})),
                }
            }
            _ => (404, json!({"message": "none"})),
        });
    }
    if method != "POST" {
        return Some((405, Value::Null));
    }
    if body["id"].is_null() {
        return Some((202, Value::Null));
    }
    let result = match body["method"].as_str()? {
        "initialize" => {
            json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "tickets", "version": "1"}})
        }
        "tools/list" => {
            let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
            json!({"tools": [tool("open_ticket"), tool("find_ticket"), tool("close_ticket")]})
        }
        _ => {
            let tool = body["params"]["name"].as_str()?.to_owned();
            state.calls.push(tool.clone());
            call(&mut state, &tool, &body["params"]["arguments"])?
        }
    };
    Some((
        200,
        json!({"jsonrpc": "2.0", "id": body["id"], "result": result}),
    ))
}

fn call(state: &mut State, tool: &str, arguments: &Value) -> Option<Value> {
    let title = arguments["title"].as_str().unwrap_or("");
    let answer = |value: Value| json!({"content": [{"type": "text", "text": value.to_string()}], "structuredContent": value});
    let failure =
        |text: &str| json!({"content": [{"type": "text", "text": text}], "isError": true});
    Some(match tool {
        "open_ticket" => answer(open(state, title)?),
        "find_ticket" => match state.open.iter().find(|(_, known)| *known == title) {
            Some((number, title)) => answer(json!({"number": number, "title": title})),
            None => failure("there is no such ticket"),
        },
        "close_ticket" => match state
            .open
            .remove(&arguments["number"].as_u64().unwrap_or(0))
        {
            Some(_) => answer(json!({"closed": true})),
            None => failure("there is no such ticket"),
        },
        _ => failure("there is no such tool"),
    })
}
