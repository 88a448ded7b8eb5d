//! The use-cases: create, plan, look, list, resume, cancel. The same for MCP and the CLI.

mod check;
mod deletion;
mod errors;
mod facts;
mod known;
mod person;
mod planned;
mod plans;
mod removals;
mod renewal;

pub use check::{CheckItem, CheckReport, CheckState};
pub use facts::{Held, ProjectFacts, RunFacts};
pub use person::Wish;

use std::time::Duration;

use forgeline_step_engine::journal::{Admission, RunOptions, RunQuery, RunRow};
use forgeline_step_engine::{Decision, Engine, Request, RunId, RunState, Workflow};
use forgeline_upstream::FullName;
use jiff::SignedDuration;
use serde_json::{Map, Value};

use crate::actor::Actor;
use crate::catalogue::Catalogue;
use crate::cleanup::Rules;
use crate::doctor::{self, Doctor, Report};
use crate::upstreams::Upstreams;
use crate::view::{ErrorView, ProjectList, ProjectRow, RunView};

/// The workflow of a throwaway's new time.
const RENEW: &str = "project_renew";

/// What a provisioner is made of.
#[derive(Clone)]
pub struct Setup {
    /// `live` or `sandbox`: what answers say of themselves.
    pub environment: String,
    /// What workflow files refer to as `settings`; no secrets.
    pub settings: Value,
    /// The workflows.
    pub catalogue: Catalogue,
    /// Looks before a run begins. `None`: nobody does.
    pub doctor: Option<Doctor>,
    /// Looks at what is there and may be removed. `None`: nothing can be.
    pub remover: Option<Remover>,
    /// How long a throwaway may last. `None`: any time.
    pub longest_ttl: Option<Duration>,
}

/// What looks at everything that is there, for clean-up and deletion. Its requests come after those that somebody waits for.
#[derive(Clone)]
pub struct Remover {
    /// The clients.
    pub upstreams: std::sync::Arc<Upstreams>,
    /// Who and what may be touched.
    pub rules: Rules,
    /// The infra repository. `None`: there is none.
    pub infra: Option<FullName>,
}

/// A call for a run.
#[derive(Clone, Debug)]
pub struct Call {
    /// The workflow's name.
    pub workflow: String,
    /// Its inputs as given.
    pub inputs: Map<String, Value>,
    /// What else the caller decided.
    pub options: RunOptions,
}

/// The use-cases over one engine. Cheap to clone.
#[derive(Clone)]
pub struct Provisioner {
    engine: Engine,
    setup: std::sync::Arc<Setup>,
}

/// A run that a call led to.
#[derive(Clone, Debug)]
pub struct Started {
    /// The run.
    pub run_id: RunId,
    /// It was under way before the call.
    pub joined: bool,
    /// What the caller should know, seen before it began.
    pub warnings: Vec<String>,
}

impl Started {
    /// A run that is there already.
    pub fn known(run_id: RunId) -> Self {
        Self {
            run_id,
            joined: false,
            warnings: Vec::new(),
        }
    }
}

impl Provisioner {
    /// The use-cases over this engine.
    pub fn new(engine: Engine, setup: Setup) -> Self {
        Self {
            engine,
            setup: std::sync::Arc::new(setup),
        }
    }

    /// The engine below.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// `live` or `sandbox`.
    pub fn environment(&self) -> &str {
        &self.setup.environment
    }

    /// The workflows.
    pub fn catalogue(&self) -> &Catalogue {
        &self.setup.catalogue
    }

    /// Begins or joins a run; it goes on when the caller goes away.
    ///
    /// # Errors
    /// The view of the refusal.
    pub async fn start(&self, call: &Call, actor: &Actor) -> Result<Started, Box<RunView>> {
        let request = self.request(call, actor)?;
        let project = request.subject.clone();
        let refused = |error| Box::new(RunView::refused(self.environment(), Some(&project), error));
        let warnings = self.preflight(&request).await.map_err(refused)?;
        let admission = self
            .engine
            .start(request)
            .await
            .map_err(|error| refused(errors::of_engine(&error)))?;
        let joined = matches!(admission, Admission::Joined(_));
        match admission.led_to() {
            Some(run_id) => Ok(Started {
                run_id: run_id.clone(),
                joined,
                warnings,
            }),
            None => Err(refused(errors::of_admission(&admission))),
        }
    }

    /// A call as the engine takes it.
    fn request(&self, call: &Call, actor: &Actor) -> Result<Request, Box<RunView>> {
        let project = call.inputs.get("name").and_then(Value::as_str);
        let Some(workflow) = self.setup.catalogue.get(&call.workflow).cloned() else {
            let message = format!("there is no workflow `{}`", call.workflow);
            let error = ErrorView::new(
                "workflow.unknown",
                message,
                "choose one of `forgeline workflow list`",
            );
            return Err(Box::new(RunView::refused(
                self.environment(),
                project,
                error,
            )));
        };
        if let Some(ttl) = call
            .inputs
            .get("ttl")
            .and_then(Value::as_str)
            .filter(|ttl| duration(ttl).is_some())
        {
            let refused = |error| Box::new(RunView::refused(self.environment(), project, error));
            self.fits(ttl).map_err(refused)?;
        }
        Ok(Request {
            subject: subject(&workflow, &call.inputs),
            workflow,
            inputs: call.inputs.clone(),
            settings: self.setup.settings.clone(),
            options: call.options.clone(),
            caller: actor.name().to_owned(),
        })
    }

