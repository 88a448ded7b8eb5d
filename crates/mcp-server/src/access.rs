//! Whether a call may be made, beyond its scope: the one project of a credential, the policy, the person's own right; and
//! the lines of the audit log around it.

use std::collections::BTreeSet;
use std::sync::Arc;

use forgeline_auth::audit::{AuditLog, Entry, Phase};
use forgeline_auth::policy::{About, Policy};
use forgeline_auth::{Caller, Fingerprints, PROJECT_TOOLS, ProjectTokens, Scope};
use forgeline_provision::{ErrorView, FullName, Held, ProjectFacts, Provisioner, RunFacts, Wish};
use rmcp::model::JsonObject;
use serde_json::Value;

/// What decides about calls, and what remembers them.
#[derive(Clone)]
pub struct Access {
    /// The audit log.
    pub audit: AuditLog,
    /// `None`: scopes decide alone.
    pub policy: Option<Arc<Policy>>,
    /// The credentials of projects.
    pub project_tokens: ProjectTokens,
    /// The key for digests of arguments.
    pub fingerprints: Fingerprints,
    /// Nothing is changed, whoever calls.
    pub read_only: bool,
}

/// A call, as it is decided about.
pub(crate) struct Asked<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) tool: &'a str,
    pub(crate) given: &'a JsonObject,
    /// The scope that it needs.
    pub(crate) needed: Scope,
    /// The tool is a workflow.
    pub(crate) is_workflow: bool,
}

/// What a call is about.
enum Subject {
    Project(ProjectFacts),
    /// A run, and its project as far as it has one.
    Run(RunFacts, ProjectFacts),
    /// Many projects; a plan of them where one is applied.
    Many(Option<RunFacts>),
    Nothing,
}

impl Asked<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).and_then(Value::as_str)
    }

    fn plans(&self) -> bool {
        self.needed == Scope::Read
    }

    async fn subject(&self, provisioner: &Provisioner) -> Result<Subject, ErrorView> {
        if self.is_workflow {
            let facts = provisioner.facts_of_call(self.tool, self.given).await?;
            return Ok(Subject::Project(facts));
        }
        let of_run = async |run: &str| -> Result<Subject, ErrorView> {
            match provisioner.facts_of_run(run).await? {
                Some(run) => {
                    let project = provisioner.facts(&run.subject).await?;
                    Ok(Subject::Run(run, project))
                }
                None => Ok(Subject::Nothing),
            }
        };
        match self.tool {
            "cleanup_test_repos" | "mirror_rotate" => match self.text("plan_id") {
                Some(plan) => Ok(Subject::Many(provisioner.facts_of_run(plan).await?)),
                None => Ok(Subject::Many(None)),
            },
            "project_list" | "doctor" => Ok(Subject::Many(None)),
            _ => match (self.text("run_id"), self.text("project")) {
                (Some(run), _) => of_run(run).await,
                (None, Some(project)) => Ok(Subject::Project(provisioner.facts(project).await?)),
                (None, None) => Ok(Subject::Nothing),
            },
        }
    }
}

