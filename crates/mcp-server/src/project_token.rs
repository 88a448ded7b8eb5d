//! Credentials of single projects: made with a project, given anew, taken back.

use forgeline_auth::{Caller, Minted, ProjectTokens};
use forgeline_provision::{Access, ErrorView, Provisioner, RunView};
use forgeline_step_engine::RunState;
use serde::Serialize;

/// What `project_token` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct TokenAnswer {
    /// The project.
    pub project: String,
    /// The new credential, shown once. `None`: it was taken back, or there is an error.
    pub access: Option<Access>,
    /// Why nothing was done.
    pub error: Option<ErrorView>,
}

/// What is done with a project's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A new one; the old one no longer counts.
    Rotate,
    /// None any more.
    Revoke,
}

impl Action {
    /// Reads `rotate` or `revoke`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "rotate" => Some(Self::Rotate),
            "revoke" => Some(Self::Revoke),
            _ => None,
        }
    }
}

/// Gives a project's credential anew, or takes it back. A new one allows nothing that `by` may not do.
pub async fn act(
    provisioner: &Provisioner,
    tokens: &ProjectTokens,
    by: &Caller,
    project: &str,
    action: Action,
) -> TokenAnswer {
    let done = match action {
        Action::Rotate => mint(provisioner, tokens, by, project).await.map(Some),
        Action::Revoke => match tokens.revoke(project) {
            Ok(true) => Ok(None),
            Ok(false) => Err(ErrorView::new(
                "project.unknown",
                format!("the project `{project}` has no credential"),
                "nothing is to be done",
            )),
            Err(error) => Err(unstored(&error)),
        },
    };
    let (access, error) = match done {
        Ok(access) => (access, None),
        Err(error) => (None, Some(error)),
    };
    TokenAnswer {
        project: project.to_owned(),
        access,
        error,
    }
}

/// Adds the credential that a caller of `project_create` asked for. A failure is a warning: the project is there.
pub async fn issue(
    provisioner: &Provisioner,
    tokens: &ProjectTokens,
    by: &Caller,
    view: &mut RunView,
) {
    let Some(project) = view.project.clone() else {
        return;
    };
    let later = format!("`forgeline token rotate {project}` makes one (tool project_token)");
    match view.state {
        Some(RunState::Succeeded) => match mint(provisioner, tokens, by, &project).await {
            Ok(access) => view.access = Some(access),
            Err(error) => view.warnings.push(format!(
                "no credential was made: {}; {later}",
                error.message
            )),
        },
        Some(state) if state.is_live() => {
            let why = "no credential is made before the run has succeeded";
            view.warnings.push(format!("{why}; afterwards {later}"));
        }
        _ => {}
    }
}

async fn mint(
    provisioner: &Provisioner,
    tokens: &ProjectTokens,
    by: &Caller,
    project: &str,
) -> Result<Access, ErrorView> {
    let facts = provisioner.facts(project).await?;
    let state = provisioner.status(Some(project), None, None).await.state;
    let Some(since) = facts.since.filter(|_| state == Some(RunState::Succeeded)) else {
        return Err(ErrorView::new(
            "project.unknown",
            format!("there is no finished project `{project}` in this journal"),
            "look at `forgeline status`",
        ));
    };
    let minted = tokens
        .mint(project, &since, by)
        .map_err(|error| unstored(&error))?;
    Ok(shown(&minted))
}

fn shown(minted: &Minted) -> Access {
    let scopes = minted.scopes.iter();
    Access {
        token: minted.token.clone(),
        scopes: scopes.map(|scope| scope.as_str().to_owned()).collect(),
        expires_at: format!("{:.0}", minted.expires_at),
    }
}

fn unstored(error: &forgeline_auth::StoreError) -> ErrorView {
    let remedy = "make the data directory writable, or mend that file";
    ErrorView::new("project_token.unwritable", error.to_string(), remedy)
}
