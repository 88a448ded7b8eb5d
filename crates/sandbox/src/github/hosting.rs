//! Git over HTTP.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{GitHub, ROLES, Refusal};
use crate::gitea::{basic, login_wanted, owns};
use crate::world::{Mirror, Repository, World};

/// Everything else: git over HTTP. A push asks for the scope `repo`, and an archived repository refuses it.
pub(super) async fn git(State(github): State<GitHub>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let Some((full_name, rest)) = path.trim_start_matches('/').split_once(".git/") else {
        return Refusal::not_found().into_response();
    };
    let query = head.uri.query().unwrap_or_default();
    let writes = rest == "git-receive-pack" || query.contains("git-receive-pack");
    let (found, user) = match judged(&github.world, &head.headers, full_name, writes) {
        Ok(judged) => judged,
        Err(refusal) => return *refusal,
    };
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
        github.world.state().github.pushed(found.id);
        adopt_first_branch(&dir);
    }
    response
}

/// A push without git, for a world whose refs are copied: the same judgement, then every branch and tag of `from`.
pub(crate) fn receive(
    world: &World,
    mirror: &Mirror,
    from: &std::path::Path,
) -> Result<(), String> {
    let url = url::Url::parse(&mirror.remote_address).map_err(|error| error.to_string())?;
    let full_name = url.path().trim_start_matches('/').trim_end_matches(".git");
    let login = STANDARD.encode(format!("{}:{}", mirror.username, mirror.password));
    let login = HeaderValue::from_str(&format!("Basic {login}"));
    let login = login.map_err(|error| error.to_string())?;
    let headers = HeaderMap::from_iter([(AUTHORIZATION, login)]);
    let (found, _) = judged(world, &headers, full_name, true)
        .map_err(|refusal| format!("remote: refused with {}", refusal.status()))?;
    let dir = world.git_dir("github", found.id);
    crate::git::copied::push(from, &dir).map_err(|error| error.to_string())?;
    world.state().github.pushed(found.id);
    adopt_first_branch(&dir);
    Ok(())
}

/// The repository and the user, if this caller may do this to it.
fn judged(
    world: &World,
    headers: &HeaderMap,
    full_name: &str,
    writes: bool,
) -> Result<(Repository, String), Box<Response>> {
    let Some((owner, name)) = full_name.split_once('/') else {
        return Err(Box::new(Refusal::not_found().into_response()));
    };
    let caller = basic(world, headers, &ROLES);
    let hidden = || match &caller {
        Some(_) => Refusal::not_found().into_response(),
        None => login_wanted("GitHub"),
    };
    let Some(found) = world.state().github.find(owner, name).cloned() else {
        return Err(Box::new(hidden()));
    };
    let user = caller
        .as_ref()
        .map(|caller| caller.user.clone())
        .unwrap_or_default();
    let may = caller
        .as_ref()
        .is_some_and(|caller| owns(&caller.user, &found) && caller.has("repo"));
    if writes && found.archived {
        let why = "This repository was archived so it is read-only.";
        return Err(Box::new(Refusal::new(403, why).into_response()));
    }
    if !may && caller.is_some() && writes {
        let why = format!("Permission to {} denied to {user}.", found.full_name());
        return Err(Box::new((StatusCode::FORBIDDEN, why).into_response()));
    }
    if !may && (found.private || writes) {
        return Err(Box::new(hidden()));
    }
    Ok((found, user))
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
