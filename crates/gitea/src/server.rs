//! What the server and the token can do: asked by doctor, before anything is made. Changes nothing.

use forgeline_upstream::{Error, FullName, Kind};
use http::Method;
use serde_json::{Value, json};

use crate::client::Gitea;
use crate::dialect::Operation;

/// How an operation is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// By this tool of the gitea-mcp server.
    Tool(String),
    /// Over Gitea's REST API.
    Rest,
    /// Not at all.
    Missing,
}

/// What a Gitea token may do, as far as it can be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// Gitea told the token's scopes (1.23 and later).
    Told(Vec<String>),
    /// The token has all rights.
    All,
    /// Each probe alone: scope, and whether it is there.
    Probed(Vec<(&'static str, bool)>),
}

impl Scopes {
    /// Whether the token has this scope; `write:` has `read:` in it.
    pub fn has(&self, scope: &str) -> bool {
        let write = scope
            .strip_prefix("read:")
            .map(|rest| format!("write:{rest}"));
        let covers = |had: &str| had == scope || had == "all" || write.as_deref() == Some(had);
        match self {
            Self::All => true,
            Self::Told(told) => told.iter().any(|had| covers(had)),
            // What was not probed is not known to be missing.
            Self::Probed(probed) => probed
                .iter()
                .find(|(name, _)| *name == scope)
                .is_none_or(|(_, there)| *there),
        }
    }
}

/// What the server allows of mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorSettings {
    /// `[mirror] ENABLED`.
    pub enabled: bool,
}

/// What needs REST with every gitea-mcp server that is known.
const REST_ONLY: [&str; 11] = [
    "read_repository",
    "edit_repository",
    "delete_repository",
    "create_from_template",
    "list_refs",
    "add_push_mirror",
    "list_push_mirrors",
    "remove_push_mirror",
    "sync_push_mirrors",
    "list_issues",
    "commit_files",
];

impl Gitea {
    /// The gitea-mcp server's name, version and dialect.
    ///
    /// # Errors
    /// It cannot be reached, refuses the token, or speaks a dialect that nobody described.
    pub async fn mcp_server(&self) -> Result<(String, String, &str), Error> {
        let (name, version) = self.mcp.server().await?;
        let dialect = self.dialect().await?;
        Ok((name, version, &dialect.name))
    }

    /// Every operation that a project needs, and how it is done.
    ///
    /// # Errors
    /// As [`Gitea::mcp_server`].
    pub async fn routes(&self) -> Result<Vec<(&'static str, Route)>, Error> {
        let dialect = self.dialect().await?;
        let tools = self.mcp.tools().await?;
        let other = if self.rest_token().is_some() {
            Route::Rest
        } else {
            Route::Missing
        };
        let mapped = Operation::ALL.into_iter().map(|operation| {
            let route = dialect
                .mapping(operation, &tools, &Value::Null)
                .map_or_else(
                    || other.clone(),
                    |mapping| Route::Tool(mapping.tool.clone()),
                );
            (operation.as_str(), route)
        });
        let rest = REST_ONLY.into_iter().map(|name| (name, other.clone()));
        Ok(mapped.chain(rest).collect())
    }

    /// Gitea's version, for example `1.25.4`.
    ///
    /// # Errors
    /// As every read.
    pub async fn version(&self) -> Result<String, Error> {
        let body = self.get("tell its version", "/version").await?;
        Ok(body["version"].as_str().unwrap_or("unknown").to_owned())
    }

