//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};

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
  forgeline status shop
  forgeline serve                             MCP server on http://127.0.0.1:3210/mcp
  forgeline sandbox                           stand-ins to point a server at

Exit codes: 0 ok, 1 unexpected, 2 usage, 3 configuration, 4 not authorised, 5 plan needed, 6 failed and undone,
7 something is left or stuck, 8 conflict or not ours, 9 upstream unavailable, 10 drift, 130 interrupted.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a project: all five artifacts, or none.
    Create(Create),
    /// Where a project or a run stands.
    Status(Status),
    /// All projects: stuck ones first, then the newest.
    List(List),
    /// Continue a run that stands still, or decide about a stuck one.
    Resume(Resume),
    /// Cancel a run and undo what it made.
    Cancel(Cancel),
    /// Serve MCP over HTTP (or stdio).
    Serve(Serve),
    /// Run the sandbox in the foreground and print what points programs at it.
    Sandbox(Sandbox),
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For eyes.
    #[default]
    Table,
    /// For programs: exactly one JSON object.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How the answer is printed on stdout.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub(crate) format: Format,
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
    /// Use what exists and is not this project's; it is never undone.
    #[arg(long)]
    pub(crate) adopt: bool,
    /// After a failure: compensate (default) or keep.
    #[arg(long, value_parser = ["compensate", "keep"])]
    pub(crate) on_failure: Option<String>,
    /// Use a fresh embedded sandbox, gone at exit.
    #[arg(long)]
    pub(crate) sandbox: bool,
    #[command(flatten)]
    pub(crate) output: Output,
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
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only projects in this state.
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// Refused: a fresh sandbox has no earlier run.
    #[arg(long, hide = true)]
    pub(crate) sandbox: bool,
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
    /// The first of five ports on 127.0.0.1 [default: free ones].
    #[arg(long)]
    pub(crate) port: Option<u16>,
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
