//! End to end: the real program, over its command line, HTTP and stdio, against the sandbox in another process.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod architecture;
mod command_line;
mod kill;
mod mcp;
mod ownership;
mod readme;
mod rights;
mod support;
mod tokens;
mod unwritable;
