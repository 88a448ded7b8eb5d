//! What clients hold instead of a token: the token is taken anew for each request, as its file or Secret has it then.

use std::fmt;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::{Origin, Token, TokenError, TokenFault};

/// A token that may change under a running process. Cheap to clone.
#[derive(Clone)]
pub struct TokenHandle {
    inner: Arc<Handle>,
}

struct Handle {
    origin: Origin,
    current: Mutex<Current>,
}

struct Current {
    token: Token,
    /// The one before: what an upstream says of a request may still hold it.
    previous: Option<Token>,
    /// How the file looked when it was last read. `None`: it comes from no file.
    file: Option<Seen>,
    generation: u64,
    failures: u64,
    trouble: Option<TokenError>,
}

/// What tells that a file is another one, without reading it: a mounted Secret is swapped by a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    at: Instant,
    identity: Option<(u64, u64, u64, Option<SystemTime>)>,
}

/// How a token fares.
#[derive(Clone, Debug)]
pub struct TokenState {
    /// How often another value was taken over since the start.
    pub generation: u64,
    /// How often its place held something that is no token.
    pub failures: u64,
    /// What is wrong with its place now; the last good token is in use. `None`: nothing.
    pub trouble: Option<TokenError>,
}

/// A file that looks the same is read again after this time all the same: clocks of file systems are coarse.
const READ_AGAIN: Duration = Duration::from_secs(5);

impl TokenHandle {
    /// A handle on a token that does not change by itself; see [`TokenHandle::offer`].
    pub fn fixed(token: Token) -> Self {
        Self::build(token, None)
    }

    /// A handle on the token in a file; a new content is taken over with the next request, a bad one is not.
    ///
    /// # Errors
    /// The file cannot be read, or holds no token.
    pub fn from_file(origin: &Origin) -> Result<Self, TokenError> {
        let seen = seen(origin);
        Ok(Self::build(read(origin)?, Some(seen)))
    }

    fn build(token: Token, file: Option<Seen>) -> Self {
        let origin = token.origin().clone();
        let current = Mutex::new(Current {
            token,
            previous: None,
            file,
            generation: 0,
            failures: 0,
            trouble: None,
        });
        Self {
            inner: Arc::new(Handle { origin, current }),
        }
    }

    /// The token as of now.
    pub fn current(&self) -> Token {
        let mut current = self.locked();
        if let Some(before) = current.file {
            let now = seen(&self.inner.origin);
            if now.identity != before.identity || before.at.elapsed() >= READ_AGAIN {
                current.file = Some(now);
                let read = read(&self.inner.origin);
                current.take(read);
            }
        }
        current.token.clone()
    }

    /// An upstream has refused `used`: looks at the place again. `true`: there is another token now, worth one more try.
    pub fn was_refused(&self, used: &Token) -> bool {
        let mut current = self.locked();
        if current.file.is_some() {
            current.file = Some(seen(&self.inner.origin));
            let read = read(&self.inner.origin);
            current.take(read);
        }
        !current.token.is_same(used)
    }

    /// Takes over what a watch of its place has brought; what is no token is not taken. `None`: the place is gone.
    pub fn offer(&self, text: Option<&str>) {
        let origin = self.inner.origin.clone();
        let found = match text {
            Some(text) => Token::new(text, origin),
            None => Err(TokenError {
                origin,
                fault: TokenFault::Unreadable,
            }),
        };
        self.locked().take(found);
    }

    /// The text with stars for the token, and for the one before it: it may have been rotated during the request.
    pub fn redact(&self, text: &str) -> String {
        let current = self.locked();
        let text = current.token.redact(text);
        match &current.previous {
            Some(previous) => previous.redact(&text),
            None => text,
        }
    }

    /// How it fares; looks at its file first.
    pub fn state(&self) -> TokenState {
        self.current();
        let current = self.locked();
        TokenState {
            generation: current.generation,
            failures: current.failures,
            trouble: current.trouble.clone(),
        }
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.inner.origin
    }

