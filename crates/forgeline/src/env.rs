//! What is configured, and where each value came from; the only place that reads the environment.
//!
//! Order: environment, `./forgeline.toml`, `$XDG_CONFIG_HOME/forgeline/config.toml`, `/etc/forgeline/config.toml`.
//! (Flags are read by the commands, defaults by those who use a value.)

mod tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::config::Problem;
use crate::config_file::{
    self, ConfigFile, GroupScopes, Http, InfraPolicy, McpServer, Said, StaticCaller,
};
use crate::variables::{ALL, find};
use tokens::Handed;

pub(crate) use tokens::Place;

/// The settings that are given, whatever is in them.
#[derive(Clone, Default)]
pub(crate) struct Env {
    /// The environment, `NAME_FILE` variables among it.
    values: BTreeMap<String, String>,
    /// Nearest first.
    files: Vec<ConfigFile>,
    /// What is wrong with the files; said when the configuration is judged.
    broken: Vec<Problem>,
    /// The Secrets that were fetched from the cluster.
    fetched: BTreeMap<Place, Result<String, String>>,
    /// The tokens that were handed out, by what they are for: whoever asks again gets the same one, so that all see a change.
    handles: Arc<Mutex<BTreeMap<String, Handed>>>,
}

/// What the embedded sandbox leaves of the process's own environment.
const KEPT_BESIDE_SANDBOX: [&str; 28] = [
    "FORGELINE_LISTEN",
    "FORGELINE_ALLOWED_HOSTS",
    "FORGELINE_ALLOWED_ORIGINS",
    "FORGELINE_STATIC_TOKEN",
    "FORGELINE_STATIC_TOKEN_FILE",
    "FORGELINE_UNAUTHENTICATED_PER_SECOND",
    "FORGELINE_TLS_CERT",
    "FORGELINE_TLS_KEY",
    "DEX_ISSUER_URL",
    "FORGELINE_AUDIENCE",
    "MCP_RESOURCE_URL",
    "FORGELINE_USER_CLAIM",
    "FORGELINE_GROUPS_CLAIM",
    "FORGELINE_OIDC_SERVICES",
    "FORGELINE_ASKED_SCOPES",
    "FORGELINE_POLICY",
    "FORGELINE_PROJECT_TOKEN_TTL",
    "FORGELINE_AUDIT_KEY",
    "FORGELINE_AUDIT_KEY_FILE",
    "FORGELINE_AUDIT_SIGNING_KEY",
    "FORGELINE_AUDIT_SIGNING_KEY_FILE",
    "FORGELINE_FINGERPRINT_KEY",
    "FORGELINE_FINGERPRINT_KEY_FILE",
    "FORGELINE_INFRA_MODE",
    "FORGELINE_INFRA_PATH",
    "HOME",
    "USER",
    "NO_COLOR",
];

