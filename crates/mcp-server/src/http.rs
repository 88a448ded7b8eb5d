//! `/mcp` over Streamable HTTP for both protocol eras, with `/livez`, `/readyz`, `/metrics` and the metadata of RFC 9728
//! beside it.

mod listen;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use forgeline_auth::{BODY_LIMIT, Gate};
use forgeline_step_engine::journal::RunQuery;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use listen::{Limits, Tls, TlsError};

use crate::handler::Server;
use crate::metrics::Metrics;

/// How the HTTP server is reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Names that the Host header may have, without port; loopback names are always allowed.
    pub allowed_hosts: Vec<String>,
    /// Origins that a browser may come from, for example `https://app.example.org`. Empty: only loopback ones.
    pub allowed_origins: Vec<String>,
    /// How much is taken from whom.
    pub limits: Limits,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
}

/// Where clients look for the metadata (RFC 9728 section 3).
const METADATA: &str = "/.well-known/oauth-protected-resource";
/// How long calls in flight may go on once the server stops.
const DRAIN: Duration = Duration::from_secs(25);

/// Whether the server can do its work. `Err`: a sentence that says why not.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What `/readyz?verbose` adds, for example the fingerprints of tokens. Never a secret.
pub type Details = Arc<dyn Fn() -> Value + Send + Sync>;

/// What is shown beside `/mcp`, to everybody who reaches the port.
#[derive(Clone)]
pub struct Watched {
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/readyz?verbose`: an object.
    pub details: Details,
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
    let stopping = stop.clone();
    tokio::select! {
        result = listen::serve(listener, router, reach.limits, reach.tls.clone(), stop) => result,
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
    let metadata = gate.resource().metadata();
    let discovery = get(async move || discovered(&metadata)).options(preflight);
    let mut places = vec![METADATA.to_owned(), format!("{METADATA}/mcp")];
    let own = gate.resource().metadata_path();
    if !places.iter().any(|place| place == own) {
        places.push(own.to_owned());
    }
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
    let need = server.need();
    let service: StreamableHttpService<Server, NeverSessionManager> = StreamableHttpService::new(
        move || Ok(server.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let guard = axum::middleware::from_fn_with_state((gate, need), forgeline_auth::guard);
    let mcp = Router::new()
        .route_service("/mcp", service)
        .route_layer(guard);
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(open)
        .merge(mcp)
        .merge(places.iter().fold(Router::new(), |router, place| {
            router.route(place, discovery.clone())
        }))
}

/// Every page may read it: it says where tokens are made, and nothing else.
fn discovered(metadata: &Value) -> Response {
    let mut response = Json(metadata).into_response();
    let headers = response.headers_mut();
    let any = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    let hour = HeaderValue::from_static("public, max-age=3600");
    headers.insert(header::CACHE_CONTROL, hour);
    response
}

async fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "mcp-protocol-version"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// What the doors without a bearer show.
#[derive(Clone)]
struct Open {
    watched: Watched,
    server: Server,
}

/// `?verbose` also says how many runs are under way, and what the configuration is made of.
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
        if let Value::Object(details) = (open.watched.details)() {
            for (name, value) in details {
                body[name] = value;
            }
        }
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
