//! Any bytes as the metadata of a record of each kind, and the same bytes under the version that is read.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use virga_object_store::record::{
    CommitHead, MAX_EXTENTS, Run, TombstoneHead, VERSION, by_segment, decode, encode, facts, pack,
};
use virga_object_wire::object::{ObjectMeta, PostMeta};

/// Panics if a decoder does, or if what it read does not survive being written.
pub fn chew(data: &[u8]) {
    let mut data = data.to_vec();
    for repaired in [false, true] {
        if repaired && let Some(first) = data.first_mut() {
            *first = VERSION;
        }
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

fn again<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let said = facts(data);
    let head: T = decode(data).ok()?;
    let said = said.expect("whoever can read the struct can read the facts");
    let bytes = encode(said, &head).expect("what was read can be written");
    assert_eq!(facts(&bytes), Ok(said));
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(&head));
    Some(head)
}
