//! Issues.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::super::{Refusal, authenticate, operations, owns, scope, visible};
use super::{Answer, Gitea, Name, Page, paged};

pub(super) async fn issues(
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
pub(super) struct NewIssue {
    title: String,
    #[serde(default)]
    body: String,
}

pub(super) async fn open_issue(
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

pub(super) type IssueName = (String, String, u64);

pub(super) async fn read_issue(
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
pub(super) struct EditIssue {
    state: Option<String>,
}

pub(super) async fn edit_issue(
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

pub(super) async fn delete_issue(
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
