//! Infos of containers and accounts that were asked for a moment ago.
//!
//! Every object request needs its container's policy and permissions. Entries
//! live for a second; own changes drop them at once. Only what exists is kept:
//! a container made through another proxy is seen at once.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use virga_object_wire::listing::{AccountInfo, ContainerInfo};

/// Shards of a cache, each with its own lock.
const SHARDS: usize = 16;

struct Kept<I> {
    info: Arc<I>,
    asked: Instant,
    /// Someone is asking again; others use the old info meanwhile.
    renewing: bool,
}

/// What the cache says of a name.
pub(super) enum Known<I> {
    /// Use this.
    Fresh(Arc<I>),
    /// Ask the nodes, then [`Cache::put`].
    Ask(Ticket),
}

/// When asking began: an info that was asked for before a change of our own
/// must not be kept after it.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    changes: u64,
}

struct Shard<I> {
    kept: HashMap<Box<str>, Kept<I>>,
    /// Own changes so far.
    changes: u64,
}

/// A bounded map from path to info.
pub(super) struct Cache<I> {
    shards: Vec<Mutex<Shard<I>>>,
    ttl: Duration,
    most: usize,
}

impl<I> Cache<I> {
    fn new(ttl: Duration, most: usize) -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                kept: HashMap::new(),
                changes: 0,
            })
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            ttl,
            most: (most / SHARDS).max(1),
        }
    }

    fn shard(&self, path: &str) -> std::sync::MutexGuard<'_, Shard<I>> {
        // FNV-1a: spreads paths over a few shards, nothing more.
        let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks a name up.
    pub(super) fn get(&self, path: &str) -> Known<I> {
        let now = Instant::now();
        let mut shard = self.shard(path);
        let ticket = Ticket {
            changes: shard.changes,
        };
        let Some(kept) = shard.kept.get_mut(path) else {
            return Known::Ask(ticket);
        };
        let age = now.saturating_duration_since(kept.asked);
        if age < self.ttl || (kept.renewing && age < self.ttl * 2) {
            return Known::Fresh(Arc::clone(&kept.info));
        }
        kept.renewing = true;
        Known::Ask(ticket)
    }

    /// What was known of a name at most `most` ago, however old for other uses.
    pub(super) fn recent(&self, path: &str, most: Duration) -> Option<Arc<I>> {
        let kept = self
            .shard(path)
            .kept
            .get(path)
            .map(|kept| (Arc::clone(&kept.info), kept.asked));
        let (info, asked) = kept?;
        (Instant::now().saturating_duration_since(asked) < most).then_some(info)
    }

    /// Keeps what was asked for with `ticket`; `None` forgets the name.
    pub(super) fn put(&self, path: &str, ticket: Ticket, info: Option<Arc<I>>) {
        let now = Instant::now();
        let mut shard = self.shard(path);
        let Some(info) = info.filter(|_| shard.changes == ticket.changes) else {
            shard.kept.remove(path);
            return;
        };
        if shard.kept.len() >= self.most && !shard.kept.contains_key(path) {
            let ttl = self.ttl;
            shard
                .kept
                .retain(|_, kept| now.saturating_duration_since(kept.asked) < ttl);
            if shard.kept.len() >= self.most {
                // All were asked for within a second: start over rather than
                // keep an order of use on every hit.
                shard.kept.clear();
            }
        }
        shard.kept.insert(
            path.into(),
            Kept {
                info,
                asked: now,
                renewing: false,
            },
        );
    }

    /// Forgets a name after an own change.
    pub(super) fn forget(&self, path: &str) {
        let mut shard = self.shard(path);
        shard.changes += 1;
        shard.kept.remove(path);
    }
}

/// The caches of a core.
pub(super) struct Infos {
    pub(super) containers: Cache<ContainerInfo>,
    pub(super) accounts: Cache<AccountInfo>,
}

impl Infos {
    pub(super) fn new(ttl: Duration, most: usize) -> Self {
        Self {
            containers: Cache::new(ttl, most),
            accounts: Cache::new(ttl, most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(1);

    fn ask(cache: &Cache<u32>, path: &str) -> Ticket {
        match cache.get(path) {
            Known::Ask(ticket) => ticket,
            Known::Fresh(info) => panic!("{path} is kept: {info}"),
        }
    }

    fn kept(cache: &Cache<u32>, path: &str) -> Option<u32> {
        match cache.get(path) {
            Known::Ask(_) => None,
            Known::Fresh(info) => Some(*info),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_info_is_used_until_it_is_too_old_and_then_renewed_by_one() {
        let cache = Cache::new(TTL, 100);
        cache.put("a/c", ask(&cache, "a/c"), Some(Arc::new(1)));
        assert_eq!(kept(&cache, "a/c"), Some(1));
        tokio::time::advance(TTL).await;
        let ticket = ask(&cache, "a/c");
        assert_eq!(
            kept(&cache, "a/c"),
            Some(1),
            "others need not wait for the renewal"
        );
        cache.put("a/c", ticket, Some(Arc::new(2)));
        assert_eq!(kept(&cache, "a/c"), Some(2));
    }

    #[tokio::test]
    async fn what_was_asked_before_an_own_change_is_not_kept_after_it() {
        let cache = Cache::new(TTL, 100);
        let ticket = ask(&cache, "a/c");
        cache.forget("a/c");
        cache.put("a/c", ticket, Some(Arc::new(1)));
        assert_eq!(kept(&cache, "a/c"), None);
    }

    #[tokio::test]
    async fn the_number_of_entries_is_bounded() {
        let cache = Cache::new(TTL, 64);
        for i in 0..1000 {
            let path = format!("a/{i}");
            cache.put(&path, ask(&cache, &path), Some(Arc::new(i)));
        }
        let all: usize = cache
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().kept.len())
            .sum();
        assert!(all <= 64, "{all} entries");
    }
}