impl Env {
    /// The settings of this process; what is not Unicode counts with replacement characters, and is refused where it is
    /// judged.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn of_process() -> Self {
        let mut values = BTreeMap::new();
        let mut read = |name: &str| {
            if let Some(value) = std::env::var_os(name) {
                values.insert(name.to_owned(), value.to_string_lossy().into_owned());
            }
        };
        for variable in ALL {
            read(variable.name);
            if variable.secret {
                read(&format!("{}_FILE", variable.name));
            }
        }
        let mut env = Self {
            values,
            ..Self::default()
        };
        env.read_files();
        for name in env.referred_variables() {
            if let Some(value) = std::env::var_os(&name) {
                let value = value.to_string_lossy().into_owned();
                env.values.entry(name).or_insert(value);
            }
        }
        env
    }

    fn read_files(&mut self) {
        let home = self.filled("HOME").unwrap_or(".");
        let below = self
            .filled("XDG_CONFIG_HOME")
            .map_or_else(|| Path::new(home).join(".config"), PathBuf::from);
        let paths = [
            PathBuf::from("./forgeline.toml"),
            below.join("forgeline").join("config.toml"),
            PathBuf::from("/etc/forgeline/config.toml"),
        ];
        for path in paths {
            match config_file::read(&path) {
                Ok(Some(file)) => self.files.push(file),
                Ok(None) => {}
                Err(problems) => self.broken.extend(problems),
            }
        }
    }

    /// The settings of an embedded sandbox, over what this process says about itself (listen address, home, workflows).
    pub(crate) fn of_sandbox(
        exports: Vec<(&'static str, String)>,
        data_dir: &Path,
        process: &Env,
    ) -> Self {
        let kept = process
            .values
            .iter()
            .filter(|(name, _)| KEPT_BESIDE_SANDBOX.contains(&name.as_str()));
        let mut values: BTreeMap<String, String> = kept
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        values.extend(
            exports
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        values.insert(
            "FORGELINE_DATA_DIR".to_owned(),
            data_dir.display().to_string(),
        );
        Self {
            values,
            ..Self::default()
        }
    }

    /// Every variable that is set.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.values.iter();
        values.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What is wrong with the configuration files.
    pub(crate) fn broken_files(&self) -> &[Problem] {
        &self.broken
    }

    /// What a setting that is no secret holds; `None`: it is not given. An empty one is given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let from_file = || {
            self.files
                .iter()
                .find_map(|file| match file.said.get(name)? {
                    Said::Text(text) => Some(text.as_str()),
                    Said::Secret(_) => None,
                })
        };
        self.values.get(name).map(String::as_str).or_else(from_file)
    }

    /// As [`Env::get`], without white space around, and with an empty one as not given.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    /// As [`Env::filled`], or the setting's default.
    pub(crate) fn or_default(&self, name: &str) -> &str {
        self.filled(name)
            .or_else(|| find(name).map(|variable| variable.default))
            .unwrap_or_default()
    }

    /// Whether a setting or a secret is given anywhere.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
            || self.values.contains_key(&format!("{name}_FILE"))
            || self.files.iter().any(|file| file.said.contains_key(name))
    }

    /// Where a setting or a secret comes from, for `config show`.
    pub(crate) fn origin(&self, name: &str) -> String {
        if self.values.contains_key(name) {
            return "environment".to_owned();
        }
        if self.values.contains_key(&format!("{name}_FILE")) {
            return format!("environment ({name}_FILE)");
        }
        match self.files.iter().find(|file| file.said.contains_key(name)) {
            Some(file) => file.path.display().to_string(),
            None if find(name).is_some_and(|variable| !variable.default.is_empty()) => {
                "default".to_owned()
            }
            None => "not set".to_owned(),
        }
    }

    /// The parts of a comma-separated list.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let parts = self
            .filled(name)
            .unwrap_or_default()
            .split(',')
            .map(str::trim);
        parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// As [`Env::list`], or of the setting's default.
    pub(crate) fn list_or_default(&self, name: &str) -> Vec<String> {
        let parts = self.or_default(name).split([',', ' ']).map(str::trim);
        let filled = parts.filter(|part| !part.is_empty());
        filled.map(str::to_owned).collect()
    }

    /// The MCP servers of the nearest file that names any, and that file.
    pub(crate) fn mcp_servers(&self) -> Option<(&Path, &[McpServer])> {
        self.files
            .iter()
            .find_map(|file| Some((file.path.as_path(), file.mcp_servers.as_deref()?)))
    }

    /// What `http.request` may reach, from the nearest file that says it.
    pub(crate) fn http(&self) -> Option<(&Path, &Http)> {
        self.files
            .iter()
            .find_map(|file| Some((file.path.as_path(), file.http.as_ref()?)))
    }

    /// The named callers of the nearest file that has any.
    pub(crate) fn callers(&self) -> Option<(&Path, &[StaticCaller])> {
        self.files
            .iter()
            .find_map(|file| Some((file.path.as_path(), file.callers.as_deref()?)))
    }

    /// The scopes of groups, from the nearest file that names any.
    pub(crate) fn groups(&self) -> &[GroupScopes] {
        let mut files = self.files.iter();
        files
            .find_map(|file| file.groups.as_deref())
            .unwrap_or_default()
    }

    /// The texts of the configuration files; no secret stands in them.
    pub(crate) fn file_texts(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.text.as_str())
    }

    /// The policy of namespaces, from the nearest file that has one.
    pub(crate) fn infra(&self) -> Option<&InfraPolicy> {
        self.files.iter().find_map(|file| file.infra.as_ref())
    }

    /// `FORGELINE_DATA_DIR`, else `$XDG_STATE_HOME/forgeline`, else `~/.local/state/forgeline`.
    pub(crate) fn data_dir(&self) -> PathBuf {
        if let Some(dir) = self.filled("FORGELINE_DATA_DIR") {
            return PathBuf::from(dir);
        }
        let state = self.filled("XDG_STATE_HOME").map(PathBuf::from);
        let state = state.unwrap_or_else(|| {
            Path::new(self.filled("HOME").unwrap_or("."))
                .join(".local")
                .join("state")
        });
        state.join("forgeline")
    }

    /// `live` or `sandbox`, as answers say of themselves.
    pub(crate) fn environment(&self) -> &str {
        self.or_default("FORGELINE_ENVIRONMENT")
    }

    /// Who sits at this machine, for `local:<user>`.
    pub(crate) fn user(&self) -> &str {
        self.filled("USER").unwrap_or("unknown")
    }

    /// For tests.
    #[cfg(test)]
    pub(crate) fn of(values: &[(&str, &str)]) -> Self {
        Self {
            values: values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Self::default()
        }
    }
}
