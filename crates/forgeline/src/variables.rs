//! Every setting in one list: its environment variable, its place in the configuration file, its meaning, its default.
//!
//! `config show`, `config show --example`, the reader of the file and the reader of the environment follow this list.

/// A setting.
pub(crate) struct Variable {
    /// The environment variable.
    pub(crate) name: &'static str,
    /// A secret: also read from the file that `NAME_FILE` names, and never plain text in the configuration file.
    pub(crate) secret: bool,
    /// Section and key in the configuration file, for example `gitea.url`. Empty: only the environment says it.
    pub(crate) key: &'static str,
    /// For people.
    pub(crate) meaning: &'static str,
    /// What holds when it is not set. Empty: nothing.
    pub(crate) default: &'static str,
}

const fn plain(name: &'static str, key: &'static str, meaning: &'static str) -> Variable {
    Variable {
        name,
        secret: false,
        key,
        meaning,
        default: "",
    }
}

const fn secret(name: &'static str, key: &'static str, meaning: &'static str) -> Variable {
    Variable {
        secret: true,
        ..plain(name, key, meaning)
    }
}

impl Variable {
    const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }
}

/// All settings, in the order in which people meet them.
#[rustfmt::skip]
pub(crate) const ALL: &[Variable] = &[
    plain("GITEA_MCP_URL", "gitea_mcp.url", "The gitea-mcp server's MCP endpoint, for example https://gitea-mcp.example.org/mcp."),
    secret("GITEA_MCP_TOKEN", "gitea_mcp.token", "The bearer that the gitea-mcp server expects (a Gitea token where it passes that through)."),
    plain("GITEA_MCP_DIALECT", "gitea_mcp.dialect", "Path of a mapping file for a gitea-mcp server that forgeline does not know."),
    plain("GITEA_URL", "gitea.url", "Gitea itself, for example https://gitea.example.org."),
    secret("GITEA_TOKEN", "gitea.token", "A Gitea token of the same user: write:repository, write:issue, write:user, write:organization."),
    plain("FORGELINE_GITEA_OWNER", "gitea.owner", "User or organisation in Gitea that owns new projects."),
    secret("GITHUB_PAT", "github.token", "A GitHub token with the scopes repo and delete_repo."),
    secret("GITHUB_TOKEN", "", "Used when GITHUB_PAT is not set."),
    plain("GITHUB_API_URL", "github.api_url", "GitHub's API.").or("https://api.github.com"),
    plain("FORGELINE_GITHUB_OWNER", "github.owner", "User or organisation on GitHub that owns new projects."),
    plain("FORGELINE_GITHUB_WRITES_PER_MINUTE", "github.writes_per_minute", "Writes to GitHub in a minute; 0: any number. Default: 80, in the sandbox 0."),
    plain("FORGELINE_GITHUB_WRITES_PER_HOUR", "github.writes_per_hour", "Writes to GitHub in an hour; 0: any number. Default: 500, in the sandbox 0."),
    secret("GITHUB_MIRROR_TOKEN", "mirror.token", "What Gitea pushes to GitHub with (scopes repo, workflow). Gitea keeps it in clear text, so it is a token of its own."),
    plain("GITHUB_MIRROR_USERNAME", "mirror.username", "The user name beside that token.").or("x-access-token"),
    plain("FORGELINE_MIRROR_USE_PAT", "mirror.use_pat", "true: Gitea gets GITHUB_PAT itself. doctor warns."),
    plain("KUBECONFIG", "kubernetes.kubeconfig", "Path of a kubeconfig; its current context is used."),
    plain("KUBE_API_URL", "kubernetes.api_url", "An API server; needs KUBE_TOKEN."),
    secret("KUBE_TOKEN", "kubernetes.token", "The bearer for KUBE_API_URL."),
    plain("KUBE_CA_FILE", "kubernetes.ca_file", "PEM certificates of the authority of KUBE_API_URL."),
    plain("KUBERNETES_SERVICE_HOST", "", "Set inside a cluster: the pod's service account is used when nothing else is set."),
    plain("FORGELINE_INFRA_MODE", "infra.mode", "Where the namespace comes from: kubernetes, gitops, both or none.").or("kubernetes"),
    plain("FORGELINE_INFRA_REPOSITORY", "infra.repository", "owner/repo in Gitea that GitOps commits go to; its default branch is the base."),
    plain("FORGELINE_INFRA_PATH", "infra.path", "Directory of a project's manifests in that repository; <name> stands for the namespace.").or("k3s/apps/<name>"),
    plain("FORGELINE_CLEANUP_OWNERS", "cleanup.owners", "Owners on both forges whose repositories clean-up may touch, comma-separated; mandatory for it."),
    plain("FORGELINE_CLEANUP_KEEP", "cleanup.keep", "Names or globs that clean-up never touches, as name or owner/name, comma-separated."),
    plain("FORGELINE_MAX_TTL", "max_ttl", "How long a throwaway may last (ttl of create and renew).").or("30d"),
    plain("FORGELINE_DATA_DIR", "data_dir", "The journal. Default: $XDG_STATE_HOME/forgeline, else ~/.local/state/forgeline."),
    plain("FORGELINE_LISTEN", "server.listen", "Where serve listens.").or("127.0.0.1:3210"),
    plain("FORGELINE_ALLOWED_HOSTS", "server.allowed_hosts", "Host names that serve answers to, beside loopback names; comma-separated."),
    plain("FORGELINE_ALLOWED_ORIGINS", "server.allowed_origins", "Origins of browsers that serve answers to, beside loopback ones; comma-separated."),
    secret("FORGELINE_STATIC_TOKEN", "server.static_token", "The bearer of callers of serve, at least 32 bytes, with the admin scope."),
    plain("FORGELINE_UNAUTHENTICATED_PER_SECOND", "server.unauthenticated_per_second", "How many refusals one address gets in a second, with six times as many at once; beyond that it is told to wait (429).").or("10"),
    plain("FORGELINE_TLS_CERT", "server.tls_cert", "PEM file of serve's certificate and its chain; needs FORGELINE_TLS_KEY. Without it serve speaks plain HTTP."),
    plain("FORGELINE_TLS_KEY", "server.tls_key", "PEM file of the private key of that certificate."),
    plain("DEX_ISSUER_URL", "auth.issuer", "An OIDC issuer (any): its access tokens are taken too. Compared to the letter."),
    plain("FORGELINE_AUDIENCE", "auth.audience", "What a token's aud must hold, comma-separated. Default: MCP_RESOURCE_URL."),
    plain("MCP_RESOURCE_URL", "auth.resource", "This server's public address, for example https://forgeline.example.org/mcp. Default: where serve listens."),
    plain("FORGELINE_USER_CLAIM", "auth.user_claim", "The claim that names a person's user in Gitea, whose own rights are asked first.").or("preferred_username"),
    plain("FORGELINE_GROUPS_CLAIM", "auth.groups_claim", "The claim that lists a caller's groups.").or("groups"),
    plain("FORGELINE_OIDC_SERVICES", "auth.services", "Subjects (sub) of tokens that are programs, comma-separated; all others are persons."),
    plain("FORGELINE_ASKED_SCOPES", "auth.asked_scopes", "The scopes that a client without a token is told to ask for, comma-separated.").or("forgeline:read,forgeline:create"),
    plain("FORGELINE_POLICY", "auth.policy", "A Cedar policy file: beside the scopes, who may call which tool for what."),
    plain("FORGELINE_PROJECT_TOKEN_TTL", "auth.project_token_ttl", "How long a project's own credential counts (issue_token).").or("30d"),
    secret("FORGELINE_AUDIT_KEY", "audit.key", "At least 32 bytes: lines of the audit log are bound with HMAC under it."),
    secret("FORGELINE_AUDIT_SIGNING_KEY", "audit.signing_key", "An Ed25519 private key, 64 hexadecimal digits: checkpoints of the audit log are signed with it."),
    secret("FORGELINE_FINGERPRINT_KEY", "audit.fingerprint_key", "The key of the fingerprints of secrets; the same one gives the same fingerprints. Default: one in the data directory."),
    plain("FORGELINE_SERVER", "client.server", "A running server: the command line is its client then, for example http://127.0.0.1:3210."),
    secret("FORGELINE_SERVER_TOKEN", "client.token", "The bearer for that server."),
    plain("FORGELINE_ENVIRONMENT", "environment", "What answers say of themselves: live or sandbox.").or("live"),
    plain("FORGELINE_CA_FILE", "ca_file", "PEM certificates to trust beside the system's, for every upstream."),
    plain("FORGELINE_MAX_CONCURRENT", "max_concurrent", "Requests at once to each upstream.").or("16"),
    plain("FORGELINE_WORKFLOWS_DIR", "workflows_dir", "Directory of workflow files that add to the embedded ones or replace them."),
    plain("FORGELINE_LOG", "", "Filter of the log, for example debug. The log is JSON when stderr is no terminal."),
    plain("XDG_STATE_HOME", "", "Below it the data directory stands by default."),
    plain("XDG_CONFIG_HOME", "", "Below it forgeline/config.toml is looked for; default ~/.config."),
    plain("HOME", "", "The home directory."),
    plain("USER", "", "Who sits at this machine: callers on the command line are local:USER."),
    plain("NO_COLOR", "", "No colours in the log."),
];

/// The setting of this variable.
pub(crate) fn find(name: &str) -> Option<&'static Variable> {
    ALL.iter().find(|variable| variable.name == name)
}
