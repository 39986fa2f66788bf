//! What reconciliation asks of a device's listings, and tells them: how two
//! replicas find out what one lacks, and how it gets there. Called by the
//! object server's worker for its own devices, and through the node protocol
//! for others.
use std::sync::atomic::Ordering;

use virga_node::clock::Version;
use virga_object_wire::listing::{
    ContainerRow, ListingKind, ListingState, ListingSum, ObjectRow, PartSums, RowRange, RowSums,
    ShardsRequest,
};
use virga_object_wire::object::At;
use virga_ring::Partition;
use virga_ring::hash::NameHash;

use super::compare::{self, NamedPart, NamedRows};
use super::fault::{ChangeError, ReadError};
use super::op::{Op, Rows, SetAside};
use super::sys::{self, Round};
use super::{Listings, MAX_ITEMS, MAX_ROWS, check, check_text, target};

/// Most partitions, shards, rows or names in one call.
pub const MAX_COMPARED: usize = 10_000;

/// Rows of one listing as they are stored, to be put elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FullRows {
    /// Of a container.
    Objects(Vec<ObjectRow>),
    /// Of an account.
    Containers(Vec<ContainerRow>),
}

impl Listings {
    /// How far deletions are forgotten, and a sum for each of these partitions
    /// of a ring that has 2^`power` of them.
    pub async fn sums(
        &self,
        kind: ListingKind,
        power: u8,
        partitions: Vec<Partition>,
    ) -> Result<(Version, Vec<u128>), ReadError> {
        bound(partitions.len())?;
        let db = self.db.clone();
        self.on_reader(move || {
            // The horizon first: what is forgotten meanwhile only makes the
            // asker compare more.
            let horizon = sys::horizon(&db, kind)?;
            let sums = compare::sums(&db, kind, power, &partitions)?;
            Ok((horizon, sums))
        })
        .await
    }

    /// Shards of a partition with their sums, in the order of their hash. Less
    /// than the limit is the end.
    pub async fn shards(
        &self,
        kind: ListingKind,
        wanted: ShardsRequest,
    ) -> Result<Vec<ListingSum>, ReadError> {
        let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        bound(limit)?;
        let (db, place) = (self.db.clone(), (wanted.power, wanted.partition));
        self.on_reader(move || compare::shards(&db, kind, place, wanted.after, limit))
            .await
    }

    /// The sum of what is known of one container or account.
    pub async fn sum(&self, kind: ListingKind, at: &At) -> Result<Option<u128>, ReadError> {
        compare::sum(&self.db, kind, at.hash)
    }

    /// At most `limit` containers behind `after` that were deleted by someone
    /// who did not know of their live rows.
    pub async fn hidden(&self, after: Option<NameHash>, limit: usize) -> Result<Vec<NameHash>, ReadError> {
        bound(limit)?;
        let db = self.db.clone();
        self.on_reader(move || compare::hidden(&db, after, limit)).await
    }

    /// At most `limit` partitions from `first` on that something lies in here,
    /// each with its sum. A shorter answer is the end.
    pub async fn occupied(
        &self,
        kind: ListingKind,
        power: u8,
        first: u64,
        limit: usize,
    ) -> Result<Vec<(Partition, u128)>, ReadError> {
        bound(limit)?;
        let db = self.db.clone();
        self.on_reader(move || compare::occupied(&db, kind, power, first, limit))
            .await
    }

    /// What is known of a container or account beside its rows; `None` if
    /// nothing at all.
    pub async fn state(&self, kind: ListingKind, at: &At) -> Result<Option<ListingState>, ReadError> {
        compare::state(&self.db, kind, at.hash)
    }

    /// The same of a container that is deleted and has live rows at this moment;
    /// `None` for any other, also one that [`Listings::hidden`] has just named.
    pub async fn hidden_state(&self, at: &At) -> Result<Option<ListingState>, ReadError> {
        compare::hidden_state(&self.db, at.hash)
    }

    /// A range of rows in parts of this level, with the names they begin with.
    pub async fn named_parts(
        &self,
        at: &At,
        range: RowRange,
        level: u8,
    ) -> Result<(u8, Vec<NamedPart>), ReadError> {
        let (db, shard) = (self.db.clone(), at.hash);
        self.on_reader(move || compare::parts(&db, shard, &range, level))
            .await
    }

    /// The same without names, as other devices are told.
    pub async fn parts(&self, at: &At, range: RowRange, level: u8) -> Result<PartSums, ReadError> {
        self.named_parts(at, range, level).await.map(compare::told)
    }

