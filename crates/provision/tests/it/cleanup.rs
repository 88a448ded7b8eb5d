//! Clean-up over random worlds and under every fault: only what the plan shows goes, nothing protected, and the report is true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forgeline_provision::{Action, Actor, CleanupQuery, ItemResult, Plan};
use forgeline_sandbox::{Fault, FaultOrder, Options};
use futures::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::World;

/// Something in a random world.
#[derive(Clone, Debug)]
struct Thing {
    forge: &'static str,
    owner: &'static str,
    name: String,
    /// Made before the time passed; else it is young.
    old: bool,
    /// What makes it somebody's.
    trait_: Trait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trait {
    Plain,
    KeepTopic,
    Archived,
    Starred,
    RecentPush,
    RecentIssue,
    Renamed,
    /// Finished by a run that this journal does not know.
    OfAnother,
    /// As that, and a throwaway that is over.
    OfAnotherAndOver,
    /// An unfinished creation of such a run that may go on.
    Claimed,
    /// As that, given up by now.
    ClaimedOnce,
}

impl Trait {
    fn topics(self) -> Value {
        let run = "fl-01jd8z6q5v0000000000000000";
        match self {
            Self::KeepTopic => json!(["keep"]),
            Self::OfAnother => json!(["forgeline", run]),
            Self::OfAnotherAndOver => json!(["forgeline", run, "forgeline-until-1700000000"]),
            _ => json!([]),
        }
    }

