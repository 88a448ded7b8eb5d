//! The same server over stdin and stdout. Everything that is not protocol goes to stderr.

use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use tokio_util::sync::CancellationToken;

use crate::handler::Server;

/// Serves until stdin ends or `stop`.
///
/// # Errors
/// A sentence that says what went wrong.
pub async fn serve(server: Server, stop: CancellationToken) -> Result<(), String> {
    let running = match server.serve_with_ct(rmcp::transport::stdio(), stop).await {
        Ok(running) => running,
        // The other side ended before it said anything, or we were told to stop.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
            return Ok(());
        }
        Err(error) => return Err(error.to_string()),
    };
    running
        .waiting()
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}
