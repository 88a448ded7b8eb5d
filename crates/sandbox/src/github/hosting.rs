//! Git over HTTP.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::{GitHub, ROLES, Refusal};
use crate::gitea::{basic, login_wanted, owns};

/// Everything else: git over HTTP. A push asks for the scope `repo`, and an archived repository refuses it.
pub(super) async fn git(State(github): State<GitHub>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let Some((full_name, rest)) = path.trim_start_matches('/').split_once(".git/") else {
        return Refusal::not_found().into_response();
    };
    let Some((owner, name)) = full_name.split_once('/') else {
        return Refusal::not_found().into_response();
    };
    let caller = basic(&github.world, &head.headers, &ROLES);
    let Some(found) = github.world.state().github.find(owner, name).cloned() else {
        return if caller.is_some() {
            Refusal::not_found().into_response()
        } else {
            login_wanted("GitHub")
        };
    };
    let query = head.uri.query().unwrap_or_default();
    let writes = rest == "git-receive-pack" || query.contains("git-receive-pack");
    let user = caller
        .as_ref()
        .map(|caller| caller.user.clone())
        .unwrap_or_default();
    let may = caller
        .as_ref()
        .is_some_and(|caller| owns(&caller.user, &found) && caller.has("repo"));
    if writes && found.archived {
        return Refusal::new(403, "This repository was archived so it is read-only.")
            .into_response();
    }
    if !may && caller.is_some() && writes {
        return (
            StatusCode::FORBIDDEN,
            format!("Permission to {} denied to {user}.", found.full_name()),
        )
            .into_response();
    }
    if !may && (found.private || writes) {
        return if caller.is_some() {
            Refusal::not_found().into_response()
        } else {
            login_wanted("GitHub")
        };
    }
    let dir = github.world.git_dir("github", found.id);
    let response = crate::git::serve(
        &dir,
        rest,
        &head.method,
        query,
        &head.headers,
        Body::new(body),
        &user,
    )
    .await;
    if rest == "git-receive-pack" {
        adopt_first_branch(&dir);
    }
    response
}

/// The first pushed branch becomes the default one.
fn adopt_first_branch(dir: &std::path::Path) {
    let refs = crate::git::refs(dir);
    let heads: Vec<&str> = refs
        .keys()
        .filter_map(|name| name.strip_prefix("refs/heads/"))
        .collect();
    if let Some(first) = heads
        .first()
        .filter(|_| !heads.contains(&crate::git::head(dir).as_str()))
    {
        // Without it HEAD stays dangling, as it was.
        drop(crate::git::set_head(dir, first));
    }
}
