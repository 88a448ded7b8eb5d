//! Credentials of single projects: made for whoever made the project, kept as digests, and gone after a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::caller::{Caller, OneProject, Person, Scope, Via};

/// The tools that such a credential may call, for its own project.
pub const PROJECT_TOOLS: [&str; 4] = [
    "project_status",
    "project_check",
    "project_renew",
    "project_delete",
];

/// What such a credential may do.
pub const PROJECT_SCOPES: [Scope; 3] = [Scope::Read, Scope::Create, Scope::Delete];

/// Every credential begins so, for those who look for leaked ones.
const MARK: &str = "flp_";
/// How much of a credential is kept as it is, to tell credentials apart.
const PREFIX: usize = MARK.len() + 6;

/// A credential that was just made; shown once.
pub struct Minted {
    /// The bearer.
    pub token: String,
    /// Until when it counts.
    pub expires_at: Timestamp,
    /// What it allows: what `by` may do, as far as such a credential goes.
    pub scopes: BTreeSet<Scope>,
}

/// Why a credential could not be made or taken back.
#[derive(Debug, thiserror::Error)]
#[error("the credentials of projects in {path} cannot be {what}: {why}")]
pub struct StoreError {
    path: PathBuf,
    what: &'static str,
    why: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Kept {
    /// The first characters, for people.
    prefix: String,
    /// SHA-256 of the whole, in hexadecimal.
    digest: String,
    since: String,
    expires_at: Timestamp,
    /// What whoever ordered it may do, as far as such a credential goes.
    scopes: Vec<String>,
    /// The person who ordered it; asked about at every use. `None`: a program did.
    person: Option<KeptPerson>,
    /// Who ordered it, for a policy: name, how it was known, groups.
    maker: (String, String, Vec<String>),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct KeptPerson {
    gitea_user: Option<String>,
}

type Store = BTreeMap<String, Kept>;

/// The credentials in one data directory, at most one for a project. Cheap to clone.
#[derive(Clone)]
pub struct ProjectTokens {
    path: Arc<PathBuf>,
    lifetime: Duration,
    /// What the file holds; read once.
    store: Arc<Mutex<Option<Store>>>,
}

impl ProjectTokens {
    /// The credentials in this directory; new ones count for `lifetime`. Nothing is read or written yet.
    pub fn new(dir: &Path, lifetime: Duration) -> Self {
        Self {
            path: Arc::new(dir.join("project-tokens.json")),
            lifetime,
            store: Arc::default(),
        }
    }

    /// Makes a credential for a project; one that was there no longer counts. `since`: the run that began the project. It
    /// allows nothing that `by`, who orders it, may not do.
    ///
    /// # Errors
    /// It cannot be stored; then the old one still counts.
    pub fn mint(&self, project: &str, since: &str, by: &Caller) -> Result<Minted, StoreError> {
        let mut bytes = [0_u8; 32];
        let random = SystemRandom::new().fill(&mut bytes);
        random.map_err(|_| self.error("made", "the system gives no random bytes"))?;
        let token = format!("{MARK}{}", URL_SAFE_NO_PAD.encode(bytes));
        let lifetime = jiff::SignedDuration::try_from(self.lifetime).unwrap_or_default();
        let expires_at = Timestamp::now().checked_add(lifetime);
        let expires_at = expires_at.unwrap_or(Timestamp::MAX);
        let scopes = PROJECT_SCOPES.into_iter().filter(|scope| by.may(*scope));
        let scopes: BTreeSet<Scope> = scopes.collect();
        let kept = Kept {
            prefix: token[..PREFIX].to_owned(),
            digest: hex(&Sha256::digest(token.as_bytes())),
            since: since.to_owned(),
            expires_at,
            scopes: scopes
                .iter()
                .map(|scope| scope.as_str().to_owned())
                .collect(),
            person: by.person.as_ref().map(|person| KeptPerson {
                gitea_user: person.gitea_user.clone(),
            }),
            maker: (
                by.name.clone(),
                by.via.as_str().to_owned(),
                by.groups.clone(),
            ),
        };
        self.change(|store| {
            let now = Timestamp::now();
            store.retain(|_, kept| kept.expires_at > now);
            store.insert(project.to_owned(), kept);
        })?;
        Ok(Minted {
            token,
            expires_at,
            scopes,
        })
    }

    /// Takes a project's credential back. `false`: it had none.
    ///
    /// # Errors
    /// It cannot be stored; then the credential still counts.
    pub fn revoke(&self, project: &str) -> Result<bool, StoreError> {
        let mut was = false;
        self.change(|store| was = store.remove(project).is_some())?;
        Ok(was)
    }

    /// Whose credential this is. A store that cannot be read has none.
    pub(crate) fn owner(&self, presented: &str) -> Option<Caller> {
        if !presented.starts_with(MARK) {
            return None;
        }
        let digest = hex(&Sha256::digest(presented.as_bytes()));
        let mut store = self.locked();
        let all = self.read(&mut store).ok()?;
        let mut found = None;
        for (project, kept) in all.iter() {
            let same: bool = kept.digest.as_bytes().ct_eq(digest.as_bytes()).into();
            if same && kept.expires_at > Timestamp::now() {
                found = Some((project, kept));
            }
        }
        let (project, kept) = found?;
        let scopes = kept.scopes.iter().filter_map(|word| Scope::parse(word));
        let scopes: BTreeSet<Scope> = scopes.collect();
        let (name, via, groups) = &kept.maker;
        let maker = Caller {
            groups: groups.clone(),
            ..Caller::new(name, Via::parse(via)?, scopes.clone())
        };
        Some(Caller {
            person: kept.person.as_ref().map(|person| Person {
                gitea_user: person.gitea_user.clone(),
            }),
            project: Some(OneProject {
                name: project.clone(),
                since: kept.since.clone(),
                maker: Box::new(maker),
            }),
            ..Caller::new(
                format!("project:{project}:{}", kept.prefix),
                Via::Project,
                scopes,
            )
        })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Store>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<'a>(&self, store: &'a mut Option<Store>) -> Result<&'a mut Store, StoreError> {
        if store.is_none() {
            let read = match std::fs::read(&*self.path) {
                Ok(bytes) => serde_json::from_slice(&bytes)
                    .map_err(|error| self.error("read", &error.to_string()))?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Store::new(),
                Err(error) => return Err(self.error("read", &error.to_string())),
            };
            *store = Some(read);
        }
        Ok(store.get_or_insert_default())
    }

    /// Changes the file as a whole, durably, or not at all.
    fn change(&self, change: impl FnOnce(&mut Store)) -> Result<(), StoreError> {
        let mut store = self.locked();
        let mut changed = self.read(&mut store)?.clone();
        change(&mut changed);
        let failed = |error: std::io::Error| self.error("written", &error.to_string());
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(failed)?;
        // A temporary file is for its owner alone.
        let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
        let bytes = serde_json::to_vec(&changed).unwrap_or_default();
        file.write_all(&bytes).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&*self.path)
            .map_err(|error| failed(error.error))?;
        std::fs::File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
        *store = Some(changed);
        Ok(())
    }

