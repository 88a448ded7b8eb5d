//! The checker: all mistakes of a file at once, with their lines.

use forgeline_step_engine::Workflow;

use crate::world::World;

const BROKEN: &str = "name: broken
inputs:
  name: { type: strin }
  other: { type: string, pattern: '(' }
steps:
  - id: one
    kind: thing.mak
    with: { name: one }
  - id: two
    kind: thing.make
    needs: [three]
    with: { name: '${{ inputs.nam }}' }
  - id: three
    kind: thing.make
    needs: [two]
    with: { nam: x, name: '${{ steps.two.size }}' }
    timeout: soon
";

#[test]
fn an_unknown_kind_a_cycle_a_bad_reference_and_a_bad_input_are_reported_at_once_with_lines() {
    let problems =
        Workflow::parse("broken.yaml", BROKEN, &World::default().registry()).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_file_that_is_no_yaml_is_one_problem_with_its_line() {
    let problems =
        Workflow::parse("x.yaml", "name: a\n  b: [", &World::default().registry()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].line > 0, "{problems:?}");
}
