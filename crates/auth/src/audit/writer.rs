//! The thread that owns the file: it binds lines, writes them in groups, makes them durable, and closes long files.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoint;
use super::line::{BEGINNING, Line, hash, with_hash, without_hash};
use super::{AuditError, CHECKPOINTS, Entry, FILE, Phase, Settings};

/// One line, or none for a checkpoint; and who waits for it to be durable.
pub(super) struct Job {
    pub(super) entry: Option<Entry>,
    pub(super) told: Option<oneshot::Sender<Result<(), AuditError>>>,
}

/// Lines between checkpoints.
const EVERY: u64 = 100;
/// Time between checkpoints while lines come.
const AT_LEAST: Duration = Duration::from_secs(60);
/// Lines that share one write.
const GROUP: usize = 256;

pub(super) struct Writer {
    settings: Arc<Settings>,
    /// Lines that were not taken since the last one.
    dropped: Arc<AtomicU64>,
    open: Option<Open>,
    /// Where this process was in the chain, for when its file was taken away.
    last: Option<(u64, String)>,
}

struct Open {
    file: File,
    length: u64,
    seq: u64,
    head: String,
    /// The sequence number of the last checkpoint, and when it was made.
    checked: (u64, Instant),
}

impl Writer {
    pub(super) fn new(settings: Arc<Settings>, dropped: Arc<AtomicU64>) -> Self {
        Self {
            settings,
            dropped,
            open: None,
            last: None,
        }
    }

    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let timer = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        loop {
            let next = match &timer {
                // A part of the log that no checkpoint knows is not left so for long.
                Ok(timer) => {
                    timer.block_on(async { tokio::time::timeout(AT_LEAST, jobs.recv()).await })
                }
                Err(_) => Ok(jobs.blocking_recv()),
            };
            let first = match next {
                Ok(Some(first)) => first,
                Ok(None) => return,
                Err(_) => {
                    self.checkpoint_if_due();
                    continue;
                }
            };
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(job) = jobs.try_recv()
            {
                group.push(job);
            }
            let ends = group.iter().any(|job| job.entry.is_none());
            let done = self.write(&group, ends).map_err(|why| AuditError {
                path: self.settings.dir.join(FILE),
                why,
            });
            if let Err(error) = &done {
                let lost = group
                    .iter()
                    .filter(|job| job.entry.is_some() && job.told.is_none());
                let lost = u64::try_from(lost.count()).unwrap_or_default();
                self.dropped.fetch_add(lost, Ordering::Relaxed);
                tracing::error!(target: "audit", %error, "what the log cannot record is refused");
                // A part of a line may stand there: the next one begins by looking.
                self.open = None;
            }
            if ends {
                // Whoever waits for the end may open the file then.
                self.open = None;
            }
            for job in group {
                if let Some(told) = job.told {
                    // Who no longer waits needs no answer.
                    let _ = told.send(done.clone());
                }
            }
        }
    }

    fn checkpoint_if_due(&mut self) {
        if let Some(mut open) = self.open.take()
            && (open.seq == open.checked.0 || self.checkpoint(&mut open).is_ok())
        {
            self.open = Some(open);
        }
    }

    fn write(&mut self, group: &[Job], ends: bool) -> Result<(), String> {
        if group.iter().all(|job| job.entry.is_none()) && self.open.is_none() {
            return Ok(());
        }
        let path = self.settings.dir.join(FILE);
        let mut open = match self.open.take() {
            // Whoever moved or removed the file must not take what is written from now on with it.
            Some(open) if is_at(&open.file, &path) => open,
            _ => self.open()?,
        };
        let settings = Arc::clone(&self.settings);
        let key = settings.key.as_ref().map(|key| key.expose().as_bytes());
        let dropped = self.dropped.load(Ordering::Relaxed);
        let mut text = String::new();
        if dropped > 0 {
            let entry = Entry {
                decision: "counted".into(),
                reason: format!("{dropped} refusals or ends before this line were not written"),
                ..Entry::of(Phase::Auth, "")
            };
            text.push_str(&open.bound(&entry, key));
        }
        for entry in group.iter().filter_map(|job| job.entry.as_ref()) {
            text.push_str(&open.bound(entry, key));
        }
        open.append(&text)?;
        self.dropped.fetch_sub(dropped, Ordering::Relaxed);
        self.last = Some((open.seq, open.head.clone()));
        if group.iter().any(|job| job.told.is_some()) {
            open.file.sync_data().map_err(|error| error.to_string())?;
        }
        let (since, at) = open.checked;
        let due = open.seq > since && (at.elapsed() >= AT_LEAST || open.seq - since >= EVERY);
        if due || (ends && open.seq > since) {
            self.checkpoint(&mut open)?;
        }
        if open.length > self.settings.longest {
            open = self.next_file(open, key)?;
        }
        self.open = Some(open);
        Ok(())
    }

    fn checkpoint(&self, open: &mut Open) -> Result<(), String> {
        open.file.sync_data().map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint {
            count: open.seq,
            head: open.head.clone(),
            at: format!("{:.0}", jiff::Timestamp::now()),
        };
        let path = self.settings.dir.join(CHECKPOINTS);
        let mut file = opened(&path)?;
        let text = checkpoint.text(self.settings.signing_key.as_ref());
        let length = file.metadata().map(|file| file.len()).unwrap_or_default();
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_data());
        written.map_err(|error| {
            // A part of a checkpoint is none; readers pass over what could not be taken back.
            let _ = file.set_len(length);
            format!("{}: {error}", path.display())
        })?;
        tracing::info!(target: "audit", count = checkpoint.count, head = checkpoint.head, "checkpoint of the audit log");
        open.checked = (open.seq, Instant::now());
        Ok(())
    }

    /// Closes a long file under the number of its last line; the next one goes on from there.
    fn next_file(&self, mut open: Open, key: Option<&[u8]>) -> Result<Open, String> {
        self.checkpoint(&mut open)?;
        let from = self.settings.dir.join(FILE);
        let to = self
            .settings
            .dir
            .join(format!("audit.{:012}.jsonl", open.seq));
        std::fs::rename(&from, &to).map_err(|error| error.to_string())?;
        let file = locked(opened(&from)?)?;
        sync_dir(&self.settings.dir)?;
        let mut next = Open {
            file,
            length: 0,
            ..open
        };
        let line = next.bound(&self.boot(&format!("goes on from {}", to.display())), key);
        next.append(&line)?;
        Ok(next)
    }

    fn boot(&self, reason: &str) -> Entry {
        let keyed = match self.settings.key {
            Some(_) => "keyed",
            None => "unkeyed",
        };
        Entry {
            decision: keyed.into(),
            target: self.settings.about.clone(),
            reason: reason.to_owned(),
            ..Entry::of(Phase::Boot, "")
        }
    }

    /// Opens the file, looks where it ends, and says that this process writes now. What is no whole line at its end is put
    /// aside, never thrown away.
    fn open(&self) -> Result<Open, String> {
        let dir = &self.settings.dir;
        std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        let path = dir.join(FILE);
        let mut file = locked(opened(&path)?)?;
        if !is_at(&file, &path) {
            return Err("its file was replaced while it was opened".to_owned());
        }
        sync_dir(dir)?;
        let mut text = Vec::new();
        let length = file
            .seek(SeekFrom::End(0))
            .map_err(|error| error.to_string())?;
        // The last lines are enough: no line is longer than this.
        let from = length.saturating_sub(64 * 1024);
        let read = file
            .seek(SeekFrom::Start(from))
            .and_then(|_| file.read_to_end(&mut text));
        read.map_err(|error| error.to_string())?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let mut reason = "begins".to_owned();
        let mut length = length;
        if whole < text.len() {
            let offset = from + u64::try_from(whole).unwrap_or_default();
            reason = put_aside(dir, offset, &text[whole..])?;
            file.set_len(offset).map_err(|error| error.to_string())?;
            length = offset;
        }
        let key = self.settings.key.as_ref();
        let key = key.map(|key| key.expose().as_bytes());
        let (seq, head) = match (last_line(&text[..whole], key)?, &self.last) {
            (Some(found), None) => found,
            // This process has written more than the file shows, or something else.
            (Some(found), Some(last)) if found.0 > last.0 || found == *last => found,
            (_, Some(last)) => {
                reason = "the file was taken away while it was written; its lines are missing here"
                    .into();
                last.clone()
            }
            (None, None) => match newest_closed(dir, key)? {
                Some(last) => last,
                None => (0, BEGINNING.to_owned()),
            },
        };
        let mut open = Open {
            file,
            length,
            seq,
            head,
            checked: (seq, Instant::now()),
        };
        let line = open.bound(&self.boot(&reason), key);
        open.append(&line)?;
        self.checkpoint(&mut open)?;
        Ok(open)
    }
}

