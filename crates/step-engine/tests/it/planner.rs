//! The planner on random graphs and random orders of events.

use std::collections::{BTreeMap, BTreeSet};

use forgeline_step_engine::{
    Next, OnFailure, Op, Origin, Record, RetryPolicy, RunState, StepError, StepSpec, Verb,
    Workflow, plan,
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
    };
    let steps = edges.iter().enumerate().map(step).collect();
    Workflow {
        name: "w".into(),
        description: String::new(),
        scope: None,
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
    undone: BTreeSet<String>,
    failing: BTreeSet<usize>,
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
                    let there = self.applied.contains(&dependent.id)
                        && !self.undone.contains(&dependent.id);
                    assert!(
                        !there,
                        "{step} is undone before its dependent {}",
                        dependent.id
                    );
                }
                assert!(!self.undone.contains(step), "{step} is undone twice");
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
        let fails = verb == Verb::Apply && self.failing.contains(&index);
        let record = if fails {
            let error = StepError::refused("x", "x");
            Record::Failed {
                step,
                verb,
                error,
                attempts: 1,
                duration_ms: 0,
            }
        } else {
            match verb {
                Verb::Apply => self.applied.insert(step.clone()),
                Verb::Undo => self.undone.insert(step.clone()),
            };
            let origin = (verb == Verb::Apply).then_some(Origin::Created);
            Record::Done {
                step,
                verb,
                origin,
                output: json!({}),
                attempts: 1,
                duration_ms: 0,
            }
        };
        self.history.push(record);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_graph_and_every_order_of_events_ends_succeeded_or_clean(
        edges in prop::collection::vec(prop::collection::vec(any::<bool>(), 8), 1..8),
        failing in prop::collection::btree_set(0_usize..8, 0..3),
        choices in prop::collection::vec(any::<usize>(), 64),
        stop_at in prop::option::of(0_usize..12),
        resume_at in prop::option::of(0_usize..12),
    ) {
        let workflow = workflow(&edges);
        let mut model = Model {
            workflow: &workflow, history: Vec::new(), in_flight: Vec::new(),
            applied: BTreeSet::new(), undone: BTreeSet::new(), failing,
        };
        let mut end = None;
        for turn in 0..200 {
            if stop_at == Some(turn) {
                model.history.push(Record::StopAsked { by: "test".into() });
            }
            if resume_at == Some(turn) {
                model.history.push(Record::Resumed);
                model.in_flight.clear();
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
                Next::Stuck(steps) => prop_assert!(false, "stuck without a failed undo: {:?}", steps),
            }
        }
        match end {
            Some(RunState::Succeeded) => prop_assert_eq!(model.applied.len(), workflow.steps.len()),
            Some(RunState::Compensated) => prop_assert_eq!(model.applied.difference(&model.undone).count(), 0),
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
            decision: forgeline_step_engine::Decision::Skip("s0".into()),
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
