//! `gitea.issue`: the first issue of a project, which lists its other artifacts.
//!
//! Opening is not unique, so the body carries a marker (an HTML comment with run and step), looked up through Gitea's
//! strongly consistent list. Undoing deletes every issue with this run's marker, each read again by its number first.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use forgeline_gitea::{Issue, NewIssue};
use forgeline_step_engine::{
    Field, Found, KindSpec, RunId, Seen, Step, StepCx, StepError, Timing, Undone,
};
use forgeline_upstream::{Error, FullName, Kind};
use serde_json::{Value, json};

use super::blame::{self, Map};
use super::with::{full_name, is_created, text};
use crate::refusal::{of_read, of_write};
use crate::upstreams::Upstreams;

pub(super) const KIND: KindSpec = KindSpec {
    name: "gitea.issue",
    description: "The first issue, which lists the project's artifacts.",
    with: &[
        Field::required(
            "gitea",
            "the output of the step that made the Gitea repository",
        ),
        Field::required(
            "github",
            "the output of the step that made the GitHub repository",
        ),
        Field::required(
            "namespace",
            "the output of the step that made the namespace",
        ),
        Field::optional("title", "the title; default `Welcome to NAME`"),
        Field::optional("body", "Markdown that stands above the list"),
    ],
    outputs: &["number", "url"],
};

/// The first issue.
pub(super) struct FirstIssue(pub(super) Arc<Upstreams>);

/// What every marker of a run begins with.
pub(super) fn marker_of_run(run: &RunId) -> String {
    format!("<!-- forgeline run={run} ")
}

fn marker(cx: &StepCx) -> String {
    format!("{}step={} -->", marker_of_run(&cx.run_id), cx.step)
}

impl FirstIssue {
    fn failed(&self, error: Error, map: Map) -> StepError {
        blame::gitea(&self.0, error, "the scope `write:issue`", map)
    }

    /// Issues with this text, oldest first; none when the repository is not there.
    async fn with_text(&self, name: &FullName, text: &str) -> Result<Vec<Issue>, StepError> {
        match self.0.gitea.issues_with(name, text).await {
            Ok(issues) => Ok(issues),
            Err(error) if error.kind == Kind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.failed(error, of_read)),
        }
    }

    /// Deletes one issue after its marker was read again: numbers restart when a repository is made anew.
    async fn remove(
        &self,
        cx: &StepCx,
        name: &FullName,
        number: u64,
        marker: &str,
    ) -> Result<(), StepError> {
        let now = self
            .0
            .gitea
            .issue(name, number)
            .await
            .map_err(|error| self.failed(error, of_read))?;
        if now.is_none_or(|now| !now.body.contains(marker)) {
            return Ok(());
        }
        self.0.announce(cx, &format!("gitea:{name} issue {number}"));
        match self.0.gitea.delete_issue(name, number).await {
            Err(error) if error.kind != Kind::NotFound => Err(self.failed(error, of_write).command(format!(
                "curl -X DELETE -H \"Authorization: token $GITEA_TOKEN\" $GITEA_URL/api/v1/repos/{name}/issues/{number}"
            ))),
            _ => Ok(()),
        }
    }
}

fn body(cx: &StepCx, with: &Value) -> String {
    let mut body = String::new();
    let above = text(with, "body");
    if !above.is_empty() {
        body.push_str(above);
        body.push_str("\n\n");
    }
    let (gitea, github, namespace) = (&with["gitea"], &with["github"], &with["namespace"]);
    let lines = [
        ("Gitea repository", text(gitea, "url")),
        ("GitHub repository", text(github, "url")),
        ("Push mirror", text(github, "clone_url")),
        ("Namespace", text(namespace, "name")),
    ];
    for (what, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a String does not fail.
        let _ = writeln!(body, "- {what}: {value}");
    }
    body.push('\n');
    body.push_str(&marker(cx));
    body
}

fn output(issue: &Issue) -> Value {
    json!({"number": issue.number, "url": issue.html_url})
}

#[async_trait]
impl Step for FirstIssue {
    async fn check(&self, cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let name = full_name(&with["gitea"])?;
        let all = self.with_text(&name, "<!-- forgeline run=").await?;
        let of_run = |run: &RunId| {
            all.iter()
                .find(|issue| issue.body.contains(&marker_of_run(run)))
        };
        if let Some(ours) = of_run(&cx.run_id) {
            return Ok(Seen::Ours(output(ours)));
        }
        let earlier = cx.earlier.iter().find_map(|run| of_run(&run.run_id));
        Ok(earlier.map_or(Seen::Absent, |issue| Seen::Project(output(issue))))
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let name = full_name(&with["gitea"])?;
        match found {
            Found::Project(output) | Found::Adopted(output) => Ok(output.clone()),
            Found::Ours(output) => {
                self.recheck(cx, with, Some(output)).await?;
                Ok(output.clone())
            }
            Found::NotLooked | Found::Absent => {
                let given = text(with, "title");
                let title = if given.is_empty() {
                    format!("Welcome to {}", name.name())
                } else {
                    given.to_owned()
                };
                let new = NewIssue {
                    title,
                    body: body(cx, with),
                };
                let opened = self
                    .0
                    .gitea
                    .create_issue(&name, &new)
                    .await
                    .map_err(|error| self.failed(error, of_write))?;
                Ok(output(&opened))
            }
        }
    }

    async fn compensate(
        &self,
        cx: &StepCx,
        with: &Value,
        _output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        let name = full_name(&with["gitea"])?;
        let marker = marker_of_run(&cx.run_id);
        let ours = self.with_text(&name, &marker).await?;
        for issue in &ours {
            self.remove(cx, &name, issue.number, &marker).await?;
        }
        Ok(if ours.is_empty() {
            Undone::NotThere
        } else {
            Undone::Removed
        })
    }

    /// Keeps the recorded issue and deletes our others: an ambiguous opening may land late.
    async fn recheck(
        &self,
        cx: &StepCx,
        with: &Value,
        recorded: Option<&Value>,
    ) -> Result<(), StepError> {
        let Some(recorded) = recorded else {
            return self.compensate(cx, with, None).await.map(drop);
        };
        let Some(kept) = recorded["number"].as_u64() else {
            return Ok(());
        };
        let name = full_name(&with["gitea"])?;
        let marker = marker_of_run(&cx.run_id);
        for issue in self
            .with_text(&name, &marker)
            .await?
            .iter()
            .filter(|issue| issue.number != kept)
        {
            self.remove(cx, &name, issue.number, &marker).await?;
        }
        Ok(())
    }

    fn creates_first(&self, with: &Value) -> bool {
        is_created(&with["gitea"])
    }

    fn timing(&self) -> Timing {
        self.0.timings.gitea
    }
}
