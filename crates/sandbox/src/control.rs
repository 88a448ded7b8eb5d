//! The control API, for tests and the curious: `/_sandbox/{store,requests,faults,rights,seed}` behind its own bearer.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::FaultOrder;
use crate::world::{Role, World};

/// The world and the bearer of this door.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) world: World,
    pub(crate) bearer: String,
}

pub(crate) fn router(control: Control) -> Router {
    Router::new()
        .route("/_sandbox/store", get(store))
        .route("/_sandbox/requests", get(requests).delete(forget_requests))
        .route(
            "/_sandbox/faults",
            get(faults).post(order_fault).delete(clear_faults),
        )
        .route("/_sandbox/rights", get(rights).post(change_rights))
        .route("/_sandbox/seed", post(seed))
        .layer(axum::middleware::from_fn_with_state(
            control.clone(),
            bearer,
        ))
        .with_state(control)
}

async fn bearer(State(control): State<Control>, request: Request, next: Next) -> Response {
    let header = request
        .headers()
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if header.and_then(|header| header.strip_prefix("Bearer ")) == Some(control.bearer.as_str()) {
        return next.run(request).await;
    }
    (
        StatusCode::UNAUTHORIZED,
        "the control API wants the bearer FORGELINE_SANDBOX_TOKEN",
    )
        .into_response()
}

async fn store(State(control): State<Control>) -> Json<Value> {
    Json(control.world.view())
}

async fn requests(State(control): State<Control>) -> Response {
    Json(&control.world.state().log).into_response()
}

async fn forget_requests(State(control): State<Control>) -> StatusCode {
    control.world.state().log.clear();
    StatusCode::NO_CONTENT
}

async fn faults(State(control): State<Control>) -> Json<Value> {
    Json(control.world.state().faults.view())
}

async fn order_fault(State(control): State<Control>, Json(order): Json<FaultOrder>) -> StatusCode {
    control.world.state().faults.order(order);
    StatusCode::CREATED
}

async fn clear_faults(State(control): State<Control>) -> StatusCode {
    control.world.state().faults.clear();
    StatusCode::NO_CONTENT
}

async fn rights(State(control): State<Control>) -> Json<Value> {
    let state = control.world.state();
    Json(
        state
            .tokens
            .iter()
            .map(|token| json!({"role": token.role, "user": token.user, "valid": token.valid, "scopes": token.scopes}))
            .collect(),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    /// `gitea_mcp`, `gitea`, `github`, `github_mirror`, `kubernetes` or `someone`.
    role: String,
    #[serde(default)]
    grant: Vec<String>,
    #[serde(default)]
    revoke: Vec<String>,
    /// `false`: the token is no longer accepted at all.
    valid: Option<bool>,
    /// Another user for the token.
    user: Option<String>,
}

async fn change_rights(State(control): State<Control>, Json(given): Json<Value>) -> Response {
    match change(&control.world, given) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
    }
}

/// Changes rights; the error says what does not fit.
pub(crate) fn change(world: &World, given: Value) -> Result<(), String> {
    let change: Change = serde_json::from_value(given).map_err(|error| error.to_string())?;
    let role = Role::ALL
        .into_iter()
        .find(|role| role.name() == change.role)
        .ok_or_else(|| format!("no role `{}`", change.role))?;
    let mut state = world.state();
    for token in state.tokens.iter_mut().filter(|token| token.role == role) {
        token.scopes.extend(change.grant.iter().cloned());
        token.scopes.retain(|scope| !change.revoke.contains(scope));
        token.valid = change.valid.unwrap_or(token.valid);
        token.user = change.user.clone().unwrap_or_else(|| token.user.clone());
    }
    Ok(())
}

async fn seed(State(control): State<Control>, Json(seed): Json<Value>) -> Response {
    match control.world.seed(seed).await {
        Ok(made) => (StatusCode::CREATED, Json(made)).into_response(),
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
    }
}
