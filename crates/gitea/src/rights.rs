//! What another user may do, asked with our token: before our rights are used for that user.
//!
//! Seen with Gitea 1.22 to 1.25: `GET /users/{user}/orgs/{org}/permissions` and
//! `GET /repos/{owner}/{repo}/collaborators/{user}/permission`, which our user must be an administrator of the repository
//! for.

use forgeline_upstream::{Error, FullName};

use crate::client::Gitea;

/// What a user may do with a repository, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Nothing.
    None,
    /// Look.
    Read,
    /// Push.
    Write,
    /// Change its settings, delete it.
    Admin,
}

impl Gitea {
    /// Whether this user may make repositories for this owner, a user or an organisation.
    ///
    /// # Errors
    /// As every read; an answer of another form too.
    pub async fn user_may_create_in(&self, user: &str, owner: &str) -> Result<bool, Error> {
        self.has_in(user, owner, "can_create_repository").await
    }

    /// Whether everything of this owner is this user's: it is the owner, or an owner of the organisation.
    ///
    /// # Errors
    /// As every read.
    pub async fn user_owns(&self, user: &str, owner: &str) -> Result<bool, Error> {
        self.has_in(user, owner, "is_owner").await
    }

    /// An organisation may have the name of a user of the issuer, so it is asked about first.
    async fn has_in(&self, user: &str, owner: &str, right: &str) -> Result<bool, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if owner.is_empty() || !owner.bytes().all(plain) {
            return Ok(false);
        }
        let operation = format!("read the rights of {user} in organisation {owner}");
        let path = format!("/users/{user}/orgs/{owner}/permissions");
        Ok(match self.get_if_there(&operation, &path).await? {
            Some(rights) => rights["is_owner"] == true || rights[right] == true,
            None => user.eq_ignore_ascii_case(owner),
        })
    }

    /// What this user may do with a repository; nothing where either is not there.
    ///
    /// # Errors
    /// As every read.
    pub async fn user_permission(&self, user: &str, name: &FullName) -> Result<Permission, Error> {
        let operation = format!("read the rights of {user} on {name}");
        let path = format!("/repos/{name}/collaborators/{user}/permission");
        let found = self.get_if_there(&operation, &path).await?;
        let word = found
            .as_ref()
            .and_then(|rights| rights["permission"].as_str());
        Ok(match word {
            Some("owner" | "admin") => Permission::Admin,
            Some("write") => Permission::Write,
            Some("read") => Permission::Read,
            _ => Permission::None,
        })
    }
}