    /// Every user of this machine can read its file.
    pub fn is_world_readable(&self) -> bool {
        let Origin::File { path, .. } = &self.inner.origin else {
            return false;
        };
        let metadata = std::fs::metadata(path);
        metadata.is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
    }

    fn locked(&self) -> MutexGuard<'_, Current> {
        let current = self.inner.current.lock();
        current.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn take(&mut self, found: Result<Token, TokenError>) {
        match found {
            Ok(token) => {
                self.trouble = None;
                if !token.is_same(&self.token) {
                    self.generation += 1;
                    tracing::info!(origin = %token.origin(), generation = self.generation, "a new token is in use");
                    self.previous = Some(std::mem::replace(&mut self.token, token));
                } else {
                    self.token = token;
                }
            }
            Err(error) => {
                if self.trouble.as_ref() != Some(&error) {
                    self.failures += 1;
                    tracing::warn!(%error, "the place of a token holds no token now; the last good one stays in use");
                }
                self.trouble = Some(error);
            }
        }
    }
}

impl fmt::Debug for TokenHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHandle(***)")
    }
}

fn path(origin: &Origin) -> Option<&Path> {
    match origin {
        Origin::File { path, .. } => Some(path),
        Origin::Variable(_) | Origin::Referred { .. } | Origin::Own(_) => None,
    }
}

fn seen(origin: &Origin) -> Seen {
    let metadata = path(origin).and_then(|path| std::fs::metadata(path).ok());
    Seen {
        at: Instant::now(),
        identity: metadata.map(|file| (file.dev(), file.ino(), file.len(), file.modified().ok())),
    }
}

fn read(origin: &Origin) -> Result<Token, TokenError> {
    let text = path(origin).and_then(|path| std::fs::read_to_string(path).ok());
    match text {
        Some(text) => Token::new(&text, origin.clone()),
        None => Err(TokenError {
            origin: origin.clone(),
            fault: TokenFault::Unreadable,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// As the kubelet does it: the file is a link to `..data/token`, and `..data` is swapped.
    fn swap(dir: &Path, name: &str, text: &str) {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("token"), text).unwrap();
        symlink(name, dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    }

    #[test]
    fn a_swapped_secret_counts_at_once_and_a_bad_one_never() {
        let dir = tempfile::tempdir().unwrap();
        swap(dir.path(), "..1", "first-token\n");
        symlink("..data/token", dir.path().join("token")).unwrap();
        let origin = Origin::File {
            variable: "GITEA_TOKEN".into(),
            path: dir.path().join("token"),
        };
        let handle = TokenHandle::from_file(&origin).unwrap();
        assert_eq!(handle.current().expose(), "first-token");
        swap(dir.path(), "..2", "second-token\n");
        assert_eq!(handle.current().expose(), "second-token");
        for (name, bad) in [("..3", ""), ("..4", "changeme"), ("..5", "a b")] {
            swap(dir.path(), name, bad);
            assert_eq!(handle.current().expose(), "second-token", "{bad:?}");
            assert!(handle.state().trouble.is_some(), "{bad:?}");
        }
        std::fs::remove_file(dir.path().join("token")).unwrap();
        assert_eq!(handle.current().expose(), "second-token");
        let state = handle.state();
        assert_eq!(state.trouble.unwrap().fault, TokenFault::Unreadable);
        assert_eq!((state.generation, state.failures), (1, 4));
        assert!(!handle.was_refused(&handle.current()));
    }

    #[test]
    fn a_watch_brings_a_token_and_never_takes_one() {
        let token = Token::new("first", Origin::variable("T")).unwrap();
        let handle = TokenHandle::fixed(token.clone());
        handle.offer(Some("second"));
        assert!(handle.was_refused(&token));
        assert_eq!(handle.redact("first, second, third"), "***, ***, third");
        handle.offer(Some(""));
        handle.offer(None);
        assert_eq!(handle.current().expose(), "second");
        assert_eq!(handle.state().failures, 2);
    }
}
