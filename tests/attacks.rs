//! The attacks on the door, by number, each as bytes on a socket with the answer that it must get. What a row cannot mean
//! for a server that makes no tokens itself is said at the row.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::issuer::{Case, Issuer, Key, cases, usual};
use crate::support::{BEARER, Sandbox, Server, canary, collect, forgeline, run};

/// What comes back.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let wanted = format!("{name}: ");
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let matches = line.to_ascii_lowercase().starts_with(&wanted);
            matches.then(|| line[wanted.len()..].trim())
        })
    }
}

/// Sends bytes and reads until the other side closes.
fn send(host: &str, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // A server that has seen enough may close before all is sent.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    collect("answer", &text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Answer {
        status: status.unwrap_or(0),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A door with a static admin, a reader, and an issuer.
struct Door {
    sandbox: Sandbox,
    server: Server,
    host: String,
    issuer: Issuer,
    a: Key,
    b: Key,
}

const READER: &str = "reader-reader-reader-reader-reader";
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

impl Door {
    async fn open() -> Self {
        let (a, b) = (Key::new(), Key::new());
        let issuer = Issuer::start(vec![a.jwk("k1")]).await;
        let sandbox = Sandbox::start("0ms");
        let file = "[[auth.static]]\nname = \"reader\"\ntoken = { env = \"READER\" }\nscopes = [\"forgeline:read\"]\n";
        std::fs::write(sandbox.dir().join("forgeline.toml"), file).unwrap();
        let mut command = sandbox.forgeline(&["serve"]);
        command.current_dir(sandbox.dir()).envs([
            ("FORGELINE_STATIC_TOKEN", BEARER),
            ("READER", READER),
            ("DEX_ISSUER_URL", &issuer.url),
            ("FORGELINE_UNAUTHENTICATED_PER_SECOND", "1000"),
        ]);
        let server = Server::start(command);
        let host = server.url.replace("http://", "").replace("/mcp", "");
        for secret in [BEARER, READER] {
            canary(secret);
        }
        Self {
            sandbox,
            server,
            host,
            issuer,
            a,
            b,
        }
    }

    /// A POST to /mcp with these headers and this body.
    fn post(&self, headers: &[&str], body: &str) -> Answer {
        self.post_to("/mcp", headers, body)
    }

    fn post_to(&self, target: &str, headers: &[&str], body: &str) -> Answer {
        let mut head = format!(
            "POST {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: {}\r\n",
            self.host,
            body.len()
        );
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        send(&self.host, format!("{head}\r\n{body}").as_bytes())
    }

    fn bearer(&self, token: &str) -> Answer {
        self.post(&[&format!("authorization: Bearer {token}")], LIST)
    }

    fn call(&self, token: &str, tool: &str, arguments: &Value) -> Answer {
        let params = json!({"name": tool, "arguments": arguments});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        self.post(
            &[&format!("authorization: Bearer {token}")],
            &body.to_string(),
        )
    }

    fn get(&self, method: &str, target: &str, headers: &str) -> Answer {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n",
            self.host
        );
        send(&self.host, request.as_bytes())
    }

    /// 401 with the uniform body and the challenge; `presented`: something was sent.
    fn unknown(&self, answer: &Answer, presented: bool, what: &str) {
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        let challenge = answer.header("www-authenticate").unwrap();
        let metadata = self
            .server
            .address("/.well-known/oauth-protected-resource/mcp");
        assert!(
            challenge.contains(&format!("resource_metadata=\"{metadata}\"")),
            "{what}: {challenge}"
        );
        assert!(
            challenge.contains("scope=\"forgeline:read forgeline:create\""),
            "{what}: {challenge}"
        );
        assert_eq!(
            challenge.contains("error="),
            presented,
            "{what}: {challenge}"
        );
        assert_eq!(
            answer.body, "unauthorized: send a valid `Authorization: Bearer` header\n",
            "{what}"
        );
    }

    fn token(&self, changes: &Value) -> String {
        let (header, mut claims) = usual(&self.issuer.url, &self.server.url);
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = self.a.token(&header, &claims);
        canary(&token);
        token
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_of_the_table_gets_its_answer() {
    let door = Door::open().await;
    let mut rows = BTreeSet::new();
    rows.extend(bearers(&door));
    rows.extend(tokens(&door));
    rows.extend(scopes(&door));
    rows.extend(upstreams(&door).await);
    rows.extend(reach(&door));
    rows.extend(limits(&door));
    // 11 is tokens::a_bad_inbound_bearer_keeps_the_server_from_starting. 12 is a matter of the code (digests, ct_eq, every
    // entry: static_token::owner); 27 to 30 are crates/auth/tests/it/keys.rs; 44 has no object here, because this server
    // asks for no input in the middle of a call, and its confirmations are plans (tests/cleanup.rs); 45 is
    // callers::a_person_may_do_what_gitea_allows_that_person.
    rows.extend([11, 12, 27, 28, 29, 30, 44, 45]);
    let all: BTreeSet<u8> = (1..=50).chain(64..=67).collect();
    assert_eq!(rows, all);
}

fn bearers(door: &Door) -> Vec<u8> {
    door.unknown(&door.post(&[], LIST), false, "1");
    for header in ["authorization: Bearer", "authorization: Bearer "] {
        door.unknown(&door.post(&[header], LIST), true, "2");
    }
    for scheme in ["bearer", "BEARER", "Bearer"] {
        let header = format!("authorization: {scheme} {BEARER}");
        assert_eq!(door.post(&[&header], LIST).status, 200, "3: {scheme}");
    }
    for value in [format!("Bearer  {BEARER}"), format!("Bearer\t{BEARER}")] {
        door.unknown(
            &door.post(&[&format!("authorization: {value}")], LIST),
            true,
            "4",
        );
    }
    for value in [format!("Bearer {BEARER}\0"), format!("Bearer {BEARER}\r")] {
        let answer = door.post(&[&format!("authorization: {value}")], LIST);
        assert!(matches!(answer.status, 400 | 401), "4: {answer:?}");
    }
    let (good, bad) = (
        format!("authorization: Bearer {BEARER}"),
        "authorization: Bearer x",
    );
    for pair in [[good.as_str(), bad], [bad, &good], [&good, &good]] {
        assert_eq!(door.post(&pair, LIST).status, 400, "5: {pair:?}");
    }
    let joined = format!("authorization: Bearer {BEARER}, Bearer {BEARER}");
    door.unknown(&door.post(&[&joined], LIST), true, "6");
    let basic = format!(
        "authorization: Basic {}",
        crate::issuer::base64(format!("x:{BEARER}").as_bytes())
    );
    door.unknown(&door.post(&[&basic], LIST), true, "7");
    for name in ["access_token", "token"] {
        let target = format!("/mcp?{name}={BEARER}");
        door.unknown(&door.post_to(&target, &[], LIST), true, "8");
        door.unknown(&door.post(&[], &format!("{name}={BEARER}")), false, "8");
        assert_eq!(door.post_to(&target, &[&good], LIST).status, 400, "9");
    }
    let last = &BEARER[..BEARER.len() - 1];
    for wrong in [
        last,
        &format!("{BEARER}0"),
        &BEARER[..16],
        &BEARER.to_uppercase(),
    ] {
        door.unknown(&door.bearer(wrong), true, "10");
    }
    (1..=10).collect()
}

/// Rows 13 to 37: the forged tokens, over HTTP.
fn tokens(door: &Door) -> BTreeSet<u8> {
    let all: Vec<Case> = cases(&door.issuer.url, &door.server.url, &door.a, &door.b);
    for case in &all {
        let answer = door.bearer(&case.token);
        match case.name {
            name if case.good => assert_eq!(answer.status, 200, "{name}: {answer:?}"),
            // What the HTTP layer does not even read.
            "trail_nl" => assert!(matches!(answer.status, 400 | 401), "{answer:?}"),
            "big_1mb" => assert!(matches!(answer.status, 401 | 431), "{answer:?}"),
            name => door.unknown(&answer, true, name),
        }
    }
    let long = format!(
        "{}.{}.{}",
        "a".repeat(4096),
        "b".repeat(4000),
        "c".repeat(200)
    );
    door.unknown(&door.bearer(&long), true, "35");
    let block = format!("x-long: {}", "a".repeat(64 * 1024));
    // The connection may be closed before all of it was sent; then the answer is lost, and nothing was read.
    let answer = door.post(&[&block], LIST);
    assert!(matches!(answer.status, 0 | 400 | 431), "35: {answer:?}");
    // One unknown kid was asked about, within the cool-down nothing more; and never an address of a header.
    assert!(door.issuer.fetched() <= 3, "26: {}", door.issuer.fetched());
    all.iter().map(|case| case.row).chain([35]).collect()
}

fn scopes(door: &Door) -> Vec<u8> {
    let name = json!({"name": "shop"});
    let insufficient = |answer: &Answer, scopes: &str, what: &str| {
        assert_eq!(answer.status, 403, "{what}: {answer:?}");
        let challenge = answer.header("www-authenticate").unwrap();
        let wanted = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{scopes}\", resource_metadata=\""
        );
        assert!(challenge.starts_with(&wanted), "{what}: {challenge}");
    };
    let reads = "forgeline:read forgeline:create";
    insufficient(&door.call(READER, "project_create", &name), reads, "38");
    insufficient(
        &door.call(&door.token(&json!({})), "project_create", &name),
        reads,
        "38",
    );
    let delete = json!({"project": "shop", "plan_id": "x"});
    insufficient(
        &door.call(READER, "project_delete", &delete),
        "forgeline:read forgeline:delete",
        "38",
    );
    for scope in [
        json!("forgeline:createX"),
        json!("forgeline:read,forgeline:create"),
        json!(["forgeline:create"]),
        json!("FORGELINE:CREATE"),
        json!("forgeline:create\tforgeline:delete"),
        json!(null),
    ] {
        let token = door.token(&json!({"scope": scope}));
        assert_eq!(
            door.call(&token, "project_create", &name).status,
            403,
            "39: {scope}"
        );
    }
    let all = "forgeline:read forgeline:create forgeline:delete";
    let token = door.token(&json!({"scope": all}));
    // The protocol's own error, which runs nothing: a challenge would make clients ask for ever more scopes.
    for bearer in [token.as_str(), BEARER, READER] {
        let unknown = door.call(bearer, "no_such_tool", &name);
        assert!(
            unknown.status == 200 && unknown.body.contains("unknown tool"),
            "40: {unknown:?}"
        );
    }
    hidden(door);
    let list = [
        "mcp-method: tools/list",
        &format!("authorization: Bearer {READER}"),
    ]
    .map(str::to_owned);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"project_create","arguments":{"name":"shop"}}}"#;
    let answer = door.post(&[&list[0], &list[1]], body);
    assert_eq!(answer.status, 400, "42: {answer:?}");
    // There are no sessions, so nobody has one to take over: the header changes nothing of who calls.
    let session = door.post(
        &[
            "mcp-session-id: of-somebody-else",
            &format!("authorization: Bearer {READER}"),
        ],
        body,
    );
    assert_eq!(session.status, 403, "43: {session:?}");
    vec![38, 39, 40, 41, 42, 43]
}

