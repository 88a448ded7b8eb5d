//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Provisions a software project end to end: Gitea, GitHub, a verified mirror, a namespace, a first issue.
#[derive(Debug, Parser)]
#[command(name = "forgeline", version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  forgeline create hello-world --sandbox      try it, without any account
  forgeline create shop --description 'Our web shop' --visibility private
  forgeline create shop --dry-run             show the plan, change nothing
  forgeline doctor                            look at every token, right and system
  forgeline run library_create -i name=parser -i template=acme/rust-library
  forgeline status shop
  forgeline cleanup                           show what lies about and nobody needs
  forgeline serve                             MCP server on http://127.0.0.1:3210/mcp
  forgeline sandbox                           stand-ins to point a server at
  forgeline selftest                          see here that nothing is lost

Exit codes: 0 ok, 1 unexpected, 2 usage, 3 configuration, 4 not authorised, 5 plan needed, 6 failed and undone,
7 something is left or stuck, 8 conflict or not ours, 9 upstream unavailable, 10 drift, 130 interrupted.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a project: all five artifacts, or none.
    Create(Box<Create>),
    /// Where a project or a run stands.
    Status(Status),
    /// All projects: stuck ones first, then the newest.
    List(List),
    /// Continue a run that stands still, or decide about a stuck one.
    Resume(Resume),
    /// Cancel a run and undo what it made.
    Cancel(Cancel),
    /// Look at everything that a project is made of, now: what is missing, changed, foreign.
    Check(Check),
    /// Let a throwaway end later, or sooner.
    Renew(Renew),
    /// Delete a project: a plan first, then exactly that plan.
    Delete(Delete),
    /// Give the mirrors the present token: a plan first, then exactly that plan.
    MirrorRotate(MirrorRotate),
    /// Remove test repositories and whatever belongs to them: a plan first, then exactly that plan.
    Cleanup(Cleanup),
    /// Run any workflow by its name.
    Run(Run),
    /// Look at every token, right and system that a project needs; changes nothing.
    Doctor(Doctor),
    /// The workflow files.
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The policy: who may call which tool for what.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// A project's own credential.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print a completion script for a shell.
    Completion {
        /// bash, zsh, fish, elvish or powershell.
        shell: Shell,
    },
    /// Ask a server whether it lives; for container health checks.
    #[command(hide = true)]
    Health {
        /// For example http://127.0.0.1:3210/livez.
        #[arg(long, default_value = "http://127.0.0.1:3210/livez")]
        url: String,
    },
    /// Serve MCP over HTTP (or stdio).
    Serve(Serve),
    /// Run the sandbox in the foreground and print what points programs at it.
    Sandbox(Sandbox),
    /// Try on this machine that nothing is lost: every workflow under crashes, failures, delays and retries.
    Selftest(Selftest),
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For eyes.
    #[default]
    Table,
    /// For programs: exactly one JSON object.
    Json,
    /// For programs that follow: one JSON object per line, the last one is the answer.
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How the answer is printed on stdout.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// A server that does the work instead of this process.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// A running server, for example http://127.0.0.1:3210 [default: FORGELINE_SERVER]; its bearer is
    /// FORGELINE_SERVER_TOKEN.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

