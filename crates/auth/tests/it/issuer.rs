//! An issuer for tests: discovery and a key set on a real socket, keys of its own, and tokens as they are ordered, also
//! such as no library would make.

#![allow(dead_code)]

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// How the issuer answers for its keys.
#[derive(Clone, Debug)]
pub(crate) enum Mood {
    Well,
    Status(u16),
    Hangs,
    /// So many bytes.
    Huge(usize),
    Html,
    RedirectsTo(String),
}

struct State {
    keys: Vec<Value>,
    mood: Mood,
    fetched: usize,
    names: Option<String>,
}

/// An issuer that ends with its test.
pub(crate) struct Issuer {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuer {
    pub(crate) async fn start(keys: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            keys,
            mood: Mood::Well,
            fetched: 0,
            names: None,
        }));
        let task = tokio::spawn(serve(listener, url.clone(), Arc::clone(&state)));
        Self { url, state, task }
    }

    pub(crate) fn publish(&self, keys: Vec<Value>) {
        self.state.lock().unwrap().keys = keys;
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// What its discovery document calls it from now on.
    pub(crate) fn calls_itself(&self, name: &str) {
        self.state.lock().unwrap().names = Some(name.to_owned());
    }

    /// How often its keys were fetched.
    pub(crate) fn fetched(&self) -> usize {
        self.state.lock().unwrap().fetched
    }
}

async fn serve(listener: TcpListener, url: String, state: Arc<Mutex<State>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (url, state) = (url.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let mut head = Vec::new();
            let mut part = [0; 4096];
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut part).await {
                    Ok(read) if read > 0 => head.extend(&part[..read]),
                    _ => return,
                }
            }
            let discovery = head.starts_with(b"GET /.well-known/openid-configuration ");
            let (mood, body) = {
                let mut state = state.lock().unwrap();
                if discovery {
                    let name = state.names.clone().unwrap_or_else(|| url.clone());
                    let document = json!({"issuer": name, "jwks_uri": format!("{url}/jwks")});
                    (Mood::Well, document)
                } else {
                    state.fetched += 1;
                    (state.mood.clone(), json!({"keys": state.keys}))
                }
            };
            let (status, more, body) = match mood {
                Mood::Well => (200, String::new(), body.to_string()),
                Mood::Status(status) => (status, String::new(), String::new()),
                Mood::Huge(bytes) => (200, String::new(), " ".repeat(bytes) + &body.to_string()),
                Mood::Html => (200, String::new(), "<html>sign in</html>".to_owned()),
                Mood::RedirectsTo(place) => (302, format!("location: {place}\r\n"), String::new()),
                Mood::Hangs => return std::future::pending().await,
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} x\r\n{more}content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            // The other side may have had enough.
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

/// An RSA key of 2048 bits.
pub(crate) struct Key(RsaKeyPair);

impl Key {
    pub(crate) fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    /// As a key set publishes it.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let (n, e) = self.numbers();
        json!({"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": base64(&n), "e": base64(&e)})
    }

    /// Modulus and exponent, from RSAPublicKey in DER.
    pub(crate) fn numbers(&self) -> (Vec<u8>, Vec<u8>) {
        let der = self.0.public_key().as_ref();
        let (sequence, _) = element(der);
        let (n, rest) = element(sequence);
        let (e, _) = element(rest);
        let plain = |number: &[u8]| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number[zeros..].to_vec()
        };
        (plain(n), plain(e))
    }

    /// The public key as PEM (SPKI).
    pub(crate) fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    fn sign(&self, how: &'static dyn RsaEncoding, text: &str) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(how, &random, text.as_bytes(), &mut signature)
            .unwrap();
        signature
    }

    /// A token of exactly these texts, signed with RS256.
    pub(crate) fn raw(&self, header: &[u8], payload: &[u8]) -> String {
        self.raw_with(&RSA_PKCS1_SHA256, header, payload)
    }

    fn raw_with(&self, how: &'static dyn RsaEncoding, header: &[u8], payload: &[u8]) -> String {
        let text = format!("{}.{}", base64(header), base64(payload));
        let signature = self.sign(how, &text);
        format!("{text}.{}", base64(&signature))
    }

    /// A token with this header and these claims.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        self.raw(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }
}

fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, at) = match der[1] {
        short if short < 0x80 => (usize::from(short), 2),
        long => {
            let bytes = usize::from(long & 0x7f);
            let length = der[2..2 + bytes]
                .iter()
                .fold(0, |length, byte| length * 256 + usize::from(*byte));
            (length, 2 + bytes)
        }
    };
    (&der[at..at + length], &der[at + length..])
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The usual header, and claims for a caller who may look.
pub(crate) fn usual(issuer: &str, audience: &str) -> (Value, Value) {
    let now = now();
    (
        json!({"alg": "RS256", "kid": "k1", "typ": "at+jwt"}),
        json!({"iss": issuer, "aud": audience, "sub": "alice", "exp": now + 300, "iat": now, "scope": "forgeline:read"}),
    )
}

