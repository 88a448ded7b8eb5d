//! End to end: the real program, over its command line, HTTP and stdio, against the sandbox in another process.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod actors;
mod architecture;
mod attacks;
mod audit;
mod callers;
mod cleanup;
mod command_line;
mod configuration;
mod content;
mod deployment;
mod dialects;
mod doctor;
mod examples;
mod gitops;
#[path = "../crates/auth/tests/it/issuer.rs"]
mod issuer;
mod kill;
mod lifecycle;
mod mcp;
mod ownership;
mod plan;
mod readme;
mod remote;
mod rights;
mod selftest;
mod states;
mod support;
mod tickets;
mod tokens;
mod unwritable;
mod workflows;
