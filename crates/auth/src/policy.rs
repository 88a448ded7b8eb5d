//! A policy in Cedar: beside the scopes, who may call which tool for which project. Without one, scopes decide alone; with
//! one, what no `permit` names is refused.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Context, Decision as Cedar, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, RestrictedExpression, Schema, ValidationMode, Validator,
};

use crate::caller::{Caller, Scope};

/// What a call is about. For a call about many projects every text is empty and the name is `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The project's name.
    pub project: String,
    /// Its owners in Gitea and on GitHub, in lower case.
    pub owners: Vec<String>,
    /// Its namespace.
    pub namespace: String,
    /// It ends by itself, or will.
    pub throwaway: bool,
    /// How long the call lets it last, in hours, rounded up; 0 where the call does not say.
    pub ttl_hours: i64,
    /// The call only plans.
    pub plan: bool,
}

impl About {
    /// A call about no project, or about many.
    pub fn everything() -> Self {
        Self {
            project: "*".into(),
            ..Self::default()
        }
    }
}

/// The tools that a policy may speak of.
pub type Tools = [(String, Scope)];

/// A policy that was checked against its schema.
pub struct Policy {
    policies: PolicySet,
    schema: Schema,
}

/// What a policy says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The call may be made.
    pub allowed: bool,
    /// The policies that decided, by their `@id` or their place in the file. Empty: no `permit` names the call.
    pub because: Vec<String>,
    /// Policies that could not be evaluated; with any of them the call is refused.
    pub errors: Vec<String>,
}

impl Policy {
    /// Reads a policy and checks it against the schema of these tools.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn parse(text: &str, tools: &Tools) -> Result<Self, Vec<String>> {
        let policies = PolicySet::from_str(text).map_err(|errors| {
            errors
                .iter()
                .map(|error| located(text, error))
                .collect::<Vec<_>>()
        })?;
        let (schema, _) = Schema::from_cedarschema_str(&schema(tools))
            .map_err(|error| vec![format!("the schema of the tools: {error}")])?;
        let checked = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        if !checked.validation_passed() {
            return Err(checked
                .validation_errors()
                .map(ToString::to_string)
                .collect());
        }
        Ok(Self { policies, schema })
    }

    /// Whether the caller may call this tool for that. A call that cannot be put to the policy is refused.
    pub fn decide(&self, caller: &Caller, tool: &str, about: &About) -> Decision {
        let refused = |why: String| Decision {
            allowed: false,
            because: Vec::new(),
            errors: vec![why],
        };
        let (request, entities) = match self.put(caller, tool, about) {
            Ok(put) => put,
            Err(why) => return refused(why),
        };
        let answer = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        let named = answer.diagnostics().reason().map(|id| {
            let name = self.policies.annotation(id, "id");
            name.map_or_else(|| id.to_string(), str::to_owned)
        });
        let mut because: Vec<String> = named.collect();
        because.sort();
        let errors = answer.diagnostics().errors().map(ToString::to_string);
        let errors: Vec<String> = errors.collect();
        Decision {
            // Cedar passes over what it cannot evaluate, which may be the `forbid` that matters.
            allowed: answer.decision() == Cedar::Allow && errors.is_empty(),
            because,
            errors,
        }
    }

    fn put(
        &self,
        caller: &Caller,
        tool: &str,
        about: &About,
    ) -> Result<(Request, Entities), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let groups: HashSet<EntityUid> = caller
            .groups
            .iter()
            .map(|group| uid("Group", group))
            .collect();
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let set = |texts: &mut dyn Iterator<Item = &str>| {
            RestrictedExpression::new_set(texts.map(text).collect::<Vec<_>>())
        };
        let mut scopes = caller.scopes.iter().map(|scope| scope.as_str());
        let principal = Entity::new(
            uid("Caller", &caller.name),
            HashMap::from([
                ("via".to_owned(), text(caller.via.as_str())),
                ("scopes".to_owned(), set(&mut scopes)),
            ]),
            groups.clone(),
        );
        let mut owners = about.owners.iter().map(String::as_str);
        let resource = Entity::new(
            uid("Project", &about.project),
            HashMap::from([
                ("name".to_owned(), text(&about.project)),
                ("owners".to_owned(), set(&mut owners)),
                ("namespace".to_owned(), text(&about.namespace)),
                (
                    "throwaway".to_owned(),
                    RestrictedExpression::new_bool(about.throwaway),
                ),
                (
                    "ttl_hours".to_owned(),
                    RestrictedExpression::new_long(about.ttl_hours),
                ),
            ]),
            HashSet::new(),
        );
        let (principal, resource) = (
            principal.map_err(|error| said(&error))?,
            resource.map_err(|error| said(&error))?,
        );
        let plan = RestrictedExpression::new_bool(about.plan);
        let context =
            Context::from_pairs([("plan".to_owned(), plan)]).map_err(|error| said(&error))?;
        let request = Request::new(
            principal.uid(),
            uid("Action", tool),
            resource.uid(),
            context,
            Some(&self.schema),
        );
        let groups = groups.into_iter().map(Entity::with_uid);
        let entities = [principal, resource].into_iter().chain(groups);
        let entities = Entities::from_entities(entities, Some(&self.schema));
        Ok((
            request.map_err(|error| said(&error))?,
            entities.map_err(|error| said(&error))?,
        ))
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Policy")
    }
}

