//! A stand-in for GitHub's REST API (version 2022-11-28) and its git hosting.

mod hosting;

pub(crate) use hosting::receive;

use axum::extract::{Path, Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gitea::{may_create_in, owns};
use crate::world::{Credential, Repository, Role, World};

/// The world and the address that this stand-in is reached at.
#[derive(Clone)]
pub(crate) struct GitHub {
    pub(crate) world: World,
    pub(crate) base: String,
}

/// A refusal as GitHub words it.
struct Refusal {
    status: u16,
    body: Value,
    location: Option<String>,
}

impl Refusal {
    fn new(status: u16, message: &str) -> Self {
        let body = json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string()});
        Self {
            status,
            body,
            location: None,
        }
    }

    fn not_found() -> Self {
        Self::new(404, "Not Found")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body)).into_response();
        if let Some(location) = self.location.and_then(|location| location.parse().ok()) {
            response
                .headers_mut()
                .insert(http::header::LOCATION, location);
        }
        response
    }
}

type Answer = Result<Response, Refusal>;
type Name = (String, String);

const ROLES: [Role; 3] = [Role::Github, Role::GithubMirror, Role::Someone];

pub(crate) fn router(github: GitHub) -> Router {
    Router::new()
        .route("/user", get(user))
        .route("/users/{owner}", get(owner))
        .route("/users/{owner}/repos", get(user_repositories))
        .route("/user/repos", get(my_repositories).post(create_own))
        .route(
            "/orgs/{org}/repos",
            get(org_repositories).post(create_in_org),
        )
        .route(
            "/repos/{owner}/{name}",
            get(read_repository)
                .patch(edit_repository)
                .delete(delete_repository),
        )
        .route("/repos/{owner}/{name}/topics", put(set_topics))
        .route(
            "/repos/{owner}/{name}/git/matching-refs/{what}",
            get(matching_refs),
        )
        .route("/repos/{owner}/{name}/issues", get(issues))
        .route(
            "/rate_limit",
            get(async || {
                Json(json!({"resources": {"core": {"limit": 5000, "remaining": 4999, "reset": 0}}}))
            }),
        )
        .fallback(hosting::git)
        .layer(axum::middleware::from_fn_with_state(
            github.clone(),
            headers,
        ))
        .with_state(github)
}

/// What every real answer carries; and a request without User-Agent is refused.
async fn headers(State(github): State<GitHub>, request: Request, next: Next) -> Response {
    let is_git = request.uri().path().contains(".git/");
    if request.headers().get(http::header::USER_AGENT).is_none() && !is_git {
        return Refusal::new(
            403,
            "Request forbidden by administrative rules. Please make sure your request has a User-Agent header",
        )
        .into_response();
    }
    let scopes = authenticate(&github.world, request.headers())
        .ok()
        .map(|caller| caller.scopes);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(
        "x-github-request-id",
        HeaderValue::from_static("5AB0:1E:SANDBOX"),
    );
    headers.insert("x-ratelimit-limit", HeaderValue::from_static("5000"));
    headers.insert("x-ratelimit-remaining", HeaderValue::from_static("4990"));
    if let Some(scopes) = scopes.and_then(|scopes| {
        HeaderValue::from_str(&scopes.into_iter().collect::<Vec<_>>().join(", ")).ok()
    }) {
        headers.insert("x-oauth-scopes", scopes);
    }
    response
}

fn authenticate(world: &World, headers: &HeaderMap) -> Result<Credential, Refusal> {
    let Some(header) = headers
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
    else {
        return Err(Refusal::new(401, "Requires authentication"));
    };
    let value = header
        .strip_prefix("Bearer ")
        .or_else(|| header.strip_prefix("token "))
        .unwrap_or_default();
    world
        .state()
        .credential(value, &ROLES)
        .ok_or_else(|| Refusal::new(401, "Bad credentials"))
}

