//! The routes below `/api/v1`, and git.

mod content;
pub(crate) mod hosting;
mod issues;
mod mirrors;
mod server;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::operations::{self, Creation};
use super::{Refusal, authenticate, owns, repository_json, scope, visible};
use crate::world::{Credential, Repository, World};

/// The world and the address that this stand-in is reached at.
#[derive(Clone)]
pub(crate) struct Gitea {
    pub(crate) world: World,
    pub(crate) base: String,
}

type Answer = Result<Response, Refusal>;
type Name = (String, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A site that is not in development hides what went wrong.
        let message = if self.status == 500 {
            String::new()
        } else {
            self.message
        };
        let mut response = (
            status,
            Json(json!({"message": message, "url": "/api/swagger"})),
        )
            .into_response();
        if let Some(location) = self.location.and_then(|location| location.parse().ok()) {
            response
                .headers_mut()
                .insert(http::header::LOCATION, location);
        }
        response
    }
}

pub(crate) fn router(gitea: Gitea) -> Router {
    Router::new()
        .route(
            "/api/healthz",
            get(async || Json(json!({"status": "pass"}))),
        )
        .route("/api/v1/version", get(server::version))
        .route("/api/v1/settings/repository", get(server::settings))
        .route("/api/v1/admin/cron", get(server::cron))
        .route(
            "/api/v1/users/{user}/orgs/{org}/permissions",
            get(server::permissions),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/collaborators/{user}/permission",
            get(server::permission),
        )
        .route("/api/v1/user", get(user))
        .route("/api/v1/users/{user}/repos", get(user_repositories))
        .route("/api/v1/repos/{owner}/{name}/pulls", get(content::pulls))
        .route("/api/v1/user/repos", get(my_repositories).post(create_own))
        .route(
            "/api/v1/orgs/{org}/repos",
            get(org_repositories).post(create_in_org),
        )
        .route(
            "/api/v1/repos/{owner}/{name}",
            get(read_repository)
                .patch(edit_repository)
                .delete(delete_repository),
        )
        .route("/api/v1/repos/{owner}/{name}/topics", put(set_topics))
        .route("/api/v1/repos/{owner}/{name}/generate", post(generate))
        .route(
            "/api/v1/repos/{owner}/{name}/branches",
            get(content::branches).post(content::create_branch),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/branches/{*branch}",
            get(content::branch).delete(content::delete_branch),
        )
        .route("/api/v1/repos/{owner}/{name}/git/refs", get(content::refs))
        .route(
            "/api/v1/repos/{owner}/{name}/git/commits/{sha}",
            get(content::one_commit),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/contents",
            post(content::commit_files),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/contents/{*path}",
            get(content::file),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/commits",
            get(content::commits),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/compare/{range}",
            get(content::compare),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/labels",
            get(issues::labels).post(issues::create_label),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/labels/{id}",
            delete(issues::delete_label),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/issues/{number}/labels",
            put(issues::set_labels),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/issues",
            get(issues::issues).post(issues::open_issue),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/issues/{number}",
            patch(issues::edit_issue)
                .get(issues::read_issue)
                .delete(issues::delete_issue),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/push_mirrors",
            get(mirrors::mirrors).post(mirrors::add_mirror),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/push_mirrors/{remote}",
            delete(mirrors::remove_mirror),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/push_mirrors-sync",
            post(mirrors::sync_mirrors),
        )
        .fallback(hosting::git)
        .layer(axum::middleware::map_request(token_in_query))
        .with_state(gitea)
}

/// Gitea takes a token in the query too (unless DISABLE_QUERY_AUTH_TOKEN is set).
async fn token_in_query(mut request: axum::extract::Request) -> axum::extract::Request {
    let absent = !request.headers().contains_key(http::header::AUTHORIZATION);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let token = query.split('&').find_map(|pair| {
        pair.strip_prefix("access_token=")
            .or_else(|| pair.strip_prefix("token="))
    });
    let value = token.and_then(|token| format!("token {token}").parse().ok());
    if let Some(value) = value.filter(|_| absent) {
        request
            .headers_mut()
            .insert(http::header::AUTHORIZATION, value);
    }
    request
}

