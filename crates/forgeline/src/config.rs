//! The configuration, judged as a whole: every problem is reported at once, before any request.

use std::path::PathBuf;

use forgeline_auth::{Caller, StaticToken};
use forgeline_kubernetes::Access;
use forgeline_provision::{MirrorCredentials, Timings};
use forgeline_upstream::http::{Trust, address};
use forgeline_upstream::{Origin, Token, TokenError, TokenFault, TokenHandle};
use serde_json::{Value, json};
use url::Url;

use crate::env::Env;

/// Something in the configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Stable and dotted.
    pub(crate) code: String,
    /// What is wrong, naming the variable.
    pub(crate) message: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl Problem {
    fn new(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(error.fault.code(), error.to_string(), error.remedy())
    }
}

/// Everything that is needed to reach the upstreams.
pub(crate) struct Config {
    pub(crate) gitea_mcp_url: Url,
    pub(crate) gitea_mcp_token: TokenHandle,
    pub(crate) gitea_url: Url,
    pub(crate) gitea_token: TokenHandle,
    pub(crate) github_url: Url,
    pub(crate) github_token: TokenHandle,
    pub(crate) mirror: MirrorCredentials,
    pub(crate) kubernetes: Access,
    pub(crate) trust: Trust,
    pub(crate) settings: Value,
    pub(crate) environment: String,
    pub(crate) timings: Timings,
    pub(crate) data_dir: PathBuf,
}

impl Config {
    /// Reads and judges everything.
    pub(crate) fn read(env: &Env) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader {
            env,
            problems: Vec::new(),
        };
        let gitea_mcp_url = reader.address("GITEA_MCP_URL", None);
        let gitea_mcp_token = reader.token("GITEA_MCP_TOKEN");
        let gitea_url = reader.address("GITEA_URL", None);
        let gitea_token = reader.token("GITEA_TOKEN");
        let github_url = reader.address("GITHUB_API_URL", Some("https://api.github.com"));
        let github_token = reader.github_token();
        let mirror = reader.mirror(github_token.as_ref());
        let trust = reader.trust();
        let kubernetes = reader.kubernetes(trust.as_ref());
        let environment = reader.environment();
        let settings = reader.settings();
        let Reader { problems, .. } = reader;
        let whole = || {
            Some(Self {
                gitea_mcp_url: gitea_mcp_url?,
                gitea_mcp_token: gitea_mcp_token?,
                gitea_url: gitea_url?,
                gitea_token: gitea_token?,
                github_url: github_url?,
                github_token: github_token?,
                mirror: mirror?,
                kubernetes: kubernetes?,
                trust: trust?,
                settings,
                timings: if environment.as_deref() == Some("sandbox") {
                    Timings::sandbox()
                } else {
                    Timings::default()
                },
                environment: environment?,
                data_dir: env.data_dir(),
            })
        };
        match whole() {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }
}

