//! The routes below `/api/v1`, and git.

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::operations::{self, Creation};
use super::{Refusal, authenticate, owns, repository_json, scope, visible};
use crate::world::{Credential, Mirror, Repository, Role, World, now};

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
        .route(
            "/api/v1/version",
            get(async || Json(json!({"version": "1.25.4"}))),
        )
        .route("/api/v1/user", get(user))
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
        .route("/api/v1/repos/{owner}/{name}/branches", get(branches))
        .route("/api/v1/repos/{owner}/{name}/git/refs", get(refs))
        .route("/api/v1/repos/{owner}/{name}/commits", get(commits))
        .route("/api/v1/repos/{owner}/{name}/compare/{range}", get(compare))
        .route(
            "/api/v1/repos/{owner}/{name}/issues",
            get(issues).post(open_issue),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/issues/{number}",
            patch(edit_issue).get(read_issue).delete(delete_issue),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/push_mirrors",
            get(mirrors).post(add_mirror),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/push_mirrors/{remote}",
            delete(remove_mirror),
        )
        .route(
            "/api/v1/repos/{owner}/{name}/push_mirrors-sync",
            post(sync_mirrors),
        )
        .fallback(git)
        .with_state(gitea)
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
    };
    let made = operations::create_repository(&gitea.world, caller, &creation).await?;
    Ok((
        StatusCode::CREATED,
        Json(repository_json(&gitea.world, &gitea.base, &made)),
    )
        .into_response())
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
    let kept: Vec<Repository> = gitea
        .world
        .state()
        .gitea
        .repositories
        .values()
        .filter(|one| keep(one))
        .cloned()
        .collect();
    paged(
        page,
        kept.iter()
            .map(|one| repository_json(&gitea.world, &gitea.base, one))
            .collect(),
    )
}

/// `limit` is silently capped at 50, as a default installation does.
#[derive(Deserialize)]
struct Page {
    page: Option<usize>,
    limit: Option<usize>,
}

fn paged(page: &Page, all: Vec<Value>) -> Response {
    let total = all.len();
    let limit = page.limit.unwrap_or(30).clamp(1, 50);
    let from = page.page.unwrap_or(1).saturating_sub(1) * limit;
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

async fn branches(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &name)?;
    let refs = crate::git::refs(&gitea.world.git_dir("gitea", repository.id));
    let branches = refs.iter().filter_map(|(name, id)| {
        Some(json!({"name": name.strip_prefix("refs/heads/")?, "commit": {"id": id}}))
    });
    Ok(paged(&page, branches.collect()))
}

async fn refs(State(gitea): State<Gitea>, Path(name): Path<Name>, headers: HeaderMap) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &name)?;
    let refs = crate::git::refs(&gitea.world.git_dir("gitea", repository.id));
    if refs.is_empty() {
        return Err(Refusal::new(409, "Git Repository is empty."));
    }
    let refs: Vec<Value> = refs
        .iter()
        .map(|(name, id)| json!({"ref": name, "object": {"type": "commit", "sha": id}}))
        .collect();
    Ok(Json(refs).into_response())
}

#[derive(Deserialize)]
struct Commits {
    sha: Option<String>,
    limit: Option<usize>,
}

async fn commits(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Query(query): Query<Commits>,
) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &name)?;
    let dir = gitea.world.git_dir("gitea", repository.id);
    let branch = query.sha.unwrap_or_else(|| crate::git::head(&dir));
    let found = crate::git::commits(&dir, &branch, query.limit.unwrap_or(30))
        .await
        .map_err(|_| Refusal::not_found())?;
    let view = |(id, at, parents): &crate::git::Commit| {
        let parents: Vec<Value> = parents.iter().map(|id| json!({"sha": id})).collect();
        let created = jiff::Timestamp::from_second(*at).unwrap_or_default();
        json!({"sha": id, "created": created.to_string(), "parents": parents})
    };
    Ok(Json(found.iter().map(view).collect::<Vec<_>>()).into_response())
}

async fn compare(
    State(gitea): State<Gitea>,
    Path((owner, name, range)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &(owner, name))?;
    let (base, head) = range.split_once("...").ok_or_else(Refusal::not_found)?;
    let dir = gitea.world.git_dir("gitea", repository.id);
    let only_in_head = crate::git::commits(&dir, &format!("{base}..{head}"), 1000)
        .await
        .map_err(|_| Refusal::not_found())?;
    Ok(Json(json!({"total_commits": only_in_head.len()})).into_response())
}

