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
        let files = BTreeMap::from([("README.md".to_owned(), format!("# {}\n", new.name))]);
        made = crate::git::commit(&dir, "main", &caller.user, "Initial commit", &files).await;
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
) -> Result<Issue, Refusal> {
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
    };
    repository.issues.push(issue.clone());
    Ok(issue)
}

pub(crate) fn list_issues(
    world: &World,
    caller: &Credential,
    owner: &str,
    name: &str,
) -> Result<Vec<Issue>, Refusal> {
    scope(caller, "read:issue")?;
    visible(world, &caller.user, owner, name)?;
    let state = world.state();
    let repository = state
        .gitea
        .find(owner, name)
        .ok_or_else(Refusal::not_found)?;
    Ok(repository.issues.iter().rev().cloned().collect())
}

pub(crate) fn issue_json(base: &str, full_name: &str, issue: &Issue) -> Value {
    json!({
        "id": issue.number,
        "number": issue.number,
        "title": issue.title,
        "body": issue.body,
        "state": issue.state,
        "user": {"login": issue.user},
        "html_url": format!("{base}/{full_name}/issues/{}", issue.number),
        "created_at": issue.created_at.to_string(),
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
