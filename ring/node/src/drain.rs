//! Stopping: SIGTERM or SIGINT starts the drain, a second one ends at once.
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Longest time that work in flight is given after the first signal.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// The two signals that stop a daemon.
#[derive(Debug)]
pub struct StopSignals {
    term: Signal,
    int: Signal,
}

impl StopSignals {
    /// Starts to listen for them.
    ///
    /// # Errors
    /// When the system refuses to install the handlers.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one; the name is for the log.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
