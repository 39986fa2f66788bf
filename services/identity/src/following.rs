//! What other processes on the same records change: a look at the change feed
//! several times a second.
//!
//! Several processes with the role identity may share a PostgreSQL. Each
//! remembers revocations, roles and the catalog; this task makes a process hear
//! of what another one changed, well within a second.
//!
//! A sign-in does not see what another process has begun to change and not yet
//! committed. Its token would be dated after the revocation, which has the time
//! at which that change was made, and outlive it. So a sign-in looks again when
//! it is in the change feed ([`App::is_overtaken`]). Entries of the feed are
//! written one after the other: either the change is committed before the
//! sign-in's entry, and this look finds its revocation, or it found the feed
//! changed beneath it, ran again, and its revocation is dated after the token.
//! The latter holds as far as the clocks of the hosts agree.
use std::sync::{Arc, Weak};
use std::time::Duration;

use virga_identity_api::payload::Payload;
use virga_node::clock::Micros;
use virga_node::task::Tasks;
use virga_state::{Reader, StateError, Wanted};

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
    hear(app, &mut q, before.map(|before| before.at), at).await?;
    app.state.confirm(at);
    Ok(reached)
}

/// Takes in the revocations from `since` on, or all, that matter at `now`.
async fn hear(app: &App, q: &mut Reader, since: Option<Micros>, now: Micros) -> Result<(), StateError> {
    let skew = u64::try_from(SKEW.as_micros()).unwrap_or(u64::MAX);
    let since = since.map_or(Micros(0), |at| Micros(at.0.saturating_sub(skew)));
    for event in revocation::list(q, since, now).await? {
        app.revocations.add(event, now);
    }
    Ok(())
}

impl App {
    /// Whether anything that `token` stands on was revoked after this process's
    /// list of revocations had the generation `heard`. To be asked when the
    /// sign-in is in the change feed; `heard` is from before anything was read
    /// for it.
    ///
    /// # Errors
    /// The records failed: then the token is to be given to nobody.
    pub(crate) async fn is_overtaken(&self, token: &Payload, heard: u64) -> Result<bool, StateError> {
        if !self.state.is_shared() {
            return Ok(false);
        }
        let mut q = self.state.reader();
        hear(self, &mut q, Some(token.issued_at), self.clock.now()).await?;
        let new = self.revocations.after(heard).events;
        let overtaken = new.iter().any(|event| event.concerns(token));
        if overtaken {
            // What it was made from is not to be remembered.
            self.state.heard_of_changes();
        }
        Ok(overtaken)
    }
}
