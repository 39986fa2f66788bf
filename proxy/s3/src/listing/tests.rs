//! Listings as they are written, held against what the protocol layer writes of the
//! same page, put into AWS's order.
use proptest::prelude::*;
use s3s::dto::{ETag, Object};
use s3s::xml::{Serialize, Serializer};
use virga_node::clock::{Micros, Version};

use super::*;
use crate::dates;
use crate::shape::{self, Order};

/// AWS's order of elements.
const ORDERS: [Order; 3] = [
    (
        "ListBucketResult",
        &[
            "Name",
            "Prefix",
            "Marker",
            "NextMarker",
            "NextContinuationToken",
            "ContinuationToken",
            "StartAfter",
            "KeyCount",
            "MaxKeys",
            "Delimiter",
            "EncodingType",
            "IsTruncated",
            "Contents",
            "CommonPrefixes",
        ],
    ),
    (
        "Contents",
        &["Key", "LastModified", "ETag", "Size", "Owner", "StorageClass"],
    ),
    ("Owner", &["ID", "DisplayName"]),
];

/// A document of the protocol layer as AWS has it.
pub(crate) fn in_order<T: Serialize>(output: &T, root: &str, orders: &[Order]) -> String {
    let mut written = Vec::new();
    let mut serializer = Serializer::new(&mut written);
    serializer.decl().unwrap();
    output.serialize(&mut serializer).unwrap();
    let ordered = shape::ordered(&written, &[root], orders).unwrap();
    ordered.replace('\r', "&#13;")
}

pub(crate) fn text_of(written: Written) -> String {
    String::from_utf8(written.0.to_vec()).unwrap()
}

pub(crate) fn encoding(url: bool) -> (Option<EncodingType>, Encoding) {
    let kind = url.then(|| EncodingType::from_static(EncodingType::URL));
    let encoding = Encoding::of(kind.as_ref()).unwrap();
    (kind, encoding)
}

/// Names that have to be escaped, or encoded, or both.
pub(crate) fn name() -> impl Strategy<Value = String> {
    "[a-z/<>&'\" +%\r\n\t\u{1}\u{e4}\u{1f300}]{0,12}"
}

fn row() -> impl Strategy<Value = ObjectRow> {
    let etag = prop_oneof![
        "[0-9a-f]{32}",
        "[0-9a-f]{8}; s3_etag=[0-9a-f]{8}-2",
        "[0-9a-f]{8}; slo_etag=[0-9a-f]{8}",
        "[a-z\"<&]{3}; symlink_target_etag=[a-f]{4}; symlink_target_bytes=[0-9]{1,5}",
    ];
    (name(), 0..20_000_000_000_000_000u64, 0..1u64 << 50, etag).prop_map(|(name, at, size, etag)| ObjectRow {
        name,
        version: Version::at(Micros(at)),
        meta_version: Version::at(Micros(at)),
        size,
        etag,
        content_type: "text/plain".to_owned(),
        deleted: false,
    })
}

