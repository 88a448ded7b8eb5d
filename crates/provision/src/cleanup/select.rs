//! Which of the things that were seen may be removed. Pure: the same world, journal and rules give the same answer.

use std::collections::BTreeMap;
use std::time::Duration;

use forgeline_step_engine::{RunId, RunState};
use jiff::Timestamp;

use crate::removal::TargetKind;

/// Something that a survey found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) kind: TargetKind,
    /// `acme/shop`, a namespace, or a branch.
    pub(crate) name: String,
    /// The repository that a branch is in; empty for the others.
    pub(crate) within: String,
    pub(crate) id: String,
    pub(crate) url: String,
    /// The project's name as the thing itself says it, else what its own name says.
    pub(crate) project: String,
    pub(crate) mark: Option<Mark>,
    pub(crate) created_at: Timestamp,
    /// When something last happened in it. `None`: it does not say.
    pub(crate) active_at: Option<Timestamp>,
    pub(crate) archived: bool,
    pub(crate) topics: Vec<String>,
    /// Somebody starred it.
    pub(crate) starred: bool,
}

/// What a thing says of the run that made it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mark {
    pub(crate) run: RunId,
    /// Until when an unfinished creation claims its name. `None`: it is finished.
    pub(crate) claimed_until: Option<Timestamp>,
    /// When a throwaway ends. `None`: it is none, or does not say so.
    pub(crate) expires_at: Option<Timestamp>,
}

/// What the journal knows of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnownRun {
    pub(crate) subject: String,
    pub(crate) state: RunState,
    /// No later run for the same subject.
    pub(crate) is_newest: bool,
    /// The newest run for the same subject is live, or owes a last look.
    pub(crate) busy: bool,
    /// When its throwaway ends, by the newest run that says so.
    pub(crate) expires_at: Option<Timestamp>,
    /// Names and ids that its receipts hold, by kind: what it made, and nothing else.
    pub(crate) receipts: BTreeMap<TargetKind, (String, String)>,
    /// What its mirror pushed, fingerprinted as a repository's refs are. `None`: nothing, or more than one ref.
    pub(crate) pushed: Option<String>,
}

/// What may be removed at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Owners on the forges that clean-up may touch. Empty: nothing may be touched.
    pub owners: Vec<String>,
    /// Names or globs that are never touched, as `name` or `owner/name`.
    pub keep: Vec<String>,
}

/// What a call asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanupQuery {
    /// Globs on the name. `None`: `test-throwaway-*`, for what bears no marks; everything else is asked for by its marks.
    pub matching: Option<Vec<String>>,
    /// What is younger is kept.
    pub older_than: Duration,
    /// More deletions than this make no plan that can be applied.
    pub max: usize,
}

impl Default for CleanupQuery {
    fn default() -> Self {
        Self {
            matching: None,
            older_than: Duration::from_secs(60 * 60),
            max: 20,
        }
    }
}

/// The globs of a call that gives none.
const DEFAULT_MATCH: &str = "test-throwaway-*";
/// The topic of what is never removed.
const KEEP: &str = "keep";

/// What is to be done with a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Nobody asked for it.
    Ignore,
    /// It was asked for and is protected.
    Keep(String),
    /// It may go, unless a closer look finds somebody's work in it.
    Candidate { evidence: &'static str, why: String },
}

/// Everything that a selection is made from.
pub(crate) struct Selector<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) query: &'a CleanupQuery,
    pub(crate) known: &'a BTreeMap<RunId, KnownRun>,
    /// Subjects whose newest run is live.
    pub(crate) busy: &'a [String],
    /// `owner/name` of the infra repository; empty when there is none.
    pub(crate) infra: &'a str,
    pub(crate) now: Timestamp,
}

