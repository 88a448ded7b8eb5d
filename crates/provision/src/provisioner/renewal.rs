//! A throwaway's new time, and new tokens for mirrors.

use std::collections::BTreeMap;
use std::time::Duration;

use forgeline_step_engine::journal::{RunOptions, RunQuery};
use forgeline_step_engine::{
    InputKind, InputSpec, Request, RetryPolicy, RunState, StepSpec, Workflow,
};
use serde_json::{Map, Value, json};

use super::plans::Draft;
use super::{Provisioner, RENEW, Started, duration, errors, expires};
use crate::actor::Actor;
use crate::cleanup::Item;
use crate::plan::{Action, Plan, PlanItem};
use crate::removal::{Look, RENEW_KIND, Target, TargetKind, look};
use crate::view::{ErrorView, RunView};

/// The workflow of a rotation.
pub(super) const ROTATE: &str = "mirror_rotate";

impl Provisioner {
    /// Lets a throwaway end `ttl` from now.
    pub async fn renew(
        &self,
        project: &str,
        ttl: &str,
        actor: &Actor,
        limit: Option<Duration>,
    ) -> RunView {
        match self.begin_renewal(project, ttl, actor).await {
            Ok(started) => self.wait(&started, limit).await,
            Err(error) => RunView::refused(self.environment(), Some(project), error),
        }
    }

    async fn begin_renewal(
        &self,
        project: &str,
        ttl: &str,
        actor: &Actor,
    ) -> Result<Started, ErrorView> {
        self.fits(ttl)?;
        let rows = self.engine.runs(&RunQuery::default()).await;
        let mut rows = rows.map_err(|error| errors::of_engine(&error))?;
        rows.retain(|row| row.subject == project && row.state != RunState::Planned);
        super::deletion::may_be_deleted(&rows, project)?;
        if !rows.iter().any(|row| expires(row).is_some()) {
            let message = format!("the project `{project}` is no throwaway");
            let remedy = "only a project that was created with a ttl has an end to move";
            return Err(ErrorView::new("project.not_throwaway", message, remedy));
        }
        let made = self.made(&rows, project).await?;
        let targets = made.into_iter().map(|made| made.target(false));
        let carries =
            |target: &Target| !matches!(target.kind, TargetKind::Mirror | TargetKind::Branch);
        let steps = targets.filter(carries).map(|target| step(&target));
        let request = Request {
            workflow: Workflow {
                name: RENEW.to_owned(),
                description: "A throwaway's new time.".to_owned(),
                scope: None,
                removes: false,
                inputs: vec![input("name"), input("ttl")],
                steps: steps.collect(),
                outputs: BTreeMap::new(),
            },
            inputs: Map::from_iter([
                ("name".to_owned(), Value::from(project)),
                ("ttl".to_owned(), Value::from(ttl)),
            ]),
            settings: json!({}),
            subject: project.to_owned(),
            options: RunOptions::default(),
            caller: actor.name().to_owned(),
        };
        let admission = self.engine.start(request).await;
        let admission = admission.map_err(|error| errors::of_engine(&error))?;
        match admission.led_to() {
            Some(run) => Ok(Started::known(run.clone())),
            None => Err(errors::of_admission(&admission)),
        }
    }

    /// Whether a throwaway may last so long.
    pub(super) fn fits(&self, ttl: &str) -> Result<(), ErrorView> {
        let refused = |message: String| {
            ErrorView::new(
                "input.invalid",
                message,
                "write it like 24h, within the bound",
            )
        };
        let lasts = duration(ttl).ok_or_else(|| refused(format!("the ttl `{ttl}` is no time")))?;
        match self.setup.longest_ttl.filter(|longest| lasts > *longest) {
            Some(longest) => {
                let hours = longest.as_secs() / 3600;
                Err(refused(format!(
                    "the ttl `{ttl}` is longer than {hours}h, which FORGELINE_MAX_TTL allows"
                )))
            }
            None => Ok(()),
        }
    }

