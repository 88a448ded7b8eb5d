//! Repositories: create over gitea-mcp, everything else over REST.

use std::collections::BTreeMap;

use forgeline_upstream::{Error, FullName, Kind, Reach};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Gitea, read};
use crate::dialect::Operation;

/// A repository as Gitea answers it; only what we use.
#[derive(Clone, Debug, Deserialize)]
pub struct Repository {
    /// Never used again, unlike the name.
    pub id: u64,
    /// `owner/name` as Gitea writes it.
    pub full_name: String,
    /// May be empty.
    #[serde(default)]
    pub description: String,
    /// Only members see it.
    #[serde(default)]
    pub private: bool,
    /// Read-only.
    #[serde(default)]
    pub archived: bool,
    /// Nothing was ever pushed.
    #[serde(default)]
    pub empty: bool,
    /// For example `main`.
    #[serde(default)]
    pub default_branch: String,
    /// For people.
    #[serde(default)]
    pub html_url: String,
    /// For `git clone`.
    #[serde(default)]
    pub clone_url: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Lower case.
    #[serde(default)]
    pub topics: Vec<String>,
    /// New repositories can be generated from it.
    #[serde(default)]
    pub template: bool,
    /// When something last happened in it. `None`: the server does not say.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    /// How many people starred it.
    #[serde(default)]
    pub stars_count: u64,
    /// Releases, drafts included.
    #[serde(default)]
    pub release_counter: u64,
}

/// A pull request; only what we use.
#[derive(Clone, Debug, Deserialize)]
pub struct PullRequest {
    /// Its number among issues and pull requests.
    pub number: u64,
    /// For people.
    #[serde(default)]
    pub html_url: String,
    /// What is to be merged.
    pub head: PullHead,
    /// Comments in it.
    #[serde(default)]
    pub comments: u64,
}

/// The branch of a pull request.
#[derive(Clone, Debug, Deserialize)]
pub struct PullHead {
    /// The branch's name.
    #[serde(rename = "ref", default)]
    pub branch: String,
}

/// A repository to create, with an initial commit on `main`.
#[derive(Clone, Debug)]
pub struct NewRepository {
    /// Its full name; the owner is the user behind the token, or an organisation.
    pub full_name: FullName,
    /// Part of the creation itself, so that a claim in it cannot be lost.
    pub description: String,
    /// Only members see it.
    pub private: bool,
    /// What the first commit holds and which branch it is on.
    pub content: Content,
}

/// The first content of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The branch of the first commit.
    pub default_branch: String,
    /// Gitea's readme template. `None`: its default, which holds name and description.
    pub readme: Option<String>,
    /// A licence that Gitea knows, for example `MIT`. `None`: none.
    pub license: Option<String>,
    /// Names of gitignore templates that Gitea knows, comma-separated, for example `Rust`. `None`: none.
    pub gitignore: Option<String>,
}

/// Branches and tags by full ref name (`refs/heads/main`) to object id.
pub type Refs = BTreeMap<String, String>;

impl Gitea {
    /// The repository of this name. `None`: nothing there that this token sees.
    ///
    /// # Errors
    /// A redirect (the name is an alias of a renamed repository) is an error, as is everything but 200 and 404.
    pub async fn repository(&self, name: &FullName) -> Result<Option<Repository>, Error> {
        let operation = format!("read repository {name}");
        let body = self
            .get_if_there(&operation, &format!("/repos/{name}"))
            .await?;
        body.map(|body| read("gitea", &operation, body)).transpose()
    }

    /// All repositories of a user or an organisation that this token sees.
    ///
    /// # Errors
    /// As every read.
    pub async fn repositories_of(&self, owner: &str) -> Result<Vec<Repository>, Error> {
        let operation = format!("list the repositories of {owner}");
        let path = format!("/users/{owner}/repos");
        self.get_all_as(&operation, &path).await
    }

    /// The open pull requests of a repository: number, branch that is to be merged, who opened it.
    ///
    /// # Errors
    /// As every read.
    pub async fn open_pulls(&self, name: &FullName) -> Result<Vec<PullRequest>, Error> {
        let operation = format!("list the pull requests of repository {name}");
        let path = format!("/repos/{name}/pulls?state=open");
        self.get_all_as(&operation, &path).await
    }

