//! Clean-up: what lies about in the systems and nobody needs, as a plan.

mod rights;
mod select;
mod survey;

use std::collections::{BTreeMap, BTreeSet};

use forgeline_step_engine::{RunId, StepError};
use forgeline_upstream::{FullName, Kind};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;

use crate::ownership::mirror_interval;
use crate::plan::{Action, PlanItem};
use crate::removal::{Look, Target, TargetKind, There, fingerprint, look};
use crate::upstreams::Upstreams;

pub(crate) use rights::Rights;
pub use select::{CleanupQuery, Rules};
pub(crate) use select::{Found, KnownRun, Selection, Selector};
pub(crate) use survey::{AT_ONCE, Survey, survey};

/// An item of a plan, and what it would remove. `None`: nothing.
pub(crate) type Item = (PlanItem, Option<Target>);

/// What a clean-up plan is made from, beside the survey.
pub(crate) struct Cleanup<'a> {
    pub(crate) upstreams: &'a Upstreams,
    pub(crate) rules: &'a Rules,
    pub(crate) query: &'a CleanupQuery,
    pub(crate) infra: Option<&'a FullName>,
    pub(crate) known: BTreeMap<RunId, KnownRun>,
    pub(crate) busy: Vec<String>,
}

/// Why a repository stays, as its mirrors show.
enum Stays {
    Kept(String),
    Blocked(String),
}

/// A candidate with what a closer look showed.
struct Candidate {
    found: Found,
    evidence: &'static str,
    why: String,
    look: Result<Look, StepError>,
}

