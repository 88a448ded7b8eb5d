//! How a gitea-mcp server names its tools and words its answers: data, one file per server that is known.
//!
//! A server is recognised by the name that it gives at initialize and by a tool that only it has: several call
//! themselves the same. One that is not known needs a mapping file of the user's; nothing is ever guessed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

/// The files that ship with the program.
const SHIPPED: [&str; 3] = [
    include_str!("../dialects/official.toml"),
    include_str!("../dialects/pypi_gitea_mcp.toml"),
    include_str!("../dialects/npm_gitea_mcp.toml"),
];

/// How one gitea-mcp server is spoken to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// For people.
    pub name: String,
    /// What such servers call themselves (`serverInfo.name`).
    servers: Vec<String>,
    /// Tools of which such a server has at least one. Empty: the name is enough.
    #[serde(default)]
    marks: Vec<String>,
    /// Operation to the tools that do it, best first; the first one that the server has is used.
    #[serde(default)]
    operations: BTreeMap<Operation, Vec<Mapping>>,
    /// Texts of refusals, in lower case, and the HTTP status that each stands for; the first that fits counts.
    #[serde(default)]
    refusals: Vec<Meaning>,
}

/// What is asked of a gitea-mcp server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Tell the login of the user behind the token.
    WhoAmI,
    /// Create a repository for that user.
    CreateOwnRepository,
    /// Create a repository in an organisation.
    CreateOrganisationRepository,
    /// Open an issue.
    CreateIssue,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::WhoAmI,
        Self::CreateOwnRepository,
        Self::CreateOrganisationRepository,
        Self::CreateIssue,
    ];

    /// The word of the mapping files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WhoAmI => "who_am_i",
            Self::CreateOwnRepository => "create_own_repository",
            Self::CreateOrganisationRepository => "create_organisation_repository",
            Self::CreateIssue => "create_issue",
        }
    }
}

/// A tool and its arguments.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The tool's name.
    pub tool: String,
    /// Argument to value; a text `$name` stands for that value of the operation, and an argument whose value is not
    /// given is left out.
    #[serde(default)]
    arguments: Map<String, Value>,
    /// Values that this tool would drop silently: it is passed over when one of them is given.
    #[serde(default)]
    not_with: Vec<String>,
    /// Where in the answer the result stands, as a JSON pointer; the whole answer by default.
    #[serde(default)]
    result: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meaning {
    text: String,
    status: u16,
}

impl Dialect {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// A sentence with the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| {
                text[..span.start.min(text.len())].lines().count().max(1)
            });
            format!("line {line}: {}", error.message())
        })
    }

    /// The dialects that ship with the program.
    pub fn shipped() -> Vec<Self> {
        // The files are part of the program, and a test reads them.
        SHIPPED
            .iter()
            .filter_map(|text| Self::parse(text).ok())
            .collect()
    }

    /// Whether a server of this name with these tools speaks it.
    pub fn is_of(&self, server: &str, tools: &BTreeSet<String>) -> bool {
        let marked = self.marks.is_empty() || self.marks.iter().any(|mark| tools.contains(mark));
        marked && self.servers.iter().any(|known| known == server)
    }

    /// The tool for an operation with these values. `None`: this server has none that takes them all.
    pub fn mapping(
        &self,
        operation: Operation,
        tools: &BTreeSet<String>,
        values: &Value,
    ) -> Option<&Mapping> {
        self.operations
            .get(&operation)?
            .iter()
            .find(|mapping| tools.contains(&mapping.tool) && mapping.takes(values))
    }

    /// The status that a text of a failed tool stands for. `None`: it may hide anything.
    pub(crate) fn status(&self, text: &str) -> Option<u16> {
        let lower = text.to_ascii_lowercase();
        if lower.contains("<html") {
            return None;
        }
        let meaning = self
            .refusals
            .iter()
            .find(|meaning| lower.contains(&meaning.text))?;
        // A 5xx is listed so that no later text is taken for it: its outcome is not known.
        (meaning.status < 500).then_some(meaning.status)
    }
}

impl Mapping {
    fn takes(&self, values: &Value) -> bool {
        self.not_with.iter().all(|name| values[name].is_null())
    }

    /// The arguments with these values.
    pub(crate) fn arguments(&self, values: &Value) -> Value {
        let filled = self.arguments.iter().filter_map(|(name, value)| {
            let value = match value.as_str().and_then(|text| text.strip_prefix('$')) {
                Some(wanted) => values[wanted].clone(),
                None => value.clone(),
            };
            (!value.is_null()).then(|| (name.clone(), value))
        });
        Value::Object(filled.collect())
    }

    /// The result within an answer.
    pub(crate) fn result(&self, answer: Value) -> Value {
        if self.result.is_empty() {
            return answer;
        }
        answer.pointer(&self.result).cloned().unwrap_or(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shipped_file_is_read_and_known_by_its_servers() {
        for text in SHIPPED {
            Dialect::parse(text).unwrap();
        }
        let all = Dialect::shipped();
        assert_eq!(all.len(), SHIPPED.len());
        let tools = |name: &str| BTreeSet::from([name.to_owned()]);
        let of = |server: &str, tool: &str| {
            all.iter()
                .filter(|dialect| dialect.is_of(server, &tools(tool)))
                .map(|dialect| dialect.name.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("Gitea MCP Server", "get_me"), ["official"]);
        assert_eq!(of("gitea-mcp", "get_server_info"), ["pypi_gitea_mcp"]);
        assert_eq!(of("gitea-mcp", "repo__create"), ["npm_gitea_mcp"]);
        assert_eq!(of("gitea-mcp", "another_tool"), [""; 0]);
    }

    #[test]
    fn the_first_tool_that_the_server_has_is_used_and_absent_values_are_left_out() {
        let all = Dialect::shipped();
        let official = all
            .iter()
            .find(|dialect| dialect.name == "official")
            .unwrap();
        let old = BTreeSet::from(["create_issue".to_owned()]);
        let values = json!({"owner": "a", "repository": "b", "title": "t", "body": "x"});
        let mapping = official
            .mapping(Operation::CreateIssue, &old, &values)
            .unwrap();
        assert_eq!(mapping.tool, "create_issue");
        let labelled = json!({"owner": "a", "label_ids": [1]});
        assert!(
            official
                .mapping(Operation::CreateIssue, &old, &labelled)
                .is_none()
        );
        let arguments = mapping.arguments(&values);
        assert_eq!(
            arguments,
            json!({"owner": "a", "repo": "b", "title": "t", "body": "x"})
        );
    }

    #[test]
    fn a_known_refusal_has_a_status_and_an_unknown_text_has_none() {
        let all = Dialect::shipped();
        let official = all
            .iter()
            .find(|dialect| dialect.name == "official")
            .unwrap();
        let taken =
            "create repository 'shop' err: The repository with the same name already exists.";
        assert_eq!(official.status(taken), Some(409));
        assert_eq!(official.status("unknown API error: 500"), None);
        assert_eq!(official.status("unknown API error: 502: not found"), None);
    }
}
