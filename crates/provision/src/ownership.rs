//! Whose a repository is: this run's, this project's, or somebody else's. The two predicates are never mixed.
//!
//! Proof is a receipt in the journal (the id), a claim in the description while it is being made, or the topic
//! `fl-<run-id>` afterwards. A claim counts only when the repository is not older than the run's intent.

use std::time::Duration;

use forgeline_step_engine::{Origin, RunId, StepCx, StepError};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Clocks may differ by this much, and forges cut times to whole seconds.
const SKEW: Duration = Duration::from_secs(10);
/// How long an unfinished creation may claim a name.
const CLAIM: Duration = Duration::from_secs(60 * 60);

/// The topic on everything that forgeline made.
pub(crate) const TOPIC: &str = "forgeline";

/// The facts of a repository that ownership looks at; both forges have them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) id: u64,
    pub(crate) full_name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) topics: &'a [String],
    pub(crate) created_at: Timestamp,
}

/// Whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This run made it.
    Ours,
    /// An earlier run of this project made it.
    Project,
    /// An earlier run of this project adopted it.
    Adopted,
    /// Somebody else's.
    Foreign {
        why: String,
        /// Another instance is making it right now.
        claimed: bool,
    },
}

/// The description that a creation carries until its receipt is durable.
pub(crate) fn claim(cx: &StepCx) -> String {
    let until = cx
        .intent_at
        .checked_add(SignedDuration::try_from(CLAIM).unwrap_or_default())
        .unwrap_or(cx.intent_at);
    format!("forgeline claim {} until {until:.0}", cx.run_id)
}

/// The interval of the push mirrors that a run adds: eight hours, and some minutes and seconds that follow from the run. A
/// mirror has no text to claim it by, so this is how a late one is told from one that a person adds at the same time.
pub(crate) fn mirror_interval(run: &RunId) -> String {
    let mixed = run.as_str().bytes().fold(0_u32, |mixed, byte| {
        mixed.wrapping_mul(31).wrapping_add(byte.into())
    });
    let seconds = mixed % 3599 + 1;
    format!("8h{}m{}s", seconds / 60, seconds % 60)
}

/// The topic that names the run that made a repository.
pub(crate) fn topic(run: &RunId) -> String {
    format!("fl-{}", run.lower())
}

/// The run that an unfinished creation names.
fn claimant(description: &str) -> Option<RunId> {
    claim_of(description).map(|(run, _)| run)
}

/// The run that an unfinished creation names, and until when it claims the name.
pub(crate) fn claim_of(description: &str) -> Option<(RunId, Option<Timestamp>)> {
    let mut words = description.strip_prefix("forgeline claim ")?.split(' ');
    let run = words.next()?.parse().ok()?;
    let until = words.nth(1).and_then(|until| until.parse().ok());
    Some((run, until))
}

/// The topic that says when a throwaway ends: topics have letters, digits and dashes only, so it holds seconds since 1970.
fn expiry_topic(at: Timestamp) -> String {
    format!("{EXPIRY}{}", at.as_second())
}

/// When a throwaway ends, by its topics. `None`: it is none, or does not say.
pub(crate) fn expiry_of(topics: &[String]) -> Option<Timestamp> {
    topics.iter().find_map(|topic| {
        let seconds = topic
            .to_ascii_lowercase()
            .strip_prefix(EXPIRY)?
            .parse()
            .ok()?;
        Timestamp::from_second(seconds).ok()
    })
}

/// When a throwaway ends whose `ttl` counts from this run. `None`: it is none.
pub(crate) fn ends_at(run: &RunId, ttl: &Value) -> Option<Timestamp> {
    let lasts = crate::provisioner::duration(ttl.as_str()?)?;
    let lasts = SignedDuration::try_from(lasts).ok()?;
    run.made_at().checked_add(lasts).ok()
}

/// These topics with the one that says when a throwaway ends.
pub(crate) fn with_expiry(mut topics: Vec<String>, at: Timestamp) -> Vec<String> {
    topics.retain(|topic| !topic.to_ascii_lowercase().starts_with(EXPIRY));
    topics.push(expiry_topic(at));
    topics
}

/// Before the seconds in the topic of a throwaway.
pub(crate) const EXPIRY: &str = "forgeline-until-";

/// The run that a finished creation names.
pub(crate) fn maker(topics: &[String]) -> Option<RunId> {
    topics
        .iter()
        .find_map(|topic| topic.to_ascii_lowercase().strip_prefix("fl-")?.parse().ok())
}

/// Whether something this old may have been made after the step's intent.
pub(crate) fn not_before_intent(cx: &StepCx, created_at: Timestamp) -> bool {
    let skew = SignedDuration::try_from(SKEW).unwrap_or_default();
    created_at
        .checked_add(skew)
        .is_ok_and(|at| at >= cx.intent_at)
}

/// Whether this run made the repository; `output` is its receipt, when it is known.
pub(crate) fn is_ours(cx: &StepCx, facts: &Facts<'_>, output: Option<&Value>) -> bool {
    if let Some(output) = output.filter(|output| output["id"].is_u64()) {
        return output["id"] == facts.id;
    }
    let named = claimant(facts.description).or_else(|| maker(facts.topics));
    named.as_ref() == Some(&cx.run_id) && not_before_intent(cx, facts.created_at)
}

/// Whose a repository is, for `check`.
pub(crate) async fn whose(cx: &StepCx, facts: &Facts<'_>) -> Result<Whose, StepError> {
    if is_ours(cx, facts, None) {
        return Ok(Whose::Ours);
    }
    if let Some(origin) = receipt(cx, facts.id) {
        return Ok(match origin {
            Origin::Created | Origin::Existing => Whose::Project,
            Origin::Adopted => Whose::Adopted,
        });
    }
    let claimed = claimant(facts.description);
    let by = claimed.clone().or_else(|| maker(facts.topics));
    let Some(run) = by else {
        return Ok(Whose::Foreign {
            why: format!("{} exists and was not made by forgeline", facts.full_name),
            claimed: false,
        });
    };
    match cx.subject_of(&run).await? {
        Some(subject) if subject == cx.subject => Ok(Whose::Project),
        Some(subject) => Ok(Whose::Foreign {
            why: format!("{} belongs to the project `{subject}`", facts.full_name),
            claimed: claimed.is_some(),
        }),
        None => Ok(Whose::Foreign {
            why: format!(
                "{} was made by run {run}, which this journal does not know: another instance is at work",
                facts.full_name
            ),
            claimed: claimed.is_some(),
        }),
    }
}

/// What the newest earlier receipt with this id says.
fn receipt(cx: &StepCx, id: u64) -> Option<Origin> {
    cx.earlier.iter().find_map(|run| {
        let (origin, output) = run.done.get(&cx.step)?;
        (output["id"] == id).then_some(*origin)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_is_read_back_from_claim_and_topic() {
        let run = RunId::new();
        assert_eq!(
            claimant(&format!("forgeline claim {run} until 2026-01-01T00:00:00Z")),
            Some(run.clone())
        );
        assert_eq!(maker(&["a".into(), topic(&run)]), Some(run.clone()));
        assert!(topic(&run).len() <= 35);
        assert_eq!(claimant("my project"), None);
    }
}
