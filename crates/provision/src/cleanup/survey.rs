//! Everything in the systems that a clean-up may be about: all pages of all owners.

use forgeline_step_engine::{RunId, StepError};
use forgeline_upstream::{Error, FullName};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;

use super::select::{Found, Mark};
use crate::ownership::{claim_of, expiry_of, maker};
use crate::refusal::{Need, of_read};
use crate::removal::TargetKind;
use crate::upstreams::Upstreams;

/// How many things are looked at side by side.
pub(crate) const AT_ONCE: usize = 16;
/// The trailer of commits in the infra repository.
const TRAILER: &str = "Forgeline-Run";

/// What could not be asked is said, and the rest goes on.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) found: Vec<Found>,
    pub(crate) problems: Vec<StepError>,
}

impl Survey {
    fn add(&mut self, listed: Result<Vec<Found>, Error>) {
        match listed {
            Ok(found) => self.found.extend(found),
            Err(error) => {
                let need = Need {
                    credential: "the token",
                    right: "the right to list what is there",
                    fix: "see `forgeline doctor`",
                };
                self.problems.push(of_read(error, &need));
            }
        }
    }
}

/// Lists the repositories of these owners on both forges, the namespaces, and the branches of the infra repository.
pub(crate) async fn survey(
    upstreams: &Upstreams,
    owners: &[String],
    infra: Option<&FullName>,
) -> Survey {
    let mut survey = Survey::default();
    for owner in owners {
        let (gitea, github) = tokio::join!(in_gitea(upstreams, owner), on_github(upstreams, owner));
        survey.add(gitea);
        survey.add(github);
    }
    let (namespaces, branches) = tokio::join!(namespaces(upstreams), branches(upstreams, infra));
    survey.add(namespaces);
    survey.add(branches);
    survey
}

fn mark(description: &str, topics: &[String]) -> Option<Mark> {
    if let Some((run, until)) = claim_of(description) {
        return Some(Mark {
            run,
            claimed_until: until,
            expires_at: expiry_of(topics),
        });
    }
    Some(Mark {
        run: maker(topics)?,
        claimed_until: None,
        expires_at: expiry_of(topics),
    })
}

fn project(full_name: &str) -> String {
    full_name.rsplit('/').next().unwrap_or_default().to_owned()
}

async fn in_gitea(upstreams: &Upstreams, owner: &str) -> Result<Vec<Found>, Error> {
    let listed = upstreams.gitea.repositories_of(owner).await?;
    let found = listed.into_iter().map(|found| Found {
        kind: TargetKind::GiteaRepository,
        project: project(&found.full_name),
        mark: mark(&found.description, &found.topics),
        name: found.full_name,
        within: String::new(),
        id: found.id.to_string(),
        url: found.html_url,
        created_at: found.created_at,
        active_at: found.updated_at,
        archived: found.archived,
        topics: found.topics,
        starred: found.stars_count > 0,
    });
    Ok(found.collect())
}

async fn on_github(upstreams: &Upstreams, owner: &str) -> Result<Vec<Found>, Error> {
    let listed = upstreams.github.repositories_of(owner).await?;
    let found = listed.into_iter().map(|found| Found {
        kind: TargetKind::GithubRepository,
        project: project(&found.full_name),
        mark: mark(
            found.description.as_deref().unwrap_or_default(),
            &found.topics,
        ),
        name: found.full_name,
        within: String::new(),
        id: found.id.to_string(),
        url: found.html_url,
        created_at: found.created_at,
        active_at: found.updated_at.max(found.pushed_at),
        archived: found.archived,
        topics: found.topics,
        starred: found.stargazers_count > 0,
    });
    Ok(found.collect())
}

async fn namespaces(upstreams: &Upstreams) -> Result<Vec<Found>, Error> {
    let Some(cluster) = &upstreams.kubernetes else {
        return Ok(Vec::new());
    };
    let listed = cluster.namespaces().await?;
    let listed = listed.into_iter().filter(|found| !found.terminating);
    let found = listed.map(|found| {
        let run: Option<RunId> = found.run_id.as_ref().and_then(|run| run.parse().ok());
        Found {
            kind: TargetKind::Namespace,
            project: found.project.unwrap_or_else(|| found.name.clone()),
            mark: run.map(|run| Mark {
                run,
                claimed_until: None,
                expires_at: found.expires_at,
            }),
            name: found.name,
            within: String::new(),
            id: found.uid,
            url: String::new(),
            created_at: found.created_at,
            active_at: None,
            archived: false,
            topics: Vec::new(),
            starred: false,
        }
    });
    Ok(found.collect())
}

async fn branches(upstreams: &Upstreams, infra: Option<&FullName>) -> Result<Vec<Found>, Error> {
    let Some(infra) = infra else {
        return Ok(Vec::new());
    };
    let gitea = &upstreams.gitea;
    let refs = gitea.refs(infra).await?;
    let staging = refs.into_iter().filter_map(|(name, head)| {
        let branch = name.strip_prefix("refs/heads/")?.to_owned();
        let project = branch.strip_prefix("staging/")?.to_owned();
        // What is no plain name was not made by us and cannot be asked for safely.
        FullName::new("x", &project).map(|_| (branch, project, head))
    });
    let looks: Vec<BoxFuture<'_, Result<Found, Error>>> = staging
        .map(|(branch, project, head)| at_head(upstreams, infra, branch, project, head).boxed())
        .collect();
    let looks: Vec<Result<Found, Error>> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    looks.into_iter().collect()
}

/// A branch by the commit at its head.
async fn at_head(
    upstreams: &Upstreams,
    infra: &FullName,
    branch: String,
    project: String,
    head: String,
) -> Result<Found, Error> {
    let commit = upstreams.gitea.commit(infra, &head).await?;
    let trailer = commit.as_ref().and_then(|commit| commit.trailer(TRAILER));
    let run = trailer.and_then(|run| run.parse().ok());
    Ok(Found {
        kind: TargetKind::Branch,
        project,
        mark: run.map(|run| Mark {
            run,
            claimed_until: None,
            expires_at: None,
        }),
        name: branch,
        within: infra.to_string(),
        id: head,
        url: String::new(),
        created_at: commit
            .as_ref()
            .map_or_else(Timestamp::now, |commit| commit.created),
        active_at: commit.map(|commit| commit.created),
        archived: false,
        topics: Vec::new(),
        starred: false,
    })
}
