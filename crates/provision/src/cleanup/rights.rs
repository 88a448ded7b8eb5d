//! What the tokens may not remove, asked once for each owner.

use std::collections::BTreeMap;

use forgeline_kubernetes::Review;
use tokio::sync::Mutex;

use crate::removal::{Target, TargetKind};
use crate::upstreams::Upstreams;

/// The rights of this program's tokens, as far as the systems tell them.
pub(crate) struct Rights<'a> {
    upstreams: &'a Upstreams,
    /// System and owner to what is missing.
    known: Mutex<BTreeMap<(TargetKind, String), Option<String>>>,
}

impl<'a> Rights<'a> {
    pub(crate) fn new(upstreams: &'a Upstreams) -> Self {
        Self {
            upstreams,
            known: Mutex::default(),
        }
    }

    /// What keeps this program from removing the target. `None`: nothing that can be known before.
    pub(crate) async fn missing(&self, target: &Target) -> Option<String> {
        let owner = target.repository().map(|name| name.owner().to_owned());
        let key = (target.kind, owner.unwrap_or_default());
        let mut known = self.known.lock().await;
        if let Some(missing) = known.get(&key) {
            return missing.clone();
        }
        let missing = self.ask(&key).await;
        known.insert(key, missing.clone());
        missing
    }

    async fn ask(&self, (kind, owner): &(TargetKind, String)) -> Option<String> {
        match kind {
            TargetKind::GithubRepository => {
                let account = self.upstreams.github.account().await.ok()?;
                let lacks = !account.scopes?.iter().any(|scope| scope == "delete_repo");
                let credential = crate::refusal::named(self.upstreams.github.token().origin());
                lacks.then(|| format!("{credential} lacks the scope `delete_repo`"))
            }
            TargetKind::GiteaRepository => {
                let may = self.upstreams.gitea.may_delete_in(owner).await.ok()?;
                (may == Some(false))
                    .then(|| format!("the user of GITEA_TOKEN is no owner of {owner} in Gitea"))
            }
            TargetKind::Namespace => {
                let cluster = self.upstreams.kubernetes.as_ref()?;
                let review = Review {
                    verb: "delete",
                    group: "",
                    resource: "namespaces",
                };
                let may = cluster.may(&review, None).await.ok()?;
                (!may).then(|| "the cluster's credential may not delete namespaces".to_owned())
            }
            TargetKind::Mirror | TargetKind::Branch => None,
        }
    }
}
