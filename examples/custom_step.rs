//! A workflow with a step of its own: a file that a run writes, and removes again when a later step fails.
//!
//! Run it with `cargo run -p forgeline-step-engine --example custom_step`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forgeline_step_engine::journal::memory::MemoryJournal;
use forgeline_step_engine::journal::{Admission, RunOptions};
use forgeline_step_engine::{
    Engine, Field, Found, KindSpec, Registry, Request, Seen, Step, StepCx, StepError, Timing,
    Undone, Workflow,
};
use serde_json::{Value, json};

const FILE: KindSpec = KindSpec {
    name: "file.write",
    description: "A file that starts with the name of the run that wrote it.",
    with: &[
        Field::required("path", "where"),
        Field::required("text", "what"),
    ],
    outputs: &["path"],
};

struct FileStep;

impl FileStep {
    fn path(with: &Value) -> PathBuf {
        PathBuf::from(with["path"].as_str().unwrap_or_default())
    }
}

#[async_trait]
impl Step for FileStep {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let path = Self::path(with);
        match std::fs::read_to_string(&path) {
            Err(_) => Ok(Seen::Absent),
            Ok(text) if text.starts_with(cx.run_id.as_str()) => {
                Ok(Seen::Ours(json!({"path": path})))
            }
            Ok(_) => Ok(Seen::Foreign {
                why: format!("{} is somebody else's", path.display()),
                adoptable: None,
            }),
        }
    }

    async fn apply(&self, cx: &StepCx, with: &Value, _found: &Found) -> Result<Value, StepError> {
        let path = Self::path(with);
        let text = format!(
            "{}\n{}\n",
            cx.run_id,
            with["text"].as_str().unwrap_or_default()
        );
        std::fs::write(&path, text).map_err(|error| {
            StepError::refused(
                "file.unwritable",
                format!("cannot write {}: {error}", path.display()),
            )
        })?;
        Ok(json!({"path": path}))
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        _output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        match self.check(cx, with).await? {
            Seen::Ours(_) => {
                std::fs::remove_file(Self::path(with))
                    .map_err(|error| StepError::unknown("file.unremovable", error.to_string()))?;
                Ok(Undone::Removed)
            }
            _ => Ok(Undone::NotThere),
        }
    }

    fn creates_first(&self, _with: &Value) -> bool {
        false
    }

    fn timing(&self) -> Timing {
        Timing {
            settle: Duration::ZERO,
            recheck: Duration::ZERO,
        }
    }
}

const WORKFLOW: &str = r#"
name: two_files
description: A file, and a second one in a directory that may not exist.
inputs:
  dir: { type: string, required: true, description: Where the first file goes. }
steps:
  - id: first
    kind: file.write
    with: { path: "${{ inputs.dir }}/first.txt", text: hello }
  - id: second
    kind: file.write
    needs: [first]
    with: { path: "${{ inputs.dir }}/missing/second.txt", text: "after ${{ steps.first.path }}" }
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut registry = Registry::new();
    registry.register(FILE, Arc::new(FileStep));
    let workflow = Workflow::parse("two_files.yaml", WORKFLOW, &registry)
        .map_err(|problems| format!("{problems:?}"))?;
    let engine = Engine::new(Arc::new(MemoryJournal::new()), Arc::new(registry));

    let dir = std::env::temp_dir().join(format!("custom-step-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let inputs = json!({"dir": dir}).as_object().cloned().unwrap_or_default();
    let request = Request {
        workflow,
        inputs,
        settings: json!({}),
        subject: "example".into(),
        options: RunOptions::default(),
        caller: "example".into(),
    };
    let Admission::Fresh(run) = engine.start(request).await? else {
        return Err("another run is under way".into());
    };
    engine.wait(&run.run_id, None).await;

    let snapshot = engine.snapshot(&run.run_id).await?;
    print(&format!(
        "run {} ended {}",
        run.run_id,
        snapshot.run.state.as_str()
    ));
    for step in &snapshot.steps {
        print(&format!("  {} {:?}", step.id, step.state));
    }
    let left = std::fs::read_dir(&dir)?.count();
    print(&format!("  files left: {left}"));
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

#[allow(clippy::print_stdout)]
fn print(line: &str) {
    println!("{line}");
}