struct Reader<'a> {
    env: &'a Env,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Keeps a problem and goes on.
    fn note<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn token(&mut self, name: &str) -> Option<TokenHandle> {
        let token = read_token(self.env, name).and_then(|token| {
            token.ok_or_else(|| {
                TokenError {
                    origin: Origin::variable(name),
                    fault: TokenFault::Absent,
                }
                .into()
            })
        });
        self.note(token).map(TokenHandle::fixed)
    }

    fn github_token(&mut self) -> Option<TokenHandle> {
        // A variable that is set is judged: an empty GITHUB_PAT never falls through to GITHUB_TOKEN.
        let set = |name: &str| {
            self.env.get(name).is_some() || self.env.get(&format!("{name}_FILE")).is_some()
        };
        let name = if !set("GITHUB_PAT") && set("GITHUB_TOKEN") {
            "GITHUB_TOKEN"
        } else {
            "GITHUB_PAT"
        };
        self.token(name)
    }

    fn mirror(&mut self, pat: Option<&TokenHandle>) -> Option<MirrorCredentials> {
        let set = self.env.get("GITHUB_MIRROR_TOKEN").is_some()
            || self.env.get("GITHUB_MIRROR_TOKEN_FILE").is_some();
        let use_pat = self.env.filled("FORGELINE_MIRROR_USE_PAT") == Some("true");
        let token = if use_pat && !set {
            pat.cloned()
        } else {
            self.token("GITHUB_MIRROR_TOKEN")
        };
        let token = token?;
        if token.current().expose().starts_with("ghs_") {
            self.problems.push(Problem::new(
                "token.unsuitable",
                format!("{} holds a GitHub App installation token, which expires within the hour", token.origin()),
                "put a fine-grained or classic token with the right to push into GITHUB_MIRROR_TOKEN",
            ));
            return None;
        }
        let username = self
            .env
            .filled("GITHUB_MIRROR_USERNAME")
            .unwrap_or("x-access-token")
            .to_owned();
        Some(MirrorCredentials { username, token })
    }

    fn address(&mut self, name: &str, default: Option<&str>) -> Option<Url> {
        // A variable that is set is judged: an empty one never falls through to the default.
        let text = self.env.get(name).or(default);
        let url = match text {
            Some(text) if text.trim().is_empty() => Err(Problem::new(
                "address.empty",
                format!("{name} is empty"),
                format!("set {name} to the address of that system, or unset it"),
            )),
            Some(text) => address(name, text).map_err(|error| {
                Problem::new(
                    "address.invalid",
                    error.to_string(),
                    format!("correct {name}"),
                )
            }),
            None => Err(Problem::new(
                "address.absent",
                format!("{name} is not set"),
                format!("set {name} to the address of that system"),
            )),
        };
        self.note(url)
    }

    fn file(&mut self, name: &str) -> Option<Option<Vec<u8>>> {
        let Some(path) = self.env.filled(name) else {
            return Some(None);
        };
        let read = std::fs::read(path).map_err(|error| {
            Problem::new(
                "file.unreadable",
                format!("{name} names {path}, which cannot be read: {error}"),
                format!("correct {name}"),
            )
        });
        self.note(read).map(Some)
    }

    fn trust(&mut self) -> Option<Trust> {
        self.file("FORGELINE_CA_FILE")
            .map(|extra_roots_pem| Trust { extra_roots_pem })
    }

    fn kubernetes(&mut self, trust: Option<&Trust>) -> Option<Access> {
        if self.env.get("KUBE_API_URL").is_some() {
            let url = self.address("KUBE_API_URL", None);
            let token = self.token("KUBE_TOKEN");
            let authority = self.file("KUBE_CA_FILE")?;
            let authority_pem =
                authority.or_else(|| trust.and_then(|trust| trust.extra_roots_pem.clone()));
            return Some(Access::Endpoint {
                url: url?,
                token: token?,
                authority_pem,
            });
        }
        if let Some(text) = self.file("KUBECONFIG").flatten() {
            return match String::from_utf8(text) {
                Ok(text) => Some(Access::Kubeconfig(text)),
                Err(_) => self.note(Err(Problem::new(
                    "file.unreadable",
                    "KUBECONFIG names a file that is no text",
                    "correct KUBECONFIG",
                ))),
            };
        }
        if self.env.filled("KUBECONFIG").is_some() {
            return None;
        }
        if self.env.filled("KUBERNETES_SERVICE_HOST").is_some() {
            return Some(Access::InCluster);
        }
        let problem = Problem::new(
            "address.absent",
            "nothing says how to reach Kubernetes: KUBE_API_URL and KUBE_TOKEN, or KUBECONFIG",
            "set KUBE_API_URL and KUBE_TOKEN, or KUBECONFIG to the path of a kubeconfig file",
        );
        self.note(Err(problem))
    }

    fn environment(&mut self) -> Option<String> {
        let word = self.env.filled("FORGELINE_ENVIRONMENT").unwrap_or("live");
        let known = match word {
            "live" | "sandbox" => Ok(word.to_owned()),
            other => Err(Problem::new(
                "environment.invalid",
                format!("FORGELINE_ENVIRONMENT is `{other}`"),
                "set it to live or sandbox",
            )),
        };
        self.note(known)
    }

    fn settings(&mut self) -> Value {
        json!({
            "gitea_owner": self.env.filled("FORGELINE_GITEA_OWNER"),
            "github_owner": self.env.filled("FORGELINE_GITHUB_OWNER"),
        })
    }
}

