//! What somebody else does to the world: seeds of the control API.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Issue, World};

/// One thing to make or to change.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Seed {
    /// A repository of somebody else's; with `files` it has a commit.
    Repository {
        forge: String,
        owner: String,
        name: String,
        #[serde(default = "someone")]
        user: String,
        #[serde(default)]
        description: String,
        #[serde(default)]
        private: bool,
        #[serde(default)]
        topics: Vec<String>,
        #[serde(default)]
        files: BTreeMap<String, String>,
        /// Others can be generated from it.
        #[serde(default)]
        template: bool,
    },
    /// Many empty repositories without git objects: `prefix` and a number of five digits.
    Repositories {
        forge: String,
        owner: String,
        prefix: String,
        count: usize,
    },
    /// Everything that is there is so many hours older from now on.
    TimePasses { hours: i64 },
    /// Somebody makes a repository private or public.
    Visibility {
        forge: String,
        owner: String,
        name: String,
        private: bool,
    },
    /// Somebody stars a repository.
    Star {
        forge: String,
        owner: String,
        name: String,
    },
    /// An open pull request of a branch into the default one, by somebody.
    PullRequest {
        owner: String,
        name: String,
        branch: String,
        title: String,
    },
    /// A commit pushed to a branch.
    Push {
        forge: String,
        owner: String,
        name: String,
        branch: String,
        files: BTreeMap<String, String>,
    },
    /// An issue.
    Issue {
        owner: String,
        name: String,
        title: String,
        #[serde(default)]
        body: String,
    },
    /// A push mirror of a Gitea repository.
    Mirror {
        owner: String,
        name: String,
        remote_address: String,
    },
    /// A repository is renamed; its old name redirects.
    Rename {
        forge: String,
        owner: String,
        name: String,
        to: String,
    },
    /// A repository is archived.
    Archive {
        forge: String,
        owner: String,
        name: String,
    },
    /// A namespace of somebody else's.
    Namespace { name: String },
    /// An object in a namespace.
    Object {
        namespace: String,
        resource: String,
        name: String,
    },
    /// A Secret in a namespace that is not listed among the cluster's.
    Secret {
        namespace: String,
        name: String,
        data: BTreeMap<String, String>,
    },
    /// Somebody deletes a Secret.
    SecretGone { namespace: String, name: String },
    /// From now on no namespace deletion ends.
    NamespaceDeletionsHang,
    /// Rights change, as `POST /_sandbox/rights` takes it.
    Rights { change: Value },
    /// The gitea-mcp server offers only these tools.
    GiteaMcpTools { tools: Vec<String> },
    /// `[mirror] ENABLED = false` in Gitea.
    MirrorsDisabled,
    /// A branch is merged into the default one: by fast-forward, or squashed into a commit of somebody's.
    Merge {
        owner: String,
        name: String,
        branch: String,
        #[serde(default)]
        squash: bool,
    },
}

fn someone() -> String {
    "someone".into()
}

