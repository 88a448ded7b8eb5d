//! The keys of an issuer over time: rotation, retirement, outage, floods, and sets that nobody should use.

use std::time::Duration;

use forgeline_auth::{Refused, Times};
use futures::future::join_all;
use serde_json::{Value, json};

use super::forged::{AUDIENCE, judge};
use super::issuer::{Issuer, Key, Mood, usual};

fn signed(key: &Key, kid: &str, issuer: &Issuer) -> String {
    let (mut header, claims) = usual(&issuer.url, AUDIENCE);
    header["kid"] = json!(kid);
    key.token(&header, &claims)
}

/// No cool-down, so that nothing has to be waited for.
fn eager() -> Times {
    Times {
        cool_down: Duration::ZERO,
        deadline: Duration::from_millis(300),
        ..Times::default()
    }
}

#[tokio::test]
async fn two_thousand_tokens_with_unknown_keys_cause_one_fetch() {
    let (a, b) = (Key::new(), Key::new());
    let issuer = Issuer::start(vec![a.jwk("k1")]).await;
    let jwt = judge(&issuer, Times::default());
    let tokens: Vec<String> = (0..2000)
        .map(|number| signed(&b, &format!("unknown-{}", number % 20), &issuer))
        .take(20)
        .collect();
    let all = (0..2000).map(|number| jwt.caller(&tokens[number % tokens.len()]));
    let refused = join_all(all).await;
    assert!(refused.iter().all(Result::is_err));
    assert_eq!(issuer.fetched(), 1);
    assert!(jwt.caller(&signed(&a, "k1", &issuer)).await.is_ok());
    assert_eq!(issuer.fetched(), 1);
}

#[tokio::test]
async fn a_new_key_counts_at_its_first_use_and_a_retired_one_no_longer() {
    let (old, new) = (Key::new(), Key::new());
    let issuer = Issuer::start(vec![old.jwk("k1")]).await;
    let jwt = judge(&issuer, eager());
    assert!(jwt.caller(&signed(&old, "k1", &issuer)).await.is_ok());
    issuer.publish(vec![new.jwk("k2"), old.jwk("k1")]);
    assert!(jwt.caller(&signed(&new, "k2", &issuer)).await.is_ok());
    assert!(jwt.caller(&signed(&old, "k1", &issuer)).await.is_ok());
    issuer.publish(vec![new.jwk("k2")]);
    // The next look at the issuer, here because of another key, ends it.
    assert!(jwt.caller(&signed(&new, "k3", &issuer)).await.is_err());
    assert!(jwt.caller(&signed(&old, "k1", &issuer)).await.is_err());
}

#[tokio::test]
async fn a_refresh_in_the_background_retires_keys_without_any_call() {
    let (old, new) = (Key::new(), Key::new());
    let issuer = Issuer::start(vec![old.jwk("k1")]).await;
    let times = Times {
        refresh: Duration::from_millis(20),
        ..Times::default()
    };
    let jwt = judge(&issuer, times);
    let fresh = tokio::spawn(std::sync::Arc::clone(jwt.issuer()).keep_fresh());
    issuer.publish(vec![new.jwk("k2")]);
    let token = signed(&old, "k1", &issuer);
    let retired = async {
        while jwt.caller(&token).await.is_ok() || issuer.fetched() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), retired)
        .await
        .unwrap();
    fresh.abort();
}

#[tokio::test]
async fn an_issuer_that_fails_leaves_known_keys_and_answers_in_bounded_time() {
    let (a, b) = (Key::new(), Key::new());
    let other = Issuer::start(vec![b.jwk("k9")]).await;
    let issuer = Issuer::start(vec![a.jwk("k1")]).await;
    let jwt = judge(&issuer, eager());
    let (known, unknown) = (signed(&a, "k1", &issuer), signed(&b, "k9", &issuer));
    assert!(jwt.caller(&known).await.is_ok());
    for mood in [
        Mood::Status(503),
        Mood::Hangs,
        Mood::Huge(10 * 1024 * 1024),
        Mood::Html,
        Mood::RedirectsTo(format!("{}/jwks", other.url)),
    ] {
        issuer.mood(mood.clone());
        let before = issuer.fetched();
        let refused = jwt.caller(&unknown).await;
        assert!(
            matches!(refused, Err(Refused::Invalid(_))),
            "{mood:?}: {refused:?}"
        );
        assert!(issuer.fetched() > before, "{mood:?} did not happen");
        assert!(jwt.caller(&known).await.is_ok(), "{mood:?}");
    }
    assert_eq!(other.fetched(), 0, "a redirect was followed");
    // An empty set is no set either.
    issuer.mood(Mood::Well);
    issuer.publish(Vec::new());
    assert!(jwt.caller(&unknown).await.is_err());
    assert!(jwt.caller(&known).await.is_ok());
}

