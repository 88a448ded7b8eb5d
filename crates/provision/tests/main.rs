//! The workflows against the sandbox on the wire, in one process.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "it/catalogue.rs"]
mod catalogue;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/faults.rs"]
mod faults;
#[path = "it/world.rs"]
mod world;
