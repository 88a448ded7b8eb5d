//! Workflows and runs as MCP tools, over Streamable HTTP and stdio.
//!
//! Every workflow of the catalogue is one tool; five more look at runs and act on them. No state lives in MCP sessions,
//! and a client that goes away never cancels a run.

mod handler;
pub mod http;
mod progress;
mod schema;
pub mod stdio;
mod tools;

pub use handler::Server;
