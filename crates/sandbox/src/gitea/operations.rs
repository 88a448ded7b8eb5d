//! What both doors to Gitea do: its REST API and gitea-mcp.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Refusal, may_create_in, owns, scope, visible};
use crate::world::{Credential, Issue, Repository, World, now};

/// A repository to create.
pub(crate) struct Creation<'a> {
    pub(crate) owner: &'a str,
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) private: bool,
    pub(crate) auto_init: bool,
    /// Empty: `main`.
    pub(crate) default_branch: &'a str,
    /// Empty: none.
    pub(crate) license: &'a str,
    /// Comma-separated; empty: none.
    pub(crate) gitignores: &'a str,
}

pub(crate) async fn create_repository(
    world: &World,
    caller: &Credential,
    new: &Creation<'_>,
) -> Result<Repository, Refusal> {
    let own = caller.user.eq_ignore_ascii_case(new.owner);
    scope(caller, "write:repository")?;
    scope(
        caller,
        if own {
            "write:user"
        } else {
            "write:organization"
        },
    )?;
    if !own
        && !world
            .state()
            .organisations
            .iter()
            .any(|known| known == new.owner)
    {
        return Err(Refusal::new(
            422,
            format!("organization `{}` does not exist", new.owner),
        ));
    }
    if !may_create_in(&caller.user, new.owner) {
        return Err(Refusal::new(
            403,
            "Given user is not allowed to create repository in organization.",
        ));
    }
    if !is_name(new.name) {
        return Err(Refusal::new(422, "[Name]: AlphaDashDot"));
    }
    let id = world.state().gitea.add(
        new.owner,
        new.name,
        new.description,
        new.private,
        &caller.user,
    );
    let id =
        id.ok_or_else(|| Refusal::new(409, "The repository with the same name already exists."))?;
    let dir = world.git_dir("gitea", id);
    let mut made = crate::git::init(world.root(), &dir).await;
    if new.auto_init && made.is_ok() {
        made = first_commit(&dir, caller, new).await;
    }
    if let Err(why) = made {
        world.state().gitea.repositories.remove(&id);
        return Err(Refusal::new(500, why));
    }
    let state = world.state();
    state
        .gitea
        .repositories
        .get(&id)
        .cloned()
        .ok_or_else(Refusal::not_found)
}

async fn first_commit(
    dir: &std::path::Path,
    caller: &Credential,
    new: &Creation<'_>,
) -> Result<(), String> {
    let mut files = BTreeMap::from([("README.md".to_owned(), format!("# {}\n", new.name))]);
    if !new.license.is_empty() {
        files.insert("LICENSE".to_owned(), format!("{} licence\n", new.license));
    }
    if !new.gitignores.is_empty() {
        files.insert(".gitignore".to_owned(), format!("# {}\n", new.gitignores));
    }
    let branch = branch(new);
    crate::git::commit(dir, branch, &caller.user, "Initial commit", &files).await?;
    crate::git::set_head(dir, branch).map_err(|error| error.to_string())
}

fn branch<'a>(new: &Creation<'a>) -> &'a str {
    if new.default_branch.is_empty() {
        "main"
    } else {
        new.default_branch
    }
}

/// Creates a repository with a template's files in one new commit.
pub(crate) async fn generate_repository(
    world: &World,
    caller: &Credential,
    template: &Repository,
    new: &Creation<'_>,
) -> Result<Repository, Refusal> {
    let made = create_repository(world, caller, new).await?;
    let (from, dir) = (
        world.git_dir("gitea", template.id),
        world.git_dir("gitea", made.id),
    );
    let source = crate::git::head(&from);
    let filled = crate::git::generate(&from, &source, &dir, branch(new), &caller.user).await;
    let mut state = world.state();
    if let Err(why) = filled {
        state.gitea.repositories.remove(&made.id);
        return Err(Refusal::new(500, why));
    }
    let found = state
        .gitea
        .repositories
        .get_mut(&made.id)
        .ok_or_else(Refusal::not_found)?;
    found.unlisted = true;
    Ok(found.clone())
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=100).contains(&name.len())
        && name.bytes().all(plain)
        && !name.contains("..")
        && !name.ends_with(".git")
}

pub(crate) fn create_issue(
    world: &World,
    caller: &Credential,
    owner: &str,
    name: &str,
    title: &str,
    body: &str,
    labels: &[u64],
) -> Result<(Repository, Issue), Refusal> {
    scope(caller, "write:issue")?;
    let repository = visible(world, &caller.user, owner, name)?;
    if repository.archived {
        return Err(Refusal::new(
            423,
            format!("{} is archived", repository.full_name()),
        ));
    }
    if title.is_empty() {
        return Err(Refusal::new(422, "[Title]: Required"));
    }
    let mut state = world.state();
    let repository = state
        .gitea
        .find_mut(owner, name)
        .ok_or_else(Refusal::not_found)?;
    let issue = Issue {
        number: repository.next_issue(),
        title: title.chars().take(255).collect(),
        body: body.to_owned(),
        state: "open".into(),
        user: caller.user.clone(),
        created_at: now(),
        labels: known_labels(repository, labels),
    };
    repository.issues.push(issue.clone());
    Ok((repository.clone(), issue))
}

/// Ids that the repository does not have are dropped without a word.
pub(crate) fn known_labels(repository: &Repository, labels: &[u64]) -> Vec<u64> {
    let known = |id: &&u64| repository.labels.iter().any(|(known, _)| known == *id);
    labels.iter().filter(known).copied().collect()
}

pub(crate) fn label_json(id: u64, name: &str) -> Value {
    json!({"id": id, "name": name, "color": "4f46e5", "description": "", "exclusive": false, "is_archived": false})
}

pub(crate) fn list_issues(
    world: &World,
    caller: &Credential,
    owner: &str,
    name: &str,
) -> Result<(Repository, Vec<Issue>), Refusal> {
    scope(caller, "read:issue")?;
    visible(world, &caller.user, owner, name)?;
    let state = world.state();
    let repository = state
        .gitea
        .find(owner, name)
        .ok_or_else(Refusal::not_found)?;
    let issues = repository.issues.iter().rev().cloned().collect();
    Ok((repository.clone(), issues))
}

pub(crate) fn issue_json(base: &str, repository: &Repository, issue: &Issue) -> Value {
    let full_name = repository.full_name();
    let labels: Vec<Value> = repository
        .labels
        .iter()
        .filter(|(id, _)| issue.labels.contains(id))
        .map(|(id, name)| label_json(*id, name))
        .collect();
    json!({
        "labels": labels,
        "repository": {"id": repository.id, "name": repository.name, "owner": repository.owner, "full_name": full_name},
        "id": issue.number,
        "number": issue.number,
        "title": issue.title,
        "body": issue.body,
        "state": issue.state,
        "user": {"login": issue.user},
        "html_url": format!("{base}/{full_name}/issues/{}", issue.number),
        "created_at": format!("{:.0}", issue.created_at),
    })
}

/// Deletes a repository; this asks for owner level, which is more than creating does.
pub(crate) fn delete_repository(
    world: &World,
    caller: &Credential,
    owner: &str,
    name: &str,
) -> Result<(), Refusal> {
    scope(caller, "write:repository")?;
    let repository = visible(world, &caller.user, owner, name)?;
    if !owns(&caller.user, &repository) {
        return Err(Refusal::new(403, "user should be the owner of the repo"));
    }
    world.state().gitea.repositories.remove(&repository.id);
    let dir = world.git_dir("gitea", repository.id);
    // What cannot be removed is left to the temporary directory's end.
    drop(std::fs::remove_dir_all(dir));
    Ok(())
}
