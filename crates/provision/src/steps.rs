//! The kinds of steps, in one list.

mod blame;
mod describe;
mod generic;
mod gitea_repository;
mod github_repository;
mod http_request;
mod infra_commit;
mod issue;
mod mcp_call;
mod namespace;
mod push_mirror;
mod refs;
mod with;

use std::sync::Arc;

use forgeline_step_engine::Registry;

use crate::upstreams::Upstreams;
use generic::Generic;

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
    registry.register(
        infra_commit::KIND,
        Arc::new(infra_commit::InfraCommit(Arc::clone(upstreams))),
    );
    registry.register(
        crate::removal::KIND,
        Arc::new(crate::removal::Removal(Arc::new(upstreams.unhurried()))),
    );
    registry.register(
        crate::removal::RENEW_KIND,
        Arc::new(crate::removal::Renew(Arc::clone(upstreams))),
    );
    registry.register(
        crate::removal::ROTATE_KIND,
        Arc::new(crate::removal::Rotate(Arc::clone(upstreams))),
    );
    let reachable = &upstreams.reachable;
    let timing = upstreams.timings.other;
    let servers = reachable.mcp_servers.clone();
    let transport = mcp_call::Mcp { servers };
    registry.register(mcp_call::KIND, Arc::new(Generic { transport, timing }));
    let transport = http_request::Http(reachable.clone());
    registry.register(http_request::KIND, Arc::new(Generic { transport, timing }));
    registry
}
