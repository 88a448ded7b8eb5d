//! The planner on random graphs and random orders of events.

use std::collections::{BTreeMap, BTreeSet};

use forgeline_step_engine::{
    Decision, Effect, Next, OnFailure, Op, Origin, Record, RetryPolicy, RunState, StepError,
    StepSpec, Verb, Workflow, plan,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A graph in which a step needs only earlier ones: no cycles.
fn workflow(edges: &[Vec<bool>]) -> Workflow {
    let step = |(index, needs): (usize, &Vec<bool>)| StepSpec {
        id: format!("s{index}"),
        kind: "thing.make".into(),
        needs: needs
            .iter()
            .take(index)
            .enumerate()
            .filter(|(_, on)| **on)
            .map(|(other, _)| format!("s{other}"))
            .collect(),
        with: Value::Null,
        retry: RetryPolicy::default(),
        timeout_ms: 1000,
        when: None,
        irreversible: false,
        without_undo: false,
        after: Vec::new(),
    };
    let steps = edges.iter().enumerate().map(step).collect();
    Workflow {
        name: "w".into(),
        description: String::new(),
        scope: None,
        removes: false,
        inputs: Vec::new(),
        steps,
        outputs: BTreeMap::new(),
    }
}

/// A simple host: it starts what the planner says and ends operations in an order that `choices` gives.
struct Model<'a> {
    workflow: &'a Workflow,
    history: Vec<Record>,
    in_flight: Vec<(String, Verb)>,
    applied: BTreeSet<String>,
    /// What stands, or may stand, in the world because of this run.
    made: BTreeSet<String>,
    undone: BTreeSet<String>,
    /// Steps that are refused.
    failing: BTreeSet<usize>,
    /// Steps whose outcome nobody knows.
    unknown: BTreeSet<usize>,
    /// Steps whose first undo fails.
    unyielding: BTreeSet<usize>,
    /// What an operator left as it is.
    left: BTreeSet<String>,
}

