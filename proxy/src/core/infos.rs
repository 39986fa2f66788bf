//! Merging what replicas know of a container or account beside its rows.
use std::sync::Arc;

use virga_node::clock::Version;
use virga_object_wire::listing::{AccountInfo, ContainerInfo, MetaItem};

use super::place::Peer;

/// What infos of containers and accounts have in common.
pub(super) trait Info: Clone + Send + Sync + 'static {
    /// Newest version among info and rows.
    fn newest(&self) -> Version;
    /// Whether both replicas hold the same.
    fn agrees(&self, other: &Self) -> bool;
    /// Metadata.
    fn meta(&self) -> &Vec<MetaItem>;
    /// Takes the larger times of `other`.
    fn take_times(&mut self, other: &Self);
    /// Puts metadata in place.
    fn set_meta(&mut self, meta: Vec<MetaItem>);
    /// Newest deletion: older rows died with it.
    fn deleted(&self) -> Version;
}

macro_rules! info {
    ($type:ty) => {
        impl Info for $type {
            fn newest(&self) -> Version {
                self.newest
            }

            fn agrees(&self, other: &Self) -> bool {
                self.digest == other.digest
                    && self.newest == other.newest
                    && self.put == other.put
                    && self.deleted == other.deleted
                    && self.meta == other.meta
            }

            fn meta(&self) -> &Vec<MetaItem> {
                &self.meta
            }

            fn take_times(&mut self, other: &Self) {
                self.put = self.put.max(other.put);
                self.deleted = self.deleted.max(other.deleted);
                self.newest = self.newest.max(other.newest);
            }

            fn set_meta(&mut self, meta: Vec<MetaItem>) {
                self.meta = meta;
            }

            fn deleted(&self) -> Version {
                self.deleted
            }
        }
    };
}

info!(ContainerInfo);
info!(AccountInfo);

/// Whether all replicas hold the same.
pub(super) fn all_agree<I: Info>(found: &[(Arc<Peer>, I)]) -> bool {
    found.windows(2).all(|pair| pair[0].1.agrees(&pair[1].1))
}

/// The info of the best informed replica, with the newest times. Metadata is
/// taken as a whole from most replicas, or from the one with the newest item:
/// removed items are not listed, so that a union would bring them back.
pub(super) fn merge_infos<I: Info>(infos: Vec<I>) -> Option<I> {
    let votes = |meta: &[MetaItem]| infos.iter().filter(|info| info.meta() == meta).count();
    let newest_item = |info: &I| info.meta().iter().map(|item| item.version).max();
    let meta = infos
        .iter()
        .max_by_key(|info| (votes(info.meta()), newest_item(info), info.newest()))?
        .meta()
        .clone();
    let mut best = infos.iter().max_by_key(|info| info.newest())?.clone();
    infos.iter().for_each(|info| best.take_times(info));
    best.set_meta(meta);
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(newest: u64, meta: &[(&str, u64)]) -> ContainerInfo {
        let item = |(value, version): &(&str, u64)| MetaItem {
            name: "x-container-read".into(),
            value: (*value).into(),
            version: Version(*version),
        };
        ContainerInfo {
            newest: Version(newest),
            objects: newest,
            meta: meta.iter().map(item).collect(),
            ..ContainerInfo::default()
        }
    }

    #[test]
    fn counts_come_from_the_best_informed_and_metadata_from_the_majority() {
        let removed = info(5, &[]);
        let stale = info(9, &[(".r:*", 1)]);
        let merged = merge_infos(vec![stale, removed.clone(), removed]).unwrap();
        assert_eq!((merged.objects, merged.meta.len()), (9, 0));
    }

    #[test]
    fn of_two_the_newer_metadata_item_decides() {
        let merged = merge_infos(vec![info(9, &[("old", 1)]), info(5, &[("new", 2)])]).unwrap();
        assert_eq!(merged.meta[0].value, "new");
    }
}
