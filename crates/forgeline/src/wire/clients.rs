//! Clients from the configuration; each part that is whole gets one, whatever is wrong with the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use forgeline_gitea::{Dialect, Gitea};
use forgeline_github::GitHub;
use forgeline_kubernetes::Kubernetes;
use forgeline_provision::{LogAudit, MirrorCredentials, Reachable, Upstreams};
use forgeline_upstream::http::{Connections, HttpClient, OpenClient, Trust, reqwest_client};
use forgeline_upstream::mcp::McpClient;
use forgeline_upstream::{Deadlines, Origin, Throttle, Token, TokenHandle};

use crate::config::{Config, Door, Problem};

/// What could be built.
pub(super) struct Clients {
    pub(super) gitea: Option<Gitea>,
    pub(super) github: Option<GitHub>,
    /// GitHub with the token that Gitea pushes with.
    pub(super) mirror: Option<GitHub>,
    pub(super) mirror_is_main: bool,
    pub(super) kubernetes: Option<Kubernetes>,
    pub(super) reachable: Reachable,
    /// What could not be built, beside what the configuration itself says.
    pub(super) problems: Vec<Problem>,
}

fn unusable(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        "configuration.invalid",
        error.to_string(),
        "correct the addresses and certificates in the configuration",
    )
}

impl Clients {
    pub(super) async fn build(config: &Config) -> Self {
        let mut problems = Vec::new();
        let trust = config.trust.clone().unwrap_or_default();
        let http = match reqwest_client(&trust) {
            Ok(http) => Some(http),
            Err(error) => {
                problems.push(unusable(&error));
                None
            }
        };
        let deadlines = config.deadlines;
        // One for each upstream, whichever client asks it: both ways to Gitea end at one server.
        let throttle = || match config.limits.at_once {
            usize::MAX => Throttle::default(),
            at_once => Throttle::at_once(at_once),
        };
        let (of_gitea, of_kubernetes) = (throttle(), throttle());
        let of_github = match config.limits.github_writes {
            Some((minute, hour)) => throttle().with_budget(minute, hour),
            None => throttle(),
        };
        let github = github_client(
            config.github.as_ref(),
            &trust,
            deadlines.call,
            &mut problems,
        );
        let github = github.map(|github| github.within(of_github));
        let door = config.github.as_ref().zip(config.mirror.as_ref());
        let for_mirror = door.map(|(github, mirror)| Door {
            url: github.url.clone(),
            token: mirror.token.clone(),
        });
        let mirror = github_client(for_mirror.as_ref(), &trust, deadlines.call, &mut problems);
        let mirror_is_main = door.is_some_and(|(github, mirror)| {
            github.token.current().is_same(&mirror.token.current())
        });
        let kubernetes = match &config.kubernetes {
            Some(access) => match Kubernetes::new(access.clone(), deadlines.call).await {
                Ok(cluster) => Some(cluster.within(of_kubernetes)),
                Err(error) => {
                    problems.push(unusable(&error));
                    None
                }
            },
            None => None,
        };
        let dialect = dialect(config, &mut problems);
        let mcp = config
            .gitea_mcp
            .as_ref()
            .zip(http.as_ref())
            .map(|(door, http)| {
                McpClient::new("gitea-mcp", &door.url, door.token.clone(), http.clone())
                    .within(of_gitea.clone())
            });
        let rest = config
            .gitea
            .as_ref()
            .zip(http.as_ref())
            .map(|(door, http)| {
                let mut api = door.url.clone();
                api.set_path(&format!("{}/api/v1", api.path().trim_end_matches('/')));
                HttpClient::new("gitea", api, door.token.clone(), http.clone())
                    .within(of_gitea.clone())
            });
        let mut reachable = reachable(config, http.as_ref(), deadlines);
        if let Some(mcp) = &mcp {
            reachable.mcp_servers.insert("gitea".into(), mcp.clone());
        }
        let gitea = mcp.map(|mcp| Gitea::new(mcp, rest, dialect, deadlines));
        Self {
            gitea,
            github,
            mirror,
            mirror_is_main,
            kubernetes,
            reachable,
            problems,
        }
    }

