//! `forgeline selftest`.

use std::collections::BTreeMap;

use crate::cli::{Format, Selftest};
use crate::selftest::{Effort, Report, run as try_promise};
use crate::{exit, output};

pub(super) async fn run(args: Selftest) -> u8 {
    let effort = Effort {
        full: args.full,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        kills: args.kills.unwrap_or(match (&args.only, args.full) {
            (Some(_), _) => 0,
            // Some come after the end of the run and do not count.
            (None, true) => 560,
            (None, false) => 5,
        }),
        projects: args.projects.unwrap_or(match (&args.only, args.full) {
            (Some(_), _) => 0,
            (None, true) => 200,
            (None, false) => 40,
        }),
        only: args.only,
    };
    output::say(&format!("selftest: seed {}", effort.seed));
    let report = match try_promise(effort).await {
        Ok(report) => report,
        Err(why) => {
            let help = "install git and make the temporary directory writable";
            output::complain("the promise cannot be tried", Some(&why), Some(help));
            return exit::UNEXPECTED;
        }
    };
    match args.output.format {
        Format::Table => output::print(&table(&report)),
        Format::Json | Format::Ndjson => output::json(&report),
    }
    if report.violations.is_empty() {
        exit::OK
    } else {
        exit::UNEXPECTED
    }
}

fn table(report: &Report) -> String {
    let mut text = vec![matrix(report)];
    for violation in &report.violations {
        text.push(format!(
            "VIOLATION {}\n    {}",
            violation.schedule, violation.why
        ));
    }
    if let Some(load) = &report.load {
        text.push(format!(
            "{} projects at once, {} calls for one of them, {} faults: {:?} in {} ms",
            load.projects, load.calls_for_one, load.faults_fired, load.outcomes, load.milliseconds
        ));
    }
    let outcomes: Vec<String> = report
        .outcomes
        .iter()
        .map(|(sign, count)| format!("{sign} {count}"))
        .collect();
    text.push(format!(
        "{} schedules ({} cells), {} troubles happened, {} kills, {} violations; {}; seed {}",
        report.schedules,
        report.cells,
        report.faults_fired,
        report.kills,
        report.violations.len(),
        outcomes.join(", "),
        report.seed
    ));
    text.join("\n")
}

/// One line for each request and scene, one letter for each fault.
fn matrix(report: &Report) -> String {
    let mut faults: Vec<&str> = Vec::new();
    let mut rows: BTreeMap<(&str, &str), BTreeMap<&str, char>> = BTreeMap::new();
    for cell in &report.matrix {
        if !faults.contains(&cell.fault) {
            faults.push(cell.fault);
        }
        let row = rows.entry((&cell.scene, &cell.request)).or_default();
        row.insert(cell.fault, cell.outcome);
    }
    faults.sort_unstable();
    let mut text = vec![
        "S succeeded  C undone  L left something and listed it  ! broke the promise  - did not happen".to_owned(),
    ];
    for (index, fault) in faults.iter().enumerate() {
        text.push(format!("  {} {fault}", letter(index)));
    }
    let head: String = (0..faults.len()).map(letter).collect();
    let mut scene = "";
    for ((name, request), cells) in &rows {
        if *name != scene {
            scene = name;
            text.push(format!("\n{head}  {scene}"));
        }
        let signs = faults.iter().map(|fault| cells.get(fault).unwrap_or(&' '));
        text.push(format!("{}  {request}", signs.collect::<String>()));
    }
    text.join("\n")
}

fn letter(index: usize) -> char {
    ('a'..='z').nth(index).unwrap_or('?')
}
