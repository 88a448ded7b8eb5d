//! `gitea.describe` and `github.describe`: the final description, and the topics by which a repository stays known.
//!
//! They replace the claim once the receipt is durable. Their effect lives on the repository and goes with it, so undoing
//! has nothing to do; on a repository of an earlier run a repaired description stays; an adopted one is left alone.

use std::sync::Arc;

use async_trait::async_trait;
use forgeline_step_engine::{
    Field, Found, KindSpec, Seen, Step, StepCx, StepError, Timing, Undone,
};
use forgeline_upstream::{Error, FullName, Kind};
use serde_json::{Value, json};

use super::with::{both, full_name, is_adopted, is_created, text};
use crate::ownership::{TOPIC, topic};
use crate::refusal::{Need, named, of_read, of_write};
use crate::upstreams::Upstreams;

const WITH: &[Field] = &[
    Field::required(
        "repository",
        "the output of the step that made the repository",
    ),
    Field::optional("description", "the final description"),
];

pub(super) const GITEA: KindSpec = KindSpec {
    name: "gitea.describe",
    description: "The Gitea repository's final description and topics.",
    with: WITH,
    outputs: &["topics"],
};

pub(super) const GITHUB: KindSpec = KindSpec {
    name: "github.describe",
    description: "The GitHub repository's final description and topics.",
    with: WITH,
    outputs: &["topics"],
};

/// The description and topics of a repository in Gitea.
pub(super) struct GiteaDescribe(pub(super) Arc<Upstreams>);
/// The description and topics of a repository on GitHub.
pub(super) struct GithubDescribe(pub(super) Arc<Upstreams>);

/// What is there: description and topics.
struct Described {
    description: String,
    topics: Vec<String>,
}

impl Described {
    /// Ours: the description as wanted, and the topic of a run that made it.
    fn is_as_wanted(&self, wanted: &str) -> bool {
        let marked = self
            .topics
            .iter()
            .any(|topic| topic.to_ascii_lowercase().starts_with("fl-"));
        self.description == wanted && marked && self.topics.iter().any(|topic| topic == TOPIC)
    }

    /// The topics that are there, with ours; a repository keeps the topic of the run that made it.
    fn with_ours(mut self, cx: &StepCx) -> Vec<String> {
        if !self.topics.iter().any(|topic| topic == TOPIC) {
            self.topics.push(TOPIC.to_owned());
        }
        if !self
            .topics
            .iter()
            .any(|topic| topic.to_ascii_lowercase().starts_with("fl-"))
        {
            self.topics.push(topic(&cx.run_id));
        }
        self.topics
    }
}

impl GiteaDescribe {
    fn failed(&self, error: Error, map: fn(Error, &Need<'_>) -> StepError) -> StepError {
        let credential = named(self.0.gitea.rest_token().origin());
        let need = Need {
            credential: &credential,
            right: "the scope `write:repository` and admin rights on the repository",
            fix: "make a Gitea token with the scope `write:repository` for the owner and put it into GITEA_TOKEN",
        };
        map(error, &need)
    }

    async fn described(&self, name: &FullName) -> Result<Option<Described>, StepError> {
        let found = self
            .0
            .gitea
            .repository(name)
            .await
            .map_err(|error| self.failed(error, of_read))?;
        Ok(found.map(|found| Described {
            description: found.description,
            topics: found.topics,
        }))
    }
}

impl GithubDescribe {
    /// What was just made may not be visible yet: a 404 is worth another try.
    fn failed(&self, error: Error, map: fn(Error, &Need<'_>) -> StepError) -> StepError {
        let lag = error.kind == Kind::NotFound;
        let right = "the scope `repo` (fine-grained: Administration write)";
        let error = super::github_repository::failed(&self.0, error, right, "repo", map);
        StepError {
            retryable: error.retryable || lag,
            ..error
        }
    }

    async fn described(&self, name: &FullName) -> Result<Option<Described>, StepError> {
        let found = self
            .0
            .github
            .repository(name)
            .await
            .map_err(|error| self.failed(error, of_read))?;
        Ok(found.map(|found| Described {
            description: found.description.unwrap_or_default(),
            topics: found.topics,
        }))
    }
}

fn seen(with: &Value, described: Option<Described>) -> Seen {
    let repository = &with["repository"];
    match described {
        _ if is_adopted(repository) => Seen::Adopted(json!({"topics": []})),
        Some(found) if found.is_as_wanted(text(with, "description")) => {
            let output = json!({"topics": found.topics});
            if is_created(repository) {
                Seen::Ours(output)
            } else {
                Seen::Project(output)
            }
        }
        _ => Seen::Absent,
    }
}

/// The topics to set; a fresh repository has none yet.
async fn wanted_topics(
    cx: &StepCx,
    found: &Found,
    described: impl Future<Output = Result<Option<Described>, StepError>>,
) -> Result<Vec<String>, StepError> {
    let there = match found {
        Found::NotLooked => None,
        _ => described.await?,
    };
    Ok(there
        .unwrap_or(Described {
            description: String::new(),
            topics: Vec::new(),
        })
        .with_ours(cx))
}

#[async_trait]
impl Step for GiteaDescribe {
    async fn check(&self, _cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let described = self.described(&full_name(&with["repository"])?).await?;
        Ok(seen(with, described))
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        if let Found::Ours(output) | Found::Project(output) | Found::Adopted(output) = found {
            return Ok(output.clone());
        }
        let name = full_name(&with["repository"])?;
        let topics = wanted_topics(cx, found, self.described(&name)).await?;
        let gitea = &self.0.gitea;
        let (described, tagged) = tokio::join!(
            gitea.set_description(&name, text(with, "description")),
            gitea.set_topics(&name, &topics)
        );
        both(described, tagged).map_err(|error| self.failed(error, of_write))?;
        Ok(json!({"topics": topics}))
    }

    async fn compensate(
        &self,
        _cx: &StepCx,
        _with: &Value,
        _output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        Ok(Undone::Removed)
    }

    fn creates_first(&self, with: &Value) -> bool {
        is_created(&with["repository"])
    }

    fn timing(&self) -> Timing {
        self.0.timings.gitea
    }
}

#[async_trait]
impl Step for GithubDescribe {
    async fn check(&self, _cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let described = self.described(&full_name(&with["repository"])?).await?;
        Ok(seen(with, described))
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        if let Found::Ours(output) | Found::Project(output) | Found::Adopted(output) = found {
            return Ok(output.clone());
        }
        let name = full_name(&with["repository"])?;
        let topics = wanted_topics(cx, found, self.described(&name)).await?;
        let github = &self.0.github;
        let (described, tagged) = tokio::join!(
            github.set_description(&name, text(with, "description")),
            github.set_topics(&name, &topics)
        );
        both(described, tagged).map_err(|error| self.failed(error, of_write))?;
        Ok(json!({"topics": topics}))
    }

    async fn compensate(
        &self,
        _cx: &StepCx,
        _with: &Value,
        _output: Option<&Value>,
    ) -> Result<Undone, StepError> {
        Ok(Undone::Removed)
    }

    fn creates_first(&self, with: &Value) -> bool {
        is_created(&with["repository"])
    }

    fn timing(&self) -> Timing {
        self.0.timings.github
    }
}
