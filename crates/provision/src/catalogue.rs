//! The workflows: those that ship with the program, embedded in it, and those of a directory of the user's.

use std::fmt;
use std::path::Path;

use forgeline_step_engine::{Problem, Registry, Workflow};

/// File name and text of every shipped workflow.
const SHIPPED: [(&str, &str); 2] = [
    (
        "workflows/project_create.yaml",
        include_str!("../../../workflows/project_create.yaml"),
    ),
    (
        "workflows/library_create.yaml",
        include_str!("../../../workflows/library_create.yaml"),
    ),
];

/// Names of tools that are no workflows: a file of such a name is refused.
const RESERVED: [&str; 12] = [
    "project_status",
    "project_list",
    "project_check",
    "project_renew",
    "project_delete",
    "project_token",
    "mirror_rotate",
    "run_resume",
    "run_cancel",
    "run_wait",
    "cleanup_test_repos",
    "doctor",
];

/// What every run takes besides its inputs.
const OPTIONS: [&str; 6] = [
    "adopt",
    "on_failure",
    "dry_run",
    "request_id",
    "issue_token",
    "wait_seconds",
];

/// What a workflow file may ask of its callers.
const SCOPES: [&str; 3] = ["forgeline:create", "forgeline:delete", "forgeline:admin"];

/// The workflows by name.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

/// A workflow and where it comes from.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The workflow.
    pub workflow: Workflow,
    /// The file that it was read from.
    pub file: String,
    /// It ships with the program.
    pub shipped: bool,
}

/// Mistakes in workflow files; every one of every file.
#[derive(Debug)]
pub struct CatalogueError {
    /// In the order of files and lines.
    pub problems: Vec<Problem>,
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for CatalogueError {}

impl Catalogue {
    /// Reads and checks every shipped workflow.
    ///
    /// # Errors
    /// A workflow that does not fit the registry.
    pub fn shipped(registry: &Registry) -> Result<Self, CatalogueError> {
        Self::read(registry, None)
    }

    /// Reads and checks the shipped workflows and the `*.yaml` files of a directory; a file of a shipped workflow's name
    /// takes its place.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn read(registry: &Registry, directory: Option<&Path>) -> Result<Self, CatalogueError> {
        let mut catalogue = Self::default();
        let mut problems = Vec::new();
        for (file, text) in SHIPPED {
            catalogue.add(file, text, true, registry, &mut problems);
        }
        if let Some(directory) = directory {
            match texts(directory) {
                Ok(texts) => {
                    for (file, text) in texts {
                        catalogue.add(&file, &text, false, registry, &mut problems);
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            Ok(catalogue)
        } else {
            Err(CatalogueError { problems })
        }
    }

    fn add(
        &mut self,
        file: &str,
        text: &str,
        shipped: bool,
        registry: &Registry,
        problems: &mut Vec<Problem>,
    ) {
        let workflow = match check(file, text, registry) {
            Ok(workflow) => workflow,
            Err(found) => return problems.extend(found),
        };
        let twice = self
            .entries
            .iter()
            .find(|entry| entry.workflow.name == workflow.name && !entry.shipped);
        if let Some(other) = twice {
            let message = format!(
                "the workflow `{}` stands in {} too",
                workflow.name, other.file
            );
            problems.push(problem(file, message));
            return;
        }
        self.entries
            .retain(|entry| entry.workflow.name != workflow.name);
        self.entries.push(Entry {
            workflow,
            file: file.to_owned(),
            shipped,
        });
    }

    /// No workflows: for commands that only look.
    pub fn none() -> Self {
        Self::default()
    }

    /// The workflow of this name.
    pub fn get(&self, name: &str) -> Option<&Workflow> {
        self.entry(name).map(|entry| &entry.workflow)
    }

    /// The workflow of this name and where it comes from.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.workflow.name == name)
    }

    /// All workflows.
    pub fn all(&self) -> &[Entry] {
        &self.entries
    }
}

/// Checks one file as the catalogue does.
///
/// # Errors
/// Every mistake at once.
pub fn check(file: &str, text: &str, registry: &Registry) -> Result<Workflow, Vec<Problem>> {
    let workflow = Workflow::parse(file, text, registry)?;
    if RESERVED.contains(&workflow.name.as_str()) {
        let message = format!(
            "`{}` is the name of another tool; choose another",
            workflow.name
        );
        return Err(vec![problem(file, message)]);
    }
    let taken = workflow
        .inputs
        .iter()
        .filter(|input| OPTIONS.contains(&input.name.as_str()));
    let taken: Vec<Problem> = taken
        .map(|input| {
            problem(
                file,
                format!(
                    "input `{}` has the name of an option that every run has",
                    input.name
                ),
            )
        })
        .collect();
    let mut problems = taken;
    if let Some(scope) = workflow
        .scope
        .as_deref()
        .filter(|scope| !SCOPES.contains(scope))
    {
        let known = SCOPES.join(", ");
        let message =
            format!("`scope` must be one of {known}, not `{scope}`: a workflow changes something");
        problems.push(problem(file, message));
    }
    if problems.is_empty() {
        Ok(workflow)
    } else {
        Err(problems)
    }
}

fn problem(file: &str, message: String) -> Problem {
    Problem {
        file: file.to_owned(),
        line: 1,
        message,
    }
}

fn texts(directory: &Path) -> Result<Vec<(String, String)>, Problem> {
    let unreadable = |path: &Path, error: &std::io::Error| {
        problem(
            &path.display().to_string(),
            format!("cannot be read: {error}"),
        )
    };
    let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "yaml" || end == "yml")
        })
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
            Ok((path.display().to_string(), text))
        })
        .collect()
}
