//! How long the check of a token takes: `cargo bench -p forgeline-auth --bench jwt`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../tests/it/issuer.rs"]
mod issuer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use forgeline_auth::{Claims, Issuer, Jwt, Times};
use forgeline_upstream::http::{Trust, reqwest_client};

const CHECKS: usize = 20_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let key = issuer::Key::new();
    let stand_in = issuer::Issuer::start(vec![key.jwk("k1")]).await;
    let http = reqwest_client(&Trust::default()).unwrap();
    let claims = Claims {
        audiences: vec!["http://127.0.0.1:3210/mcp".into()],
        user: "preferred_username".into(),
        groups: "groups".into(),
        services: BTreeSet::new(),
        of_groups: BTreeMap::new(),
    };
    let jwt = Jwt::new(Issuer::new(&stand_in.url, http, Times::default()), claims);
    let (header, claims) = issuer::usual(&stand_in.url, "http://127.0.0.1:3210/mcp");
    let token = key.token(&header, &claims);
    jwt.caller(&token).await.unwrap();
    let mut took = Vec::with_capacity(CHECKS);
    for _ in 0..CHECKS {
        let from = Instant::now();
        jwt.caller(&token).await.unwrap();
        took.push(from.elapsed());
    }
    took.sort();
    let at = |percent: usize| took[CHECKS * percent / 100];
    println!(
        "{CHECKS} checks (RS256, 2048 bits): p50 {:?}, p90 {:?}, p99 {:?}; key sets fetched: {}",
        at(50),
        at(90),
        at(99),
        stand_in.fetched()
    );
}
