//! In front of every stand-in: names the request, logs it, adds latency, and lets ordered faults happen.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::faults::Fault;
use crate::world::{Logged, World};

/// The gate of one system.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) system: &'static str,
    pub(crate) world: World,
}

pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let (operation, request) = match name(gate.system, request).await {
        Ok(named) => named,
        Err(response) => return response,
    };
    let (fault, entry) = {
        let mut state = gate.world.state();
        let fault = state.faults.take(gate.system, &operation);
        let shown = fault
            .as_ref()
            .and_then(|fault| serde_json::to_value(fault).ok());
        state.log.push(Logged {
            system: gate.system,
            operation,
            path,
            status: 0,
            fault: shown,
        });
        (fault, state.log.len() - 1)
    };
    if !gate.world.latency.is_zero() {
        tokio::time::sleep(gate.world.latency).await;
    }
    let response = with_fault(&gate, fault, request, next).await;
    if let Some(logged) = gate.world.state().log.get_mut(entry) {
        logged.status = response.status().as_u16();
    }
    response
}

async fn with_fault(gate: &Gate, fault: Option<Fault>, request: Request, next: Next) -> Response {
    let world = &gate.world;
    let Some(fault) = fault else {
        return next.run(request).await;
    };
    match fault {
        Fault::Delay { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            next.run(request).await
        }
        Fault::StatusBefore {
            status,
            headers,
            body,
        } => {
            let mut response = (code(status), body).into_response();
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) =
                    (name.parse::<HeaderName>(), HeaderValue::from_str(&value))
                {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
        Fault::StatusAfter { status } => {
            complete(next.run(request).await).await;
            code(status).into_response()
        }
        Fault::LostBefore => broken(),
        Fault::LostAfter => {
            complete(next.run(request).await).await;
            broken()
        }
        Fault::Hang => hang(world).await,
        Fault::HangAfter => {
            complete(next.run(request).await).await;
            hang(world).await
        }
        Fault::Late { ms } => {
            // A task of its own: the effect comes even when the client has gone away.
            let late = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                let (head, body) = next.run(request).await.into_parts();
                let bytes = body
                    .collect()
                    .await
                    .map(http_body_util::Collected::to_bytes)
                    .unwrap_or_default();
                Response::from_parts(head, Body::from(bytes))
            });
            late.await.unwrap_or_else(|_| broken())
        }
        Fault::Body { text } => {
            complete(next.run(request).await).await;
            ([(http::header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Fault::BodyBefore { text } => {
            let body = request.into_body().collect().await;
            let bytes = body
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            let message: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let text = text.replace("\"$id\"", &message["id"].to_string());
            ([(http::header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Fault::Down { ms } => {
            let down = (gate.system, Duration::from_millis(ms));
            // Nobody hears it while it is down already.
            let _ = world.downs.send(down);
            // The listener closes before the asker can come again.
            tokio::time::sleep(Duration::from_millis(3)).await;
            broken()
        }
        Fault::Meanwhile { seed } => match world.seed(seed).await {
            Ok(_) => next.run(request).await,
            Err(why) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the ordered seed does not fit: {why}"),
            )
                .into_response(),
        },
    }
}

async fn hang(world: &World) -> Response {
    world.hung.send_modify(|hung| *hung += 1);
    std::future::pending().await
}

/// Reads an answer to its end, so that its effect is complete.
async fn complete(response: Response) {
    drop(response.into_body().collect().await);
}

/// An answer whose connection breaks before its body is complete.
fn broken() -> Response {
    let broken = stream::once(async {
        Err::<Vec<u8>, _>(std::io::Error::other("ordered fault: connection lost"))
    });
    Response::new(Body::from_stream(broken))
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// `POST /user/repos` for REST, `tools/call create_repo` for MCP, `git info/refs` for git.
async fn name(system: &str, request: Request) -> Result<(String, Request), Response> {
    if system == "gitea_mcp" {
        return name_mcp(request).await;
    }
    let matched = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let operation = match matched {
        Some(path) => {
            format!(
                "{} {}",
                request.method(),
                path.strip_prefix("/api/v1")
                    .filter(|_| system == "gitea")
                    .unwrap_or(&path)
            )
        }
        None => match request.uri().path().split_once(".git/") {
            Some((_, rest)) => format!("git {rest}"),
            None => format!("{} {}", request.method(), request.uri().path()),
        },
    };
    Ok((operation, request))
}

async fn name_mcp(request: Request) -> Result<(String, Request), Response> {
    let (head, body) = request.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return Err((StatusCode::BAD_REQUEST, error.to_string()).into_response()),
    };
    let message: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or(head.method.as_str());
    let operation = match message["params"]["name"]
        .as_str()
        .filter(|_| method == "tools/call")
    {
        Some(tool) => format!("{method} {tool}"),
        None => method.to_owned(),
    };
    Ok((operation, Request::from_parts(head, Body::from(bytes))))
}
