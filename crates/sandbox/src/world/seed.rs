//! What somebody else does to the world: seeds of the control API.

use std::collections::BTreeMap;

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
    /// From now on no namespace deletion ends.
    NamespaceDeletionsHang,
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
            } => {
                let id = {
                    let mut state = self.state();
                    let repositories = state.forge(&forge)?;
                    let id = repositories
                        .add(&owner, &name, &description, private, &user)
                        .ok_or("the name is taken")?;
                    if let Some(made) = repositories.repositories.get_mut(&id) {
                        made.topics = topics;
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
                Ok(json!({"id": id}))
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
                Ok(self.state().cluster.add_namespace(&name, object))
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
