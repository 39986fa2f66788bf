//! How long the reconcilers rest after a round, and whose return ends a rest.
//!
//! A round that finds nothing to do may take one part in so many of a device's
//! time: the longer it took, the longer the rest. What it waited for its peers is
//! not counted ([`Effort`]): a peer that hung for ten seconds would otherwise cost
//! minutes of rest, in which nobody sees that it is back. Neither does one slow round
//! alone count: the machine may have stood still, or worked for somebody else. Only
//! what two rounds in a row took is the device's own. And a device whose
//! last round lacked peers asks for them while it rests, one call every few
//! seconds; the first that answers again starts the next round ([`Rests`]).
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use virga_object_wire::error::NodeError;
use virga_ring::Device;

/// An idle round may take one part in so many of a device's time.
const IDLE_SHARE: u32 = 20;
/// Longest rest between two rounds.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// A resting device asks for one of the peers it lacked this often.
const LOOK: Duration = Duration::from_secs(2);
/// One peer ends a rest at most this often, however often it comes and goes.
const WAKES: Duration = Duration::from_secs(10);

/// What a round takes of its own device's time.
pub(super) struct Effort {
    began: Instant,
    waits: Mutex<Waits>,
}

/// Calls to peers under way, since when there is one, and how long there was
/// one before.
#[derive(Default)]
struct Waits {
    calls: u32,
    since: Option<Instant>,
    before: Duration,
}

/// A call to a peer, until it ends or is given up.
struct Waiting<'a>(&'a Effort);

impl Effort {
    /// From now on.
    pub(super) fn begin() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            waits: Mutex::default(),
        })
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a call to a peer, but not for ever.
    pub(super) async fn wait<T>(
        &self,
        patience: Duration,
        call: impl Future<Output = Result<T, NodeError>>,
    ) -> Result<T, NodeError> {
        let _waiting = Waiting::new(self);
        in_time(patience, call).await
    }

    /// Time since the beginning in which no peer was waited for.
    pub(super) fn spent(&self) -> Duration {
        let waits = self.waits();
        let waited = waits.before + waits.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.began.elapsed().saturating_sub(waited)
    }
}

impl<'a> Waiting<'a> {
    fn new(effort: &'a Effort) -> Self {
        let mut waits = effort.waits();
        waits.calls += 1;
        waits.since.get_or_insert_with(Instant::now);
        Self(effort)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.0.waits();
        waits.calls = waits.calls.saturating_sub(1);
        if waits.calls == 0
            && let Some(since) = waits.since.take()
        {
            waits.before += since.elapsed();
        }
    }
}

/// Waits for a call, but not for ever.
async fn in_time<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, NodeError>>,
) -> Result<T, NodeError> {
    let late = || Err(NodeError::Unreachable("no answer in time".into()));
    tokio::time::timeout(patience, call)
        .await
        .unwrap_or_else(|_| late())
}

/// Whether an error says that a device is away, and not that it does not want
/// something.
pub(super) fn is_away(error: &NodeError) -> bool {
    matches!(
        error,
        NodeError::Unreachable(_) | NodeError::NoDevice(_) | NodeError::Device(_)
    )
}

/// How a device's last round went.
struct Last<P> {
    /// What it took, if it found nothing to do, and the round before it.
    idle: [Duration; 2],
    /// Peers that were away.
    away: Vec<P>,
    /// By address: when that peer last ended a rest.
    woke: BTreeMap<(String, u16), Instant>,
}

/// Something that can be away.
pub(super) trait Peer: Clone + Send + Sync {
    /// The device.
    fn device(&self) -> &Device;
}

/// What one duty knows of the last rounds of all devices.
pub(super) struct Rests<P>(Mutex<BTreeMap<Arc<str>, Last<P>>>);