    /// The server's clock at this moment, from the `Date` of an answer. `None`: it does not say.
    ///
    /// # Errors
    /// As every read.
    pub async fn clock(&self) -> Result<Option<jiff::Timestamp>, Error> {
        let reply = self
            .send("tell the time", Method::GET, "/version", None)
            .await?;
        let date = reply
            .headers
            .get("date")
            .and_then(|date| date.to_str().ok());
        Ok(date.and_then(|date| Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp())))
    }

    /// Whether mirrors are switched on.
    ///
    /// # Errors
    /// As every read.
    pub async fn mirror_settings(&self) -> Result<MirrorSettings, Error> {
        let body = self
            .get("tell its settings", "/settings/repository")
            .await?;
        Ok(MirrorSettings {
            enabled: body["mirrors_disabled"] != true,
        })
    }

    /// What the token may do. From 1.23 on Gitea tells it in a refusal; before, harmless requests that cannot act are
    /// tried: a write to a repository that does not exist is 403 without the scope and 404 with it.
    ///
    /// # Errors
    /// As every read; 401 when the token is not accepted.
    pub async fn scopes(&self) -> Result<Scopes, Error> {
        let refused = match self.get("tell the token's scopes", "/admin/cron").await {
            Ok(_) => return Ok(Scopes::All),
            Err(error) if error.status == Some(403) => error.message,
            Err(error) if error.kind == Kind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        if let Some((_, told)) = refused.split_once("token scope=") {
            let scopes = told.split([',', ' ']).map(str::trim);
            return Ok(Scopes::Told(
                scopes
                    .filter(|scope| !scope.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ));
        }
        if !refused.is_empty() && !refused.contains("required scope") {
            // The scope check was passed, and the user is no site administrator.
            return Ok(Scopes::All);
        }
        self.probe().await.map(Scopes::Probed)
    }

    async fn probe(&self) -> Result<Vec<(&'static str, bool)>, Error> {
        let nowhere = "/repos/forgeline-probe/there-is-no-such-repository";
        let issue = format!("{nowhere}/issues");
        let branch = format!("{nowhere}/branches");
        let probes = [
            (
                "write:issue",
                Method::POST,
                issue.as_str(),
                Some(json!({"title": "probe"})),
            ),
            (
                "write:repository",
                Method::POST,
                branch.as_str(),
                Some(json!({"new_branch_name": "probe"})),
            ),
            ("read:user", Method::GET, "/user", None),
        ];
        let mut found = Vec::new();
        for (scope, method, path, body) in probes {
            let there = self.passes(scope, method, path, body.as_ref()).await?;
            found.push((scope, there));
        }
        Ok(found)
    }

    async fn passes(
        &self,
        scope: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<bool, Error> {
        let operation = format!("probe the scope {scope}");
        match self.send(&operation, method, path, body).await {
            Ok(_) => Ok(true),
            Err(error) if error.status == Some(403) && error.message.contains("scope") => Ok(false),
            Err(error) if error.kind == Kind::NotFound || error.status == Some(422) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether our user may delete repositories of this owner: it is the owner, or owns the organisation. `None`: no
    /// such owner.
    ///
    /// # Errors
    /// As every read.
    pub async fn may_delete_in(&self, owner: &str) -> Result<Option<bool>, Error> {
        let user = self.user().await?;
        if user.login.eq_ignore_ascii_case(owner) {
            return Ok(Some(true));
        }
        let operation = format!("read our rights in organisation {owner}");
        let path = format!("/users/{}/orgs/{owner}/permissions", user.login);
        let found = self.get_if_there(&operation, &path).await?;
        Ok(found.map(|rights| rights["is_owner"] == true || rights["is_admin"] == true))
    }

    /// A repository's state as an infra repository: its default branch. The error says what is wrong with it.
    ///
    /// # Errors
    /// It is not there, empty, archived, or cannot be read.
    pub async fn infra_base(&self, name: &FullName) -> Result<Result<String, String>, Error> {
        let Some(found) = self.repository(name).await? else {
            return Ok(Err(format!(
                "{name} is not there, or not visible to this token"
            )));
        };
        if found.archived {
            return Ok(Err(format!("{name} is archived")));
        }
        if found.empty || found.default_branch.is_empty() {
            return Ok(Err(format!("{name} is empty: it needs a first commit")));
        }
        Ok(Ok(found.default_branch))
    }
}
