//! What the outside sees of a run: the RunView of the contract, the same over MCP and in the CLI.

use forgeline_step_engine::{
    Cause, Effect, Origin, RunState, Snapshot, StepError, StepSnapshot, StepState,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Plan;

/// A run, its artifacts, and what to do if it went wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// `None`: refused before any run.
    pub run_id: Option<String>,
    /// The workflow's name.
    pub workflow: Option<String>,
    /// The project's name.
    pub project: Option<String>,
    /// Where it stands.
    pub state: Option<RunState>,
    /// Why it left its forward path.
    pub cause: Option<Cause>,
    /// `live` or `sandbox`.
    pub environment: String,
    /// The call joined a run that was under way.
    pub joined: bool,
    /// What exists, or existed until it was undone.
    pub artifacts: Artifacts,
    /// In the order of the workflow.
    pub steps: Vec<StepView>,
    /// Sentences for people.
    pub warnings: Vec<String>,
    /// What could not be undone, with the command that would do it.
    pub left_behind: Vec<LeftBehind>,
    /// Why it failed or was refused.
    pub error: Option<ErrorView>,
    /// A credential minted for the caller who asked for one, shown once. `None`: nobody asked, or it could not be made.
    pub access: Option<Access>,
    /// What would be done; only in a dry run.
    pub plan: Option<Plan>,
    /// What the workflow's file names as outputs, once it has succeeded. `None` for `project_create`, whose artifacts say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Value>,
}

/// The five artifacts of a project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Artifacts {
    /// The repository in Gitea.
    pub gitea_repository: Option<RepositoryArtifact>,
    /// The repository on GitHub.
    pub github_repository: Option<RepositoryArtifact>,
    /// The push mirror.
    pub mirror: Option<MirrorArtifact>,
    /// The namespace.
    pub infra_namespace: Option<NamespaceArtifact>,
    /// The first issue.
    pub issue: Option<IssueArtifact>,
}

/// A repository on a forge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepositoryArtifact {
    /// For people.
    pub url: String,
    /// For `git clone`.
    pub clone_url: String,
    /// The forge's number for it.
    pub id: u64,
    /// Who made it.
    pub origin: Origin,
}

/// A push mirror.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MirrorArtifact {
    /// Where it pushes to.
    pub remote: String,
    /// The refs of both sides were equal.
    pub verified: bool,
    /// How many branches and tags.
    pub refs: u64,
    /// The commit of the default branch.
    pub head: Option<String>,
    /// Who added it.
    pub origin: Origin,
}

/// Where the project's namespace comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamespaceArtifact {
    /// `kubernetes`, `gitops` or `both`.
    #[serde(default)]
    pub mode: String,
    /// Its name in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The cluster's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What was made in it directly, as `Kind/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<Vec<String>>,
    /// The infra repository that its manifests were committed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The branch of that commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// That commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who made it.
    pub origin: Option<Origin>,
}

/// An issue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IssueArtifact {
    /// Its number.
    pub number: u64,
    /// For people.
    pub url: String,
    /// Who opened it.
    pub origin: Origin,
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its id in the workflow.
    pub id: String,
    /// What it does.
    pub kind: String,
    /// Where it stands.
    pub state: StepState,
    /// Tries of its last operation.
    pub attempts: u32,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Something that was left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftBehind {
    /// For example `github_repository`.
    pub artifact: String,
    /// Why it was left.
    pub why: String,
    /// The command that would remove it; empty when there is none.
    pub command: String,
}

/// Why a run failed, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorView {
    /// Stable and dotted.
    pub code: String,
    /// The step that failed. `None`: none was begun.
    pub step: Option<String>,
    /// What failed, with names and values.
    pub message: String,
    /// The same call may succeed later without anybody acting.
    pub retryable: bool,
    /// When to call again, in milliseconds. `None`: not said.
    pub retry_after_ms: Option<u64>,
    /// What to do next.
    pub remedy: Option<String>,
}

/// A credential minted for the caller, shown once.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// The bearer.
    pub token: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Until when.
    pub expires_at: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Access(***, until {})", self.expires_at)
    }
}

/// A page of projects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProjectList {
    /// Stuck ones first, then the newest.
    pub projects: Vec<ProjectRow>,
    /// Give it as `cursor` for the next page. `None`: this is the last.
    pub next_cursor: Option<String>,
    /// Why there is no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
}

/// A project by its newest run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectRow {
    /// Its name.
    pub project: String,
    /// Where its newest run stands.
    pub state: RunState,
    /// That run.
    pub run_id: String,
    /// When that run last changed (RFC 3339).
    pub updated_at: String,
    /// When a throwaway ends. `None`: it is not one.
    pub expires_at: Option<String>,
    /// The Gitea repository. `None`: not made, or undone.
    pub url: Option<String>,
}