impl Cleanup<'_> {
    /// The items of the plan, by project, in the order in which they would go.
    pub(crate) async fn items(&self, survey: Vec<Found>) -> Vec<Item> {
        let infra = self.infra.map(ToString::to_string).unwrap_or_default();
        let selector = Selector {
            rules: self.rules,
            query: self.query,
            known: &self.known,
            busy: &self.busy,
            infra: &infra,
            now: Timestamp::now(),
        };
        let mut kept = Vec::new();
        let mut wanted = Vec::new();
        for found in survey {
            match selector.select(&found) {
                Selection::Ignore => {}
                Selection::Keep(why) => {
                    let evidence = found.mark.is_none().then_some("name_only");
                    kept.push((item_of(&found, Action::Keep, why, evidence), None));
                }
                Selection::Candidate { evidence, why } => wanted.push((found, evidence, why)),
            }
        }
        let look = |(found, evidence, why)| self.look_closer(found, evidence, why).boxed();
        let candidates = in_turn(wanted, look).await;
        let mut items = kept;
        items.extend(self.judged(candidates).await);
        as_groups(&mut items);
        // What only its name speaks for stands apart, at the end.
        items.sort_by_key(|(item, target)| {
            let by_name = item.evidence.as_deref() == Some("name_only");
            let kind = target.as_ref().map(|target| target.kind);
            (by_name, item.project.clone(), kind, item.artifact.clone())
        });
        for (number, (item, _)) in items.iter_mut().enumerate() {
            item.id = format!("item_{number:04}");
        }
        items
    }

    async fn look_closer(&self, found: Found, evidence: &'static str, why: String) -> Candidate {
        let look = look(self.upstreams, &target_of(&found)).await;
        Candidate {
            found,
            evidence,
            why,
            look,
        }
    }

    async fn judged(&self, candidates: Vec<Candidate>) -> Vec<Item> {
        let rights = Rights::new(self.upstreams);
        let pushed = pushed(&candidates);
        let judge = |candidate| self.judge(candidate, &rights, &pushed).boxed();
        let judged = in_turn(candidates, judge).await;
        judged.into_iter().flatten().collect()
    }

    /// Somebody's work in what bears marks, or whatever a name alone does not justify to remove.
    fn work(
        &self,
        candidate: &Candidate,
        there: &There,
        pushed: &BTreeMap<String, String>,
    ) -> Option<String> {
        let found = &candidate.found;
        let by_name = candidate.evidence == "name_only";
        match found.kind {
            TargetKind::GiteaRepository | TargetKind::GithubRepository if by_name => None,
            TargetKind::GithubRepository => there.work.clone().or_else(|| {
                let refs = there.refs.as_ref()?;
                let explained =
                    pushed.get(&found.project) == Some(refs) || self.was_pushed(found, refs);
                (!explained).then(|| "somebody has pushed to it".to_owned())
            }),
            _ => there.work.clone(),
        }
    }

    /// Whether a receipt of the run says that its mirror pushed exactly these refs.
    fn was_pushed(&self, found: &Found, refs: &str) -> bool {
        let run = found
            .mark
            .as_ref()
            .and_then(|mark| self.known.get(&mark.run));
        run.is_some_and(|run| run.pushed.as_deref() == Some(refs))
    }

    async fn judge(
        &self,
        candidate: Candidate,
        rights: &Rights<'_>,
        pushed: &BTreeMap<String, String>,
    ) -> Vec<Item> {
        let found = &candidate.found;
        let keep = |why: String| {
            vec![(
                item_of(found, Action::Keep, why, Some(candidate.evidence)),
                None,
            )]
        };
        let there = match &candidate.look {
            Ok(Look::There(there)) => there,
            Ok(Look::Gone) => return Vec::new(),
            Ok(Look::Renamed) => return keep("it was renamed or moved".into()),
            Ok(Look::Another) => return keep("another one has the name now".into()),
            Err(error) => return keep(format!("it cannot be looked at: {}", error.message)),
        };
        if there.archived {
            return keep("somebody else has archived it".into());
        }
        if let Some(why) = self.work(&candidate, there, pushed) {
            return keep(why);
        }
        let mirrors = match self.mirrors(&candidate).await {
            Ok(mirrors) => mirrors,
            Err(Stays::Kept(why)) => return keep(why),
            Err(Stays::Blocked(why)) => {
                let evidence = Some(candidate.evidence);
                let mut item = item_of(found, Action::Blocked, why, evidence);
                item.command = crate::removal::unblocking(&target_of(found));
                return vec![(item, None)];
            }
        };
        let target = Target {
            seen: there.marks.clone(),
            ..target_of(found)
        };
        let mut items = mirrors;
        items.push(self.item(&candidate, target, rights).await);
        items
    }

    async fn item(&self, candidate: &Candidate, target: Target, rights: &Rights<'_>) -> Item {
        let found = &candidate.found;
        let mut why = candidate.why.clone();
        let pulls = target
            .seen
            .get("pull requests")
            .filter(|pulls| *pulls != "[]");
        if let Some(pulls) = pulls {
            why.push_str(&format!("; pull requests {pulls} close with it"));
        }
        match rights.missing(&target).await {
            Some(missing) => {
                let mut item = item_of(found, Action::Blocked, missing, Some(candidate.evidence));
                item.command = crate::removal::unblocking(&target);
                (item, None)
            }
            None => {
                let mut item = item_of(found, Action::Delete, why, Some(candidate.evidence));
                item.command = target.command();
                (item, Some(target))
            }
        }
    }

    /// The mirrors of a Gitea repository that goes; an error where one of them is somebody else's.
    async fn mirrors(&self, candidate: &Candidate) -> Result<Vec<Item>, Stays> {
        let found = &candidate.found;
        let Some(name) = crate::removal::full_name(&found.name)
            .filter(|_| found.kind == TargetKind::GiteaRepository)
        else {
            return Ok(Vec::new());
        };
        let listed = self.upstreams.gitea.push_mirrors(&name).await;
        let listed = listed.map_err(|error| {
            let why = format!("its mirrors cannot be listed: {error}");
            // Listing them asks for what deleting asks for.
            match error.kind {
                Kind::Denied => Stays::Blocked(why),
                _ => Stays::Kept(why),
            }
        })?;
        let mut items = Vec::new();
        for mirror in listed {
            let ours = found.mark.as_ref().is_none_or(|mark| {
                mirror.interval == mirror_interval(&mark.run)
                    || self.known.get(&mark.run).is_some_and(|run| {
                        run.receipts
                            .get(&TargetKind::Mirror)
                            .is_some_and(|(name, _)| *name == mirror.remote_name)
                    })
            });
            if !ours {
                let address = &mirror.remote_address;
                let why = format!("somebody has added a mirror to {address}");
                return Err(Stays::Kept(why));
            }
            let target = Target {
                kind: TargetKind::Mirror,
                id: mirror.remote_name.clone(),
                within: found.name.clone(),
                run: found.mark.as_ref().map(|mark| mark.run.clone()),
                seen: [("address".to_owned(), fingerprint(&mirror.remote_address))].into(),
                name: mirror.remote_name,
                archive: false,
                rotate: false,
            };
            let mut item = item_of(
                found,
                Action::Delete,
                candidate.why.clone(),
                Some(candidate.evidence),
            );
            item.artifact = target.artifact();
            item.url = Some(mirror.remote_address);
            item.command = target.command();
            items.push((item, Some(target)));
        }
        Ok(items)
    }
}

