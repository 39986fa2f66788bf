//! UploadPart, UploadPartCopy and ListParts.
use std::collections::HashMap;

use futures_util::StreamExt;
use s3s::dto::{
    CopyPartResult, ETag, ListPartsInput, ListPartsOutput, Part, StorageClass, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::listing::{Entry, ListRequest, ObjectRow};
use virga_object_wire::object::Listed;
use virga_proxy::core::{AtEnd, BodyError, Ending, NewObject, ObjectName, Stored};
use virga_proxy::swift::quota;

use super::{MOST_PARTS, Upload, initiator, parts_of};
use crate::access::{Action, Asker};
use crate::checksum::{self, Algorithm, Claim};
use crate::detail::Detailed;
use crate::fault::OrFault;
use crate::object::body::{Arriving, Leaving, Notes, computed};
use crate::object::write::{MOST_BYTES, announced_md5};
use crate::{Backend, dates, encryption, listing, unset};

/// Refuses the number of a part that cannot be.
///
/// # Errors
/// `InvalidArgument`.
pub(crate) fn check_number(number: i32) -> S3Result<()> {
    match (1..=MOST_PARTS).contains(&number) {
        true => Ok(()),
        false => Err(s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and {MOST_PARTS}, inclusive"
        )
        .detail("ArgumentName", "partNumber")
        .detail("ArgumentValue", &number.to_string())),
    }
}

/// Stores the checksum of a part behind the ETag of its row.
fn at_end(algorithm: Option<Algorithm>, notes: &Notes) -> Option<AtEnd> {
    let (algorithm, notes) = (algorithm?, notes.clone());
    Some(AtEnd::new(move |etag, size| Ending {
        sysmeta: Vec::new(),
        listed: notes.checksum().map(|value| Listed {
            size,
            etag: format!("{etag}; {}={value}", algorithm.row_key()),
        }),
    }))
}

/// A part as its row tells it.
pub(super) struct Row {
    pub(super) number: i32,
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) checksum: Option<(Algorithm, String)>,
    pub(super) row: ObjectRow,
}

impl Row {
    /// Reads a row of the hidden container; `None` for what is no part.
    pub(super) fn of(row: ObjectRow) -> Option<Self> {
        let number = row.name.rsplit('/').next()?.parse().ok()?;
        let mut said = row.etag.split("; ");
        let etag = said.next()?.to_owned();
        let checksum = said.find_map(|item| {
            let (key, value) = item.split_once('=')?;
            let algorithm = Algorithm::ALL.into_iter().find(|a| a.row_key() == key)?;
            Some((algorithm, value.to_owned()))
        });
        Some(Self {
            number,
            etag,
            size: row.size,
            checksum,
            row,
        })
    }

    fn shown(self) -> Part {
        let document = self.checksum.as_ref().map(|(a, value)| a.document(value, None));
        let document = document.unwrap_or_default();
        let mut part = Part {
            e_tag: Some(ETag::Strong(self.etag)),
            last_modified: Some(dates::timestamp(self.row.version)),
            part_number: Some(self.number),
            size: i64::try_from(self.size).ok(),
            ..Part::default()
        };
        checksum::show_in!(part, document);
        part
    }
}

/// Checksums of the parts of a finished upload, by the names of the objects that
/// `part`, one of them, lies among.
///
/// # Errors
/// As of a listing.
pub(crate) async fn checksums(
    backend: &Backend,
    part: &ObjectName,
) -> S3Result<HashMap<String, (Algorithm, String)>> {
    let folder = part.object().rsplit_once('/').map_or("", |(folder, _)| folder);
    let rows = backend
        .rows(&part.container_name(), &format!("{folder}/"))
        .await?;
    let rows = rows.into_iter().filter_map(Row::of);
    Ok(rows
        .filter_map(|row| Some((row.row.name, row.checksum?)))
        .collect())
}

/// The checksum that a part must have: the upload's, computed if the client
/// does not tell it.
fn claim_of(upload: &Upload, claim: Option<Claim>) -> S3Result<Option<Claim>> {
    match (upload.checksum(), claim) {
        (Some((wanted, _)), Some(claim)) if claim.algorithm != wanted => Err(s3_error!(
            InvalidRequest,
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            wanted.name().to_ascii_lowercase(),
            claim.algorithm.name().to_ascii_lowercase()
        )),
        (Some((wanted, _)), None) => Ok(Some(computed(wanted))),
        (_, claim) => Ok(claim),
    }
}

