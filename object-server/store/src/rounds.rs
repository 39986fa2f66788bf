//! What a device remembers of its rounds of reconciliation: how far it has
//! come, and which deletions may have been forgotten (invariant I7).
//!
//! Noted in `sys` by the object server's `reconcile` duty and by compaction. A
//! crash may lose the last notes, or all of them with the index: the device then
//! claims less than it could, which is the safe side. The horizon goes with the
//! very write that drops a deletion.
use virga_disk::kv::KvError;
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_ring::RingId;

use crate::change::Change;
use crate::device::Device;
use crate::index::Index;
use crate::sys;

/// The last complete round of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastRound {
    /// When it began; zero if there was none.
    pub started: Version,
    /// Under which ring it was made.
    pub ring: RingId,
}

/// The horizon of a policy's objects.
pub(crate) fn horizon(index: &Index, policy: u32) -> Result<Version, KvError> {
    let noted = index.noted(&sys::horizon(policy))?;
    Ok(noted
        .and_then(|bytes| sys::decode_version(&bytes))
        .unwrap_or_default())
}

impl Device {
    /// The last complete round of a policy's ring; `None` if there was none.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub fn last_round(&self, policy: u32) -> Result<Option<LastRound>, NodeError> {
        let noted = self.index().noted(&sys::round(policy));
        let noted = noted.map_err(|error| self.index_failed(&error))?;
        Ok(noted.and_then(|bytes| sys::decode_round(&bytes)))
    }

    /// Notes a complete round.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub fn note_round(&self, policy: u32, round: LastRound) -> Result<(), NodeError> {
        self.note(&sys::round(policy), &sys::encode_round(round))
    }

    /// Highest version of a deletion that this device, or one it has heard of,
    /// has forgotten.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub fn horizon(&self, policy: u32) -> Result<Version, NodeError> {
        horizon(self.index(), policy).map_err(|error| self.index_failed(&error))
    }

    /// Takes note of another device's horizon.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub fn raise_horizon(&self, policy: u32, heard: Version) -> Result<(), NodeError> {
        if heard <= self.horizon(policy)? {
            return Ok(());
        }
        // Under the lock, as compaction raises it too.
        let failed = |error| self.index_failed(&error);
        let mut lock = self.index().lock();
        if heard > horizon(self.index(), policy).map_err(failed)? {
            let mut change = Change::new(self.index());
            change.note(&sys::horizon(policy), &sys::encode_version(heard));
            lock.write(change.finish(), 0).map_err(failed)?;
        }
        Ok(())
    }

    fn note(&self, key: &[u8], value: &[u8]) -> Result<(), NodeError> {
        let mut lock = self.index().lock();
        let mut change = Change::new(self.index());
        change.note(key, value);
        lock.write(change.finish(), 0)
            .map_err(|error| self.index_failed(&error))
    }
}
