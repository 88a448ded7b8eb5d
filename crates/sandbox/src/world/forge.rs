//! A forge's repositories, issues and push mirrors. Names are unique without regard to case.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// The repositories of one forge.
#[derive(Debug, Default)]
pub(crate) struct Forge {
    pub(crate) repositories: BTreeMap<u64, Repository>,
    /// Former full names in lower case to the id they lead to.
    pub(crate) moved: BTreeMap<String, u64>,
    next_id: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) id: u64,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) private: bool,
    pub(crate) archived: bool,
    pub(crate) topics: Vec<String>,
    pub(crate) created_at: Timestamp,
    /// When somebody last pushed to it.
    pub(crate) pushed_at: Timestamp,
    pub(crate) stars: usize,
    /// The user who created it.
    pub(crate) creator: String,
    pub(crate) issues: Vec<Issue>,
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) pulls: Vec<Pull>,
    /// Id and name.
    pub(crate) labels: Vec<(u64, String)>,
    /// Others can be generated from it.
    pub(crate) template: bool,
    /// It was generated and its branches were never listed.
    pub(crate) unlisted: bool,
}

/// A pull request into the default branch.
#[derive(Clone, Debug)]
pub(crate) struct Pull {
    pub(crate) number: u64,
    pub(crate) branch: String,
    pub(crate) title: String,
    pub(crate) open: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Issue {
    /// Ids of the repository's labels.
    pub(crate) labels: Vec<u64>,
    pub(crate) number: u64,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) state: String,
    pub(crate) user: String,
    pub(crate) created_at: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) remote_name: String,
    pub(crate) remote_address: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) created: Timestamp,
    pub(crate) last_update: Option<Timestamp>,
    pub(crate) last_error: String,
    pub(crate) interval: String,
    pub(crate) sync_on_commit: bool,
}

impl Repository {
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// When something last happened in it.
    pub(crate) fn active_at(&self) -> Timestamp {
        let issues = self.issues.iter().map(|issue| issue.created_at);
        issues.fold(self.created_at.max(self.pushed_at), Timestamp::max)
    }

    pub(crate) fn is(&self, owner: &str, name: &str) -> bool {
        self.owner.eq_ignore_ascii_case(owner) && self.name.eq_ignore_ascii_case(name)
    }

    pub(crate) fn next_issue(&self) -> u64 {
        self.issues
            .iter()
            .map(|issue| issue.number)
            .max()
            .unwrap_or(0)
            + 1
    }
}

impl Forge {
    /// Somebody pushed to it.
    pub(crate) fn pushed(&mut self, id: u64) {
        if let Some(found) = self.repositories.get_mut(&id) {
            found.pushed_at = super::now();
        }
    }

    pub(crate) fn find(&self, owner: &str, name: &str) -> Option<&Repository> {
        self.repositories
            .values()
            .find(|repository| repository.is(owner, name))
    }

    pub(crate) fn find_mut(&mut self, owner: &str, name: &str) -> Option<&mut Repository> {
        self.repositories
            .values_mut()
            .find(|repository| repository.is(owner, name))
    }

    /// Adds a repository unless the name is taken.
    pub(crate) fn add(
        &mut self,
        owner: &str,
        name: &str,
        description: &str,
        private: bool,
        creator: &str,
    ) -> Option<u64> {
        if self.find(owner, name).is_some() {
            return None;
        }
        let id = self.add_unchecked(owner, name);
        let made = self.repositories.get_mut(&id)?;
        description.clone_into(&mut made.description);
        creator.clone_into(&mut made.creator);
        made.private = private;
        Some(id)
    }

    /// Adds a public repository of `someone`, whose name must be free.
    pub(crate) fn add_unchecked(&mut self, owner: &str, name: &str) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.moved.remove(&format!("{owner}/{name}").to_lowercase());
        let repository = Repository {
            id,
            owner: owner.to_owned(),
            name: name.to_owned(),
            description: String::new(),
            private: false,
            archived: false,
            topics: Vec::new(),
            created_at: super::now(),
            pushed_at: super::now(),
            stars: 0,
            creator: "someone".to_owned(),
            issues: Vec::new(),
            mirrors: Vec::new(),
            pulls: Vec::new(),
            labels: Vec::new(),
            template: false,
            unlisted: false,
        };
        self.repositories.insert(id, repository);
        id
    }

    /// Where a former name leads.
    pub(crate) fn moved_to(&self, owner: &str, name: &str) -> Option<u64> {
        self.moved
            .get(&format!("{owner}/{name}").to_lowercase())
            .copied()
    }

    pub(crate) fn rename(&mut self, id: u64, name: &str) {
        if let Some(repository) = self.repositories.get_mut(&id) {
            self.moved.insert(repository.full_name().to_lowercase(), id);
            name.clone_into(&mut repository.name);
        }
    }
}
