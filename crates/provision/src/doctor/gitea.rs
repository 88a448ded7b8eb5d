//! Gitea and its gitea-mcp server.

use forgeline_gitea::{Gitea, Route, Scopes};
use forgeline_upstream::Error;

use super::{Check, Future, Parts, Right, clocks};
use crate::refusal::{Need, Refusal};

pub(super) fn checks<'a>(parts: &'a Parts, owner: Option<&'a str>) -> Vec<Future<'a>> {
    let Some(gitea) = &parts.gitea else {
        let why = "the configuration of Gitea is not whole";
        return vec![(
            "gitea",
            Box::pin(async move {
                vec![
                    Check::skip("gitea_mcp.reachable", "gitea-mcp", why),
                    Check::skip("gitea.reachable", "Gitea", why),
                ]
            }),
        )];
    };
    if gitea.rest_token().is_none() {
        return vec![("gitea_mcp.operations", Box::pin(server(gitea)))];
    }
    vec![
        ("gitea_mcp.reachable", Box::pin(server(gitea))),
        ("gitea.reachable", Box::pin(version(gitea))),
        ("gitea.identity", Box::pin(identity(gitea, owner))),
        ("gitea.scopes", Box::pin(scopes(gitea, owner))),
    ]
}

fn refused(gitea: &Gitea, error: &Error, right: &str) -> Refusal {
    let over_mcp = error.system == "gitea-mcp";
    let token = gitea.rest_token().filter(|_| !over_mcp);
    let token = token.unwrap_or(gitea.mcp_token());
    let variable = token.origin().name().to_owned();
    let fix = format!(
        "make a Gitea token with {right} (Settings, Applications) and put it into {variable}"
    );
    Refusal::of(
        error,
        &Need {
            credential: &token.origin().to_string(),
            right,
            fix: &fix,
        },
    )
}

/// The server is there, takes the bearer, and has or lacks what is needed.
async fn server(gitea: &Gitea) -> Vec<Check> {
    let subject = "gitea-mcp server";
    let (name, version, dialect) = match gitea.mcp_server().await {
        Ok(found) => found,
        Err(error) => {
            let right = "the right to call the server";
            let mut refusal = refused(gitea, &error, right);
            if matches!(error.status, Some(404 | 405)) {
                refusal.remedy =
                    "correct GITEA_MCP_URL: it is the server's MCP endpoint with its path, often /mcp".into();
            }
            return vec![Check::refused("gitea_mcp.reachable", subject, &refusal)];
        }
    };
    let detail = format!("{name} {version} takes the bearer (dialect {dialect})");
    let mut checks = vec![Check::ok("gitea_mcp.reachable", subject, detail)];
    let routes = match gitea.routes().await {
        Ok(routes) => routes,
        Err(error) => {
            let right = "the right to list tools";
            checks.push(Check::refused(
                "gitea_mcp.operations",
                subject,
                &refused(gitea, &error, right),
            ));
            return checks;
        }
    };
    let by = |wanted: fn(&Route) -> bool| -> Vec<String> {
        let found = routes.iter().filter(|(_, route)| wanted(route));
        found
            .map(|(operation, route)| match route {
                Route::Tool(tool) => format!("{operation} by {tool}"),
                Route::Rest | Route::Missing => (*operation).to_owned(),
            })
            .collect()
    };
    let missing = by(|route| *route == Route::Missing);
    let tools = by(|route| matches!(route, Route::Tool(_)));
    let rest = by(|route| *route == Route::Rest);
    checks.push(if missing.is_empty() {
        let detail = format!("tools: {}; REST: {}", tools.join(", "), rest.join(", "));
        Check::ok("gitea_mcp.operations", subject, detail)
    } else {
        let detail = format!(
            "{name} has no tool for {}, and REST is not configured",
            missing.join(", ")
        );
        Check {
            code: Some("gitea_mcp.operations_missing".into()),
            ..Check::fail(
                "gitea_mcp.operations",
                subject,
                detail,
                "set GITEA_URL and GITEA_TOKEN (or mend them, where they are said to be wrong): forgeline does over REST what the server cannot",
            )
        }
    });
    checks
}

