//! Decide who calls. For now: static bearers, compared by digest in constant time.
//!
//! A caller is a name with scopes. The layer in [`bearer`] answers 401 with a challenge to everybody else and takes
//! credentials out of the request, so that nothing behind it can log them.

mod caller;
mod layer;
mod static_token;

pub use caller::{Caller, Scope};
pub use layer::{Gate, bearer};
pub use static_token::{MIN_LENGTH, StaticToken};