    /// Creates a repository, over gitea-mcp where that has a tool, and proves it: by the reply, which carries id and
    /// name, else by reading it back over REST.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the name is taken.
    pub async fn create_repository(&self, new: &NewRepository) -> Result<Repository, Error> {
        let name = &new.full_name;
        let operation = format!("create repository {name}");
        // Who we are decides between a user's and an organisation's repository; nothing was asked to act yet.
        let user = self.user().await.map_err(unsent)?;
        let own = user.login.eq_ignore_ascii_case(name.owner());
        let what = if own {
            Operation::CreateOwnRepository
        } else {
            Operation::CreateOrganisationRepository
        };
        let values = json!({
            "owner": name.owner(),
            "name": name.name(),
            "description": new.description,
            "private": new.private,
            "default_branch": new.content.default_branch,
            "readme": new.content.readme,
            "license": new.content.license,
            "gitignore": new.content.gitignore,
        });
        let answer = match self.over_mcp(what, &operation, &values).await? {
            Some(answer) => answer,
            None => self.create_over_rest(&operation, own, values).await?,
        };
        let made = match serde_json::from_value::<Repository>(answer) {
            Ok(made) => Some(made),
            Err(_) => self.repository(name).await.map_err(unproved)?,
        };
        match made {
            Some(made) if made.full_name.eq_ignore_ascii_case(&name.to_string()) => Ok(made),
            Some(other) => Err(self.misplaced(&operation, new, &other).await),
            None => {
                let message =
                    "the server answered success, but no such repository is there over REST";
                Err(Error::new(
                    "gitea-mcp",
                    &operation,
                    Kind::Unexpected,
                    Reach::Unknown,
                    message,
                ))
            }
        }
    }

    async fn create_over_rest(
        &self,
        operation: &str,
        own: bool,
        values: Value,
    ) -> Result<Value, Error> {
        let path = if own {
            "/user/repos".to_owned()
        } else {
            format!(
                "/orgs/{}/repos",
                values["owner"].as_str().unwrap_or_default()
            )
        };
        let mut body = values;
        body["auto_init"] = json!(true);
        body["gitignores"] = body["gitignore"].take();
        self.write(operation, Method::POST, &path, Some(body)).await
    }

    /// Creates a repository from a template: its files in one new commit, without its topics, labels, hooks and issues.
    /// Answers when the branch is there: up to Gitea 1.25 a generated repository has no branches until they are listed.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the name is taken; [`Kind::NotFound`] when the template or the owner is not there.
    pub async fn generate_repository(
        &self,
        template: &FullName,
        new: &NewRepository,
    ) -> Result<Repository, Error> {
        let name = &new.full_name;
        let operation = format!("create repository {name} from the template {template}");
        let body = json!({
            "owner": name.owner(),
            "name": name.name(),
            "description": new.description,
            "private": new.private,
            "default_branch": new.content.default_branch,
            "git_content": true,
            "topics": false, "labels": false, "webhooks": false, "git_hooks": false, "avatar": false,
            "protected_branch": false,
        });
        let path = format!("/repos/{template}/generate");
        let answer = self
            .write(&operation, Method::POST, &path, Some(body))
            .await?;
        let made: Repository = read("gitea", &operation, answer)?;
        if !made.full_name.eq_ignore_ascii_case(&name.to_string()) {
            return Err(self.misplaced(&operation, new, &made).await);
        }
        self.settle_branches(name).await.map_err(unproved)?;
        let settled = self.repository(name).await.map_err(unproved)?;
        settled.ok_or_else(|| {
            let message = "it was created and is not there when it is read back";
            Error::new(
                "gitea",
                &operation,
                Kind::Unexpected,
                Reach::Unknown,
                message,
            )
        })
    }

    /// Lists the branches, which makes Gitea fill its table of them from git.
    ///
    /// # Errors
    /// As every read.
    pub async fn settle_branches(&self, name: &FullName) -> Result<Vec<String>, Error> {
        let operation = format!("list the branches of repository {name}");
        let listed = self
            .get_all(&operation, &format!("/repos/{name}/branches"))
            .await?;
        Ok(listed
            .iter()
            .filter_map(|branch| branch["name"].as_str().map(str::to_owned))
            .collect())
    }

    /// A server that does not know organisations created the repository for its own user: that one is removed again.
    async fn misplaced(&self, operation: &str, new: &NewRepository, other: &Repository) -> Error {
        let parts = other
            .full_name
            .split_once('/')
            .and_then(|(owner, name)| FullName::new(owner, name));
        let mut left = true;
        if let Some(name) = parts.filter(|_| other.description == new.description) {
            left = self.delete_repository(&name).await.is_err();
        }
        let fate = if left {
            "delete that one"
        } else {
            "it was removed again"
        };
        let message = format!("the server created {} instead; {fate}", other.full_name);
        let reach = if left { Reach::Unknown } else { Reach::Refused };
        Error::new("gitea-mcp", operation, Kind::Invalid, reach, &message)
    }

    /// Sets the description.
    ///
    /// # Errors
    /// As every write.
    pub async fn set_description(&self, name: &FullName, description: &str) -> Result<(), Error> {
        self.patch(name, "describe", json!({"description": description}))
            .await
    }

    /// Makes the repository read-only, or writable again. A read-only one still takes a deletion, nothing else.
    ///
    /// # Errors
    /// As every write.
    pub async fn set_archived(&self, name: &FullName, archived: bool) -> Result<(), Error> {
        let verb = if archived { "archive" } else { "un-archive" };
        self.patch(name, verb, json!({"archived": archived})).await
    }