impl Model<'_> {
    fn start(&mut self, op: &Op) {
        match op {
            Op::Apply { step, .. } => {
                let spec = self.workflow.step(step).unwrap();
                assert!(
                    spec.needs.iter().all(|need| self.applied.contains(need)),
                    "{step} was started too early"
                );
                assert!(
                    !self.in_flight.iter().any(|(id, _)| id == step),
                    "{step} was started twice"
                );
                self.history.push(Record::Started {
                    step: step.clone(),
                    verb: Verb::Apply,
                });
                self.in_flight.push((step.clone(), Verb::Apply));
            }
            Op::Undo { step } => {
                let dependents = self
                    .workflow
                    .steps
                    .iter()
                    .filter(|spec| spec.needs.contains(step));
                for dependent in dependents {
                    let there = self.made.contains(&dependent.id)
                        && !self.undone.contains(&dependent.id)
                        && !self.left.contains(&dependent.id);
                    assert!(
                        !there,
                        "{step} is undone before its dependent {}",
                        dependent.id
                    );
                }
                assert!(self.made.contains(step), "{step} made nothing");
                assert!(!self.undone.contains(step), "{step} is undone twice");
                assert!(!self.left.contains(step), "{step} was to be left");
                self.history.push(Record::Started {
                    step: step.clone(),
                    verb: Verb::Undo,
                });
                self.in_flight.push((step.clone(), Verb::Undo));
            }
            Op::Settle { .. } => self.history.push(Record::Settled),
        }
    }

    fn end(&mut self, choice: usize) {
        let (step, verb) = self.in_flight.remove(choice % self.in_flight.len());
        let index: usize = step[1..].parse().unwrap();
        let error = match verb {
            Verb::Apply if self.unknown.contains(&index) => {
                self.made.insert(step.clone());
                self.history.push(Record::Ambiguous { step: step.clone() });
                Some(StepError::unknown("x", "x"))
            }
            Verb::Apply if self.failing.contains(&index) => Some(StepError::refused("x", "x")),
            Verb::Undo if self.unyielding.remove(&index) => {
                Some(StepError::refused("x", "x").effect(Effect::Left))
            }
            Verb::Apply | Verb::Undo => None,
        };
        let record = match error {
            Some(error) => Record::Failed {
                step,
                verb,
                error,
                attempts: 1,
                duration_ms: 0,
            },
            None => self.done(step, verb),
        };
        self.history.push(record);
    }

    fn done(&mut self, step: String, verb: Verb) -> Record {
        match verb {
            Verb::Apply => {
                self.applied.insert(step.clone());
                self.made.insert(step.clone());
            }
            Verb::Undo => {
                self.undone.insert(step.clone());
            }
        }
        Record::Done {
            step,
            verb,
            origin: (verb == Verb::Apply).then_some(Origin::Created),
            output: json!({}),
            attempts: 1,
            duration_ms: 0,
        }
    }

    /// The process ends and another one takes the run over.
    fn resume(&mut self) {
        let cut = std::mem::take(&mut self.in_flight);
        let applies = cut.into_iter().filter(|(_, verb)| *verb == Verb::Apply);
        self.made.extend(applies.map(|(step, _)| step));
        self.history.push(Record::Resumed);
    }

    /// Somebody decides about a stuck run.
    fn decide(&mut self, stuck: &[String], choice: usize) {
        self.history.push(Record::Ended {
            state: RunState::Stuck,
            cause: None,
            recheck_due: None,
        });
        let decision = if choice.is_multiple_of(2) {
            Decision::RetryUndo
        } else {
            let step = stuck[choice % stuck.len()].clone();
            self.left.insert(step.clone());
            Decision::Skip(step)
        };
        let by = "ada".into();
        self.history.push(Record::Operator { by, decision });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_graph_and_every_order_of_events_ends_succeeded_or_clean_or_as_somebody_decided(
        edges in prop::collection::vec(prop::collection::vec(any::<bool>(), 8), 1..8),
        failing in prop::collection::btree_set(0_usize..8, 0..3),
        unknown in prop::collection::btree_set(0_usize..8, 0..2),
        unyielding in prop::collection::btree_set(0_usize..8, 0..4),
        choices in prop::collection::vec(any::<usize>(), 64),
        stop_at in prop::option::of(0_usize..12),
        resume_at in prop::option::of(0_usize..12),
    ) {
        let workflow = workflow(&edges);
        let mut model = Model {
            workflow: &workflow, history: Vec::new(), in_flight: Vec::new(),
            applied: BTreeSet::new(), made: BTreeSet::new(), undone: BTreeSet::new(), left: BTreeSet::new(),
            failing, unknown, unyielding,
        };
        let mut end = None;
        for turn in 0..200 {
            if stop_at == Some(turn) {
                model.history.push(Record::StopAsked { by: "test".into() });
            }
            if resume_at == Some(turn) {
                model.resume();
            }
            let next = plan(&workflow, &[], OnFailure::Compensate, &model.history);
            prop_assert_eq!(&next, &plan(&workflow, &[], OnFailure::Compensate, &model.history));
            match next {
                Next::Start(ops) => ops.iter().for_each(|op| model.start(op)),
                Next::Wait => {
                    prop_assert!(!model.in_flight.is_empty(), "waits for nothing");
                    model.end(choices[turn % choices.len()]);
                }
                Next::Finished { state, .. } => {
                    end = Some(state);
                    break;
                }
                Next::Stuck(steps) => {
                    prop_assert!(!steps.is_empty() && model.in_flight.is_empty());
                    model.decide(&steps, choices[turn % choices.len()]);
                }
            }
        }
        match end {
            Some(RunState::Succeeded) => prop_assert_eq!(model.applied.len(), workflow.steps.len()),
            Some(RunState::Compensated) => {
                let gone: BTreeSet<String> = model.undone.union(&model.left).cloned().collect();
                prop_assert_eq!(model.made.difference(&gone).count(), 0);
            }
            other => prop_assert!(false, "ended {:?}", other),
        }
    }
}

