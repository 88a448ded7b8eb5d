//! Forged tokens: none is taken, and no request leaves because of one.

use std::collections::{BTreeMap, BTreeSet};

use forgeline_auth::{Claims, Issuer as Known, Jwt, Times};
use forgeline_upstream::http::{Trust, reqwest_client};

use super::issuer::{Issuer, Key, cases};

pub(crate) const AUDIENCE: &str = "http://127.0.0.1:3210/mcp";

pub(crate) fn judge(issuer: &Issuer, times: Times) -> Jwt {
    let http = reqwest_client(&Trust::default()).unwrap();
    let claims = Claims {
        audiences: vec![AUDIENCE.into()],
        user: "preferred_username".into(),
        groups: "groups".into(),
        services: BTreeSet::new(),
        of_groups: BTreeMap::new(),
    };
    Jwt::new(Known::new(&issuer.url, http, times), claims)
}

#[tokio::test]
async fn every_forged_token_is_refused_and_every_good_one_is_taken() {
    let (a, b) = (Key::new(), Key::new());
    let issuer = Issuer::start(vec![a.jwk("k1")]).await;
    let jwt = judge(&issuer, Times::default());
    let all = cases(&issuer.url, AUDIENCE, &a, &b);
    assert!(all.len() >= 65, "{}", all.len());
    for case in &all {
        let taken = jwt.caller(&case.token).await;
        assert_eq!(taken.is_ok(), case.good, "{}: {taken:?}", case.name);
    }
    // The first one, and the first with an unknown kid; the others met the cool-down.
    assert!(issuer.fetched() <= 2, "{}", issuer.fetched());
}