    /// Makes the repository private or public.
    ///
    /// # Errors
    /// As every write.
    pub async fn set_private(&self, name: &FullName, private: bool) -> Result<(), Error> {
        self.patch(
            name,
            "change the visibility of",
            json!({"private": private}),
        )
        .await
    }

    async fn patch(&self, name: &FullName, verb: &str, body: Value) -> Result<(), Error> {
        let operation = format!("{verb} repository {name}");
        self.write(
            &operation,
            Method::PATCH,
            &format!("/repos/{name}"),
            Some(body),
        )
        .await
        .map(drop)
    }

    /// Replaces the topics: at most 25, each of at most 35 lower-case letters, digits, `-` and `.`.
    ///
    /// # Errors
    /// As every write.
    pub async fn set_topics(&self, name: &FullName, topics: &[String]) -> Result<(), Error> {
        let operation = format!("set the topics of repository {name}");
        let body = json!({"topics": topics});
        self.write(
            &operation,
            Method::PUT,
            &format!("/repos/{name}/topics"),
            Some(body),
        )
        .await
        .map(drop)
    }

    /// Deletes the repository. Its user must be at owner level, which is more than creating asks for.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is not there; [`Kind::Denied`] below owner level.
    pub async fn delete_repository(&self, name: &FullName) -> Result<(), Error> {
        let operation = format!("delete repository {name}");
        self.write(&operation, Method::DELETE, &format!("/repos/{name}"), None)
            .await
            .map(drop)
    }

    /// All branches and tags. Read from git itself, so a push shows at once.
    ///
    /// # Errors
    /// As every read. An empty repository has no refs, which is no error.
    pub async fn refs(&self, name: &FullName) -> Result<Refs, Error> {
        let operation = format!("list the refs of repository {name}");
        let body = match self
            .get(&operation, &format!("/repos/{name}/git/refs"))
            .await
        {
            Ok(body) => body,
            Err(error) if error.status == Some(409) => return Ok(Refs::new()),
            Err(error) => return Err(error),
        };
        let listed: Vec<Ref> = read("gitea", &operation, body)?;
        Ok(listed
            .into_iter()
            .filter(|found| {
                found.name.starts_with("refs/heads/") || found.name.starts_with("refs/tags/")
            })
            .map(|found| (found.name, found.object.sha))
            .collect())
    }

    /// Whether a commit is part of a branch's history. `false` too when Gitea does not have the commit.
    ///
    /// # Errors
    /// As every read.
    pub async fn has_in_history(
        &self,
        name: &FullName,
        branch: &str,
        commit: &str,
    ) -> Result<bool, Error> {
        let operation = format!("compare {commit} with {branch} in repository {name}");
        let found = self
            .get_if_there(
                &operation,
                &format!("/repos/{name}/compare/{branch}...{commit}"),
            )
            .await?;
        Ok(found.is_some_and(|found| found["total_commits"] == 0))
    }

    /// The newest commits of a branch, newest first, at most `limit`.
    ///
    /// # Errors
    /// As every read.
    pub async fn commits(
        &self,
        name: &FullName,
        branch: &str,
        limit: usize,
    ) -> Result<Vec<Commit>, Error> {
        let operation = format!("list the commits of repository {name}");
        let path = format!(
            "/repos/{name}/commits?sha={branch}&stat=false&files=false&verification=false&limit={limit}"
        );
        read("gitea", &operation, self.get(&operation, &path).await?)
    }
}

/// A commit as Gitea answers it; only what we use.
#[derive(Clone, Debug, Deserialize)]
pub struct Commit {
    /// The object id.
    pub sha: String,
    /// When it was made.
    pub created: Timestamp,
    /// Message and the like.
    #[serde(default)]
    commit: Message,
    /// The commits before it; none for the first one.
    #[serde(default)]
    parents: Vec<Object>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Message {
    #[serde(default)]
    message: String,
}

impl Commit {
    /// The value of a trailer of its message. `None`: it has none of this name.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        let lines = self.commit.message.lines().rev();
        let mut found = lines.filter_map(|line| line.split_once(": "));
        found
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// Whether it is the commit that was made together with the repository: without parents, within a minute of it.
    pub fn is_initial_of(&self, repository: &Repository) -> bool {
        let apart = self
            .created
            .duration_since(repository.created_at)
            .unsigned_abs();
        self.parents.is_empty() && apart < std::time::Duration::from_secs(60)
    }
}

#[derive(Deserialize)]
struct Ref {
    #[serde(rename = "ref")]
    name: String,
    object: Object,
}

#[derive(Clone, Debug, Deserialize)]
struct Object {
    sha: String,
}

/// Nothing was asked to act yet.
fn unsent(error: Error) -> Error {
    Error {
        reach: Reach::NotSent,
        ..error
    }
}

/// The write was answered, its proof was not: it may be there.
fn unproved(error: Error) -> Error {
    Error {
        reach: Reach::Unknown,
        kind: Kind::Unexpected,
        ..error
    }
}