/// A token, its name, and whether it is to be taken.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) token: String,
    pub(crate) good: bool,
    /// The row of the attack table that it belongs to.
    pub(crate) row: u8,
}

/// The 65 tokens: `a` is published as `k1`, `b` never is.
pub(crate) fn cases(issuer: &str, audience: &str, a: &Key, b: &Key) -> Vec<Case> {
    let (header, claims) = usual(issuer, audience);
    let now = now();
    let with = |changes: Value| {
        let mut claims = claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        a.token(&header, &claims)
    };
    let without = |name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        a.token(&header, &claims)
    };
    let headed = |changes: Value, key: &Key| {
        let mut header = header.clone();
        for (name, value) in changes.as_object().unwrap() {
            header[name] = value.clone();
        }
        key.token(&header, &claims)
    };
    let texted = |from: &str, to: &str| {
        let payload = claims.to_string().replace(from, to);
        a.raw(header.to_string().as_bytes(), payload.as_bytes())
    };
    let unsigned = |alg: &str, signature: &str| {
        let header = json!({"alg": alg, "kid": "k1", "typ": "at+jwt"});
        let parts = [header.to_string(), claims.to_string()].map(|part| base64(part.as_bytes()));
        format!("{}.{signature}", parts.join("."))
    };
    let hmacked = |secret: &[u8]| {
        let header = json!({"alg": "HS256", "kid": "k1", "typ": "at+jwt"});
        let parts = [header.to_string(), claims.to_string()].map(|part| base64(part.as_bytes()));
        let text = parts.join(".");
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!(
            "{text}.{}",
            base64(hmac::sign(&key, text.as_bytes()).as_ref())
        )
    };
    let other_way = |alg: &str, how: &'static dyn RsaEncoding| {
        let header = json!({"alg": alg, "kid": "k1", "typ": "at+jwt"});
        a.raw_with(
            how,
            header.to_string().as_bytes(),
            claims.to_string().as_bytes(),
        )
    };
    let ok = a.token(&header, &claims);
    let signature = ok.rsplit_once('.').unwrap();
    let exp = format!("\"exp\":{}", now + 300);
    let upper = audience.to_uppercase();
    let mut cases = Vec::new();
    let mut bad = |row: u8, name: &'static str, token: String| {
        cases.push(Case {
            name,
            token,
            good: false,
            row,
        });
    };
    bad(19, "aud_array_wrong", with(json!({"aud": ["x", "y"]})));
    bad(19, "aud_empty_array", with(json!({"aud": []})));
    bad(19, "aud_nested", with(json!({"aud": {"a": audience}})));
    bad(19, "aud_missing", without("aud"));
    bad(
        19,
        "aud_prefix",
        with(json!({"aud": format!("{audience}/evil")})),
    );
    bad(
        19,
        "aud_trailing",
        with(json!({"aud": format!("{audience}/")})),
    );
    bad(19, "aud_case", with(json!({"aud": upper})));
    bad(17, "iss_missing", without("iss"));
    bad(17, "iss_wrong", with(json!({"iss": "http://evil"})));
    bad(
        18,
        "iss_trailing",
        with(json!({"iss": format!("{issuer}/")})),
    );
    bad(
        17,
        "iss_array",
        with(json!({"iss": [issuer, "http://evil"]})),
    );
    bad(21, "exp_missing", without("exp"));
    bad(22, "exp_past_31", with(json!({"exp": now - 32})));
    bad(22, "exp_past_61", with(json!({"exp": now - 61})));
    bad(22, "exp_past_600", with(json!({"exp": now - 600})));
    bad(
        21,
        "exp_string",
        with(json!({"exp": (now + 300).to_string()})),
    );
    bad(21, "exp_float", with(json!({"exp": now as f64 + 300.5})));
    bad(21, "exp_neg", with(json!({"exp": -1})));
    bad(21, "exp_huge", texted(&exp, "\"exp\":1e400"));
    bad(21, "exp_null", with(json!({"exp": null})));
    bad(
        24,
        "exp_dup",
        texted(&exp, &format!("{exp},\"exp\":{}", now - 600)),
    );
    bad(
        24,
        "exp_dup_rev",
        texted(&exp, &format!("\"exp\":{},{exp}", now - 600)),
    );
    bad(22, "nbf_future", with(json!({"nbf": now + 3600})));
    bad(22, "nbf_31", with(json!({"nbf": now + 33})));
    bad(23, "iat_future", with(json!({"iat": now + 3600})));
    bad(13, "none", unsigned("none", ""));
    bad(13, "none_caps", unsigned("nOnE", ""));
    bad(13, "none_sig", unsigned("none", "AAAA"));
    bad(14, "hs256_pubpem", hmacked(a.pem().as_bytes()));
    bad(14, "hs256_n", hmacked(&a.numbers().0));
    bad(14, "hs256_empty", hmacked(b""));
    bad(15, "rs384_samekey", other_way("RS384", &RSA_PKCS1_SHA384));
    bad(15, "ps256_samekey", other_way("PS256", &RSA_PSS_SHA256));
    bad(16, "other_key", b.token(&header, &claims));
    let kidless = json!({"alg": "RS256", "typ": "at+jwt"});
    bad(25, "kid_missing", a.token(&kidless, &claims));
    bad(26, "kid_unknown", headed(json!({"kid": "zz"}), b));
    bad(
        25,
        "kid_traversal",
        headed(json!({"kid": "../../../../dev/null"}), b),
    );
    bad(25, "kid_number", headed(json!({"kid": 1}), a));
    bad(25, "kid_4k", headed(json!({"kid": "k".repeat(4096)}), a));
    bad(25, "kid_sql", headed(json!({"kid": "' OR 1=1 --"}), b));
    bad(31, "embedded_jwk", headed(json!({"jwk": b.jwk("k1")}), b));
    bad(
        31,
        "jku",
        headed(
            json!({"jku": "http://127.0.0.1:1/evil.json", "kid": "evil"}),
            b,
        ),
    );
    bad(
        31,
        "x5u",
        headed(json!({"x5u": "http://127.0.0.1:1/e.pem"}), b),
    );
    bad(31, "x5c", headed(json!({"x5c": ["MIIB"]}), a));
    bad(
        32,
        "crit",
        headed(json!({"crit": ["http://x/y"], "http://x/y": true}), a),
    );
    bad(
        32,
        "b64false",
        headed(json!({"b64": false, "crit": ["b64"]}), a),
    );
    bad(32, "zip", headed(json!({"zip": "DEF"}), a));
    bad(33, "typ_logout", headed(json!({"typ": "logout+jwt"}), a));
    bad(
        33,
        "typ_secevent",
        headed(json!({"typ": "secevent+jwt"}), a),
    );
    let mut id_token = claims.clone();
    id_token["aud"] = json!("proxy");
    id_token["nonce"] = json!("n");
    bad(
        33,
        "id_token_like",
        a.token(
            &json!({"alg": "RS256", "kid": "k1", "typ": "JWT"}),
            &id_token,
        ),
    );
    bad(34, "sig_trunc", ok[..ok.len() - 2].to_owned());
    bad(34, "sig_empty", format!("{}.", signature.0));
    bad(34, "two_parts", signature.0.to_owned());
    bad(34, "four_parts", format!("{ok}.x"));
    bad(34, "pad", format!("{ok}=="));
    // Long enough that one of the two characters is in it.
    bad(34, "std_b64", ok.replace('-', "+").replace('_', "/"));
    bad(34, "space", ok.replacen('.', ". ", 1));
    bad(34, "trail_nl", format!("{ok}\n"));
    let jwe = json!({"alg": "RSA-OAEP", "enc": "A256GCM"}).to_string();
    bad(34, "jwe5", format!("{}.a.b.c.d", base64(jwe.as_bytes())));
    let head = header.to_string();
    bad(36, "payload_array", a.raw(head.as_bytes(), b"[1]"));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    bad(36, "payload_deep", a.raw(head.as_bytes(), deep.as_bytes()));
    bad(36, "payload_nonutf8", a.raw(head.as_bytes(), &[0xff, 0xfe]));
    bad(37, "sub_missing", without("sub"));
    bad(37, "sub_number", with(json!({"sub": 7})));
    bad(37, "sub_empty", with(json!({"sub": ""})));
    bad(37, "sub_control", with(json!({"sub": "a\nb"})));
    bad(35, "big_1mb", with(json!({"pad": "x".repeat(1024 * 1024)})));
    let mut good = |row: u8, name: &'static str, token: String| {
        cases.push(Case {
            name,
            token,
            good: true,
            row,
        });
    };
    good(20, "ok", ok.clone());
    good(20, "aud_array", with(json!({"aud": ["x", audience]})));
    good(22, "nbf_29", with(json!({"nbf": now + 28})));
    good(22, "exp_past_28", with(json!({"exp": now - 27})));
    good(33, "typ_id", headed(json!({"typ": "JWT"}), a));
    let typeless = json!({"alg": "RS256", "kid": "k1"});
    good(33, "typ_missing", a.token(&typeless, &claims));
    cases
}
