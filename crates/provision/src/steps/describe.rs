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
use jiff::Timestamp;
use serde_json::{Value, json};

use super::blame::{self, Map};
use super::with::{both, full_name, is_adopted, is_created, text};
use crate::ownership::{TOPIC, ends_at, expiry_of, topic, with_expiry};
use crate::refusal::{of_read, of_write};
use crate::upstreams::Upstreams;

const WITH: &[Field] = &[
    Field::required(
        "repository",
        "the output of the step that made the repository",
    ),
    Field::optional("description", "the final description"),
    Field::optional("ttl", "of a throwaway: how long it lasts, for example 24h"),
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

/// The description and topics of a repository on one of the forges.
pub(super) struct Describe {
    upstreams: Arc<Upstreams>,
    forge: Forge,
}

#[derive(Clone, Copy)]
enum Forge {
    Gitea,
    Github,
}

/// What is there: description and topics.
#[derive(Default)]
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
    fn with_ours(mut self, cx: &StepCx, with: &Value) -> Vec<String> {
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
        match ends_at(&cx.run_id, &with["ttl"]) {
            Some(at) => with_expiry(self.topics, at),
            None => self.topics,
        }
    }
}

impl Describe {
    pub(super) fn gitea(upstreams: &Arc<Upstreams>) -> Self {
        Self {
            upstreams: Arc::clone(upstreams),
            forge: Forge::Gitea,
        }
    }

    pub(super) fn github(upstreams: &Arc<Upstreams>) -> Self {
        Self {
            upstreams: Arc::clone(upstreams),
            forge: Forge::Github,
        }
    }

    fn failed(&self, error: Error, map: Map) -> StepError {
        match self.forge {
            Forge::Gitea => {
                let right = "the scope `write:repository` and admin rights on the repository";
                blame::gitea(&self.upstreams, error, right, map)
            }
            Forge::Github => {
                // What was just made may not be visible yet: a 404 is worth another try.
                let lag = error.kind == Kind::NotFound;
                let right = "the scope `repo` (fine-grained: Administration write)";
                let error = blame::github(&self.upstreams, error, right, "repo", map);
                StepError {
                    retryable: error.retryable || lag,
                    ..error
                }
            }
        }
    }

    async fn described(&self, name: &FullName) -> Result<Option<Described>, StepError> {
        let found = match self.forge {
            Forge::Gitea => self.upstreams.gitea.repository(name).await.map(|found| {
                found.map(|found| Described {
                    description: found.description,
                    topics: found.topics,
                })
            }),
            Forge::Github => self.upstreams.github.repository(name).await.map(|found| {
                let text = |found: Option<String>| found.unwrap_or_default();
                found.map(|found| Described {
                    description: text(found.description),
                    topics: found.topics,
                })
            }),
        };
        found.map_err(|error| self.failed(error, of_read))
    }

    /// Lets a throwaway end then, unless it says so already.
    async fn prolong(
        &self,
        name: &FullName,
        output: &Value,
        at: Timestamp,
    ) -> Result<Value, StepError> {
        let topics = output["topics"].as_array().cloned().unwrap_or_default();
        let topics = topics.iter().filter_map(Value::as_str);
        let topics: Vec<String> = topics.map(str::to_owned).collect();
        if expiry_of(&topics).is_some_and(|now| now.as_second() == at.as_second()) {
            return Ok(output.clone());
        }
        let topics = with_expiry(topics, at);
        let written = match self.forge {
            Forge::Gitea => self.upstreams.gitea.set_topics(name, &topics).await,
            Forge::Github => self.upstreams.github.set_topics(name, &topics).await,
        };
        written.map_err(|error| self.failed(error, of_write))?;
        Ok(json!({"topics": topics}))
    }

    async fn write(
        &self,
        name: &FullName,
        description: &str,
        topics: &[String],
    ) -> Result<(), Error> {
        let (gitea, github) = (&self.upstreams.gitea, &self.upstreams.github);
        let (described, tagged) = match self.forge {
            Forge::Gitea => tokio::join!(
                gitea.set_description(name, description),
                gitea.set_topics(name, topics)
            ),
            Forge::Github => tokio::join!(
                github.set_description(name, description),
                github.set_topics(name, topics)
            ),
        };
        both(described, tagged)
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

#[async_trait]
impl Step for Describe {
    async fn check(&self, _cx: &StepCx, with: &Value) -> Result<Seen, StepError> {
        let described = self.described(&full_name(&with["repository"])?).await?;
        Ok(seen(with, described))
    }

    async fn apply(&self, cx: &StepCx, with: &Value, found: &Found) -> Result<Value, StepError> {
        let name = full_name(&with["repository"])?;
        if let Found::Ours(output) | Found::Project(output) | Found::Adopted(output) = found {
            return match ends_at(&cx.run_id, &with["ttl"]) {
                // A throwaway's time counts from its newest run.
                Some(at) if matches!(found, Found::Project(_)) => {
                    self.prolong(&name, output, at).await
                }
                _ => Ok(output.clone()),
            };
        }
        // A fresh repository has no topics yet.
        let there = if *found == Found::NotLooked {
            None
        } else {
            self.described(&name).await?
        };
        let topics = there.unwrap_or_default().with_ours(cx, with);
        let written = self.write(&name, text(with, "description"), &topics).await;
        written.map_err(|error| self.failed(error, of_write))?;
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

    fn requests(&self, _with: &Value) -> Vec<(&'static str, u32)> {
        match self.forge {
            Forge::Gitea => vec![("gitea", 2)],
            Forge::Github => vec![("github", 2)],
        }
    }

    fn creates_first(&self, with: &Value) -> bool {
        is_created(&with["repository"])
    }

    fn timing(&self) -> Timing {
        match self.forge {
            Forge::Gitea => self.upstreams.timings.gitea,
            Forge::Github => self.upstreams.timings.github,
        }
    }
}
