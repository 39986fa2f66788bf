//! What other processes on the same records change: a look at the change feed
//! several times a second.
//!
//! Several processes with the role identity may share a PostgreSQL. Each
//! remembers revocations, roles and the catalog; this task makes a process hear
//! of what another one changed, well within a second.
use std::sync::{Arc, Weak};
use std::time::Duration;

use virga_node::clock::Micros;
use virga_node::task::Tasks;
use virga_state::{StateError, Wanted};

use crate::app::App;
use crate::model::revocation;

/// Between looks.
const REST: Duration = Duration::from_millis(300);
/// Clocks of hosts may be this much apart, and a transaction this long.
const SKEW: Duration = Duration::from_secs(60);

/// Starts the task; it ends with the service.
pub(crate) fn start(app: &Arc<App>) {
    let app = Arc::downgrade(app);
    Tasks::new().spawn(follow(app));
}

/// How far the feed was followed.
#[derive(Clone, Copy, Debug)]
struct Reached {
    sequence: i64,
    at: Micros,
}

async fn follow(app: Weak<App>) {
    let mut reached = None;
    let mut failing = false;
    loop {
        tokio::time::sleep(REST).await;
        let Some(app) = app.upgrade() else { return };
        match look(&app, reached).await {
            Ok(now) => {
                reached = Some(now);
                failing = false;
            }
            Err(error) if failing => tracing::debug!(%error, "the change feed cannot be followed"),
            Err(error) => {
                tracing::warn!(%error, "the change feed cannot be followed");
                failing = true;
            }
        }
    }
}

/// Takes in what came after `before`; the first time, what may have come since
/// the process read its records.
async fn look(app: &App, before: Option<Reached>) -> Result<Reached, StateError> {
    let mut q = app.state.reader();
    let at = app.state.settled();
    let sequence = q.head().await?.sequence;
    let reached = Reached { sequence, at };
    if let Some(before) = before {
        // Sign-ins change nothing that is remembered.
        let wanted = Wanted {
            after: Some(before.sequence),
            other_than: Some("sign-in".to_owned()),
            ..Wanted::default()
        };
        if before.sequence == sequence || q.changes(&wanted, 1).await?.is_empty() {
            app.state.confirm(at);
            return Ok(reached);
        }
    }
    app.state.heard_of_changes();
    let skew = u64::try_from(SKEW.as_micros()).unwrap_or(u64::MAX);
    let since = before.map_or(Micros(0), |before| Micros(before.at.0.saturating_sub(skew)));
    for event in revocation::list(&mut q, since, at).await? {
        app.revocations.add(event, at);
    }
    app.state.confirm(at);
    Ok(reached)
}
