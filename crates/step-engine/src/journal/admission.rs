//! Whether a run may begin: one pure decision over the newest run for the subject and the holders of the resources.

use jiff::Timestamp;

use super::RunRow;
use crate::run_id::RunId;
use crate::state::RunState;

/// The answer to a call that wants a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission {
    /// It begins; run and locks are durable.
    Fresh(Box<RunRow>),
    /// The same is under way: this is that run.
    Joined(Box<RunRow>),
    /// The same has succeeded and its last look is still owed: this is that run.
    Answered(Box<RunRow>),
    /// The newest run for the subject has other inputs.
    Conflict {
        /// That run.
        run_id: RunId,
        /// The inputs that differ.
        differing: Vec<String>,
    },
    /// A run of another workflow for the same subject is under way.
    Busy {
        /// That run.
        run_id: RunId,
        /// Its workflow.
        workflow: String,
    },
    /// Another subject's run holds a resource that this one needs.
    Locked {
        /// The resource.
        resource: String,
        /// The holder.
        run_id: RunId,
        /// What the holder is about.
        subject: String,
    },
    /// The newest run is stuck and wants an operator.
    Stuck {
        /// That run.
        run_id: RunId,
    },
    /// The same caller has used this request id for something else.
    RequestConflict {
        /// What it was used for.
        run_id: RunId,
        /// The inputs that differ; empty when workflow or subject do.
        differing: Vec<String>,
    },
    /// An ambiguous request is being waited out.
    Settling {
        /// The run that owes the last look.
        run_id: RunId,
        /// When it is due.
        due: Timestamp,
    },
}

impl Admission {
    /// The run that the call led to. `None`: it was refused.
    pub fn led_to(&self) -> Option<&RunId> {
        match self {
            Self::Fresh(row) | Self::Joined(row) | Self::Answered(row) => Some(&row.run_id),
            Self::Conflict { .. }
            | Self::Busy { .. }
            | Self::Locked { .. }
            | Self::Stuck { .. }
            | Self::RequestConflict { .. }
            | Self::Settling { .. } => None,
        }
    }
}

/// Whether a run that had let go of its resources may take them again: it is still the newest for its subject, and
/// nobody else holds what it needs.
pub(crate) fn may_retake<'a>(
    run: &RunRow,
    newest: Option<&RunRow>,
    mut holders: impl Iterator<Item = &'a RunRow>,
) -> Result<(), RunId> {
    if let Some(newest) = newest.filter(|newest| newest.run_id != run.run_id) {
        return Err(newest.run_id.clone());
    }
    let shares = |other: &&RunRow| {
        other.run_id != run.run_id
            && other.holds_resources()
            && other
                .resources
                .iter()
                .any(|resource| run.resources.contains(resource))
    };
    holders
        .find(shares)
        .map_or(Ok(()), |holder| Err(holder.run_id.clone()))
}

/// Decides. `requested` is the run that this caller's request id led to before, `earlier` the runs for the same
/// subject, newest first; `holders` are all runs that hold resources.
pub(crate) fn admit<'a>(
    new: &RunRow,
    requested: Option<&RunRow>,
    earlier: &[&RunRow],
    holders: impl Iterator<Item = &'a RunRow>,
) -> Admission {
    if new.state == RunState::Planned {
        return Admission::Fresh(Box::new(new.clone()));
    }
    let earlier: Vec<&RunRow> = earlier
        .iter()
        .copied()
        .filter(|row| row.state != RunState::Planned)
        .collect();
    let earlier = earlier.as_slice();
    let mut new = new.clone();
    if let Some(requested) = requested {
        if let Some(answer) = asked_before(requested, &new) {
            return answer;
        }
        new.options.attempt_after = Some(requested.run_id.clone());
    }
    let new = &new;
    if let Some(newest) = earlier.first()
        && let Some(answer) = after(newest, new)
    {
        return answer;
    }
    // What stands is what this workflow last made, whatever ran since.
    let succeeded = earlier
        .iter()
        .filter(|row| row.state == RunState::Succeeded);
    let made = succeeded
        .take_while(|row| !row.workflow.removes)
        .find(|row| row.workflow.name == new.workflow.name);
    if let Some(made) = made {
        let differing = differing(made, new);
        if !differing.is_empty() {
            return Admission::Conflict {
                run_id: made.run_id.clone(),
                differing,
            };
        }
    }
    for holder in holders {
        if new.workflow.removes && holder.state == RunState::Stuck {
            // Nobody works on it: what it left may be removed.
            continue;
        }
        let shared = holder
            .resources
            .iter()
            .find(|resource| new.resources.contains(resource));
        if let Some(resource) = shared.filter(|_| holder.holds_resources()) {
            return match holder.recheck_due.filter(|_| holder.state.is_terminal()) {
                Some(due) => Admission::Settling {
                    run_id: holder.run_id.clone(),
                    due,
                },
                None => Admission::Locked {
                    resource: resource.clone(),
                    run_id: holder.run_id.clone(),
                    subject: holder.subject.clone(),
                },
            };
        }
    }
    Admission::Fresh(Box::new(new.clone()))
}

/// The answer to a request id that was used before; `None` when that run was undone or given up: then a new attempt.
fn asked_before(requested: &RunRow, new: &RunRow) -> Option<Admission> {
    let differing = differing(requested, new);
    let same = requested.workflow.name == new.workflow.name && requested.subject == new.subject;
    if !same || !differing.is_empty() {
        return Some(Admission::RequestConflict {
            run_id: requested.run_id.clone(),
            differing,
        });
    }
    match requested.state {
        RunState::Running | RunState::Interrupted | RunState::Compensating => {
            Some(Admission::Joined(Box::new(requested.clone())))
        }
        RunState::Succeeded => Some(Admission::Answered(Box::new(requested.clone()))),
        RunState::Planned
        | RunState::Compensated
        | RunState::Failed
        | RunState::Stuck
        | RunState::Abandoned => None,
    }
}

