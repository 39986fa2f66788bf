//! ListObjectVersions.
use s3s::dto::{ListObjectVersionsInput, ListObjectVersionsOutput, ObjectVersionStorageClass, Owner};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::page::{Item, Page, Wish, page};
use crate::Backend;
use crate::listing::document::{Document, Written};
use crate::listing::{Encoding, Opening};
use crate::object::find::Asked;

/// Where the page before ended.
///
/// # Errors
/// `InvalidArgument` for a version without a key, and for what is no version.
fn version_marker(key: Option<&str>, version: Option<&str>) -> S3Result<Option<Asked>> {
    match (key, version.filter(|version| !version.is_empty())) {
        (_, None) => Ok(None),
        (None, Some(_)) => Err(s3_error!(
            InvalidArgument,
            "A version-id marker cannot be specified without a key marker."
        )),
        (Some(_), version) => Asked::of(version).map(Some),
    }
}

/// `ListObjectVersions`.
pub(crate) async fn versions(
    backend: &Backend,
    req: S3Request<ListObjectVersionsInput>,
) -> S3Result<S3Response<ListObjectVersionsOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let kind = input.encoding_type.as_ref();
    let opening = backend.opening(&asker, &input.bucket, kind, input.max_keys);
    let Opening {
        container,
        encoding,
        most,
    } = opening.await?;
    let wish = Wish {
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: input.delimiter.clone().unwrap_or_default(),
        key: input.key_marker.clone().unwrap_or_default(),
        version: version_marker(input.key_marker.as_deref(), input.version_id_marker.as_deref())?,
        most,
    };
    let found = page(backend, &container, &wish).await?;
    Ok(document(&input, &wish, &found, (&encoding, &asker.owner())).answer())
}

/// Versions and markers among each other, in the order that they have.
fn document(
    input: &ListObjectVersionsInput,
    wish: &Wish,
    found: &Page,
    (encoding, owner): (&Encoding, &Owner),
) -> Written {
    let mut document = Document::new("ListVersionsResult", found.items.len() + found.prefixes.len());
    document.text("Name", &input.bucket);
    document.text("Prefix", &encoding.name(&wish.prefix));
    document.text("KeyMarker", &encoding.name(&wish.key));
    document.text(
        "VersionIdMarker",
        input.version_id_marker.as_deref().unwrap_or_default(),
    );
    if let Some((key, version)) = &found.next {
        document.text("NextKeyMarker", &encoding.name(key));
        document.some("NextVersionIdMarker", version.as_deref());
    }
    document.plain("MaxKeys", wish.most);
    // An empty one is shown here, and in no other listing: AWS does so.
    if let Some(delimiter) = &input.delimiter {
        document.text("Delimiter", &encoding.name(delimiter));
    }
    document.some("EncodingType", encoding.shown());
    document.plain("IsTruncated", found.next.is_some());
    for item in &found.items {
        let name = if item.marker { "DeleteMarker" } else { "Version" };
        document.element(name, |document| version(document, item, (encoding, owner)));
    }
    document.prefixes(&found.prefixes, encoding);
    document.end()
}

