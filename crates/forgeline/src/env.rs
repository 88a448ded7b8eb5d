//! Every environment variable, in one list; the only place that reads the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A variable and what it means.
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// A secret: also read from the file that `NAME_FILE` names.
    pub(crate) secret: bool,
}

const fn plain(name: &'static str) -> Variable {
    Variable {
        name,
        secret: false,
    }
}

const fn secret(name: &'static str) -> Variable {
    Variable { name, secret: true }
}

/// All variables; their meaning stands in the README.
pub(crate) const ALL: &[Variable] = &[
    plain("GITEA_MCP_URL"),
    secret("GITEA_MCP_TOKEN"),
    plain("GITEA_URL"),
    secret("GITEA_TOKEN"),
    secret("GITHUB_PAT"),
    secret("GITHUB_TOKEN"),
    plain("GITHUB_API_URL"),
    secret("GITHUB_MIRROR_TOKEN"),
    plain("GITHUB_MIRROR_USERNAME"),
    plain("FORGELINE_MIRROR_USE_PAT"),
    plain("KUBECONFIG"),
    plain("KUBE_API_URL"),
    secret("KUBE_TOKEN"),
    plain("KUBE_CA_FILE"),
    plain("KUBERNETES_SERVICE_HOST"),
    plain("FORGELINE_GITEA_OWNER"),
    plain("FORGELINE_GITHUB_OWNER"),
    plain("FORGELINE_DATA_DIR"),
    plain("FORGELINE_LISTEN"),
    plain("FORGELINE_ALLOWED_HOSTS"),
    plain("FORGELINE_ALLOWED_ORIGINS"),
    secret("FORGELINE_STATIC_TOKEN"),
    plain("FORGELINE_ENVIRONMENT"),
    plain("FORGELINE_CA_FILE"),
    plain("FORGELINE_LOG"),
    plain("XDG_STATE_HOME"),
    plain("HOME"),
    plain("USER"),
    plain("NO_COLOR"),
];

/// The variables that are set, whatever is in them.
#[derive(Clone, Default)]
pub(crate) struct Env {
    values: BTreeMap<String, String>,
}

impl Env {
    /// The variables of this process; what is not Unicode counts with replacement characters, and is refused where it
    /// is judged.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn of_process() -> Self {
        let mut values = BTreeMap::new();
        let mut read = |name: String| {
            if let Some(value) = std::env::var_os(&name) {
                values.insert(name, value.to_string_lossy().into_owned());
            }
        };
        for variable in ALL {
            read(variable.name.to_owned());
            if variable.secret {
                read(format!("{}_FILE", variable.name));
            }
        }
        Self { values }
    }

    /// The variables of an embedded sandbox, over what this process says about itself (listen address, log, home).
    pub(crate) fn of_sandbox(
        exports: Vec<(&'static str, String)>,
        data_dir: &Path,
        process: &Env,
    ) -> Self {
        let own = [
            "FORGELINE_LISTEN",
            "FORGELINE_ALLOWED_HOSTS",
            "FORGELINE_ALLOWED_ORIGINS",
            "FORGELINE_STATIC_TOKEN",
            "FORGELINE_STATIC_TOKEN_FILE",
            "USER",
            "NO_COLOR",
        ];
        let kept = process
            .values
            .iter()
            .filter(|(name, _)| own.contains(&name.as_str()));
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
        Self { values }
    }

    /// What a variable holds; `None`: it is not set. An empty one is set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// As [`Env::get`], without white space around, and with an empty one as not set. For what is no secret.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
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
        }
    }
}
