//! What every client of an upstream shares: a [`Token`] that cannot be empty, printed or serialised; one [`Error`]
//! shape that says whether the request may have acted; one HTTP client with deadlines; one MCP client that cannot be
//! built without a token.
//!
//! It knows no system's operations and repeats nothing: retries live in the step engine.
//!
//! ```
//! use forgeline_upstream::{Origin, Token};
//!
//! let empty = Token::new("", Origin::variable("GITEA_TOKEN")).unwrap_err();
//! assert_eq!(empty.to_string(), "environment variable GITEA_TOKEN is empty");
//! ```

mod deadline;
mod error;
mod full_name;
pub mod http;
pub mod mcp;
mod throttle;
mod token;

pub use deadline::{Deadlines, within};
pub use error::{Error, Kind, Reach};
pub use full_name::FullName;
pub use throttle::{Place, Priority, Throttle};
pub use token::{Origin, Token, TokenError, TokenFault, TokenHandle, TokenState};