/// Row 41: one message that two readers would read in two ways.
fn hidden(door: &Door) {
    let reader = format!("authorization: Bearer {READER}");
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let create = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"project_create","arguments":{"name":"shop"}}}"#;
    for body in [
        format!("[{list},{create}]"),
        format!("{list}{create}"),
        create.replace("\"method\":", "\"method\":\"tools/list\",\"method\":"),
        create.replace(
            "\"name\":\"project_create\"",
            "\"name\":\"doctor\",\"name\":\"project_create\"",
        ),
        create.replace(
            "\"name\":\"project_create\"",
            "\"name\":\"project_create\",\"n\\u0061me\":\"doctor\"",
        ),
        create.replace(
            "\"params\":",
            "\"params\":{\"name\":\"doctor\"},\"params\":",
        ),
        create.replace(
            "{\"name\":\"shop\"}",
            "{\"name\":\"shop\",\"dry_run\":true,\"dry_run\":false}",
        ),
        "not json".to_owned(),
        String::new(),
    ] {
        let answer = door.post(&[&reader], &body);
        assert_eq!(answer.status, 400, "41: {body}: {answer:?}");
    }
    for arguments in [
        "{\"name\":\"shop\",\"dry_run\":1}",
        "{\"name\":\"shop\",\"dry_run\":\"true\"}",
        "[true]",
        "null",
    ] {
        let body = create.replace("{\"name\":\"shop\"}", arguments);
        assert_eq!(door.post(&[&reader], &body).status, 403, "41: {body}");
    }
    let method = create.replace("tools/call", "tools\\/call");
    assert_eq!(door.post(&[&reader], &method).status, 403, "41: {method}");
}