fn page() -> impl Strategy<Value = Page> {
    let (rows, prefixes) = (
        prop::collection::vec(row(), 0..6),
        prop::collection::vec(name(), 0..3),
    );
    (rows, prefixes, prop::option::of(name())).prop_map(|(rows, prefixes, next)| Page {
        rows,
        prefixes,
        next,
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    (prop::option::of(name()), name(), 0..=1000usize).prop_map(|(delimiter, after, most)| Wish {
        prefix: None,
        delimiter: some(delimiter),
        after,
        most,
    })
}

fn objects(page: &Page, encoding: &Encoding, owner: Option<&Owner>) -> Vec<Object> {
    let object = |row: &ObjectRow| {
        let shown = Listed::of(row);
        Object {
            e_tag: Some(ETag::Strong(shown.etag.into_owned())),
            key: Some(encoding.name(&row.name).into_owned()),
            last_modified: Some(dates::timestamp(shown.modified)),
            owner: owner.cloned(),
            size: i64::try_from(shown.size).ok(),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
            ..Object::default()
        }
    };
    page.rows.iter().map(object).collect()
}

proptest! {
    #[test]
    fn a_page_of_the_first_version_is_that_of_the_protocol_layer(
        (page, wish, prefix, bucket, url) in (page(), wish(), prop::option::of(name()), name(), any::<bool>())
    ) {
        let (kind, encoding) = encoding(url);
        let owner = crate::acl::owner("p");
        let name = |name: &str| Some(encoding.name(name).into_owned());
        let output = ListObjectsOutput {
            name: Some(bucket.clone()),
            prefix: name(prefix.as_deref().unwrap_or_default()),
            marker: name(&wish.after),
            max_keys: i32::try_from(wish.most).ok(),
            is_truncated: Some(page.next.is_some()),
            contents: Some(objects(&page, &encoding, Some(&owner))),
            common_prefixes: encoding.prefixes(page.prefixes.clone()),
            next_marker: page.next.as_ref().filter(|_| wish.delimiter.is_some()).and_then(|next| name(next)),
            delimiter: wish.delimiter.as_ref().and_then(|delimiter| name(delimiter)),
            encoding_type: kind,
            ..ListObjectsOutput::default()
        };
        let input = ListObjectsInput { bucket, prefix, ..ListObjectsInput::default() };
        let written = first_document(&input, &wish, &page, (&encoding, &owner));
        prop_assert_eq!(text_of(written), in_order(&output, "ListBucketResult", &ORDERS));
    }

    #[test]
    fn a_page_of_the_second_version_is_that_of_the_protocol_layer(
        (page, wish, prefix, bucket, url) in (page(), wish(), prop::option::of(name()), name(), any::<bool>()),
        (token, after, with_owner) in (prop::option::of(name()), prop::option::of(name()), any::<bool>())
    ) {
        let (kind, encoding) = encoding(url);
        let owner = crate::acl::owner("p");
        let name = |name: &str| Some(encoding.name(name).into_owned());
        let output = ListObjectsV2Output {
            name: Some(bucket.clone()),
            prefix: name(prefix.as_deref().unwrap_or_default()),
            max_keys: i32::try_from(wish.most).ok(),
            key_count: i32::try_from(page.rows.len() + page.prefixes.len()).ok(),
            continuation_token: token.clone(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_ref().map(|name| URL_SAFE_NO_PAD.encode(name)),
            contents: Some(objects(&page, &encoding, with_owner.then_some(&owner))),
            common_prefixes: encoding.prefixes(page.prefixes.clone()),
            delimiter: wish.delimiter.as_ref().and_then(|delimiter| name(delimiter)),
            encoding_type: kind,
            start_after: after.as_ref().and_then(|after| name(after)),
            ..ListObjectsV2Output::default()
        };
        let input = ListObjectsV2Input {
            bucket,
            prefix,
            continuation_token: token,
            start_after: after,
            fetch_owner: Some(with_owner),
            ..ListObjectsV2Input::default()
        };
        let written = second_document(&input, &wish, &page, (&encoding, &owner));
        prop_assert_eq!(text_of(written), in_order(&output, "ListBucketResult", &ORDERS));
    }
}

#[test]
fn a_page_is_written_as_aws_writes_it() {
    let row = ObjectRow {
        name: "a<b>&\"c' d\r".to_owned(),
        version: Version::at(Micros(1_763_823_600_000_000)),
        meta_version: Version::default(),
        size: 3,
        etag: "900150983cd24fb0d6963f7d28e17f72".to_owned(),
        content_type: "text/plain".to_owned(),
        deleted: false,
    };
    let page = Page {
        rows: vec![row],
        prefixes: vec!["dir/".to_owned()],
        next: Some("dir/".to_owned()),
    };
    let wish = Wish {
        delimiter: Some("/".to_owned()),
        most: 2,
        ..Wish::default()
    };
    let input = ListObjectsInput {
        bucket: "box".to_owned(),
        ..ListObjectsInput::default()
    };
    let (_, encoding) = encoding(false);
    let written = first_document(&input, &wish, &page, (&encoding, &crate::acl::owner("p")));
    assert_eq!(
        text_of(written),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>box</Name><Prefix></Prefix>\
         <Marker></Marker><NextMarker>dir/</NextMarker><MaxKeys>2</MaxKeys><Delimiter>/</Delimiter>\
         <IsTruncated>true</IsTruncated><Contents><Key>a&lt;b&gt;&amp;&quot;c&apos; d&#13;</Key>\
         <LastModified>2025-11-22T15:00:00.000Z</LastModified>\
         <ETag>\"900150983cd24fb0d6963f7d28e17f72\"</ETag><Size>3</Size>\
         <Owner><ID>p</ID><DisplayName>p</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>\
         <CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes></ListBucketResult>"
    );
}

#[test]
fn a_token_is_taken_back_and_others_are_refused() {
    let token = URL_SAFE_NO_PAD.encode("dir/a b");
    assert_eq!(read_token(&token).unwrap(), "dir/a b");
    for bad in ["", "!", "_w"] {
        assert!(read_token(bad).is_err(), "{bad}");
    }
}

#[test]
fn names_are_encoded_as_forms_are() {
    let (_, url) = encoding(true);
    assert_eq!(url.name("a b/\u{fc}+\n"), "a+b/%C3%BC%2B%0A");
    assert_eq!(encoding(false).1.name("a b"), "a b");
    assert!(Encoding::of(Some(&EncodingType::from_static("xml"))).is_err());
    assert_eq!((limit(None).unwrap(), limit(Some(5000)).unwrap()), (1000, 1000));
    assert!(limit(Some(-1)).is_err());
}