    /// Upstreams that nothing is sent to: only what workflow files are checked against. Parts that are missing are
    /// stood in for.
    pub(super) fn stand_ins(&self, config: &Config) -> Upstreams {
        let nowhere = nowhere();
        let gitea = || {
            let http = reqwest_client(&Trust::default()).ok()?;
            let mcp = McpClient::new("gitea-mcp", &nowhere.url, nowhere.token.clone(), http);
            Some(Gitea::new(mcp, None, None, Deadlines::default()))
        };
        let mut reachable = self.reachable.clone();
        let gitea = self.gitea.clone().or_else(gitea);
        let github = self.github.clone().or_else(|| {
            let deadline = config.deadlines.call;
            github_client(Some(&nowhere), &Trust::default(), deadline, &mut Vec::new())
        });
        if let Ok(http) = reqwest_client(&Trust::default()) {
            let mcp = McpClient::new("gitea-mcp", &nowhere.url, nowhere.token.clone(), http);
            reachable.mcp_servers.entry("gitea".into()).or_insert(mcp);
        }
        match gitea.zip(github) {
            Some((gitea, github)) => Upstreams {
                gitea,
                github,
                kubernetes: self.kubernetes.clone(),
                reachable,
                mirror: MirrorCredentials {
                    username: "unused".into(),
                    token: nowhere.token,
                },
                timings: config.timings,
                audit: Arc::new(LogAudit),
            },
            // The system's trust roots alone are used here, and a plain address needs none of them.
            None => unreachable!("a client of a plain address can always be built"),
        }
    }
}

fn nowhere() -> Door {
    let token = Token::new("nobody-is-asked", Origin::Own("no token".into()));
    let url = url::Url::parse("http://127.0.0.1:9");
    match (token, url) {
        (Ok(token), Ok(url)) => Door {
            url,
            token: TokenHandle::fixed(token),
        },
        _ => unreachable!("both are constants that can be read"),
    }
}

fn github_client(
    door: Option<&Door>,
    trust: &Trust,
    deadline: std::time::Duration,
    problems: &mut Vec<Problem>,
) -> Option<GitHub> {
    let door = door?;
    let roots = trust.extra_roots_pem.as_deref();
    match GitHub::new(&door.url, door.token.clone(), roots, deadline) {
        Ok(github) => Some(github),
        Err(error) => {
            problems.push(unusable(&error));
            None
        }
    }
}

fn dialect(config: &Config, problems: &mut Vec<Problem>) -> Option<Dialect> {
    let (path, text) = config.gitea_dialect.as_ref()?;
    match Dialect::parse(text) {
        Ok(dialect) => Some(dialect),
        Err(why) => {
            problems.push(Problem::new(
                "configuration.invalid",
                format!("{}: {why}", path.display()),
                "correct the mapping file that GITEA_MCP_DIALECT names",
            ));
            None
        }
    }
}

fn reachable(config: &Config, http: Option<&Connections>, deadlines: Deadlines) -> Reachable {
    let Some(http) = http else {
        return Reachable::default();
    };
    let servers = config.reachable.mcp_servers.iter().map(|(name, door)| {
        let client = McpClient::new("mcp", &door.url, door.token.clone(), http.clone());
        (name.clone(), client)
    });
    let tokens = config.reachable.http_tokens.iter().cloned();
    let tokens: BTreeMap<String, (Vec<String>, TokenHandle)> = tokens
        .map(|(name, hosts, token)| (name, (hosts, token)))
        .collect();
    Reachable {
        mcp_servers: servers.collect(),
        http: Some(OpenClient::new(http.clone(), deadlines.call)),
        hosts: config.reachable.hosts.clone(),
        tokens,
    }
}
