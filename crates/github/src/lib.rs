//! Talk to GitHub: repositories and their refs, with the statuses and quirks of REST API version 2022-11-28.
//!
//! octocrab is confined here: its retries and redirects are off, every call has a deadline, `private` is always sent, and
//! replies are read into our own small structs. It knows nothing of projects or runs, and repeats nothing.

mod account;
mod client;
mod connector;
mod repositories;

pub use account::{Account, TokenKind};
pub use client::{BuildError, GitHub};
pub use repositories::{NewRepository, Refs, Repository};
