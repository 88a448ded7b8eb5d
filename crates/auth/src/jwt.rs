//! Callers with a token of an OIDC issuer.

mod header;
mod issuer;
mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::Validation;
use serde::Deserialize;
use serde_json::{Map, Value};

pub use issuer::{Discovered, Issuer, Times, issuer_address};

use crate::bearer::LONGEST;
use crate::caller::{Caller, Person, Scope, Via};
use crate::strict_json::strict_json;
use issuer::Found;

/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 30;

/// Which tokens are taken, and what their claims mean.
#[derive(Clone, Debug)]
pub struct Claims {
    /// A token is for us when its `aud` holds one of these. Never empty.
    pub audiences: Vec<String>,
    /// The claim that names the user in Gitea.
    pub user: String,
    /// The claim that lists groups.
    pub groups: String,
    /// Subjects that are programs; everybody else is a person.
    pub services: BTreeSet<String>,
    /// Scopes of the members of a group, beside those of the claim `scope`.
    pub of_groups: BTreeMap<String, BTreeSet<Scope>>,
}

/// Judges tokens of one issuer. Cheap to clone.
#[derive(Clone)]
pub struct Jwt {
    issuer: Arc<Issuer>,
    claims: Arc<Claims>,
}

/// Why a token was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is wrong; the reason is for the audit alone.
    Invalid(String),
    /// The issuer's keys are not known; ask again after this time.
    Unavailable(Duration),
}

impl From<&str> for Refused {
    fn from(why: &str) -> Self {
        Self::Invalid(why.to_owned())
    }
}

#[derive(Deserialize)]
struct Standard {
    sub: String,
    exp: u64,
    iat: Option<u64>,
    nbf: Option<u64>,
}

impl Jwt {
    /// A judge of this issuer's tokens.
    pub fn new(issuer: Arc<Issuer>, claims: Claims) -> Self {
        Self {
            issuer,
            claims: Arc::new(claims),
        }
    }

    /// Whose tokens these are.
    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    /// Whose token this is. No request is made for it, unless it names a key that is not known.
    ///
    /// # Errors
    /// It is not to be taken, or cannot be judged now.
    pub async fn caller(&self, token: &str) -> Result<Caller, Refused> {
        if token.len() > LONGEST {
            return Err("token too long".into());
        }
        let kid = header::kid(token)?;
        let found = match self.issuer.find(&kid).await {
            Found::Key(found) => found,
            Found::Unknown => return Err("unknown kid".into()),
            Found::Unavailable => return Err(Refused::Unavailable(self.issuer.patience())),
        };
        let key = found.key();
        let mut wanted = Validation::new(key.algorithm);
        wanted.leeway = LEEWAY;
        wanted.validate_nbf = true;
        wanted.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        wanted.set_issuer(&[&self.issuer.name()]);
        wanted.set_audience(&self.claims.audiences);
        jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &wanted)
            .map_err(|error| Refused::Invalid(format!("{:?}", error.kind())))?;
        self.judge(token)
    }

    /// The claims of a token whose signature, issuer, audience and times hold.
    fn judge(&self, token: &str) -> Result<Caller, Refused> {
        let payload = token.split('.').nth(1).unwrap_or_default();
        let bytes = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| Refused::from("payload is no base64url"))?;
        let value = strict_json(&bytes).map_err(|_| Refused::from("payload is no strict JSON"))?;
        if !value["iss"].is_string() || !matches!(value["aud"], Value::String(_) | Value::Array(_))
        {
            return Err("iss or aud of another form".into());
        }
        let standard =
            Standard::deserialize(&value).map_err(|_| Refused::from("a claim of another form"))?;
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
        if standard.iat.is_some_and(|iat| iat > now + LEEWAY) {
            return Err("iat in the future".into());
        }
        if standard.nbf.is_some_and(|nbf| nbf > now + LEEWAY)
            || standard.exp.saturating_add(LEEWAY) < now
        {
            return Err("not now".into());
        }
        if standard.sub.is_empty() || standard.sub.chars().any(char::is_control) {
            return Err("sub empty or with control characters".into());
        }
        Ok(self.caller_of(&standard.sub, &value))
    }

    fn caller_of(&self, sub: &str, claims: &Value) -> Caller {
        let groups = claims[&self.claims.groups].as_array();
        let groups: Vec<String> = groups
            .into_iter()
            .flatten()
            .filter_map(|group| group.as_str().map(str::to_owned))
            .collect();
        // Exact words, separated by spaces; anything else grants nothing.
        let words = claims["scope"].as_str().unwrap_or_default().split(' ');
        let mut scopes: BTreeSet<Scope> = words.filter_map(Scope::parse).collect();
        for group in &groups {
            scopes.extend(self.claims.of_groups.get(group).into_iter().flatten());
        }
        let person = !self.claims.services.contains(sub);
        let user = claims[&self.claims.user].as_str();
        let user = user.filter(|user| is_user_name(user)).map(str::to_owned);
        Caller {
            groups,
            person: person.then_some(Person { gitea_user: user }),
            ..Caller::new(format!("oidc:{sub}"), Via::Jwt, scopes)
        }
    }
}

/// What Gitea takes as a user name; nothing else may become a part of a path.
fn is_user_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=40).contains(&name.len()) && name.bytes().all(plain) && name.bytes().any(|b| b != b'.')
}
