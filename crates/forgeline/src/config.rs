//! The configuration, judged as a whole: every problem is reported at once, before any request.

mod inbound;
mod infra;

use std::path::PathBuf;

use forgeline_kubernetes::Access;
use forgeline_provision::{MirrorCredentials, Rules, Timings};
use forgeline_upstream::http::{Trust, address};
use forgeline_upstream::{Deadlines, Origin, TokenError, TokenFault, TokenHandle};
use serde_json::Value;
use url::Url;

use crate::env::Env;

pub(crate) use inbound::{AuditKeys, Inbound};
pub(crate) use infra::{Infra, Mode};

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
    pub(crate) fn new(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
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

/// An address and the token for it.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) url: Url,
    pub(crate) token: TokenHandle,
}

/// How much is asked of the upstreams.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Requests at once to each.
    pub(crate) at_once: usize,
    /// Writes to GitHub in a minute and in an hour. `None`: any number.
    pub(crate) github_writes: Option<(usize, usize)>,
}

/// What generic steps may reach.
#[derive(Clone, Default)]
pub(crate) struct Reachable {
    /// By name.
    pub(crate) mcp_servers: Vec<(String, Door)>,
    /// Hosts, with a port where it is not the scheme's.
    pub(crate) hosts: Vec<String>,
    /// Name, hosts and bearer.
    pub(crate) http_tokens: Vec<(String, Vec<String>, TokenHandle)>,
}

/// Everything that is needed to reach the upstreams; what is missing or bad is `None` and among the problems.
pub(crate) struct Config {
    pub(crate) gitea_mcp: Option<Door>,
    /// The text of a mapping file for a gitea-mcp server that is not known.
    pub(crate) gitea_dialect: Option<(PathBuf, String)>,
    pub(crate) gitea: Option<Door>,
    pub(crate) github: Option<Door>,
    pub(crate) mirror: Option<MirrorCredentials>,
    /// `None` too where the mode of infra needs no cluster.
    pub(crate) kubernetes: Option<Access>,
    pub(crate) trust: Option<Trust>,
    pub(crate) infra: Infra,
    pub(crate) reachable: Reachable,
    pub(crate) settings: Value,
    pub(crate) environment: String,
    pub(crate) timings: Timings,
    pub(crate) deadlines: Deadlines,
    pub(crate) limits: Limits,
    /// What clean-up may touch.
    pub(crate) cleanup: Rules,
    /// How long a throwaway may last.
    pub(crate) longest_ttl: std::time::Duration,
    pub(crate) data_dir: PathBuf,
    pub(crate) workflows_dir: Option<PathBuf>,
    pub(crate) problems: Vec<Problem>,
}

impl Config {
    /// Reads and judges everything.
    pub(crate) fn read(env: &Env) -> Self {
        let mut reader = Reader {
            env,
            problems: env.broken_files().to_vec(),
        };
        let gitea_mcp = reader.door("GITEA_MCP_URL", "GITEA_MCP_TOKEN");
        let gitea_dialect = reader.dialect();
        // Without REST there is a list of what is missing, so both absent is no problem of form.
        let rest = env.is_set("GITEA_URL") || env.is_set("GITEA_TOKEN");
        let gitea = rest
            .then(|| reader.door("GITEA_URL", "GITEA_TOKEN"))
            .flatten();
        let github = reader.github();
        let mirror = reader.mirror(github.as_ref().map(|door| &door.token));
        let trust = reader.trust();
        let infra = reader.infra();
        let kubernetes = if infra.mode.needs_cluster() {
            reader.kubernetes(trust.as_ref())
        } else {
            None
        };
        let environment = reader.environment();
        let reachable = reader.reachable();
        let limits = reader.limits(environment == "sandbox");
        let longest_ttl = reader.longest_ttl();
        let Reader { problems, .. } = reader;
        let settings = infra.settings(env);
        Self {
            gitea_mcp,
            gitea_dialect,
            gitea,
            github,
            mirror,
            kubernetes,
            trust,
            infra,
            reachable,
            settings,
            timings: if environment == "sandbox" {
                Timings::sandbox()
            } else {
                Timings::default()
            },
            deadlines: Deadlines::default(),
            limits,
            longest_ttl,
            cleanup: Rules {
                owners: listed(env, "FORGELINE_CLEANUP_OWNERS"),
                keep: listed(env, "FORGELINE_CLEANUP_KEEP"),
            },
            environment,
            data_dir: env.data_dir(),
            workflows_dir: env.filled("FORGELINE_WORKFLOWS_DIR").map(PathBuf::from),
            problems,
        }
    }
}