async fn version(gitea: &Gitea) -> Vec<Check> {
    let (version, clock) = tokio::join!(gitea.version(), gitea.clock());
    let mut checks = Vec::new();
    match version {
        Ok(version) => {
            let numbers: Vec<u32> = version
                .split(['.', '+', '-'])
                .map_while(|part| part.parse().ok())
                .collect();
            let old = matches!(numbers.as_slice(), [1, minor, ..] if *minor < 22);
            checks.push(if old {
                Check::warn(
                    "gitea.reachable",
                    "Gitea",
                    format!("version {version} is older than 1.22, the oldest that forgeline is made for"),
                    "upgrade Gitea",
                )
            } else {
                Check::ok("gitea.reachable", "Gitea", format!("version {version}"))
            });
        }
        Err(error) => checks.push(Check::refused(
            "gitea.reachable",
            "Gitea",
            &refused(gitea, &error, "a token that is accepted"),
        )),
    }
    if let Ok(Some(clock)) = clock {
        checks.push(clocks::check("Gitea", clock));
    }
    checks
}

/// Both doors open for the same user, who may create and delete in the owner.
async fn identity(gitea: &Gitea, owner: Option<&str>) -> Vec<Check> {
    let user = match gitea.ask_user().await {
        Ok(user) => user,
        Err(error) => {
            let right = "the scope `read:user`";
            let mut refusal = refused(gitea, &error, right);
            if !error.is_unauthenticated() && error.kind == forgeline_upstream::Kind::Invalid {
                refusal.code = "gitea.identity".into();
                refusal.remedy =
                    "put tokens of the same user into GITEA_MCP_TOKEN and GITEA_TOKEN".into();
            }
            return vec![Check::refused("gitea.identity", "Gitea user", &refusal)];
        }
    };
    let both = if user.confirmed {
        "both doors open for"
    } else {
        "the gitea-mcp server cannot say whose token it uses; REST's is of"
    };
    let mut checks = vec![Check::ok(
        "gitea.identity",
        "Gitea user",
        format!("{both} {}", user.login),
    )];
    let Some(owner) = owner else {
        checks.push(Check::warn(
            "gitea.owner",
            "Gitea owner",
            "no default owner is configured, so every call must name one",
            "set FORGELINE_GITEA_OWNER",
        ));
        return checks;
    };
    let variable = gitea
        .rest_token()
        .map(|token| token.origin().name().to_owned())
        .unwrap_or_default();
    checks.push(match gitea.may_delete_in(owner).await {
        Ok(Some(true)) => Check::ok(
            "gitea.owner",
            "Gitea owner",
            format!("{} is at owner level in {owner}", user.login),
        )
        .with_rights(vec![Right {
            variable,
            right: format!("owner level in {owner} (to delete again)"),
            ok: Some(true),
        }]),
        Ok(Some(false)) => Check::warn(
            "gitea.owner",
            "Gitea owner",
            format!(
                "{} is below owner level in {owner}: what it creates there it cannot delete again",
                user.login
            ),
            format!("add {} to the Owners team of {owner}", user.login),
        )
        .with_rights(vec![Right {
            variable,
            right: format!("owner level in {owner} (to delete again)"),
            ok: Some(false),
        }]),
        Ok(None) => Check {
            code: Some("gitea.not_found".into()),
            ..Check::fail(
                "gitea.owner",
                "Gitea owner",
                format!("there is no user or organisation {owner} that this token sees"),
                "correct FORGELINE_GITEA_OWNER, or create the organisation",
            )
        },
        Err(error) => Check::refused(
            "gitea.owner",
            "Gitea owner",
            &refused(gitea, &error, "the scope `read:organization`"),
        ),
    });
    checks
}

