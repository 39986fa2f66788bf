//! The core's bounds and waits, each with its reason.
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use virga_ring::affinity::{NodeCount, ReadAffinity, WriteAffinity};

/// Which regions and zones a proxy prefers; the keys are Swift's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Affinity {
    /// Where to read first, of the replicas that are well.
    pub read_affinity: ReadAffinity,
    /// Which devices stand in first for primaries that are away. Primaries
    /// come before them wherever they are: a write is acknowledged when a
    /// quorum of primaries has it, so that every reader finds it.
    pub write_affinity: WriteAffinity,
    /// How many local devices stand in before others do.
    pub write_affinity_node_count: NodeCount,
}

/// Bounds and waits. [`Settings::default`] is right for nodes with SSDs in one
/// data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Index of the storage policy of containers that ask for none.
    pub default_policy: u32,
    /// Whether the first container of an account makes the account.
    pub account_autocreate: bool,
    /// Longest wait for one answer of one node. A node that stays silent for
    /// longer counts as unreachable.
    pub node_timeout: Duration,
    /// Longest wait for the next bytes of an upload; then the client is too slow.
    pub body_timeout: Duration,
    /// A replica that takes no bytes for this long, while a quorum does, is
    /// left out of an upload.
    pub stall: Duration,
    /// Longest wait of an acknowledgement for the container's row, so that the
    /// next listing shows what was acknowledged. It ends early at a quorum, so only
    /// a container with most of its replicas away or swamped lets it run out. The
    /// object node owes the row from then on: the listing is late, never wrong for good.
    pub row_wait: Duration,
    /// A read is asked for at a second replica when the first is silent for
    /// this long, or for the 95th percentile of recent reads if that is longer.
    pub hedge: Duration,
    /// How long the info of a container or account may be used without asking
    /// again. A change through another proxy is seen this much later.
    pub info_ttl: Duration,
    /// Most infos kept, containers and accounts each.
    pub info_entries: usize,
    /// Bodies and extents up to this many bytes are hashed where they stand,
    /// longer ones on the blocking pool.
    pub hash_inline: usize,
    /// Replicas that may still be written in the background after the client
    /// has its answer; beyond that, uploads wait for all their replicas.
    pub background: usize,
    /// Which devices this proxy prefers.
    pub affinity: Affinity,
    /// The same for objects of single storage policies, by index.
    pub policy_affinity: BTreeMap<u32, Affinity>,
    /// How often nodes are asked, during a ring change, how far they are.
    pub movement_poll: Duration,
    /// Longest time between two proxies taking a new ring into use. Nodes must
    /// have looked through everything once after it before the old ring is
    /// forgotten: what a proxy writes later by the old ring alone is found late.
    pub ring_grace: Duration,
    /// A device that has left a ring and does not answer for this long is not
    /// waited for.
    pub gone_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_policy: 0,
            account_autocreate: true,
            node_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            stall: Duration::from_secs(1),
            row_wait: Duration::from_secs(1),
            hedge: Duration::from_millis(10),
            info_ttl: Duration::from_secs(1),
            info_entries: 100_000,
            hash_inline: 64 * 1024,
            background: 4096,
            affinity: Affinity::default(),
            policy_affinity: BTreeMap::new(),
            movement_poll: Duration::from_secs(2),
            ring_grace: Duration::from_secs(60),
            gone_after: Duration::from_secs(30),
        }
    }
}