impl Selector<'_> {
    pub(crate) fn select(&self, found: &Found) -> Selection {
        if !self.is_allowed(found) || !self.is_asked_for(found) {
            return Selection::Ignore;
        }
        let wanted = match &found.mark {
            Some(mark) => self.marked(found, mark),
            None => self.unmarked(found),
        };
        match wanted {
            Selection::Candidate { evidence, why } => match self.protection(found, evidence) {
                Some(why) => Selection::Keep(why),
                None => Selection::Candidate { evidence, why },
            },
            other => other,
        }
    }

    /// A namespace and a branch have no owner of their own: the branch's repository is configured.
    fn is_allowed(&self, found: &Found) -> bool {
        let owner = match found.kind {
            TargetKind::Namespace | TargetKind::Branch => return !self.rules.owners.is_empty(),
            _ => found.name.split('/').next().unwrap_or_default(),
        };
        let mut owners = self.rules.owners.iter();
        owners.any(|allowed| allowed.eq_ignore_ascii_case(owner))
    }

    fn is_asked_for(&self, found: &Found) -> bool {
        let Some(globs) = &self.query.matching else {
            return true;
        };
        globs.iter().any(|glob| matches(glob, short(found)))
    }

    fn unmarked(&self, found: &Found) -> Selection {
        let default = || matches(DEFAULT_MATCH, short(found));
        if self.query.matching.is_some() || default() {
            let why = "its name matches and it bears no marks".to_owned();
            return Selection::Candidate {
                evidence: "name_only",
                why,
            };
        }
        Selection::Ignore
    }

    fn marked(&self, found: &Found, mark: &Mark) -> Selection {
        let past = |at: Option<Timestamp>| at.filter(|at| *at <= self.now);
        let Some(run) = self.known.get(&mark.run) else {
            let candidate = |evidence, why| Selection::Candidate { evidence, why };
            return match (past(mark.expires_at), past(mark.claimed_until)) {
                (Some(at), _) => candidate("marker", format!("a throwaway that ended at {at:.0}")),
                (_, Some(at)) => candidate(
                    "claim",
                    format!(
                        "an unfinished creation of run {}, given up at {at:.0}",
                        mark.run
                    ),
                ),
                _ => Selection::Keep(format!(
                    "run {} made it, which this journal does not know",
                    mark.run
                )),
            };
        };
        if run.busy {
            return Selection::Keep(format!(
                "a run of the project `{}` is under way",
                run.subject
            ));
        }
        if let Some((name, id)) = run.receipts.get(&found.kind) {
            let same = if found.kind == TargetKind::Branch {
                name == &found.name
            } else {
                id == &found.id
            };
            if !same {
                return Selection::Keep(format!(
                    "it bears the marks of run {}, whose receipt names another one",
                    mark.run
                ));
            }
            if !name.eq_ignore_ascii_case(&found.name) {
                return Selection::Keep(format!("it was renamed; run {} made {name}", mark.run));
            }
        }
        let candidate = |why| Selection::Candidate {
            evidence: "receipt",
            why,
        };
        match (run.state, past(run.expires_at)) {
            (_, Some(at)) => candidate(format!("a throwaway that ended at {at:.0}")),
            (RunState::Failed | RunState::Stuck | RunState::Abandoned, _) if run.is_newest => {
                candidate(format!("left by run {} ({})", mark.run, run.state.as_str()))
            }
            (_, None) if run.expires_at.is_some() && self.query.matching.is_some() => {
                Selection::Keep("a throwaway whose time is not over".into())
            }
            _ => Selection::Ignore,
        }
    }

    fn protection(&self, found: &Found, evidence: &str) -> Option<String> {
        let denied = |glob: &&String| matches(glob, short(found)) || matches(glob, &found.name);
        if let Some(glob) = self.rules.keep.iter().find(denied) {
            return Some(format!("`{glob}` is on the list of what is kept"));
        }
        if found.kind != TargetKind::Branch && found.name.eq_ignore_ascii_case(self.infra) {
            return Some("it is the infra repository".into());
        }
        if found
            .topics
            .iter()
            .any(|topic| topic.eq_ignore_ascii_case(KEEP))
        {
            return Some("it has the topic `keep`".into());
        }
        if found.archived {
            return Some("somebody else has archived it".into());
        }
        if self.busy.contains(&found.project) {
            return Some(format!(
                "a run of the project `{}` is under way",
                found.project
            ));
        }
        let since = self
            .now
            .checked_sub(self.query.older_than)
            .unwrap_or(self.now);
        if found.created_at > since {
            return Some(format!(
                "it was made at {:.0}, which is too young",
                found.created_at
            ));
        }
        let active = found
            .active_at
            .filter(|at| evidence == "name_only" && *at > since);
        if let Some(at) = active {
            return Some(format!("somebody used it at {at:.0}"));
        }
        (evidence == "name_only" && found.starred).then(|| "somebody starred it".into())
    }
}