async fn scopes(gitea: &Gitea, owner: Option<&str>) -> Vec<Check> {
    let subject = "scopes of the Gitea token";
    let token = gitea.rest_token().unwrap_or(gitea.mcp_token());
    let scopes = match gitea.scopes().await {
        Ok(scopes) => scopes,
        Err(error) => {
            return vec![Check::refused(
                "gitea.scopes",
                subject,
                &refused(gitea, &error, "a token that is accepted"),
            )];
        }
    };
    let user = gitea.user().await;
    let own =
        user.is_ok_and(|user| owner.is_some_and(|owner| owner.eq_ignore_ascii_case(&user.login)));
    let mut wanted = vec!["write:repository", "write:issue", "write:user"];
    if !own {
        wanted.push("write:organization");
    }
    let rights: Vec<Right> = wanted
        .iter()
        .map(|scope| Right {
            variable: token.origin().name().to_owned(),
            right: (*scope).to_owned(),
            ok: Some(scopes.has(scope)),
        })
        .collect();
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|scope| !scopes.has(scope))
        .collect();
    if !missing.is_empty() {
        let check = Check {
            code: Some("gitea.missing_scope".into()),
            ..Check::fail(
                "gitea.scopes",
                subject,
                format!("{} lacks {}", token.origin(), missing.join(", ")),
                format!(
                    "make a Gitea token with {} (Settings, Applications) and put it into {}",
                    wanted.join(", "),
                    token.origin().name()
                ),
            )
        };
        return vec![check.with_rights(rights)];
    }
    let how = match &scopes {
        Scopes::All => "the token has all scopes".to_owned(),
        Scopes::Told(told) => format!("the token has {}", told.join(", ")),
        Scopes::Probed(probed) => {
            let names: Vec<&str> = probed.iter().map(|(name, _)| *name).collect();
            format!(
                "this Gitea does not tell scopes; probes passed for {}",
                names.join(", ")
            )
        }
    };
    vec![Check::ok("gitea.scopes", subject, how).with_rights(rights)]
}

pub(super) async fn mirrors(parts: &Parts) -> Vec<Check> {
    let subject = "mirrors in Gitea";
    let Some(gitea) = parts
        .gitea
        .as_ref()
        .filter(|gitea| gitea.rest_token().is_some())
    else {
        let why = "REST is not configured";
        return vec![Check::skip("gitea.mirrors", subject, why)];
    };
    vec![match gitea.mirror_settings().await {
        Ok(settings) if settings.enabled => Check::ok("gitea.mirrors", subject, "switched on"),
        Ok(_) => Check::fail(
            "gitea.mirrors",
            subject,
            "switched off in Gitea's configuration",
            "set [mirror] ENABLED = true in Gitea's app.ini",
        ),
        Err(error) if error.kind == forgeline_upstream::Kind::NotFound => {
            Check::skip("gitea.mirrors", subject, "this Gitea does not tell")
        }
        Err(error) => Check::refused(
            "gitea.mirrors",
            subject,
            &refused(gitea, &error, "a token that is accepted"),
        ),
    }]
}

/// The infra repository can take a commit.
pub(super) async fn infra(parts: &Parts) -> Vec<Check> {
    let subject = "infra repository";
    let (Some(gitea), Some(name)) = (&parts.gitea, &parts.infra_repository) else {
        return vec![Check::skip(
            "infra.repository",
            subject,
            "the mode of infra needs none",
        )];
    };
    vec![match gitea.infra_base(name).await {
        Ok(Ok(base)) => Check::ok(
            "infra.repository",
            subject,
            format!("{name} takes commits on {base}"),
        ),
        Ok(Err(why)) => Check {
            code: Some("infra.repository_missing".into()),
            ..Check::fail(
                "infra.repository",
                subject,
                why,
                "create it with a first commit, un-archive it, or correct FORGELINE_INFRA_REPOSITORY",
            )
        },
        Err(error) => Check::refused(
            "infra.repository",
            subject,
            &refused(gitea, &error, "the scope `read:repository`"),
        ),
    }]
}
