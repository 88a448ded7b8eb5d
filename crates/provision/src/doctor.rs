//! doctor: everything that can be known before anything is made. All checks run side by side, none stops another, and
//! nothing is written. The same checks, as far as a workflow needs them, are its preflight.

mod clocks;
mod gitea;
mod github;
mod kubernetes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use forgeline_gitea::Gitea;
use forgeline_github::GitHub;
use forgeline_kubernetes::Kubernetes;
use forgeline_step_engine::{Scope, StepSpec, Workflow, resolve};
use forgeline_upstream::FullName;
use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::refusal::Refusal;
use crate::view::ErrorView;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with something to know.
    Warn,
    /// A project cannot be made.
    Fail,
    /// Could not be looked at, because of another failure or because nothing needs it.
    Skip,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Stable and dotted; also the anchor in `docs/runbook.md`.
    pub id: String,
    /// How it ended.
    pub status: Status,
    /// What was looked at.
    pub subject: String,
    /// What was seen.
    pub detail: String,
    /// What to do. `None`: nothing.
    pub remedy: Option<String>,
    /// The rights that it looked at.
    #[serde(skip)]
    pub rights: Vec<Right>,
    /// The code of a refusal that follows from it, where that is not `preflight.ID`.
    #[serde(skip)]
    pub code: Option<String>,
}

/// A right that a credential needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Right {
    /// The variable that configures the credential.
    pub variable: String,
    /// The right.
    pub right: String,
    /// Whether it is there; `null`: it cannot be told before it is used.
    pub ok: Option<bool>,
}

/// What doctor answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// No check failed.
    pub ok: bool,
    /// Every check.
    pub checks: Vec<Check>,
    /// Why there is no report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
}

impl Check {
    fn new(
        id: &str,
        status: Status,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            status,
            subject: subject.into(),
            detail: detail.into(),
            remedy: None,
            rights: Vec::new(),
            code: None,
        }
    }

    /// A check that passed.
    pub fn ok(id: &str, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(id, Status::Ok, subject, detail)
    }

    /// A check with something to know.
    pub fn warn(
        id: &str,
        subject: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..Self::new(id, Status::Warn, subject, detail)
        }
    }

    /// A check that failed.
    pub fn fail(
        id: &str,
        subject: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..Self::new(id, Status::Fail, subject, detail)
        }
    }

    /// A check that could not be made.
    pub fn skip(id: &str, subject: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(id, Status::Skip, subject, why)
    }

    fn refused(id: &str, subject: &str, refusal: &Refusal) -> Self {
        Self {
            code: Some(refusal.code.clone()),
            remedy: Some(refusal.remedy.clone()),
            ..Self::new(id, Status::Fail, subject, &refusal.message)
        }
    }

    fn with_rights(mut self, rights: Vec<Right>) -> Self {
        self.rights = rights;
        self
    }
}

impl Report {
    fn of(checks: Vec<Check>) -> Self {
        Self {
            ok: checks.iter().all(|check| check.status != Status::Fail),
            checks,
            error: None,
        }
    }
}

/// What doctor looks at; a part that the configuration does not give is `None` and skipped.
#[derive(Clone, Default)]
pub struct Parts {
    /// Both doors to Gitea.
    pub gitea: Option<Gitea>,
    /// GitHub with the main token.
    pub github: Option<GitHub>,
    /// GitHub with the mirror token.
    pub mirror: Option<GitHub>,
    /// The mirror token is the main one.
    pub mirror_is_main: bool,
    /// The cluster.
    pub kubernetes: Option<Kubernetes>,
    /// Whether the mode of infra uses a cluster.
    pub needs_cluster: bool,
    /// Where GitOps commits to. `None`: it does not.
    pub infra_repository: Option<FullName>,
    /// What stands in a namespace; decides which rights are needed.
    pub infra_policy: Value,
    /// The default owner in Gitea.
    pub gitea_owner: Option<String>,
    /// The default owner on GitHub.
    pub github_owner: Option<String>,
}

/// Checks that need no upstream: configuration, journal, disk, workflow files.
pub type LocalChecks = Arc<dyn Fn() -> Vec<Check> + Send + Sync>;

/// Checks that ask somebody who is no upstream of a project, for example an issuer.
pub type OtherChecks = Arc<dyn Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync>;

