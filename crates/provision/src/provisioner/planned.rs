//! A dry run: what a call would do.

use forgeline_step_engine::RunState;
use forgeline_step_engine::journal::Admission;

use super::{Call, Provisioner, errors};
use crate::actor::Actor;
use crate::doctor;
use crate::plan::Plan;
use crate::view::RunView;

impl Provisioner {
    /// Looks at everything that the call would act on, and answers the plan in a view in state `planned`. Nothing is
    /// written, upstream or in the journal.
    pub async fn plan(&self, call: &Call, actor: &Actor) -> RunView {
        let request = match self.request(call, actor) {
            Ok(request) => request,
            Err(refused) => return *refused,
        };
        let project = request.subject.clone();
        let observed = match self.engine.observe(request).await {
            Ok(observed) => observed,
            Err(error) => {
                return RunView::refused(
                    self.environment(),
                    Some(&project),
                    errors::of_engine(&error),
                );
            }
        };
        let run = &observed.run;
        let checks = match &self.setup.doctor {
            Some(doctor) => {
                doctor
                    .preflight(&run.workflow, &run.inputs, &run.settings)
                    .await
            }
            None => Vec::new(),
        };
        let plan = Plan::of(&observed, doctor::rights(&checks));
        let mut view = RunView {
            workflow: Some(run.workflow.name.clone()),
            project: Some(project),
            state: Some(RunState::Planned),
            environment: self.environment().to_owned(),
            warnings: doctor::warnings(&checks),
            plan: Some(plan),
            ..RunView::default()
        };
        match &observed.admission {
            Admission::Fresh(_) => view.error = doctor::refusal(&checks),
            Admission::Joined(row) | Admission::Answered(row) => {
                view.warnings
                    .push(format!("the call would join run {}", row.run_id));
            }
            refused => view.error = Some(errors::of_admission(refused)),
        }
        if view.error.is_some() {
            view.state = None;
        }
        view
    }
}