/// The parts of a comma-separated list.
fn listed(env: &Env, name: &str) -> Vec<String> {
    let parts = env.filled(name).unwrap_or_default().split(',');
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
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

    fn limits(&mut self, sandbox: bool) -> Limits {
        let at_once = self.number("FORGELINE_MAX_CONCURRENT", 16);
        let usual = |most| if sandbox { 0 } else { most };
        let minute = self.number("FORGELINE_GITHUB_WRITES_PER_MINUTE", usual(80));
        let hour = self.number("FORGELINE_GITHUB_WRITES_PER_HOUR", usual(500));
        let any = |most: usize| if most == 0 { usize::MAX } else { most };
        Limits {
            at_once: any(at_once),
            github_writes: (minute > 0 || hour > 0).then(|| (any(minute), any(hour))),
        }
    }

    fn longest_ttl(&mut self) -> std::time::Duration {
        let text = self.env.or_default("FORGELINE_MAX_TTL").to_owned();
        let longest = forgeline_provision::duration(&text).ok_or_else(|| {
            let message = format!("FORGELINE_MAX_TTL is `{text}`");
            Problem::new("configuration.invalid", message, "write it like 12h or 30d")
        });
        self.note(longest).unwrap_or_default()
    }

    fn number(&mut self, name: &str, default: usize) -> usize {
        let Some(text) = self.env.filled(name) else {
            return default;
        };
        let number = text.parse().map_err(|_| {
            let message = format!("{name} is `{text}`");
            Problem::new("configuration.invalid", message, "set it to a whole number")
        });
        self.note(number).unwrap_or(default)
    }

    fn token(&mut self, name: &str) -> Option<TokenHandle> {
        let token = self.env.secret(name).and_then(|token| {
            token.ok_or_else(|| {
                TokenError {
                    origin: Origin::variable(name),
                    fault: TokenFault::Absent,
                }
                .into()
            })
        });
        self.note(token)
    }

    fn door(&mut self, url: &str, token: &str) -> Option<Door> {
        let (url, token) = (self.address(url), self.token(token));
        Some(Door {
            url: url?,
            token: token?,
        })
    }

    fn dialect(&mut self) -> Option<(PathBuf, String)> {
        let text = self.file("GITEA_MCP_DIALECT")??;
        let path = PathBuf::from(self.env.filled("GITEA_MCP_DIALECT")?);
        Some((path, String::from_utf8_lossy(&text).into_owned()))
    }

    fn github(&mut self) -> Option<Door> {
        // A variable that is set is judged: an empty GITHUB_PAT never falls through to GITHUB_TOKEN.
        let env = self.env;
        let name = if !env.is_set("GITHUB_PAT") && env.is_set("GITHUB_TOKEN") {
            "GITHUB_TOKEN"
        } else {
            "GITHUB_PAT"
        };
        self.door("GITHUB_API_URL", name)
    }

    fn mirror(&mut self, pat: Option<&TokenHandle>) -> Option<MirrorCredentials> {
        let use_pat = match self.env.filled("FORGELINE_MIRROR_USE_PAT") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                self.problems.push(Problem::new(
                    "configuration.invalid",
                    format!("FORGELINE_MIRROR_USE_PAT is `{other}`"),
                    "set it to true or false",
                ));
                false
            }
        };
        let token = if use_pat && !self.env.is_set("GITHUB_MIRROR_TOKEN") {
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
        let username = self.env.or_default("GITHUB_MIRROR_USERNAME").to_owned();
        Some(MirrorCredentials { username, token })
    }

    fn address(&mut self, name: &str) -> Option<Url> {
        // A variable that is set is judged: an empty one never falls through to the default.
        let default = crate::variables::find(name)
            .map(|variable| variable.default)
            .filter(|default| !default.is_empty());
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
            let url = self.address("KUBE_API_URL");
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
            "set KUBE_API_URL and KUBE_TOKEN, or KUBECONFIG to the path of a kubeconfig file, or FORGELINE_INFRA_MODE to gitops or none",
        );
        self.note(Err(problem))
    }

    fn environment(&mut self) -> String {
        let word = self.env.environment();
        if !matches!(word, "live" | "sandbox") {
            self.problems.push(Problem::new(
                "environment.invalid",
                format!("FORGELINE_ENVIRONMENT is `{word}`"),
                "set it to live or sandbox",
            ));
        }
        word.to_owned()
    }

    fn infra(&mut self) -> Infra {
        let (infra, problems) = Infra::read(self.env);
        self.problems.extend(problems);
        infra
    }

    fn reachable(&mut self) -> Reachable {
        let mut reachable = Reachable::default();
        if let Some((file, servers)) = self.env.mcp_servers() {
            for server in servers {
                let what = format!("mcp_servers `{}`", server.name);
                let url = address(&what, &server.url).map_err(|error| {
                    Problem::new(
                        "address.invalid",
                        error.to_string(),
                        "correct it in the configuration file",
                    )
                });
                let token = self.env.referred(&server.token, &what, file);
                if let (Some(url), Some(token)) = (self.note(url), self.note(token)) {
                    reachable
                        .mcp_servers
                        .push((server.name.clone(), Door { url, token }));
                }
            }
        }
        if let Some((file, http)) = self.env.http() {
            reachable.hosts.clone_from(&http.allow_hosts);
            for one in &http.tokens {
                let what = format!("http.tokens `{}`", one.name);
                let token = self.env.referred(&one.token, &what, file);
                if let Some(token) = self.note(token) {
                    reachable
                        .http_tokens
                        .push((one.name.clone(), one.hosts.clone(), token));
                }
            }
        }
        reachable
    }
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
        Config::read(&Env::of(&values)).problems
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
