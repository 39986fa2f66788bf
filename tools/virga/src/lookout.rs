//! Remembers since when hosts are away and what they held when they were last
//! seen, which nobody can ask a dead host.
//!
//! A process that places by rings and is not the whole cloud asks every object
//! server for its status every few seconds; `virga status` shows what is
//! remembered. It is lost with the process: then "since" is when the new one
//! first missed the host.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use virga_node::clock::{Clock, Micros};
use virga_node::task::Tasks;
use virga_object_wire::node::Nodes;
use virga_object_wire::status::DeviceStatus;
use virga_object_wire::table::NodeTable;

use crate::placement::Placement;

/// Between looks.
const REST: Duration = Duration::from_secs(5);
/// Longest wait for one host.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Hosts that are asked at the same time.
pub const AT_ONCE: usize = 64;

/// What is remembered of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Since when it has not answered; `None` while it does.
    pub away_since: Option<Micros>,
    /// When it answered again after it had been away.
    pub back_since: Option<Micros>,
    /// Its devices as it told of them last.
    pub last: Vec<DeviceStatus>,
}

/// What is remembered of all hosts. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Lookout(Arc<Mutex<BTreeMap<String, Sighting>>>);

impl Lookout {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Sighting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what a host answered at `now`; `None` if it did not.
    pub fn note(&self, node: &str, answer: Option<&[DeviceStatus]>, now: Micros) -> Sighting {
        let mut all = self.all();
        let sighting = all.entry(node.to_owned()).or_default();
        match answer {
            Some(devices) => {
                if sighting.away_since.take().is_some() {
                    sighting.back_since = Some(now);
                }
                sighting.last = devices.to_vec();
            }
            None => {
                sighting.away_since.get_or_insert(now);
            }
        }
        sighting.clone()
    }

    /// Forgets that a host was away: it has caught up.
    pub fn caught_up(&self, node: &str) {
        if let Some(sighting) = self.all().get_mut(node) {
            sighting.back_since = None;
        }
    }

    /// Looks at every object server of the rings again and again.
    pub fn keep(&self, placement: Placement, nodes: Arc<NodeTable>, clock: Arc<dyn Clock>, tasks: &Tasks) {
        let (lookout, stop) = (self.clone(), tasks.stopping());
        tasks.supervise("lookout", move || {
            let (lookout, placement, nodes) = (lookout.clone(), placement.clone(), nodes.clone());
            let (clock, stop) = (clock.clone(), stop.clone());
            async move {
                let looking = async {
                    loop {
                        lookout.look(&placement, &nodes, &*clock).await;
                        tokio::time::sleep(REST).await;
                    }
                };
                tokio::select! {
                    () = looking => {}
                    () = stop.cancelled() => {}
                }
            }
        });
    }

    async fn look(&self, placement: &Placement, nodes: &NodeTable, clock: &dyn Clock) {
        let devices = placement.nodes();
        let named: Vec<String> = devices.iter().map(address_of).collect();
        let ask = |device: virga_ring::Device| async move {
            let answer = tokio::time::timeout(PATIENCE, nodes.node(&device).status()).await;
            let devices = answer.ok().and_then(Result::ok);
            self.note(&address_of(&device), devices.as_deref(), clock.now());
        };
        let asked = futures_util::stream::iter(devices).map(ask);
        asked.buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
        // Hosts that no ring names any more.
        self.all().retain(|node, _| named.contains(node));
    }
}

/// How a host is named in the rings: "ip:port".
pub fn address_of(device: &virga_ring::Device) -> String {
    format!("{}:{}", device.ip, device.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use virga_object_wire::status::{Cause, Reason};

    fn device() -> DeviceStatus {
        let reason = Reason {
            cause: Cause::CannotOpen,
            since: Micros(1),
            detail: String::new(),
        };
        DeviceStatus::failed("d1", reason)
    }

    #[test]
    fn a_host_is_away_since_it_was_first_missed_and_its_devices_are_remembered() {
        let lookout = Lookout::default();
        lookout.note("a:1", Some(&[device()]), Micros(10));
        lookout.note("a:1", None, Micros(20));
        let away = lookout.note("a:1", None, Micros(30));
        assert_eq!(away.away_since, Some(Micros(20)));
        assert_eq!(away.last, [device()]);
        let back = lookout.note("a:1", Some(&[]), Micros(40));
        assert_eq!((back.away_since, back.back_since), (None, Some(Micros(40))));
        lookout.caught_up("a:1");
        assert_eq!(lookout.note("a:1", Some(&[]), Micros(50)).back_since, None);
    }

    #[test]
    fn a_host_that_always_answered_is_not_back_from_anywhere() {
        let lookout = Lookout::default();
        let seen = lookout.note("a:1", Some(&[]), Micros(10));
        assert_eq!((seen.away_since, seen.back_since), (None, None));
    }
}