impl Access {
    /// Whether the call may be made.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(crate) async fn admit(
        &self,
        provisioner: &Provisioner,
        asked: &Asked<'_>,
    ) -> Result<(), ErrorView> {
        let caller = asked.caller;
        if caller.project.is_none() && self.policy.is_none() && caller.person.is_none() {
            return Ok(());
        }
        let subject = asked.subject(provisioner).await?;
        of_own_project(asked, &subject)?;
        if caller.person.is_some() && asked.given.get("adopt") == Some(&true.into()) {
            may_adopt(caller)?;
        }
        self.within_policy(asked, &subject)?;
        if let Some(person) = &caller.person
            && let Some(wishes) = wishes(asked, &subject, provisioner)
        {
            let user = person.gitea_user.as_deref();
            provisioner.person_may(user, &wishes).await?;
        }
        Ok(())
    }

    fn within_policy(&self, asked: &Asked<'_>, subject: &Subject) -> Result<(), ErrorView> {
        let Some(policy) = &self.policy else {
            return Ok(());
        };
        // A credential does nothing that its maker may not do either.
        let maker = asked.caller.project.as_ref().map(|own| &*own.maker);
        let abouts = about(asked, subject);
        let callers = [Some(asked.caller), maker].into_iter().flatten();
        let decided = callers.flat_map(|caller| {
            let decide = move |about| policy.decide(caller, asked.tool, about);
            abouts.iter().map(decide)
        });
        let mut refused = None;
        for decision in decided {
            for error in &decision.errors {
                tracing::warn!(%error, tool = asked.tool, "a policy could not be evaluated, so the call is refused");
            }
            if !decision.allowed {
                refused = Some(decision);
            }
        }
        let Some(decision) = refused else {
            return Ok(());
        };
        let why = match decision.because.as_slice() {
            _ if !decision.errors.is_empty() => {
                format!(
                    "{} cannot be judged: {}",
                    asked.tool,
                    decision.errors.join("; ")
                )
            }
            [] => format!("no policy permits {} to {}", asked.tool, asked.caller.name),
            forbidden => format!("{} is forbidden by: {}", asked.tool, forbidden.join("; ")),
        };
        let remedy = "ask the operator; `forgeline policy check` explains a decision";
        Err(ErrorView::new("policy.denied", why, remedy))
    }

    /// Announces a call that may change something; it is durable when this returns. `None`: the call only looks.
    ///
    /// # Errors
    /// The log cannot be written, so the call is not made.
    pub(crate) async fn announce(&self, asked: &Asked<'_>) -> Result<Option<Entry>, ErrorView> {
        if asked.plans() {
            return Ok(None);
        }
        let entry = self.entry(Phase::Intent, asked);
        let written = self.audit.write(entry.clone()).await;
        written.map_err(|error| {
            let remedy =
                "make that directory writable, or set FORGELINE_DATA_DIR to another one: forgeline changes nothing that it cannot record";
            ErrorView::new("audit.unwritable", error.to_string(), remedy)
        })?;
        Ok(Some(entry))
    }

    /// Says how an announced call ended.
    pub(crate) async fn ended(&self, announced: Entry, failed: bool) {
        let decision = if failed { "failed" } else { "done" };
        let outcome = Entry {
            phase: Phase::Outcome,
            decision: decision.into(),
            ..announced
        };
        // It is done; that its line is missing shows as an intent without an outcome.
        let _ = self.audit.write(outcome).await;
    }

    /// Remembers a refusal.
    pub(crate) fn refused(&self, asked: &Asked<'_>, why: &str) {
        self.audit.note_now_and_then(Entry {
            decision: "refused".into(),
            reason: why.to_owned(),
            ..self.entry(Phase::Deny, asked)
        });
    }

    fn entry(&self, phase: Phase, asked: &Asked<'_>) -> Entry {
        let arguments = serde_json::to_string(asked.given).unwrap_or_default();
        let names = ["name", "project", "run_id", "plan_id"];
        let target = names.iter().find_map(|name| asked.text(name));
        Entry {
            via: asked.caller.via.as_str().into(),
            tool: asked.tool.to_owned(),
            target: target.unwrap_or_default().to_owned(),
            args: format!("hmac:{}", self.fingerprints.of("arguments", &arguments)),
            decision: "allowed".into(),
            ..Entry::of(phase, &asked.caller.name)
        }
    }
}

/// A project's credential calls its few tools for that project, as long as it is the one that it was made for.
fn of_own_project(asked: &Asked<'_>, subject: &Subject) -> Result<(), ErrorView> {
    let Some(own) = &asked.caller.project else {
        return Ok(());
    };
    let facts = match subject {
        Subject::Project(facts) | Subject::Run(_, facts) => Some(facts),
        Subject::Many(_) | Subject::Nothing => None,
    };
    let same = facts.is_some_and(|facts| {
        facts.project == own.name && facts.since.as_deref() == Some(own.since.as_str())
    });
    if same && PROJECT_TOOLS.contains(&asked.tool) {
        return Ok(());
    }
    let why = format!(
        "this credential is for {} of the project `{}` as it was made in run {}",
        PROJECT_TOOLS.join(", "),
        own.name,
        own.since
    );
    let remedy = "name that project, or use another bearer";
    Err(ErrorView::new("caller.not_permitted", why, remedy))
}

/// What is adopted is nobody's to ask about beforehand.
fn may_adopt(caller: &Caller) -> Result<(), ErrorView> {
    if caller.may(Scope::Admin) {
        return Ok(());
    }
    let why = "adopt takes over what is not this project's, which a person may order only with forgeline:admin";
    let remedy = "leave adopt out, or ask an operator";
    Err(ErrorView::new("caller.not_permitted", why, remedy))
}

