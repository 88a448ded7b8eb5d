//! `gitea.issue`: the first issue of a project, which lists its other artifacts.
//!
//! Opening is not unique, so the body carries a marker (an HTML comment with run and step), looked up through Gitea's
//! strongly consistent list. Undoing deletes every issue with this run's marker, each read again by its number first.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use forgeline_gitea::{Issue, Label, NewIssue};
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
        Field::optional(
            "github",
            "the output of the step that made the GitHub repository",
        ),
        Field::optional(
            "namespace",
            "the output of the step that made the namespace",
        ),
        Field::optional(
            "commit",
            "the output of the step that committed the manifests",
        ),
        Field::optional("title", "the title; default `Welcome to NAME`"),
        Field::optional("body", "Markdown that stands above the list"),
        Field::optional(
            "labels",
            "names of labels; those that are missing are created",
        ),
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

    /// The labels that were asked for; those that are missing are made, and journaled before they are.
    async fn labels(
        &self,
        cx: &StepCx,
        name: &FullName,
        with: &Value,
    ) -> Result<Vec<Label>, StepError> {
        let wanted = wanted_labels(with);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let gitea = &self.0.gitea;
        let there = gitea.labels(name).await;
        let there = there.map_err(|error| self.failed(error, of_read))?;
        if cx.fact(LABELS_BEFORE).is_none() {
            let before: Vec<&str> = there.iter().map(|label| label.name.as_str()).collect();
            cx.record_fact(LABELS_BEFORE, json!(before)).await?;
        }
        let mut labels = Vec::new();
        for label in wanted {
            let known = there
                .iter()
                .find(|known| known.name.eq_ignore_ascii_case(label));
            labels.push(match known {
                Some(known) => known.clone(),
                None => gitea
                    .create_label(name, label)
                    .await
                    .map_err(|error| self.failed(error, of_write))?,
            });
        }
        Ok(labels)
    }

    /// Deletes the labels that this run made and nobody uses; in a repository of this run they go with it.
    async fn remove_labels(
        &self,
        cx: &StepCx,
        name: &FullName,
        with: &Value,
    ) -> Result<(), StepError> {
        for label in self.own_labels(cx, name, with).await? {
            self.remove_unused(cx, name, &label).await?;
        }
        Ok(())
    }

    /// Deletes the later ones of labels that this run made twice: making one may land late.
    async fn remove_twins(
        &self,
        cx: &StepCx,
        name: &FullName,
        with: &Value,
        issue: u64,
    ) -> Result<(), StepError> {
        let own = self.own_labels(cx, name, with).await?;
        let same = |one: &Label, other: &Label| one.name.eq_ignore_ascii_case(&other.name);
        let is_twin = |label: &&Label| own.iter().filter(|other| same(label, other)).count() > 1;
        if !own.iter().any(|label| is_twin(&label)) {
            return Ok(());
        }
        let kept = self.0.gitea.issue(name, issue).await;
        let kept = kept.map_err(|error| self.failed(error, of_read))?;
        let used: Vec<u64> = kept
            .map(|issue| issue.labels.iter().map(|label| label.id).collect())
            .unwrap_or_default();
        for label in own.iter().filter(is_twin) {
            let others = own.iter().filter(|other| same(label, other));
            // The one on the issue stays, or the first where none is.
            let stays = others.min_by_key(|other| (!used.contains(&other.id), other.id));
            if stays.is_some_and(|stays| stays.id != label.id) {
                self.remove_unused(cx, name, label).await?;
            }
        }
        Ok(())
    }

    /// The labels that were asked for and were not there before this run.
    async fn own_labels(
        &self,
        cx: &StepCx,
        name: &FullName,
        with: &Value,
    ) -> Result<Vec<Label>, StepError> {
        let Some(before) = cx.fact(LABELS_BEFORE) else {
            return Ok(Vec::new());
        };
        let before = before.as_array().cloned().unwrap_or_default();
        let mut there = match self.0.gitea.labels(name).await {
            Ok(there) => there,
            Err(error) if error.kind == Kind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(error, of_read)),
        };
        let wanted = wanted_labels(with);
        there.retain(|label| {
            let is_wanted = wanted
                .iter()
                .any(|wanted| label.name.eq_ignore_ascii_case(wanted));
            is_wanted && !before.iter().any(|known| *known == label.name.as_str())
        });
        Ok(there)
    }

    async fn remove_unused(
        &self,
        cx: &StepCx,
        name: &FullName,
        label: &Label,
    ) -> Result<(), StepError> {
        let used = self.0.gitea.has_issues_with_label(name, label.id).await;
        if used.map_err(|error| self.failed(error, of_read))? {
            return Ok(());
        }
        let removing = async {
            let removed = self.0.gitea.delete_label(name, label.id).await;
            removed.map_err(|error| self.failed(error, of_write))
        };
        let what = format!("gitea:{name} label {}", label.name);
        self.0.audited(cx, &what, removing).await
    }

    /// Deletes one issue after its marker was read again: numbers restart when a repository is made anew. Answers whether
    /// the deletion was answered; a read or a deletion that finds nothing may lag.
    async fn remove(
        &self,
        cx: &StepCx,
        name: &FullName,
        number: u64,
        marker: &str,
    ) -> Result<bool, StepError> {
        let now = self
            .0
            .gitea
            .issue(name, number)
            .await
            .map_err(|error| self.failed(error, of_read))?;
        let Some(now) = now else {
            return Ok(false);
        };
        if !now.body.contains(marker) {
            return Ok(true);
        }
        let removing = async {
            match self.0.gitea.delete_issue(name, number).await {
                Ok(()) => Ok(true),
                Err(error) if error.kind == Kind::NotFound => Ok(false),
                Err(error) => Err(self.failed(error, of_write).command(format!(
                    "curl -X DELETE -H \"Authorization: token $GITEA_TOKEN\" $GITEA_URL/api/v1/repos/{name}/issues/{number}"
                ))),
            }
        };
        let what = format!("gitea:{name} issue {number}");
        self.0.audited(cx, &what, removing).await
    }
}