    /// What giving the mirrors of these projects the present token would replace; nothing is changed. No projects: all.
    pub async fn rotate_plan(&self, projects: &[String], actor: &Actor) -> Plan {
        match self.find_mirrors(projects).await {
            Ok(items) => {
                let draft = Draft {
                    workflow: ROTATE,
                    description: "Replaces mirrors by ones with the present token.",
                    project: None,
                    items,
                };
                self.keep(draft, actor).await
            }
            Err(error) => Plan::refused(error),
        }
    }

    /// Replaces exactly the mirrors that a plan names.
    pub async fn rotate_apply(
        &self,
        plan_id: &str,
        actor: &Actor,
        limit: Option<Duration>,
    ) -> Plan {
        self.apply(ROTATE, plan_id, actor, limit).await
    }

    async fn find_mirrors(&self, projects: &[String]) -> Result<Vec<Item>, ErrorView> {
        let remover = self.remover()?;
        let rows = self.engine.runs(&RunQuery::default()).await;
        let mut rows = rows.map_err(|error| errors::of_engine(&error))?;
        rows.retain(|row| row.state != RunState::Planned);
        let mut subjects: Vec<String> = rows.iter().map(|row| row.subject.clone()).collect();
        subjects.sort();
        subjects.dedup();
        if let Some(unknown) = projects.iter().find(|project| !subjects.contains(project)) {
            let message = format!("there is no run for the project `{unknown}` in this journal");
            return Err(ErrorView::new(
                "project.unknown",
                message,
                "look at `forgeline list`",
            ));
        }
        if !projects.is_empty() {
            subjects.retain(|subject| projects.contains(subject));
        }
        let mut items: Vec<Item> = Vec::new();
        for subject in &subjects {
            let made = self.made(&rows, subject).await?;
            for repository in made
                .iter()
                .filter(|made| made.is(TargetKind::GiteaRepository))
            {
                let mirrors = super::deletion::mirrors(remover, &made, repository).await;
                for target in mirrors {
                    items.push(rotation(remover, target, subject).await);
                }
            }
        }
        for (number, (item, _)) in items.iter_mut().enumerate() {
            item.id = format!("item_{number:04}");
        }
        Ok(items)
    }
}

async fn rotation(remover: &super::Remover, mut target: Target, project: &str) -> Item {
    target.rotate = true;
    let mut item = PlanItem {
        id: String::new(),
        system: target.kind.system().to_owned(),
        artifact: target.artifact(),
        project: project.to_owned(),
        url: None,
        action: Action::Update,
        why: "add one with the present token, prove it, remove this one; Gitea's git configuration keeps the old token".to_owned(),
        evidence: Some("receipt".to_owned()),
        command: String::new(),
        result: None,
    };
    match look(&remover.upstreams, &target).await {
        Ok(Look::There(there)) => {
            item.url = Some(there.url);
            target.seen = there.marks;
            (item, Some(target))
        }
        Ok(_) => {
            item.action = Action::Keep;
            item.why = "it is not there any more".to_owned();
            (item, None)
        }
        Err(error) => {
            item.action = Action::Blocked;
            item.why = error.message;
            (item, None)
        }
    }
}

fn input(name: &str) -> InputSpec {
    InputSpec {
        name: name.to_owned(),
        kind: InputKind::String,
        description: String::new(),
        required: true,
        default: None,
        pattern: None,
        one_of: Vec::new(),
        max_length: None,
    }
}

fn step(target: &Target) -> StepSpec {
    let id = match target.kind {
        TargetKind::GiteaRepository => "gitea_repository",
        TargetKind::GithubRepository => "github_repository",
        _ => "infra_namespace",
    };
    StepSpec {
        id: format!(
            "{id}_{}",
            target.id.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
        ),
        kind: RENEW_KIND.name.to_owned(),
        needs: Vec::new(),
        after: Vec::new(),
        with: json!({"target": target, "ttl": "${{ inputs.ttl }}"}),
        retry: RetryPolicy::default(),
        timeout_ms: 60_000,
        when: None,
        irreversible: false,
        without_undo: false,
    }
}
