//! Deleting a project: what its runs made, by their receipts, and nobody has used since.

use std::time::Duration;

use forgeline_step_engine::journal::{RunQuery, RunRow};
use forgeline_step_engine::{RunId, RunState};

use super::known::{Receipt, pushed, receipts};
use super::plans::Draft;
use super::{Provisioner, Remover, errors};
use crate::actor::Actor;
use crate::cleanup::Item;
use crate::ownership::mirror_interval;
use crate::plan::{Action, Plan, PlanItem};
use crate::removal::{Look, Target, TargetKind, There, fingerprint, full_name, look};
use crate::view::ErrorView;

/// The workflow of a deletion.
const DELETE: &str = "project_delete";

/// A receipt, the run that has it, and what that run's mirror pushed.
pub(super) struct Made {
    receipt: Receipt,
    run: RunId,
    pushed: Option<String>,
}

impl Made {
    pub(super) fn is(&self, kind: TargetKind) -> bool {
        self.receipt.kind == kind
    }

    pub(super) fn target(&self, archive: bool) -> Target {
        Target {
            kind: self.receipt.kind,
            name: self.receipt.name.clone(),
            within: self.receipt.within.clone(),
            id: self.receipt.id.clone(),
            run: Some(self.run.clone()),
            seen: Default::default(),
            archive,
            rotate: false,
        }
    }
}

/// What a look at a receipt leads to.
struct Judged {
    item: Item,
    /// Somebody uses it.
    used: Option<String>,
}

impl Provisioner {
    /// What deleting a project would remove; nothing is removed. With `archive` its repositories are made read-only
    /// instead. A project that somebody has used is refused, with the reasons.
    pub async fn delete_plan(&self, project: &str, archive: bool, actor: &Actor) -> Plan {
        match self.find_made(project, archive).await {
            Ok((items, used)) if used.is_empty() || archive => {
                let draft = Draft {
                    workflow: DELETE,
                    description: "Removes what a plan for deleting a project names.",
                    project: Some(project.to_owned()),
                    items,
                };
                self.keep(draft, actor).await
            }
            Ok((items, used)) => {
                let message = format!("somebody uses the project `{project}`: {}", used.join("; "));
                let remedy = "look at what is in it; with archive its repositories are made read-only instead";
                let items = items.into_iter().map(|(item, _)| item).collect();
                Plan {
                    error: Some(ErrorView::new("project.in_use", message, remedy)),
                    ..Plan::of_items(items)
                }
            }
            Err(error) => Plan::refused(error),
        }
    }

    /// Removes exactly what a plan names, if it is as the plan saw it.
    pub async fn delete_apply(
        &self,
        project: &str,
        plan_id: &str,
        actor: &Actor,
        limit: Option<Duration>,
    ) -> Plan {
        match self.plan_is_about(DELETE, plan_id, project).await {
            Ok(()) => self.apply(DELETE, plan_id, actor, limit).await,
            Err(error) => Plan::refused(error),
        }
    }

    async fn find_made(
        &self,
        project: &str,
        archive: bool,
    ) -> Result<(Vec<Item>, Vec<String>), ErrorView> {
        let remover = self.remover()?;
        let rows = self.engine.runs(&RunQuery::default()).await;
        let mut rows = rows.map_err(|error| errors::of_engine(&error))?;
        rows.retain(|row| row.state != RunState::Planned);
        may_be_deleted(&rows, project)?;
        let made = self.made(&rows, project).await?;
        let mut in_gitea = None;
        let (mut items, mut used) = (Vec::new(), Vec::new());
        // Gitea first: what it holds explains what its mirror pushed.
        let gitea_first = |made: &&Made| made.receipt.kind != TargetKind::GiteaRepository;
        let mut order: Vec<&Made> = made.iter().collect();
        order.sort_by_key(gitea_first);
        for one in order {
            let judged = judge(remover, one, archive, project, &mut in_gitea).await;
            if let Some(judged) = judged {
                used.extend(judged.used);
                items.push(judged.item);
            }
        }
        let others = rows.iter().filter(|row| row.subject != project);
        let others: Vec<&RunRow> = others
            .filter(|row| row.state == RunState::Succeeded && !row.workflow.removes)
            .collect();
        for (item, target) in &mut items {
            let shared = others.iter().find(|row| {
                target
                    .as_ref()
                    .is_some_and(|target| row.resources.contains(&target.resource()))
            });
            if let Some(other) = shared {
                item.action = Action::Keep;
                item.why = format!("the project `{}` uses it too", other.subject);
                *target = None;
            }
        }
        for repository in made
            .iter()
            .filter(|made| made.is(TargetKind::GiteaRepository) && !archive)
        {
            for target in mirrors(remover, &made, repository).await {
                let is_known = |known: &Item| {
                    known
                        .1
                        .as_ref()
                        .is_some_and(|known| known.name == target.name)
                };
                if !items.iter().any(is_known) {
                    let why = "it bears the mark of a run of this project".to_owned();
                    items.push((item(&target, project, Action::Delete, why), Some(target)));
                }
            }
        }
        items.sort_by_key(|(item, target)| {
            (
                target.as_ref().map(|target| target.kind),
                item.artifact.clone(),
            )
        });
        for (number, (item, _)) in items.iter_mut().enumerate() {
            item.id = format!("item_{number:04}");
        }
        Ok((items, used))
    }