    /// At most `limit` rows of a range with their names, and the name to go on
    /// with.
    pub async fn named_rows(&self, at: &At, range: RowRange, limit: usize) -> Result<NamedRows, ReadError> {
        bound(limit)?;
        let (db, shard) = (self.db.clone(), at.hash);
        self.on_reader(move || compare::rows(&db, shard, &range, limit))
            .await
    }

    /// The same without names, as other devices are told.
    pub async fn row_sums(&self, at: &At, range: RowRange, limit: usize) -> Result<RowSums, ReadError> {
        let (rows, next) = self.named_rows(at, range, limit).await?;
        let rows = rows.into_iter().map(|(_, sum)| sum).collect();
        Ok(RowSums { rows, next })
    }

    /// The rows of these names as they are stored; those that are gone are
    /// left out.
    pub async fn full_rows(
        &self,
        kind: ListingKind,
        at: &At,
        names: Vec<String>,
    ) -> Result<FullRows, ReadError> {
        bound(names.len())?;
        let (db, shard) = (self.db.clone(), at.hash);
        let rows = self
            .on_reader(move || compare::full(&db, kind, shard, &names))
            .await?;
        Ok(match rows {
            Rows::Objects(rows) => FullRows::Objects(rows),
            Rows::Containers(rows) => FullRows::Containers(rows),
        })
    }

    /// Merges in what another replica knows beside the rows.
    pub async fn merge_state(
        &self,
        kind: ListingKind,
        at: &At,
        told: ListingState,
    ) -> Result<(), ChangeError> {
        check_text(&told.account, false)?;
        check_text(&told.container, false)?;
        check(
            told.meta.len() <= MAX_ITEMS * 16,
            "more metadata than a listing holds",
        )?;
        self.check_items(&told.meta)?;
        let life = &told.life;
        let versions = [life.created, life.put, life.deleted, life.newest];
        self.check_versions(
            versions
                .into_iter()
                .chain(told.meta.iter().map(|item| item.version)),
        )?;
        self.submit(Op::Merge(target(kind, at), Box::new(told)))
            .await
            .map(drop)
    }

    /// Drops all of a container or account if its sum is still `sum`, because
    /// everything it says lies where the ring wants it. Whether it is gone; no
    /// trace is left, so that it may come back.
    pub async fn drop_listing(&self, kind: ListingKind, at: &At, sum: u128) -> Result<bool, ChangeError> {
        self.submit(Op::Drop(target(kind, at), sum)).await
    }

    /// Takes out of sight what no primary knows of, and what may have been
    /// deleted longer ago than anybody remembers. It stays readable in the
    /// database for an operator.
    pub async fn set_aside(&self, kind: ListingKind, at: &At, aside: SetAside) -> Result<(), ChangeError> {
        check(aside.rows.len() <= MAX_ROWS, "too many rows in one call")?;
        self.submit(Op::SetAside(target(kind, at), aside)).await.map(drop)
    }

    /// Rows, metadata items and heads that were set aside.
    pub fn set_aside_count(&self) -> u64 {
        self.set_aside.load(Ordering::Relaxed)
    }

    /// The last complete round of reconciliation.
    pub async fn round(&self, kind: ListingKind) -> Result<Option<Round>, ReadError> {
        sys::round(&self.db, kind)
    }

    /// Notes a complete round, durably.
    pub async fn note_round(&self, kind: ListingKind, round: Round) -> Result<(), ChangeError> {
        self.submit(Op::Round(kind, round)).await.map(drop)
    }

    /// Takes the horizon of a device that lies further: what it has forgotten
    /// must not come back from here either, also if it was never known here.
    pub async fn raise_horizon(&self, kind: ListingKind, horizon: Version) -> Result<(), ChangeError> {
        if sys::horizon(&self.db, kind)? >= horizon {
            return Ok(());
        }
        self.check_versions(std::iter::once(horizon))?;
        self.submit(Op::Horizon(kind, horizon)).await.map(drop)
    }

    /// Highest version among forgotten deletions.
    pub async fn horizon(&self, kind: ListingKind) -> Result<Version, ReadError> {
        sys::horizon(&self.db, kind)
    }
}

fn bound(number: usize) -> Result<(), ReadError> {
    if number > MAX_COMPARED {
        return Err(ReadError::Invalid("too much in one call"));
    }
    Ok(())
}
