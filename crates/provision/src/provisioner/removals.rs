//! Clean-up and deletion: a plan first, then exactly that plan.

use std::time::Duration;

use super::plans::Draft;
use super::{Provisioner, Remover, errors};
use crate::actor::Actor;
use crate::cleanup::{Cleanup, CleanupQuery, named_runs, survey};
use crate::plan::{Action, Plan};
use crate::view::ErrorView;

/// The workflow of a clean-up.
const CLEANUP: &str = "cleanup_test_repos";

impl Provisioner {
    pub(super) fn remover(&self) -> Result<&Remover, ErrorView> {
        self.setup.remover.as_ref().ok_or_else(|| {
            let message = "this server looks at nothing that could be removed";
            ErrorView::new("configuration.invalid", message, "see `forgeline doctor`")
        })
    }

    /// Looks for what lies about and nobody needs, and answers the plan; nothing is removed.
    pub async fn cleanup_plan(&self, query: &CleanupQuery, actor: &Actor) -> Plan {
        match self.find_orphans(query).await {
            Ok((draft, warnings)) => {
                let deletions = draft
                    .items
                    .iter()
                    .filter(|(item, _)| item.action == Action::Delete);
                let count = deletions.count();
                let mut plan = if count > query.max {
                    let items = draft.items.into_iter().map(|(item, _)| item);
                    Plan {
                        error: Some(too_many(count, query.max)),
                        ..Plan::of_items(items.collect())
                    }
                } else {
                    self.keep(draft, actor).await
                };
                plan.warnings.extend(warnings);
                plan
            }
            Err(error) => Plan::refused(error),
        }
    }

    async fn find_orphans(&self, query: &CleanupQuery) -> Result<(Draft, Vec<String>), ErrorView> {
        let remover = self.remover()?;
        if remover.rules.owners.is_empty() {
            return Err(ErrorView::new(
                "cleanup.no_owners",
                "no owner is named that clean-up may touch",
                "set FORGELINE_CLEANUP_OWNERS to the owners of test repositories, comma-separated",
            ));
        }
        let seen = survey(
            &remover.upstreams,
            &remover.rules.owners,
            remover.infra.as_ref(),
        )
        .await;
        let known = self.known(&named_runs(&seen)).await;
        let known = known.map_err(|error| errors::of_engine(&error))?;
        let cleanup = Cleanup {
            upstreams: &remover.upstreams,
            rules: &remover.rules,
            query,
            infra: remover.infra.as_ref(),
            known: known.runs,
            busy: known.busy,
        };
        let warnings = seen
            .problems
            .iter()
            .map(|problem| format!("not looked at: {}", problem.message));
        let warnings = warnings.collect();
        let draft = Draft {
            workflow: CLEANUP,
            description: "Removes what a clean-up plan names.",
            project: None,
            items: cleanup.items(seen.found).await,
        };
        Ok((draft, warnings))
    }

    /// Removes exactly what a clean-up plan names, if it is as the plan saw it.
    pub async fn cleanup_apply(
        &self,
        plan_id: &str,
        actor: &Actor,
        limit: Option<Duration>,
    ) -> Plan {
        self.apply(CLEANUP, plan_id, actor, limit).await
    }
}

fn too_many(count: usize, max: usize) -> ErrorView {
    ErrorView::new(
        "plan.over_max",
        format!("{count} items would be deleted, and at most {max} may be: nothing can be applied"),
        "narrow it with match, or raise max",
    )
}