    fn description(self) -> String {
        let claim = |until| format!("forgeline claim 01JD8Z6Q5V0000000000000000 until {until}");
        match self {
            Self::Claimed => claim("2099-01-01T00:00:00Z"),
            Self::ClaimedOnce => claim("2026-01-01T00:00:00Z"),
            _ => String::new(),
        }
    }
}

impl Thing {
    fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// What must never go, whatever is asked for.
    fn is_protected(&self) -> bool {
        let may_go = matches!(
            self.trait_,
            Trait::Plain | Trait::OfAnotherAndOver | Trait::ClaimedOnce
        );
        self.owner != "acme" || !self.old || !may_go || self.name.ends_with("-precious")
    }
}

fn things() -> impl Strategy<Value = Vec<Thing>> {
    let one = (
        prop_oneof![Just("gitea"), Just("github")],
        prop_oneof![4 => Just("acme"), 1 => Just("someone")],
        prop_oneof![
            3 => (0..6_u8).prop_map(|number| format!("test-throwaway-{number}")),
            1 => Just("test-throwaway-precious".to_owned()),
            1 => Just("my-test-throwaway".to_owned()),
            1 => Just("shop".to_owned()),
        ],
        prop::bool::weighted(0.8),
        prop_oneof![
            4 => Just(Trait::Plain),
            1 => Just(Trait::KeepTopic),
            1 => Just(Trait::Archived),
            1 => Just(Trait::Starred),
            1 => Just(Trait::RecentPush),
            1 => Just(Trait::RecentIssue),
            1 => Just(Trait::Renamed),
            1 => Just(Trait::OfAnother),
            1 => Just(Trait::OfAnotherAndOver),
            1 => Just(Trait::Claimed),
            1 => Just(Trait::ClaimedOnce),
        ],
    );
    let one = one.prop_map(|(forge, owner, name, old, trait_)| Thing {
        forge,
        owner,
        name,
        old,
        trait_: if forge == "github" && trait_ == Trait::RecentIssue {
            Trait::RecentPush
        } else {
            trait_
        },
    });
    prop::collection::vec(one, 1..12).prop_map(|mut all| {
        let mut seen = BTreeSet::new();
        all.retain(|thing| seen.insert((thing.forge, thing.full_name())));
        all
    })
}

async fn seed(world: &World, thing: &Thing, more: Value) {
    let mut seed = json!({"forge": thing.forge, "owner": thing.owner, "name": thing.name});
    seed.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    world.sandbox.seed(seed).await.unwrap();
}

async fn make(world: &World, thing: &Thing) {
    let made = json!({"what": "repository", "user": "acme", "files": {"a": "b"},
        "topics": thing.trait_.topics(), "description": thing.trait_.description()});
    seed(world, thing, made).await;
    match thing.trait_ {
        Trait::Archived => seed(world, thing, json!({"what": "archive"})).await,
        Trait::Starred => seed(world, thing, json!({"what": "star"})).await,
        Trait::Renamed => {
            seed(
                world,
                thing,
                json!({"what": "rename", "to": format!("{}-moved", thing.name)}),
            )
            .await
        }
        _ => {}
    }
}

async fn touch(world: &World, thing: &Thing) {
    match thing.trait_ {
        Trait::RecentPush => {
            seed(
                world,
                thing,
                json!({"what": "push", "branch": "theirs", "files": {"c": "d"}}),
            )
            .await
        }
        Trait::RecentIssue => {
            let issue = json!({"what": "issue", "owner": thing.owner, "name": thing.name, "title": "theirs"});
            world.sandbox.seed(issue).await.unwrap();
        }
        _ => {}
    }
}

async fn furnished(things: &[Thing], call: Duration) -> World {
    let options = Options {
        without_git: true,
        ..Options::default()
    };
    let world = World::with(&options, call).await;
    for thing in things.iter().filter(|thing| thing.old) {
        make(&world, thing).await;
    }
    world
        .sandbox
        .seed(json!({"what": "time_passes", "hours": 72}))
        .await
        .unwrap();
    for thing in things.iter().filter(|thing| !thing.old) {
        make(&world, thing).await;
    }
    for thing in things {
        touch(&world, thing).await;
    }
    world
}

/// Every repository that is there: its name in a plan, and whether it is read-only.
fn there(world: &World) -> BTreeMap<String, bool> {
    let store = world.sandbox.store();
    let mut all = BTreeMap::new();
    for forge in ["gitea", "github"] {
        for one in store[forge].as_array().unwrap() {
            let name = format!("{forge}:{}", one["full_name"].as_str().unwrap());
            all.insert(name, one["archived"] == true);
        }
    }
    for repository in store["gitea"].as_array().unwrap() {
        for mirror in repository["mirrors"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let name = format!(
                "mirror:{}/{}",
                text(&repository["full_name"]),
                text(&mirror["remote_name"])
            );
            all.insert(name, false);
        }
    }
    for namespace in store["namespaces"].as_array().unwrap() {
        let name = namespace["metadata"]["name"].as_str().unwrap();
        all.insert(format!("ns:{name}"), false);
    }
    for branch in store["infra"][0]["refs"].as_object().unwrap().keys() {
        let branch = branch.trim_start_matches("refs/heads/");
        all.insert(format!("branch:acme/infra/{branch}"), false);
    }
    all
}

/// The report says what became of each item, and nothing else went.
fn assert_true(
    plan: &Plan,
    before: &BTreeMap<String, bool>,
    after: &BTreeMap<String, bool>,
    what: &str,
) {
    let gone: BTreeSet<&String> = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .collect();
    for name in &gone {
        let planned = plan.items.iter().find(|item| item.artifact == **name);
        let planned =
            planned.unwrap_or_else(|| panic!("{what}: {name} went and is not in the plan"));
        assert_eq!(planned.action, Action::Delete, "{what}: {name}");
    }
    for item in plan
        .items
        .iter()
        .filter(|item| before.contains_key(&item.artifact))
    {
        let is_gone = gone.contains(&item.artifact);
        let result = item
            .result
            .unwrap_or_else(|| panic!("{what}: nothing is said of {}", item.artifact));
        match result {
            ItemResult::Deleted | ItemResult::Gone => assert!(is_gone, "{what}: {item:?}"),
            ItemResult::Kept | ItemResult::Blocked => assert!(!is_gone, "{what}: {item:?}"),
            ItemResult::Failed => assert!(
                !item.command.is_empty() && !item.why.is_empty(),
                "{what}: {item:?}"
            ),
            ItemResult::Archived | ItemResult::Replaced => panic!("{what}: {item:?}"),
        }
        if !is_gone && result != ItemResult::Failed {
            assert_eq!(
                after[&item.artifact], before[&item.artifact],
                "{what}: {} is read-only",
                item.artifact
            );
        }
    }
}

fn ada() -> Actor {
    Actor::new("ada")
}

async fn apply(world: &World, plan: &Plan) -> Plan {
    let plan_id = plan.plan_id.as_ref().unwrap();
    world.provisioner.cleanup_apply(plan_id, &ada(), None).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_is_in_the_plan_and_nothing_protected_goes(
        things in things(),
        matching in prop::option::of(prop_oneof![Just("*".to_owned()), Just("test-*".to_owned()), Just("shop".to_owned())]),
        touched in prop::option::of(any::<prop::sample::Index>()),
        fault in prop::option::of((0_usize..4, 1_usize..20)),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let world = furnished(&things, Duration::from_secs(15)).await;
            let protected: BTreeSet<String> = things.iter().filter(|thing| thing.is_protected())
                .map(|thing| format!("{}:{}", thing.forge, thing.full_name())).collect();
            let before = there(&world);
            let query = CleanupQuery { matching: matching.map(|glob| vec![glob]), ..CleanupQuery::default() };
            let plan = world.provisioner.cleanup_plan(&query, &ada()).await;
            assert_eq!(plan.error, None);
            assert_eq!(there(&world), before, "a look removes nothing");
            let to_delete: Vec<&String> = plan.items.iter().filter(|item| item.action == Action::Delete).map(|item| &item.artifact).collect();
            for name in &to_delete {
                assert!(!protected.contains(*name), "{name} is protected: {things:?}");
            }
            if plan.plan_id.is_none() {
                assert!(to_delete.is_empty());
                return;
            }
            // Somebody uses one of them between the plan and its application.
            let mut kept = None;
            if let Some(index) = touched {
                let name = index.get(&to_delete);
                if let Some(thing) = things.iter().find(|thing| format!("{}:{}", thing.forge, thing.full_name()) == **name) {
                    seed(&world, thing, json!({"what": "push", "branch": "late", "files": {"x": "y"}})).await;
                    kept = Some((*name).clone());
                }
            }
            if let Some((which, nth)) = fault {
                let fault = [Fault::LostBefore, Fault::LostAfter, Fault::StatusAfter { status: 502 }, Fault::Down { ms: 20 }][which].clone();
                let system = if nth % 2 == 0 { "gitea" } else { "github" };
                world.sandbox.order(FaultOrder { system: system.into(), operation: "*".into(), nth, fault });
            }
            let applied = apply(&world, &plan).await;
            let after = there(&world);
            assert_true(&applied, &before, &after, &format!("{things:?}"));
            if let Some(kept) = kept {
                assert!(after.contains_key(&kept), "{kept} was used meanwhile");
            }
            for name in protected.iter().filter(|name| before.contains_key(*name)) {
                assert!(after.contains_key(name), "{name} is protected");
            }
        });
    }
}