impl RunView {
    /// A refusal before any run.
    pub fn refused(environment: &str, project: Option<&str>, error: ErrorView) -> Self {
        Self {
            environment: environment.to_owned(),
            project: project.map(str::to_owned),
            error: Some(error),
            ..Self::default()
        }
    }

    /// A run as it stands.
    pub(crate) fn of(snapshot: &Snapshot, environment: &str, joined: bool) -> Self {
        let run = &snapshot.run;
        let left_behind = left_behind(snapshot);
        let mut warnings: Vec<String> = match run.state {
            RunState::Succeeded => snapshot.steps.iter().filter_map(passed_over).collect(),
            _ => Vec::new(),
        };
        if let Some(due) = run.recheck_due {
            warnings.push(format!(
                "an ambiguous request is being waited out until {due:.0}; until then a call that would begin a new run answers project.settling"
            ));
        }
        Self {
            run_id: Some(run.run_id.to_string()),
            workflow: Some(run.workflow.name.clone()),
            project: Some(run.subject.clone()),
            state: Some(run.state),
            cause: run.cause,
            environment: environment.to_owned(),
            joined,
            artifacts: Artifacts::of(snapshot),
            steps: snapshot.steps.iter().map(StepView::of).collect(),
            warnings,
            error: error(snapshot),
            left_behind,
            access: None,
            plan: None,
            outputs: outputs(snapshot),
        }
    }
}

fn outputs(snapshot: &Snapshot) -> Option<Value> {
    let run = &snapshot.run;
    let shown = run.state == RunState::Succeeded && run.workflow.name != "project_create";
    shown.then(|| snapshot.outputs.clone())
}

/// What a run that succeeded went on without.
fn passed_over(step: &StepSnapshot) -> Option<String> {
    let id = &step.id;
    match (step.state, &step.error) {
        (StepState::Failed, Some(error)) if step.irreversible => Some(format!(
            "step `{id}` failed and is never undone, so the run went on: {}",
            error.message
        )),
        (StepState::Pending, _) => Some(format!(
            "step `{id}` was not done, because a step that it needs was not"
        )),
        _ => None,
    }
}

fn error(snapshot: &Snapshot) -> Option<ErrorView> {
    if snapshot.run.state == RunState::Succeeded {
        return None;
    }
    let unknown = || {
        let step = snapshot.steps.iter().find(|step| is_unknown(step))?;
        Some((step.id.clone(), step.error.clone()?))
    };
    let (step, error) = snapshot.error.clone().or_else(unknown)?;
    let mut view = ErrorView::of(&error, Some(&step));
    if snapshot.run.state == RunState::Stuck && view.code != "step.unknown_outcome" {
        let stuck = snapshot
            .steps
            .iter()
            .find(|step| step.state == StepState::Stuck);
        let fix = stuck.and_then(|step| step.error.as_ref()?.remedy.clone());
        let fix = fix.unwrap_or_else(|| "mend what the items left behind say".to_owned());
        view.remedy = Some(format!(
            "{fix}; then `forgeline resume {} --retry-undo`",
            snapshot.run.run_id
        ));
    }
    Some(view)
}

impl ErrorView {
    /// An error of a step.
    pub fn of(error: &StepError, step: Option<&str>) -> Self {
        Self {
            code: error.code.clone(),
            step: step.map(str::to_owned),
            message: error.message.clone(),
            retryable: error.retryable,
            retry_after_ms: error.retry_after_ms,
            remedy: error.remedy.clone(),
        }
    }

    /// An error of no step.
    pub fn new(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            step: None,
            message: message.into(),
            retryable: false,
            retry_after_ms: None,
            remedy: Some(remedy.into()),
        }
    }
}

impl StepView {
    fn of(step: &StepSnapshot) -> Self {
        Self {
            id: step.id.clone(),
            kind: step.kind.clone(),
            state: step.state,
            attempts: step.attempts,
            duration_ms: step.duration_ms,
        }
    }
}

/// Never undone, and nobody knows whether it acted.
fn is_unknown(step: &StepSnapshot) -> bool {
    let unknown = || {
        let error = step.error.as_ref();
        error.is_some_and(|error| error.effect == Effect::Possible)
    };
    step.irreversible
        && match step.state {
            StepState::Failed => unknown(),
            // Its process ended while it ran.
            StepState::Started => step.ambiguous,
            _ => false,
        }
}

