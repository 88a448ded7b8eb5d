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
fn what_would_be_passed_over_in_silence_is_a_mistake() {
    let good = "name: good
inputs:
  name: { type: string, default: one }
  loud: { type: boolean, default: false }
steps:
  - id: one
    kind: thing.make
    with: { name: one }
";
    let registry = World::default().registry();
    Workflow::parse("good.yaml", good, &registry).unwrap();
    for (from, to, why) in [
        ("default: one", "default: 1", "the default does not fit"),
        (
            "default: one",
            "default: one, enum: [two]",
            "must be one of two",
        ),
        (
            "default: one",
            "default: '${{ inputs.loud }}'",
            "inputs above",
        ),
        ("default: one", "default: '${{ inputs.'", "not closed"),
        (
            "with: { name: one }",
            "with: { name: '${{ x' }",
            "not closed",
        ),
        (
            "    kind",
            "    when: '${{ inputs.name }}'\n    kind",
            "needs a boolean",
        ),
        (
            "    kind",
            "    retry: 5\n    kind",
            "`retry` must be a map",
        ),
        (
            "    kind",
            "    timeout: 0s\n    kind",
            "`timeout` must be a duration",
        ),
        ("steps:", "outputs: [a]\nsteps:", "`outputs` must be a map"),
        (
            "inputs:\n",
            "inputs:\n  - name\nother:\n",
            "`inputs` must be a map",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let broken = good.replacen(from, to, 1);
        let problems = Workflow::parse("broken.yaml", &broken, &registry).unwrap_err();
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|one| one.contains(why)), "{to}: {said:?}");
    }
}

#[test]
fn a_file_that_is_no_yaml_is_one_problem_with_its_line() {
    let problems =
        Workflow::parse("x.yaml", "name: a\n  b: [", &World::default().registry()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].line > 0, "{problems:?}");
}