/// What the policy is asked about: once for each namespace, and all must be permitted.
fn about(asked: &Asked<'_>, subject: &Subject) -> Vec<About> {
    let plan = asked.plans();
    let (facts, more) = match subject {
        Subject::Project(facts) => (facts, None),
        Subject::Run(run, facts) => (facts, Some(&run.held)),
        Subject::Many(_) | Subject::Nothing => {
            return vec![About {
                plan,
                ..About::everything()
            }];
        }
    };
    let held = || [&facts.held, &facts.wanted].into_iter().chain(more);
    let owners: BTreeSet<String> = held().flat_map(Held::owners).collect();
    let mut namespaces: BTreeSet<String> =
        held().flat_map(|held| held.namespaces.clone()).collect();
    if namespaces.is_empty() {
        namespaces.insert(String::new());
    }
    let ttl = asked.text("ttl").and_then(forgeline_provision::duration);
    let hours = ttl.map_or(0, |ttl| ttl.as_secs().div_ceil(3600));
    let one = |namespace| About {
        project: facts.project.clone(),
        owners: owners.iter().cloned().collect(),
        namespace,
        throwaway: facts.throwaway,
        ttl_hours: i64::try_from(hours).unwrap_or(i64::MAX),
        plan,
    };
    namespaces.into_iter().map(one).collect()
}

/// What a person must be allowed in Gitea for this call. `None`: nothing in it is anybody's.
fn wishes(asked: &Asked<'_>, subject: &Subject, provisioner: &Provisioner) -> Option<Vec<Wish>> {
    let default = provisioner.default_owner().unwrap_or_default();
    let mut wishes = match (asked.tool, subject) {
        ("project_list" | "doctor", _) | (_, Subject::Nothing) => return None,
        (_, Subject::Many(_)) if asked.plans() => return None,
        (_, Subject::Many(plan)) => {
            let plan = plan.as_ref().map(|plan| everything(&plan.held, default));
            plan.unwrap_or_default()
        }
        // Whoever asked for a run may follow and stop it as long as it could be asked for again.
        (_, Subject::Run(run, _)) if run.caller == asked.caller.name && !run.removes => {
            run.held.gitea.iter().map(to_create).collect()
        }
        (_, Subject::Run(run, _)) => {
            let wish = if asked.plans() {
                Wish::Look
            } else {
                Wish::Remove
            };
            run.held.gitea.iter().cloned().map(wish).collect()
        }
        (_, Subject::Project(facts)) if asked.is_workflow => to_run(facts, default),
        (tool, Subject::Project(facts)) => {
            let wish = match (asked.plans(), tool) {
                (true, _) => Wish::Look,
                (false, "project_delete") => Wish::Remove,
                (false, _) => Wish::Change,
            };
            facts.held.gitea.iter().cloned().map(wish).collect()
        }
    };
    if wishes.is_empty() {
        // Nothing of it is in Gitea: whoever decides about everything there may decide about this too.
        wishes.push(Wish::Everything(default.to_owned()));
    }
    Some(wishes)
}

fn to_create(name: &FullName) -> Wish {
    Wish::CreateIn(name.owner().to_owned())
}

/// To run a workflow: to make or change what it would hold, to change what the project has, to read its templates.
fn to_run(facts: &ProjectFacts, default: &str) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = facts
        .wanted
        .gitea
        .iter()
        .cloned()
        .map(Wish::Change)
        .collect();
    let change = if facts.public {
        Wish::Remove
    } else {
        Wish::Change
    };
    wishes.extend(facts.held.gitea.iter().cloned().map(change));
    if facts.held.gitea.is_empty() && !facts.held.github.is_empty() {
        // What is left of an earlier project has nobody in Gitea who could be asked.
        wishes.push(Wish::Everything(default.to_owned()));
    }
    let nobody = || Wish::CreateIn(String::new());
    let templates = facts.templates.iter().cloned();
    wishes.extend(templates.map(|name| name.map_or_else(nobody, Wish::Look)));
    wishes
}

/// To apply a plan over many projects: to decide about everything of every owner in Gitea that it touches, and, for what
/// is elsewhere, about everything of the default one.
fn everything(held: &Held, default: &str) -> Vec<Wish> {
    let named = held.gitea.iter().chain(&held.branches);
    let mut owners: BTreeSet<String> = named.map(|name| name.owner().to_lowercase()).collect();
    if owners.is_empty() || !held.github.is_empty() || !held.namespaces.is_empty() {
        owners.insert(default.to_owned());
    }
    owners.into_iter().map(Wish::Everything).collect()
}