#[tokio::test]
async fn without_any_keys_the_answer_is_to_come_back_later() {
    let a = Key::new();
    let issuer = Issuer::start(vec![a.jwk("k1")]).await;
    issuer.mood(Mood::Status(503));
    let jwt = judge(&issuer, eager());
    let token = signed(&a, "k1", &issuer);
    let refused = jwt.caller(&token).await;
    assert!(
        matches!(refused, Err(Refused::Unavailable(_))),
        "{refused:?}"
    );
    issuer.mood(Mood::Well);
    assert!(jwt.caller(&token).await.is_ok());
    // What is too old is not known any more.
    let brief = Times {
        stale: Duration::ZERO,
        ..eager()
    };
    let jwt = judge(&issuer, brief);
    let refused = jwt.caller(&token).await;
    assert!(
        matches!(refused, Err(Refused::Unavailable(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_issuer_that_calls_itself_something_else_is_not_believed() {
    let a = Key::new();
    let issuer = Issuer::start(vec![a.jwk("k1")]).await;
    for name in [
        format!("{}/", issuer.url),
        issuer.url.to_uppercase(),
        "http://evil".into(),
    ] {
        issuer.calls_itself(&name);
        let jwt = judge(&issuer, eager());
        let refused = jwt.caller(&signed(&a, "k1", &issuer)).await;
        assert!(
            matches!(refused, Err(Refused::Unavailable(_))),
            "{name}: {refused:?}"
        );
        let why = jwt.issuer().discover().await.unwrap_err();
        assert!(why.contains("to the letter"), "{why}");
    }
    assert_eq!(issuer.fetched(), 0);
}

#[tokio::test]
async fn keys_that_cannot_be_trusted_are_never_used() {
    let (a, b) = (Key::new(), Key::new());
    let change = |mut jwk: Value, changes: Value| {
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    let short = "A".repeat(170);
    for (what, set) in [
        (
            "for encryption",
            vec![change(b.jwk("k2"), json!({"use": "enc"}))],
        ),
        (
            "symmetric",
            vec![json!({"kty": "oct", "kid": "k2", "k": "c2VjcmV0", "alg": "HS256"})],
        ),
        ("1024 bits", vec![change(b.jwk("k2"), json!({"n": short}))]),
        ("private", vec![change(b.jwk("k2"), json!({"d": "AQAB"}))]),
        (
            "not for verifying",
            vec![change(b.jwk("k2"), json!({"key_ops": ["encrypt"]}))],
        ),
        (
            "another algorithm",
            vec![change(b.jwk("k2"), json!({"alg": "RS512"}))],
        ),
        ("twice", vec![b.jwk("k2"), a.jwk("k2")]),
        (
            "twice, one of them unusable",
            vec![b.jwk("k2"), json!({"kty": "oct", "kid": "k2"})],
        ),
    ] {
        let mut keys = vec![a.jwk("k1")];
        keys.extend(set);
        let issuer = Issuer::start(keys).await;
        let jwt = judge(&issuer, eager());
        assert!(
            jwt.caller(&signed(&a, "k1", &issuer)).await.is_ok(),
            "{what}"
        );
        assert!(
            jwt.caller(&signed(&b, "k2", &issuer)).await.is_err(),
            "{what}"
        );
    }
    let many: Vec<Value> = (0..65).map(|number| a.jwk(&format!("k{number}"))).collect();
    let issuer = Issuer::start(many).await;
    let jwt = judge(&issuer, eager());
    assert!(jwt.caller(&signed(&a, "k1", &issuer)).await.is_err());
}