/// The name that globs are held against.
fn short(found: &Found) -> &str {
    match found.kind {
        TargetKind::Branch => found.name.strip_prefix("staging/").unwrap_or(&found.name),
        _ => found.name.rsplit('/').next().unwrap_or(&found.name),
    }
}

/// `*` stands for any characters, `?` for one; everything else for itself, without regard to case.
pub(crate) fn matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (
        glob.to_lowercase().chars().collect(),
        name.to_lowercase().chars().collect(),
    );
    let (mut g, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        match glob.get(g) {
            Some('*') => {
                back = Some((g, n));
                g += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                g += 1;
                n += 1;
            }
            _ => {
                let Some((star, from)) = back else {
                    return false;
                };
                back = Some((star, from + 1));
                (g, n) = (star + 1, from + 1);
            }
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_stands_for_the_whole_name() {
        for (glob, name, fits) in [
            ("test-throwaway-*", "test-throwaway-1", true),
            ("test-throwaway-*", "my-test-throwaway-1", false),
            ("test-throwaway-*", "test-throwaway", false),
            ("*-prod", "shop-prod", true),
            ("*-prod", "shop-prod-2", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("?", "a", true),
            ("?", "", false),
            ("SHOP", "shop", true),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(glob, name), fits, "{glob} and {name}");
        }
    }

    fn found(mark: Option<Mark>) -> Found {
        let old = Timestamp::UNIX_EPOCH;
        Found {
            kind: TargetKind::GiteaRepository,
            name: "acme/shop".into(),
            within: String::new(),
            id: "7".into(),
            url: String::new(),
            project: "shop".into(),
            mark,
            created_at: old,
            active_at: Some(old),
            archived: false,
            topics: Vec::new(),
            starred: false,
        }
    }

    fn known(run: &RunId, change: impl FnOnce(&mut KnownRun)) -> BTreeMap<RunId, KnownRun> {
        let mut known = KnownRun {
            subject: "shop".into(),
            state: RunState::Failed,
            is_newest: true,
            busy: false,
            expires_at: None,
            receipts: [(
                TargetKind::GiteaRepository,
                ("acme/shop".into(), "7".into()),
            )]
            .into(),
            pushed: None,
        };
        change(&mut known);
        BTreeMap::from([(run.clone(), known)])
    }

    fn selected(run: &RunId, change: impl FnOnce(&mut KnownRun)) -> Selection {
        let rules = Rules {
            owners: vec!["acme".into()],
            keep: Vec::new(),
        };
        let mark = Mark {
            run: run.clone(),
            claimed_until: None,
            expires_at: None,
        };
        let selector = Selector {
            rules: &rules,
            query: &CleanupQuery::default(),
            known: &known(run, change),
            busy: &[],
            infra: "acme/infra",
            now: Timestamp::now(),
        };
        selector.select(&found(Some(mark)))
    }

    #[test]
    fn what_a_run_left_goes_only_while_it_is_the_newest_and_the_receipt_fits() {
        let run = RunId::new();
        let goes = |selection: &Selection| matches!(selection, Selection::Candidate { .. });
        assert!(goes(&selected(&run, |_| {})));
        assert!(goes(&selected(&run, |run| run.state = RunState::Stuck)));
        assert!(!goes(&selected(&run, |run| run.state = RunState::Succeeded)));
        assert!(!goes(&selected(&run, |run| run.is_newest = false)));
        assert!(!goes(&selected(&run, |run| run.busy = true)));
        let another = ("acme/shop".to_owned(), "8".to_owned());
        assert!(!goes(&selected(&run, |run| {
            run.receipts.insert(TargetKind::GiteaRepository, another);
        })));
        let renamed = ("acme/former".to_owned(), "7".to_owned());
        assert!(!goes(&selected(&run, |run| {
            run.receipts.insert(TargetKind::GiteaRepository, renamed);
        })));
    }
}
