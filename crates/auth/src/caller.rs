//! Who calls, and what the caller may do.

use std::collections::BTreeSet;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look: status, list, check, doctor, plans.
    Read,
    /// Make: create, renew, resume, cancel.
    Create,
    /// Remove: delete, clean-up, rotate.
    Delete,
    /// Everything.
    Admin,
}

impl Scope {
    /// Reads `forgeline:read` and the like; `None` for an unknown word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Read, Self::Create, Self::Delete, Self::Admin]
            .into_iter()
            .find(|scope| scope.as_str() == word)
    }

    /// The word of tokens and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "forgeline:read",
            Self::Create => "forgeline:create",
            Self::Delete => "forgeline:delete",
            Self::Admin => "forgeline:admin",
        }
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For example `svc:router` or `local:ada`; never a credential.
    pub name: String,
    /// What the caller may do.
    pub scopes: BTreeSet<Scope>,
}

impl Caller {
    /// Whether the caller may do what asks for this scope; admin may do everything.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// The same caller, who may only look, and only if it may look otherwise.
    #[must_use]
    pub fn read_only(self) -> Self {
        let looks = self.may(Scope::Read);
        Self {
            scopes: looks.then_some(Scope::Read).into_iter().collect(),
            ..self
        }
    }

    /// A caller who may do everything.
    pub fn admin(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scopes: BTreeSet::from([Scope::Admin]),
        }
    }
}
