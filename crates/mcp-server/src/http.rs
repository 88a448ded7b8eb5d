//! `/mcp` over Streamable HTTP for both protocol eras, with `/livez`, `/readyz` and `/metrics` beside it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use forgeline_auth::Gate;
use forgeline_step_engine::journal::RunQuery;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::handler::Server;
use crate::metrics::Metrics;

/// How the HTTP server is reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Names that the Host header may have, without port; loopback names are always allowed.
    pub allowed_hosts: Vec<String>,
    /// Origins that a browser may come from, for example `https://app.example.org`. Empty: only loopback ones.
    pub allowed_origins: Vec<String>,
}

/// The longest request, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;
/// How long calls in flight may go on once the server stops.
const DRAIN: Duration = Duration::from_secs(25);

/// Whether the server can do its work. `Err`: a sentence that says why not.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What is shown beside `/mcp`, to everybody who reaches the port.
#[derive(Clone)]
pub struct Watched {
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub metrics: Metrics,
}

/// Serves until `stop`; then takes no new calls, lets those in flight end, and returns.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    server: Server,
    gate: Gate,
    reach: &Reach,
    watched: Watched,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let cut_off = CancellationToken::new();
    let router = router(server, gate, reach, watched, &cut_off);
    let listener = listener.tap_io(|stream| {
        // Without it an answer in two writes costs 40 ms; a socket that refuses it still works.
        let _ = stream.set_nodelay(true);
    });
    let stopping = stop.clone();
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        result = serving.into_future() => result,
        () = async { stopping.cancelled().await; tokio::time::sleep(DRAIN).await } => {
            cut_off.cancel();
            Ok(())
        }
    }
}

fn router(
    server: Server,
    gate: Gate,
    reach: &Reach,
    watched: Watched,
    cut_off: &CancellationToken,
) -> Router {
    let open = Open {
        watched,
        server: server.clone(),
    };
    let hosts = ["localhost", "127.0.0.1", "::1"]
        .into_iter()
        .map(str::to_owned)
        .chain(reach.allowed_hosts.iter().cloned());
    let local = ["http://localhost:*", "http://127.0.0.1:*"]
        .into_iter()
        .map(str::to_owned);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_allowed_hosts(hosts)
        .with_allowed_origins(local.chain(reach.allowed_origins.iter().cloned()))
        .enforce_origin_validation()
        .with_max_request_body_bytes(BODY_LIMIT)
        .with_cancellation_token(cut_off.clone());
    let service: StreamableHttpService<Server, NeverSessionManager> = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let mcp =
        Router::new()
            .route_service("/mcp", service)
            .layer(axum::middleware::from_fn_with_state(
                gate,
                forgeline_auth::bearer,
            ));
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(open)
        .merge(mcp)
}

/// What the doors without a bearer show.
#[derive(Clone)]
struct Open {
    watched: Watched,
    server: Server,
}

/// `?verbose` also says how many runs are under way.
async fn readyz(State(open): State<Open>, RawQuery(query): RawQuery) -> Response {
    let ready = (open.watched.readiness)();
    let mut body = json!({"ready": ready.is_ok()});
    if let Err(why) = &ready {
        body["why"] = json!(why);
    }
    if query.is_some_and(|query| query.starts_with("verbose")) {
        let live = RunQuery {
            live: true,
            ..RunQuery::default()
        };
        let runs = open.server.provisioner().engine().runs(&live).await;
        body["journal"] = json!(runs.as_ref().map_or("cannot be read", |_| "readable"));
        body["runs_under_way"] = json!(runs.map_or(0, |runs| runs.len()));
    }
    let status = if ready.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body)).into_response()
}

async fn metrics(State(open): State<Open>) -> Response {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], open.watched.metrics.text()).into_response()
}
