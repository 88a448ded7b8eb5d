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
#[derive(Clone, Default)]
pub struct Verifier {
    key: Option<Vec<u8>>,
    public: Option<Vec<u8>>,
    checkpoints: Option<PathBuf>,
    without_older: bool,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
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

    /// Also takes a log whose older files are kept elsewhere: it begins with a later line.
    #[must_use]
    pub fn without_older(self, without_older: bool) -> Self {
        Self {
            without_older,
            ..self
        }
    }

    /// Looks at a log: a directory with its closed files, or one file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn look(&self, log: &Path) -> Result<Finding, String> {
        let dir = if log.is_dir() {
            log
        } else {
            log.parent().unwrap_or(Path::new("."))
        };
        // Before the log: a server may go on writing both.
        let checkpoints = self.checkpoints_in(dir)?;
        for _ in 0..5 {
            let files = files(log)?;
            let finding = self.look_at(&files, checkpoints.as_deref())?;
            // A file may have been closed in between.
            if finding.verdict == Verdict::Intact || self::files(log)? == files {
                return Ok(finding);
            }
        }
        Err(format!(
            "{} changes faster than it can be read",
            log.display()
        ))
    }

    fn checkpoints_in(&self, dir: &Path) -> Result<Option<String>, String> {
        let own = dir.join(CHECKPOINTS);
        let path = self.checkpoints.as_ref().unwrap_or(&own);
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && self.checkpoints.is_none() =>
            {
                Ok(None)
            }
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        }
    }

    fn look_at(&self, files: &[PathBuf], checkpoints: Option<&str>) -> Result<Finding, String> {
        let mut reading = Reading::new(self.key.as_deref());
        let mut torn = None;
        for (number, path) in files.iter().enumerate() {
            let bytes = match std::fs::read(path) {
                Ok(bytes) => bytes,
                // The log of which nothing but checkpoints or older files is left.
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && (checkpoints.is_some() || files.len() > 1) =>
                {
                    Vec::new()
                }
                Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
            };
            let last = number + 1 == files.len();
            match reading.file(&bytes) {
                Ok(None) => {}
                Ok(Some(why)) if last => torn = Some(format!("{}: {why}", path.display())),
                Ok(Some(why)) | Err(why) => {
                    let why = format!("{}: {why}", path.display());
                    return Ok(reading.finding(Verdict::Tampered, Some(why), 0));
                }
            }
        }
        let compared = self.compared(&reading, files, checkpoints);
        let began_late = reading.first > 1 && !self.without_older;
        Ok(match (compared, torn) {
            (Err((verdict, why)), _) => reading.finding(verdict, Some(why), 0),
            (Ok(count), Some(torn)) => reading.finding(Verdict::Short, Some(torn), count),
            (Ok(count), None) if began_late => {
                let why = format!(
                    "it begins with line {}: what came before is missing (or kept elsewhere: --without-older)",
                    reading.first
                );
                reading.finding(Verdict::Short, Some(why), count)
            }
            (Ok(count), None) => reading.finding(Verdict::Intact, None, count),
        })
    }

    fn compared(
        &self,
        reading: &Reading<'_>,
        files: &[PathBuf],
        checkpoints: Option<&str>,
    ) -> Result<usize, (Verdict, String)> {
        let short = |why: &str| Err((Verdict::Short, why.to_owned()));
        let closed = match files {
            [only] => number_of(only),
            _ => None,
        };
        // A file without a whole checkpoint is as good as none.
        let any = |text: &&str| checkpoint::read(text, None).is_ok_and(|all| !all.is_empty());
        match checkpoints.filter(any) {
            Some(text) => self.compare(reading, text, closed),
            None if self.public.is_some() => {
                short("there are no checkpoints that the key could have signed")
            }
            None if files.len() > 1 || checkpoints.is_some() => {
                short("the checkpoints that were made are missing")
            }
            None => Ok(0),
        }
    }

    /// `closed`: the number of the last line of the one file that was given; later checkpoints are of later files.
    fn compare(
        &self,
        reading: &Reading<'_>,
        text: &str,
        closed: Option<u64>,
    ) -> Result<usize, (Verdict, String)> {
        let all = checkpoint::read(text, self.public.as_deref())
            .map_err(|why| (Verdict::Tampered, why))?;
        let mut compared = 0;
        let known = |one: &&checkpoint::Checkpoint| closed.is_none_or(|last| one.count <= last);
        for one in all.iter().filter(known) {
            match reading.heads.get(&one.count) {
                Some(head) if *head == one.head => compared += 1,
                Some(_) => {
                    let why = format!(
                        "line {} is not the one that the checkpoint of {} knows: the log was written anew",
                        one.count, one.at
                    );
                    return Err((Verdict::Tampered, why));
                }
                // An older file that was not given.
                None if one.count < reading.first && reading.seq > 0 => {}
                None => {
                    let why = format!(
                        "the checkpoint of {} knows {} lines, there are {}: the end is missing",
                        one.at, one.count, reading.seq
                    );
                    return Err((Verdict::Short, why));
                }
            }
        }
        Ok(compared)
    }
}

fn files(log: &Path) -> Result<Vec<PathBuf>, String> {
    if !log.is_dir() {
        return Ok(vec![log.to_owned()]);
    }
    let mut files = closed(log)?;
    files.push(log.join(FILE));
    Ok(files)
}

/// The number of the last line of a closed file, by its name.
fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("audit.")?
        .strip_suffix(".jsonl")?
        .parse()
        .ok()
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

    /// Whether it ends in a part of a line, and which. `Err`: what was changed.
    fn file(&mut self, bytes: &[u8]) -> Result<Option<String>, String> {
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let text = std::str::from_utf8(&bytes[..whole]);
        for line in text.map_err(|_| "it is no text")?.lines() {
            self.line(line)?;
        }
        let torn = || {
            format!(
                "after line {} stands a part of a line, at byte {whole}",
                self.seq
            )
        };
        Ok((whole < bytes.len()).then(torn))
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
