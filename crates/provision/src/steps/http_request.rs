//! `http.request`: one request to an allowed host, with requests to look and to undo.

use async_trait::async_trait;
use forgeline_step_engine::{Field, KindSpec, StepError};
use forgeline_upstream::{Error, Kind, TokenHandle};
use http::Method;
use serde_json::Value;
use url::Url;

use super::generic::{Transport, found_in, literal, not_texts, unknown_fields};
use super::with::text;
use crate::refusal::{Need, of_read, of_write};
use crate::upstreams::Reachable;

pub(super) const KIND: KindSpec = KindSpec {
    name: "http.request",
    description: "A request with JSON to a host that the configuration allows.",
    with: &[
        Field::required("url", "an https address of a host in `[http] allow_hosts`"),
        Field::optional("method", "POST by default; also PUT, PATCH, DELETE and GET"),
        Field::optional("body", "sent as JSON"),
        Field::optional("token", "a name of `[[http.tokens]]`: sent as the bearer"),
        Field::optional(
            "output",
            "the fields of the answer that are kept; none by default",
        ),
        Field::optional(
            "check",
            "how to look: {url, found}, a GET; 404 means that it is not there",
        ),
        Field::optional(
            "undo",
            "how to take it back: {url, method, body}; may name `output.FIELD`",
        ),
        Field::optional("resource", "a name that only one run at a time holds"),
    ],
    outputs: &[],
};

/// The hosts and bearers that a workflow may use.
pub(super) struct Http(pub(super) Reachable);

struct Request<'a> {
    method: Method,
    url: Url,
    token: Option<&'a TokenHandle>,
}

fn refused(message: String) -> StepError {
    StepError::refused("http.not_allowed", message)
        .remedy("allow it in [http] of the configuration file, or correct the workflow file")
}

fn method(call: &Value, default: Method) -> Result<Method, String> {
    match text(call, "method") {
        "" => Ok(default),
        word => match word.parse::<Method>() {
            Ok(
                found @ (Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE),
            ) => Ok(found),
            _ => Err(format!(
                "`{word}` is no method; use GET, POST, PUT, PATCH or DELETE"
            )),
        },
    }
}

/// Host, and the port where it is not the scheme's.
fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

impl Http {
    /// The address, when it may be reached.
    fn address(&self, text: &str) -> Result<Url, String> {
        let url = forgeline_upstream::http::address("the step's url", text)
            .map_err(|error| error.to_string())?;
        let host = host(&url);
        if !self.0.hosts.contains(&host) {
            return Err(format!(
                "the host {host} is not in [http] allow_hosts of the configuration file"
            ));
        }
        let here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if url.scheme() != "https" && !here {
            return Err(format!("{host} must be reached over https"));
        }
        Ok(url)
    }

    /// `None` only when the step names no token at all.
    fn token(&self, call: &Value, url: &Url) -> Result<Option<&TokenHandle>, String> {
        let name = match &call["token"] {
            Value::String(name) => name.as_str(),
            Value::Null if call.get("token").is_none() => return Ok(None),
            other => return Err(format!("`token` is {other}; nothing is sent without it")),
        };
        let Some((hosts, token)) = self.0.tokens.get(name) else {
            return Err(format!(
                "no token `{name}` is configured in [[http.tokens]]"
            ));
        };
        let host = host(url);
        if hosts.contains(&host) {
            Ok(Some(token))
        } else {
            Err(format!("the token `{name}` may not be sent to {host}"))
        }
    }

    fn read(&self, call: &Value, default: Method) -> Result<Request<'_>, StepError> {
        let url = self.address(text(call, "url")).map_err(refused)?;
        let token = self.token(call, &url).map_err(refused)?;
        let method = method(call, default).map_err(refused)?;
        Ok(Request { method, url, token })
    }

    async fn send(&self, call: &Value, default: Method) -> Result<Result<Value, Error>, StepError> {
        let request = self.read(call, default)?;
        let Some(client) = &self.0.http else {
            return Err(refused("no HTTP requests can be made here".into()));
        };
        // The query may hold what nobody should read in a log.
        let operation = format!(
            "{} {}{}",
            request.method,
            host(&request.url),
            request.url.path()
        );
        let body = Some(&call["body"]).filter(|body| !body.is_null());
        let reply = client
            .send(
                &operation,
                request.method,
                &request.url,
                request.token,
                body,
            )
            .await;
        Ok(reply.map(|reply| reply.body))
    }
}

/// The address without its query, which may hold what nobody should read in a log.
fn shown(call: &Value) -> &str {
    let url = text(call, "url");
    url.split(['?', '#']).next().unwrap_or(url)
}

fn need(call: &Value) -> (String, String) {
    (
        format!("the token `{}`", text(call, "token")),
        format!("the right to {} {}", text(call, "method"), shown(call)),
    )
}

fn failed(error: Error, call: &Value, map: fn(Error, &Need<'_>) -> StepError) -> StepError {
    let (credential, right) = need(call);
    let fix = "grant it on that server, or put another token into the configuration";
    map(
        error,
        &Need {
            credential: &credential,
            right: &right,
            fix,
        },
    )
}

#[async_trait]
impl Transport for Http {
    async fn call(&self, call: &Value) -> Result<Value, StepError> {
        self.send(call, Method::POST)
            .await?
            .map_err(|error| failed(error, call, of_write))
    }

    async fn look(&self, check: &Value) -> Result<Option<Value>, StepError> {
        let mut check = check.clone();
        check["method"] = Value::Null;
        let check = &check;
        match self.send(check, Method::GET).await? {
            Ok(answer) => Ok(found_in(answer, check)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(failed(error, check, of_read)),
        }
    }

    async fn undo(&self, undo: &Value) -> Result<bool, StepError> {
        match self.send(undo, Method::DELETE).await? {
            Ok(_) => Ok(true),
            Err(error) if error.kind == Kind::NotFound => Ok(false),
            Err(error) => Err(failed(error, undo, of_write).command(self.title(undo))),
        }
    }

    fn problems(&self, with: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(unknown_fields(
            &with["check"],
            "check",
            &["url", "token", "found"],
        ));
        problems.extend(unknown_fields(
            &with["undo"],
            "undo",
            &["url", "method", "token", "body"],
        ));
        for (part, call) in [
            ("", with),
            ("check", &with["check"]),
            ("undo", &with["undo"]),
        ] {
            if call.is_null() {
                continue;
            }
            if !part.is_empty() && call.get("url").is_none() {
                problems.push(format!("`{part}` needs a `url`"));
            }
            problems.extend(not_texts(call, &["url", "method", "token"]));
            let url = text(call, "url");
            let reference = url.starts_with("${{") && url.ends_with("}}");
            if !url.starts_with("http") && !reference {
                problems.push("`url` must begin with https:// or be one reference".into());
            }
            if let Some(url) = literal(&call["url"])
                && let Err(why) = self.address(url)
            {
                problems.push(why);
            }
            if literal(&call["method"]).is_some()
                && let Err(why) = method(call, Method::POST)
            {
                problems.push(why);
            }
            if let Some(name) = literal(&call["token"])
                && !self.0.tokens.contains_key(name)
            {
                problems.push(format!(
                    "no token `{name}` is configured in [[http.tokens]]"
                ));
            }
        }
        problems
    }

    fn title(&self, call: &Value) -> String {
        let method = match text(call, "method") {
            "" => "a request",
            word => word,
        };
        format!("{method} {}", shown(call))
    }
}
