//! MCP progress while a call waits: each step as it changes, and a sign of life at least every 10 s.

use std::pin::pin;
use std::time::Duration;

use forgeline_step_engine::{Engine, Record, RunEvent, RunId, Verb};
use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::RequestContext;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

const SIGN_OF_LIFE: Duration = Duration::from_secs(8);
/// A reader that does not read must not hold the call up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits for `work` and tells the caller meanwhile what happens to the run, if the caller asked to be told.
pub(crate) async fn told<T>(
    engine: &Engine,
    run: &RunId,
    context: &RequestContext<RoleServer>,
    work: impl Future<Output = T>,
) -> T {
    let Some(token) = context.meta.get_progress_token() else {
        return work.await;
    };
    let mut events = engine.events();
    let mut work = pin!(work);
    let mut count = 0.0;
    let mut message = format!("run {run} is under way");
    loop {
        count += 1.0;
        let note = ProgressNotificationParam::new(token.clone(), count).with_message(message);
        // A caller that does not listen is told no more; the run and the answer go on.
        let told = tokio::time::timeout(PATIENCE, context.peer.notify_progress(note)).await;
        if !matches!(told, Ok(Ok(()))) {
            return work.await;
        }
        message = tokio::select! {
            biased;
            done = &mut work => {
                rest(&mut events, run, &token, count, context).await;
                return done;
            }
            next = next_line(&mut events, run) => next,
            () = tokio::time::sleep(SIGN_OF_LIFE) => format!("run {run} is still under way"),
        };
    }
}

/// What happened just before the end and was not told yet.
async fn rest(
    events: &mut Receiver<RunEvent>,
    run: &RunId,
    token: &ProgressToken,
    mut count: f64,
    context: &RequestContext<RoleServer>,
) {
    while let Ok(event) = events.try_recv() {
        let Some(line) = line(&event.record).filter(|_| event.run_id == *run) else {
            continue;
        };
        count += 1.0;
        let note = ProgressNotificationParam::new(token.clone(), count).with_message(line);
        let told = tokio::time::timeout(PATIENCE, context.peer.notify_progress(note)).await;
        if !matches!(told, Ok(Ok(()))) {
            return;
        }
    }
}

/// The next thing that happens to the run, in a few words.
async fn next_line(events: &mut Receiver<RunEvent>, run: &RunId) -> String {
    loop {
        match events.recv().await {
            Ok(event) if event.run_id == *run => {
                if let Some(line) = line(&event.record) {
                    return line;
                }
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn line(record: &Record) -> Option<String> {
    match record {
        Record::Started {
            step,
            verb: Verb::Apply,
        } => Some(format!("{step}: started")),
        Record::Started {
            step,
            verb: Verb::Undo,
        } => Some(format!("{step}: undoing")),
        Record::Done {
            step,
            verb: Verb::Apply,
            duration_ms,
            ..
        } => Some(format!("{step}: done in {duration_ms} ms")),
        Record::Done {
            step,
            verb: Verb::Undo,
            ..
        } => Some(format!("{step}: undone")),
        Record::Failed { step, error, .. } => Some(format!("{step}: failed: {error}")),
        Record::Settling => Some("waiting until an ambiguous request has settled".to_owned()),
        Record::Ended { state, .. } => Some(format!("run {}", state.as_str())),
        _ => None,
    }
}