fn uid(of: &str, id: &str) -> EntityUid {
    match EntityTypeName::from_str(of) {
        Ok(of) => EntityUid::from_type_name_and_id(of, EntityId::new(id)),
        Err(_) => unreachable!("the names of types are constants that can be read"),
    }
}

/// A mistake with its line.
fn located(text: &str, error: &dyn miette::Diagnostic) -> String {
    let label = error.labels().and_then(|mut labels| labels.next());
    match label {
        Some(label) => {
            let before = text.get(..label.offset().min(text.len())).unwrap_or(text);
            format!("line {}: {error}", before.matches('\n').count() + 1)
        }
        None => error.to_string(),
    }
}

/// What policies are checked against, in Cedar's schema language.
pub fn schema(tools: &Tools) -> String {
    let mut text = SCHEMA.trim_start().to_owned();
    for (tool, scope) in tools {
        let group = scope.as_str().trim_start_matches("forgeline:");
        text.push_str(&format!(
            "action \"{tool}\" in [\"{group}\"] appliesTo {{ principal: [Caller], resource: [Project], context: {{ plan: Bool }} }};\n"
        ));
    }
    text
}

const SCHEMA: &str = r#"
// What a policy of forgeline may speak of; `forgeline policy schema` prints it for the tools of this configuration.

// The groups claim of a caller's token.
entity Group;
// Who calls: svc:NAME, oidc:SUBJECT, local:USER, project:NAME:PREFIX. `via`: static, jwt, local, project.
entity Caller in [Group] = { via: String, scopes: Set<String> };
// What the call is about, as its run would hold it and as the project holds it already: owners on both forges, in lower case.
// A call about many projects has the name "*". `ttl_hours`: 0 where the call names no ttl.
entity Project = { name: String, owners: Set<String>, namespace: String, throwaway: Bool, ttl_hours: Long };

// The scopes that tools need. `context.plan`: the call only plans, and needs read.
action "read";
action "create";
action "delete";
action "admin";
"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::caller::Via;

    fn tools() -> Vec<(String, Scope)> {
        [
            ("project_create", Scope::Create),
            ("project_delete", Scope::Delete),
            ("project_status", Scope::Read),
        ]
        .map(|(name, scope)| (name.to_owned(), scope))
        .to_vec()
    }

    const POLICY: &str = r#"
        @id("the router makes test projects of acme")
        permit (principal == Caller::"svc:router", action == Action::"project_create", resource)
        when { resource.name like "test-*" && resource.owners.contains("acme") };
        @id("the router deletes throwaways")
        permit (principal == Caller::"svc:router", action in Action::"delete", resource) when { resource.throwaway };
        @id("platform does everything")
        permit (principal in Group::"platform", action, resource);
    "#;

    fn decided(caller: &Caller, tool: &str, about: &About) -> Decision {
        Policy::parse(POLICY, &tools())
            .unwrap()
            .decide(caller, tool, about)
    }

    #[test]
    fn what_no_permit_names_is_refused_and_the_reason_is_named() {
        let router = Caller::new("svc:router", Via::Static, BTreeSet::from([Scope::Admin]));
        let test = About {
            project: "test-a".into(),
            owners: vec!["acme".into()],
            ..About::default()
        };
        let may = decided(&router, "project_create", &test);
        assert_eq!(may.because, ["the router makes test projects of acme"]);
        assert!(may.allowed && may.errors.is_empty(), "{may:?}");
        let other = About {
            project: "shop".into(),
            ..test.clone()
        };
        assert!(!decided(&router, "project_create", &other).allowed);
        let elsewhere = About {
            owners: vec!["others".into()],
            ..test.clone()
        };
        assert!(!decided(&router, "project_create", &elsewhere).allowed);
        assert!(!decided(&router, "project_delete", &test).allowed);
        let throwaway = About {
            throwaway: true,
            ..other
        };
        assert!(decided(&router, "project_delete", &throwaway).allowed);
        assert!(!decided(&router, "project_status", &test).allowed);
        assert!(!decided(&router, "nosuch", &test).allowed);
        let member = Caller {
            groups: vec!["platform".into()],
            ..Caller::new("oidc:ada", Via::Jwt, BTreeSet::new())
        };
        assert!(decided(&member, "project_delete", &test).allowed);
    }

    #[test]
    fn a_policy_that_cannot_be_evaluated_refuses_the_call() {
        let overflow = "permit (principal, action, resource); \
            forbid (principal, action, resource) when { resource.ttl_hours * 9000000000000000000 > 1 };";
        let policy = Policy::parse(overflow, &tools()).unwrap();
        let caller = Caller::new("svc:x", Via::Static, BTreeSet::new());
        let about = |ttl_hours| About {
            ttl_hours,
            ..About::everything()
        };
        assert!(policy.decide(&caller, "project_status", &about(0)).allowed);
        let refused = policy.decide(&caller, "project_status", &about(9));
        assert!(
            !refused.allowed && !refused.errors.is_empty(),
            "{refused:?}"
        );
    }

    #[test]
    fn a_policy_with_mistakes_is_refused_with_all_of_them() {
        let bad = Policy::parse("permit (principal, action, resource) when { resource.nmae == \"x\" };\npermit (principal, action == Action::\"nosuch\", resource);", &tools()).unwrap_err();
        assert!(bad.len() >= 2, "{bad:?}");
        let broken = Policy::parse("\npermit (", &tools()).unwrap_err();
        assert!(broken[0].starts_with("line 2"), "{broken:?}");
    }
}