fn started(step: &str) -> Record {
    Record::Started {
        step: step.into(),
        verb: Verb::Apply,
    }
}

fn failed(step: &str, error: StepError) -> Record {
    Record::Failed {
        step: step.into(),
        verb: Verb::Apply,
        error,
        attempts: 1,
        duration_ms: 0,
    }
}

/// s1 needs s0, s2 needs s1.
fn chain() -> Workflow {
    workflow(&[vec![], vec![true], vec![false, true]])
}

#[test]
fn nothing_behind_a_failed_irreversible_step_is_done() {
    let mut workflow = chain();
    workflow.steps[0].irreversible = true;
    let history = [started("s0"), failed("s0", StepError::refused("x", "no"))];
    let next = plan(&workflow, &[], OnFailure::Compensate, &history);
    let over = Next::Finished {
        state: RunState::Succeeded,
        cause: None,
    };
    assert_eq!(next, over);
}

#[test]
fn a_step_without_an_undo_fails_its_run() {
    let mut workflow = chain();
    workflow.steps[0].without_undo = true;
    let history = [started("s0"), failed("s0", StepError::refused("x", "no"))];
    let next = plan(&workflow, &[], OnFailure::Compensate, &history);
    assert!(
        matches!(
            next,
            Next::Finished {
                state: RunState::Compensated,
                ..
            }
        ),
        "{next:?}"
    );
}

#[test]
fn a_step_without_an_undo_that_a_crash_cut_is_stuck_when_the_run_turns_back() {
    let mut workflow = workflow(&[vec![], vec![]]);
    workflow.steps[0].without_undo = true;
    let history = [
        started("s0"),
        started("s1"),
        failed("s1", StepError::refused("x", "no")),
        Record::Resumed,
        Record::Settled,
    ];
    let next = plan(&workflow, &[], OnFailure::Compensate, &history);
    assert_eq!(next, Next::Stuck(vec!["s0".into()]));
}

#[test]
fn after_an_operator_skipped_a_step_what_names_its_answer_is_not_done() {
    let mut workflow = workflow(&[vec![], vec![true], vec![true]]);
    workflow.steps[0].without_undo = true;
    workflow.steps[1].with = json!({"x": "${{ steps.s0.id }}"});
    let history = [
        started("s0"),
        failed("s0", StepError::unknown("x", "who knows")),
        Record::Operator {
            by: "ada".into(),
            decision: Decision::Skip("s0".into()),
        },
    ];
    let Next::Start(ops) = plan(&workflow, &[], OnFailure::Compensate, &history) else {
        panic!("something is left to do");
    };
    let steps: Vec<&str> = ops
        .iter()
        .map(|op| match op {
            Op::Apply { step, .. } | Op::Undo { step } => step.as_str(),
            Op::Settle { .. } => "settle",
        })
        .collect();
    assert_eq!(steps, ["s2"]);
}

#[test]
fn what_comes_after_a_step_begins_however_that_ended_and_not_before() {
    let mut workflow = workflow(&[vec![], vec![], vec![]]);
    for step in &mut workflow.steps {
        step.irreversible = true;
    }
    workflow.steps[1].after = vec!["s0".into()];
    workflow.steps[2].after = vec!["s1".into()];
    let begins = |history: &[Record]| match plan(&workflow, &[], OnFailure::Compensate, history) {
        Next::Start(ops) => ops.len(),
        _ => 0,
    };
    let no = || StepError::refused("x", "no");
    assert_eq!(begins(&[]), 1);
    assert_eq!(begins(&[started("s0")]), 0);
    let first = [started("s0"), failed("s0", no())];
    let next = plan(&workflow, &[], OnFailure::Compensate, &first);
    let second = Op::Apply {
        step: "s1".into(),
        look: false,
    };
    assert_eq!(next, Next::Start(vec![second]));
}
