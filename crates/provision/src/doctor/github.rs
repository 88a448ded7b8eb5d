//! GitHub: kind of token, scopes, expiry, rate budget, owner; and the same for what Gitea pushes with.

use forgeline_github::{Account, GitHub, TokenKind};
use forgeline_upstream::Error;
use jiff::{SignedDuration, Timestamp};

use super::{Check, Parts, Right};
use crate::refusal::{Need, Refusal};

/// A run makes about a dozen requests; below this many left it may not get through.
const FEW: u64 = 100;

fn refused(github: &GitHub, error: &Error, right: &str) -> Refusal {
    let origin = github.token().origin();
    let fix = format!(
        "put a GitHub token with {right} into {} (`gh auth refresh -h github.com -s repo,delete_repo` grants both)",
        origin.name()
    );
    Refusal::of(
        error,
        &Need {
            credential: &origin.to_string(),
            right,
            fix: &fix,
        },
    )
}

pub(super) async fn main(parts: &Parts, owner: Option<&str>) -> Vec<Check> {
    let Some(github) = &parts.github else {
        let why = "the configuration of GitHub is not whole";
        return vec![Check::skip("github.token", "GitHub token", why)];
    };
    let account = match github.account().await {
        Ok(account) => account,
        Err(error) => {
            let refusal = refused(github, &error, "the scopes `repo` and `delete_repo`");
            return vec![Check::refused("github.token", "GitHub token", &refusal)];
        }
    };
    let mut checks = vec![Check::ok(
        "github.token",
        "GitHub token",
        format!("{} of {}", account.kind, account.login),
    )];
    checks.extend(scopes(github, &account));
    checks.extend(expiry("github.expiry", github, &account));
    checks.extend(rate(&account));
    if let Some(clock) = account.clock {
        checks.push(super::clocks::check("GitHub", clock));
    }
    checks.push(owned(github, &account, owner).await);
    checks
}

fn scopes(github: &GitHub, account: &Account) -> Vec<Check> {
    let subject = "scopes of the GitHub token";
    let variable = github.token().origin().name().to_owned();
    let right = |right: &str, ok| Right {
        variable: variable.clone(),
        right: right.to_owned(),
        ok,
    };
    let Some(scopes) = &account.scopes else {
        let rights = vec![
            right("Administration write", None),
            right("Contents write", None),
        ];
        let detail = "GitHub does not tell the rights of this kind of token; it needs Administration and Contents write on the owner's repositories";
        return vec![
            Check::ok("github.scopes", subject, detail).with_rights(rights.clone()),
            Check::skip(
                "github.delete",
                "right to delete on GitHub",
                "cannot be told before it is used",
            ),
        ];
    };
    let has = |scope: &str| scopes.iter().any(|had| had == scope);
    let repo = if has("repo") {
        Check::ok("github.scopes", subject, scopes.join(", "))
    } else {
        Check {
            code: Some("github.missing_scope".into()),
            ..Check::fail(
                "github.scopes",
                subject,
                format!(
                    "{} lacks `repo`; it has {}",
                    github.token().origin(),
                    listed(scopes)
                ),
                "grant it with `gh auth refresh -h github.com -s repo` and put the token into GITHUB_PAT",
            )
        }
    };
    let delete = if has("delete_repo") {
        Check::ok(
            "github.delete",
            "right to delete on GitHub",
            "the token has `delete_repo`",
        )
    } else {
        Check::warn(
            "github.delete",
            "right to delete on GitHub",
            format!(
                "{} lacks `delete_repo`: what a failed run creates there it cannot delete again",
                github.token().origin()
            ),
            "grant it with `gh auth refresh -h github.com -s delete_repo` and put the token into GITHUB_PAT",
        )
    };
    vec![
        repo.with_rights(vec![right("repo", Some(has("repo")))]),
        delete.with_rights(vec![right("delete_repo", Some(has("delete_repo")))]),
    ]
}

fn listed(scopes: &[String]) -> String {
    if scopes.is_empty() {
        "none".to_owned()
    } else {
        scopes.join(", ")
    }
}

fn expiry(id: &str, github: &GitHub, account: &Account) -> Vec<Check> {
    let Some(at) = account.expires_at else {
        return vec![Check::ok(
            id,
            "expiry of the GitHub token",
            "GitHub names none",
        )];
    };
    let left = at.duration_since(Timestamp::now());
    let variable = github.token().origin().name();
    let remedy = format!("make a new token and put it into {variable}");
    vec![if left < SignedDuration::ZERO {
        Check::fail(
            id,
            "expiry of the GitHub token",
            format!("it expired at {at:.0}"),
            remedy,
        )
    } else if left < SignedDuration::from_hours(24 * 7) {
        Check::warn(
            id,
            "expiry of the GitHub token",
            format!("it expires at {at:.0}"),
            remedy,
        )
    } else {
        Check::ok(
            id,
            "expiry of the GitHub token",
            format!("it expires at {at:.0}"),
        )
    }]
}

