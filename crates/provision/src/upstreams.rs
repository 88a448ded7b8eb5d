//! The clients that steps use, and how long each upstream takes to settle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forgeline_gitea::Gitea;
use forgeline_github::GitHub;
use forgeline_kubernetes::Kubernetes;
use forgeline_step_engine::{StepCx, StepError, Timing};
use forgeline_upstream::http::OpenClient;
use forgeline_upstream::mcp::McpClient;
use forgeline_upstream::{Priority, TokenHandle};

use crate::actor::{Audit, Destruction};

/// What Gitea is given to push with.
#[derive(Clone, Debug)]
pub struct MirrorCredentials {
    /// The user name beside the token.
    pub username: String,
    /// Its own token: contents write, plus workflow. Gitea keeps it in clear text.
    pub token: TokenHandle,
}

/// The settle and re-check times of every upstream.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Gitea, and its gitea-mcp server.
    pub gitea: Timing,
    /// GitHub.
    pub github: Timing,
    /// The cluster.
    pub kubernetes: Timing,
    /// Whatever `mcp.call` and `http.request` reach.
    pub other: Timing,
    /// How long to wait until a deleted namespace is gone.
    pub namespace_patience: Duration,
}

impl Default for Timings {
    /// Settle times outlive the longest call (15 s); re-checks are due after 60 s, 120 s and 30 s.
    fn default() -> Self {
        let timing = |recheck| Timing {
            settle: Duration::from_secs(20),
            recheck: Duration::from_secs(recheck),
        };
        Self {
            gitea: timing(60),
            github: timing(120),
            kubernetes: timing(30),
            other: timing(60),
            namespace_patience: Duration::from_secs(60),
        }
    }
}

impl Timings {
    /// Times for stand-ins on the same machine, which answer at once and read what they wrote.
    pub fn sandbox() -> Self {
        let timing = Timing {
            settle: Duration::from_millis(250),
            recheck: Duration::from_secs(1),
        };
        Self {
            gitea: timing,
            github: timing,
            kubernetes: timing,
            other: timing,
            namespace_patience: Duration::from_secs(2),
        }
    }
}

/// What the step kinds `mcp.call` and `http.request` may reach: nothing else.
#[derive(Clone, Default)]
pub struct Reachable {
    /// MCP servers by name; `gitea` is the configured gitea-mcp server.
    pub mcp_servers: BTreeMap<String, McpClient>,
    /// Client for HTTP. `None`: no request can be made.
    pub http: Option<OpenClient>,
    /// Hosts that HTTP may reach, with a port where it is not the scheme's.
    pub hosts: Vec<String>,
    /// Bearers by name, each with the only hosts that it goes to.
    pub tokens: BTreeMap<String, (Vec<String>, TokenHandle)>,
}

/// Everything that steps need.
#[derive(Clone)]
pub struct Upstreams {
    /// Gitea, over gitea-mcp and REST.
    pub gitea: Gitea,
    /// GitHub.
    pub github: GitHub,
    /// The cluster. `None`: the mode of infra needs none.
    pub kubernetes: Option<Kubernetes>,
    /// What generic steps may reach.
    pub reachable: Reachable,
    /// What Gitea pushes with.
    pub mirror: MirrorCredentials,
    /// How long each takes to settle.
    pub timings: Timings,
    /// Where destructive calls are announced.
    pub audit: Arc<dyn crate::actor::AuditSink>,
}

impl Upstreams {
    /// The same upstreams, asked only when nobody who waits asks for more: for clean-up.
    #[must_use]
    pub fn unhurried(&self) -> Self {
        let kubernetes = self.kubernetes.as_ref();
        Self {
            gitea: self.gitea.with_priority(Priority::Background),
            github: self.github.with_priority(Priority::Background),
            kubernetes: kubernetes.map(|cluster| cluster.with_priority(Priority::Background)),
            ..self.clone()
        }
    }

    /// Does what destroys something, between the lines of the audit log that announce it and say how it ended. It is not
    /// begun when the first one cannot be written.
    pub(crate) async fn audited<T>(
        &self,
        cx: &StepCx,
        resource: &str,
        work: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, StepError> {
        let audit: &Audit = &self.audit;
        let intent = Destruction {
            actor: &cx.caller,
            run_id: cx.run_id.as_str(),
            resource,
        };
        let id = audit.destruction(&intent).await.map_err(|why| {
            let refused = StepError::refused("audit.unwritable", why);
            StepError {
                // Nothing was sent; a disk that was full for a moment is no end.
                retryable: true,
                ..refused.remedy("make the audit log writable; then the same can be done again")
            }
        })?;
        let done = work.await;
        let outcome = done
            .as_ref()
            .map_or_else(|error| error.code.as_str(), |_| "done");
        audit.outcome(&id, &intent, outcome).await;
        done
    }
}
