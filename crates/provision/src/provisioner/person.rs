//! The right of the person who asks: forgeline acts with a service's token, so what that person may not do in Gitea,
//! forgeline does not do for them. What cannot be asked is answered with no.

use forgeline_gitea::{Gitea, Permission};
use forgeline_upstream::{Error, FullName};

use super::Provisioner;
use crate::view::ErrorView;

/// What a person wants done. A repository that is not there (any more) is asked about as one that would be made.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Look at a repository.
    Look(FullName),
    /// Push to a repository.
    Change(FullName),
    /// Delete a repository, or change who sees it.
    Remove(FullName),
    /// Make a repository for this owner.
    CreateIn(String),
    /// Do something with everything of this owner.
    Everything(String),
}

impl Provisioner {
    /// Whether this user in Gitea may do all of that; without any wish nobody may.
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
        let Some(remover) = self.setup.remover.as_ref().filter(|_| !wishes.is_empty()) else {
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
    let (name, least) = match wish {
        Wish::CreateIn(owner) => return gitea.user_may_create_in(user, owner).await,
        Wish::Everything(owner) => return gitea.user_owns(user, owner).await,
        Wish::Look(name) => (name, Permission::Read),
        Wish::Change(name) => (name, Permission::Write),
        Wish::Remove(name) => (name, Permission::Admin),
    };
    if gitea.user_permission(user, name).await? >= least {
        return Ok(true);
    }
    match gitea.repository(name).await? {
        Some(_) => Ok(false),
        // What else of it stands goes with whoever decides about everything there.
        None if least == Permission::Admin => gitea.user_owns(user, name.owner()).await,
        None => gitea.user_may_create_in(user, name.owner()).await,
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
