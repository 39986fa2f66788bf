//! GetObjectAttributes: size, ETag, checksum and parts in one document.
use std::collections::HashMap;

use s3s::dto::ETag;
use s3s::dto::{
    GetObjectAttributesInput, GetObjectAttributesOutput, GetObjectAttributesParts, ObjectAttributes,
    ObjectPart, StorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_proxy::core::ObjectName;
use virga_proxy::core::manifest::{self, Segment};

use super::find::Asked;
use super::view::{Source, View};
use crate::access::Action;
use crate::checksum::Algorithm;
use crate::detail::Detailed;
use crate::{Backend, checksum, dates, encryption, multipart};

/// What can be asked for.
const ATTRIBUTES: [&str; 5] = [
    ObjectAttributes::CHECKSUM,
    ObjectAttributes::ETAG,
    ObjectAttributes::OBJECT_PARTS,
    ObjectAttributes::OBJECT_SIZE,
    ObjectAttributes::STORAGE_CLASS,
];

/// Parts in one answer.
const MOST: usize = 1000;

/// The object that a part is in.
fn object_of(segment: &Segment) -> Option<&ObjectName> {
    match &segment.source {
        manifest::Source::Object(name) => Some(name),
        manifest::Source::Inline(_) => None,
    }
}

/// Whether the parts of an object have checksums of their own.
fn is_composite(view: &View) -> bool {
    checksum::of(&view.stat).is_some_and(|(.., kind)| kind == checksum::Kind::Composite)
}

/// The object that the first part is in, if parts are told one by one.
fn first_of(view: &View) -> Option<ObjectName> {
    match &view.source {
        Source::Plan(plan) if is_composite(view) => plan.segments.first().and_then(object_of).cloned(),
        Source::Plan(_) | Source::Plain(_) => None,
    }
}

/// Parts, counted from one; `sums` are their checksums.
fn parts(
    view: &View,
    sums: &HashMap<String, (Algorithm, String)>,
    after: i32,
    most: Option<i32>,
) -> Option<GetObjectAttributesParts> {
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
    let part = |(index, segment): (usize, &Segment)| {
        let mut part = ObjectPart {
            part_number: i32::try_from(index + 1).ok(),
            size: i64::try_from(segment.range.end - segment.range.start).ok(),
            ..ObjectPart::default()
        };
        let sum = object_of(segment).and_then(|name| sums.get(name.object()));
        if let Some((algorithm, value)) = sum {
            checksum::show_in!(part, algorithm.document(value, None));
        }
        part
    };
    let shown: Vec<ObjectPart> = shown.map(part).collect();
    let last = first + shown.len();
    Some(GetObjectAttributesParts {
        is_truncated: Some(last < all),
        max_parts: i32::try_from(most).ok(),
        next_part_number_marker: (last < all).then(|| i32::try_from(last).unwrap_or(i32::MAX)),
        part_number_marker: Some(after),
        parts: is_composite(view).then_some(shown),
        total_parts_count: i32::try_from(all).ok(),
    })
}

/// Refuses attributes that there are not.
fn check(asked: &[ObjectAttributes]) -> S3Result<()> {
    let names = asked.iter().flat_map(|names| names.as_str().split(','));
    let mut names = names.map(str::trim).filter(|name| !name.is_empty()).peekable();
    if names.peek().is_none() {
        return Err(s3_error!(
            InvalidRequest,
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty"
        ));
    }
    match names.find(|name| !ATTRIBUTES.contains(name)) {
        None => Ok(()),
        Some(unknown) => Err(s3_error!(InvalidArgument, "Invalid attribute name specified.")
            .detail("ArgumentName", "x-amz-object-attributes")
            .detail("ArgumentValue", unknown)),
    }
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
    check(&input.object_attributes)?;
    let found = backend.find(&name, asked, None).await?;
    let found = backend.follow(&asker, found, None).await?;
    encryption::check(&found.stat, &req.headers, &encryption::OWN)?;
    let view = backend.view(found, wants(ObjectAttributes::OBJECT_PARTS)).await?;
    let first = first_of(&view).filter(|_| wants(ObjectAttributes::OBJECT_PARTS));
    let sums = match first {
        Some(first) => multipart::parts::checksums(backend, &first).await?,
        None => HashMap::new(),
    };
    let stored = checksum::of(&view.stat).filter(|_| wants(ObjectAttributes::CHECKSUM));
    let output = GetObjectAttributesOutput {
        checksum: stored.map(|(algorithm, value, kind)| algorithm.document(&value, Some(kind))),
        e_tag: wants(ObjectAttributes::ETAG).then(|| ETag::Strong(view.etag.clone())),
        last_modified: Some(dates::timestamp(view.modified)),
        object_parts: match wants(ObjectAttributes::OBJECT_PARTS) {
            true => parts(
                &view,
                &sums,
                input.part_number_marker.unwrap_or(0),
                input.max_parts,
            ),
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