    /// What the project's runs have receipts for, newest first, each thing once.
    pub(super) async fn made(
        &self,
        rows: &[RunRow],
        project: &str,
    ) -> Result<Vec<Made>, ErrorView> {
        let mut all: Vec<Made> = Vec::new();
        for row in rows.iter().filter(|row| row.subject == project) {
            let snapshot = self.engine.snapshot(&row.run_id).await;
            let snapshot = snapshot.map_err(|error| errors::of_engine(&error))?;
            let pushed = pushed(&snapshot);
            for receipt in receipts(&snapshot) {
                if !all.iter().any(|made| made.receipt == receipt) {
                    all.push(Made {
                        receipt,
                        run: row.run_id.clone(),
                        pushed: pushed.clone(),
                    });
                }
            }
        }
        Ok(all)
    }
}

pub(super) fn may_be_deleted(rows: &[RunRow], project: &str) -> Result<(), ErrorView> {
    let Some(newest) = rows.iter().find(|row| row.subject == project) else {
        let message = format!("there is no run for the project `{project}` in this journal");
        return Err(ErrorView::new(
            "project.unknown",
            message,
            "look at `forgeline list`",
        ));
    };
    let run = &newest.run_id;
    if newest.state.is_live() {
        let message = format!("run {run} of the project `{project}` is under way");
        return Err(ErrorView::new(
            "project.busy",
            message,
            "wait for its end, or cancel it",
        ));
    }
    if newest.state == RunState::Stuck {
        let message = format!("run {run} of the project `{project}` is stuck and wants a decision");
        let remedy = format!("`forgeline resume {run} --retry-undo`, `--skip STEP` or `--abandon`");
        return Err(ErrorView::new("project.stuck", message, remedy));
    }
    Ok(())
}

async fn judge(
    remover: &Remover,
    made: &Made,
    archive: bool,
    project: &str,
    in_gitea: &mut Option<String>,
) -> Option<Judged> {
    let receipt = &made.receipt;
    let mut target = made.target(archive);
    let keep = |target: &Target, why: String| (item(target, project, Action::Keep, why), None);
    let there = match look(&remover.upstreams, &target).await {
        Ok(Look::There(there)) => there,
        other => {
            let why = match other {
                // Nothing is to be done about it.
                Ok(Look::Gone) => return None,
                Ok(Look::Renamed) => "it was renamed or moved".to_owned(),
                Ok(_) => "another one has the name now".to_owned(),
                Err(error) => format!("it cannot be looked at: {}", error.message),
            };
            return Some(Judged {
                item: keep(&target, why),
                used: None,
            });
        }
    };
    if receipt.kind == TargetKind::GiteaRepository {
        in_gitea.clone_from(&there.refs);
    }
    let is_repository = matches!(
        receipt.kind,
        TargetKind::GiteaRepository | TargetKind::GithubRepository
    );
    if archive && !is_repository {
        return Some(Judged {
            item: keep(&target, "only the repositories are made read-only".into()),
            used: None,
        });
    }
    if there.archived {
        return Some(Judged {
            item: keep(&target, "it is archived already".into()),
            used: None,
        });
    }
    let used = work(made, &there, in_gitea.as_deref()).filter(|_| !archive);
    let used = used.map(|why| format!("{}: {why}", target.artifact()));
    if let Some(why) = used.clone() {
        return Some(Judged {
            item: keep(&target, why),
            used,
        });
    }
    target.seen.clone_from(&there.marks);
    let why = format!("run {} made it, and nobody has used it since", made.run);
    let mut item = item(&target, project, Action::Delete, why);
    item.url = Some(there.url).filter(|url| !url.is_empty());
    Some(Judged {
        item: (item, Some(target)),
        used: None,
    })
}

/// Somebody's work in it since it was made.
fn work(made: &Made, there: &There, in_gitea: Option<&str>) -> Option<String> {
    if there.work.is_some() || made.receipt.kind != TargetKind::GithubRepository {
        return there.work.clone();
    }
    let refs = there.refs.as_deref()?;
    let explained = in_gitea == Some(refs) || made.pushed.as_deref() == Some(refs);
    (!explained).then(|| "somebody has pushed to it".to_owned())
}

/// The mirrors of a repository that the project's runs added: by their receipts, or by the mark in their interval.
pub(super) async fn mirrors(remover: &Remover, made: &[Made], repository: &Made) -> Vec<Target> {
    let Some(name) = full_name(&repository.receipt.name) else {
        return Vec::new();
    };
    // What cannot be listed goes with its repository.
    let listed = remover.upstreams.gitea.push_mirrors(&name).await;
    let ours = |mirror: &forgeline_gitea::PushMirror| {
        let receipt =
            |made: &&Made| made.is(TargetKind::Mirror) && made.receipt.name == mirror.remote_name;
        let mark = |made: &&Made| mirror.interval == mirror_interval(&made.run);
        made.iter()
            .find(|made| receipt(made) || mark(made))
            .map(|made| made.run.clone())
    };
    let listed = listed.unwrap_or_default().into_iter();
    let targets = listed.filter_map(|mirror| {
        Some(Target {
            kind: TargetKind::Mirror,
            run: Some(ours(&mirror)?),
            id: mirror.remote_name.clone(),
            within: repository.receipt.name.clone(),
            seen: [("address".to_owned(), fingerprint(&mirror.remote_address))].into(),
            name: mirror.remote_name,
            archive: false,
            rotate: false,
        })
    });
    targets.collect()
}

fn item(target: &Target, project: &str, action: Action, why: String) -> PlanItem {
    PlanItem {
        id: String::new(),
        system: target.kind.system().to_owned(),
        artifact: target.artifact(),
        project: project.to_owned(),
        url: None,
        action,
        why,
        evidence: Some("receipt".to_owned()),
        command: target.command(),
        result: None,
    }
}