    /// A run is under way, or this caller's request has led to one: the answer needs no upstream.
    async fn is_known(&self, request: &Request) -> Result<bool, ErrorView> {
        let query = RunQuery {
            subject: Some(request.subject.clone()),
            ..RunQuery::default()
        };
        let earlier = self.engine.runs(&query).await;
        let earlier = earlier.map_err(|error| errors::of_engine(&error))?;
        let under_way = |row: &RunRow| row.state.is_live() || row.state == RunState::Stuck;
        let asked = |row: &RunRow| {
            row.state == RunState::Succeeded
                && row.caller == request.caller
                && row.options.request_id.is_some()
                && row.options.request_id == request.options.request_id
        };
        Ok(earlier.first().is_some_and(under_way) || earlier.iter().any(asked))
    }

    /// What would stop the run is said before it begins; what it would leave is a warning. Nothing is looked at for a run
    /// that is known.
    async fn preflight(&self, request: &Request) -> Result<Vec<String>, ErrorView> {
        let Some(doctor) = &self.setup.doctor else {
            return Ok(Vec::new());
        };
        if self.is_known(request).await? {
            return Ok(Vec::new());
        }
        let inputs = request
            .workflow
            .accept(&request.inputs, &request.settings)
            .map_err(|problems| {
                errors::of_engine(&forgeline_step_engine::EngineError::Input(problems))
            })?;
        let checks = doctor
            .preflight(&request.workflow, &inputs, &request.settings)
            .await;
        match doctor::refusal(&checks) {
            Some(error) => Err(error),
            None => Ok(doctor::warnings(&checks)),
        }
    }

    /// Looks at everything that a project needs. `only`: checks whose id begins so.
    pub async fn doctor(&self, only: &[String]) -> Report {
        match &self.setup.doctor {
            Some(doctor) => doctor.examine(only).await,
            None => Report::default(),
        }
    }

    /// Waits until the run has settled, at most `limit`, and shows it.
    pub async fn wait(&self, started: &Started, limit: Option<Duration>) -> RunView {
        self.engine.wait(&started.run_id, limit).await;
        let mut view = self.view(&started.run_id, started.joined).await;
        view.warnings.splice(0..0, started.warnings.iter().cloned());
        view
    }

    /// Begins or joins a run, waits, and shows it.
    pub async fn create(&self, call: &Call, actor: &Actor, limit: Option<Duration>) -> RunView {
        match self.start(call, actor).await {
            Ok(started) => self.wait(&started, limit).await,
            Err(refused) => *refused,
        }
    }

    async fn view(&self, run: &RunId, joined: bool) -> RunView {
        match self.engine.snapshot(run).await {
            Ok(snapshot) => {
                let mut view = RunView::of(&snapshot, self.environment(), joined);
                if view.state == Some(RunState::Interrupted) {
                    // The run stands still because of this; it has no error of its own.
                    let trouble = self
                        .engine
                        .trouble()
                        .map(|error| errors::of_journal(&error));
                    view.error = view.error.or(trouble);
                }
                view
            }
            Err(error) => RunView::refused(self.environment(), None, errors::of_engine(&error)),
        }
    }

    /// A run by its id, or the newest run of a project.
    pub async fn status(
        &self,
        project: Option<&str>,
        run_id: Option<&str>,
        wait: Option<Duration>,
    ) -> RunView {
        let run = match self.find(project, run_id).await {
            Ok(run) => run,
            Err(error) => return RunView::refused(self.environment(), project, error),
        };
        if let Some(wait) = wait {
            self.engine.wait(&run, Some(wait)).await;
        }
        self.view(&run, false).await
    }

    async fn find(&self, project: Option<&str>, run_id: Option<&str>) -> Result<RunId, ErrorView> {
        match (project, run_id) {
            (_, Some(run_id)) => run_id.parse().map_err(|error| {
                ErrorView::new(
                    "input.invalid",
                    format!("{error}"),
                    "give the run id of an answer, or `forgeline list`",
                )
            }),
            (Some(project), None) => {
                let query = RunQuery {
                    subject: Some(project.to_owned()),
                    ..RunQuery::default()
                };
                let rows = self
                    .engine
                    .runs(&query)
                    .await
                    .map_err(|error| errors::of_engine(&error))?;
                // A plan is no run of the project.
                rows.into_iter()
                    .find(|row| row.state != RunState::Planned)
                    .map(|row| row.run_id)
                    .ok_or_else(|| {
                        let message =
                            format!("there is no run for the project `{project}` in this journal");
                        ErrorView::new("project.unknown", message, "look at `forgeline list`")
                    })
            }
            (None, None) => Err(ErrorView::new(
                "input.invalid",
                "neither project nor run_id is given",
                "give one of them",
            )),
        }
    }

