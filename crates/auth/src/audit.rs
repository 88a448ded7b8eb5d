//! The audit log: one JSON line for each thing that was asked, refused or destroyed, each bound to the one before.
//!
//! A line is `{"v":1,"seq":N,"prev":"…","ts":"…","id":"…","phase":"…",…,"hash":"…"}`, in ASCII. `hash` is over the text of
//! the line without it, together with `prev`, which is the hash of the line before (64 zeros at the very beginning): with
//! HMAC-SHA256 where a key is configured, else SHA-256. A chain alone shows nothing to whom has the file and the key; so
//! checkpoints (count and last hash, signed where a key is configured) go to a file of their own and to the program's log,
//! which is kept elsewhere.

mod checkpoint;
mod line;
mod verify;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

pub use checkpoint::{SigningKey, public_key};
pub(crate) use line::keyed;
pub use verify::{Finding, Verdict, Verifier};

use forgeline_upstream::Token;
use writer::{Job, Writer};

/// The name of the log in its directory.
pub const FILE: &str = "audit.jsonl";
/// The name of the checkpoints beside it.
pub const CHECKPOINTS: &str = "audit.checkpoints";

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Something is about to be done; durable before it is.
    Intent,
    /// How that ended; the same `id`.
    Outcome,
    /// A known caller was refused.
    Deny,
    /// Somebody was not known.
    Auth,
    /// A process began to write here.
    Boot,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Deny => "deny",
            Self::Auth => "auth",
            Self::Boot => "boot",
        }
    }
}

/// What is written. Empty texts are left as they are; no credential is among them.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Binds an outcome to its intent.
    pub id: String,
    /// What the line is about.
    pub phase: Phase,
    /// Who asked.
    pub actor: String,
    /// How the actor was known.
    pub via: String,
    /// The address that it came from.
    pub client: String,
    /// The tool that was called.
    pub tool: String,
    /// What it is about, for example `github:acme/shop`.
    pub target: String,
    /// A keyed digest of the arguments.
    pub args: String,
    /// For example `allowed`, `refused`, `done`, `failed`.
    pub decision: String,
    /// Why.
    pub reason: String,
}

impl Entry {
    /// An entry of this phase with an id of its own.
    pub fn of(phase: Phase, actor: &str) -> Self {
        let mut bytes = [0_u8; 12];
        // Without random bytes the id is not unique, and the line is still true.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        Self {
            id: crate::project_token::hex(&bytes),
            phase,
            actor: actor.to_owned(),
            via: String::new(),
            client: String::new(),
            tool: String::new(),
            target: String::new(),
            args: String::new(),
            decision: String::new(),
            reason: String::new(),
        }
    }
}

/// Where and how a log is written.
pub struct Settings {
    /// The directory; made with the first line.
    pub dir: PathBuf,
    /// Lines are bound with HMAC under it. `None`: with a plain hash.
    pub key: Option<Token>,
    /// Checkpoints are signed with it. `None`: they are not.
    pub signing_key: Option<SigningKey>,
    /// A file that is longer than this is closed, and the next one goes on from its last line. In bytes.
    pub longest: u64,
    /// What the first line of this process says of it: version and configuration.
    pub about: String,
}

/// The log could not be written; what was about to be done is not done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the audit log {path} cannot be written: {why}")]
pub struct AuditError {
    path: PathBuf,
    why: String,
}

/// The one writer of a log. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    settings: Arc<Settings>,
    sender: Arc<Mutex<Option<mpsc::Sender<Job>>>>,
    /// No line is taken any more.
    closed: Arc<AtomicBool>,
    /// Lines that nobody waited for and that were not written; the next line says how many.
    dropped: Arc<AtomicU64>,
    /// How many lines about refusals may be written now, and since when.
    refusals: Arc<Mutex<(u32, Instant)>>,
}

/// Lines about refusals at once, and in a second afterwards: strangers must not fill the disk.
const REFUSALS: u32 = 200;
const REFUSALS_PER_SECOND: u32 = 2;

/// How long a line may take to become durable.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many lines may wait; beyond that a line that nobody waits for is dropped, and the next one says so.
const QUEUE: usize = 1024;

impl AuditLog {
    /// A log; nothing is opened yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            sender: Arc::default(),
            closed: Arc::default(),
            dropped: Arc::default(),
            refusals: Arc::new(Mutex::new((REFUSALS, Instant::now()))),
        }
    }

    fn gone(&self) -> AuditError {
        AuditError {
            path: self.path(),
            why: "its writer has ended".into(),
        }
    }

    fn sender(&self) -> mpsc::Sender<Job> {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender
            .get_or_insert_with(|| {
                let (sender, jobs) = mpsc::channel(QUEUE);
                let writer = Writer::new(Arc::clone(&self.settings), Arc::clone(&self.dropped));
                std::thread::spawn(move || writer.run(jobs));
                sender
            })
            .clone()
    }

    /// Where the log is.
    pub fn path(&self) -> PathBuf {
        self.settings.dir.join(FILE)
    }

    /// Writes a line; it is durable when this returns.
    ///
    /// # Errors
    /// It could not be written. What it announces must not be done.
    pub async fn write(&self, entry: Entry) -> Result<(), AuditError> {
        let (told, answer) = oneshot::channel();
        let job = Job {
            entry: Some(entry),
            told: Some(told),
        };
        if self.closed.load(Ordering::Acquire) {
            return Err(self.gone());
        }
        let written = async {
            let sent = self.sender().send(job).await;
            sent.map_err(|_| self.gone())?;
            answer.await.map_err(|_| self.gone())?
        };
        // An intent that lands late announces what was refused; nobody waits for a disk that hangs.
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(written) => written,
            Err(_) => Err(AuditError {
                path: self.path(),
                why: format!("no answer within {} s", PATIENCE.as_secs()),
            }),
        }
    }

    /// As [`AuditLog::note`], for a refusal; beyond a rate such lines are only counted, and the next line says how many.
    pub fn note_now_and_then(&self, entry: Entry) {
        let taken = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let (left, since) = *refusals;
            let seconds = u32::try_from(since.elapsed().as_secs()).unwrap_or(u32::MAX);
            let more = seconds.saturating_mul(REFUSALS_PER_SECOND);
            let left = left.saturating_add(more).min(REFUSALS);
            let since = if more > 0 { Instant::now() } else { since };
            *refusals = (left.saturating_sub(1), since);
            left > 0
        };
        if taken {
            self.note(entry);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes a line that nobody waits for.
    pub fn note(&self, entry: Entry) {
        let job = Job {
            entry: Some(entry),
            told: None,
        };
        if self.closed.load(Ordering::Acquire) || self.sender().try_send(job).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes everything durable, with a checkpoint; for the end of the process. A log that was never opened stays so.
    ///
    /// # Errors
    /// As [`AuditLog::write`].
    pub async fn close(&self) -> Result<(), AuditError> {
        self.closed.store(true, Ordering::Release);
        let sender = {
            let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            sender.take()
        };
        let Some(sender) = sender else {
            return Ok(());
        };
        let (told, answer) = oneshot::channel();
        let job = Job {
            entry: None,
            told: Some(told),
        };
        // A writer that has ended has nothing left to write.
        let _ = sender.send(job).await;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditLog({})", self.path().display())
    }
}
