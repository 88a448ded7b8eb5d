//! Who asks, and the record of what is about to be destroyed.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

/// Who asked for something: a name such as `local:ada` or `svc:router`, never a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(String);

impl Actor {
    /// An actor of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that is about to be removed upstream.
#[derive(Clone, Copy, Debug)]
pub struct Destruction<'a> {
    /// Who asked for the run.
    pub actor: &'a str,
    /// The run that removes it.
    pub run_id: &'a str,
    /// For example `github:acme/shop`.
    pub resource: &'a str,
}

/// Where the intent of every destructive call is written before the call is made.
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Writes the intent, and answers its id; it is durable when this returns.
    ///
    /// # Errors
    /// Why it could not be written; then the call is not made.
    async fn destruction(&self, intent: &Destruction<'_>) -> Result<String, String>;

    /// Writes how it ended: `done`, or the code of what went wrong.
    async fn outcome(&self, id: &str, intent: &Destruction<'_>, outcome: &str);
}

/// Writes to the program's log, target `audit`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogAudit;

#[async_trait]
impl AuditSink for LogAudit {
    async fn destruction(&self, intent: &Destruction<'_>) -> Result<String, String> {
        tracing::info!(target: "audit", actor = intent.actor, run_id = intent.run_id, resource = intent.resource, "removing");
        Ok(String::new())
    }

    async fn outcome(&self, _: &str, intent: &Destruction<'_>, outcome: &str) {
        tracing::info!(target: "audit", run_id = intent.run_id, resource = intent.resource, outcome, "removed");
    }
}

/// How steps hold the sink.
pub(crate) type Audit = Arc<dyn AuditSink>;
