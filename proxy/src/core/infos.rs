//! Merging what replicas know of a container or account beside its rows.
//!
//! Every field carries its version and the larger wins, whether it says that
//! something is there or that it is gone. What a write quorum has acknowledged
//! is therefore exact in the merged view of any read quorum, whichever replica
//! missed it. Counts are those of the best informed replica.
use virga_node::clock::Version;
use virga_object_wire::listing::{AccountInfo, ContainerInfo, MetaItem};

use super::gather::Heard;

/// What infos of containers and accounts have in common.
pub(super) trait Info: Clone + Send + Sync + 'static {
    /// Newest version among info and rows.
    fn newest(&self) -> Version;
    /// Newest PUT.
    fn put(&self) -> Version;
    /// Newest deletion.
    fn deleted(&self) -> Version;
    /// First PUT of this life, and the policy it gave.
    fn made(&self) -> (Version, u32);
    /// Whether both replicas hold the same.
    fn agrees(&self, other: &Self) -> bool;
    /// Metadata, removed items too.
    fn meta(&self) -> &Vec<MetaItem>;
    /// Puts metadata in place.
    fn set_meta(&mut self, meta: Vec<MetaItem>);
    /// Puts PUT, deletion and newest version in place.
    fn set_times(&mut self, put: Version, deleted: Version, newest: Version);
    /// Puts the first PUT of this life and its policy in place.
    fn set_made(&mut self, created: Version, policy: u32);
    /// Takes the names of `other`.
    fn take_names(&mut self, other: &Self);

    /// Whether it exists.
    fn exists(&self) -> bool {
        self.put() > self.deleted()
    }

    /// The newest version that a change of metadata, a PUT or a deletion must
    /// outrank. Rows are left out: they have versions of their own, which a
    /// client may even choose.
    fn life(&self) -> Version {
        let items = self.meta().iter().map(|item| item.version);
        items.fold(self.put().max(self.deleted()), Version::max)
    }

    /// As clients see it: without the marks of removed metadata.
    fn shown(mut self) -> Self {
        if self.meta().iter().any(MetaItem::is_removed) {
            let live = self.meta().iter().filter(|item| !item.is_removed());
            let live = live.cloned().collect();
            self.set_meta(live);
        }
        self
    }
}

macro_rules! common {
    () => {
        fn newest(&self) -> Version {
            self.newest
        }

        fn put(&self) -> Version {
            self.put
        }

        fn deleted(&self) -> Version {
            self.deleted
        }

        fn agrees(&self, other: &Self) -> bool {
            self.digest == other.digest
                && self.newest == other.newest
                && self.put == other.put
                && self.deleted == other.deleted
                && self.made().1 == other.made().1
                && self.meta == other.meta
        }

        fn meta(&self) -> &Vec<MetaItem> {
            &self.meta
        }

        fn set_meta(&mut self, meta: Vec<MetaItem>) {
            self.meta = meta;
        }

        fn set_times(&mut self, put: Version, deleted: Version, newest: Version) {
            (self.put, self.deleted, self.newest) = (put, deleted, newest);
        }
    };
}

impl Info for ContainerInfo {
    common!();

    fn made(&self) -> (Version, u32) {
        (self.created, self.policy)
    }

    fn set_made(&mut self, created: Version, policy: u32) {
        (self.created, self.policy) = (created, policy);
    }

    fn take_names(&mut self, other: &Self) {
        self.account.clone_from(&other.account);
        self.container.clone_from(&other.container);
    }
}

impl Info for AccountInfo {
    common!();

    fn made(&self) -> (Version, u32) {
        (self.created, 0)
    }

    fn set_made(&mut self, created: Version, _: u32) {
        self.created = created;
    }

    fn take_names(&mut self, other: &Self) {
        self.account.clone_from(&other.account);
    }
}

/// Whether all replicas hold the same.
pub(super) fn all_agree<I: Info>(heard: &[Heard<I>]) -> bool {
    heard.windows(2).all(|pair| pair[0].said.agrees(&pair[1].said))
}