fn json_of(github: &GitHub, repository: &Repository) -> Value {
    let dir = github.world.git_dir("github", repository.id);
    json!({
        "id": repository.id,
        "node_id": format!("R_{}", repository.id),
        "name": repository.name,
        "full_name": repository.full_name(),
        "owner": {"login": repository.owner},
        "description": repository.description,
        "private": repository.private,
        "visibility": if repository.private { "private" } else { "public" },
        "archived": repository.archived,
        "default_branch": crate::git::head(&dir),
        "html_url": format!("{}/{}", github.base, repository.full_name()),
        "clone_url": format!("{}/{}.git", github.base, repository.full_name()),
        "created_at": github.world.told(repository.created_at),
        "updated_at": github.world.told(repository.active_at()),
        "pushed_at": github.world.told(repository.pushed_at),
        "stargazers_count": repository.stars,
        "open_issues_count": repository.issues.len(),
        "topics": repository.topics,
        "permissions": {"admin": true, "push": true, "pull": true},
    })
}

/// A repository that this caller sees. What is private is hidden from everybody else and from tokens without `repo`.
fn visible(
    github: &GitHub,
    caller: &Credential,
    (owner, name): &Name,
) -> Result<Repository, Refusal> {
    let state = github.world.state();
    if let Some(found) = state.github.find(owner, name) {
        let sees = !found.private || (owns(&caller.user, found) && caller.has("repo"));
        return if sees {
            Ok(found.clone())
        } else {
            Err(Refusal::not_found())
        };
    }
    match state.github.moved_to(owner, name) {
        Some(id) => {
            let mut refusal = Refusal::new(301, "Moved Permanently");
            refusal.location = Some(format!("{}/repositories/{id}", github.base));
            Err(refusal)
        }
        None => Err(Refusal::not_found()),
    }
}

/// As [`visible`], for a write: a redirect keeps the method (307).
fn writable(github: &GitHub, caller: &Credential, name: &Name) -> Result<Repository, Refusal> {
    let found = visible(github, caller, name).map_err(|refusal| Refusal {
        status: if refusal.status == 301 {
            307
        } else {
            refusal.status
        },
        ..refusal
    })?;
    if !owns(&caller.user, &found) {
        return Err(Refusal::new(403, "Must have admin rights to Repository."));
    }
    Ok(found)
}

async fn user(State(github): State<GitHub>, headers: HeaderMap) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    Ok(Json(json!({"login": caller.user, "id": 1, "type": "User"})).into_response())
}

async fn owner(
    State(github): State<GitHub>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    authenticate(&github.world, &headers)?;
    let state = github.world.state();
    let organisation = state.organisations.contains(&name);
    if !organisation && !state.tokens.iter().any(|token| token.user == name) {
        return Err(Refusal::not_found());
    }
    let kind = if organisation { "Organization" } else { "User" };
    Ok(Json(json!({"login": name, "type": kind})).into_response())
}

#[derive(Deserialize)]
struct Create {
    name: String,
    description: Option<String>,
    private: Option<bool>,
}

async fn create_own(
    State(github): State<GitHub>,
    headers: HeaderMap,
    Json(new): Json<Create>,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    let owner = caller.user.clone();
    create(&github, &caller, &owner, &new).await
}

async fn create_in_org(
    State(github): State<GitHub>,
    Path(org): Path<String>,
    headers: HeaderMap,
    Json(new): Json<Create>,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    if !github.world.state().organisations.contains(&org) {
        return Err(Refusal::not_found());
    }
    create(&github, &caller, &org, &new).await
}