/// The caller and a repository that the caller sees.
fn seen(
    gitea: &Gitea,
    headers: &HeaderMap,
    needed: &str,
    (owner, name): &Name,
) -> Result<(Credential, Repository), Refusal> {
    let caller = authenticate(&gitea.world, headers)?;
    scope(&caller, needed)?;
    let repository = visible(&gitea.world, &caller.user, owner, name)?;
    Ok((caller, repository))
}

/// As [`seen`], for a write by an administrator of the repository.
fn administered(
    gitea: &Gitea,
    headers: &HeaderMap,
    name: &Name,
) -> Result<(Credential, Repository), Refusal> {
    let (caller, repository) = seen(gitea, headers, "write:repository", name)?;
    if !owns(&caller.user, &repository) {
        return Err(Refusal::new(
            403,
            "user should be an owner or a collaborator with admin write of a repository",
        ));
    }
    Ok((caller, repository))
}

fn writable(repository: &Repository) -> Result<(), Refusal> {
    if repository.archived {
        return Err(Refusal::new(
            423,
            format!("{} is archived", repository.full_name()),
        ));
    }
    Ok(())
}

async fn user(State(gitea): State<Gitea>, headers: HeaderMap) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    scope(&caller, "read:user")?;
    Ok(Json(json!({"id": 1, "login": caller.user, "is_admin": false})).into_response())
}

#[derive(Deserialize)]
struct Create {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    auto_init: bool,
    #[serde(default)]
    default_branch: Option<String>,
    #[serde(default)]
    license: Option<String>,
    #[serde(default)]
    gitignores: Option<String>,
}

async fn create_own(
    State(gitea): State<Gitea>,
    headers: HeaderMap,
    Json(new): Json<Create>,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    let owner = caller.user.clone();
    create(&gitea, &caller, &owner, &new).await
}

async fn create_in_org(
    State(gitea): State<Gitea>,
    Path(org): Path<String>,
    headers: HeaderMap,
    Json(new): Json<Create>,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    create(&gitea, &caller, &org, &new).await
}

async fn create(gitea: &Gitea, caller: &Credential, owner: &str, new: &Create) -> Answer {
    let creation = Creation {
        owner,
        name: &new.name,
        description: &new.description,
        private: new.private,
        auto_init: new.auto_init,
        default_branch: new.default_branch.as_deref().unwrap_or_default(),
        license: new.license.as_deref().unwrap_or_default(),
        gitignores: new.gitignores.as_deref().unwrap_or_default(),
    };
    let made = operations::create_repository(&gitea.world, caller, &creation).await?;
    Ok((
        StatusCode::CREATED,
        Json(repository_json(&gitea.world, &gitea.base, &made)),
    )
        .into_response())
}

#[derive(Deserialize)]
struct Generate {
    owner: String,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    default_branch: String,
    #[serde(default)]
    git_content: bool,
}

