//! Gitea's operations: over a gitea-mcp server where that has a tool, over Gitea's REST API for the rest and to prove
//! writes. Facts are those of Gitea 1.22 to 1.25 and of the official gitea-mcp of 2026.
//!
//! It knows nothing of projects or runs, and repeats nothing. Every error says whether the request may have acted.

mod address;
mod client;
mod commits;
mod dialect;
mod issues;
mod mirrors;
mod repositories;
mod rights;
mod server;
mod tool_error;

pub use address::same_address;
pub use client::{Gitea, User};
pub use commits::{CommitFiles, NewFile};
pub use dialect::{Dialect, Mapping, Operation};
pub use issues::{Issue, Label, NewIssue};
pub use mirrors::{NewPushMirror, PushMirror};
pub use repositories::{Commit, Content, NewRepository, PullHead, PullRequest, Refs, Repository};
pub use rights::Permission;
pub use server::{MirrorSettings, Route, Scopes};
