//! What the server says of itself.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::HeaderMap;
use serde_json::json;

use super::super::{Refusal, authenticate, may_create_in, scope};
use super::{Answer, Gitea};

pub(super) async fn version(State(gitea): State<Gitea>) -> Answer {
    Ok(Json(json!({"version": gitea.world.profile.version()})).into_response())
}

pub(super) async fn settings(State(gitea): State<Gitea>) -> Answer {
    let disabled = gitea.world.state().mirrors_disabled;
    Ok(Json(json!({"mirrors_disabled": disabled, "http_git_disabled": false})).into_response())
}

/// Nobody here is a site administrator; what the refusal says of the token depends on the version.
pub(super) async fn cron(State(gitea): State<Gitea>, headers: HeaderMap) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    scope(&caller, "read:admin").map_err(|refusal| gitea.world.profile.worded(refusal))?;
    Err(Refusal::new(403, "user should be the site admin"))
}

pub(super) async fn permissions(
    State(gitea): State<Gitea>,
    Path((user, org)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    scope(&caller, "read:organization")?;
    if !gitea.world.state().organisations.contains(&org) {
        return Err(Refusal::not_found());
    }
    let owner = may_create_in(&user, &org);
    Ok(
        Json(json!({"is_owner": owner, "is_admin": owner, "can_create_repository": owner}))
            .into_response(),
    )
}