/// Rows 31 and 46: what comes in does not go out.
async fn upstreams(door: &Door) -> Vec<u8> {
    let everything = door.token(&json!({"scope": "forgeline:admin", "preferred_username": "acme"}));
    let made = door.call(&everything, "project_create", &json!({"name": "shop"}));
    assert!(made.body.contains("\"state\":\"succeeded\""), "{made:?}");
    // The sandbox refuses every request with another bearer than its own.
    let requests = door.sandbox.requests().await;
    assert!(requests.len() > 20, "{}", requests.len());
    // (git itself asks once without a login.)
    let refused = requests.iter().filter(|request| request["status"] == 401);
    let refused: Vec<&Value> = refused
        .filter(|request| !request["operation"].as_str().unwrap().starts_with("git "))
        .collect();
    assert!(refused.is_empty(), "46: {refused:?}");
    vec![46]
}

fn reach(door: &Door) -> Vec<u8> {
    let good = format!("authorization: Bearer {BEARER}\r\n");
    let body = format!(
        "content-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{LIST}",
        LIST.len()
    );
    let with_host = |host: &str, target: &str| {
        let request = format!("POST {target} HTTP/1.1\r\n{host}connection: close\r\n{good}{body}");
        send(&door.host, request.as_bytes())
    };
    assert!(
        matches!(
            with_host("host: evil.example.org\r\n", "/mcp").status,
            400 | 403
        ),
        "47"
    );
    assert!(matches!(with_host("", "/mcp").status, 400 | 403), "47");
    let absolute = with_host("host: evil.example.org\r\n", "http://evil.example.org/mcp");
    assert!(matches!(absolute.status, 400 | 403), "47: {absolute:?}");
    let resource = |headers: &str| {
        let answer = door.get("GET", "/.well-known/oauth-protected-resource", headers);
        serde_json::from_str::<Value>(&answer.body).unwrap()["resource"].clone()
    };
    assert_eq!(resource(""), door.server.url.as_str(), "47");
    assert_eq!(
        resource("x-forwarded-host: evil\r\nforwarded: host=evil\r\n"),
        door.server.url.as_str(),
        "47"
    );
    let bearer = format!("authorization: Bearer {BEARER}");
    for origin in ["https://evil.example.org", "null"] {
        let answer = door.post(&[&bearer, &format!("origin: {origin}")], LIST);
        assert_eq!(answer.status, 403, "48: {origin}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "48");
    }
    let asks = "origin: https://evil.example.org\r\naccess-control-request-method: POST\r\n";
    let discovery = door.get("OPTIONS", "/.well-known/oauth-protected-resource/mcp", asks);
    assert_eq!(
        discovery.header("access-control-allow-origin"),
        Some("*"),
        "49"
    );
    let mcp = door.get("OPTIONS", "/mcp", asks);
    assert!(
        mcp.status >= 400 && mcp.header("access-control-allow-origin").is_none(),
        "49: {mcp:?}"
    );
    for (method, target, status) in [
        ("GET", "/.well-known/oauth-protected-resource", 200),
        ("GET", "/.well-known/oauth-protected-resource/mcp", 200),
        ("GET", "/.well-known//oauth-protected-resource", 404),
        ("GET", "/.well-known/oauth-protected-resource//mcp", 404),
        ("GET", "/%2ewell-known/oauth-protected-resource", 404),
        ("GET", "/.well-known/oauth-protected-resource/other", 404),
        ("POST", "/.well-known/oauth-protected-resource", 405),
    ] {
        assert_eq!(
            door.get(method, target, "").status,
            status,
            "50: {method} {target}"
        );
    }
    vec![47, 48, 49, 50]
}

/// Rows 64 to 67: nothing of a credential is kept, no line is forged, and nobody holds the door.
fn limits(door: &Door) -> Vec<u8> {
    let evil = "x\n{\"v\":1}\u{1b}[31m\u{2028}";
    let _ = door.call(READER, evil, &json!({}));
    let token = door.token(&json!({"sub": "a\u{2028}b\u{202e}"}));
    assert_eq!(door.bearer(&token).status, 200);
    let _ = door.call(&token, evil, &json!({}));
    slow(door);
    let long = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":\"{}\"}}",
        "x".repeat(1024 * 1024)
    );
    let bearer = format!("authorization: Bearer {BEARER}");
    assert_eq!(door.post(&[&bearer], &long).status, 413, "67");
    let chunk = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{bearer}\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n",
        door.host
    );
    assert_eq!(
        send(&door.host, format!("{head}{chunk}").as_bytes()).status,
        413,
        "67"
    );
    let packed = door.post(&[&bearer, "content-encoding: gzip"], LIST);
    assert_eq!(packed.status, 415, "67: {packed:?}");
    log_is_whole(door, &token);
    vec![64, 65, 66, 67]
}

