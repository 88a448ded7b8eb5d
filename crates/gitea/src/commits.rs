//! Branches and commits of files: what GitOps needs. REST only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forgeline_upstream::{Error, FullName, Kind, Reach};
use http::Method;
use serde_json::{Value, json};

use crate::client::{Gitea, read};
use crate::repositories::Commit;

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its path in the repository.
    pub path: String,
    /// Its text.
    pub text: String,
    /// The blob that it replaces. `None`: it is new.
    pub replaces: Option<String>,
}

/// One commit of files on a new branch.
#[derive(Clone, Debug)]
pub struct CommitFiles<'a> {
    /// The branch that the new one starts from.
    pub base: &'a str,
    /// The new branch; it must not exist.
    pub branch: &'a str,
    /// The commit's message.
    pub message: &'a str,
    /// What it changes.
    pub files: &'a [NewFile],
}

impl Gitea {
    /// Makes a branch with one commit of files, in one request: either both are there or neither is.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when the branch or a new file exists; [`Kind::NotFound`] when the repository or the base does
    /// not.
    pub async fn commit_files(
        &self,
        name: &FullName,
        commit: &CommitFiles<'_>,
    ) -> Result<String, Error> {
        let operation = format!("commit to branch {} of repository {name}", commit.branch);
        let files: Vec<Value> = commit.files.iter().map(change).collect();
        let body = json!({
            "branch": commit.base, "new_branch": commit.branch, "message": commit.message, "files": files,
        });
        let path = format!("/repos/{name}/contents");
        let answer = self
            .write(&operation, Method::POST, &path, Some(body))
            .await
            .map_err(taken)?;
        let sha = answer["commit"]["sha"].as_str().map(str::to_owned);
        sha.ok_or_else(|| {
            let message = "the answer names no commit";
            Error::new(
                "gitea",
                &operation,
                Kind::Unexpected,
                Reach::Unknown,
                message,
            )
        })
    }

    /// The commit at a branch's head. `None`: no such branch.
    ///
    /// # Errors
    /// As every read.
    pub async fn branch_head(
        &self,
        name: &FullName,
        branch: &str,
    ) -> Result<Option<String>, Error> {
        let operation = format!("read branch {branch} of repository {name}");
        let found = self
            .get_if_there(&operation, &format!("/repos/{name}/branches/{branch}"))
            .await?;
        Ok(found.and_then(|found| found["commit"]["id"].as_str().map(str::to_owned)))
    }

    /// A commit with its message. `None`: no such commit.
    ///
    /// # Errors
    /// As every read.
    pub async fn commit(&self, name: &FullName, sha: &str) -> Result<Option<Commit>, Error> {
        let operation = format!("read commit {sha} of repository {name}");
        let path =
            format!("/repos/{name}/git/commits/{sha}?stat=false&files=false&verification=false");
        let found = self.get_if_there(&operation, &path).await?;
        found
            .map(|found| read("gitea", &operation, found))
            .transpose()
    }

    /// A file of a branch: its blob and its text. `None`: no such file.
    ///
    /// # Errors
    /// As every read.
    pub async fn file(
        &self,
        name: &FullName,
        branch: &str,
        path: &str,
    ) -> Result<Option<(String, String)>, Error> {
        let operation = format!("read {path} on branch {branch} of repository {name}");
        let found = self
            .get_if_there(
                &operation,
                &format!("/repos/{name}/contents/{path}?ref={branch}"),
            )
            .await?;
        let Some(found) = found else { return Ok(None) };
        let decode = |text: &str| {
            let plain: String = text.split_whitespace().collect();
            String::from_utf8(STANDARD.decode(plain).ok()?).ok()
        };
        let text = found["content"].as_str().and_then(decode);
        let blob = found["sha"].as_str().map(str::to_owned);
        match (blob, text) {
            (Some(blob), Some(text)) => Ok(Some((blob, text))),
            _ => {
                let message = "the answer is no file with a text";
                Err(Error::new(
                    "gitea",
                    &operation,
                    Kind::Unexpected,
                    Reach::Refused,
                    message,
                ))
            }
        }
    }

    /// Deletes a branch. One that is not there is [`Kind::NotFound`].
    ///
    /// # Errors
    /// As every write.
    pub async fn delete_branch(&self, name: &FullName, branch: &str) -> Result<(), Error> {
        let operation = format!("delete branch {branch} of repository {name}");
        self.write(
            &operation,
            Method::DELETE,
            &format!("/repos/{name}/branches/{branch}"),
            None,
        )
        .await
        .map(drop)
    }
}

fn change(file: &NewFile) -> Value {
    let content = STANDARD.encode(&file.text);
    match &file.replaces {
        None => json!({"operation": "create", "path": file.path, "content": content}),
        Some(sha) => {
            json!({"operation": "update", "path": file.path, "content": content, "sha": sha})
        }
    }
}

/// Gitea answers 422 for a branch or a file that exists.
fn taken(error: Error) -> Error {
    let exists = error
        .message
        .to_ascii_lowercase()
        .contains("already exists");
    if error.status == Some(422) && exists {
        return Error {
            kind: Kind::Conflict,
            ..error
        };
    }
    error
}
