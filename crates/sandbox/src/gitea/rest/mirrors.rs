//! Push mirrors; a sync is a real push.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Refusal, owns};
use super::{Answer, Gitea, Name, Page, administered, paged, seen, writable};
use crate::world::{Mirror, now};

fn mirror_json(mirror: &Mirror) -> Value {
    json!({
        "remote_name": mirror.remote_name,
        "remote_address": mirror.remote_address,
        "created": format!("{:.0}", mirror.created),
        "last_update": mirror.last_update.map(|at| format!("{at:.0}")),
        "last_error": mirror.last_error,
        "interval": mirror.interval,
        "sync_on_commit": mirror.sync_on_commit,
    })
}

pub(super) async fn mirrors(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let (caller, repository) = seen(&gitea, &headers, "read:repository", &name)?;
    if !owns(&caller.user, &repository) {
        return Err(Refusal::new(
            403,
            "user should be an owner or a collaborator with admin write of a repository",
        ));
    }
    Ok(paged(
        &page,
        repository.mirrors.iter().map(mirror_json).collect(),
    ))
}

#[derive(Deserialize)]
pub(super) struct NewMirror {
    remote_address: String,
    #[serde(default)]
    remote_username: String,
    #[serde(default)]
    remote_password: String,
    #[serde(default)]
    interval: String,
    #[serde(default)]
    sync_on_commit: bool,
}

pub(super) async fn add_mirror(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(new): Json<NewMirror>,
) -> Answer {
    let (_, repository) = administered(&gitea, &headers, &name)?;
    writable(&repository)?;
    if new.interval.is_empty() {
        return Err(Refusal::new(400, "time: invalid duration \"\""));
    }
    if !new.remote_address.starts_with("http://") && !new.remote_address.starts_with("https://") {
        return Err(Refusal::new(400, "Invalid mirror protocol"));
    }
    let mut state = gitea.world.state();
    let found = state
        .gitea
        .repositories
        .get_mut(&repository.id)
        .ok_or_else(Refusal::not_found)?;
    let mirror = Mirror {
        remote_name: format!(
            "remote_mirror_{:010}",
            found.mirrors.len() + 1 + found.issues.len() * 1000
        ),
        remote_address: new.remote_address,
        username: new.remote_username,
        password: new.remote_password,
        created: now(),
        last_update: None,
        last_error: String::new(),
        interval: new.interval,
        sync_on_commit: new.sync_on_commit,
    };
    found.mirrors.push(mirror.clone());
    // Adding answers 200, not 201.
    Ok(Json(mirror_json(&mirror)).into_response())
}

pub(super) async fn remove_mirror(
    State(gitea): State<Gitea>,
    Path((owner, name, remote)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let (_, repository) = administered(&gitea, &headers, &(owner, name))?;
    writable(&repository)?;
    if let Some(found) = gitea
        .world
        .state()
        .gitea
        .repositories
        .get_mut(&repository.id)
    {
        // An unknown name is 204 too.
        found.mirrors.retain(|mirror| mirror.remote_name != remote);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Synchronous, one mirror after the other, 500 at the first failure.
pub(super) async fn sync_mirrors(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
) -> Answer {
    let (_, repository) = administered(&gitea, &headers, &name)?;
    writable(&repository)?;
    let dir = gitea.world.git_dir("gitea", repository.id);
    for mirror in &repository.mirrors {
        let address = with_credentials(mirror);
        let result = if crate::git::copied::is(&dir) {
            crate::github::receive(&gitea.world, mirror, &dir)
        } else {
            crate::git::push_mirror(&dir, &address).await
        };
        let said = result
            .as_ref()
            .err()
            .map(|text| text.replace(&address, &mirror.remote_address))
            .unwrap_or_default();
        if let Some(found) = gitea
            .world
            .state()
            .gitea
            .repositories
            .get_mut(&repository.id)
            && let Some(found) = found
                .mirrors
                .iter_mut()
                .find(|one| one.remote_name == mirror.remote_name)
        {
            found.last_update = Some(now());
            found.last_error = said.replace(&mirror.password, "***");
        }
        result.map_err(|why| Refusal::new(500, why))?;
    }
    Ok(StatusCode::OK.into_response())
}

fn with_credentials(mirror: &Mirror) -> String {
    let Ok(mut url) = url::Url::parse(&mirror.remote_address) else {
        return mirror.remote_address.clone();
    };
    // An address that cannot carry credentials is pushed to without them, and refused there.
    let _ = url.set_username(&mirror.username);
    let _ = url.set_password(Some(&mirror.password));
    url.to_string()
}
