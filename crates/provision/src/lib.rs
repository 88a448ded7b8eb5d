//! What forgeline does with the step engine: the kinds of steps, the catalogue of workflows, ownership, and the use-cases.
//!
//! A step here knows one artifact: what exists afterwards, how it is known as ours, what undoing it removes. Everything
//! about crashes, retries and order is the engine's.

mod actor;
mod catalogue;
mod cleanup;
mod doctor;
mod ownership;
mod plan;
mod provisioner;
mod refusal;
mod removal;
mod steps;
mod upstreams;
mod view;

pub use forgeline_upstream::FullName;

pub use actor::{Actor, AuditSink, Destruction, LogAudit};
pub use catalogue::{Catalogue, CatalogueError, Entry, check};
pub use cleanup::{CleanupQuery, Rules};
pub use doctor::{Check, Doctor, LocalChecks, OtherChecks, Parts, Report, Right, Status};
pub use plan::{Action, Counts, ItemResult, Needs, Plan, PlanItem, Requests};
pub use provisioner::{
    Call, CheckItem, CheckReport, CheckState, Held, ProjectFacts, Provisioner, Remover, RunFacts,
    Setup, Started, Wish, duration,
};
pub use steps::registry;
pub use upstreams::{MirrorCredentials, Reachable, Timings, Upstreams};
pub use view::{
    Access, Artifacts, ErrorView, IssueArtifact, LeftBehind, MirrorArtifact, NamespaceArtifact,
    ProjectList, ProjectRow, RepositoryArtifact, RunView, StepView,
};
