//! Git over HTTP.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::{HeaderMap, StatusCode};

use super::super::{Refusal, owns};
use super::Gitea;
use crate::world::{Credential, Role, World};

/// Everything else: git over HTTP, with the token as the password of a basic login.
pub(super) async fn git(State(gitea): State<Gitea>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let Some((full_name, rest)) = path.trim_start_matches('/').split_once(".git/") else {
        return Refusal::not_found().into_response();
    };
    let Some((owner, name)) = full_name.split_once('/') else {
        return Refusal::not_found().into_response();
    };
    let caller = basic(
        &gitea.world,
        &head.headers,
        &[Role::Gitea, Role::GiteaMcp, Role::Someone],
    );
    let found = gitea.world.state().gitea.find(owner, name).cloned();
    let user = caller
        .as_ref()
        .map(|caller| caller.user.as_str())
        .unwrap_or_default();
    let writes = rest == "git-receive-pack"
        || head
            .uri
            .query()
            .unwrap_or_default()
            .contains("git-receive-pack");
    match found {
        Some(found) if owns(user, &found) || (!found.private && !writes) => {
            let dir = gitea.world.git_dir("gitea", found.id);
            let query = head.uri.query().unwrap_or_default();
            crate::git::serve(
                &dir,
                rest,
                &head.method,
                query,
                &head.headers,
                Body::new(body),
                user,
            )
            .await
        }
        _ if caller.is_none() => login_wanted("Gitea"),
        _ => Refusal::not_found().into_response(),
    }
}

pub(crate) fn login_wanted(realm: &str) -> Response {
    let challenge = format!("Basic realm=\"{realm}\"");
    (
        StatusCode::UNAUTHORIZED,
        [(http::header::WWW_AUTHENTICATE, challenge)],
        "login required",
    )
        .into_response()
}

/// The token in the password (or user name) of a basic login.
pub(crate) fn basic(world: &World, headers: &HeaderMap, roles: &[Role]) -> Option<Credential> {
    let header = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(header.strip_prefix("Basic ")?)
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    let state = world.state();
    state
        .credential(password, roles)
        .or_else(|| state.credential(user, roles))
}
