//! Repositories and their refs.

use std::collections::BTreeMap;

use forgeline_upstream::{Error, FullName, Kind, Reach};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::GitHub;

/// A repository as GitHub answers it; only what we use. Deserialised leniently: fields come and go with API versions.
#[derive(Clone, Debug, Deserialize)]
pub struct Repository {
    /// Never used again, unlike the name.
    pub id: u64,
    /// `owner/name` as GitHub writes it.
    pub full_name: String,
    /// `None` is the same as empty.
    #[serde(default)]
    pub description: Option<String>,
    /// Only members see it.
    #[serde(default)]
    pub private: bool,
    /// Read-only.
    #[serde(default)]
    pub archived: bool,
    /// `main` before the first push.
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
    /// When something last happened in it. `None`: the server does not say.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    /// When somebody last pushed to it; of an empty repository when it was made.
    #[serde(default)]
    pub pushed_at: Option<Timestamp>,
    /// How many people starred it.
    #[serde(default)]
    pub stargazers_count: u64,
    /// Open issues and pull requests.
    #[serde(default)]
    pub open_issues_count: u64,
}

/// A repository to create: empty, so that the first pushed branch becomes its default, and without a wiki.
#[derive(Clone, Debug)]
pub struct NewRepository {
    /// Its full name.
    pub full_name: FullName,
    /// The owner is an organisation, not the user behind the token.
    pub in_organisation: bool,
    /// Part of the creation itself, so that a claim in it cannot be lost. At most 350 characters.
    pub description: String,
    /// Only members see it.
    pub private: bool,
}

/// Branches and tags by full ref name (`refs/heads/main`) to object id.
pub type Refs = BTreeMap<String, String>;

impl GitHub {
    /// The login of the user behind the token.
    ///
    /// # Errors
    /// As every read.
    pub async fn login(&self) -> Result<String, Error> {
        let reply = self
            .send("tell who we are", Method::GET, "/user", None)
            .await?;
        Ok(reply.body["login"].as_str().unwrap_or_default().to_owned())
    }

