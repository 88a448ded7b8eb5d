//! What the server says of itself.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::HeaderMap;
use serde_json::json;

use super::super::{Refusal, authenticate, may_create_in, owns, scope, visible};
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
    // A user of an organisation's name is not that organisation.
    let owner = !user.eq_ignore_ascii_case(&org) && may_create_in(&user, &org);
    Ok(
        Json(json!({"is_owner": owner, "is_admin": owner, "can_create_repository": owner}))
            .into_response(),
    )
}

/// What a user may do with a repository; only its administrators are told (and everybody of themselves).
pub(super) async fn permission(
    State(gitea): State<Gitea>,
    Path((owner, name, user)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    scope(&caller, "read:repository")?;
    let repository = visible(&gitea.world, &caller.user, &owner, &name)?;
    if !owns(&caller.user, &repository) && !caller.user.eq_ignore_ascii_case(&user) {
        return Err(Refusal::new(
            403,
            "Only admins can query all permissions, repo admins can query all repo permissions, collaborators can query only their own",
        ));
    }
    let state = gitea.world.state();
    if !state
        .tokens
        .iter()
        .any(|token| token.user.eq_ignore_ascii_case(&user))
    {
        return Err(Refusal::not_found());
    }
    let permission = match (owns(&user, &repository), repository.private) {
        (true, _) => "owner",
        (false, true) => "none",
        (false, false) => "read",
    };
    Ok(Json(json!({"permission": permission, "role_name": permission})).into_response())
}
