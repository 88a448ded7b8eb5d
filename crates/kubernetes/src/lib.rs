//! Talk to a Kubernetes cluster: the namespace of a project and what stands in it; and render the manifests.
//!
//! kube is confined here: its retries are off and every call has a deadline. It is given a kubeconfig's text, an
//! endpoint or `in-cluster`, and never looks for a configuration itself. It knows nothing of runs, and repeats nothing.

mod access;
mod client;
mod contents;
mod follow;
pub mod manifest;
mod namespace;

pub use access::{Review, SecretKey};
pub use client::{Access, BuildError, Kubernetes};
pub use contents::Foreign;
pub use namespace::{Deleted, Namespace};