impl<P: Peer> Rests<P> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Last<P>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a round of a device went: whether it found nothing to do, and
    /// who was away.
    pub(super) fn note(&self, device: &Arc<str>, effort: &Effort, idle: bool, away: Vec<P>) {
        let idle = if idle { effort.spent() } else { Duration::ZERO };
        let mut all = self.all();
        let before = all.remove(device);
        let (before, woke) = before.map(|last| (last.idle[0], last.woke)).unwrap_or_default();
        let idle = [idle, before];
        all.insert(Arc::clone(device), Last { idle, away, woke });
    }

    /// How long a device rests that usually rests so long.
    pub(super) fn rest(&self, device: &str, usual: Duration) -> Duration {
        let all = self.all();
        let idle = all.get(device).and_then(|last| last.idle.iter().min().copied());
        let idle = idle.unwrap_or_default().saturating_mul(IDLE_SHARE);
        usual.max(idle.min(LONGEST_REST))
    }

    /// Waits until one of those that were away answers again; for ever if nobody
    /// was. `ask`: whether a peer answers.
    pub(super) async fn answered<F>(&self, device: &str, ask: impl Fn(P) -> F)
    where
        F: Future<Output = Result<(), NodeError>>,
    {
        let away: Vec<P> = self
            .all()
            .get(device)
            .map(|last| last.away.clone())
            .unwrap_or_default();
        for peer in away.iter().cycle() {
            tokio::time::sleep(LOOK).await;
            let address = (peer.device().ip.clone(), peer.device().port);
            let woke = self
                .all()
                .get(device)
                .and_then(|last| last.woke.get(&address).copied());
            if woke.is_some_and(|woke| woke.elapsed() < WAKES) {
                continue;
            }
            if in_time(LOOK, ask(peer.clone())).await.is_ok() {
                if let Some(last) = self.all().get_mut(device) {
                    last.woke.retain(|_, woke| woke.elapsed() < WAKES);
                    last.woke.insert(address, Instant::now());
                }
                return;
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    impl Peer for Device {
        fn device(&self) -> &Device {
            self
        }
    }

    fn peer(port: u16) -> Device {
        Device {
            id: virga_ring::DeviceId(0),
            region: 1,
            zone: 1,
            ip: "10.0.0.1".to_owned(),
            port,
            replication_ip: String::new(),
            replication_port: 0,
            device: "d1".to_owned(),
            weight: 1.0,
            meta: String::new(),
            extra: BTreeMap::new(),
        }
    }

    async fn after(wait: Duration) -> Result<(), NodeError> {
        tokio::time::sleep(wait).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_waited_for_a_hung_peer_is_not_followed_by_a_long_rest() {
        let (effort, rests) = (Effort::begin(), Rests::<Device>::new());
        // Two calls at a time, one of which is given up: each second counts once.
        let (one, other) = tokio::join!(
            effort.wait(5 * SECOND, after(9 * SECOND)),
            effort.wait(60 * SECOND, after(12 * SECOND))
        );
        assert!(one.is_err() && other.is_ok());
        tokio::time::sleep(SECOND).await;
        effort.wait(60 * SECOND, after(10 * SECOND)).await.unwrap();
        assert_eq!(effort.spent(), SECOND);
        let device = "d1".into();
        rests.note(&device, &effort, true, Vec::new());
        rests.note(&device, &effort, true, Vec::new());
        assert_eq!(rests.rest("d1", 3 * SECOND), IDLE_SHARE * SECOND);
        assert_eq!(
            rests.rest("d2", 3 * SECOND),
            3 * SECOND,
            "another device's round is its own"
        );
        rests.note(&device, &effort, false, Vec::new());
        assert_eq!(
            rests.rest("d1", 3 * SECOND),
            3 * SECOND,
            "there was something to do"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_slow_round_is_not_followed_by_a_long_rest_but_two_in_a_row_are() {
        let (rests, device) = (Rests::<Device>::new(), "d1".into());
        let round = async |took: Duration, idle: bool| {
            let effort = Effort::begin();
            tokio::time::sleep(took).await;
            rests.note(&device, &effort, idle, Vec::new());
            rests.rest("d1", 3 * SECOND)
        };
        assert_eq!(round(9 * SECOND, true).await, 3 * SECOND, "the first ever");
        assert_eq!(round(SECOND, true).await, IDLE_SHARE * SECOND);
        assert_eq!(round(9 * SECOND, true).await, IDLE_SHARE * SECOND, "a stall");
        assert_eq!(round(8 * SECOND, true).await, 8 * IDLE_SHARE * SECOND);
        assert_eq!(round(SECOND, false).await, 3 * SECOND);
        assert_eq!(round(9 * SECOND, true).await, 3 * SECOND, "after work");
        assert_eq!(round(99 * SECOND, true).await, 9 * IDLE_SHARE * SECOND);
        assert_eq!(round(99 * SECOND, true).await, LONGEST_REST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_again_ends_the_rest_but_not_all_the_time() {
        let (effort, rests) = (Effort::begin(), Rests::new());
        let (device, back) = ("d1".into(), AtomicBool::new(false));
        rests.note(&device, &effort, true, vec![peer(1), peer(2)]);
        let back = &back;
        let ask = |peer: Device| async move {
            match peer.port == 2 && back.load(Ordering::Relaxed) {
                true => Ok(()),
                false => std::future::pending().await,
            }
        };
        let waited = tokio::time::timeout(600 * SECOND, rests.answered("d1", ask)).await;
        assert!(waited.is_err(), "nobody is back");
        back.store(true, Ordering::Relaxed);
        let began = Instant::now();
        rests.answered("d1", ask).await;
        assert!(began.elapsed() <= 6 * SECOND, "{:?}", began.elapsed());
        // Away again in the next round, and back at once.
        rests.note(&device, &effort, true, vec![peer(2)]);
        let began = Instant::now();
        rests.answered("d1", ask).await;
        assert!(began.elapsed() >= WAKES, "{:?}", began.elapsed());
        rests.note(&device, &effort, true, Vec::new());
        let waited = tokio::time::timeout(600 * SECOND, rests.answered("d1", ask)).await;
        assert!(waited.is_err(), "nobody was away");
    }
}
