//! One listing of this device beside the same listing of one primary: finds
//! what the primary lacks, and brings it there.
//!
//! Rows go before the head, so that a primary does not take a deletion for
//! newer than rows it is about to hear of. Nothing is ever pulled. What the
//! primary knows nothing of and may have known as deleted is withheld
//! (invariant I7).
use std::collections::HashMap;
use std::sync::Arc;

use virga_node::clock::Version;
use virga_object_store::listing::{FullRows, Listings, SetAside};
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{
    ContainerRow, Life, ListingKind, ListingState, MetaItem, ObjectRow, RowRange,
};
use virga_object_wire::node::ObjectNode;
use virga_object_wire::object::At;

use super::difference::{differing, first_level, next_level};
use super::{Effort, PATIENCE};

/// Listings with fewer rows than this are compared row by row at once.
const FEW: u64 = 512;
/// Rows compared and pushed at a time.
const PAGE: usize = 500;
/// Most withheld rows that one look remembers; the next look goes on.
const MOST_WITHHELD: usize = 10_000;

/// A primary of a partition.
#[derive(Clone)]
pub(super) struct Primary {
    /// Its node.
    pub(super) node: Arc<dyn ObjectNode>,
    /// Its name in the ring.
    pub(super) device: Arc<str>,
    /// How far it has forgotten deletions.
    pub(super) horizon: Version,
    /// Whether this device may hold what the primary has long known to be
    /// deleted: it has not compared itself since.
    pub(super) guarded: bool,
    /// Waiting for it is no work.
    pub(super) effort: Arc<Effort>,
}

/// What a look at one listing came to.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Rows and heads that were pushed.
    pub(super) names: u64,
    /// Their bytes, about.
    pub(super) bytes: u64,
    /// What was not pushed, because it may have been deleted.
    pub(super) withheld: SetAside,
    /// Whether something was left to arrive by itself.
    in_flight: bool,
    /// Rows up to this name were looked at; `None` is all of them.
    pub(super) upto: Option<String>,
}

/// One listing on this device.
pub(super) struct Pushing<'a> {
    pub(super) listings: &'a Listings,
    pub(super) kind: ListingKind,
    /// What is newer may still be on its way to the primaries by itself.
    pub(super) settled: Version,
    /// Where it lies here.
    pub(super) at: &'a At,
}

/// What the other side has of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Theirs {
    Absent,
    Same,
    Different,
}

