//! Merging what replicas know of an object.
use virga_node::clock::Version;
use virga_object_wire::object::{Found, ObjectStat};

/// Names the bytes of an object; of two, the larger one wins.
pub(super) type DataId = (Version, [u8; 32]);

/// The bytes that a head describes.
pub(super) fn data_of(stat: &ObjectStat) -> DataId {
    (stat.version, stat.blake3)
}

/// The newest data with the newest metadata, as a node would hold that had
/// heard of both. A deletion loses against data of the same version.
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
    if other.meta_version > newer.meta_version {
        newer.meta_version = other.meta_version;
        newer.meta.headers = other.meta.headers;
        newer.meta.delete_at = other.meta.delete_at;
        if newer.version == other.version {
            newer.meta.content_type = other.meta.content_type;
        }
    }
    newer
}

#[cfg(test)]
mod tests {
    use virga_object_wire::object::ObjectMeta;

    use super::*;

    fn object(version: u64, meta_version: u64, header: &str) -> Found {
        let meta = ObjectMeta {
            etag: format!("etag{version}"),
            headers: vec![("x".into(), header.into())],
            ..ObjectMeta::default()
        };
        let (version, meta_version) = (Version(version), Version(meta_version));
        Found::Object(ObjectStat {
            version,
            meta_version,
            size: 0,
            blake3: [0; 32],
            meta,
        })
    }

    #[test]
    fn the_newest_data_meets_the_newest_metadata_in_either_order() {
        let (data, meta) = (object(5, 5, "put"), object(3, 9, "post"));
        for merged in [merge(data.clone(), meta.clone()), merge(meta, data)] {
            let Found::Object(stat) = merged else {
                panic!("gone")
            };
            assert_eq!((stat.version, stat.meta_version), (Version(5), Version(9)));
            assert_eq!(
                (stat.meta.etag.as_str(), stat.meta.headers[0].1.as_str()),
                ("etag5", "post")
            );
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
