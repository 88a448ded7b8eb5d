//! Branches, commits and files.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Refusal, owns};
use super::{Answer, Gitea, Name, Page, paged, seen, writable};
use crate::world::Repository;

type InBranch = (String, String, String);

/// Branches are known only once they were listed, after a repository was generated (Gitea 1.24 and later).
fn known(gitea: &Gitea, repository: &Repository) -> BTreeMap<String, String> {
    if repository.unlisted && gitea.world.profile.branches_in_table() {
        return BTreeMap::new();
    }
    crate::git::refs(&gitea.world.git_dir("gitea", repository.id))
}

pub(super) async fn branches(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &name)?;
    let refs = crate::git::refs(&gitea.world.git_dir("gitea", repository.id));
    // Listing fills the table.
    if let Some(found) = gitea
        .world
        .state()
        .gitea
        .repositories
        .get_mut(&repository.id)
    {
        found.unlisted = false;
    }
    let branches = refs.iter().filter_map(|(name, id)| {
        Some(json!({"name": name.strip_prefix("refs/heads/")?, "commit": {"id": id}}))
    });
    Ok(paged(&page, branches.collect()))
}

pub(super) async fn refs(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
) -> Answer {
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
pub(super) struct Commits {
    sha: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn commits(
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
    let told = found.iter().map(|commit| commit_json(&gitea.world, commit));
    Ok(Json(told.collect::<Vec<_>>()).into_response())
}

pub(super) async fn compare(
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

fn commit_json(world: &crate::world::World, commit: &crate::git::Commit) -> Value {
    let parents: Vec<Value> = commit.parents.iter().map(|id| json!({"sha": id})).collect();
    let created = jiff::Timestamp::from_second(commit.at).unwrap_or_default();
    json!({"sha": commit.id, "created": world.told(created), "parents": parents, "commit": {"message": commit.message}})
}

pub(super) async fn one_commit(
    State(gitea): State<Gitea>,
    Path((owner, name, sha)): Path<InBranch>,
    headers: HeaderMap,
) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &(owner, name))?;
    let dir = gitea.world.git_dir("gitea", repository.id);
    let found = crate::git::commits(&dir, &sha, 1).await.unwrap_or_default();
    let found = found.first().ok_or_else(Refusal::not_found)?;
    Ok(Json(commit_json(&gitea.world, found)).into_response())
}

pub(super) async fn branch(
    State(gitea): State<Gitea>,
    Path((owner, name, branch)): Path<InBranch>,
    headers: HeaderMap,
) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &(owner, name))?;
    let refs = known(&gitea, &repository);
    let id = refs
        .get(&format!("refs/heads/{branch}"))
        .ok_or_else(Refusal::not_found)?;
    Ok(Json(json!({"name": branch, "commit": {"id": id}})).into_response())
}

#[derive(Deserialize)]
pub(super) struct NewBranch {
    new_branch_name: String,
}

/// A branch at the default branch's head.
pub(super) async fn create_branch(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(new): Json<NewBranch>,
) -> Answer {
    let (caller, repository) = seen(&gitea, &headers, "write:repository", &name)?;
    may_push(&caller.user, &repository)?;
    let dir = gitea.world.git_dir("gitea", repository.id);
    let target = &new.new_branch_name;
    if known(&gitea, &repository).contains_key(&format!("refs/heads/{target}")) {
        return Err(Refusal::new(409, "The branch already exists."));
    }
    crate::git::branch(&dir, target)
        .await
        .map_err(|_| Refusal::new(404, "Git Repository is empty."))?;
    Ok((StatusCode::CREATED, Json(json!({"name": target}))).into_response())
}

pub(super) async fn delete_branch(
    State(gitea): State<Gitea>,
    Path((owner, name, branch)): Path<InBranch>,
    headers: HeaderMap,
) -> Answer {
    let (caller, repository) = seen(&gitea, &headers, "write:repository", &(owner, name))?;
    may_push(&caller.user, &repository)?;
    let dir = gitea.world.git_dir("gitea", repository.id);
    if !known(&gitea, &repository).contains_key(&format!("refs/heads/{branch}")) {
        return Err(Refusal::not_found());
    }
    if crate::git::head(&dir) == branch {
        return Err(Refusal::new(403, "can not delete default branch"));
    }
    crate::git::delete_branch(&dir, &branch)
        .await
        .map_err(|why| Refusal::new(500, why))?;
    if let Some(found) = gitea
        .world
        .state()
        .gitea
        .repositories
        .get_mut(&repository.id)
    {
        // Its pull requests close with it.
        let of_branch = found.pulls.iter_mut().filter(|pull| pull.branch == branch);
        of_branch.for_each(|pull| pull.open = false);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The open pull requests.
pub(super) async fn pulls(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Query(page): Query<super::Page>,
) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &name)?;
    let open = repository.pulls.iter().filter(|pull| pull.open);
    let open = open.map(|pull| {
        json!({
            "number": pull.number, "title": pull.title, "state": "open", "user": {"login": "someone"},
            "head": {"ref": pull.branch}, "comments": 0,
            "html_url": format!("{}/{}/pulls/{}", gitea.base, repository.full_name(), pull.number),
        })
    });
    Ok(super::paged(&page, open.collect()))
}

