//! A durable, idempotent, compensating runner of workflows.
//!
//! A *workflow* is a graph of steps. A *run* executes it once, for a *subject*: a run either completes, or undoes what
//! it made, or says what it left. Every intent is in the *journal* before its effect, so a run survives the end of the
//! process at any instant. What a step does is a [`Step`]: `check`, `apply`, `compensate`.
//!
//! The parts: the [`plan()`] function decides, purely, what follows from a history; a [`Host`] makes intents durable
//! and launches operations; [`drive()`] joins the two; [`Engine`] is the door for everybody else. The crate knows nothing
//! of projects, forges or protocols.
//!
//! ```
//! use forgeline_step_engine::journal::memory::MemoryJournal;
//! use forgeline_step_engine::{Engine, Registry};
//!
//! let engine = Engine::new(std::sync::Arc::new(MemoryJournal::new()), std::sync::Arc::new(Registry::new()));
//! assert_eq!(engine.registry().names().count(), 0);
//! ```
//! `examples/custom_step.rs` runs a workflow with a step of its own.

mod drive;
mod engine;
mod error;
mod event;
pub mod fault;
mod history;
mod host;
pub mod journal;
mod plan;
mod record;
mod registry;
mod retry;
mod run_id;
mod run_op;
mod state;
mod step;
mod workflow;

pub use drive::drive;
pub use engine::{Engine, Observation, Observed, Outline, Request, Snapshot, StepSnapshot};
pub use error::EngineError;
pub use event::RunEvent;
pub use history::{Progress, StepProgress};
pub use host::{Host, HostError};
pub use plan::{Next, OnFailure, Op, plan};
pub use record::{Decision, Entry, Record, Verb};
pub use registry::{Field, KindSpec, Registry};
pub use retry::{Delays, RetryPolicy};
pub use run_id::{RunId, RunIdError};
pub use state::{Cause, Origin, RunState, StepState};
pub use step::{Earlier, Effect, Found, Seen, Step, StepCx, StepError, Timing, Undone};
pub use workflow::{
    InputKind, InputSpec, Problem, Scope, StepSpec, Workflow, resolve, resolve_own,
};