fn rate(account: &Account) -> Vec<Check> {
    let subject = "rate budget on GitHub";
    match account.remaining {
        None => vec![Check::ok("github.rate", subject, "GitHub names no limit")],
        Some(left) if left < FEW => vec![Check::warn(
            "github.rate",
            subject,
            format!("{left} requests are left this hour"),
            "wait until the hour is over, or use another token for other work",
        )],
        Some(left) => vec![Check::ok(
            "github.rate",
            subject,
            format!("{left} requests are left this hour"),
        )],
    }
}

async fn owned(github: &GitHub, account: &Account, owner: Option<&str>) -> Check {
    let subject = "GitHub owner";
    let Some(owner) = owner else {
        return Check::warn(
            "github.owner",
            subject,
            "no default owner is configured, so every call must name one",
            "set FORGELINE_GITHUB_OWNER",
        );
    };
    if owner.eq_ignore_ascii_case(&account.login) {
        return Check::ok(
            "github.owner",
            subject,
            format!("{owner} is the token's own user"),
        );
    }
    match github.owner_exists(owner).await {
        Ok(true) => Check::ok(
            "github.owner",
            subject,
            format!(
                "{owner} exists; whether {} may create there shows when it does",
                account.login
            ),
        ),
        Ok(false) => Check {
            code: Some("github.not_found".into()),
            ..Check::fail(
                "github.owner",
                subject,
                format!("there is no user or organisation {owner}"),
                "correct FORGELINE_GITHUB_OWNER",
            )
        },
        Err(error) => Check::refused(
            "github.owner",
            subject,
            &refused(github, &error, "the scope `read:org`"),
        ),
    }
}

/// The token that Gitea pushes with.
pub(super) async fn mirror(parts: &Parts) -> Vec<Check> {
    let (id, subject) = ("github.mirror_token", "token for the mirror");
    let Some(github) = &parts.mirror else {
        return vec![Check::skip(
            id,
            subject,
            "the configuration of the mirror is not whole",
        )];
    };
    let account = match github.account().await {
        Ok(account) => account,
        Err(error) => {
            let origin = github.token().origin();
            let fix = format!(
                "put a GitHub token with the scopes `repo` and `workflow` into {}",
                origin.name()
            );
            let need = Need {
                credential: &origin.to_string(),
                right: "the scopes `repo` and `workflow`",
                fix: &fix,
            };
            return vec![Check::refused(id, subject, &Refusal::of(&error, &need))];
        }
    };
    if parts.mirror_is_main {
        return vec![Check::warn(
            id,
            subject,
            "Gitea gets the token that can delete repositories, and keeps it in clear text",
            "set GITHUB_MIRROR_TOKEN to a token with the scopes repo and workflow only, and unset FORGELINE_MIRROR_USE_PAT",
        )];
    }
    let mut checks = vec![mirror_scopes(github, &account, id, subject)];
    if account.expires_at.is_some() {
        checks.extend(expiry("github.mirror_expiry", github, &account));
    }
    checks
}

fn mirror_scopes(github: &GitHub, account: &Account, id: &str, subject: &str) -> Check {
    let Some(scopes) = &account.scopes else {
        let kind = account.kind;
        return if kind == TokenKind::Installation {
            Check::fail(
                id,
                subject,
                "an App installation token expires within the hour",
                "put a fine-grained or classic token into GITHUB_MIRROR_TOKEN",
            )
        } else {
            Check::ok(
                id,
                subject,
                format!(
                    "{kind} of {}; its rights show when Gitea pushes",
                    account.login
                ),
            )
        };
    };
    let has = |scope: &str| scopes.iter().any(|had| had == scope);
    if !has("repo") {
        return Check {
            code: Some("github.missing_scope".into()),
            ..Check::fail(
                id,
                subject,
                format!(
                    "{} lacks `repo`, so Gitea cannot push with it; it has {}",
                    github.token().origin(),
                    listed(scopes)
                ),
                "grant it `repo` and `workflow`, and put it into GITHUB_MIRROR_TOKEN",
            )
        };
    }
    if !has("workflow") {
        return Check::warn(
            id,
            subject,
            format!(
                "{} lacks `workflow`: GitHub refuses pushes with files below .github/workflows",
                github.token().origin()
            ),
            "grant it `workflow` as well",
        );
    }
    if has("delete_repo") {
        return Check::warn(
            id,
            subject,
            "it can delete repositories, and Gitea keeps it in clear text",
            "use a token with the scopes repo and workflow only",
        );
    }
    Check::ok(
        id,
        subject,
        format!(
            "{} of {} with {}",
            account.kind,
            account.login,
            scopes.join(", ")
        ),
    )
}
