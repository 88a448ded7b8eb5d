//! Who calls, and what the caller may do.

use std::collections::BTreeSet;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look: status, list, check, doctor, plans.
    Read,
    /// Make: create, renew, resume, cancel.
    Create,
    /// Remove: delete, clean-up, rotate.
    Delete,
    /// Everything.
    Admin,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For example `svc:router` or `local:ada`; never a credential.
    pub name: String,
    /// What the caller may do.
    pub scopes: BTreeSet<Scope>,
}

impl Caller {
    /// A caller who may do everything.
    pub fn admin(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scopes: BTreeSet::from([Scope::Admin]),
        }
    }
}
