//! The configuration file: TOML, with the same settings as the environment and with tables that the environment has no
//! form for. A secret in it is only ever a reference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use toml::{Table, Value as Toml};

use crate::config::Problem;
use crate::variables::{ALL, Variable};

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Reference {
    /// An environment variable.
    Env(String),
    /// A file; read again when it changes.
    File(PathBuf),
    /// A key of a Secret in the cluster that forgeline talks to; read at the start.
    Kubernetes {
        /// Its namespace.
        namespace: String,
        /// Its name.
        secret: String,
        /// The key in `data`.
        key: String,
    },
}

/// What a file says of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Text(String),
    Secret(Reference),
}

/// An MCP server that the step kind `mcp.call` may call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct McpServer {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) token: Reference,
}

/// What the step kind `http.request` may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    #[serde(default)]
    pub(crate) allow_hosts: Vec<String>,
    #[serde(default)]
    pub(crate) tokens: Vec<HttpToken>,
}

/// A bearer that `http.request` may name, and the only hosts that it goes to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpToken {
    pub(crate) name: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) token: Reference,
}

/// A named caller of `serve`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StaticCaller {
    pub(crate) name: String,
    pub(crate) token: Reference,
    pub(crate) scopes: Vec<String>,
}

/// The scopes of everybody in a group of the issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupScopes {
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
}

/// What stands in a project's namespace; see the documentation of `[infra]` in the example file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InfraPolicy {
    pub(crate) quota: Option<BTreeMap<String, String>>,
    pub(crate) limits: Option<BTreeMap<String, BTreeMap<String, String>>>,
    pub(crate) pod_security: Option<String>,
    pub(crate) network_policy: Option<bool>,
    pub(crate) role: Option<String>,
    #[serde(default)]
    pub(crate) subjects: Vec<String>,
    pub(crate) image_pull_secret: Option<String>,
    pub(crate) extra_manifests: Option<PathBuf>,
}

/// One file, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    /// By variable.
    pub(crate) said: BTreeMap<&'static str, Said>,
    pub(crate) mcp_servers: Option<Vec<McpServer>>,
    pub(crate) http: Option<Http>,
    pub(crate) callers: Option<Vec<StaticCaller>>,
    pub(crate) groups: Option<Vec<GroupScopes>>,
    /// The whole text; no secret stands in it.
    pub(crate) text: String,
    pub(crate) infra: Option<InfraPolicy>,
}

/// Reads a file. `None`: there is none.
pub(crate) fn read(path: &Path) -> Result<Option<ConfigFile>, Vec<Problem>> {
    let problem = |why: String| {
        vec![Problem {
            code: "configuration.invalid".into(),
            message: format!("{}: {why}", path.display()),
            remedy: "correct the file; `forgeline config show --example` prints a whole one".into(),
        }]
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // A home directory that this user may not look into has no file for them.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Err(error) => return Err(problem(format!("cannot be read: {error}"))),
    };
    // The parser's own message shows the line, which may hold a secret that somebody put there.
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| {
            text[..span.start.min(text.len())].lines().count().max(1)
        });
        problem(format!("line {line}: {}", error.message()))
    })?;
    let mut reader = Reader {
        file: ConfigFile {
            path: path.to_owned(),
            text: text.clone(),
            ..ConfigFile::default()
        },
        problems: Vec::new(),
    };
    reader.top(table);
    let Reader { file, problems } = reader;
    if problems.is_empty() {
        Ok(Some(file))
    } else {
        Err(problems.into_iter().flat_map(problem).collect())
    }
}

struct Reader {
    file: ConfigFile,
    problems: Vec<String>,
}

impl Reader {
    fn top(&mut self, table: Table) {
        for (name, value) in table {
            match (name.as_str(), value) {
                ("mcp_servers", value) => self.file.mcp_servers = self.typed("mcp_servers", value),
                ("http", value) => self.file.http = self.typed("http", value),
                ("auth", Toml::Table(auth)) => self.auth(auth),
                ("infra", Toml::Table(section)) => self.infra(section),
                (section, Toml::Table(fields)) => {
                    for (key, value) in fields {
                        self.setting(&format!("{section}.{key}"), value);
                    }
                }
                (key, value) => self.setting(key, value),
            }
        }
    }

    fn auth(&mut self, mut auth: Table) {
        if let Some(callers) = auth.remove("static") {
            self.file.callers = self.typed("auth.static", callers);
        }
        if let Some(groups) = auth.remove("groups") {
            self.file.groups = self.typed("auth.groups", groups);
        }
        for (key, value) in auth {
            self.setting(&format!("auth.{key}"), value);
        }
    }

    /// Settings of the environment's kind, and the policy of the namespace beside them.
    fn infra(&mut self, section: Table) {
        let (settings, policy): (Table, Table) = section
            .into_iter()
            .partition(|(key, _)| ALL.iter().any(|one| one.key == format!("infra.{key}")));
        for (key, value) in settings {
            self.setting(&format!("infra.{key}"), value);
        }
        self.file.infra = self.typed("infra", Toml::Table(policy));
    }

    fn typed<T: serde::de::DeserializeOwned>(&mut self, what: &str, value: Toml) -> Option<T> {
        match value.try_into() {
            Ok(value) => Some(value),
            Err(error) => {
                let message = without_values(error.message());
                self.problems.push(format!("[{what}] {message}"));
                None
            }
        }
    }

