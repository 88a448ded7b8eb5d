//! The workflows against the sandbox on the wire, in one process. The sweeps over every workflow are
//! `forgeline selftest`.

#![allow(clippy::unwrap_used)]

#[path = "it/adoption.rs"]
mod adoption;
#[path = "it/catalogue.rs"]
mod catalogue;
#[path = "it/cleanup.rs"]
mod cleanup;
#[path = "it/world.rs"]
mod world;