/// Row 66: a head that never ends is cut off, and others are served meanwhile.
fn slow(door: &Door) {
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(&door.host).unwrap())
        .collect();
    for stream in &mut slow {
        stream
            .write_all(b"POST /mcp HTTP/1.1\r\nhost: x\r\n")
            .unwrap();
    }
    assert_eq!(door.bearer(BEARER).status, 200, "66");
    crowd(door);
    for stream in &mut slow {
        stream
            .set_read_timeout(Some(Duration::from_secs(40)))
            .unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok(), "66: the server still waits: {ended:?}");
    }
}

/// Row 66 too: idle connections of one address leave places for others.
fn crowd(door: &Door) {
    let address = door.host.parse().unwrap();
    let crowd: Vec<TcpStream> = (0..1500)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok())
        .collect();
    assert!(crowd.len() > 500, "66: {}", crowd.len());
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let connecting = socket.connect(address);
    let connected = tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current()
            .block_on(connecting)
            .unwrap()
    });
    let mut stream = connected.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
        .write_all(
            format!(
                "GET /livez HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
                door.host
            )
            .as_bytes(),
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "66: {answer}");
}

/// The audit log holds what happened, one line each, and no credential; it verifies.
fn log_is_whole(door: &Door, token: &str) {
    let data = &door.sandbox.env["FORGELINE_DATA_DIR"];
    let mut verify = forgeline(&["audit", "verify", "--log", data, "-o", "json"]);
    let verified = run(&mut verify);
    assert_eq!(verified.code, 0, "{verified:?}");
    let log = std::fs::read_to_string(format!("{data}/audit.jsonl")).unwrap();
    assert!(log.is_ascii());
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["v"], 1);
    }
    for reason in [
        "unknown kid",
        "no Authorization header",
        "two Authorization headers",
        "needs forgeline:create",
    ] {
        assert!(log.contains(reason), "{reason}");
    }
    for secret in [BEARER, READER, token, token.rsplit('.').next().unwrap()] {
        assert!(!log.contains(secret), "64");
    }
}