    /// The repository of this name. `None`: nothing there that this token sees (GitHub hides what is private).
    ///
    /// # Errors
    /// A redirect (the name is an alias of a renamed repository) is an error, as is everything but 200 and 404.
    pub async fn repository(&self, name: &FullName) -> Result<Option<Repository>, Error> {
        let operation = format!("read repository {name}");
        match self
            .send(&operation, Method::GET, &format!("/repos/{name}"), None)
            .await
        {
            Ok(reply) => read(&operation, reply.body).map(Some),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All repositories of an owner that this token sees: of the user behind it, else of an organisation, else the public
    /// ones of another user.
    ///
    /// # Errors
    /// As every read.
    pub async fn repositories_of(&self, owner: &str) -> Result<Vec<Repository>, Error> {
        let operation = format!("list the repositories of {owner}");
        if self.login().await?.eq_ignore_ascii_case(owner) {
            let mut own = self
                .pages(&operation, "/user/repos?affiliation=owner")
                .await?;
            own.retain(|found| is_of(found, owner));
            return Ok(own);
        }
        match self
            .pages(&operation, &format!("/orgs/{owner}/repos?type=all"))
            .await
        {
            Err(error) if error.kind == Kind::NotFound => {
                self.pages(&operation, &format!("/users/{owner}/repos?type=owner"))
                    .await
            }
            listed => listed,
        }
    }

    async fn pages(&self, operation: &str, path: &str) -> Result<Vec<Repository>, Error> {
        let mut all = Vec::new();
        for page in 1.. {
            let path = format!("{path}&per_page=100&page={page}");
            let reply = self.send(operation, Method::GET, &path, None).await?;
            let listed: Vec<Repository> = read(operation, reply.body)?;
            all.extend(listed);
            if !has_next(&reply.headers) {
                break;
            }
        }
        Ok(all)
    }

    /// Creates an empty repository; the reply carries id and name, which proves it.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the name is taken.
    pub async fn create_repository(&self, new: &NewRepository) -> Result<Repository, Error> {
        let name = &new.full_name;
        let operation = format!("create repository {name}");
        let path = if new.in_organisation {
            format!("/orgs/{}/repos", name.owner())
        } else {
            "/user/repos".to_owned()
        };
        let body = json!({
            "name": name.name(),
            "description": new.description,
            "private": new.private,
            "auto_init": false,
            "has_wiki": false,
        });
        let reply = self
            .send(&operation, Method::POST, &path, Some(&body))
            .await?;
        let made: Repository = read(&operation, reply.body)?;
        if made.full_name.eq_ignore_ascii_case(&name.to_string()) {
            return Ok(made);
        }
        // GitHub rewrites names that it does not like, and the user behind the token may not be the owner.
        let message = format!("GitHub created {} instead; delete that one", made.full_name);
        Err(Error::new(
            "github",
            operation,
            Kind::Unexpected,
            Reach::Unknown,
            &message,
        ))
    }

    /// Changes the description.
    ///
    /// # Errors
    /// As every write; a redirect is an error.
    pub async fn set_description(&self, name: &FullName, description: &str) -> Result<(), Error> {
        self.patch(name, "describe", json!({"description": description}))
            .await
    }

    /// Makes the repository read-only, or writable again.
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

    /// Sets the default branch, which must exist.
    ///
    /// # Errors
    /// As every write.
    pub async fn set_default_branch(&self, name: &FullName, branch: &str) -> Result<(), Error> {
        self.patch(
            name,
            "set the default branch of",
            json!({"default_branch": branch}),
        )
        .await
    }

    async fn patch(&self, name: &FullName, verb: &str, body: Value) -> Result<(), Error> {
        let operation = format!("{verb} repository {name}");
        self.send(
            &operation,
            Method::PATCH,
            &format!("/repos/{name}"),
            Some(&body),
        )
        .await
        .map(drop)
    }

    /// Replaces the topics.
    ///
    /// # Errors
    /// As every write.
    pub async fn set_topics(&self, name: &FullName, topics: &[String]) -> Result<(), Error> {
        let operation = format!("set the topics of repository {name}");
        let body = json!({"names": topics});
        self.send(
            &operation,
            Method::PUT,
            &format!("/repos/{name}/topics"),
            Some(&body),
        )
        .await
        .map(drop)
    }

    /// Deletes the repository.
    ///
    /// # Errors
    /// [`Kind::Denied`] when a classic token lacks `delete_repo`; [`Kind::NotFound`] when it is not there; a redirect is
    /// an error, so that a renamed repository is never deleted by its old name.
    pub async fn delete_repository(&self, name: &FullName) -> Result<(), Error> {
        let operation = format!("delete repository {name}");
        self.send(&operation, Method::DELETE, &format!("/repos/{name}"), None)
            .await
            .map(drop)
    }

    /// All branches and tags.
    ///
    /// # Errors
    /// As every read. An empty repository has no refs, which is no error.
    pub async fn refs(&self, name: &FullName) -> Result<Refs, Error> {
        let (heads, tags) = tokio::join!(
            self.matching_refs(name, "heads"),
            self.matching_refs(name, "tags")
        );
        let mut refs = heads?;
        refs.extend(tags?);
        Ok(refs)
    }

    async fn matching_refs(&self, name: &FullName, what: &str) -> Result<Refs, Error> {
        let operation = format!("list the {what} of repository {name}");
        let mut refs = Refs::new();
        for page in 1.. {
            let path = format!("/repos/{name}/git/matching-refs/{what}?per_page=100&page={page}");
            let reply = match self.send(&operation, Method::GET, &path, None).await {
                Ok(reply) => reply,
                // An empty repository: 409 `Git Repository is empty.`
                Err(error) if error.status == Some(409) => break,
                Err(error) => return Err(error),
            };
            let listed: Vec<Ref> = read(&operation, reply.body)?;
            refs.extend(
                listed
                    .into_iter()
                    .map(|found| (found.name, found.object.sha)),
            );
            if !has_next(&reply.headers) {
                break;
            }
        }
        Ok(refs)
    }

    /// Whether anybody opened an issue or pull request here.
    ///
    /// # Errors
    /// As every read.
    pub async fn has_issues(&self, name: &FullName) -> Result<bool, Error> {
        let operation = format!("list the issues of repository {name}");
        let reply = self
            .send(
                &operation,
                Method::GET,
                &format!("/repos/{name}/issues?state=all&per_page=1"),
                None,
            )
            .await?;
        Ok(reply
            .body
            .as_array()
            .is_some_and(|issues| !issues.is_empty()))
    }
}

fn has_next(headers: &http::HeaderMap) -> bool {
    let link = headers.get("link").and_then(|link| link.to_str().ok());
    link.is_some_and(|link| link.contains("rel=\"next\""))
}

fn is_of(repository: &Repository, owner: &str) -> bool {
    let found = repository.full_name.split_once('/');
    found.is_some_and(|(of, _)| of.eq_ignore_ascii_case(owner))
}

#[derive(Deserialize)]
struct Ref {
    #[serde(rename = "ref")]
    name: String,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    sha: String,
}

fn read<T: serde::de::DeserializeOwned>(operation: &str, body: Value) -> Result<T, Error> {
    serde_json::from_value(body).map_err(|error| {
        let message = format!("the answer has an unknown form: {error}");
        Error::new(
            "github",
            operation,
            Kind::Unexpected,
            Reach::Unknown,
            &message,
        )
    })
}
