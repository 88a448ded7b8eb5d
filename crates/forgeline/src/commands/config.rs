//! `forgeline config show`: effective values and their origin; or a whole example file.

use forgeline_auth::Fingerprints;
use serde_json::{Value, json};

use crate::cli::ConfigCommand;
use crate::env::Env;
use crate::variables::{ALL, Variable};
use crate::wire::keeping;
use crate::{exit, output};

pub(super) fn run(env: &Env, command: ConfigCommand) -> u8 {
    let ConfigCommand::Show { example, output } = command;
    if example {
        output::print(&example_file());
        return exit::OK;
    }
    for problem in env.broken_files() {
        output::complain(&problem.message, None, Some(&problem.remedy));
    }
    let fingerprints = keeping::fingerprints(env);
    let one = |variable| row(env, variable, &fingerprints);
    let mut rows: Vec<Value> = ALL.iter().map(one).collect();
    rows.push(json!({
        "name": "configuration_hash", "value": keeping::configuration_hash(env, &fingerprints), "origin": "computed",
        "secret": false, "key": "", "meaning": "Tells two configurations apart; /readyz?verbose and the audit log show it too.",
    }));
    output::settings(&rows, output.format);
    if env.broken_files().is_empty() {
        exit::OK
    } else {
        exit::CONFIGURATION
    }
}

fn row(env: &Env, variable: &Variable, fingerprints: &Fingerprints) -> Value {
    let name = variable.name;
    let value = if variable.secret {
        match env.secret(name) {
            Ok(Some(token)) => fingerprints.of_token(&token.current()),
            Ok(None) => String::new(),
            Err(problem) => format!("refused: {}", problem.message),
        }
    } else if name == "FORGELINE_DATA_DIR" {
        env.data_dir().display().to_string()
    } else {
        without_credentials(env.or_default(name))
    };
    json!({
        "name": name, "value": value, "origin": env.origin(name), "secret": variable.secret, "key": variable.key,
        "meaning": variable.meaning,
    })
}

/// An address is refused when it holds a password, but shown before that.
fn without_credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((credentials, _)) => format!("{scheme}://***{}", &rest[credentials.len()..]),
        None => value.to_owned(),
    }
}

/// Every setting with its meaning; nothing in it is switched on.
fn example_file() -> String {
    let mut text = vec![
        "# forgeline.toml: looked for in the working directory, then $XDG_CONFIG_HOME/forgeline/config.toml, then".to_owned(),
        "# /etc/forgeline/config.toml. Environment variables win over it. A secret is only ever a reference:".to_owned(),
        "# { env = \"NAME\" }, { file = \"/path\" } or { kubernetes = { namespace = \"a\", secret = \"b\", key = \"c\" } }".to_owned(),
        String::new(),
    ];
    let (single, sectioned): (Vec<&Variable>, Vec<&Variable>) = ALL
        .iter()
        .filter(|variable| !variable.key.is_empty())
        .partition(|variable| !variable.key.contains('.'));
    for variable in single {
        text.extend(lines(variable, variable.key));
    }
    let mut section = "";
    for variable in sectioned {
        let (name, key) = variable.key.split_once('.').unwrap_or(("", variable.key));
        if name != section {
            section = name;
            text.push(format!("[{name}]"));
        }
        text.extend(lines(variable, key));
        if variable.name == "FORGELINE_INFRA_PATH" {
            text.push(POLICY.trim_end().to_owned());
        }
    }
    text.push(TABLES.trim_end().to_owned());
    text.push(String::new());
    text.push("# Only in the environment:".to_owned());
    for variable in ALL.iter().filter(|variable| variable.key.is_empty()) {
        text.push(format!("#   {}: {}", variable.name, variable.meaning));
    }
    text.join("\n")
}

fn lines(variable: &Variable, key: &str) -> [String; 2] {
    let value = if variable.secret {
        format!(
            "{{ file = \"/run/secrets/forgeline/{}\" }}",
            variable.name.to_lowercase()
        )
    } else {
        format!("\"{}\"", variable.default)
    };
    [
        format!("# {} ({})", variable.meaning, variable.name),
        format!("# {key} = {value}"),
    ]
}

const POLICY: &str = r##"
# What stands in a project's namespace.
# quota = { "requests.cpu" = "2", "requests.memory" = "4Gi", "limits.memory" = "8Gi", pods = "20" }
# limits = { default = { cpu = "500m", memory = "512Mi" }, request = { cpu = "50m", memory = "64Mi" } }
# pod_security = "restricted"       # or baseline, privileged
# network_policy = true             # deny everything but DNS
# role = "edit"                     # the ClusterRole that the subjects get; needs the verb bind on it
# subjects = ["Group:developers"]   # also User:NAME and ServiceAccount:NAMESPACE/NAME
# image_pull_secret = "registry"    # name of a Secret that somebody else brings
# extra_manifests = "/etc/forgeline/manifests"   # GitOps only; a Secret in it must be encrypted by SOPS
"##;

const TABLES: &str = r##"
# MCP servers that the step kind mcp.call may call, beside `gitea`.
# [[mcp_servers]]
# name = "chat"
# url = "https://chat.example.org/mcp"
# token = { env = "CHAT_MCP_TOKEN" }

# What the step kind http.request may reach, and the bearers that it may name.
# [http]
# allow_hosts = ["hooks.example.org"]
# [[http.tokens]]
# name = "hooks"
# hosts = ["hooks.example.org"]
# token = { env = "HOOKS_TOKEN" }

# Named callers of serve with their scopes: forgeline:read, forgeline:create, forgeline:delete, forgeline:admin.
# [[auth.static]]
# name = "router"
# token = { file = "/run/secrets/forgeline/router" }
# scopes = ["forgeline:read", "forgeline:create"]

# What everybody in a group of the issuer may do, beside the scopes of the token itself.
# [[auth.groups]]
# name = "platform"
# scopes = ["forgeline:read", "forgeline:create", "forgeline:delete"]
"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_without_its_comment_signs_is_a_file_that_is_read() {
        let text: Vec<String> = example_file()
            .lines()
            .filter(|line| {
                let rest = line.strip_prefix("# ").unwrap_or(line);
                rest.contains(" = ") && !rest.contains("{ env = \"NAME\" }")
                    || rest.starts_with('[')
            })
            .map(|line| line.strip_prefix("# ").unwrap_or(line).to_owned())
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("forgeline.toml");
        std::fs::write(&path, text.join("\n")).unwrap();
        let read = crate::config_file::read(&path);
        let problems = read.err().unwrap_or_default();
        assert!(problems.is_empty(), "{problems:?}\n{}", text.join("\n"));
    }
}
