//! What is there of a target now.

use forgeline_step_engine::StepError;
use forgeline_upstream::{Error, Kind};
use jiff::Timestamp;

use super::{Marks, Target, TargetKind, fingerprint};
use crate::refusal::{Need, named, of_read};
use crate::upstreams::Upstreams;

/// What stands under a target's name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Look {
    /// Nothing that we see.
    Gone,
    /// The name leads elsewhere: it was renamed or moved.
    Renamed,
    /// Something else, made later or by somebody else.
    Another,
    /// The target.
    There(There),
}

/// The target as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct There {
    /// Never used again: a number, a uid, a commit.
    pub(crate) id: String,
    /// It is read-only.
    pub(crate) archived: bool,
    /// What a later look is compared with.
    pub(crate) marks: Marks,
    /// For people. Empty: it has no address.
    pub(crate) url: String,
    /// Of a repository: its branches and tags, fingerprinted. `None`: it has none.
    pub(crate) refs: Option<String>,
    /// What in it was not made with it. `None`: nothing.
    pub(crate) work: Option<String>,
    /// When it was made. `None`: it does not say.
    pub(crate) created_at: Option<Timestamp>,
}

/// Looks at a target. With an empty `id` whatever has the name is it.
pub(crate) async fn look(upstreams: &Upstreams, target: &Target) -> Result<Look, StepError> {
    let looked = match target.kind {
        TargetKind::GiteaRepository => gitea(upstreams, target).await,
        TargetKind::GithubRepository => github(upstreams, target).await,
        TargetKind::Mirror => mirror(upstreams, target).await,
        TargetKind::Branch => branch(upstreams, target).await,
        TargetKind::Namespace => namespace(upstreams, target).await,
    };
    match looked {
        Ok(Look::There(there)) if !target.id.is_empty() && there.id != target.id => {
            Ok(Look::Another)
        }
        Ok(look) => Ok(look),
        Err(error) if error.is_redirect() => Ok(Look::Renamed),
        Err(error) => Err(failed(upstreams, target.kind, error, of_read)),
    }
}

