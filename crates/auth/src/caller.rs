//! Who calls, and what the caller may do.

use std::collections::BTreeSet;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look: status, list, check, doctor, plans.
    Read,
    /// Make: create, renew, resume, cancel, project tokens.
    Create,
    /// Remove: delete, clean-up, rotate.
    Delete,
    /// Everything.
    Admin,
}

impl Scope {
    /// All of them, the weakest first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Delete, Self::Admin];

    /// Reads `forgeline:read` and the like; `None` for an unknown word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
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

/// Scopes as a challenge and a token write them: separated by a space.
pub(crate) fn words(scopes: &BTreeSet<Scope>) -> String {
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    words.join(" ")
}

/// How a caller was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A bearer of the configuration.
    Static,
    /// A token of the issuer.
    Jwt,
    /// A project's own credential.
    Project,
    /// This machine: the command line or stdio.
    Local,
}

impl Via {
    /// Reads the word; `None` for an unknown one.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let all = [Self::Static, Self::Jwt, Self::Project, Self::Local];
        all.into_iter().find(|via| via.as_str() == word)
    }

    /// The word of the audit log and of policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Jwt => "jwt",
            Self::Project => "project",
            Self::Local => "local",
        }
    }
}

/// A person behind a token, whose own rights are asked about before the service's are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user in Gitea, from the configured claim. `None`: the token does not say, so the person may change nothing.
    pub gitea_user: Option<String>,
}

/// The one project that a credential is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneProject {
    /// Its name.
    pub name: String,
    /// The run that began it. A later project of the same name is another one.
    pub since: String,
    /// Who ordered the credential, as a policy sees it.
    pub maker: Box<Caller>,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For example `svc:router`, `oidc:4711` or `local:ada`; never a credential.
    pub name: String,
    /// What the caller may do.
    pub scopes: BTreeSet<Scope>,
    /// How it was known.
    pub via: Via,
    /// The groups that its token names.
    pub groups: Vec<String>,
    /// `None`: a program.
    pub person: Option<Person>,
    /// `None`: any project.
    pub project: Option<OneProject>,
}

impl Caller {
    /// A program that is known by `via`.
    pub fn new(name: impl Into<String>, via: Via, scopes: BTreeSet<Scope>) -> Self {
        Self {
            name: name.into(),
            scopes,
            via,
            groups: Vec::new(),
            person: None,
            project: None,
        }
    }

    /// Whoever sits at this machine; may do everything.
    pub fn local(user: &str) -> Self {
        Self::new(
            format!("local:{user}"),
            Via::Local,
            BTreeSet::from([Scope::Admin]),
        )
    }

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
}
