//! The use-cases: create, look, list, resume, cancel. The same for MCP and the CLI.

use std::time::Duration;

use forgeline_step_engine::journal::{Admission, JournalError, RunOptions, RunQuery, RunRow};
use forgeline_step_engine::{Decision, Engine, EngineError, RunId, RunState};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::actor::Actor;
use crate::catalogue::Catalogue;
use crate::view::{ErrorView, ProjectList, ProjectRow, RunView};

/// What a provisioner is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `live` or `sandbox`: what answers say of themselves.
    pub environment: String,
    /// What workflow files refer to as `settings`; no secrets.
    pub settings: Value,
    /// The workflows.
    pub catalogue: Catalogue,
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
        let project = call
            .inputs
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let refused = |error: ErrorView| {
            Box::new(RunView::refused(
                self.environment(),
                project.as_deref(),
                error,
            ))
        };
        let Some(workflow) = self.setup.catalogue.get(&call.workflow).cloned() else {
            let message = format!("there is no workflow `{}`", call.workflow);
            return Err(refused(ErrorView::new(
                "workflow.unknown",
                message,
                "choose one of `forgeline workflow list`",
            )));
        };
        let request = forgeline_step_engine::Request {
            workflow,
            inputs: call.inputs.clone(),
            settings: self.setup.settings.clone(),
            subject: project.clone().unwrap_or_default(),
            options: call.options.clone(),
            caller: actor.name().to_owned(),
        };
        let admission = self
            .engine
            .start(request)
            .await
            .map_err(|error| refused(engine_error(&error)))?;
        match admission {
            Admission::Fresh(row) => Ok(Started {
                run_id: row.run_id,
                joined: false,
            }),
            Admission::Joined(row) => Ok(Started {
                run_id: row.run_id,
                joined: true,
            }),
            Admission::Answered(row) => Ok(Started {
                run_id: row.run_id,
                joined: false,
            }),
            other => Err(refused(admission_error(&other))),
        }
    }

    /// Waits until the run has settled, at most `limit`, and shows it.
    pub async fn wait(&self, started: &Started, limit: Option<Duration>) -> RunView {
        self.engine.wait(&started.run_id, limit).await;
        self.view(&started.run_id, started.joined).await
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
            Ok(snapshot) => RunView::of(&snapshot, self.environment(), joined),
            Err(error) => RunView::refused(self.environment(), None, engine_error(&error)),
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
                    limit: Some(1),
                    ..RunQuery::default()
                };
                let rows = self
                    .engine
                    .runs(&query)
                    .await
                    .map_err(|error| engine_error(&error))?;
                rows.into_iter()
                    .next()
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
                    error: Some(engine_error(&error)),
                    ..ProjectList::default()
                };
            }
        };
        let mut newest: Vec<RunRow> = Vec::new();
        for row in rows {
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
            expires_at: None,
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
            Ok(()) => {
                self.wait(
                    &Started {
                        run_id: run,
                        joined: false,
                    },
                    limit,
                )
                .await
            }
            Err(error) => RunView::refused(self.environment(), None, engine_error(&error)),
        }
    }

    /// Asks a run to stop, waits until it is undone, and shows it.
    pub async fn cancel(&self, run_id: &str, actor: &Actor, limit: Option<Duration>) -> RunView {
        let run = match self.find(None, Some(run_id)).await {
            Ok(run) => run,
            Err(error) => return RunView::refused(self.environment(), None, error),
        };
        match self.engine.cancel(&run, actor.name()).await {
            Ok(()) => {
                self.wait(
                    &Started {
                        run_id: run,
                        joined: false,
                    },
                    limit,
                )
                .await
            }
            Err(error) => RunView::refused(self.environment(), None, engine_error(&error)),
        }
    }
}

fn admission_error(admission: &Admission) -> ErrorView {
    match admission {
        Admission::Conflict { run_id, differing } => ErrorView::new(
            "project.conflict",
            format!(
                "run {run_id} made this project with other inputs; these differ: {}",
                differing.join(", ")
            ),
            "call with the same inputs, or choose another name",
        ),
        Admission::Busy { run_id, workflow } => {
            let message =
                format!("run {run_id} of the workflow `{workflow}` is under way for this project");
            ErrorView {
                retryable: true,
                ..ErrorView::new(
                    "project.busy",
                    message,
                    "wait until it has ended, then call again",
                )
            }
        }
        Admission::Locked {
            resource,
            run_id,
            subject,
        } => ErrorView::new(
            "project.locked",
            format!("{resource} is held by run {run_id} of the project `{subject}`"),
            format!("wait for it (`forgeline status --run {run_id}`), or choose other names"),
        ),
        Admission::Stuck { run_id } => ErrorView::new(
            "project.stuck",
            format!("run {run_id} of this project is stuck and wants a decision"),
            format!(
                "look at `forgeline status --run {run_id}`, then `forgeline resume {run_id} --retry-undo`, `--skip STEP` or `--abandon`"
            ),
        ),
        Admission::Settling { run_id, due } => {
            let left = u64::try_from(due.duration_since(Timestamp::now()).as_millis()).unwrap_or(0);
            let message = format!("an ambiguous request of run {run_id} is being waited out");
            ErrorView {
                retryable: true,
                retry_after_ms: Some(left + 100),
                ..ErrorView::new(
                    "project.settling",
                    message,
                    "call again after retry_after_ms",
                )
            }
        }
        Admission::Fresh(_) | Admission::Joined(_) | Admission::Answered(_) => {
            ErrorView::new("internal", "an admitted run is no error", "report this")
        }
    }
}

fn engine_error(error: &EngineError) -> ErrorView {
    match error {
        EngineError::Journal(error) => journal_error(error),
        EngineError::Input(problems) => ErrorView::new(
            "input.invalid",
            problems.join("; "),
            "correct these inputs and call again",
        ),
        EngineError::Workflow { .. } => ErrorView::new(
            "workflow.invalid",
            error.to_string(),
            "mend the workflow file",
        ),
        EngineError::UnknownRun(_) => {
            ErrorView::new("run.unknown", error.to_string(), "look at `forgeline list`")
        }
        EngineError::NotNow(_) => ErrorView::new(
            "run.not_now",
            error.to_string(),
            "look where it stands (`forgeline status --run` with its id, or project_status)",
        ),
    }
}

fn journal_error(error: &JournalError) -> ErrorView {
    ErrorView::new(error.code(), error.to_string(), error.remedy())
}