/// What every run takes besides its inputs.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Show what would be done, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Use what exists and is not this project's; it is never undone.
    #[arg(long)]
    pub(crate) adopt: bool,
    /// After a failure: compensate (default) or keep.
    #[arg(long, value_parser = ["compensate", "keep"])]
    pub(crate) on_failure: Option<String>,
    /// With project_create: answer a bearer for this project's tools alone (`access`); an earlier one no longer counts.
    #[arg(long)]
    pub(crate) issue_token: bool,
    /// Your name for this request: repeating it answers the same run.
    #[arg(long, value_parser = request_id)]
    pub(crate) request_id: Option<String>,
    /// With --server: how long to wait for the end [default: 40].
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=300))]
    pub(crate) wait_seconds: Option<u64>,
    /// Use a fresh embedded sandbox, gone at exit.
    #[arg(long, conflicts_with = "server")]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The workflow's name; see `forgeline workflow list`.
    pub(crate) workflow: String,
    /// An input as name=value; repeat it for each. A list is comma-separated.
    #[arg(short = 'i', long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Only checks whose id begins so, for example github; may be repeated.
    #[arg(long)]
    pub(crate) only: Vec<String>,
    /// Use a fresh embedded sandbox, gone at exit.
    #[arg(long, conflicts_with = "server")]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// All workflows: name, where it comes from, inputs.
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Check a file; all mistakes at once.
    Check {
        /// A workflow file.
        file: PathBuf,
    },
    /// Print a workflow as a Mermaid flow chart.
    Graph {
        /// The workflow's name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Effective values and where each comes from; secrets as fingerprints.
    Show {
        /// Print a whole configuration file instead, with the meaning of every setting.
        #[arg(long)]
        example: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check the policy file; with --as and --tool, say what it decides and why.
    Check(PolicyCheck),
    /// Print what a policy may speak of, in Cedar's schema language.
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyCheck {
    /// The policy file [default: FORGELINE_POLICY].
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The caller, for example svc:router or oidc:4711.
    #[arg(long = "as", value_name = "CALLER", requires = "tool")]
    pub(crate) caller: Option<String>,
    /// A group of the caller; may be repeated.
    #[arg(long = "group", value_name = "NAME")]
    pub(crate) groups: Vec<String>,
    /// The tool, for example project_create.
    #[arg(long, requires = "caller")]
    pub(crate) tool: Option<String>,
    /// The project [default: a call about many].
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// An owner of the project; may be repeated.
    #[arg(long = "owner", value_name = "NAME")]
    pub(crate) owners: Vec<String>,
    /// The project's namespace [default: its name].
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// The project is a throwaway that lasts so long, for example 24h.
    #[arg(long, value_parser = duration)]
    pub(crate) ttl: Option<std::time::Duration>,
    /// The project is a throwaway.
    #[arg(long)]
    pub(crate) throwaway: bool,
    /// The call only plans.
    #[arg(long)]
    pub(crate) plan: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Look whether the audit log is as it was written; works on a copy, without anything else. Exit codes: 0 intact,
    /// 1 tampered, 7 truncated or torn.
    Verify(AuditVerify),
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerify {
    /// The log, or the directory that holds it with its older files [default: the data directory].
    #[arg(long, value_name = "PATH")]
    pub(crate) log: Option<PathBuf>,
    /// A file with the key that lines are bound with [default: FORGELINE_AUDIT_KEY].
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The public key that checkpoints must be signed with, 64 hexadecimal digits [default: that of
    /// FORGELINE_AUDIT_SIGNING_KEY].
    #[arg(long, value_name = "HEX")]
    pub(crate) pubkey: Option<String>,
    /// Older files of the log are kept elsewhere: it may begin with a later line.
    #[arg(long)]
    pub(crate) without_older: bool,
    /// Checkpoints that were kept elsewhere [default: those beside the log].
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// A new credential for a project; the old one no longer counts.
    Rotate(TokenOf),
    /// No credential for a project any more.
    Revoke(TokenOf),
}

#[derive(Debug, Args)]
pub(crate) struct TokenOf {
    /// The project.
    pub(crate) project: String,
    /// Refused: a fresh sandbox has no project.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Project name, also the name of both repositories.
    pub(crate) name: String,
    /// One line that says what the project is.
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Who sees both repositories: private (default) or public.
    #[arg(long)]
    pub(crate) visibility: Option<String>,
    /// User or organisation in Gitea [default: FORGELINE_GITEA_OWNER].
    #[arg(long)]
    pub(crate) gitea_owner: Option<String>,
    /// User or organisation on GitHub [default: FORGELINE_GITHUB_OWNER].
    #[arg(long)]
    pub(crate) github_owner: Option<String>,
    /// Kubernetes namespace [default: the project's name].
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// Title of the first issue.
    #[arg(long)]
    pub(crate) issue_title: Option<String>,
    /// Markdown above the list of artifacts in the first issue.
    #[arg(long)]
    pub(crate) issue_body: Option<String>,
    /// A label of the first issue, created if it is missing; may be repeated.
    #[arg(long = "issue-label", value_name = "NAME")]
    pub(crate) issue_labels: Vec<String>,
    /// owner/repo of a template repository in Gitea to start from.
    #[arg(long)]
    pub(crate) template: Option<String>,
    /// The branch of the first commit [default: main].
    #[arg(long)]
    pub(crate) default_branch: Option<String>,
    /// A readme template that Gitea knows.
    #[arg(long)]
    pub(crate) readme: Option<String>,
    /// A licence that Gitea knows, for example MIT.
    #[arg(long)]
    pub(crate) license: Option<String>,
    /// Gitignore templates that Gitea knows, for example Rust.
    #[arg(long)]
    pub(crate) gitignore: Option<String>,
    /// Makes the project a throwaway that ends after this time, for example 24h.
    #[arg(long)]
    pub(crate) ttl: Option<String>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The project; its newest run is shown.
    #[arg(required_unless_present = "run")]
    pub(crate) project: Option<String>,
    /// A run, by its id.
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Refused: a fresh sandbox has no earlier run.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only projects in this state.
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
    pub(crate) limit: u64,
    /// Refused: a fresh sandbox has no earlier run.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The run's id.
    pub(crate) run: String,
    /// Undo again what could not be undone.
    #[arg(long, conflicts_with_all = ["skip", "abandon"])]
    pub(crate) retry_undo: bool,
    /// Leave this step as it is.
    #[arg(long, value_name = "STEP", conflicts_with = "abandon")]
    pub(crate) skip: Option<String>,
    /// Give the run up; its artifacts stay.
    #[arg(long)]
    pub(crate) abandon: bool,
    /// Refused: a fresh sandbox has no earlier run.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The run's id.
    pub(crate) run: String,
    /// Refused: a fresh sandbox has no earlier run.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The project.
    pub(crate) project: String,
    /// Exit with 10 when something is not as it was made.
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Refused: a fresh sandbox has no project.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// The project.
    pub(crate) project: String,
    /// From now on, for example 24h.
    #[arg(long)]
    pub(crate) ttl: String,
    /// Refused: a fresh sandbox has no project.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The project.
    pub(crate) project: String,
    /// Make its repositories read-only instead.
    #[arg(long)]
    pub(crate) archive: bool,
    /// Apply this plan, which was shown before.
    #[arg(long, value_name = "ID", conflicts_with = "archive")]
    pub(crate) plan_id: Option<String>,
    /// Refused: a fresh sandbox has no project.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct MirrorRotate {
    /// Only the mirrors of this project; may be repeated.
    #[arg(long = "project", value_name = "NAME")]
    pub(crate) projects: Vec<String>,
    /// Apply this plan, which was shown before.
    #[arg(long, value_name = "ID", conflicts_with = "projects")]
    pub(crate) plan_id: Option<String>,
    /// Refused: a fresh sandbox has no mirror.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    /// Only names like this; * stands for any characters; may be repeated. [default: what bears forgeline's marks, and of
    /// the rest test-throwaway-*]
    #[arg(long = "match", value_name = "GLOB")]
    pub(crate) matching: Vec<String>,
    /// Keep what is younger, for example 30m, 1h, 7d.
    #[arg(long, value_parser = duration, default_value = "1h")]
    pub(crate) older_than: std::time::Duration,
    /// Delete nothing when more than this would be deleted.
    #[arg(long, default_value_t = 20)]
    pub(crate) max: usize,
    /// Apply this plan, which was shown before.
    #[arg(long, value_name = "ID", conflicts_with_all = ["matching", "apply"])]
    pub(crate) plan_id: Option<String>,
    /// Plan, and apply exactly that plan at once: for schedules.
    #[arg(long)]
    pub(crate) apply: bool,
    /// Refused: a fresh sandbox has nothing to clean up.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Speak MCP on stdin and stdout instead of HTTP.
    #[arg(long, conflicts_with = "listen")]
    pub(crate) stdio: bool,
    /// Address and port [default: FORGELINE_LISTEN, else 127.0.0.1:3210].
    #[arg(long)]
    pub(crate) listen: Option<String>,
    /// PEM file of the certificate and its chain: serve speaks TLS [default: FORGELINE_TLS_CERT].
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        conflicts_with = "stdio"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file of its private key [default: FORGELINE_TLS_KEY].
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Refuse whatever changes anything, whoever calls; plans are answered.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Use a fresh embedded sandbox, gone at exit.
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// With --sandbox: added to every upstream request, for example 50ms.
    #[arg(long, requires = "sandbox", value_parser = latency)]
    pub(crate) latency: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    /// Added to every request, for example 50ms.
    #[arg(long, value_parser = latency, default_value = "0ms")]
    pub(crate) latency: std::time::Duration,
    /// The version of Gitea to stand in for: 1.22 or 1.25.
    #[arg(long, value_parser = gitea_version, default_value = "1.25")]
    pub(crate) gitea: forgeline_sandbox::Profile,
    /// The first of five ports on 127.0.0.1 [default: free ones].
    #[arg(long)]
    pub(crate) port: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct Selftest {
    /// Everything, which takes long, instead of a sample.
    #[arg(long)]
    pub(crate) full: bool,
    /// Repeat a sample [default: another one each time].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Only what bears this text, for example the name of a violation, and all of it.
    #[arg(long, value_name = "TEXT", conflicts_with = "full")]
    pub(crate) only: Option<String>,
    /// How many real processes to kill [default: 5, with --full 560, with --only none].
    #[arg(long)]
    pub(crate) kills: Option<usize>,
    /// How many projects to make at once [default: 40, with --full 200, with --only none].
    #[arg(long)]
    pub(crate) projects: Option<usize>,
    #[command(flatten)]
    pub(crate) output: Output,
}

fn gitea_version(text: &str) -> Result<forgeline_sandbox::Profile, String> {
    forgeline_sandbox::Profile::parse(text).ok_or_else(|| "there are 1.22 and 1.25".to_owned())
}

/// A number and s, m, h or d.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    forgeline_provision::duration(text).ok_or_else(|| "write it like 30m, 1h or 7d".to_owned())
}

fn latency(text: &str) -> Result<std::time::Duration, String> {
    let number = |unit: &str| {
        text.strip_suffix(unit)
            .and_then(|number| number.trim().parse::<u64>().ok())
    };
    if let Some(ms) = number("ms") {
        return Ok(std::time::Duration::from_millis(ms));
    }
    match number("s") {
        Some(seconds) => Ok(std::time::Duration::from_secs(seconds)),
        None => Err("write it like 50ms or 2s".to_owned()),
    }
}

/// A name for a request, as the server takes it.
fn request_id(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=200 => Ok(text.to_owned()),
        _ => Err("it must have 1 to 200 characters".to_owned()),
    }
}
