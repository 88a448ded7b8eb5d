//! Whose token a refusal is about, which right it lacks, and how to grant it.

use forgeline_step_engine::StepError;
use forgeline_upstream::Error;

use crate::refusal::{Need, named};
use crate::upstreams::Upstreams;

/// How a failed call becomes a step's error: `of_create`, `of_write` or `of_read`.
pub(super) type Map = fn(Error, &Need<'_>) -> StepError;

/// A failed call to Gitea, over either door.
pub(super) fn gitea(upstreams: &Upstreams, error: Error, right: &str, map: Map) -> StepError {
    let over_mcp = error.system == "gitea-mcp";
    let rest = upstreams.gitea.rest_token().filter(|_| !over_mcp);
    let token = rest.unwrap_or(upstreams.gitea.mcp_token());
    let variable = if over_mcp {
        "GITEA_MCP_TOKEN"
    } else {
        "GITEA_TOKEN"
    };
    let fix = format!(
        "make a Gitea token with {right} (Settings, Applications) and put it into {variable}"
    );
    map(
        error,
        &Need {
            credential: &named(token.origin()),
            right,
            fix: &fix,
        },
    )
}

/// A failed call to GitHub; `scope` is what a classic token needs.
pub(super) fn github(
    upstreams: &Upstreams,
    error: Error,
    right: &str,
    scope: &str,
    map: Map,
) -> StepError {
    let credential = named(upstreams.github.token().origin());
    let fix = format!(
        "grant it with `gh auth refresh -h github.com -s {scope}` or in the token's settings, and put the token into GITHUB_PAT"
    );
    map(
        error,
        &Need {
            credential: &credential,
            right,
            fix: &fix,
        },
    )
}
