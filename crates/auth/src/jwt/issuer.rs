//! An OIDC issuer: discovery, its key set, and when it is asked again. No request is made on the way of a call, unless
//! the call names a key that is not known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use forgeline_upstream::http::Connections;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::keys::{self, Key, Keys};

/// When the issuer is asked, and how long its last answer counts.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Between refreshes in the background.
    pub refresh: Duration,
    /// After a refetch, however it ended, an unknown key asks for no other.
    pub cool_down: Duration,
    /// How long a set counts while the issuer cannot be asked.
    pub stale: Duration,
    /// For one request.
    pub deadline: Duration,
}

impl Default for Times {
    /// An hour, 10 s, a day, 3 s.
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(3600),
            cool_down: Duration::from_secs(10),
            stale: Duration::from_secs(24 * 3600),
            deadline: Duration::from_secs(3),
        }
    }
}

/// The longest discovery document and key set, in bytes.
const LONGEST: usize = 256 * 1024;

/// One issuer and what it last answered.
pub struct Issuer {
    /// Compared byte for byte.
    name: String,
    http: Connections,
    times: Times,
    keys: ArcSwapOption<Fetched>,
    last_try: Mutex<Option<Instant>>,
}

struct Fetched {
    keys: Keys,
    at: Instant,
}

/// What a `kid` leads to.
pub(super) enum Found {
    Key(Arc<KeyOf>),
    Unknown,
    /// The issuer's keys are not known at all.
    Unavailable,
}

/// A key in the set that it came in.
pub(super) struct KeyOf {
    set: Arc<Fetched>,
    kid: String,
}

impl KeyOf {
    pub(super) fn key(&self) -> &Key {
        &self.set.keys[&self.kid]
    }
}

/// What discovery and the key set answered, for `doctor`.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// Where the keys are.
    pub jwks_uri: String,
    /// How many of them can verify.
    pub keys: usize,
    /// The issuer's clock minus ours, in seconds. `None`: it does not say.
    pub skew: Option<i64>,
}

impl Issuer {
    /// Asks nobody yet.
    pub fn new(name: &str, http: Connections, times: Times) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            http,
            times,
            keys: ArcSwapOption::empty(),
            last_try: Mutex::new(None),
        })
    }

    /// As configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long a caller whose key cannot be looked up should wait.
    pub(super) fn patience(&self) -> Duration {
        self.times.cool_down
    }

    /// Refreshes until the task is dropped; the first time at once, and soon again as long as there are no keys.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            let fetched = {
                let mut last = self.last_try.lock().await;
                *last = Some(Instant::now());
                self.refetch().await
            };
            if let Err(why) = &fetched {
                tracing::warn!(issuer = self.name, %why, "the issuer's keys could not be fetched; known ones stay in use");
            }
            let wait = match self.keys.load().is_some() && fetched.is_ok() {
                true => self.times.refresh,
                false => self.times.cool_down,
            };
            tokio::time::sleep(wait).await;
        }
    }

    pub(super) async fn find(&self, kid: &str) -> Found {
        if let Some(found) = self.known(kid) {
            return found;
        }
        // One asks; who waited looks at what that one got.
        let mut last = self.last_try.lock().await;
        if let Some(found) = self.known(kid) {
            return found;
        }
        let cooling = last.is_some_and(|at| at.elapsed() < self.times.cool_down);
        if !cooling {
            *last = Some(Instant::now());
            if let Err(why) = self.refetch().await {
                tracing::warn!(issuer = self.name, %why, "the issuer's keys could not be fetched");
            }
        }
        drop(last);
        match self.known(kid) {
            Some(found) => found,
            None if self.fresh().is_some() => Found::Unknown,
            None => Found::Unavailable,
        }
    }

    fn fresh(&self) -> Option<Arc<Fetched>> {
        let set = self.keys.load_full()?;
        (set.at.elapsed() < self.times.stale).then_some(set)
    }

    fn known(&self, kid: &str) -> Option<Found> {
        let set = self.fresh()?;
        set.keys.contains_key(kid).then(|| {
            Found::Key(Arc::new(KeyOf {
                kid: kid.to_owned(),
                set,
            }))
        })
    }

    /// A set that cannot be used never replaces one that can.
    async fn refetch(&self) -> Result<(), String> {
        let (_, keys, _) = self.ask().await?;
        let at = Instant::now();
        self.keys.store(Some(Arc::new(Fetched { keys, at })));
        Ok(())
    }

    /// Asks now, and keeps nothing.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the issuer's answers.
    pub async fn discover(&self) -> Result<Discovered, String> {
        let (jwks_uri, keys, skew) = self.ask().await?;
        Ok(Discovered {
            jwks_uri,
            keys: keys.len(),
            skew,
        })
    }

    async fn ask(&self) -> Result<(String, Keys, Option<i64>), String> {
        let place = format!(
            "{}/.well-known/openid-configuration",
            self.name.trim_end_matches('/')
        );
        let (document, skew) = self.get(&place).await?;
        let named = document["issuer"].as_str().unwrap_or_default();
        if named != self.name {
            return Err(format!(
                "{place} names the issuer `{named}`, which is not `{}` to the letter",
                self.name
            ));
        }
        let jwks = document["jwks_uri"].as_str().unwrap_or_default();
        let url = issuer_address("jwks_uri", jwks)?;
        let (set, _) = self.get(url.as_str()).await?;
        let keys = keys::read(&set).map_err(|why| format!("{jwks} cannot be used: {why}"))?;
        Ok((jwks.to_owned(), keys, skew))
    }

    async fn get(&self, url: &str) -> Result<(Value, Option<i64>), String> {
        let failed = |why: String| format!("{url} cannot be read: {why}");
        let read = async {
            let mut response =
                self.http.get(url).send().await.map_err(|error| {
                    failed(forgeline_upstream::http::chain(&error.without_url()))
                })?;
            let status = response.status().as_u16();
            if status != 200 {
                return Err(failed(format!("status {status}")));
            }
            let date = response.headers().get("date").cloned();
            let mut bytes = Vec::new();
            loop {
                let chunk = response.chunk().await;
                match chunk.map_err(|error| failed(error.without_url().to_string()))? {
                    Some(chunk) if bytes.len() + chunk.len() <= LONGEST => bytes.extend(chunk),
                    Some(_) => return Err(failed(format!("more than {LONGEST} bytes"))),
                    None => break,
                }
            }
            let value = serde_json::from_slice(&bytes).map_err(|_| failed("no JSON".into()))?;
            Ok((value, date.and_then(|date| skew(date.to_str().ok()?))))
        };
        match tokio::time::timeout(self.times.deadline, read).await {
            Ok(read) => read,
            Err(_) => Err(failed("no answer in time".into())),
        }
    }
}

fn skew(date: &str) -> Option<i64> {
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    Some(theirs.as_second() - Timestamp::now().as_second())
}

/// Reads the address of an issuer or of its keys: https, or http to this machine.
///
/// # Errors
/// A sentence that says what is wrong, beginning with `what`.
pub fn issuer_address(what: &str, text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("{what} `{text}` is no address: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{what} must not hold a user name or password"));
    }
    let here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(format!("{what} `{text}` names no host")),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{what} `{text}` must have neither query nor fragment"
        ));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        "http" => Err(format!(
            "{what} `{text}` is not https: whoever sits between could bring keys of their own"
        )),
        _ => Err(format!("{what} `{text}` is not https")),
    }
}
