//! Crashes at every journal record of project_create, on the wire.

use std::sync::Arc;

use forgeline_step_engine::Engine;
use forgeline_step_engine::fault::{CrashPlan, CrashPoint};
use forgeline_step_engine::journal::memory::MemoryJournal;
use forgeline_step_engine::journal::{Journal, RunOptions, RunQuery};

use crate::world::{Scene, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_record_is_resumed_to_everything_once() {
    for scene in [Scene::Direct, Scene::TemplateAndGit] {
        let crashes = crash_everywhere(scene).await;
        assert!(crashes > 20, "{scene:?}: only {crashes} crashes happened");
    }
}

async fn crash_everywhere(scene: Scene) -> usize {
    let mut crashes = 0;
    for point in [CrashPoint::BeforeCommit, CrashPoint::AfterCommit] {
        for nth in 1.. {
            let plan = CrashPlan::at(nth, point);
            let journal = Arc::new(MemoryJournal::with_crash(plan.clone()));
            let world = World::with_journal(scene, Arc::clone(&journal) as Arc<dyn Journal>).await;
            world.create(RunOptions::default()).await;
            world.provisioner.engine().stop().await;
            if !plan.fired() {
                break;
            }
            crashes += 1;
            let registry = Arc::clone(world.provisioner.engine().registry());
            let restarted = Engine::new(Arc::new(journal.reopened()), registry);
            restarted.resume_all().await.unwrap();
            let Some(row) = restarted.runs(&RunQuery::default()).await.unwrap().pop() else {
                continue;
            };
            restarted.wait(&row.run_id, None).await;
            let setup = forgeline_provision::Setup {
                environment: "sandbox".into(),
                settings: serde_json::json!({}),
                catalogue: forgeline_provision::Catalogue::none(),
                doctor: None,
            };
            let again = forgeline_provision::Provisioner::new(restarted, setup);
            let view = again.status(None, Some(row.run_id.as_str()), None).await;
            world.assert_consistent(&view, &format!("crash {point:?} at record {nth}"));
        }
    }
    crashes
}