/// Both together: of each name the newer item, of equally new ones the larger
/// value, as replicas merge them. In the order of names.
pub(super) fn merge_meta<'a>(items: impl IntoIterator<Item = &'a MetaItem>) -> Vec<MetaItem> {
    let mut merged: Vec<MetaItem> = Vec::new();
    for new in items {
        match merged.binary_search_by(|item| item.name.cmp(&new.name)) {
            Ok(at) if (new.version, &new.value) > (merged[at].version, &merged[at].value) => {
                merged[at].clone_from(new);
            }
            Ok(_) => {}
            Err(at) => merged.insert(at, new.clone()),
        }
    }
    merged
}

/// What a replica would say that had heard all that these have heard; `None`
/// if there are none.
pub(super) fn merge_infos<I: Info>(mut infos: Vec<I>) -> Option<I> {
    if infos.len() > 1 && infos.windows(2).all(|pair| pair[0].agrees(&pair[1])) {
        infos.truncate(1);
    }
    if infos.len() == 1 {
        return infos.pop();
    }
    // One that missed the PUT knows no names.
    let named = infos.iter().max_by_key(|info| info.put())?;
    let mut merged = infos.iter().max_by_key(|info| info.newest())?.clone();
    merged.take_names(named);
    let (put, newest) = (named.put(), merged.newest());
    let deleted = infos.iter().map(Info::deleted).max()?;
    merged.set_times(put, deleted, newest);
    let made = infos.iter().map(Info::made).filter(|made| made.0 > deleted);
    // A replica that missed the deletion names a first PUT of the life before;
    // every later PUT brings the policy of its life with it.
    let (created, policy) = made.min().unwrap_or((put, named.made().1));
    merged.set_made(if put > deleted { created } else { Version(0) }, policy);
    let mut meta = merge_meta(infos.iter().flat_map(|info| info.meta()));
    meta.retain(|item| item.version > deleted);
    merged.set_meta(meta);
    Some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: &str, version: u64) -> MetaItem {
        MetaItem {
            name: "x-container-read".into(),
            value: value.into(),
            version: Version(version),
        }
    }

    fn info(put: u64, deleted: u64, meta: &[MetaItem]) -> ContainerInfo {
        ContainerInfo {
            created: Version(if put > deleted { put } else { 0 }),
            put: Version(put),
            deleted: Version(deleted),
            newest: meta
                .iter()
                .map(|item| item.version)
                .fold(Version(put.max(deleted)), Version::max),
            meta: meta.to_vec(),
            ..ContainerInfo::default()
        }
    }

    #[test]
    fn a_removed_item_outranks_what_a_stale_replica_still_has() {
        let merged = merge_infos(vec![info(9, 0, &[item(".r:*", 1)]), info(1, 0, &[item("", 5)])]).unwrap();
        assert_eq!(merged.meta, [item("", 5)]);
        assert_eq!(merged.shown().meta, []);
    }

    #[test]
    fn a_deletion_takes_the_metadata_of_the_life_before_with_it() {
        let stale = info(1, 0, &[item(".r:*", 2)]);
        let merged = merge_infos(vec![stale.clone(), info(1, 5, &[])]).unwrap();
        assert!(!merged.exists() && merged.meta.is_empty());
        assert_eq!(merged.life(), Version(5));
        let merged = merge_infos(vec![stale, info(8, 5, &[])]).unwrap();
        assert!(merged.exists() && merged.meta.is_empty());
        assert_eq!(merged.created, Version(8));
    }

    #[test]
    fn a_replica_that_never_heard_of_it_changes_nothing_but_its_own_news() {
        let known = ContainerInfo {
            account: "a".into(),
            policy: 3,
            ..info(4, 2, &[item("x", 4)])
        };
        let rows_only = ContainerInfo {
            newest: Version(9),
            objects: 1,
            ..ContainerInfo::default()
        };
        let merged = merge_infos(vec![rows_only, known.clone()]).unwrap();
        let expected = ContainerInfo {
            newest: Version(9),
            objects: 1,
            ..known
        };
        assert_eq!(merged, expected);
    }
}
