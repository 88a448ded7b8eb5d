//! Decide who calls, and what they may do: bearers of the configuration, tokens of an OIDC issuer, credentials of single
//! projects; scopes and a policy; and the log of what was asked, refused and destroyed.
//!
//! A [`Caller`] is a name with scopes. [`guard`] stands in front of MCP: it answers 401, 403 and 503 with the challenges of
//! MCP's authorization specification, and takes credentials out of the request, so that nothing behind it can log or
//! forward them. It makes no tokens for people: that is an issuer's work.

pub mod audit;
mod bearer;
mod caller;
mod challenge;
mod fingerprint;
mod flood;
mod gate;
mod jwt;
pub mod policy;
mod project_token;
mod static_token;
mod strict_json;

pub use caller::{Caller, OneProject, Person, Scope, Via};
pub use challenge::Resource;
pub use fingerprint::Fingerprints;
pub use flood::Allowance;
pub use gate::{BODY_LIMIT, Gate, Keys, Need, guard};
pub use jwt::{Claims, Discovered, Issuer, Jwt, Refused, Times, issuer_address};
pub use project_token::{Minted, PROJECT_SCOPES, PROJECT_TOOLS, ProjectTokens, StoreError};
pub use static_token::{MIN_LENGTH, StaticToken};
