//! What the twin tells those who compare its listings: by walking everything.
use virga_node::clock::{Micros, Version};
use virga_ring::{NameHash, Partition};

use super::Contents;
use super::listings::Compared;
use crate::error::NodeError;
use crate::listing::{
    ListingKind, ListingState, ListingSum, ListingSums, PART_LEVEL, PartSum, PartSums, RowRange, RowSum,
    RowSums, begins_part, row_hash,
};
use crate::movement::Answering;
use crate::object::At;

fn hashed(text: &str) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    u128::from_le_bytes(half)
}

impl Contents {
    fn compared(&self, kind: ListingKind, at: &At) -> Option<&dyn Compared> {
        let key = super::key(at);
        match kind {
            ListingKind::Container => self.containers.get(&key).map(|it| it as &dyn Compared),
            ListingKind::Account => self.accounts.get(&key).map(|it| it as &dyn Compared),
        }
    }

    /// All listings of a kind with the sum of what is known, by hash.
    fn listing_sums_of(&self, kind: ListingKind) -> Vec<ListingSum> {
        let all: Vec<(&[u8; 16], &dyn Compared)> = match kind {
            ListingKind::Container => self
                .containers
                .iter()
                .map(|((_, _, hash), it)| (hash, it as &dyn Compared))
                .collect(),
            ListingKind::Account => self
                .accounts
                .iter()
                .map(|((_, _, hash), it)| (hash, it as &dyn Compared))
                .collect(),
        };
        let known = all.into_iter().map(|(hash, it)| (*hash, it.state()));
        let known = known.filter(|(_, state)| !state.life.is_unknown() || state.rows > 0);
        let mut sums: Vec<ListingSum> = known
            .map(|(hash, state)| ListingSum {
                hash: NameHash(hash),
                sum: hashed(&format!("{hash:?} {state:?}")),
            })
            .collect();
        sums.sort_by_key(|listing| listing.hash);
        sums
    }

    pub(super) fn listing_sums(
        &self,
        device: &str,
        kind: ListingKind,
        power: u8,
        partitions: &[Partition],
        now: Micros,
    ) -> ListingSums {
        let all = self.listing_sums_of(kind);
        let of = |partition: &Partition| {
            let inside = all
                .iter()
                .filter(|listing| within(listing.hash, power, *partition));
            inside.map(|listing| listing.sum).fold(0, u128::wrapping_add)
        };
        ListingSums {
            answering: Answering {
                identity: hashed(device).to_le_bytes(),
                using: None,
                horizon: Version(0),
                now,
            },
            sums: partitions.iter().map(of).collect(),
        }
    }

    pub(super) fn listing_shards(
        &self,
        kind: ListingKind,
        (power, partition): (u8, Partition),
        after: Option<NameHash>,
        limit: u32,
    ) -> Vec<ListingSum> {
        let all = self.listing_sums_of(kind).into_iter();
        all.filter(|listing| within(listing.hash, power, partition))
            .filter(|listing| after.is_none_or(|after| listing.hash > after))
            .take(limit as usize)
            .collect()
    }

    pub(super) fn listing_state(&self, kind: ListingKind, at: &At) -> Option<ListingState> {
        self.compared(kind, at).map(Compared::state)
    }

    fn rows_in(&self, kind: ListingKind, at: &At, range: &RowRange) -> Vec<(String, u128)> {
        let rows = self.compared(kind, at).map(Compared::sums).unwrap_or_default();
        let inside = |name: &String| *name >= range.from && range.to.as_ref().is_none_or(|to| name < to);
        rows.into_iter().filter(|(name, _)| inside(name)).collect()
    }

    pub(super) fn listing_parts(&self, kind: ListingKind, at: &At, range: &RowRange, level: u8) -> PartSums {
        let level = level.max(PART_LEVEL);
        let mut parts = vec![PartSum { start: 0, sum: 0 }];
        for (name, sum) in self.rows_in(kind, at, range) {
            let start = row_hash(&name);
            if begins_part(start, level) && name != range.from {
                parts.push(PartSum { start, sum: 0 });
            }
            if let Some(part) = parts.last_mut() {
                part.sum = part.sum.wrapping_add(sum);
            }
        }
        PartSums { level, parts }
    }

    pub(super) fn listing_rows(&self, kind: ListingKind, at: &At, range: &RowRange, limit: u32) -> RowSums {
        let mut rows = self.rows_in(kind, at, range);
        let next = rows.get(limit as usize).map(|(name, _)| name.clone());
        rows.truncate(limit as usize);
        let sum = |(name, sum): &(String, u128)| RowSum {
            name: row_hash(name),
            value: *sum as u64,
        };
        RowSums {
            rows: rows.iter().map(sum).collect(),
            next,
        }
    }

    pub(super) fn merge_listing(
        &mut self,
        kind: ListingKind,
        at: &At,
        told: ListingState,
    ) -> Result<(), NodeError> {
        let key = super::key(at);
        match kind {
            ListingKind::Container => self.containers.entry(key).or_default().tell(told),
            ListingKind::Account => self.accounts.entry(key).or_default().tell(told),
        }
        Ok(())
    }
}

/// Whether a hash lies in this partition of a ring with 2^`power` of them.
fn within(hash: NameHash, power: u8, partition: Partition) -> bool {
    let mut first = [0; 4];
    first.copy_from_slice(&hash.0[..4]);
    let bits = u64::from(u32::from_be_bytes(first));
    bits >> (32 - u32::from(power.min(32))) == u64::from(partition.0)
}