/// A secret from its variable or its file. `None`: neither is set.
fn read_token(env: &Env, name: &str) -> Result<Option<Token>, Problem> {
    let file_name = format!("{name}_FILE");
    match (env.get(name), env.get(&file_name)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Problem::new(
            "token.ambiguous",
            format!("both {name} and {file_name} are set"),
            format!("set only one of {name} and {file_name}"),
        )),
        (Some(text), None) => Ok(Some(Token::new(text, Origin::variable(name))?)),
        (None, Some(path)) => {
            let origin = Origin::File {
                variable: name.to_owned(),
                path: PathBuf::from(path),
            };
            match std::fs::read_to_string(path) {
                Ok(text) => Ok(Some(Token::new(&text, origin)?)),
                Err(_) => Err(TokenError {
                    origin,
                    fault: TokenFault::Unreadable,
                }
                .into()),
            }
        }
    }
}

/// The inbound bearer. `None`: not configured.
pub(crate) fn static_token(env: &Env) -> Result<Option<StaticToken>, Problem> {
    let Some(token) = read_token(env, "FORGELINE_STATIC_TOKEN")? else {
        return Ok(None);
    };
    Ok(Some(StaticToken::new(&token, Caller::admin("svc:static"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 8] = [
        ("GITEA_MCP_URL", "http://127.0.0.1:1/mcp"),
        ("GITEA_MCP_TOKEN", "token-a"),
        ("GITEA_URL", "http://127.0.0.1:2"),
        ("GITEA_TOKEN", "token-b"),
        ("GITHUB_PAT", "token-c"),
        ("GITHUB_MIRROR_TOKEN", "token-d"),
        ("KUBE_API_URL", "http://127.0.0.1:3"),
        ("KUBE_TOKEN", "token-e"),
    ];

    fn problems(changes: &[(&str, &str)]) -> Vec<Problem> {
        let mut values = GOOD.to_vec();
        values.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        values.extend(changes.iter().filter(|(_, value)| *value != "-").copied());
        Config::read(&Env::of(&values)).err().unwrap_or_default()
    }

    #[test]
    fn a_whole_configuration_is_accepted() {
        assert_eq!(problems(&[]), []);
    }

    #[test]
    fn every_bad_token_is_named_at_once() {
        let found = problems(&[
            ("GITEA_MCP_TOKEN", ""),
            ("GITEA_TOKEN", " "),
            ("GITHUB_PAT", "changeme"),
            ("GITHUB_MIRROR_TOKEN", "a\nb"),
            ("KUBE_TOKEN", "-"),
        ]);
        let codes: Vec<&str> = found.iter().map(|problem| problem.code.as_str()).collect();
        assert_eq!(
            codes,
            [
                "token.empty",
                "token.blank",
                "token.placeholder",
                "token.malformed",
                "token.absent"
            ]
        );
        assert!(
            found[0].message.contains("GITEA_MCP_TOKEN"),
            "{}",
            found[0].message
        );
    }

    #[test]
    fn an_empty_pat_never_falls_through_to_the_other_variable() {
        let found = problems(&[("GITHUB_PAT", ""), ("GITHUB_TOKEN", "token-f")]);
        assert_eq!(found[0].code, "token.empty");
        assert_eq!(
            problems(&[("GITHUB_PAT", "-"), ("GITHUB_TOKEN", "token-f")]),
            []
        );
    }

    #[test]
    fn an_installation_token_is_no_mirror_token() {
        assert_eq!(
            problems(&[("GITHUB_MIRROR_TOKEN", "ghs_abc")])[0].code,
            "token.unsuitable"
        );
    }

    #[test]
    fn a_secret_in_variable_and_file_is_refused() {
        assert_eq!(
            problems(&[("GITEA_TOKEN_FILE", "/nowhere")])[0].code,
            "token.ambiguous"
        );
    }
}
