//! What is kept of calls and secrets beside the journal: the audit log, fingerprints, the credentials of projects.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use forgeline_auth::audit::{AuditLog, Entry, Phase, Settings};
use forgeline_auth::{Fingerprints, ProjectTokens};
use forgeline_provision::{AuditSink, Destruction};
use serde_json::{Value, json};

use crate::config::{AuditKeys, Inbound, Problem};
use crate::env::Env;
use crate::variables::ALL;

/// A file of the audit log is closed beyond this length, in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;
/// The file of the key of fingerprints in the data directory.
const KEY_FILE: &str = "fingerprint.key";

/// Every log that this process may have written to.
static LOGS: Mutex<Vec<AuditLog>> = Mutex::new(Vec::new());

/// Ends the audit logs of this process with a checkpoint.
pub(crate) async fn close() {
    let logs = std::mem::take(&mut *LOGS.lock().unwrap_or_else(PoisonError::into_inner));
    for log in logs {
        if let Err(error) = log.close().await {
            crate::output::complain(&error.to_string(), None, None);
        }
    }
}

/// The audit log of this configuration; nothing is opened before the first line.
pub(crate) fn audit(env: &Env) -> Result<AuditLog, Vec<Problem>> {
    let keys = AuditKeys::read(env);
    if !keys.problems.is_empty() {
        return Err(keys.problems);
    }
    let fingerprints = fingerprints(env);
    let about = format!(
        "forgeline {} configuration {}",
        env!("CARGO_PKG_VERSION"),
        configuration_hash(env, &fingerprints)
    );
    let log = AuditLog::new(Settings {
        dir: env.data_dir(),
        key: keys.key.map(|key| key.current()),
        signing_key: keys.signing,
        longest: LONGEST,
        about,
    });
    let mut logs = LOGS.lock().unwrap_or_else(PoisonError::into_inner);
    logs.push(log.clone());
    Ok(log)
}

/// The credentials of projects in the data directory.
pub(crate) fn project_tokens(env: &Env) -> ProjectTokens {
    let lifetime = Inbound::read(env, None).project_token_ttl;
    ProjectTokens::new(&env.data_dir(), lifetime)
}

/// Fingerprints under the configured key, or the one in the data directory; where neither is there, under one that this
/// process alone has.
pub(crate) fn fingerprints(env: &Env) -> Fingerprints {
    if let Ok(Some(key)) = env.secret("FORGELINE_FINGERPRINT_KEY") {
        return Fingerprints::new(key.current().expose().as_bytes());
    }
    match kept_key(env) {
        Some(key) => Fingerprints::new(&key),
        None => Fingerprints::new(&random().unwrap_or_default()),
    }
}

/// Makes the key of fingerprints, once; for a process that may write to the data directory.
pub(super) fn make_fingerprint_key(env: &Env) {
    let path = env.data_dir().join(KEY_FILE);
    if env.is_set("FORGELINE_FINGERPRINT_KEY") || kept_key(env).is_some() {
        return;
    }
    let made = random().and_then(|key| write_new(&path, &key).ok());
    if made.is_none() {
        tracing::warn!(path = %path.display(), "no key for fingerprints could be kept there; those of another process will differ");
    }
}

/// The key in the data directory; a part of one is none.
fn kept_key(env: &Env) -> Option<Vec<u8>> {
    let key = std::fs::read(env.data_dir().join(KEY_FILE)).ok()?;
    (key.len() == 32).then_some(key)
}

/// The whole file, for its owner alone, or none.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn random() -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}

/// One short digest of everything that is configured, tokens by their fingerprints.
pub(crate) fn configuration_hash(env: &Env, fingerprints: &Fingerprints) -> String {
    let mut text = String::new();
    for variable in ALL {
        let value = match variable.secret {
            true => match env.secret(variable.name) {
                Ok(Some(token)) => fingerprints.of_token(&token.current()),
                Ok(None) => String::new(),
                Err(problem) => problem.code,
            },
            false => env.or_default(variable.name).to_owned(),
        };
        text.push_str(&format!("{}={value}\n", variable.name));
    }
    for file in env.file_texts() {
        text.push_str(file);
    }
    fingerprints.of("configuration", &text)
}

/// What `/readyz?verbose` says of the configuration: its hash, and every token by its fingerprint.
pub(crate) fn details(env: &Env, fingerprints: &Fingerprints) -> Value {
    let tokens = env.tokens().into_iter().map(|(what, token)| {
        let state = token.state();
        let mut one = json!({
            "fingerprint": fingerprints.of_token(&token.current()),
            "generation": state.generation,
        });
        if let Some(trouble) = state.trouble {
            one["trouble"] = json!(trouble.fault.code());
        }
        (what, one)
    });
    let tokens: serde_json::Map<String, Value> = tokens.collect();
    json!({"configuration_hash": configuration_hash(env, fingerprints), "tokens": tokens})
}

/// The audit log as steps write to it.
pub(super) struct Recorded(pub(super) AuditLog);

impl Recorded {
    fn entry(phase: Phase, intent: &Destruction<'_>) -> Entry {
        Entry {
            target: intent.resource.to_owned(),
            reason: format!("run {}", intent.run_id),
            decision: "allowed".into(),
            tool: "destroy".into(),
            ..Entry::of(phase, intent.actor)
        }
    }
}

#[async_trait]
impl AuditSink for Recorded {
    async fn destruction(&self, intent: &Destruction<'_>) -> Result<String, String> {
        let entry = Self::entry(Phase::Intent, intent);
        let id = entry.id.clone();
        match self.0.write(entry).await {
            Ok(()) => Ok(id),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn outcome(&self, id: &str, intent: &Destruction<'_>, outcome: &str) {
        let entry = Entry {
            id: id.to_owned(),
            decision: outcome.to_owned(),
            ..Self::entry(Phase::Outcome, intent)
        };
        // The effect is there; that its line is missing shows as an intent without an outcome.
        let _ = self.0.write(entry).await;
    }
}