impl World {
    /// Applies a seed; the error says what does not fit.
    pub(crate) async fn seed(&self, seed: Value) -> Result<Value, String> {
        let seed: Seed = serde_json::from_value(seed).map_err(|error| error.to_string())?;
        match seed {
            Seed::Repository {
                forge,
                owner,
                name,
                user,
                description,
                private,
                topics,
                files,
                template,
            } => {
                let id = {
                    let mut state = self.state();
                    let repositories = state.forge(&forge)?;
                    let id = repositories
                        .add(&owner, &name, &description, private, &user)
                        .ok_or("the name is taken")?;
                    if let Some(made) = repositories.repositories.get_mut(&id) {
                        made.topics = topics;
                        made.template = template;
                    }
                    id
                };
                let dir = self.git_dir(&forge, id);
                crate::git::init(self.root(), &dir).await?;
                if !files.is_empty() {
                    crate::git::commit(&dir, "main", &user, "a commit by somebody", &files).await?;
                }
                Ok(json!({"id": id}))
            }
            Seed::Push {
                forge,
                owner,
                name,
                branch,
                files,
            } => {
                let id = self
                    .state()
                    .forge(&forge)?
                    .find(&owner, &name)
                    .ok_or("no such repository")?
                    .id;
                crate::git::commit(
                    &self.git_dir(&forge, id),
                    &branch,
                    "someone",
                    "a push by somebody",
                    &files,
                )
                .await?;
                self.state().forge(&forge)?.pushed(id);
                Ok(json!({"id": id}))
            }
            Seed::Repositories {
                forge,
                owner,
                prefix,
                count,
            } => {
                let mut state = self.state();
                let repositories = state.forge(&forge)?;
                for number in 0..count {
                    let name = format!("{prefix}{number:05}");
                    repositories.add_unchecked(&owner, &name);
                }
                Ok(json!({"count": count}))
            }
            Seed::TimePasses { hours } => {
                self.state().passed.push((jiff::Timestamp::now(), hours));
                Ok(json!({}))
            }
            Seed::Visibility {
                forge,
                owner,
                name,
                private,
            } => {
                let mut state = self.state();
                let found = state.forge(&forge)?.find_mut(&owner, &name);
                found.ok_or("no such repository")?.private = private;
                Ok(json!({}))
            }
            Seed::Star { forge, owner, name } => {
                let mut state = self.state();
                let found = state.forge(&forge)?.find_mut(&owner, &name);
                found.ok_or("no such repository")?.stars += 1;
                Ok(json!({}))
            }
            Seed::PullRequest {
                owner,
                name,
                branch,
                title,
            } => {
                let mut state = self.state();
                let found = state.gitea.find_mut(&owner, &name);
                let found = found.ok_or("no such repository")?;
                let number = found.next_issue();
                found.pulls.push(super::Pull {
                    number,
                    branch,
                    title,
                    open: true,
                });
                Ok(json!({"number": number}))
            }
            Seed::Issue {
                owner,
                name,
                title,
                body,
            } => {
                let mut state = self.state();
                let repository = state
                    .gitea
                    .find_mut(&owner, &name)
                    .ok_or("no such repository")?;
                let number = repository.next_issue();
                let issue = Issue {
                    number,
                    title,
                    body,
                    state: "open".into(),
                    user: someone(),
                    created_at: super::now(),
                    labels: Vec::new(),
                };
                repository.issues.push(issue);
                Ok(json!({"number": number}))
            }
            Seed::Rename {
                forge,
                owner,
                name,
                to,
            } => {
                let mut state = self.state();
                let repositories = state.forge(&forge)?;
                let id = repositories
                    .find(&owner, &name)
                    .ok_or("no such repository")?
                    .id;
                repositories.rename(id, &to);
                Ok(json!({"id": id}))
            }
            Seed::Mirror {
                owner,
                name,
                remote_address,
            } => {
                let mut state = self.state();
                let found = state
                    .gitea
                    .find_mut(&owner, &name)
                    .ok_or("no such repository")?;
                found.mirrors.push(super::Mirror {
                    remote_name: format!("remote_mirror_theirs{}", found.mirrors.len()),
                    remote_address,
                    username: "someone".into(),
                    password: String::new(),
                    created: super::now(),
                    last_update: None,
                    last_error: String::new(),
                    interval: "8h0m0s".into(),
                    sync_on_commit: false,
                });
                Ok(json!({}))
            }
            Seed::Archive { forge, owner, name } => {
                let mut state = self.state();
                state
                    .forge(&forge)?
                    .find_mut(&owner, &name)
                    .ok_or("no such repository")?
                    .archived = true;
                Ok(json!({}))
            }
            Seed::Namespace { name } => {
                let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {}}});
                let mut state = self.state();
                if state.cluster.namespace(&name).is_some() {
                    return Err("the name is taken".into());
                }
                Ok(state.cluster.add_namespace(&name, object))
            }
            Seed::Object {
                namespace,
                resource,
                name,
            } => {
                let object = json!({"metadata": {"name": name, "namespace": namespace}});
                Ok(self
                    .state()
                    .cluster
                    .put(&namespace, &resource, &name, object))
            }
            Seed::Secret {
                namespace,
                name,
                data,
            } => {
                let data: BTreeMap<String, String> = data
                    .into_iter()
                    .map(|(key, value)| (key, STANDARD.encode(value)))
                    .collect();
                let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data});
                Ok(self
                    .state()
                    .cluster
                    .put(&namespace, "secrets", &name, object))
            }
            Seed::SecretGone { namespace, name } => {
                let gone = self.state().cluster.remove(&namespace, "secrets", &name);
                gone.then(|| json!({}))
                    .ok_or_else(|| "there is no such Secret".into())
            }
            Seed::Rights { change } => {
                crate::control::change(self, change)?;
                Ok(json!({}))
            }
            Seed::GiteaMcpTools { tools } => {
                self.state().gitea_mcp_tools = Some(tools);
                Ok(json!({}))
            }
            Seed::MirrorsDisabled => {
                self.state().mirrors_disabled = true;
                Ok(json!({}))
            }
            Seed::Merge {
                owner,
                name,
                branch,
                squash,
            } => {
                let id = self
                    .state()
                    .gitea
                    .find(&owner, &name)
                    .ok_or("no such repository")?
                    .id;
                let dir = self.git_dir("gitea", id);
                if squash {
                    crate::git::squash(&dir, &branch, "someone").await?;
                } else {
                    crate::git::merge(&dir, &branch).await?;
                }
                Ok(json!({"id": id}))
            }
            Seed::NamespaceDeletionsHang => {
                self.state().cluster.deletion_hangs = true;
                Ok(json!({}))
            }
        }
    }
}

impl super::State {
    fn forge(&mut self, name: &str) -> Result<&mut super::Forge, String> {
        match name {
            "gitea" => Ok(&mut self.gitea),
            "github" => Ok(&mut self.github),
            other => Err(format!("no forge `{other}`; there are gitea and github")),
        }
    }
}
