//! Stand-ins for every upstream on real sockets: a gitea-mcp server, Gitea's and GitHub's REST APIs, the Kubernetes API.
//!
//! They share one small world. Both forges host real bare git repositories over smart HTTP, so `git clone` works and a
//! mirror sync is a real `git push`. Tokens have users and scopes; faults can be ordered per operation; every request is
//! logged. The sandbox knows nothing of our clients: it follows what the real systems were seen to do.

mod control;
mod faults;
mod gate;
mod git;
mod gitea;
mod gitea_mcp;
mod github;
mod kubernetes;
mod listening;
mod server;
mod world;

pub use faults::{Fault, FaultOrder};
pub use server::{Options, Sandbox, StartError};
pub use world::Profile;
