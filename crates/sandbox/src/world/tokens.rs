//! Tokens: whose they are and what they may do.

use std::collections::BTreeSet;

use serde::Serialize;

use super::State;

/// What a token is for; `rights` of the control API names tokens by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    GiteaMcp,
    Gitea,
    Github,
    GithubMirror,
    Kubernetes,
    /// A second user's token, for both forges.
    Someone,
}

impl Role {
    pub(crate) const ALL: [Role; 6] = [
        Role::GiteaMcp,
        Role::Gitea,
        Role::Github,
        Role::GithubMirror,
        Role::Kubernetes,
        Role::Someone,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::GiteaMcp => "gitea_mcp",
            Role::Gitea => "gitea",
            Role::Github => "github",
            Role::GithubMirror => "github_mirror",
            Role::Kubernetes => "kubernetes",
            Role::Someone => "someone",
        }
    }

    fn scopes(self) -> &'static [&'static str] {
        const GITEA: &[&str] = &[
            "write:repository",
            "write:issue",
            "write:user",
            "write:organization",
        ];
        match self {
            Role::GiteaMcp | Role::Gitea => GITEA,
            Role::Github => &["repo", "delete_repo", "workflow"],
            Role::GithubMirror => &["repo", "workflow"],
            Role::Kubernetes => &[
                "create namespaces",
                "get namespaces",
                "delete namespaces",
                "patch namespaces",
                "list",
                "get",
                "watch secrets",
                "create limitranges",
                "patch limitranges",
                "create resourcequotas",
                "patch resourcequotas",
                "create networkpolicies",
                "patch networkpolicies",
                "create rolebindings",
                "patch rolebindings",
                "bind clusterroles",
                "patch serviceaccounts",
            ],
            Role::Someone => &[
                "write:repository",
                "write:issue",
                "write:user",
                "write:organization",
                "repo",
                "delete_repo",
                "workflow",
            ],
        }
    }
}

/// A token of the sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) role: Role,
    pub(crate) value: String,
    pub(crate) user: String,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) valid: bool,
}

impl Credential {
    pub(crate) fn new(role: Role, value: String, user: &str) -> Self {
        let scopes = role
            .scopes()
            .iter()
            .map(|scope| (*scope).to_owned())
            .collect();
        Self {
            role,
            value,
            user: user.to_owned(),
            scopes,
            valid: true,
        }
    }

    pub(crate) fn has(&self, scope: &str) -> bool {
        let write = scope
            .strip_prefix("read:")
            .map(|rest| format!("write:{rest}"));
        self.scopes.contains(scope) || write.is_some_and(|write| self.scopes.contains(&write))
    }
}

impl State {
    /// The valid token of this value among these roles.
    pub(crate) fn credential(&self, value: &str, roles: &[Role]) -> Option<Credential> {
        let found = self
            .tokens
            .iter()
            .find(|token| token.value == value && roles.contains(&token.role));
        found.filter(|token| token.valid).cloned()
    }
}
