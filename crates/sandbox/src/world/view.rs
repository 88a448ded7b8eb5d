//! The whole world as JSON, for tests and the curious. Without tokens and passwords.

use serde_json::{Value, json};

use super::{Forge, Repository, World};

impl World {
    pub(crate) fn view(&self) -> Value {
        let (gitea, github, namespaces, objects, infra) = {
            let mut state = self.state();
            let namespaces = state.cluster.namespaces();
            let objects: Vec<Value> = state
                .cluster
                .objects
                .iter()
                .map(|((_, resource, _), object)| json!({"resource": resource, "object": object}))
                .collect();
            (
                self.forge_list(&state.gitea),
                self.forge_list(&state.github),
                namespaces,
                objects,
                state.infra,
            )
        };
        // The infra repository is there from the start; it is shown apart from what callers make.
        let (infra, gitea): (Vec<Repository>, Vec<Repository>) = gitea
            .into_iter()
            .partition(|repository| Some(repository.id) == infra);
        json!({
            "gitea": gitea.into_iter().map(|repository| self.repository_view("gitea", &repository)).collect::<Vec<_>>(),
            "github": github.into_iter().map(|repository| self.repository_view("github", &repository)).collect::<Vec<_>>(),
            "infra": infra.iter().map(|repository| self.repository_view("gitea", repository)).collect::<Vec<_>>(),
            "namespaces": namespaces,
            "objects": objects,
        })
    }

    fn forge_list(&self, forge: &Forge) -> Vec<Repository> {
        forge.repositories.values().cloned().collect()
    }

    fn repository_view(&self, forge: &str, repository: &Repository) -> Value {
        let dir = self.git_dir(forge, repository.id);
        let issues: Vec<Value> = repository
            .issues
            .iter()
            .map(|issue| json!({"number": issue.number, "title": issue.title, "body": issue.body, "state": issue.state, "user": issue.user, "labels": issue.labels}))
            .collect();
        let mirrors: Vec<Value> = repository
            .mirrors
            .iter()
            .map(|mirror| json!({"remote_name": mirror.remote_name, "remote_address": mirror.remote_address, "last_error": mirror.last_error}))
            .collect();
        json!({
            "id": repository.id,
            "full_name": repository.full_name(),
            "description": repository.description,
            "private": repository.private,
            "archived": repository.archived,
            "topics": repository.topics,
            "creator": repository.creator,
            "refs": crate::git::refs(&dir),
            "issues": issues,
            "mirrors": mirrors,
            "labels": repository.labels.iter().map(|(_, name)| name).collect::<Vec<_>>(),
        })
    }
}