/// A failed request as a step's error, with the right that it needs.
pub(super) fn failed(
    upstreams: &Upstreams,
    kind: TargetKind,
    error: Error,
    map: fn(Error, &Need<'_>) -> StepError,
) -> StepError {
    let (credential, right, fix) = match kind {
        TargetKind::GithubRepository => (
            named(upstreams.github.token().origin()),
            "the scope `delete_repo` and admin rights (fine-grained: Administration write)",
            "gh auth refresh -h github.com -s delete_repo, and put the token into GITHUB_PAT",
        ),
        TargetKind::Namespace => (
            upstreams
                .kubernetes
                .as_ref()
                .map(|cluster| cluster.credential().to_owned())
                .unwrap_or_default(),
            "the RBAC verbs get, list and delete on namespaces",
            "grant them to the service account behind KUBE_TOKEN (or KUBECONFIG)",
        ),
        TargetKind::Mirror | TargetKind::Branch | TargetKind::GiteaRepository => {
            let gitea = &upstreams.gitea;
            let token = gitea.rest_token().unwrap_or(gitea.mcp_token());
            (
                named(token.origin()),
                "the scope `write:repository` and the owner's rights on the repository",
                "use a token of the owner (or of an owner of the organisation) in GITEA_TOKEN",
            )
        }
    };
    let need = Need {
        credential: &credential,
        right,
        fix,
    };
    map(error, &need)
}

fn invalid(target: &Target) -> Error {
    let message = format!("`{}` is no name that can be asked for", target.artifact());
    Error::new(
        target.kind.system(),
        "look at what is to be removed",
        Kind::Invalid,
        forgeline_upstream::Reach::NotSent,
        &message,
    )
}

async fn gitea(upstreams: &Upstreams, target: &Target) -> Result<Look, Error> {
    let gitea = &upstreams.gitea;
    let name = target.repository().ok_or_else(|| invalid(target))?;
    let Some(found) = gitea.repository(&name).await? else {
        return Ok(Look::Gone);
    };
    let (refs, issues) = tokio::join!(
        async {
            match found.empty {
                true => Ok(Default::default()),
                false => gitea.refs(&name).await,
            }
        },
        gitea.issue_count(&name)
    );
    let (refs, issues) = (refs?, issues?);
    let foreign_issues = issues > 0
        && gitea
            .has_issues_without(&name, "<!-- forgeline run=")
            .await?;
    let mut work =
        foreign_issues.then(|| "somebody has opened an issue or pull request".to_owned());
    if found.release_counter > 0 {
        work.get_or_insert("it has a release".into());
    }
    let default = format!("refs/heads/{}", found.default_branch);
    if let Some(other) = refs.keys().find(|head| **head != default) {
        work.get_or_insert(format!("it has {other}"));
    }
    if work.is_none() && !refs.is_empty() {
        let commits = gitea.commits(&name, &found.default_branch, 2).await?;
        let initial = commits.first().filter(|_| commits.len() == 1);
        if !initial.is_some_and(|commit| commit.is_initial_of(&found)) {
            work = Some(format!("somebody has pushed to {}", found.default_branch));
        }
    }
    let marks = Marks::from([
        ("refs".into(), fingerprint(&refs)),
        ("issues".into(), issues.to_string()),
        ("releases".into(), found.release_counter.to_string()),
        ("stars".into(), found.stars_count.to_string()),
        ("topics".into(), fingerprint(&found.topics)),
        ("description".into(), fingerprint(&found.description)),
        ("visibility".into(), visibility(found.private)),
    ]);
    Ok(Look::There(There {
        id: found.id.to_string(),
        archived: found.archived,
        marks,
        url: found.html_url,
        refs: (!refs.is_empty()).then(|| fingerprint(&refs)),
        work,
        created_at: Some(found.created_at),
    }))
}

fn visibility(private: bool) -> String {
    if private { "private" } else { "public" }.to_owned()
}

async fn github(upstreams: &Upstreams, target: &Target) -> Result<Look, Error> {
    let github = &upstreams.github;
    let name = target.repository().ok_or_else(|| invalid(target))?;
    let Some(found) = github.repository(&name).await? else {
        return Ok(Look::Gone);
    };
    let (refs, issues) = tokio::join!(github.refs(&name), github.has_issues(&name));
    let (refs, issues) = (refs?, issues?);
    let marks = Marks::from([
        ("refs".into(), fingerprint(&refs)),
        ("issues".into(), issues.to_string()),
        ("open issues".into(), found.open_issues_count.to_string()),
        ("stars".into(), found.stargazers_count.to_string()),
        ("topics".into(), fingerprint(&found.topics)),
        ("description".into(), fingerprint(&found.description)),
        ("visibility".into(), visibility(found.private)),
    ]);
    Ok(Look::There(There {
        id: found.id.to_string(),
        archived: found.archived,
        marks,
        url: found.html_url,
        refs: (!refs.is_empty()).then(|| fingerprint(&refs)),
        work: issues.then(|| "somebody has opened an issue or pull request".to_owned()),
        created_at: Some(found.created_at),
    }))
}

async fn mirror(upstreams: &Upstreams, target: &Target) -> Result<Look, Error> {
    let name = target.repository().ok_or_else(|| invalid(target))?;
    let listed = match upstreams.gitea.push_mirrors(&name).await {
        Err(error) if error.kind == Kind::NotFound => return Ok(Look::Gone),
        listed => listed?,
    };
    let found = listed
        .into_iter()
        .find(|mirror| mirror.remote_name == target.name);
    Ok(found.map_or(Look::Gone, |mirror| {
        Look::There(There {
            id: mirror.remote_name,
            archived: false,
            marks: Marks::from([("address".into(), fingerprint(&mirror.remote_address))]),
            url: mirror.remote_address,
            refs: None,
            work: None,
            created_at: Some(mirror.created),
        })
    }))
}

async fn branch(upstreams: &Upstreams, target: &Target) -> Result<Look, Error> {
    let gitea = &upstreams.gitea;
    let name = target.repository().ok_or_else(|| invalid(target))?;
    let Some(head) = gitea.branch_head(&name, &target.name).await? else {
        return Ok(Look::Gone);
    };
    let (commit, pulls) = tokio::join!(gitea.commit(&name, &head), gitea.open_pulls(&name));
    let (commit, mut pulls) = (commit?, pulls?);
    pulls.retain(|pull| pull.head.branch == target.name);
    let numbers: Vec<u64> = pulls.iter().map(|pull| pull.number).collect();
    let discussed = pulls.iter().find(|pull| pull.comments > 0);
    let mut work = discussed.map(|pull| format!("pull request {} is being discussed", pull.number));
    if let Ok(base) = gitea.infra_base(&name).await?
        && gitea.has_in_history(&name, &base, &head).await?
    {
        work.get_or_insert(format!("its commit is part of {base}"));
    }
    Ok(Look::There(There {
        id: head,
        archived: false,
        marks: Marks::from([("pull requests".into(), format!("{numbers:?}"))]),
        url: pulls
            .first()
            .map(|pull| pull.html_url.clone())
            .unwrap_or_default(),
        refs: None,
        work,
        created_at: commit.map(|commit| commit.created),
    }))
}

async fn namespace(upstreams: &Upstreams, target: &Target) -> Result<Look, Error> {
    let Some(cluster) = &upstreams.kubernetes else {
        return Ok(Look::Gone);
    };
    let Some(found) = cluster.namespace(&target.name).await? else {
        return Ok(Look::Gone);
    };
    let run = target
        .run
        .as_ref()
        .map(|run| run.as_str())
        .unwrap_or_default();
    let foreign = match found.terminating {
        true => Vec::new(),
        false => cluster.foreign_objects(&target.name, run).await?,
    };
    let work = foreign
        .first()
        .map(|first| format!("it holds {} ({} in all)", first.what, foreign.len()));
    let mut marks = Marks::new();
    if !found.terminating {
        marks.insert("version".into(), found.resource_version);
        let what: Vec<&String> = foreign.iter().map(|one| &one.what).collect();
        marks.insert("contents".into(), fingerprint(&what));
    }
    Ok(Look::There(There {
        id: found.uid,
        archived: false,
        marks,
        url: String::new(),
        refs: None,
        work,
        created_at: Some(found.created_at),
    }))
}
