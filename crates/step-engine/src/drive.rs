//! Plan, start, next: the few lines that join planner and host.

use crate::host::{Host, HostError};
use crate::journal::RunRow;
use crate::plan::{Next, plan};
use crate::state::RunState;

/// Drives a run until nothing more is to be done, and answers the state it ended in.
///
/// # Errors
/// The journal refused, or the process is stopping; the run can be resumed.
pub async fn drive(host: &mut dyn Host, run: &RunRow) -> Result<RunState, HostError> {
    loop {
        let next = {
            let history = host.history().iter().map(|entry| &entry.record);
            plan(&run.workflow, &run.skipped, run.options.on_failure, history)
        };
        match next {
            Next::Start(ops) => host.start(ops).await?,
            Next::Wait => host.next().await?,
            Next::Finished { state, cause } => {
                host.end(state, cause).await?;
                return Ok(state);
            }
            Next::Stuck(_) => {
                let cause = crate::history::Progress::of(
                    &run.workflow,
                    host.history().iter().map(|entry| &entry.record),
                )
                .cause;
                host.end(RunState::Stuck, cause).await?;
                return Ok(RunState::Stuck);
            }
        }
    }
}
