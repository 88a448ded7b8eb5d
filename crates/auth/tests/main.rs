//! The judge of tokens against an issuer on a real socket.

#![allow(clippy::unwrap_used)]

#[path = "it/forged.rs"]
mod forged;
#[path = "it/issuer.rs"]
mod issuer;
#[path = "it/keys.rs"]
mod keys;
#[path = "it/log.rs"]
mod log;
