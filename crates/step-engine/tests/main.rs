//! The engine against a small world in memory: crashes at every record, failures at every step, random graphs.

#![allow(clippy::unwrap_used)]

#[path = "it/admission.rs"]
mod admission;
#[path = "it/checker.rs"]
mod checker;
#[path = "it/conformance.rs"]
mod conformance;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/journal.rs"]
mod journal;
#[path = "it/planner.rs"]
mod planner;
#[path = "it/protocol.rs"]
mod protocol;
#[path = "it/world.rs"]
mod world;