async fn create(github: &GitHub, caller: &Credential, owner: &str, new: &Create) -> Answer {
    // The real default is public; the caller of this API must always say.
    let private = new.private.unwrap_or(false);
    if !caller.has("repo") {
        return Err(Refusal::new(
            if private { 404 } else { 403 },
            if private {
                "Not Found"
            } else {
                "Resource not accessible"
            },
        ));
    }
    if !may_create_in(&caller.user, owner) {
        return Err(Refusal::new(
            403,
            "You need admin access to the organization before adding a repository to it.",
        ));
    }
    let name = sanitised(&new.name);
    let description = new.description.clone().unwrap_or_default();
    if description.chars().count() > 350 {
        return Err(Refusal::new(
            422,
            "description is too long (maximum is 350 characters)",
        ));
    }
    let added = github
        .world
        .state()
        .github
        .add(owner, &name, &description, private, &caller.user);
    let Some(id) = added else {
        let mut refusal = Refusal::new(422, "Repository creation failed.");
        refusal.body["errors"] = json!([{"resource": "Repository", "code": "custom", "field": "name", "message": "name already exists on this account"}]);
        return Err(refusal);
    };
    if let Err(why) =
        crate::git::init(github.world.root(), &github.world.git_dir("github", id)).await
    {
        github.world.state().github.repositories.remove(&id);
        return Err(Refusal::new(500, &why));
    }
    let made = github
        .world
        .state()
        .github
        .repositories
        .get(&id)
        .cloned()
        .ok_or_else(Refusal::not_found)?;
    let location = [(
        http::header::LOCATION,
        format!("{}/repos/{}", github.base, made.full_name()),
    )];
    Ok((StatusCode::CREATED, location, Json(json_of(github, &made))).into_response())
}

/// Anything outside `[A-Za-z0-9._-]` becomes a dash; `.git` is cut off.
fn sanitised(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.strip_suffix(".git").unwrap_or(&out).to_owned()
}

#[derive(Deserialize)]
struct Page {
    page: Option<usize>,
    per_page: Option<usize>,
}

fn paged(github: &GitHub, path: &str, page: &Page, all: Vec<Value>) -> Response {
    let size = page.per_page.unwrap_or(30).clamp(1, 100);
    let number = page.page.unwrap_or(1).max(1);
    let from = all.into_iter().skip((number - 1) * size);
    one_page(github, path, page, from.take(size + 1).collect())
}

/// A page, given with one item more where there is a next one.
fn one_page(github: &GitHub, path: &str, page: &Page, mut shown: Vec<Value>) -> Response {
    let size = page.per_page.unwrap_or(30).clamp(1, 100);
    let number = page.page.unwrap_or(1).max(1);
    let more = shown.len() > size;
    shown.truncate(size);
    let mut response = Json(shown).into_response();
    if more
        && let Ok(link) = HeaderValue::from_str(&format!(
            "<{}{path}?per_page={size}&page={}>; rel=\"next\"",
            github.base,
            number + 1
        ))
    {
        response.headers_mut().insert(http::header::LINK, link);
    }
    response
}

async fn my_repositories(
    State(github): State<GitHub>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    Ok(listed(&github, "/user/repos", &page, |one| {
        owns(&caller.user, one)
    }))
}

async fn org_repositories(
    State(github): State<GitHub>,
    Path(org): Path<String>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    let path = format!("/orgs/{org}/repos");
    Ok(listed(&github, &path, &page, |one| {
        one.owner == org && (!one.private || owns(&caller.user, one))
    }))
}

/// The public repositories of a user.
async fn user_repositories(
    State(github): State<GitHub>,
    Path(user): Path<String>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    authenticate(&github.world, &headers)?;
    let path = format!("/users/{user}/repos");
    Ok(listed(&github, &path, &page, |one| {
        one.owner.eq_ignore_ascii_case(&user) && !one.private
    }))
}

fn listed(
    github: &GitHub,
    path: &str,
    page: &Page,
    keep: impl Fn(&Repository) -> bool,
) -> Response {
    let size = page.per_page.unwrap_or(30).clamp(1, 100);
    let from = (page.page.unwrap_or(1).max(1) - 1) * size;
    let shown: Vec<Repository> = {
        let state = github.world.state();
        let kept = state.github.repositories.values().filter(|one| keep(one));
        // One more than is shown: it says that there is a next page.
        kept.skip(from).take(size + 1).cloned().collect()
    };
    let shown: Vec<Value> = shown.iter().map(|one| json_of(github, one)).collect();
    let first = Page {
        page: page.page,
        per_page: page.per_page,
    };
    one_page(github, path, &first, shown)
}