impl Pushing<'_> {
    /// Brings everything to `primary` that it lacks. `known`: it has something
    /// under this hash.
    pub(super) async fn push(&self, primary: &Primary, known: bool) -> Result<Told, NodeError> {
        let mut told = Told::default();
        let Some(ours) = self.listings.state(self.kind, self.at).await? else {
            return Ok(told);
        };
        let theirs = if known {
            primary
                .patient(primary.node.listing_state(self.kind, &self.place(primary)))
                .await?
        } else {
            None
        };
        let theirs = theirs.unwrap_or_default();
        if ours.digest != theirs.digest {
            self.push_rows(primary, &ours, &theirs, &mut told).await?;
        }
        self.push_state(primary, ours, &theirs, &mut told).await?;
        Ok(told)
    }

    /// The same name on the primary.
    fn place(&self, primary: &Primary) -> At {
        At {
            device: Arc::clone(&primary.device),
            ..self.at.clone()
        }
    }

    /// Looks into smaller and smaller parts that differ, then at rows.
    async fn push_rows(
        &self,
        primary: &Primary,
        ours: &ListingState,
        theirs: &ListingState,
        told: &mut Told,
    ) -> Result<(), NodeError> {
        if theirs.rows == 0 || ours.rows.max(theirs.rows) <= FEW {
            return self
                .push_range(primary, RowRange::default(), theirs.rows > 0, told)
                .await;
        }
        // A stack, so that what lies open at a time is one chain of ranges.
        let mut open = vec![(RowRange::default(), first_level(ours.rows.max(theirs.rows)))];
        while let Some((range, level)) = open.pop() {
            let at = self.place(primary);
            let sums = primary
                .patient(primary.node.listing_parts(self.kind, &at, range.clone(), level))
                .await?;
            let level = sums.level;
            let (own_level, parts) = self.listings.named_parts(self.at, range.clone(), level).await?;
            if own_level != level {
                // Far more rows here than there: coarser on both sides.
                open.push((range, own_level));
                continue;
            }
            let ranges = differing(&range, &parts, &sums.parts);
            match next_level(level) {
                Some(finer) => open.extend(ranges.into_iter().rev().map(|range| (range, finer))),
                None => {
                    for range in ranges {
                        self.push_range(primary, range, true, told).await?;
                        if told.upto.is_some() {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares rows one by one, page by page. `any`: the primary has rows.
    async fn push_range(
        &self,
        primary: &Primary,
        mut range: RowRange,
        any: bool,
        told: &mut Told,
    ) -> Result<(), NodeError> {
        loop {
            let (ours, next) = self.listings.named_rows(self.at, range.clone(), PAGE).await?;
            let page = RowRange {
                from: range.from.clone(),
                to: next.clone().or_else(|| range.to.clone()),
            };
            let mut theirs: HashMap<u64, (u64, Theirs)> = ours
                .iter()
                .map(|(_, sum)| (sum.name, (sum.value, Theirs::Absent)))
                .collect();
            if any && !ours.is_empty() {
                self.compare(primary, page, &mut theirs).await?;
            }
            let (mut absent, mut different) = (Vec::new(), Vec::new());
            for (name, sum) in &ours {
                match theirs.get(&sum.name).map(|(_, theirs)| *theirs) {
                    Some(Theirs::Absent) => absent.push(name.clone()),
                    Some(Theirs::Different) => different.push(name.clone()),
                    Some(Theirs::Same) | None => {}
                }
            }
            let values: HashMap<String, u64> =
                ours.into_iter().map(|(name, sum)| (name, sum.value)).collect();
            self.send(primary, different, false, &values, told).await?;
            self.send(primary, absent, true, &values, told).await?;
            let Some(next) = next else { return Ok(()) };
            if told.withheld.rows.len() >= MOST_WITHHELD {
                told.upto = Some(next);
                return Ok(());
            }
            range.from = next;
        }
    }

    /// Notes what the primary has of these rows.
    async fn compare(
        &self,
        primary: &Primary,
        mut range: RowRange,
        rows: &mut HashMap<u64, (u64, Theirs)>,
    ) -> Result<(), NodeError> {
        let at = self.place(primary);
        loop {
            let limit = u32::try_from(PAGE * 4).unwrap_or(u32::MAX);
            let page = primary
                .patient(primary.node.listing_rows(self.kind, &at, range.clone(), limit))
                .await?;
            for row in page.rows {
                if let Some((value, theirs)) = rows.get_mut(&row.name) {
                    *theirs = if *value == row.value {
                        Theirs::Same
                    } else {
                        Theirs::Different
                    };
                }
            }
            match page.next {
                Some(next) => range.from = next,
                None => return Ok(()),
            }
        }
    }

    /// Sends rows, but for those that a primary which has none of that name
    /// need not or must not get.
    async fn send(
        &self,
        primary: &Primary,
        names: Vec<String>,
        absent: bool,
        values: &HashMap<String, u64>,
        told: &mut Told,
    ) -> Result<(), NodeError> {
        if names.is_empty() {
            return Ok(());
        }
        let settled = self.settled;
        let mut verdict = |name: &str, newest: Version, death: Option<Version>| {
            if newest > settled {
                told.in_flight = true;
                return false;
            }
            if !absent {
                return true;
            }
            let verdict = primary.judge(newest, death);
            if verdict == Verdict::Withhold {
                let value = values.get(name).copied().unwrap_or_default();
                told.withheld.rows.push((name.to_owned(), value));
            }
            verdict == Verdict::Push
        };
        let at = self.place(primary);
        let (names, bytes) = match self.listings.full_rows(self.kind, self.at, names).await? {
            FullRows::Objects(mut rows) => {
                rows.retain(|row| {
                    let death = row.deleted.then_some(row.version);
                    verdict(&row.name, row.version.max(row.meta_version), death)
                });
                let size = (rows.len(), rows.iter().map(object_bytes).sum::<usize>());
                if !rows.is_empty() {
                    primary.patient(primary.node.put_object_rows(&at, rows)).await?;
                }
                size
            }
            FullRows::Containers(mut rows) => {
                rows.retain(|row| {
                    let death = (row.put <= row.deleted).then_some(row.deleted);
                    verdict(&row.name, row.put.max(row.deleted).max(row.counted), death)
                });
                let size = (rows.len(), rows.iter().map(container_bytes).sum::<usize>());
                if !rows.is_empty() {
                    primary
                        .patient(primary.node.put_container_rows(&at, rows))
                        .await?;
                }
                size
            }
        };
        told.names += names as u64;
        told.bytes += bytes as u64;
        Ok(())
    }

    /// Sends what is known beside the rows, unless the primary knows it all.
    async fn push_state(
        &self,
        primary: &Primary,
        mut ours: ListingState,
        theirs: &ListingState,
        told: &mut Told,
    ) -> Result<(), NodeError> {
        let newest = ours.life.put.max(ours.life.deleted);
        if newest > self.settled {
            return Ok(());
        }
        let death = (ours.life.put <= ours.life.deleted).then_some(ours.life.deleted);
        if theirs.life.is_unknown() && !ours.life.is_unknown() {
            match primary.judge(newest, death) {
                Verdict::Push => {}
                Verdict::Spare => return Ok(()),
                Verdict::Withhold => {
                    told.withheld.head = Some((ours.life.put, ours.life.deleted));
                    return Ok(());
                }
            }
        }
        let mut kept = Vec::with_capacity(ours.meta.len());
        for item in ours.meta {
            match self.judge_item(primary, &item, theirs) {
                Verdict::Push => kept.push(item),
                Verdict::Spare => {}
                Verdict::Withhold => told.withheld.items.push(item),
            }
        }
        if told.in_flight {
            ours.life.newest = theirs.life.newest;
        }
        let mut merged = theirs.life;
        merged.merge(&ours.life);
        if told.names > 0 {
            // It comes with the rows.
            merged.newest = theirs.life.newest;
        }
        if merged == theirs.life && kept.is_empty() {
            return Ok(());
        }
        ours.meta = kept;
        told.names += 1;
        told.bytes += state_bytes(&ours) as u64;
        primary
            .patient(primary.node.merge_listing(self.kind, &self.place(primary), ours))
            .await
    }

    /// Whether an item is news to the primary.
    fn judge_item(&self, primary: &Primary, item: &MetaItem, theirs: &ListingState) -> Verdict {
        if item.version <= theirs.life.deleted {
            return Verdict::Spare;
        }
        match theirs.meta.iter().find(|known| known.name == item.name) {
            Some(known) if (known.version, &known.value) >= (item.version, &item.value) => Verdict::Spare,
            Some(_) => Verdict::Push,
            None => primary.judge(item.version, item.is_removed().then_some(item.version)),
        }
    }
}

/// What becomes of something that a primary knows nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It goes there.
    Push,
    /// A deletion that the primary has forgotten.
    Spare,
    /// It may have been deleted, and the primary has forgotten that.
    Withhold,
}

impl Primary {
    /// Waits for a call to it, but not for ever.
    async fn patient<T>(&self, call: impl Future<Output = Result<T, NodeError>>) -> Result<T, NodeError> {
        self.effort.wait(PATIENCE, call).await
    }

    fn judge(&self, newest: Version, death: Option<Version>) -> Verdict {
        match death {
            Some(death) if death <= self.horizon => Verdict::Spare,
            Some(_) => Verdict::Push,
            None if self.guarded && newest <= self.horizon => Verdict::Withhold,
            None => Verdict::Push,
        }
    }
}

/// Bytes of a row on its way, about: numbers beside the texts.
fn object_bytes(row: &ObjectRow) -> usize {
    row.name.len() + row.etag.len() + row.content_type.len() + 32
}

fn container_bytes(row: &ContainerRow) -> usize {
    row.name.len() + 40
}

fn state_bytes(state: &ListingState) -> usize {
    let items = state
        .meta
        .iter()
        .map(|item| item.name.len() + item.value.len() + 10);
    size_of::<Life>() + state.account.len() + state.container.len() + items.sum::<usize>()
}

/// What every primary withheld: nobody knows of it, so it is set aside. Rows
/// count as far as all have been looked at.
pub(super) fn unknown_to_all(told: &[&Told]) -> SetAside {
    let Some((first, others)) = told.split_first() else {
        return SetAside::default();
    };
    let all_heads = others
        .iter()
        .all(|told| told.withheld.head == first.withheld.head);
    let everywhere = |name: &str| {
        others.iter().all(|told| {
            told.withheld
                .rows
                .binary_search_by(|(known, _)| known.as_str().cmp(name))
                .is_ok()
        })
    };
    let rows = first.withheld.rows.iter().filter(|(name, _)| everywhere(name));
    let items = first.withheld.items.iter();
    let items = items.filter(|item| others.iter().all(|told| told.withheld.items.contains(item)));
    SetAside {
        head: first.withheld.head.filter(|_| all_heads),
        items: items.cloned().collect(),
        rows: rows.cloned().collect(),
    }
}