/// Looks at everything. Cheap to clone.
#[derive(Clone)]
pub struct Doctor {
    parts: Arc<Parts>,
    local: LocalChecks,
    others: Vec<(&'static str, OtherChecks)>,
    passed: Arc<Mutex<Passed>>,
}

/// Preflights that passed, and when.
type Passed = BTreeMap<Subject, (Instant, Vec<Check>)>;

/// What a preflight is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    systems: Vec<&'static str>,
    gitea_owner: Option<String>,
    github_owner: Option<String>,
}

/// How long a preflight that passed is believed.
const BELIEVED: Duration = Duration::from_secs(60);
/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(20);

const GITEA: &str = "gitea";
const GITHUB: &str = "github";
const MIRROR: &str = "mirror";
const KUBERNETES: &str = "kubernetes";
const INFRA: &str = "infra";
const LOCAL: &str = "local";

type Future<'a> = (&'static str, BoxFuture<'a, Vec<Check>>);

impl Doctor {
    /// A doctor for these parts.
    pub fn new(parts: Parts, local: LocalChecks) -> Self {
        Self {
            parts: Arc::new(parts),
            local,
            others: Vec::new(),
            passed: Arc::default(),
        }
    }

    /// The same doctor, who also makes these checks when everything is looked at. `id` names them when they take too long.
    #[must_use]
    pub fn with(mut self, id: &'static str, checks: OtherChecks) -> Self {
        self.others.push((id, checks));
        self
    }

    /// Makes every check, or those whose id begins with one of `only`.
    pub async fn examine(&self, only: &[String]) -> Report {
        let subject = Subject {
            systems: vec![GITEA, GITHUB, MIRROR, KUBERNETES, INFRA, LOCAL],
            gitea_owner: self.parts.gitea_owner.clone(),
            github_owner: self.parts.github_owner.clone(),
        };
        let mut checks = self.run(&subject).await;
        if !only.is_empty() {
            let known: BTreeSet<String> = checks.iter().map(|check| check.id.clone()).collect();
            checks.retain(|check| only.iter().any(|wanted| is_below(&check.id, wanted)));
            let none = |wanted: &&String| !known.iter().any(|id| is_below(id, wanted));
            if let Some(wanted) = only.iter().find(none) {
                let known: Vec<String> = known.into_iter().collect();
                return Report {
                    error: Some(ErrorView::new(
                        "input.invalid",
                        format!("no check of this configuration is named `{wanted}`"),
                        format!("choose among {}", known.join(", ")),
                    )),
                    ..Report::default()
                };
            }
        }
        Report::of(checks)
    }

    /// The checks that a run of this workflow depends on; a minute old at most when all passed.
    pub(crate) async fn preflight(
        &self,
        workflow: &Workflow,
        inputs: &Value,
        settings: &Value,
    ) -> Vec<Check> {
        let owner = |name: &str, default: &Option<String>| {
            let given = inputs[name].as_str().map(str::to_owned);
            given.or_else(|| default.clone())
        };
        let subject = Subject {
            systems: systems(workflow, inputs, settings),
            gitea_owner: owner("gitea_owner", &self.parts.gitea_owner),
            github_owner: owner("github_owner", &self.parts.github_owner),
        };
        if subject.systems.is_empty() {
            return Vec::new();
        }
        let known = self.passed().get(&subject).cloned();
        if let Some((at, checks)) = known
            && at.elapsed() < BELIEVED
        {
            return checks;
        }
        let checks = self.run(&subject).await;
        if checks.iter().all(|check| check.status != Status::Fail) {
            self.passed()
                .insert(subject, (Instant::now(), checks.clone()));
        }
        checks
    }