async fn read_repository(
    State(github): State<GitHub>,
    Path(name): Path<Name>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    let found = visible(&github, &caller, &name)?;
    Ok(Json(json_of(&github, &found)).into_response())
}

#[derive(Deserialize)]
struct Edit {
    description: Option<String>,
    private: Option<bool>,
    archived: Option<bool>,
    default_branch: Option<String>,
}

async fn edit_repository(
    State(github): State<GitHub>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(edit): Json<Edit>,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    let found = writable(&github, &caller, &name)?;
    if !caller.has("repo") {
        return Err(Refusal::new(403, "Must have admin rights to Repository."));
    }
    if found.archived && edit.archived != Some(false) {
        return Err(Refusal::new(
            403,
            "Repository was archived so is read-only.",
        ));
    }
    if let Some(branch) = edit.default_branch {
        let dir = github.world.git_dir("github", found.id);
        if !crate::git::refs(&dir).contains_key(&format!("refs/heads/{branch}"))
            || crate::git::set_head(&dir, &branch).is_err()
        {
            return Err(Refusal::new(422, "The branch was not found."));
        }
    }
    let edited = {
        let mut state = github.world.state();
        let found = state
            .github
            .repositories
            .get_mut(&found.id)
            .ok_or_else(Refusal::not_found)?;
        found.description = edit
            .description
            .unwrap_or_else(|| found.description.clone());
        found.private = edit.private.unwrap_or(found.private);
        found.archived = edit.archived.unwrap_or(found.archived);
        found.clone()
    };
    Ok(Json(json_of(&github, &edited)).into_response())
}

async fn delete_repository(
    State(github): State<GitHub>,
    Path(name): Path<Name>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    let found = writable(&github, &caller, &name)?;
    if !caller.has("delete_repo") {
        return Err(Refusal::new(403, "Must have admin rights to Repository."));
    }
    github.world.state().github.repositories.remove(&found.id);
    // What cannot be removed is left to the temporary directory's end.
    drop(std::fs::remove_dir_all(
        github.world.git_dir("github", found.id),
    ));
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
struct Topics {
    names: Vec<String>,
}

async fn set_topics(
    State(github): State<GitHub>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(new): Json<Topics>,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    let found = writable(&github, &caller, &name)?;
    let fits = |topic: &String| {
        topic.len() <= 50
            && topic
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !new.names.iter().all(fits) {
        return Err(Refusal::new(422, "Validation Failed"));
    }
    if let Some(found) = github.world.state().github.repositories.get_mut(&found.id) {
        found.topics.clone_from(&new.names);
    }
    Ok(Json(json!({"names": new.names})).into_response())
}

async fn matching_refs(
    State(github): State<GitHub>,
    Path((owner, name, what)): Path<(String, String, String)>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    let found = visible(&github, &caller, &(owner, name))?;
    let refs = crate::git::refs(&github.world.git_dir("github", found.id));
    if refs.is_empty() {
        return Err(Refusal::new(409, "Git Repository is empty."));
    }
    let prefix = format!("refs/{what}");
    let refs = refs.iter().filter(|(name, _)| name.starts_with(&prefix));
    let refs = refs.map(|(name, id)| json!({"ref": name, "object": {"type": "commit", "sha": id}}));
    Ok(paged(
        &github,
        &format!("/repos/{}/git/matching-refs/{what}", found.full_name()),
        &page,
        refs.collect(),
    ))
}

async fn issues(
    State(github): State<GitHub>,
    Path(name): Path<Name>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&github.world, &headers)?;
    let found = visible(&github, &caller, &name)?;
    Ok(Json(
        found
            .issues
            .iter()
            .map(|issue| json!({"number": issue.number, "title": issue.title}))
            .collect::<Vec<_>>(),
    )
    .into_response())
}