fn may_push(user: &str, repository: &Repository) -> Result<(), Refusal> {
    if !owns(user, repository) {
        return Err(Refusal::new(
            403,
            "user should have a permission to write to the target branch",
        ));
    }
    writable(repository)
}

#[derive(Deserialize)]
pub(super) struct ChangeFiles {
    branch: String,
    #[serde(default)]
    new_branch: String,
    message: String,
    files: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    operation: String,
    path: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    sha: String,
}

/// Many files in one commit; `create`, `update` and `delete` are what every version knows.
pub(super) async fn commit_files(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(new): Json<ChangeFiles>,
) -> Answer {
    let (caller, repository) = seen(&gitea, &headers, "write:repository", &name)?;
    may_push(&caller.user, &repository)?;
    let dir = gitea.world.git_dir("gitea", repository.id);
    let there = known(&gitea, &repository);
    if !there.contains_key(&format!("refs/heads/{}", new.branch)) {
        return Err(Refusal::new(
            404,
            format!("branch does not exist [name: {}]", new.branch),
        ));
    }
    let target = if new.new_branch.is_empty() {
        new.branch.clone()
    } else {
        new.new_branch.clone()
    };
    if target != new.branch && there.contains_key(&format!("refs/heads/{target}")) {
        return Err(Refusal::new(
            422,
            format!("branch already exists [name: {target}]"),
        ));
    }
    let mut files = BTreeMap::new();
    for change in &new.files {
        let old = crate::git::file(&dir, &new.branch, &change.path).await;
        match (change.operation.as_str(), old) {
            ("create", Some(_)) => {
                let message = format!("repository file already exists [path: {}]", change.path);
                return Err(Refusal::new(422, message));
            }
            ("create", None) => {}
            ("update", Some((blob, _))) if blob == change.sha => {}
            ("update", Some(_)) => return Err(Refusal::new(422, "sha does not match")),
            ("update", None) => return Err(Refusal::not_found()),
            (other, _) => {
                return Err(Refusal::new(
                    422,
                    format!("the sandbox knows no operation {other}"),
                ));
            }
        }
        let bytes = STANDARD
            .decode(&change.content)
            .map_err(|_| Refusal::new(422, "content is not base64"))?;
        files.insert(
            change.path.clone(),
            String::from_utf8_lossy(&bytes).into_owned(),
        );
    }
    crate::git::commit_from(
        &dir,
        &new.branch,
        &target,
        &caller.user,
        &new.message,
        &files,
    )
    .await
    .map_err(|why| Refusal::new(500, why))?;
    let refs = crate::git::refs(&dir);
    let sha = refs.get(&format!("refs/heads/{target}"));
    let made: Vec<Value> = files.keys().map(|path| json!({"path": path})).collect();
    Ok((
        StatusCode::CREATED,
        Json(json!({"commit": {"sha": sha, "message": new.message}, "files": made})),
    )
        .into_response())
}

#[derive(Deserialize)]
pub(super) struct At {
    #[serde(rename = "ref")]
    branch: Option<String>,
}

pub(super) async fn file(
    State(gitea): State<Gitea>,
    Path((owner, name, path)): Path<InBranch>,
    headers: HeaderMap,
    Query(at): Query<At>,
) -> Answer {
    let (_, repository) = seen(&gitea, &headers, "read:repository", &(owner, name))?;
    let dir = gitea.world.git_dir("gitea", repository.id);
    let branch = at.branch.unwrap_or_else(|| crate::git::head(&dir));
    let found = crate::git::file(&dir, &branch, &path).await;
    let (blob, text) = found.ok_or_else(Refusal::not_found)?;
    let body = json!({"type": "file", "path": path, "sha": blob, "encoding": "base64", "content": STANDARD.encode(text)});
    Ok(Json(body).into_response())
}
