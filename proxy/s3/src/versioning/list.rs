//! ListObjectVersions.
use s3s::dto::{
    DeleteMarkerEntry, ETag, ListObjectVersionsInput, ListObjectVersionsOutput, ObjectVersion,
    ObjectVersionStorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::page::{Item, Wish, page};
use crate::listing::Opening;
use crate::object::find::Asked;
use crate::{Backend, dates};

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
    let owner = asker.owner();
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for item in found.items {
        let Item {
            key,
            id,
            latest,
            marker,
            etag,
            size,
            modified,
        } = item;
        let (key, modified) = (encoding.name(&key), dates::timestamp(modified));
        if marker {
            markers.push(DeleteMarkerEntry {
                is_latest: Some(latest),
                key: Some(key),
                last_modified: Some(modified),
                owner: Some(owner.clone()),
                version_id: Some(id),
            });
        } else {
            versions.push(ObjectVersion {
                e_tag: Some(ETag::Strong(etag)),
                is_latest: Some(latest),
                key: Some(key),
                last_modified: Some(modified),
                owner: Some(owner.clone()),
                size: i64::try_from(size).ok(),
                storage_class: Some(ObjectVersionStorageClass::from_static(
                    ObjectVersionStorageClass::STANDARD,
                )),
                version_id: Some(id),
                ..ObjectVersion::default()
            });
        }
    }
    let truncated = found.next.is_some();
    let (next_key, next_version) = found.next.unzip();
    Ok(S3Response::new(ListObjectVersionsOutput {
        common_prefixes: encoding.prefixes(found.prefixes),
        delete_markers: (!markers.is_empty()).then_some(markers),
        is_truncated: Some(truncated),
        key_marker: Some(encoding.name(&wish.key)),
        max_keys: i32::try_from(most).ok(),
        name: Some(input.bucket),
        next_key_marker: next_key.map(|key| encoding.name(&key)),
        next_version_id_marker: next_version.flatten(),
        prefix: Some(encoding.name(&wish.prefix)),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        versions: Some(versions),
        // An empty one is shown here, and in no other listing: AWS does so.
        delimiter: input.delimiter.map(|delimiter| encoding.name(&delimiter)),
        encoding_type: input.encoding_type,
        ..ListObjectVersionsOutput::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

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
