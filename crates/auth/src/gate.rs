//! The gate in front of `/mcp`: who calls, and whether the call is within the caller's scopes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, COOKIE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value, json};

use crate::audit::{AuditLog, Entry, Phase};
use crate::bearer::{Presented, presented};
use crate::caller::{Caller, Scope};
use crate::challenge::Resource;
use crate::flood::{Allowance, Flood};
use crate::jwt::{Jwt, Refused};
use crate::project_token::ProjectTokens;
use crate::static_token::{StaticToken, owner};
use crate::strict_json::strict_json;

/// The longest request, in bytes.
pub const BODY_LIMIT: usize = 1024 * 1024;
/// JSON-RPC 2.0, section 5.1.
const PARSE_ERROR: i32 = -32700;
/// MCP 2026-07-28, headers of a request.
const HEADER_MISMATCH: i32 = -32020;
/// How much of a refused request is still read, in bytes, and for how long.
const DRAINED: usize = 64 * 1024;
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long a request's body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// The scope that a call of a tool with these arguments needs.
pub type Need = Arc<dyn Fn(&str, &Map<String, Value>) -> Scope + Send + Sync>;

/// Who may come in. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

/// What a gate is made of.
pub struct Keys {
    /// Bearers of the configuration.
    pub tokens: Vec<StaticToken>,
    /// Credentials of projects. `None`: there are none.
    pub projects: Option<ProjectTokens>,
    /// Tokens of an issuer. `None`: no issuer is configured.
    pub jwt: Option<Jwt>,
    /// What refusals point to.
    pub resource: Resource,
    /// Where refusals are written.
    pub audit: AuditLog,
    /// How many of them one address gets.
    pub allowance: Allowance,
}

struct Inner {
    keys: Keys,
    flood: Flood,
}

/// Why a caller did not get in.
enum Refusal {
    /// 400: a request that two readers would read in two ways.
    Ambiguous(&'static str),
    /// 401. `presented`: it carried something.
    Unknown { presented: bool, why: String },
    /// 503: the issuer's keys are not known.
    Unavailable(Duration),
}

impl Gate {
    /// A gate; without any key it lets nobody in.
    pub fn new(keys: Keys) -> Self {
        let flood = Flood::new(keys.allowance);
        Self {
            inner: Arc::new(Inner { keys, flood }),
        }
    }

    /// The OAuth resource behind it.
    pub fn resource(&self) -> &Resource {
        &self.inner.keys.resource
    }

    async fn authenticate(&self, headers: &HeaderMap, uri: &Uri) -> Result<Caller, Refusal> {
        let keys = &self.inner.keys;
        let unknown = |why: &str| Refusal::Unknown {
            presented: true,
            why: why.to_owned(),
        };
        let token = match presented(headers, uri) {
            Presented::Token(token) => token,
            Presented::Ambiguous(why) => return Err(Refusal::Ambiguous(why)),
            Presented::Unusable(why) => return Err(unknown(why)),
            Presented::Nothing => {
                return Err(Refusal::Unknown {
                    presented: false,
                    why: "no Authorization header".into(),
                });
            }
        };
        if let Some(caller) = owner(&keys.tokens, token) {
            return Ok(caller.clone());
        }
        if let Some(projects) = &keys.projects
            && let Some(caller) = projects.owner(token)
        {
            return Ok(caller);
        }
        let Some(jwt) = keys
            .jwt
            .as_ref()
            .filter(|_| token.matches('.').count() == 2)
        else {
            return Err(unknown("no known bearer"));
        };
        jwt.caller(token).await.map_err(|refused| match refused {
            Refused::Invalid(why) => unknown(&why),
            Refused::Unavailable(wait) => Refusal::Unavailable(wait),
        })
    }

    /// The answer to who did not get in; a flood of them from one address is told to wait and fills no log.
    fn refuse(&self, refusal: &Refusal, from: IpAddr) -> Response {
        let keys = &self.inner.keys;
        if let Err(wait) = self.inner.flood.take(from) {
            // A client that begins to log in, maybe behind the same proxy as the flood, must still find out where.
            return match refusal {
                Refusal::Unknown {
                    presented: false, ..
                } => unauthorised(keys, false),
                _ => told_to_wait(StatusCode::TOO_MANY_REQUESTS, wait),
            };
        }
        let why = match refusal {
            Refusal::Ambiguous(why) => (*why).to_owned(),
            Refusal::Unknown { why, .. } => why.clone(),
            Refusal::Unavailable(_) => "the issuer's keys are not known".into(),
        };
        keys.audit.note_now_and_then(Entry {
            client: from.to_string(),
            decision: "refused".into(),
            reason: why,
            ..Entry::of(Phase::Auth, "")
        });
        match refusal {
            Refusal::Ambiguous(_) => {
                let why =
                    "send exactly one `Authorization: Bearer` header and no token in the address\n";
                (StatusCode::BAD_REQUEST, why).into_response()
            }
            Refusal::Unknown { presented, .. } => unauthorised(keys, *presented),
            Refusal::Unavailable(wait) => told_to_wait(StatusCode::SERVICE_UNAVAILABLE, *wait),
        }
    }