/// A project goes as a whole: where a part of it stays, because somebody uses or protects it, the others stay too.
fn as_groups(items: &mut [Item]) {
    let kept = items.iter().filter(|(item, _)| item.action == Action::Keep);
    let stays: BTreeMap<String, String> = kept
        .map(|(item, _)| (item.project.clone(), item.artifact.clone()))
        .collect();
    for (item, target) in items.iter_mut().filter(|(_, target)| target.is_some()) {
        if let Some(part) = stays.get(&item.project) {
            item.action = Action::Keep;
            item.why = format!("another part of the project stays: {part}");
            *target = None;
        }
    }
}

/// Some of them side by side; what is not begun yet takes no memory but its own.
async fn in_turn<'a, T, R>(items: Vec<T>, begin: impl Fn(T) -> BoxFuture<'a, R>) -> Vec<R> {
    let mut results = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    loop {
        let some: Vec<BoxFuture<'a, R>> = items.by_ref().take(8 * AT_ONCE).map(&begin).collect();
        if some.is_empty() {
            return results;
        }
        let ended: Vec<R> = stream::iter(some).buffered(AT_ONCE).collect().await;
        results.extend(ended);
    }
}

/// What the Gitea repositories of candidates hold, by project: what their mirrors push.
fn pushed(candidates: &[Candidate]) -> BTreeMap<String, String> {
    let gitea = candidates
        .iter()
        .filter(|one| one.found.kind == TargetKind::GiteaRepository);
    let refs = gitea.filter_map(|one| match &one.look {
        Ok(Look::There(there)) => Some((one.found.project.clone(), there.refs.clone()?)),
        _ => None,
    });
    refs.collect()
}

/// What is to be looked at.
fn target_of(found: &Found) -> Target {
    Target {
        kind: found.kind,
        name: found.name.clone(),
        within: found.within.clone(),
        id: found.id.clone(),
        run: found.mark.as_ref().map(|mark| mark.run.clone()),
        seen: BTreeMap::new(),
        archive: false,
        rotate: false,
    }
}

fn item_of(found: &Found, action: Action, why: String, evidence: Option<&str>) -> PlanItem {
    PlanItem {
        id: String::new(),
        system: found.kind.system().to_owned(),
        artifact: target_of(found).artifact(),
        project: found.project.clone(),
        url: Some(found.url.clone()).filter(|url| !url.is_empty()),
        action,
        why,
        evidence: evidence.map(str::to_owned),
        command: String::new(),
        result: None,
    }
}

/// The runs that a survey's marks name.
pub(crate) fn named_runs(survey: &Survey) -> BTreeSet<RunId> {
    let marks = survey.found.iter().filter_map(|found| found.mark.as_ref());
    marks.map(|mark| mark.run.clone()).collect()
}
