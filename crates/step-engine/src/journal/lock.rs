//! One process writes a journal: an operating-system file lock, and a note of who has it.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::JournalError;

/// Who holds a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process id.
    pub pid: u32,
    /// What it does, for example `forgeline serve`.
    pub what: String,
    /// Since when.
    pub since: Timestamp,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` (process {}, since {:.0})",
            self.what, self.pid, self.since
        )
    }
}

/// The lock; let go of when dropped, and by the operating system when the process ends.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

const NAME: &str = "journal.lock";

impl DirLock {
    pub(crate) fn take(dir: &Path, what: &str) -> Result<Self, JournalError> {
        let unwritable = |why: std::io::Error| JournalError::Unwritable {
            path: dir.to_owned(),
            why: why.to_string(),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(NAME))
            .map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Held {
                    path: dir.to_owned(),
                    holder: read_holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let holder = Holder {
            pid: std::process::id(),
            what: what.to_owned(),
            since: Timestamp::now(),
        };
        let note = serde_json::to_vec(&holder).unwrap_or_default();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&note))
            .map_err(unwritable)?;
        Ok(Self { _file: file })
    }

    /// Who holds the journal in this directory now. `None`: nobody.
    pub(crate) fn holder(dir: &Path) -> Option<Holder> {
        let mut file = File::open(dir.join(NAME)).ok()?;
        match file.try_lock_shared() {
            Ok(()) => None,
            Err(_) => Some(read_holder(&mut file)),
        }
    }
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    read.ok()
        .and_then(|_| serde_json::from_str(&text).ok())
        .unwrap_or(Holder {
            pid: 0,
            what: "another process".into(),
            since: Timestamp::UNIX_EPOCH,
        })
}
