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
    let (repository, found) = operations::list_issues(&gitea.world, &caller, &owner, &name)?;
    Ok(paged(
        &page,
        found
            .iter()
            .map(|issue| operations::issue_json(&gitea.base, &repository, issue))
            .collect(),
    ))
}

#[derive(Deserialize)]
pub(super) struct NewIssue {
    title: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    labels: Option<Vec<u64>>,
}

pub(super) async fn open_issue(
    State(gitea): State<Gitea>,
    Path((owner, name)): Path<Name>,
    headers: HeaderMap,
    Json(new): Json<NewIssue>,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    let labels = new.labels.unwrap_or_default();
    let (repository, issue) = operations::create_issue(
        &gitea.world,
        &caller,
        &owner,
        &name,
        &new.title,
        &new.body,
        &labels,
    )?;
    let body = operations::issue_json(&gitea.base, &repository, &issue);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(super) type IssueName = (String, String, u64);

pub(super) async fn read_issue(
    State(gitea): State<Gitea>,
    Path((owner, name, number)): Path<IssueName>,
    headers: HeaderMap,
) -> Answer {
    let caller = authenticate(&gitea.world, &headers)?;
    let (repository, found) = operations::list_issues(&gitea.world, &caller, &owner, &name)?;
    let issue = found
        .iter()
        .find(|issue| issue.number == number)
        .ok_or_else(Refusal::not_found)?;
    Ok(Json(operations::issue_json(&gitea.base, &repository, issue)).into_response())
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
    let issue = issue.clone();
    let body = operations::issue_json(&gitea.base, repository, &issue);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(super) async fn labels(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Answer {
    let (_, repository) = super::seen(&gitea, &headers, "read:issue", &name)?;
    let labels = repository.labels.iter();
    Ok(paged(
        &page,
        labels
            .map(|(id, name)| operations::label_json(*id, name))
            .collect(),
    ))
}

#[derive(Deserialize)]
pub(super) struct NewLabel {
    name: String,
}

pub(super) async fn create_label(
    State(gitea): State<Gitea>,
    Path(name): Path<Name>,
    headers: HeaderMap,
    Json(new): Json<NewLabel>,
) -> Answer {
    let (_, repository) = super::seen(&gitea, &headers, "write:issue", &name)?;
    let mut state = gitea.world.state();
    let found = state
        .gitea
        .repositories
        .get_mut(&repository.id)
        .ok_or_else(Refusal::not_found)?;
    // A second one of the same name is allowed.
    let id = found.labels.iter().map(|(id, _)| *id).max().unwrap_or(0) + 1;
    found.labels.push((id, new.name.clone()));
    Ok((
        StatusCode::CREATED,
        Json(operations::label_json(id, &new.name)),
    )
        .into_response())
}

pub(super) async fn delete_label(
    State(gitea): State<Gitea>,
    Path((owner, name, id)): Path<(String, String, u64)>,
    headers: HeaderMap,
) -> Answer {
    let (_, repository) = super::seen(&gitea, &headers, "write:issue", &(owner, name))?;
    let mut state = gitea.world.state();
    let found = state
        .gitea
        .repositories
        .get_mut(&repository.id)
        .ok_or_else(Refusal::not_found)?;
    let before = found.labels.len();
    found.labels.retain(|(known, _)| *known != id);
    if found.labels.len() == before {
        return Err(Refusal::not_found());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
pub(super) struct SetLabels {
    labels: Vec<u64>,
}

pub(super) async fn set_labels(
    State(gitea): State<Gitea>,
    Path((owner, name, number)): Path<IssueName>,
    headers: HeaderMap,
    Json(new): Json<SetLabels>,
) -> Answer {
    let (_, repository) = super::seen(&gitea, &headers, "write:issue", &(owner, name))?;
    let mut state = gitea.world.state();
    let found = state
        .gitea
        .repositories
        .get_mut(&repository.id)
        .ok_or_else(Refusal::not_found)?;
    let labels = operations::known_labels(found, &new.labels);
    let issue = found
        .issues
        .iter_mut()
        .find(|issue| issue.number == number)
        .ok_or_else(Refusal::not_found)?;
    issue.labels = labels;
    Ok(StatusCode::OK.into_response())
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