    /// Projects by their newest runs: stuck ones first, then the newest. `cursor` is a run id of the last page's answer.
    pub async fn list(
        &self,
        state: Option<RunState>,
        limit: usize,
        cursor: Option<&str>,
    ) -> ProjectList {
        let rows = match self.engine.runs(&RunQuery::default()).await {
            Ok(rows) => rows,
            Err(error) => {
                return ProjectList {
                    error: Some(errors::of_engine(&error)),
                    ..ProjectList::default()
                };
            }
        };
        let mut newest: Vec<RunRow> = Vec::new();
        let begun = rows
            .into_iter()
            .filter(|row| row.state != RunState::Planned);
        for row in begun {
            if !newest.iter().any(|seen| seen.subject == row.subject) {
                newest.push(row);
            }
        }
        newest.retain(|row| state.is_none_or(|state| state == row.state));
        newest.sort_by_key(|row| row.state != RunState::Stuck);
        let at = |cursor: &str| newest.iter().position(|row| row.run_id.as_str() == cursor);
        let from = match cursor.map(at) {
            None => 0,
            Some(Some(at)) => at + 1,
            Some(None) => {
                let message = "the cursor is of no page that this server answered, or its project has run again";
                let error = ErrorView::new("input.invalid", message, "list again without a cursor");
                return ProjectList {
                    error: Some(error),
                    ..ProjectList::default()
                };
            }
        };
        let page: Vec<&RunRow> = newest.iter().skip(from).take(limit).collect();
        let more = newest.len() > from + page.len();
        let next_cursor = page
            .last()
            .filter(|_| more)
            .map(|row| row.run_id.to_string());
        let mut projects = Vec::with_capacity(page.len());
        for row in page {
            projects.push(self.row(row).await);
        }
        ProjectList {
            projects,
            next_cursor,
            error: None,
        }
    }

    async fn row(&self, row: &RunRow) -> ProjectRow {
        let view = self.view(&row.run_id, false).await;
        ProjectRow {
            project: row.subject.clone(),
            state: row.state,
            run_id: row.run_id.to_string(),
            updated_at: format!("{:.0}", row.updated_at),
            expires_at: expiry(row),
            url: view
                .artifacts
                .gitea_repository
                .map(|repository| repository.url),
        }
    }

    /// Acts on a run that stands still, waits, and shows it.
    pub async fn resume(
        &self,
        run_id: &str,
        decision: Decision,
        actor: &Actor,
        limit: Option<Duration>,
    ) -> RunView {
        let run = match self.find(None, Some(run_id)).await {
            Ok(run) => run,
            Err(error) => return RunView::refused(self.environment(), None, error),
        };
        match self.engine.decide(&run, decision, actor.name()).await {
            Ok(()) => self.wait(&Started::known(run), limit).await,
            Err(error) => RunView::refused(self.environment(), None, errors::of_engine(&error)),
        }
    }

    /// Asks a run to stop, waits until it is undone, and shows it.
    pub async fn cancel(&self, run_id: &str, actor: &Actor, limit: Option<Duration>) -> RunView {
        let run = match self.find(None, Some(run_id)).await {
            Ok(run) => run,
            Err(error) => return RunView::refused(self.environment(), None, error),
        };
        match self.engine.cancel(&run, actor.name()).await {
            Ok(()) => self.wait(&Started::known(run), limit).await,
            Err(error) => RunView::refused(self.environment(), None, errors::of_engine(&error)),
        }
    }
}

/// What a run is about: its `name`, or the workflow with its inputs where it has none.
fn subject(workflow: &Workflow, inputs: &Map<String, Value>) -> String {
    if let Some(name) = inputs.get("name").and_then(Value::as_str) {
        return name.to_owned();
    }
    if workflow.inputs.iter().any(|input| input.name == "name") {
        return String::new();
    }
    let given: Vec<String> = inputs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if given.is_empty() {
        workflow.name.clone()
    } else {
        format!("{} {}", workflow.name, given.join(" "))
    }
}

/// When a throwaway ends (RFC 3339): its `ttl` after its newest run began.
fn expiry(row: &RunRow) -> Option<String> {
    expires(row).map(|at| format!("{at:.0}"))
}

/// When a throwaway ends: the `ttl` of this run after it began.
fn expires(row: &RunRow) -> Option<jiff::Timestamp> {
    let lasts = duration(row.inputs["ttl"].as_str()?)?;
    let lasts = SignedDuration::try_from(lasts).ok()?;
    row.created_at.checked_add(lasts).ok()
}

/// A time like `30m`: a number and `s`, `m`, `h` or `d`. `None`: it is none.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}
