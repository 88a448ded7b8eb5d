//! Looks whether a log is as it was written; needs nothing but copies of its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::line::{BEGINNING, Line, hash, without_hash};
use super::writer::closed;
use super::{CHECKPOINTS, FILE, checkpoint};

/// What a log was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every line is as it was written, and none is missing that a checkpoint knows.
    Intact,
    /// A line was changed, taken out, put in or moved, or the whole was written anew.
    Tampered,
    /// Lines at the end are missing, or the last one is not whole.
    Short,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// How many lines hold, up to the first that does not.
    pub lines: u64,
    /// What is wrong and where. `None`: nothing.
    pub why: Option<String>,
    /// Lines are bound with a key; without it nobody can bind others.
    pub keyed: bool,
    /// Checkpoints that were compared.
    pub checkpoints: usize,
    /// Intents without an outcome: what was being done when a process ended.
    pub open: Vec<String>,
}

/// What to look at, and with which keys.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    key: Option<Vec<u8>>,
    public: Option<Vec<u8>>,
    checkpoints: Option<PathBuf>,
}

impl Verifier {
    /// With the key that lines are bound with. `None`: they are bound without.
    #[must_use]
    pub fn with_key(self, key: Option<Vec<u8>>) -> Self {
        Self { key, ..self }
    }

    /// With the public key that checkpoints must be signed with. `None`: signatures are not looked at.
    #[must_use]
    pub fn with_public(self, public: Option<Vec<u8>>) -> Self {
        Self { public, ..self }
    }

    /// With checkpoints from elsewhere. `None`: those beside the log.
    #[must_use]
    pub fn with_checkpoints(self, checkpoints: Option<PathBuf>) -> Self {
        Self {
            checkpoints,
            ..self
        }
    }

    /// Looks at a log: a directory with its closed files, or one file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn look(&self, log: &Path) -> Result<Finding, String> {
        let (files, dir) = if log.is_dir() {
            let mut files = closed(log);
            let last = log.join(FILE);
            if last.exists() || files.is_empty() {
                files.push(last);
            }
            (files, log.to_owned())
        } else {
            let dir = log.parent().unwrap_or(Path::new("."));
            (vec![log.to_owned()], dir.to_owned())
        };
        let mut reading = Reading::new(self.key.as_deref());
        for path in &files {
            let bytes = std::fs::read(path)
                .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            if let Err((verdict, why)) = reading.file(&bytes) {
                return Ok(reading.finding(verdict, Some(format!("{}: {why}", path.display())), 0));
            }
        }
        let path = self
            .checkpoints
            .clone()
            .unwrap_or_else(|| dir.join(CHECKPOINTS));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(_) if self.checkpoints.is_none() => String::new(),
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        };
        Ok(match self.compare(&reading, &text) {
            Ok(count) => reading.finding(Verdict::Intact, None, count),
            Err((verdict, why)) => reading.finding(verdict, Some(why), 0),
        })
    }

    fn compare(&self, reading: &Reading, text: &str) -> Result<usize, (Verdict, String)> {
        let all = checkpoint::read(text, self.public.as_deref())
            .map_err(|why| (Verdict::Tampered, why))?;
        for one in &all {
            match reading.heads.get(&one.count) {
                Some(head) if *head == one.head => {}
                Some(_) => {
                    let why = format!(
                        "line {} is not the one that the checkpoint of {} knows: the log was written anew",
                        one.count, one.at
                    );
                    return Err((Verdict::Tampered, why));
                }
                // An older file that was not given.
                None if one.count < reading.first => {}
                None => {
                    let why = format!(
                        "the checkpoint of {} knows {} lines, there are {}: the end is missing",
                        one.at, one.count, reading.seq
                    );
                    return Err((Verdict::Short, why));
                }
            }
        }
        Ok(all.len())
    }
}

struct Reading<'a> {
    key: Option<&'a [u8]>,
    /// The number of the first line, of the last one, and the last one's hash.
    first: u64,
    seq: u64,
    head: Option<String>,
    heads: BTreeMap<u64, String>,
    open: BTreeMap<String, String>,
}

type Wrong = (Verdict, String);

impl<'a> Reading<'a> {
    fn new(key: Option<&'a [u8]>) -> Self {
        Self {
            key,
            first: 1,
            seq: 0,
            head: None,
            heads: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    fn file(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let text = std::str::from_utf8(&bytes[..whole]);
        let text = text.map_err(|_| (Verdict::Tampered, "it is no text".to_owned()))?;
        for line in text.lines() {
            self.line(line).map_err(|why| (Verdict::Tampered, why))?;
        }
        if whole < bytes.len() {
            let why = format!(
                "after line {} stands a part of a line, at byte {whole}",
                self.seq
            );
            return Err((Verdict::Short, why));
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let at = self.seq + 1;
        let (text, told) = without_hash(line).ok_or_else(|| format!("line {at} has no hash"))?;
        let read: Line = serde_json::from_str(&text)
            .map_err(|_| format!("line {at} is no line of an audit log"))?;
        let before = match &self.head {
            Some(head) => head.clone(),
            None if read.seq == 1 => BEGINNING.to_owned(),
            // A later file alone: what came before it is not known here.
            None => {
                self.first = read.seq;
                self.seq = read.seq.saturating_sub(1);
                read.prev.clone()
            }
        };
        let at = self.seq + 1;
        if read.seq != at {
            return Err(format!("line {at} has the number {}", read.seq));
        }
        if read.prev != before {
            return Err(format!("line {at} does not follow the line before it"));
        }
        if hash(self.key, &before, &text) != told {
            return Err(format!(
                "line {at} is not what its hash says (or the key is another one)"
            ));
        }
        match read.phase.as_str() {
            "intent" => {
                let what = format!("{} {} {} ({})", read.ts, read.tool, read.target, read.id);
                self.open.insert(read.id, what);
            }
            "outcome" => {
                self.open.remove(&read.id);
            }
            _ => {}
        }
        self.seq = at;
        self.head = Some(told.to_owned());
        self.heads.insert(at, told.to_owned());
        Ok(())
    }

    fn finding(self, verdict: Verdict, why: Option<String>, checkpoints: usize) -> Finding {
        Finding {
            verdict,
            lines: self.seq + 1 - self.first,
            why,
            keyed: self.key.is_some(),
            checkpoints,
            open: self.open.into_values().collect(),
        }
    }
}
