//! The version of Gitea that is stood in for: what differs between them.

use crate::gitea::Refusal;

/// A version of Gitea.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Renamed repositories answer 307, branches are read from git, refusals do not tell the token's scopes.
    Gitea1_22,
    /// Renamed repositories answer 301, branches stand in a table, refusals tell the token's scopes.
    #[default]
    Gitea1_25,
}

impl Profile {
    /// Reads `1.22` or `1.25`; `None` for another version.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1.22" => Some(Self::Gitea1_22),
            "1.25" => Some(Self::Gitea1_25),
            _ => None,
        }
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Gitea1_22 => "1.22.6",
            Self::Gitea1_25 => "1.25.4",
        }
    }

    pub(crate) fn redirect(self) -> u16 {
        match self {
            Self::Gitea1_22 => 307,
            Self::Gitea1_25 => 301,
        }
    }

    pub(crate) fn branches_in_table(self) -> bool {
        self == Self::Gitea1_25
    }

    /// A refusal as this version words it.
    pub(crate) fn worded(self, mut refusal: Refusal) -> Refusal {
        if self == Self::Gitea1_22 {
            if let Some((start, _)) = refusal.message.split_once(", token scope=") {
                refusal.message = start.replace("required=", ": ");
            }
            if refusal.message == "not found" {
                refusal.message = "The target couldn't be found.".into();
            }
        }
        refusal
    }
}
