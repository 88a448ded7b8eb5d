//! Repositories without git: refs are files, commits are small JSON files, a push copies both. For sweeps of thousands
//! of schedules, where a process per operation would be most of the time. Such a repository cannot be cloned.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{Commit, refs};

/// The file that tells such a repository from a real one.
const MARK: &str = "copied";

#[derive(Clone, Serialize, Deserialize)]
struct Object {
    at: i64,
    parents: Vec<String>,
    message: String,
    files: BTreeMap<String, String>,
}

/// Whether a repository is of this kind.
pub(crate) fn is(dir: &Path) -> bool {
    dir.join(MARK).exists()
}

/// An empty repository.
pub(super) fn prepare(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir.join("refs"))?;
    std::fs::create_dir_all(dir.join("commits"))?;
    std::fs::write(dir.join(MARK), "")?;
    super::set_head(dir, "main")
}

/// Adds a commit to `branch`, which starts at `base` where it is not there.
pub(super) fn commit_from(
    dir: &Path,
    base: &str,
    branch: &str,
    message: &str,
    files: &BTreeMap<String, String>,
) -> Result<()> {
    let parent = head_of(dir, branch).or_else(|| head_of(dir, base));
    let mut all = match &parent {
        Some(parent) => read(dir, parent)?.files,
        None => BTreeMap::new(),
    };
    all.extend(files.clone());
    let parents = parent.into_iter().collect();
    let made = add(dir, parents, message, all)?;
    set(dir, &format!("refs/heads/{branch}"), &made)
}

/// The files of another repository's branch as one new first commit.
pub(super) fn generate(from: &Path, from_branch: &str, dir: &Path, branch: &str) -> Result<()> {
    let source = head_of(from, from_branch).ok_or_else(|| missing(from_branch))?;
    let made = add(
        dir,
        Vec::new(),
        "Initial commit",
        read(from, &source)?.files,
    )?;
    set(dir, &format!("refs/heads/{branch}"), &made)?;
    super::set_head(dir, branch)
}

/// A file of a branch: a name for its content, and its text.
pub(super) fn file(dir: &Path, branch: &str, path: &str) -> Option<(String, String)> {
    let text = read(dir, &head_of(dir, branch)?).ok()?.files.remove(path)?;
    Some((digest(&text), text))
}

/// A branch's files as a commit of the default branch.
pub(super) fn squash(dir: &Path, branch: &str) -> Result<()> {
    let default = super::head(dir);
    let from = head_of(dir, branch).ok_or_else(|| missing(branch))?;
    let parents = head_of(dir, &default).into_iter().collect();
    let made = add(dir, parents, "Squashed", read(dir, &from)?.files)?;
    set(dir, &format!("refs/heads/{default}"), &made)
}

/// Lets a branch stand where another one stands.
pub(super) fn point(dir: &Path, branch: &str, at: &str) -> Result<()> {
    let at = head_of(dir, at).ok_or_else(|| missing(at))?;
    set(dir, &format!("refs/heads/{branch}"), &at)
}

/// Removes a branch.
pub(super) fn delete_branch(dir: &Path, branch: &str) -> Result<()> {
    std::fs::remove_file(dir.join("refs/heads").join(branch))
}

/// The commits that `spec` names (a branch, an id, or `base..head`), newest first.
pub(super) fn commits(dir: &Path, spec: &str, limit: usize) -> Result<Vec<Commit>> {
    let (base, head) = spec.split_once("..").unwrap_or(("", spec));
    let known = if base.is_empty() {
        BTreeSet::new()
    } else {
        walk(dir, base)?.into_iter().map(|(id, _)| id).collect()
    };
    let mut found = walk(dir, head)?;
    found.retain(|(id, _)| !known.contains(id));
    found.truncate(limit);
    let commit = |(id, object): (String, Object)| Commit {
        id,
        at: object.at,
        parents: object.parents,
        message: object.message,
    };
    Ok(found.into_iter().map(commit).collect())
}

/// Makes the branches and tags of `to` those of `from`.
pub(crate) fn push(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from.join("commits"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join("commits").join(entry.file_name()))?;
    }
    let wanted = refs(from);
    for name in refs(to).keys().filter(|name| !wanted.contains_key(*name)) {
        std::fs::remove_file(to.join(name))?;
    }
    for (name, id) in &wanted {
        set(to, name, id)?;
    }
    Ok(())
}

/// A commit and what it follows, newest first.
fn walk(dir: &Path, spec: &str) -> Result<Vec<(String, Object)>> {
    let first = head_of(dir, spec).unwrap_or_else(|| spec.to_owned());
    let (mut open, mut seen, mut found) = (vec![first], BTreeSet::new(), Vec::new());
    while let Some(id) = open.pop() {
        if seen.insert(id.clone()) {
            let object = read(dir, &id)?;
            open.extend(object.parents.clone());
            found.push((id, object));
        }
    }
    Ok(found)
}

fn head_of(dir: &Path, branch: &str) -> Option<String> {
    let text = std::fs::read_to_string(dir.join("refs/heads").join(branch)).ok()?;
    Some(text.trim().to_owned())
}

fn add(
    dir: &Path,
    parents: Vec<String>,
    message: &str,
    files: BTreeMap<String, String>,
) -> Result<String> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let object = Object {
        at: jiff::Timestamp::now().as_second(),
        parents,
        message: message.to_owned(),
        files,
    };
    let text = serde_json::to_string(&object)?;
    let id = digest(&format!("{}{text}", MADE.fetch_add(1, Ordering::Relaxed)));
    std::fs::write(path(dir, &id), text)?;
    Ok(id)
}

fn read(dir: &Path, id: &str) -> Result<Object> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path(
        dir, id,
    ))?)?)
}

fn path(dir: &Path, id: &str) -> PathBuf {
    dir.join("commits").join(id)
}

fn set(dir: &Path, name: &str, id: &str) -> Result<()> {
    let path = dir.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, id)
}

fn missing(branch: &str) -> Error {
    Error::other(format!("there is no branch {branch}"))
}

/// 40 hexadecimal digits, as git's ids have.
fn digest(text: &str) -> String {
    let part = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, text).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    let mut all: String = (0..3).map(part).collect();
    all.truncate(40);
    all
}
