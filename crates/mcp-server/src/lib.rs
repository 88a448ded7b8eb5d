//! Workflows and runs as MCP tools, over Streamable HTTP and stdio.
//!
//! Every workflow of the catalogue is one tool; more look at runs, act on them, and examine the configuration. No state lives in MCP sessions,
//! and a client that goes away never cancels a run.

mod access;
mod handler;
pub mod http;
pub mod metrics;
mod progress;
pub mod project_token;
mod schema;
pub mod stdio;
mod tools;

pub use access::Access;
pub use handler::Server;