fn version(into: &mut Document, item: &Item, (encoding, owner): (&Encoding, &Owner)) {
    into.text("Key", &encoding.name(&item.key));
    into.text("VersionId", &item.id);
    into.plain("IsLatest", item.latest);
    into.modified(item.modified);
    if !item.marker {
        into.etag(&item.etag);
        into.plain("Size", item.size);
    }
    into.owner(owner);
    if !item.marker {
        into.text("StorageClass", ObjectVersionStorageClass::STANDARD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use s3s::dto::{DeleteMarkerEntry, ETag, EncodingType, ObjectVersion};
    use virga_node::clock::{Micros, Version};

    use crate::dates;
    use crate::listing::tests::{encoding, in_order, name, text_of};
    use crate::shape::Order;

    /// AWS's order of elements; the protocol layer has all markers in front.
    const ORDERS: [Order; 4] = [
        (
            "ListVersionsResult",
            &[
                "Name",
                "Prefix",
                "KeyMarker",
                "VersionIdMarker",
                "NextKeyMarker",
                "NextVersionIdMarker",
                "MaxKeys",
                "Delimiter",
                "EncodingType",
                "IsTruncated",
                "DeleteMarker",
                "Version",
                "CommonPrefixes",
            ],
        ),
        (
            "Version",
            &[
                "Key",
                "VersionId",
                "IsLatest",
                "LastModified",
                "ETag",
                "Size",
                "Owner",
                "StorageClass",
            ],
        ),
        (
            "DeleteMarker",
            &["Key", "VersionId", "IsLatest", "LastModified", "Owner"],
        ),
        ("Owner", &["ID", "DisplayName"]),
    ];

    fn item() -> impl Strategy<Value = Item> {
        (
            name(),
            name(),
            any::<(bool, bool)>(),
            0..20_000_000_000_000_000u64,
            0..1u64 << 50,
        )
            .prop_map(|(key, id, (latest, marker), at, size)| Item {
                key,
                etag: format!("{size:x}-2"),
                id,
                latest,
                marker,
                size,
                modified: Version::at(Micros(at)),
            })
    }

    fn found() -> impl Strategy<Value = Page> {
        let items = prop::collection::vec(item(), 0..6);
        let next = prop::option::of((name(), prop::option::of(name())));
        (items, prop::collection::vec(name(), 0..3), next).prop_map(|(items, prefixes, next)| Page {
            items,
            prefixes,
            next,
            ..Page::default()
        })
    }

    fn output(
        input: &ListObjectVersionsInput,
        wish: &Wish,
        found: &Page,
        (encoding, owner): (&Encoding, &Owner),
    ) -> ListObjectVersionsOutput {
        let name = |name: &str| Some(encoding.name(name).into_owned());
        let (markers, versions): (Vec<&Item>, Vec<&Item>) = found.items.iter().partition(|item| item.marker);
        let marker = |item: &&Item| DeleteMarkerEntry {
            is_latest: Some(item.latest),
            key: name(&item.key),
            last_modified: Some(dates::timestamp(item.modified)),
            owner: Some(owner.clone()),
            version_id: Some(item.id.clone()),
        };
        let version = |item: &&Item| ObjectVersion {
            e_tag: Some(ETag::Strong(item.etag.clone())),
            is_latest: Some(item.latest),
            key: name(&item.key),
            last_modified: Some(dates::timestamp(item.modified)),
            owner: Some(owner.clone()),
            size: i64::try_from(item.size).ok(),
            storage_class: Some(ObjectVersionStorageClass::from_static("STANDARD")),
            version_id: Some(item.id.clone()),
            ..ObjectVersion::default()
        };
        let (next_key, next_version) = found.next.clone().unzip();
        ListObjectVersionsOutput {
            common_prefixes: encoding.prefixes(found.prefixes.clone()),
            delete_markers: Some(markers.iter().map(marker).collect()),
            is_truncated: Some(found.next.is_some()),
            key_marker: name(&wish.key),
            max_keys: i32::try_from(wish.most).ok(),
            name: Some(input.bucket.clone()),
            next_key_marker: next_key.and_then(|key| name(&key)),
            next_version_id_marker: next_version.flatten(),
            prefix: name(&wish.prefix),
            version_id_marker: Some(input.version_id_marker.clone().unwrap_or_default()),
            versions: Some(versions.iter().map(version).collect()),
            delimiter: input.delimiter.as_deref().and_then(name),
            encoding_type: encoding.shown().map(EncodingType::from_static),
            ..ListObjectVersionsOutput::default()
        }
    }

    proptest! {
        #[test]
        fn a_page_is_that_of_the_protocol_layer(
            (mut found, url, bucket) in (found(), any::<bool>(), name()),
            (prefix, key, most) in (name(), name(), 0..=1000usize),
            (version_id_marker, delimiter) in (prop::option::of(name()), prop::option::of(name())),
        ) {
            found.items.sort_by_key(|item| !item.marker);
            let (_, encoding) = encoding(url);
            let owner = crate::acl::owner("p");
            let input = ListObjectVersionsInput {
                bucket,
                version_id_marker,
                delimiter,
                ..ListObjectVersionsInput::default()
            };
            let wish = Wish { prefix, key, most, ..Wish::default() };
            let expected = output(&input, &wish, &found, (&encoding, &owner));
            let written = document(&input, &wish, &found, (&encoding, &owner));
            prop_assert_eq!(text_of(written), in_order(&expected, "ListVersionsResult", &ORDERS));
        }
    }

    #[test]
    fn markers_stand_among_the_versions() {
        let item = |key: &str, marker| Item {
            key: key.to_owned(),
            id: "1".to_owned(),
            latest: true,
            marker,
            etag: "e".to_owned(),
            size: 1,
            modified: Version::default(),
        };
        let found = Page {
            items: vec![item("a", false), item("b", true), item("c", false)],
            ..Page::default()
        };
        let (_, encoding) = encoding(false);
        let input = ListObjectVersionsInput::default();
        let written = document(
            &input,
            &Wish::default(),
            &found,
            (&encoding, &crate::acl::owner("p")),
        );
        let text = text_of(written);
        let at = ["<Key>a", "<DeleteMarker><Key>b", "<Version><Key>c"].map(|what| text.find(what).unwrap());
        assert!(at.is_sorted(), "{text}");
    }

    #[test]
    fn a_version_marker_needs_a_key_and_must_be_one() {
        for (key, version, good) in [
            (None, None, true),
            (Some("k"), None, true),
            (Some("k"), Some(""), true),
            (Some("k"), Some("null"), true),
            (Some("k"), Some("1763823600.12345"), true),
            (None, Some("null"), false),
            (None, Some("aaaa"), false),
            (Some(""), Some("bogus"), false),
        ] {
            assert_eq!(version_marker(key, version).is_ok(), good, "{key:?} {version:?}");
        }
    }
}