/// Two old test repositories on both forges, one of them mirrored, and a namespace.
async fn leftovers(call: Duration) -> World {
    let thing = |forge, name: &str| Thing {
        forge,
        owner: "acme",
        name: name.to_owned(),
        old: true,
        trait_: Trait::Plain,
    };
    let things = [
        thing("gitea", "test-throwaway-1"),
        thing("github", "test-throwaway-1"),
        thing("gitea", "test-throwaway-2"),
    ];
    let options = Options {
        without_git: true,
        ..Options::default()
    };
    let world = World::with(&options, call).await;
    for thing in &things {
        make(&world, thing).await;
    }
    for seed in [
        json!({"what": "mirror", "owner": "acme", "name": "test-throwaway-1", "remote_address": "http://127.0.0.1:9/acme/x.git"}),
        json!({"what": "namespace", "name": "test-throwaway-1"}),
        json!({"what": "push", "forge": "gitea", "owner": "acme", "name": "infra", "branch": "staging/test-throwaway-2", "files": {"a": "b"}}),
        json!({"what": "time_passes", "hours": 72}),
    ] {
        world.sandbox.seed(seed).await.unwrap();
    }
    world
}

/// The requests of an application without trouble: system, operation, and which one of its kind.
async fn requests() -> Vec<(String, String, usize)> {
    let world = leftovers(Duration::from_secs(15)).await;
    let plan = world
        .provisioner
        .cleanup_plan(&CleanupQuery::default(), &ada())
        .await;
    assert_eq!(plan.counts.delete, 6, "{plan:#?}");
    let seen = |world: &World| world.sandbox.requests().as_array().unwrap().clone();
    let before = seen(&world).len();
    let applied = apply(&world, &plan).await;
    assert!(
        applied
            .items
            .iter()
            .all(|item| item.result == Some(ItemResult::Deleted)),
        "{applied:#?}"
    );
    let mut count: BTreeMap<(String, String), usize> = BTreeMap::new();
    let made = seen(&world).into_iter().skip(before).map(|request| {
        let text = |name: &str| request[name].as_str().unwrap().to_owned();
        let key = (text("system"), text("operation"));
        let nth = count.entry(key.clone()).or_default();
        *nth += 1;
        (key.0, key.1, *nth)
    });
    made.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_at_every_request_of_an_application_leaves_a_true_report() {
    let status = |status| Fault::StatusBefore {
        status,
        headers: BTreeMap::new(),
        body: r#"{"message": "no"}"#.into(),
    };
    let faults = [
        Fault::LostBefore,
        Fault::LostAfter,
        Fault::StatusAfter { status: 502 },
        status(401),
        status(403),
        status(404),
        status(503),
        Fault::Body {
            text: "<html>".into(),
        },
        Fault::Down { ms: 20 },
        Fault::Late { ms: 450 },
    ];
    let requests = requests().await;
    assert!(requests.len() > 20, "{requests:?}");
    let mut cells = Vec::new();
    for request in &requests {
        for fault in &faults {
            cells.push(cell(request.clone(), fault.clone()).boxed());
        }
    }
    let count = cells.len();
    let fired: Vec<bool> = stream::iter(cells).buffered(8).collect().await;
    let fired = fired.iter().filter(|fired| **fired).count();
    assert!(fired * 10 > count * 9, "{fired} of {count} faults fired");
}

/// The plan of the leftovers. On a busy machine a look may be late and its item kept: then once more.
async fn whole_plan(world: &World) -> Plan {
    for _ in 0..20 {
        let query = CleanupQuery::default();
        let plan = world.provisioner.cleanup_plan(&query, &ada()).await;
        if plan.counts.delete == 6 {
            return plan;
        }
    }
    panic!("the leftovers are never seen as a whole");
}

/// One fault at one request. Answers whether it happened.
async fn cell((system, operation, nth): (String, String, usize), fault: Fault) -> bool {
    let world = leftovers(Duration::from_millis(400)).await;
    let plan = whole_plan(&world).await;
    let before = there(&world);
    let what = format!("{fault:?} at {system} {operation} {nth}");
    world.sandbox.order(FaultOrder {
        system,
        operation,
        nth,
        fault,
    });
    let applied = apply(&world, &plan).await;
    // What came late has come.
    world.provisioner.engine().stop().await;
    assert_true(&applied, &before, &there(&world), &what);
    let faults = world.sandbox.faults();
    let fired = |fault: &Value| fault["fired"] != 0;
    faults.as_array().unwrap().iter().any(fired)
}