/// A list showed an issue that cannot be read by its number: one of the two lags.
fn unread(name: &FullName, number: u64) -> StepError {
    let message = format!("issue {number} of Gitea repository {name} was listed and is not found");
    StepError {
        retryable: true,
        ..StepError::refused("issue.not_found", message)
    }
}

/// The fact that names the labels that were there before this run.
const LABELS_BEFORE: &str = "labels_before";

fn wanted_labels(with: &Value) -> Vec<&str> {
    let items = with["labels"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    items.iter().filter_map(Value::as_str).collect()
}

fn body(cx: &StepCx, with: &Value) -> String {
    let mut body = String::new();
    let above = text(with, "body");
    if !above.is_empty() {
        body.push_str(above);
        body.push_str("\n\n");
    }
    let (gitea, github, commit) = (&with["gitea"], &with["github"], &with["commit"]);
    let manifests = match text(commit, "branch") {
        "" => String::new(),
        branch => format!("{} on branch {branch}", text(commit, "repository")),
    };
    let lines = [
        ("Gitea repository", text(gitea, "url")),
        ("GitHub repository", text(github, "url")),
        ("Push mirror", text(github, "clone_url")),
        ("Namespace", text(&with["namespace"], "name")),
        ("Manifests", &manifests),
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
                    labels: self.labels(cx, &name, with).await?,
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
        let mut removed = !ours.is_empty();
        for issue in &ours {
            removed &= self.remove(cx, &name, issue.number, &marker).await?;
        }
        self.remove_labels(cx, &name, with).await?;
        Ok(if removed {
            Undone::Removed
        } else {
            Undone::NotThere
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
            if !self.remove(cx, &name, issue.number, &marker).await? {
                return Err(unread(&name, issue.number));
            }
        }
        self.remove_twins(cx, &name, with, kept).await
    }

    fn requests(&self, with: &Value) -> Vec<(&'static str, u32)> {
        let labels = u32::try_from(wanted_labels(with).len()).unwrap_or(0);
        if labels == 0 {
            return vec![("gitea_mcp", 1)];
        }
        // The list, those that are missing at worst, and the issue read back.
        vec![("gitea_mcp", 1), ("gitea", labels + 2)]
    }

    fn creates_first(&self, with: &Value) -> bool {
        is_created(&with["gitea"])
    }

    fn timing(&self) -> Timing {
        self.0.timings.gitea
    }
}