    fn setting(&mut self, key: &str, value: Toml) {
        let Some(variable) = ALL.iter().find(|one| one.key == key && !key.is_empty()) else {
            let section = key.split('.').next().unwrap_or_default();
            let known: Vec<&str> = ALL
                .iter()
                .filter(|one| one.key.starts_with(section))
                .map(|one| one.key)
                .collect();
            let hint = if known.is_empty() {
                String::new()
            } else {
                format!("; there are {}", known.join(", "))
            };
            self.problems
                .push(format!("there is no setting `{key}`{hint}"));
            return;
        };
        match said(variable, value) {
            Ok(said) => {
                self.file.said.insert(variable.name, said);
            }
            Err(why) => self.problems.push(format!("`{key}` {why}")),
        }
    }
}

/// What the reader of TOML says, without the value that it met: that may be a token in the wrong place.
fn without_values(message: &str) -> String {
    let met = ["invalid type", "invalid value", "unknown variant"];
    match message.split_once(", expected ") {
        Some((head, expected)) if met.iter().any(|word| head.starts_with(word)) => format!(
            "expected {expected}; a token stands there only as {{ env = \"NAME\" }}, {{ file = \"PATH\" }} or {{ kubernetes = … }}"
        ),
        _ => message.to_owned(),
    }
}

fn said(variable: &Variable, value: Toml) -> Result<Said, String> {
    if variable.secret {
        let plain = "holds a secret, so it must be a reference: { env = \"NAME\" }, { file = \"/path\" } or { kubernetes = { namespace, secret, key } }";
        if !value.is_table() {
            return Err(plain.to_owned());
        }
        return value
            .try_into()
            .map(Said::Secret)
            .map_err(|error| format!("{plain} ({})", without_values(error.message())));
    }
    match value {
        Toml::String(text) => Ok(Said::Text(text)),
        Toml::Boolean(flag) => Ok(Said::Text(flag.to_string())),
        Toml::Integer(number) => Ok(Said::Text(number.to_string())),
        Toml::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Toml::as_str).collect();
            texts
                .map(|texts| Said::Text(texts.join(",")))
                .ok_or_else(|| "must be a list of texts".to_owned())
        }
        Toml::Float(_) | Toml::Datetime(_) | Toml::Table(_) => {
            Err("must be a text, a number, true or false, or a list of texts".to_owned())
        }
    }
}

impl InfraPolicy {
    /// As steps get it; nothing in it is secret. Extra manifests are read when the configuration is.
    pub(crate) fn to_value(&self, extra: &[Value]) -> Value {
        serde_json::json!({
            "quota": self.quota,
            "limits": self.limits,
            "pod_security": self.pod_security,
            "network_policy": self.network_policy,
            "role": self.role,
            "subjects": self.subjects,
            "image_pull_secret": self.image_pull_secret,
            "extra_manifests": extra,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("forgeline.toml");
        std::fs::write(&path, text).unwrap();
        match read(&path) {
            Ok(file) => Ok(file.unwrap()),
            Err(problems) => Err(problems.into_iter().map(|one| one.message).collect()),
        }
    }

    #[test]
    fn a_secret_in_plain_text_is_refused_and_never_shown() {
        let found = parse("[gitea]\ntoken = \"s3cret\"\n").unwrap_err();
        assert!(found[0].contains("must be a reference"), "{found:?}");
        assert!(!found[0].contains("s3cret"), "{found:?}");
        let broken = parse("[gitea]\ntoken = s3cret\n").unwrap_err();
        assert!(broken[0].contains("line 2"), "{broken:?}");
        assert!(!broken[0].contains("s3cret"), "{broken:?}");
    }

    #[test]
    fn a_secret_in_a_table_is_refused_and_never_shown() {
        for text in [
            "[[mcp_servers]]\nname = \"a\"\nurl = \"http://x\"\ntoken = \"s3cret\"\n",
            "[[auth.static]]\nname = \"a\"\nscopes = []\ntoken = \"s3cret\"\n",
            "[[auth.static]]\nname = \"a\"\nscopes = \"s3cret\"\n",
            "[http]\ntokens = \"s3cret\"\n",
            "[[http.tokens]]\nname = \"a\"\nhosts = []\ntoken = { file = [\"s3cret\"] }\n",
        ] {
            let found = parse(text).unwrap_err().join("\n");
            assert!(found.contains("a token stands there only as"), "{found}");
            assert!(!found.contains("s3cret"), "{found}");
        }
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let found = parse("nonsense = 1\n[gitea]\nulr = \"x\"\n[[mcp_servers]]\nname = \"a\"\n")
            .unwrap_err();
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn references_and_tables_are_read() {
        let file = parse(
            "data_dir = \"/d\"\n[gitea]\nurl = \"http://x\"\ntoken = { env = \"MY_TOKEN\" }\n[infra]\nmode = \"both\"\nquota = { pods = \"5\" }\n\
             [github]\ntoken = { kubernetes = { namespace = \"a\", secret = \"b\", key = \"c\" } }\n\
             [http]\nallow_hosts = [\"hooks.example.org\"]\n[[auth.static]]\nname = \"router\"\ntoken = { file = \"/t\" }\nscopes = [\"forgeline:read\"]\n",
        )
        .unwrap();
        assert_eq!(
            file.said["GITEA_TOKEN"],
            Said::Secret(Reference::Env("MY_TOKEN".into()))
        );
        assert_eq!(file.said["FORGELINE_INFRA_MODE"], Said::Text("both".into()));
        assert_eq!(file.infra.unwrap().quota.unwrap()["pods"], "5");
        assert_eq!(file.http.unwrap().allow_hosts, ["hooks.example.org"]);
        assert_eq!(file.callers.unwrap()[0].name, "router");
    }
}
