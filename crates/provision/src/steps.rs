//! The kinds of steps, in one list.

mod blame;
mod describe;
mod gitea_repository;
mod github_repository;
mod issue;
mod namespace;
mod push_mirror;
mod refs;
mod with;

use std::sync::Arc;

use forgeline_step_engine::Registry;

use crate::upstreams::Upstreams;

/// All kinds of steps, over these upstreams. Also what a workflow file is checked against.
pub fn registry(upstreams: &Arc<Upstreams>) -> Registry {
    let mut registry = Registry::new();
    registry.register(
        gitea_repository::KIND,
        Arc::new(gitea_repository::GiteaRepository(Arc::clone(upstreams))),
    );
    registry.register(
        github_repository::KIND,
        Arc::new(github_repository::GithubRepository::new(Arc::clone(
            upstreams,
        ))),
    );
    registry.register(
        push_mirror::KIND,
        Arc::new(push_mirror::PushMirror(Arc::clone(upstreams))),
    );
    registry.register(
        namespace::KIND,
        Arc::new(namespace::InfraNamespace(Arc::clone(upstreams))),
    );
    registry.register(
        issue::KIND,
        Arc::new(issue::FirstIssue(Arc::clone(upstreams))),
    );
    registry.register(
        describe::GITEA,
        Arc::new(describe::Describe::gitea(upstreams)),
    );
    registry.register(
        describe::GITHUB,
        Arc::new(describe::Describe::github(upstreams)),
    );
    registry
}