/// `UploadPart`.
pub(crate) async fn upload(
    backend: &Backend,
    req: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let asker = backend.asker(&req).await?;
    let trailing = req.extensions.get().cloned();
    let headers = req.headers;
    let input = req.input;
    let name = backend
        .object(&asker, Action::Write, &input.bucket, &input.key)
        .await?;
    unset::refuse_headers(&headers)?;
    check_number(input.part_number)?;
    let length = input.content_length.and_then(|length| u64::try_from(length).ok());
    let length = length.ok_or_else(|| s3_error!(MissingContentLength))?;
    if length > MOST_BYTES {
        return Err(s3_error!(EntityTooLarge));
    }
    let upload = backend.upload(name, &input.upload_id).await?;
    let (seal, said) = encryption::of_part(&upload.stat, &headers)?;
    let claim = claim_of(&upload, Claim::of(&headers)?)?;
    let algorithm = claim.as_ref().map(|claim| claim.algorithm);
    let notes = Notes::default();
    let mut new = NewObject::new(upload.stat.meta.content_type.clone());
    new.expected_size = Some(length);
    new.expected_etag = notes.announce(announced_md5(input.content_md5.as_deref())?);
    new.max_size = MOST_BYTES;
    new.seal = seal;
    new.at_end = at_end(algorithm, &notes);
    let body = Arriving::new(input.body, claim, trailing, notes.clone());
    let stored = store(
        (backend, &asker),
        &upload.part(input.part_number)?,
        new,
        body,
        &notes,
    )
    .await?;
    let mut output = UploadPartOutput {
        e_tag: Some(ETag::Strong(stored.etag)),
        ..UploadPartOutput::default()
    };
    if let (Some(algorithm), Some(value)) = (algorithm, notes.checksum()) {
        checksum::show_in!(output, algorithm.document(&value, None));
    }
    let mut response = S3Response::new(output);
    said.show(&mut response.headers);
    Ok(response)
}

/// Stores a part, if the account's quota has room for it. A quota of the bucket counts
/// when the upload is completed.
async fn store<S>(
    (backend, asker): (&Backend, &Asker),
    part: &ObjectName,
    new: NewObject,
    body: S,
    notes: &Notes,
) -> S3Result<Stored>
where
    S: futures_util::Stream<Item = Result<bytes::Bytes, BodyError>> + Send,
{
    let core = backend.core();
    let parts = core.container_info(&part.container_name()).await.or_fault()?;
    let parts = parts.ok_or_else(|| s3_error!(NoSuchUpload))?;
    let asked = (new.expected_size.unwrap_or(0), backend.is_unbound(asker));
    quota::check(core, part, &parts, asked).await.or_fault()?;
    let stored = core.put_object(part, new, body).await;
    stored.map_err(|error| notes.explain(error))
}

/// The bytes of the source that a part is: "bytes=first-last", both needed.
fn source_range(range: Option<&str>, size: u64) -> S3Result<std::ops::Range<u64>> {
    let Some(range) = range else { return Ok(0..size) };
    let bounds = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let bounds = bounds.and_then(|(first, last)| first.parse::<u64>().ok().zip(last.parse::<u64>().ok()));
    let Some((first, last)) = bounds.filter(|(first, last)| first <= last) else {
        return Err(s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"
        ));
    };
    match last < size {
        true => Ok(first..last + 1),
        false => Err(s3_error!(
            InvalidArgument,
            "Range specified is not valid for source object of size: {size}"
        )),
    }
}