fn after(newest: &RunRow, new: &RunRow) -> Option<Admission> {
    let run_id = newest.run_id.clone();
    if newest.state == RunState::Stuck {
        return Some(Admission::Stuck { run_id });
    }
    let same_workflow = newest.workflow.name == new.workflow.name;
    if newest.state.is_live() && !same_workflow {
        return Some(Admission::Busy {
            run_id,
            workflow: newest.workflow.name.clone(),
        });
    }
    let differing = differing(newest, new);
    match newest.state {
        RunState::Running | RunState::Interrupted | RunState::Compensating
            if differing.is_empty() =>
        {
            Some(Admission::Joined(Box::new(newest.clone())))
        }
        RunState::Succeeded
            if differing.is_empty() && same_workflow && newest.recheck_due.is_some() =>
        {
            Some(Admission::Answered(Box::new(newest.clone())))
        }
        RunState::Running | RunState::Interrupted | RunState::Compensating => {
            Some(Admission::Conflict { run_id, differing })
        }
        RunState::Succeeded
            if same_workflow && !differing.is_empty() && newest.recheck_due.is_none() =>
        {
            Some(Admission::Conflict { run_id, differing })
        }
        RunState::Succeeded
        | RunState::Compensated
        | RunState::Failed
        | RunState::Abandoned
        | RunState::Planned
        | RunState::Stuck => newest
            .recheck_due
            .map(|due| Admission::Settling { run_id, due }),
    }
}

fn differing(a: &RunRow, b: &RunRow) -> Vec<String> {
    let empty = serde_json::Map::new();
    let a = a.inputs.as_object().unwrap_or(&empty);
    let b = b.inputs.as_object().unwrap_or(&empty);
    let mut names: Vec<String> = a
        .keys()
        .chain(b.keys().filter(|name| !a.contains_key(*name)))
        .cloned()
        .collect();
    names.retain(|name| {
        a.get(name).filter(|v| !v.is_null()) != b.get(name).filter(|v| !v.is_null())
    });
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::journal::RunOptions;
    use crate::workflow::Workflow;

    fn row(subject: &str, state: RunState) -> RunRow {
        RunRow {
            run_id: RunId::new(),
            subject: subject.into(),
            workflow: Workflow {
                name: "w".into(),
                description: String::new(),
                scope: None,
                removes: false,
                inputs: Vec::new(),
                steps: Vec::new(),
                outputs: BTreeMap::new(),
            },
            inputs: json!({"name": subject}),
            settings: json!({}),
            options: RunOptions::default(),
            caller: "test".into(),
            skipped: Vec::new(),
            resources: vec![format!("repo:{subject}")],
            state,
            cause: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            recheck_due: None,
        }
    }

    #[test]
    fn the_same_inputs_join_a_live_run_and_other_inputs_conflict() {
        let live = row("shop", RunState::Running);
        let same = row("shop", RunState::Running);
        assert!(matches!(
            admit(&same, None, &[&live], [].iter()),
            Admission::Joined(_)
        ));
        let mut other = same;
        other.inputs = json!({"name": "shop", "visibility": "public"});
        let answer = admit(&other, None, &[&live], [].iter());
        assert!(
            matches!(answer, Admission::Conflict { differing, .. } if differing == ["visibility"])
        );
    }

    #[test]
    fn another_subject_that_shares_a_resource_is_refused_while_it_is_held() {
        let mut holder = row("a", RunState::Stuck);
        let mut new = row("b", RunState::Running);
        new.resources = holder.resources.clone();
        assert!(matches!(
            admit(&new, None, &[], [&holder].into_iter()),
            Admission::Locked { .. }
        ));
        holder.state = RunState::Compensated;
        assert!(matches!(
            admit(&new, None, &[], [&holder].into_iter()),
            Admission::Fresh(_)
        ));
        holder.recheck_due = Some(Timestamp::UNIX_EPOCH);
        assert!(matches!(
            admit(&new, None, &[], [&holder].into_iter()),
            Admission::Settling { .. }
        ));
    }

    #[test]
    fn a_stuck_run_wants_its_operator_first() {
        let stuck = row("shop", RunState::Stuck);
        assert!(matches!(
            admit(&row("shop", RunState::Running), None, &[&stuck], [].iter()),
            Admission::Stuck { .. }
        ));
    }

    #[test]
    fn after_a_compensated_run_other_inputs_are_a_fresh_run() {
        let done = row("shop", RunState::Compensated);
        let mut new = row("shop", RunState::Running);
        new.inputs = json!({"name": "shop", "visibility": "public"});
        assert!(matches!(
            admit(&new, None, &[&done], [].iter()),
            Admission::Fresh(_)
        ));
    }

    #[test]
    fn a_request_id_answers_its_run_until_that_was_undone_and_then_starts_an_attempt() {
        let mut first = row("shop", RunState::Succeeded);
        let again = row("shop", RunState::Running);
        assert!(matches!(
            admit(&again, Some(&first), &[&first], [].iter()),
            Admission::Answered(found) if found.run_id == first.run_id
        ));
        first.state = RunState::Compensated;
        assert!(matches!(
            admit(&again, Some(&first), &[&first], [].iter()),
            Admission::Fresh(new) if new.options.attempt_after.as_ref() == Some(&first.run_id)
        ));
        let mut other = again;
        other.inputs = json!({"name": "shop", "visibility": "public"});
        assert!(matches!(
            admit(&other, Some(&first), &[&first], [].iter()),
            Admission::RequestConflict { differing, .. } if differing == ["visibility"]
        ));
    }
}