async fn issues(
    State(gitea): State<Gitea>,
    Path((owner, name)): Path<Name>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    let found = operations::list_issues(&gitea.world, &caller, &owner, &name)?;
    let full_name = format!("{owner}/{name}");
    Ok(paged(
        &page,
        found
            .iter()
            .map(|issue| operations::issue_json(&gitea.base, &full_name, issue))
            .collect(),
    ))
}

#[derive(Deserialize)]
struct NewIssue {
    title: String,
    #[serde(default)]
    body: String,
}

async fn open_issue(
    State(gitea): State<Gitea>,
    Path((owner, name)): Path<Name>,
    headers: HeaderMap,
    Json(new): Json<NewIssue>,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    let issue =
        operations::create_issue(&gitea.world, &caller, &owner, &name, &new.title, &new.body)?;
    let body = operations::issue_json(&gitea.base, &format!("{owner}/{name}"), &issue);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

type IssueName = (String, String, u64);

async fn read_issue(
    State(gitea): State<Gitea>,
    Path((owner, name, number)): Path<IssueName>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    let found = operations::list_issues(&gitea.world, &caller, &owner, &name)?;
    let issue = found
        .iter()
        .find(|issue| issue.number == number)
        .ok_or_else(Refusal::not_found)?;
    Ok(Json(operations::issue_json(
        &gitea.base,
        &format!("{owner}/{name}"),
        issue,
    ))
    .into_response())
}

#[derive(Deserialize)]
struct EditIssue {
    state: Option<String>,
}

async fn edit_issue(
    State(gitea): State<Gitea>,
    Path((owner, name, number)): Path<IssueName>,
    headers: HeaderMap,
    Json(edit): Json<EditIssue>,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    scope(&caller, "write:issue")?;
    visible(&gitea.world, &caller.user, &owner, &name)?;
    let mut state = gitea.world.state();
    let repository = state
        .gitea
        .find_mut(&owner, &name)
        .ok_or_else(Refusal::not_found)?;
    let issue = repository
        .issues
        .iter_mut()
        .find(|issue| issue.number == number)
        .ok_or_else(Refusal::not_found)?;
    issue.state = edit.state.unwrap_or_else(|| issue.state.clone());
    let body = operations::issue_json(&gitea.base, &format!("{owner}/{name}"), issue);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn delete_issue(
    State(gitea): State<Gitea>,
    Path((owner, name, number)): Path<IssueName>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    scope(&caller, "write:issue")?;
    let repository = visible(&gitea.world, &caller.user, &owner, &name)?;
    if !owns(&caller.user, &repository) {
        return Err(Refusal::new(
            403,
            "user should be an owner or a collaborator with admin write of a repository",
        ));
    }
    let mut state = gitea.world.state();
    let repository = state
        .gitea
        .find_mut(&owner, &name)
        .ok_or_else(Refusal::not_found)?;
    let before = repository.issues.len();
    repository.issues.retain(|issue| issue.number != number);
    if repository.issues.len() == before {
        Err(Refusal::not_found())
    } else {
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

fn mirror_json(mirror: &Mirror) -> Value {
    json!({
        "remote_name": mirror.remote_name,
        "remote_address": mirror.remote_address,
        "created": mirror.created.to_string(),
        "last_update": mirror.last_update.map(|at| at.to_string()),
        "last_error": mirror.last_error,
        "interval": mirror.interval,
        "sync_on_commit": mirror.sync_on_commit,
    })
}

async fn mirrors(
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
struct NewMirror {
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

async fn add_mirror(
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

async fn remove_mirror(
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
async fn sync_mirrors(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
) -> Answer {
    let (_, repository) = administered(&gitea, &headers, &name)?;
    writable(&repository)?;
    let dir = gitea.world.git_dir("gitea", repository.id);
    for mirror in &repository.mirrors {
        let address = with_credentials(mirror);
        let result = crate::git::push_mirror(&dir, &address).await;
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

/// Everything else: git over HTTP, with the token as the password of a basic login.
async fn git(State(gitea): State<Gitea>, request: Request) -> Response {
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