async fn generate(
    State(gitea): State<Gitea>,
    Path(template): Path<Name>,
    headers: HeaderMap,
    Json(new): Json<Generate>,
) -> Answer {
    let (caller, template) = seen(&gitea, &headers, "write:repository", &template)?;
    if !template.template {
        return Err(Refusal::new(422, "this is not a template repo"));
    }
    if !new.git_content {
        return Err(Refusal::new(422, "must select at least one template item"));
    }
    let creation = Creation {
        owner: &new.owner,
        name: &new.name,
        description: &new.description,
        private: new.private,
        auto_init: false,
        default_branch: &new.default_branch,
        license: "",
        gitignores: "",
    };
    let made = operations::generate_repository(&gitea.world, &caller, &template, &creation).await?;
    let mut body = repository_json(&gitea.world, &gitea.base, &made);
    // Gitea does not know the branch yet when it answers.
    body["default_branch"] = json!("");
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn my_repositories(
    State(gitea): State<Gitea>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    scope(&caller, "read:repository")?;
    Ok(listed(&gitea, &page, |repository| {
        owns(&caller.user, repository)
    }))
}

/// Of a user or of an organisation.
async fn user_repositories(
    State(gitea): State<Gitea>,
    Path(user): Path<String>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    scope(&caller, "read:repository")?;
    Ok(listed(&gitea, &page, |repository| {
        repository.owner.eq_ignore_ascii_case(&user)
            && (!repository.private || owns(&caller.user, repository))
    }))
}

async fn org_repositories(
    State(gitea): State<Gitea>,
    Path(org): Path<String>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    scope(&caller, "read:organization")?;
    Ok(listed(&gitea, &page, |repository| {
        repository.owner == org && (!repository.private || owns(&caller.user, repository))
    }))
}

fn listed(gitea: &Gitea, page: &Page, keep: impl Fn(&Repository) -> bool) -> Response {
    let (total, shown) = {
        let state = gitea.world.state();
        let kept = state.gitea.repositories.values().filter(|one| keep(one));
        let kept: Vec<&Repository> = kept.collect();
        let (from, limit) = page.range();
        let shown = kept.iter().skip(from).take(limit);
        let shown: Vec<Repository> = shown.map(|one| (*one).clone()).collect();
        (kept.len(), shown)
    };
    let shown = shown.iter();
    let shown = shown.map(|one| repository_json(&gitea.world, &gitea.base, one));
    let shown = shown.collect::<Vec<_>>();
    ([("x-total-count", total.to_string())], Json(shown)).into_response()
}

/// `limit` is silently capped at 50, as a default installation does.
#[derive(Deserialize)]
struct Page {
    page: Option<usize>,
    limit: Option<usize>,
}

impl Page {
    /// How many come before it, and how many it shows at most.
    fn range(&self) -> (usize, usize) {
        let limit = self.limit.unwrap_or(30).clamp(1, 50);
        (self.page.unwrap_or(1).saturating_sub(1) * limit, limit)
    }
}

fn paged(page: &Page, all: Vec<Value>) -> Response {
    let total = all.len();
    let (from, limit) = page.range();
    let shown: Vec<Value> = all.into_iter().skip(from).take(limit).collect();
    ([("x-total-count", total.to_string())], Json(shown)).into_response()
}

async fn read_repository(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &name)?;
    Ok(Json(repository_json(&gitea.world, &gitea.base, &repository)).into_response())
}

#[derive(Deserialize)]
struct Edit {
    description: Option<String>,
    private: Option<bool>,
    archived: Option<bool>,
    name: Option<String>,
}

async fn edit_repository(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(edit): Json<Edit>,
) -> Answer {
    let (_, repository) = administered(&gitea, &headers, &name)?;
    if edit.archived.is_none() {
        writable(&repository)?;
    }
    let edited = {
        let mut state = gitea.world.state();
        if let Some(name) = edit.name {
            state.gitea.rename(repository.id, &name);
        }
        let found = state
            .gitea
            .repositories
            .get_mut(&repository.id)
            .ok_or_else(Refusal::not_found)?;
        found.description = edit
            .description
            .unwrap_or_else(|| found.description.clone());
        found.private = edit.private.unwrap_or(found.private);
        found.archived = edit.archived.unwrap_or(found.archived);
        found.clone()
    };
    Ok(Json(repository_json(&gitea.world, &gitea.base, &edited)).into_response())
}

async fn delete_repository(
    State(gitea): State<Gitea>,
    Path((owner, name)): Path<Name>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    operations::delete_repository(&gitea.world, &caller, &owner, &name)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
struct Topics {
    topics: Vec<String>,
}

async fn set_topics(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(new): Json<Topics>,
) -> Answer {
    let (_, repository) = administered(&gitea, &headers, &name)?;
    writable(&repository)?;
    let fits = |topic: &&String| {
        (1..=35).contains(&topic.len())
            && topic.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
            })
    };
    let invalid: Vec<&String> = new.topics.iter().filter(|topic| !fits(topic)).collect();
    if !invalid.is_empty() || new.topics.len() > 25 {
        let body = json!({"invalidTopics": invalid, "message": "Topic names are invalid"});
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response());
    }
    if let Some(found) = gitea
        .world
        .state()
        .gitea
        .repositories
        .get_mut(&repository.id)
    {
        found.topics = new.topics;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