impl Open {
    fn bound(&mut self, entry: &Entry, key: Option<&[u8]>) -> String {
        let text = Line::of(entry, self.seq + 1, &self.head).text();
        let hash = hash(key, &self.head, &text);
        self.seq += 1;
        let line = with_hash(&text, &hash);
        self.head = hash;
        format!("{line}\n")
    }

    fn append(&mut self, text: &str) -> Result<(), String> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| error.to_string())?;
        self.length += text.len() as u64;
        Ok(())
    }
}

fn opened(path: &Path) -> Result<File, String> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options
        .open(path)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn sync_dir(dir: &Path) -> Result<(), String> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| format!("{}: {error}", dir.display()))
}

fn locked(file: File) -> Result<File, String> {
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(file),
        Err(_) => Err("another process writes it".to_owned()),
    }
}

fn put_aside(dir: &Path, offset: u64, torn: &[u8]) -> Result<String, String> {
    let path = dir.join(format!("audit.torn-{offset}"));
    let kept = opened(&path).and_then(|mut file| {
        let written = file.write_all(torn).and_then(|()| file.sync_all());
        written.map_err(|error| error.to_string())
    });
    kept?;
    Ok(format!("a torn line at byte {offset} was put aside"))
}

/// Number and hash of the last line. `None`: there is none.
fn last_line(text: &[u8], key: Option<&[u8]>) -> Result<Option<(u64, String)>, String> {
    let text = String::from_utf8_lossy(text);
    let Some(last) = text.lines().next_back() else {
        return Ok(None);
    };
    let broken = "its last line is no line of an audit log; look at it with `forgeline audit verify`, and move it away";
    let (body, hash) = without_hash(last).ok_or(broken)?;
    let line: Line = serde_json::from_str(&body).map_err(|_| broken)?;
    if super::line::hash(key, &line.prev, &body) != hash {
        return Err("its last line is bound with another key than FORGELINE_AUDIT_KEY (or with none): set that one again, or move the files of the log to another directory, where they verify with their own key".to_owned());
    }
    Ok(Some((line.seq, hash.to_owned())))
}

/// The last line of the newest closed file: a process may have ended between two files.
fn newest_closed(dir: &Path, key: Option<&[u8]>) -> Result<Option<(u64, String)>, String> {
    match closed(dir)?.pop() {
        Some(path) => {
            let text = std::fs::read(&path).map_err(|error| error.to_string())?;
            last_line(&text, key)
        }
        None => Ok(None),
    }
}

/// The closed files of a directory, the oldest first.
pub(super) fn closed(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let bad = |error: std::io::Error| format!("{}: {error}", dir.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(dir).map_err(bad)?.collect();
    let mut paths: Vec<PathBuf> = entries
        .map_err(bad)?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_prefix("audit.")?.strip_suffix(".jsonl"));
            number.is_some_and(|number| {
                number.len() == 12 && number.bytes().all(|b| b.is_ascii_digit())
            })
        })
        .collect();
    paths.sort();
    Ok(paths)
}