    fn error(&self, what: &'static str, why: &str) -> StoreError {
        StoreError {
            path: self.path.to_path_buf(),
            what,
            why: why.to_owned(),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_credential_is_known_until_it_is_replaced_taken_back_or_over() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = ProjectTokens::new(dir.path(), DAY);
        let first = tokens
            .mint("shop", "run-1", &Caller::local("ada"))
            .unwrap()
            .token;
        let caller = tokens.owner(&first).unwrap();
        assert_eq!(caller.project.unwrap().name, "shop");
        // Another process finds it in the file, where the token itself does not stand.
        let again = ProjectTokens::new(dir.path(), DAY);
        assert!(again.owner(&first).is_some());
        let file = std::fs::read_to_string(dir.path().join("project-tokens.json")).unwrap();
        assert!(!file.contains(&first) && file.contains(&first[..PREFIX]));
        let second = again
            .mint("shop", "run-1", &Caller::local("ada"))
            .unwrap()
            .token;
        assert!(again.owner(&first).is_none() && again.owner(&second).is_some());
        assert!(again.revoke("shop").unwrap() && !again.revoke("shop").unwrap());
        assert!(again.owner(&second).is_none());
        let brief = ProjectTokens::new(dir.path(), Duration::ZERO);
        let over = brief
            .mint("other", "run-2", &Caller::local("ada"))
            .unwrap()
            .token;
        assert!(brief.owner(&over).is_none());
        assert!(tokens.owner("flp_").is_none() && tokens.owner("x").is_none());
    }

    #[test]
    fn a_credential_allows_nothing_that_its_maker_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = ProjectTokens::new(dir.path(), DAY);
        let maker = Caller {
            person: Some(Person {
                gitea_user: Some("ada".into()),
            }),
            ..Caller::new(
                "oidc:1",
                Via::Jwt,
                BTreeSet::from([Scope::Read, Scope::Create]),
            )
        };
        let minted = tokens.mint("shop", "run-1", &maker).unwrap();
        let caller = tokens.owner(&minted.token).unwrap();
        assert_eq!(
            (&caller.scopes, &caller.person),
            (&maker.scopes, &maker.person)
        );
        let long = ProjectTokens::new(dir.path(), Duration::MAX);
        assert!(long.mint("shop", "run-1", &maker).is_ok());
    }

    #[test]
    fn a_store_that_cannot_be_read_knows_nobody_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("project-tokens.json");
        std::fs::write(&path, "{broken").unwrap();
        let tokens = ProjectTokens::new(dir.path(), DAY);
        assert!(tokens.owner("flp_something").is_none());
        assert!(tokens.mint("shop", "run-1", &Caller::local("ada")).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{broken");
    }
}