    fn too_weak(&self, caller: &Caller, tool: &str, needed: Scope) -> Response {
        let keys = &self.inner.keys;
        keys.audit.note_now_and_then(Entry {
            via: caller.via.as_str().into(),
            tool: tool.to_owned(),
            decision: "refused".into(),
            reason: format!("needs {}", needed.as_str()),
            ..Entry::of(Phase::Deny, &caller.name)
        });
        let challenge = keys.resource.insufficient(&caller.scopes, needed);
        let body = "forbidden: this bearer does not allow that call\n";
        challenged(StatusCode::FORBIDDEN, &challenge, body)
    }
}

/// 400, as JSON-RPC words it.
fn not_read(id: &Value, code: i32, why: &str) -> Response {
    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": why}});
    (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
}

fn unauthorised(keys: &Keys, presented: bool) -> Response {
    challenged(
        StatusCode::UNAUTHORIZED,
        &keys.resource.unauthorized(presented),
        "unauthorized: send a valid `Authorization: Bearer` header\n",
    )
}

fn challenged(status: StatusCode, challenge: &str, body: &'static str) -> Response {
    let mut response = (status, body).into_response();
    // Scopes and an address that was parsed: always a valid header.
    if let Ok(value) = HeaderValue::from_str(challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

fn told_to_wait(status: StatusCode, wait: Duration) -> Response {
    let seconds = wait.as_secs().max(1).to_string();
    (status, [(RETRY_AFTER, seconds)], "come back later\n").into_response()
}

/// Lets callers in whose call is within their scopes, as a [`Caller`] among the request's extensions. Credentials are taken
/// out of the request, so that nothing behind the gate can log or forward them.
pub async fn guard(
    State((gate, need)): State<(Gate, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let from = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let (headers, uri) = (request.headers(), request.uri());
    let caller = match gate.authenticate(headers, uri).await {
        Ok(caller) => caller,
        Err(refusal) => {
            let response = gate.refuse(&refusal, from);
            drain(request.into_body()).await;
            return response;
        }
    };
    request.headers_mut().remove(AUTHORIZATION);
    request.headers_mut().remove(COOKIE);
    let request = if request.method() == Method::POST {
        match within_scopes(&gate, &need, &caller, request).await {
            Ok(request) => request,
            Err(response) => return *response,
        }
    } else {
        request
    };
    let mut request = request;
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Takes what is still coming of a refused request, as far as it is short and soon there: a connection that is closed with
/// unread bytes may take the answer with it.
async fn drain(body: Body) {
    let read = async {
        let mut body = Limited::new(body, DRAINED);
        while let Some(Ok(_)) = body.frame().await {}
    };
    // Whoever sends more, or slowly, may lose the answer.
    let _ = tokio::time::timeout(DRAIN_PATIENCE, read).await;
}

/// The same request, once its one reading is a call that the caller's scopes allow.
async fn within_scopes(
    gate: &Gate,
    need: &Need,
    caller: &Caller,
    request: Request,
) -> Result<Request, Box<Response>> {
    let refused = |status: StatusCode, why: &'static str| Box::new((status, why).into_response());
    if request.headers().contains_key(CONTENT_ENCODING) {
        let why = "requests are not decompressed\n";
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let (head, body) = request.into_parts();
    let read = Limited::new(body, BODY_LIMIT).collect();
    let bytes = match tokio::time::timeout(BODY_PATIENCE, read).await {
        Ok(Ok(read)) => read.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request is too long\n",
            ));
        }
        Ok(Err(_)) => return Err(refused(StatusCode::BAD_REQUEST, "the request broke off\n")),
        Err(_) => {
            return Err(refused(
                StatusCode::REQUEST_TIMEOUT,
                "the request took too long\n",
            ));
        }
    };
    let Ok(Value::Object(message)) = strict_json(&bytes) else {
        let why = "the request must be one JSON-RPC message in which no member stands twice";
        return Err(Box::new(not_read(&Value::Null, PARSE_ERROR, why)));
    };
    let method = message.get("method").and_then(Value::as_str);
    if let Some(header) = head.headers.get("mcp-method")
        && Some(header.as_bytes()) != method.map(str::as_bytes)
    {
        let why = "the header Mcp-Method and the message name two methods";
        let id = message.get("id").unwrap_or(&Value::Null);
        return Err(Box::new(not_read(id, HEADER_MISMATCH, why)));
    }
    if method == Some("tools/call") {
        let params = &message["params"];
        let tool = params["name"].as_str().unwrap_or_default();
        let nothing = Map::new();
        let given = params["arguments"].as_object().unwrap_or(&nothing);
        let needed = need(tool, given);
        // What needs admin may not even be there: the handler answers both in the same way, and nobody is told to ask for it.
        if needed != Scope::Admin && !caller.may(needed) {
            return Err(Box::new(gate.too_weak(caller, tool, needed)));
        }
    }
    Ok(Request::from_parts(head, Body::from(bytes)))
}