/// `UploadPartCopy`.
pub(crate) async fn copy(
    backend: &Backend,
    req: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let asker = backend.asker(&req).await?;
    let (headers, input) = (req.headers, req.input);
    let name = backend
        .object(&asker, Action::Write, &input.bucket, &input.key)
        .await?;
    unset::refuse_headers(&headers)?;
    check_number(input.part_number)?;
    let upload = backend.upload(name, &input.upload_id).await?;
    let (seal, said) = encryption::of_part(&upload.stat, &headers)?;
    let reader = backend.holding(&headers, &encryption::SOURCE)?;
    let (_, view) = reader.source(&asker, &input.copy_source, &headers).await?;
    encryption::check(&view.stat, &headers, &encryption::SOURCE)?;
    let source_version = view.version.clone();
    let span = source_range(input.copy_source_range.as_deref(), view.size)?;
    let length = span.end - span.start;
    if length > MOST_BYTES {
        return Err(s3_error!(EntityTooLarge));
    }
    let claim = claim_of(&upload, None)?;
    let algorithm = claim.as_ref().map(|claim| claim.algorithm);
    let notes = Notes::default();
    let mut new = NewObject::new(upload.stat.meta.content_type.clone());
    new.expected_size = Some(length);
    new.seal = seal;
    new.at_end = at_end(algorithm, &notes);
    let body = reader.bytes(&asker, view, span).await?;
    let body = Arriving::new(Some(Leaving::blob(body, length)), claim, None, notes.clone());
    let body = body.map(|piece| piece.map_err(|error| BodyError::Source(error.to_string())));
    let stored = store(
        (backend, &asker),
        &upload.part(input.part_number)?,
        new,
        body,
        &notes,
    )
    .await?;
    let shown = match (algorithm, notes.checksum()) {
        (Some(algorithm), Some(value)) => algorithm.document(&value, None),
        _ => s3s::dto::Checksum::default(),
    };
    let mut result = CopyPartResult {
        e_tag: Some(ETag::Strong(stored.etag)),
        last_modified: Some(dates::timestamp(stored.version)),
        ..CopyPartResult::default()
    };
    checksum::show_in!(result, shown);
    let mut response = S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: source_version,
        ..UploadPartCopyOutput::default()
    });
    said.show(&mut response.headers);
    Ok(response)
}

/// `ListParts`.
pub(crate) async fn list(
    backend: &Backend,
    req: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let name = backend
        .object(&asker, Action::Write, &input.bucket, &input.key)
        .await?;
    let most = listing::limit(input.max_parts)?;
    let after = input.part_number_marker.unwrap_or(0);
    if after < 0 {
        return Err(s3_error!(
            InvalidArgument,
            "Argument part-number-marker must be an integer."
        ));
    }
    let upload = backend.upload(name, &input.upload_id).await?;
    let prefix = parts_of(&upload.name, &upload.id);
    let list = ListRequest {
        marker: format!("{prefix}{after:05}"),
        prefix,
        limit: u32::try_from(most + 1).unwrap_or(u32::MAX),
        ..ListRequest::default()
    };
    let page = backend
        .core()
        .list_container(&upload.container, list)
        .await
        .or_fault()?;
    let rows = page.entries.into_iter().filter_map(|entry| match entry {
        Entry::Row(row) => Row::of(row),
        Entry::Subdir(_) => None,
    });
    let mut parts: Vec<Part> = rows.map(Row::shown).collect();
    let truncated = parts.len() > most;
    parts.truncate(most);
    let checksum = upload.checksum();
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        initiator: Some(initiator(&asker)),
        owner: Some(asker.owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        part_number_marker: Some(after),
        next_part_number_marker: parts.last().and_then(|part| part.part_number).or(Some(0)),
        max_parts: i32::try_from(most).ok(),
        is_truncated: Some(truncated),
        parts: Some(parts),
        checksum_algorithm: checksum.map(|(algorithm, _)| algorithm.dto()),
        checksum_type: checksum.map(|(_, kind)| kind.dto()),
        ..ListPartsOutput::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_source_names_bytes_that_exist() {
        assert_eq!(source_range(None, 7).unwrap(), 0..7);
        assert_eq!(source_range(Some("bytes=2-6"), 7).unwrap(), 2..7);
        for bad in [
            "bytes=2-7",
            "bytes=3-2",
            "bytes=-2",
            "bytes=2-",
            "2-3",
            "bytes=a-b",
            "",
        ] {
            assert!(source_range(Some(bad), 7).is_err(), "{bad}");
        }
    }
}
