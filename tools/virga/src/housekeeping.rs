//! What goes on as long as a process runs: metrics are folded, and files that
//! somebody replaces (rings, token keys, certificates, policy rules) are read again. SIGHUP makes it look
//! at once. A bad new file is said once, shown in `virga status`, and what was
//! read before stays in use.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use virga_identity::Identity;
use virga_identity_api::keys::KeyRing;
use virga_node::health::{Reporter, State};
use virga_node::task::Tasks;
use virga_node::telemetry::Metrics;
use virga_ring::{RingHandle, RingId};

use crate::placement::{Placement, warn_of_map};
use crate::tls::Tls;

/// Between looks at token keys, and folds of metrics.
const REST: Duration = Duration::from_secs(15);

/// Reads the token keys again.
pub type ReloadKeys = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Keys that this process only reads, as something to read again.
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
    /// Between looks at the rings: Swift looks every 15 s, but the sooner all
    /// hosts have a new ring, the less its change costs.
    pub rings_rest: Duration,
    /// Token keys to read again, and where to say how they are.
    pub keys: Option<(ReloadKeys, Reporter)>,
    /// Keys of objects to read again, and where to say how they are.
    pub object_keys: Option<(ReloadKeys, Reporter)>,
    /// The certificate to read again (as often as rings: somebody waits for
    /// it), and where to say how it is.
    pub tls: Option<(Tls, Reporter)>,
    /// The service whose policy rules are read again, as often, and where to
    /// say how they are.
    pub policy: Option<(Identity, Reporter)>,
}

impl Housekeeping {
    /// Starts it.
    pub fn start(self, tasks: &Tasks) {
        let tasks_of = tasks.clone();
        tasks.supervise("housekeeping", move || {
            let (keeper, stop) = (self.clone(), tasks_of.stopping());
            async move {
                let mut hangups = signal(SignalKind::hangup()).ok();
                let (mut said, mut seen) = (BTreeMap::new(), Seen::new());
                let mut rings = tokio::time::interval(keeper.rings_rest);
                let mut rest = tokio::time::interval(REST);
                for timer in [&mut rings, &mut rest] {
                    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
                }
                while !stop.is_cancelled() {
                    tokio::select! {
                        _ = rings.tick() => {
                            keeper.look_at_rings(&mut said, &mut seen);
                            keeper.look_at_certificate(&mut said);
                            keeper.look_at_policy(&mut said);
                        }
                        _ = rest.tick() => {
                            keeper.metrics.fold();
                            keeper.look_at_keys(&mut said);
                        }
                        () = hangup(&mut hangups) => {
                            tracing::info!("SIGHUP: reading rings, keys, certificates and policy rules again");
                            keeper.look_at_rings(&mut said, &mut seen);
                            keeper.look_at_keys(&mut said);
                            keeper.look_at_certificate(&mut said);
                            keeper.look_at_policy(&mut said);
                        }
                        () = stop.cancelled() => {}
                    }
                }
            }
        });
    }

    /// One look; `said` holds the troubles that were logged and last on.
    fn look_at_rings(&self, said: &mut BTreeMap<String, String>, seen: &mut Seen) {
        if let Some((placement, reporter)) = &self.rings {
            let mut bad = Vec::new();
            for ring in placement.all() {
                let outcome = ring.handle.reload_if_changed();
                let reloaded = matches!(outcome, Ok(true));
                if reloaded {
                    let version = ring.handle.current().version();
                    tracing::info!(ring = ring.name, version, "a new ring is in use");
                }
                if is_new(seen, &ring.name, &ring.handle, reloaded) {
                    warn_of_map(&ring.name, &ring.handle);
                    if let Some(back) = ring.handle.went_back() {
                        tracing::warn!(
                            ring = ring.name,
                            from = back.from,
                            to = back.to,
                            "the ring went back to an older version: was an old file copied over a new one?"
                        );
                    }
                }
                let subject = format!("ring {}", ring.name);
                bad.extend(note(said, &subject, outcome.err().map(|e| e.to_string())));
            }
            reporter.report(judged(bad));
        }
    }

    fn look_at_keys(&self, said: &mut BTreeMap<String, String>) {
        if let Some((reload, reporter)) = &self.keys {
            reporter.report(judged(note(said, "token keys", reload().err())));
        }
        if let Some((reload, reporter)) = &self.object_keys {
            reporter.report(judged(note(said, "object keys", reload().err())));
        }
    }

    fn look_at_policy(&self, said: &mut BTreeMap<String, String>) {
        if let Some((identity, reporter)) = &self.policy {
            let trouble = identity.reload_policy().err().map(|e| e.to_string());
            reporter.report(judged(note(said, "policy rules", trouble)));
        }
    }

    fn look_at_certificate(&self, said: &mut BTreeMap<String, String>) {
        if let Some((tls, reporter)) = &self.tls {
            reporter.report(judged(note(said, "certificate", tls.look().err())));
        }
    }
}

/// Rings as they were at the last look, by name.
type Seen = BTreeMap<String, RingId>;

/// Whether a ring has come into use since the last look: read from its file just
/// now, or before that by whoever heard of it from another node.
fn is_new(seen: &mut Seen, name: &str, handle: &RingHandle, reloaded: bool) -> bool {
    let now = handle.id();
    match seen.insert(name.to_owned(), now) {
        Some(before) => before != now,
        None => reloaded,
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
    let text = format!("{subject}: what is in use stays: {why}");
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

#[cfg(test)]
mod tests {
    use virga_ring::{Device, Ring, RingInfo, Table};

    use super::*;

    fn ring(version: u64) -> Ring {
        let device: Device = serde_json::from_value(serde_json::json!({
            "id": 0, "region": 1, "zone": 1, "ip": "10.0.0.1", "port": 6200, "device": "d1",
            "weight": 1, "meta": "",
        }))
        .unwrap();
        let info = RingInfo {
            version: Some(version),
            ..RingInfo::default()
        };
        let table = Table::from_row_major(1, &[0]).unwrap();
        Ring::new(info, vec![Some(device)], table).unwrap()
    }

    #[test]
    fn a_ring_that_came_from_another_node_is_as_new_as_one_read_from_a_file() {
        let (mut seen, handle) = (Seen::new(), RingHandle::new(ring(1)));
        assert!(!is_new(&mut seen, "object", &handle, false), "it began with it");
        let newer = RingHandle::new(ring(2)).to_file().unwrap();
        assert!(handle.install(&newer).unwrap());
        // Its file is not read again for that.
        assert!(is_new(&mut seen, "object", &handle, false));
        assert!(!is_new(&mut seen, "object", &handle, false), "said once");
        handle.swap(ring(3));
        assert!(is_new(&mut seen, "object", &handle, true));
        assert!(
            is_new(&mut seen, "container", &handle, true),
            "between start and first look"
        );
    }
}
