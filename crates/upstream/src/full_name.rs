//! `owner/name`: how both forges name a repository.

use std::fmt;

/// `owner/name` of a repository, both parts plain. Compared without regard to case, as both forges do.
#[derive(Clone, Debug)]
pub struct FullName {
    owner: String,
    name: String,
}

impl FullName {
    /// Joins two parts. `None` when one of them is no plain name: 1 to 100 letters, digits, `-`, `_` or `.`, no `..`.
    pub fn new(owner: &str, name: &str) -> Option<Self> {
        let plain = |text: &str| {
            (1..=100).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
                && !text.contains("..")
                && text != "."
        };
        (plain(owner) && plain(name)).then(|| Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Who has it.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Its name without the owner.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl PartialEq for FullName {
    fn eq(&self, other: &Self) -> bool {
        self.owner.eq_ignore_ascii_case(&other.owner) && self.name.eq_ignore_ascii_case(&other.name)
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_leave_its_path_is_refused() {
        for name in ["..", "a..b", "a/b", "", "a b", "x?y"] {
            assert!(FullName::new("acme", name).is_none(), "{name}");
        }
    }
}
