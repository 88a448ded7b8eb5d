//! The workflows that ship with the program, embedded in it.

use std::fmt;

use forgeline_step_engine::{Problem, Registry, Workflow};

/// File name and text of every shipped workflow.
const SHIPPED: [(&str, &str); 1] = [(
    "workflows/project_create.yaml",
    include_str!("../../../workflows/project_create.yaml"),
)];

/// The workflows by name.
#[derive(Clone, Debug)]
pub struct Catalogue {
    workflows: Vec<Workflow>,
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
        let mut workflows = Vec::new();
        let mut problems = Vec::new();
        for (file, text) in SHIPPED {
            match Workflow::parse(file, text, registry) {
                Ok(workflow) => workflows.push(workflow),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() {
            Ok(Self { workflows })
        } else {
            Err(CatalogueError { problems })
        }
    }

    /// No workflows: for commands that only look.
    pub fn none() -> Self {
        Self {
            workflows: Vec::new(),
        }
    }

    /// The workflow of this name.
    pub fn get(&self, name: &str) -> Option<&Workflow> {
        self.workflows.iter().find(|workflow| workflow.name == name)
    }

    /// All workflows.
    pub fn all(&self) -> &[Workflow] {
        &self.workflows
    }
}