fn left_behind(snapshot: &Snapshot) -> Vec<LeftBehind> {
    let state = snapshot.run.state;
    let kept = matches!(state, RunState::Failed | RunState::Abandoned);
    let ended_badly = kept || matches!(state, RunState::Stuck | RunState::Compensated);
    let left = |step: &StepSnapshot| match step.state {
        StepState::Stuck => true,
        _ if step.left_by_operator => true,
        _ if step.irreversible => {
            ended_badly && (step.state == StepState::Applied || is_unknown(step))
        }
        StepState::Applied => kept || state == RunState::Stuck,
        StepState::Failed | StepState::Started => {
            kept && step
                .error
                .as_ref()
                .is_some_and(|error| matches!(error.effect, Effect::Left | Effect::Possible))
        }
        _ => false,
    };
    let steps = snapshot
        .steps
        .iter()
        .filter(|step| !step.kind.ends_with(".describe"));
    let steps = steps.filter(|step| left(step) || step.recheck_error.is_some());
    steps
        .map(|step| {
            let error = step.recheck_error.as_ref().or(step.error.as_ref());
            let why = match error {
                Some(error) => error.message.clone(),
                None if is_unknown(step) => {
                    "it was under way when the process ended; nobody knows whether it acted"
                        .to_owned()
                }
                None if step.irreversible => "its step has no undo".to_owned(),
                None if kept => "kept on request".to_owned(),
                None => "its undo waits for another step's".to_owned(),
            };
            let command = error.and_then(|error| error.command.clone());
            let command = command.or_else(|| removal(step)).unwrap_or_default();
            LeftBehind {
                artifact: name(step),
                why,
                command,
            }
        })
        .collect()
}

/// The command that would remove a step's artifact, from its output.
fn removal(step: &StepSnapshot) -> Option<String> {
    let output = step.output.as_ref()?;
    let full_name = output["full_name"].as_str();
    match step.kind.as_str() {
        "github.repository" => Some(format!("gh repo delete {} --yes", full_name?)),
        "gitea.repository" => {
            let path = format!("$GITEA_URL/api/v1/repos/{}", full_name?);
            Some(format!(
                "curl -X DELETE -H \"Authorization: token $GITEA_TOKEN\" {path}"
            ))
        }
        "infra.namespace" => Some(format!(
            "kubectl delete namespace {}",
            output["name"].as_str()?
        )),
        "infra.commit" => {
            let (repository, branch) = (output["repository"].as_str()?, output["branch"].as_str()?);
            let path = format!("$GITEA_URL/api/v1/repos/{repository}/branches/{branch}");
            Some(format!(
                "curl -X DELETE -H \"Authorization: token $GITEA_TOKEN\" {path}"
            ))
        }
        "gitea.push_mirror" => {
            let (repository, name) = (
                output["repository"].as_str()?,
                output["remote_name"].as_str()?,
            );
            let path = format!("$GITEA_URL/api/v1/repos/{repository}/push_mirrors/{name}");
            Some(format!(
                "curl -X DELETE -H \"Authorization: token $GITEA_TOKEN\" {path}"
            ))
        }
        _ => None,
    }
}

fn name(step: &StepSnapshot) -> String {
    let output = step.output.as_ref();
    let named = output.and_then(|output| {
        output["full_name"]
            .as_str()
            .or_else(|| output["name"].as_str())
    });
    match named {
        Some(name) => format!("{} {name}", step.id),
        None => step.id.clone(),
    }
}

impl Artifacts {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            gitea_repository: artifact(snapshot, "gitea.repository"),
            github_repository: artifact(snapshot, "github.repository"),
            mirror: artifact(snapshot, "gitea.push_mirror"),
            infra_namespace: namespace(snapshot),
            issue: artifact(snapshot, "gitea.issue"),
        }
    }
}

/// What was made in the cluster, and what was committed for it.
fn namespace(snapshot: &Snapshot) -> Option<NamespaceArtifact> {
    let direct: Option<NamespaceArtifact> = artifact(snapshot, "infra.namespace");
    let committed: Option<NamespaceArtifact> = artifact(snapshot, "infra.commit");
    match (direct, committed) {
        (Some(direct), Some(committed)) => Some(NamespaceArtifact {
            mode: "both".into(),
            repository: committed.repository,
            branch: committed.branch,
            commit: committed.commit,
            ..direct
        }),
        (None, Some(committed)) => Some(NamespaceArtifact {
            mode: "gitops".into(),
            ..committed
        }),
        (direct, None) => direct,
    }
}

/// The output of the step of this kind, while its artifact is there.
fn artifact<T: serde::de::DeserializeOwned>(snapshot: &Snapshot, kind: &str) -> Option<T> {
    let step = snapshot.steps.iter().find(|step| step.kind == kind)?;
    let there =
        step.left_by_operator || !matches!(step.state, StepState::Compensated | StepState::Skipped);
    let output = step.output.as_ref().filter(|_| there)?;
    serde_json::from_value(output.clone()).ok()
}
