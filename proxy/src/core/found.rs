//! Merging what replicas know of an object.
use virga_node::clock::Version;
use virga_object_wire::object::{Found, ObjectStat};

/// Names the bytes of an object; of two, the larger one wins.
pub(super) type DataId = (Version, [u8; 32]);

/// The bytes that a head describes.
pub(super) fn data_of(stat: &ObjectStat) -> DataId {
    (stat.version, stat.blake3)
}

/// Names all that decides between what replicas know of a name: bytes or a
/// deletion, and metadata. Whoever has the same says the same to readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StateId {
    /// The bytes, or the deletion.
    pub(super) data: DataId,
    /// Version of headers and expiry.
    pub(super) meta: Version,
    /// Version of the content type.
    pub(super) typed: Version,
}

/// The state of an object.
pub(super) fn state_of_object(stat: &ObjectStat) -> StateId {
    StateId {
        data: data_of(stat),
        meta: stat.meta_version,
        typed: stat.type_version,
    }
}

/// The state that an answer names.
pub(super) fn state_of(found: &Found) -> StateId {
    let version = match found {
        Found::Object(stat) => return state_of_object(stat),
        Found::Deleted(version) => *version,
        Found::Absent => Version(0),
    };
    StateId {
        data: (version, [0; 32]),
        meta: version,
        typed: version,
    }
}

/// The newest data with the newest metadata that was posted to that data, as a
/// node would hold that had heard of both. A deletion loses against data of the
/// same version.
pub(super) fn merge(a: Found, b: Found) -> Found {
    match (a, b) {
        (Found::Absent, other) | (other, Found::Absent) => other,
        (Found::Deleted(a), Found::Deleted(b)) => Found::Deleted(a.max(b)),
        (Found::Object(stat), Found::Deleted(gone)) | (Found::Deleted(gone), Found::Object(stat)) => {
            if gone > stat.version {
                Found::Deleted(gone)
            } else {
                Found::Object(stat)
            }
        }
        (Found::Object(a), Found::Object(b)) => Found::Object(merge_stats(a, b)),
    }
}

fn merge_stats(a: ObjectStat, b: ObjectStat) -> ObjectStat {
    let (mut newer, other) = if data_of(&a) >= data_of(&b) {
        (a, b)
    } else {
        (b, a)
    };
    if data_of(&newer) != data_of(&other) {
        // What was posted to older data went with it, whatever its version.
        return newer;
    }
    if other.meta_version > newer.meta_version {
        newer.meta_version = other.meta_version;
        newer.meta.headers = other.meta.headers;
        newer.meta.delete_at = other.meta.delete_at;
    }
    if other.type_version > newer.type_version {
        newer.type_version = other.type_version;
        newer.meta.content_type = other.meta.content_type;
    }
    newer
}

#[cfg(test)]
mod tests {
    use virga_object_wire::object::ObjectMeta;

    use super::*;

    fn object(version: u64, meta_version: u64, header: &str) -> Found {
        typed(version, meta_version, version, header)
    }

    fn typed(version: u64, meta_version: u64, type_version: u64, header: &str) -> Found {
        let meta = ObjectMeta {
            etag: format!("etag{version}"),
            content_type: format!("text/{type_version}"),
            headers: vec![("x".into(), header.into())],
            ..ObjectMeta::default()
        };
        let (version, meta_version) = (Version(version), Version(meta_version));
        Found::Object(ObjectStat {
            version,
            meta_version,
            type_version: Version(type_version),
            size: 0,
            blake3: [0; 32],
            meta,
        })
    }

    #[test]
    fn what_was_posted_to_replaced_data_is_gone_with_it_whatever_its_version() {
        let (data, meta) = (object(5, 5, "put"), object(3, 9, "post"));
        for merged in [merge(data.clone(), meta.clone()), merge(meta, data.clone())] {
            assert_eq!(merged, data);
        }
    }

    #[test]
    fn of_one_data_the_newest_headers_meet_the_newest_type_in_either_order() {
        let (headers, named) = (typed(3, 9, 5, "later"), typed(3, 7, 7, "earlier"));
        for merged in [merge(headers.clone(), named.clone()), merge(named, headers)] {
            assert_eq!(merged, typed(3, 9, 7, "later"));
        }
    }

    #[test]
    fn a_deletion_wins_against_older_data_even_with_newer_metadata() {
        let post_after = object(3, 9, "post");
        assert_eq!(
            merge(post_after.clone(), Found::Deleted(Version(4))),
            Found::Deleted(Version(4))
        );
        assert_eq!(merge(Found::Deleted(Version(3)), post_after.clone()), post_after);
        assert_eq!(
            merge(Found::Absent, Found::Deleted(Version(1))),
            Found::Deleted(Version(1))
        );
    }
}
