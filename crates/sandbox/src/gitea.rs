//! A stand-in for Gitea 1.25's REST API and its git hosting.

pub(crate) mod operations;
mod rest;

pub(crate) use rest::hosting::{basic, login_wanted};
pub(crate) use rest::{Gitea, router};

use http::HeaderMap;
use serde_json::{Value, json};

use crate::world::{Credential, Repository, Role, World};

/// A refusal as Gitea words it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    /// Where a renamed repository is now.
    pub(crate) location: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            location: None,
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "not found")
    }
}

/// Whose token a request carries.
pub(crate) fn authenticate(world: &World, headers: &HeaderMap) -> Result<Credential, Refusal> {
    let header = headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let value = header
        .strip_prefix("token ")
        .or_else(|| header.strip_prefix("Bearer "))
        .unwrap_or_default();
    if value.is_empty() {
        return Err(Refusal::new(401, "token is required"));
    }
    world
        .state()
        .credential(value, &[Role::Gitea, Role::GiteaMcp, Role::Someone])
        .ok_or_else(|| Refusal::new(401, "invalid username, password or token"))
}

/// The scope check; it runs before permissions and before 404.
pub(crate) fn scope(credential: &Credential, scope: &str) -> Result<(), Refusal> {
    if credential.has(scope) {
        return Ok(());
    }
    let has: Vec<&str> = credential.scopes.iter().map(String::as_str).collect();
    let message = format!(
        "token does not have at least one of required scope(s), required=[{scope}], token scope={}",
        has.join(",")
    );
    Err(Refusal::new(403, message))
}

/// Whether this user is at owner level.
pub(crate) fn owns(user: &str, repository: &Repository) -> bool {
    may_create_in(user, &repository.owner)
}

/// The sandbox's organisation belongs to its first user.
pub(crate) fn may_create_in(user: &str, owner: &str) -> bool {
    user.eq_ignore_ascii_case(owner) || (owner == "acme-org" && user == "acme")
}

/// A repository that this user sees, or the refusal.
pub(crate) fn visible(
    world: &World,
    user: &str,
    owner: &str,
    name: &str,
) -> Result<Repository, Refusal> {
    let state = world.state();
    if let Some(found) = state.gitea.find(owner, name) {
        return if !found.private || owns(user, found) {
            Ok(found.clone())
        } else {
            Err(Refusal::not_found())
        };
    }
    match state
        .gitea
        .moved_to(owner, name)
        .and_then(|id| state.gitea.repositories.get(&id))
    {
        Some(moved) => {
            let location = Some(format!("/api/v1/repos/{}", moved.full_name()));
            Err(Refusal {
                status: world.profile.redirect(),
                message: "Moved Permanently".into(),
                location,
            })
        }
        None => Err(Refusal::not_found()),
    }
}

/// A repository as the API answers it.
pub(crate) fn repository_json(world: &World, base: &str, repository: &Repository) -> Value {
    let dir = world.git_dir("gitea", repository.id);
    let empty = crate::git::refs(&dir).is_empty();
    json!({
        "id": repository.id,
        "name": repository.name,
        "full_name": repository.full_name(),
        "owner": {"login": repository.owner},
        "description": repository.description,
        "private": repository.private,
        "archived": repository.archived,
        "empty": empty,
        "default_branch": crate::git::head(&dir),
        "html_url": format!("{base}/{}", repository.full_name()),
        "clone_url": format!("{base}/{}.git", repository.full_name()),
        "created_at": world.told(repository.created_at),
        "updated_at": world.told(repository.active_at()),
        "stars_count": repository.stars,
        "open_issues_count": repository.issues.iter().filter(|issue| issue.state == "open").count(),
        "release_counter": 0,
        "topics": repository.topics,
        "template": repository.template,
        "has_issues": true,
    })
}
