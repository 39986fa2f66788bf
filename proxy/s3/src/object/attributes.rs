//! GetObjectAttributes: size, ETag, checksum and parts in one document.
use s3s::dto::ETag;
use s3s::dto::{
    GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts, ObjectAttributes,
    ObjectPart, StorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::find::Asked;
use super::view::{Source, View};
use crate::access::Action;
use crate::{Backend, checksum, dates, encryption};

/// Parts in one answer.
const MOST: usize = 1000;

fn parts(view: &View, after: i32, most: Option<i32>) -> Option<GetObjectAttributesParts> {
    let Source::Plan(plan) = &view.source else {
        return None;
    };
    let most = most
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(MOST)
        .min(MOST);
    let all = plan.segments.len();
    let first = usize::try_from(after).unwrap_or(0).min(all);
    let shown = plan.segments.iter().enumerate().skip(first).take(most);
    let part = |(index, segment): (usize, &virga_proxy::core::manifest::Segment)| ObjectPart {
        part_number: i32::try_from(index + 1).ok(),
        size: i64::try_from(segment.range.end - segment.range.start).ok(),
        ..ObjectPart::default()
    };
    let shown: Vec<ObjectPart> = shown.map(part).collect();
    let last = first + shown.len();
    Some(GetObjectAttributesParts {
        is_truncated: Some(last < all),
        max_parts: i32::try_from(most).ok(),
        next_part_number_marker: (last < all).then(|| i32::try_from(last).unwrap_or(i32::MAX)),
        part_number_marker: Some(after),
        // Parts are told one by one only where they have checksums of their own.
        parts: checksum::of(&view.stat)
            .filter(|(.., kind)| *kind == checksum::Kind::Composite)
            .map(|_| shown),
        total_parts_count: i32::try_from(all).ok(),
    })
}

/// `GetObjectAttributes`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetObjectAttributesInput>,
) -> S3Result<S3Response<GetObjectAttributesOutput>> {
    let (asker, input) = (backend.asker(&req).await?, &req.input);
    let name = backend
        .object(&asker, Action::Read, &input.bucket, &input.key)
        .await?;
    let asked = Asked::of(input.version_id.as_deref())?;
    let wants = |name: &str| {
        let mut asked = input.object_attributes.iter();
        asked.any(|attribute| attribute.as_str().split(',').any(|one| one.trim() == name))
    };
    if input.object_attributes.is_empty() {
        return Err(s3_error!(InvalidArgument, "No attributes were asked for."));
    }
    let found = backend.find(&name, asked, None).await?;
    let found = backend.follow(&asker, found, None).await?;
    encryption::check(&found.stat, &req.headers, &encryption::OWN)?;
    let view = backend.view(found, wants(ObjectAttributes::OBJECT_PARTS)).await?;
    let stored = checksum::of(&view.stat).filter(|_| wants(ObjectAttributes::CHECKSUM));
    let output = GetObjectAttributesOutput {
        checksum: stored.map(|(algorithm, value, kind)| algorithm.document(&value, Some(kind))),
        e_tag: wants(ObjectAttributes::ETAG).then(|| ETag::Strong(view.etag.clone())),
        last_modified: Some(dates::timestamp(view.modified)),
        object_parts: match wants(ObjectAttributes::OBJECT_PARTS) {
            true => parts(&view, input.part_number_marker.unwrap_or(0), input.max_parts),
            false => None,
        },
        object_size: match wants(ObjectAttributes::OBJECT_SIZE) {
            true => i64::try_from(view.size).ok(),
            false => None,
        },
        storage_class: wants(ObjectAttributes::STORAGE_CLASS)
            .then(|| StorageClass::from_static(StorageClass::STANDARD)),
        version_id: view.version,
        ..GetObjectAttributesOutput::default()
    };
    Ok(S3Response::new(output))
}