    fn passed(&self) -> std::sync::MutexGuard<'_, Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, subject: &Subject) -> Vec<Check> {
        let parts = &self.parts;
        let mut all: Vec<Future<'_>> = Vec::new();
        if subject.systems.contains(&GITEA) {
            all.extend(gitea::checks(parts, subject.gitea_owner.as_deref()));
        }
        if subject.systems.contains(&GITHUB) {
            all.push((
                "github",
                Box::pin(github::main(parts, subject.github_owner.as_deref())),
            ));
        }
        if subject.systems.contains(&MIRROR) {
            all.push(("github.mirror_token", Box::pin(github::mirror(parts))));
            all.push(("gitea.mirrors", Box::pin(gitea::mirrors(parts))));
        }
        if subject.systems.contains(&KUBERNETES) {
            all.push(("kubernetes", Box::pin(kubernetes::checks(parts))));
        }
        if subject.systems.contains(&INFRA) {
            all.push(("infra.repository", Box::pin(gitea::infra(parts))));
        }
        if subject.systems.contains(&LOCAL) {
            let others = self.others.iter().map(|(id, checks)| (*id, checks()));
            all.extend(others);
        }
        let limited = all.into_iter().map(|(id, checks)| async move {
            tokio::time::timeout(PATIENCE, checks)
                .await
                .unwrap_or_else(|_| {
                    let detail = format!("no answer within {} s", PATIENCE.as_secs());
                    vec![Check {
                        code: Some(format!(
                            "{}.unavailable",
                            id.split('.').next().unwrap_or(id)
                        )),
                        ..Check::fail(id, id, detail, "look whether that system is up")
                    }]
                })
        });
        let mut checks: Vec<Check> = join_all(limited).await.into_iter().flatten().collect();
        if subject.systems.contains(&LOCAL) {
            checks.extend((self.local)());
        }
        checks
    }
}

/// `gitea.scopes` is below `gitea.scopes` and `gitea`.
fn is_below(id: &str, wanted: &str) -> bool {
    id.strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The systems that the steps of this run use.
fn systems(workflow: &Workflow, inputs: &Value, settings: &Value) -> Vec<&'static str> {
    let scope = Scope {
        inputs,
        settings,
        steps: None,
    };
    let runs = |step: &&StepSpec| {
        let when = step.when.clone().map(Value::String);
        when.is_none_or(|when| resolve(&when, &scope) == Value::Bool(true))
    };
    let mut found = Vec::new();
    for step in workflow.steps.iter().filter(runs) {
        found.extend(match step.kind.as_str() {
            "gitea.push_mirror" => vec![GITEA, GITHUB, MIRROR],
            "infra.namespace" => vec![KUBERNETES],
            "infra.commit" => vec![GITEA, INFRA],
            kind if kind.starts_with("gitea.") => vec![GITEA],
            kind if kind.starts_with("github.") => vec![GITHUB],
            _ => Vec::new(),
        });
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Why a preflight refuses a run. `None`: it does not.
pub(crate) fn refusal(checks: &[Check]) -> Option<ErrorView> {
    let failed: Vec<&Check> = checks
        .iter()
        .filter(|check| check.status == Status::Fail)
        .collect();
    let unavailable = |check: &Check| {
        check
            .code
            .as_ref()
            .is_some_and(|code| code.ends_with(".unavailable"))
    };
    // What people have to mend is said before what may pass.
    let first = failed
        .iter()
        .find(|check| !unavailable(check))
        .or(failed.first())?;
    let others = failed.len() - 1;
    let more = if others == 0 {
        String::new()
    } else {
        let ids: Vec<&str> = failed
            .iter()
            .filter(|check| check.id != first.id)
            .map(|check| check.id.as_str())
            .collect();
        format!(
            " ({others} more: {}; `forgeline doctor` shows all)",
            ids.join(", ")
        )
    };
    let code = first
        .code
        .clone()
        .unwrap_or_else(|| format!("preflight.{}", first.id));
    let error = ErrorView::new(
        &code,
        format!(
            "nothing was begun: {}: {}{more}",
            first.subject, first.detail
        ),
        first.remedy.clone().unwrap_or_default(),
    );
    Some(ErrorView {
        retryable: failed.iter().all(|check| unavailable(check)),
        ..error
    })
}

/// What a caller is told before a run begins.
pub(crate) fn warnings(checks: &[Check]) -> Vec<String> {
    checks
        .iter()
        .filter(|check| check.status == Status::Warn)
        .map(|check| {
            let remedy = check.remedy.clone().unwrap_or_default();
            format!("{}: {}; {remedy}", check.subject, check.detail)
        })
        .collect()
}

/// The rights that the checks looked at.
pub(crate) fn rights(checks: &[Check]) -> Vec<Right> {
    checks
        .iter()
        .flat_map(|check| check.rights.clone())
        .collect()
}
