//! Any bytes as a key and as a value of each family of a device's index.

use virga_object_store::digest::{self, Sum};
use virga_object_store::entry::Entry;
use virga_object_store::keys::{self, NameKey};
use virga_object_store::live::{Live, LiveDelta};
use virga_object_store::sys::{self, Totals};

/// Panics if a decoder does, or if what it read would be written in other bytes.
pub fn chew(data: &[u8]) {
    entry(data);
    if let Some(first) = data.first() {
        // The same under the format that is read.
        let mut data = data.to_vec();
        data[0] = 1;
        entry(&data);
        if let Some((name, version)) = keys::parse_work(&data) {
            assert_eq!(keys::work(&name, version)[..], data[..]);
        }
        assert!(keys::parse_work(&[&[first | 4], &data[1..]].concat()).is_none());
    }
    if let Some(name) = NameKey::parse(data) {
        assert_eq!(
            NameKey::new(name.policy(), name.partition(), name.hash()).0[..],
            *data
        );
    }
    if let Some((at, name)) = keys::parse_due(data) {
        assert_eq!(keys::due(at, &name)[..], *data);
    }
    if let Some((policy, partition, bucket)) = keys::parse_digest(data) {
        assert_eq!(keys::partition(policy, partition), data[..8]);
        assert_eq!(bucket, data[8]);
    }
    if let Some(round) = sys::decode_round(data) {
        assert_eq!(sys::encode_round(round)[..], *data);
    }
    if let Some(version) = sys::decode_version(data) {
        assert_eq!(sys::encode_version(version)[..], *data);
    }
    if let Some(sum) = Sum::decode(data) {
        assert_eq!(sum.plus(sum).minus(sum).encode()[..], *data);
    }
    if let Some(live) = Live::decode(data) {
        assert_eq!(live.encode()[..], *data);
        assert_eq!(live.plus(live), live.plus(live.plus(Live::default())));
    }
    if let Some(totals) = Totals::decode(data) {
        assert_eq!(totals.encode()[..], *data);
    }
    if let Some(position) = sys::decode_position(data) {
        assert_eq!(sys::encode_position(position)[..], *data);
    }
    if let Some(format) = sys::decode_format(data) {
        assert_eq!(sys::encode_format(format)[..], *data);
    }
}

/// An entry has one stored form, and everything derived from it can be.
fn entry(data: &[u8]) {
    let Ok(entry) = Entry::decode(data) else { return };
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    assert_eq!(bytes, data);
    let name = NameKey([7; keys::NAME_LEN]);
    assert_eq!(digest::of(&name, &entry).count, 1);
    Totals::of(Some(&entry));
    let mut live = LiveDelta::default();
    live.count(entry.keeps(), 1);
    live.count(entry.keeps(), -1);
    assert!(live.drain().all(|(_, live)| live == Live::default()));
}
