//! Any bytes as the metadata of a record of each kind, and the same bytes under the versions that are read.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use virga_node::clock::Version;
use virga_object_store::record::{
    CommitHead, MAX_EXTENTS, META_VERSION, Run, TombstoneHead, VERSION, by_segment, decode, decode_update,
    encode, encode_update, facts, pack, update_facts,
};
use virga_object_wire::object::{ObjectMeta, PostMeta};

/// Panics if a decoder does, or if what it read does not survive being written.
pub fn chew(data: &[u8]) {
    let mut data = data.to_vec();
    for repaired in [None, Some(META_VERSION), Some(VERSION)] {
        if let (Some(version), Some(first)) = (repaired, data.first_mut()) {
            *first = version;
        }
        update(&data);
        again::<ObjectMeta>(&data);
        again::<TombstoneHead>(&data);
        again::<PostMeta>(&data);
        let Some(commit) = again::<CommitHead>(&data) else {
            continue;
        };
        let places: Vec<_> = commit.runs.iter().flat_map(|run: &Run| run.places()).collect();
        assert!(places.len() <= MAX_EXTENTS);
        let repacked: Vec<_> = pack(&places).into_iter().flat_map(Run::places).collect();
        assert_eq!(repacked, places);
        let counted: u64 = by_segment(&commit.runs).iter().map(|(_, bytes)| bytes).sum();
        let bytes: u64 = places.iter().map(|place| u64::from(place.length)).sum();
        assert_eq!(counted, bytes);
    }
}

/// As [`again`], of a META record, which is written in one version only.
fn update(data: &[u8]) {
    let version = Version(1 << 40);
    let said = update_facts(data, version);
    let Ok(read) = decode_update(data, version, [0; 32]) else {
        return;
    };
    let (said, on) = said.expect("whoever can read the update can read the facts");
    assert_eq!((read.over, read.typed), (on.over, on.typed));
    let bytes = encode_update(said, on, &read.meta).expect("what was read can be written");
    assert_eq!(update_facts(&bytes, version), Ok((said, on)));
    assert_eq!(decode_update(&bytes, version, [0; 32]), Ok(read));
}

fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let said = facts(data);
    let head: T = decode(data).ok()?;
    let said = said.expect("whoever can read the struct can read the facts");
    let bytes = encode(said, &head).expect("what was read can be written");
    assert_eq!(facts(&bytes), Ok(said));
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(&head));
    Some(head)
}
