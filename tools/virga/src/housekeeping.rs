//! What goes on as long as a process runs: metrics are folded, and files that
//! somebody replaces (rings, token keys) are read again. SIGHUP makes it look
//! at once. A bad new file is said once, shown in `virga status`, and what was
//! read before stays in use.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use virga_identity_api::keys::KeyRing;
use virga_node::health::{Reporter, State};
use virga_node::task::Tasks;
use virga_node::telemetry::Metrics;

use crate::placement::Placement;

/// Between looks. Swift looks at its rings as often.
const REST: Duration = Duration::from_secs(15);

/// Reads the token keys again.
pub type ReloadKeys = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The keys of a process that only verifies tokens, as something to read again.
pub fn reload_of(keys: Arc<KeyRing>) -> ReloadKeys {
    Arc::new(move || keys.reload().map_err(|e| e.to_string()))
}

/// What is looked after.
#[derive(Clone)]
pub struct Housekeeping {
    /// Metrics to fold.
    pub metrics: Metrics,
    /// Rings to watch, and where to say how they are.
    pub rings: Option<(Placement, Reporter)>,
    /// Token keys to read again, and where to say how they are.
    pub keys: Option<(ReloadKeys, Reporter)>,
}

impl Housekeeping {
    /// Starts it.
    pub fn start(self, tasks: &Tasks) {
        let tasks_of = tasks.clone();
        tasks.supervise("housekeeping", move || {
            let (keeper, stop) = (self.clone(), tasks_of.stopping());
            async move {
                let mut hangups = signal(SignalKind::hangup()).ok();
                let mut said = BTreeMap::new();
                while !stop.is_cancelled() {
                    keeper.metrics.fold();
                    keeper.look(&mut said);
                    tokio::select! {
                        () = tokio::time::sleep(REST) => {}
                        () = hangup(&mut hangups) => tracing::info!("SIGHUP: reading rings and keys again"),
                        () = stop.cancelled() => {}
                    }
                }
            }
        });
    }

    /// One look; `said` holds the troubles that were logged and last on.
    fn look(&self, said: &mut BTreeMap<String, String>) {
        if let Some((placement, reporter)) = &self.rings {
            let mut bad = Vec::new();
            for ring in placement.all() {
                let outcome = ring.handle.reload_if_changed();
                if let Ok(true) = outcome {
                    let version = ring.handle.current().version();
                    tracing::info!(ring = ring.name, version, "a new ring is in use");
                }
                let subject = format!("ring {}", ring.name);
                bad.extend(note(said, &subject, outcome.err().map(|e| e.to_string())));
            }
            reporter.report(judged(bad));
        }
        if let Some((reload, reporter)) = &self.keys {
            reporter.report(judged(note(said, "token keys", reload().err())));
        }
    }
}

/// Logs a trouble that is new and the end of one; gives the text for the board.
fn note(said: &mut BTreeMap<String, String>, subject: &str, trouble: Option<String>) -> Option<String> {
    let Some(why) = trouble else {
        if said.remove(subject).is_some() {
            tracing::info!(subject, "can be read again");
        }
        return None;
    };
    let text = format!("{subject} cannot be read, the one read before stays in use: {why}");
    if said
        .insert(subject.to_owned(), why)
        .is_none_or(|before| !text.ends_with(&before))
    {
        tracing::error!("{text}");
    }
    Some(text)
}

fn judged(bad: impl IntoIterator<Item = String>) -> State {
    let bad: Vec<String> = bad.into_iter().collect();
    match bad.is_empty() {
        true => State::Ready,
        false => State::Degraded(bad.join("; ")),
    }
}

async fn hangup(hangups: &mut Option<Signal>) {
    match hangups {
        Some(hangups) => {
            hangups.recv().await;
        }
        None => std::future::pending().await,
    }
}
