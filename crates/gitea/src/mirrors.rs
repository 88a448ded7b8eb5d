//! Push mirrors: REST only; no gitea-mcp server that is written by hand has them all.

use forgeline_upstream::{Error, FullName, Token};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Gitea, read};

/// A push mirror as Gitea answers it; the password is never returned.
#[derive(Clone, Debug, Deserialize)]
pub struct PushMirror {
    /// Gitea's name for it within the repository, for example `remote_mirror_abcdefghij`.
    pub remote_name: String,
    /// Where it pushes to, without credentials.
    pub remote_address: String,
    /// When it was added.
    pub created: Timestamp,
    /// How often it pushes by itself, as a Go duration, for example `8h0m0s`. Empty when the server does not say.
    #[serde(default)]
    pub interval: String,
    /// When a sync last ended. `None`: never.
    #[serde(default)]
    pub last_update: Option<Timestamp>,
    /// What git said in the last sync that ended; empty proves nothing.
    #[serde(default)]
    pub last_error: String,
}

/// A push mirror to add.
#[derive(Debug)]
pub struct NewPushMirror<'a> {
    /// Where it pushes to.
    pub remote_address: &'a str,
    /// The user name beside the token.
    pub username: &'a str,
    /// What Gitea pushes with. Gitea keeps it in clear text in the repository's git configuration.
    pub token: &'a Token,
    /// How often it pushes by itself, as a Go duration. Gitea refuses less than its `MIN_INTERVAL` (10 minutes unless
    /// changed).
    pub interval: &'a str,
}

impl Gitea {
    /// All push mirrors of a repository, oldest first.
    ///
    /// # Errors
    /// As every read.
    pub async fn push_mirrors(&self, name: &FullName) -> Result<Vec<PushMirror>, Error> {
        let operation = format!("list the push mirrors of repository {name}");
        let listed = self
            .get_all(&operation, &format!("/repos/{name}/push_mirrors"))
            .await?;
        let mut mirrors: Vec<PushMirror> = listed
            .into_iter()
            .map(|item| read("gitea", &operation, item))
            .collect::<Result<_, _>>()?;
        mirrors.sort_by_key(|mirror| mirror.created);
        Ok(mirrors)
    }

    /// Adds a push mirror that follows each push and its interval. Adding is not unique: each call adds one.
    ///
    /// # Errors
    /// 401 here means that Gitea does not allow the address ([migrations] in its configuration), not a bad token.
    pub async fn add_push_mirror(
        &self,
        name: &FullName,
        new: &NewPushMirror<'_>,
    ) -> Result<PushMirror, Error> {
        let operation = format!("add a push mirror to repository {name}");
        let body = json!({
            "remote_address": new.remote_address,
            "remote_username": new.username,
            "remote_password": new.token.expose(),
            "interval": new.interval,
            "sync_on_commit": true,
        });
        let answer = self
            .write(
                &operation,
                Method::POST,
                &format!("/repos/{name}/push_mirrors"),
                Some(body),
            )
            .await;
        let answer = answer.map_err(|error| Error {
            message: new.token.redact(&error.message),
            ..error
        })?;
        read("gitea", &operation, answer)
    }

    /// Removes a push mirror. An unknown name is no error. The password stays in the repository's git configuration.
    ///
    /// # Errors
    /// As every write.
    pub async fn delete_push_mirror(
        &self,
        name: &FullName,
        remote_name: &str,
    ) -> Result<(), Error> {
        let operation = format!("remove push mirror {remote_name} from repository {name}");
        let path = format!("/repos/{name}/push_mirrors/{remote_name}");
        self.write(&operation, Method::DELETE, &path, None)
            .await
            .map(drop)
    }

    /// Pushes to all mirrors of the repository now, and answers when the pushes have ended. Success proves nothing:
    /// compare the refs.
    ///
    /// # Errors
    /// 500 when a push failed; what git said stands in the mirror's `last_error`.
    pub async fn sync_push_mirrors(&self, name: &FullName) -> Result<(), Error> {
        let operation = format!("sync the push mirrors of repository {name}");
        let path = format!("/repos/{name}/push_mirrors-sync");
        self.send_within(&operation, Method::POST, &path, None, self.deadlines.sync)
            .await
            .map(drop)
    }
}
