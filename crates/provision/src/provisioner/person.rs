//! The right of the person who asks: forgeline acts with a service's token, so what that person may not do in Gitea,
//! forgeline does not do for them. What cannot be asked is answered with no.

use forgeline_gitea::{Gitea, Permission};
use forgeline_upstream::{Error, FullName};

use super::{ProjectFacts, Provisioner};
use crate::view::ErrorView;

/// What a person wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Look at a project.
    Look(FullName),
    /// Change a project.
    Change(FullName),
    /// Remove a project.
    Remove(FullName),
    /// Make a repository for this owner.
    CreateIn(String),
    /// Do something with everything of this owner.
    Everything(String),
}

impl ProjectFacts {
    /// The wish to look at it.
    pub fn to_look(&self) -> Wish {
        self.repository()
            .map_or_else(|| self.to_create(), Wish::Look)
    }

    /// The wish to change it.
    pub fn to_change(&self) -> Wish {
        self.repository()
            .map_or_else(|| self.to_create(), Wish::Change)
    }

    /// The wish to remove it.
    pub fn to_remove(&self) -> Wish {
        self.repository()
            .map_or_else(|| self.to_create(), Wish::Remove)
    }

    /// The wish to make it. Without an owner nobody may.
    pub fn to_create(&self) -> Wish {
        Wish::CreateIn(self.gitea_owner.clone().unwrap_or_default())
    }
}

impl Provisioner {
    /// Whether this user in Gitea may do all of that.
    ///
    /// # Errors
    /// A part that the user may not do, or that could not be asked.
    pub async fn person_may(&self, user: Option<&str>, wishes: &[Wish]) -> Result<(), ErrorView> {
        let no = |why: String| {
            let remedy = "ask somebody who has that right in Gitea, or get it there";
            ErrorView::new("caller.not_permitted", why, remedy)
        };
        let Some(user) = user else {
            return Err(ErrorView::new(
                "caller.not_permitted",
                "the token does not say which user of Gitea you are",
                "let the issuer put it into the claim of FORGELINE_USER_CLAIM (preferred_username by default)",
            ));
        };
        let Some(remover) = &self.setup.remover else {
            return Err(no("Gitea cannot be asked what you may do".into()));
        };
        let gitea = &remover.upstreams.gitea;
        for wish in wishes {
            match granted(gitea, user, wish).await {
                Ok(true) => {}
                Ok(false) => return Err(no(format!("{user} may not {}", said(wish)))),
                Err(error) => {
                    tracing::warn!(%error, "a person's right could not be asked about; the answer is no");
                    let why = format!("Gitea does not say whether {user} may {}", said(wish));
                    return Err(no(why));
                }
            }
        }
        Ok(())
    }
}

async fn granted(gitea: &Gitea, user: &str, wish: &Wish) -> Result<bool, Error> {
    let has = async |name: &FullName, least: Permission| {
        Ok(gitea.user_permission(user, name).await? >= least)
    };
    match wish {
        Wish::CreateIn(owner) | Wish::Everything(owner) if owner.is_empty() => Ok(false),
        Wish::Look(name) => has(name, Permission::Read).await,
        Wish::Change(name) => has(name, Permission::Write).await,
        Wish::Remove(name) => has(name, Permission::Admin).await,
        Wish::CreateIn(owner) => gitea.user_may_create_in(user, owner).await,
        Wish::Everything(owner) => gitea.user_owns(user, owner).await,
    }
}

fn said(wish: &Wish) -> String {
    match wish {
        Wish::Look(name) => format!("see {name} in Gitea"),
        Wish::Change(name) => format!("write to {name} in Gitea"),
        Wish::Remove(name) => format!("delete {name} in Gitea"),
        Wish::CreateIn(owner) => format!("make repositories for {owner} in Gitea"),
        Wish::Everything(owner) => format!("decide about everything of {owner} in Gitea"),
    }
}
