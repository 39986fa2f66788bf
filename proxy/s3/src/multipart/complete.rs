//! CompleteMultipartUpload: parts become one object.
use std::collections::HashMap;

use futures_util::stream;
use md5::{Digest as _, Md5};
use s3s::dto::{
    ChecksumType, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, ETag,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::object::Listed;
use virga_proxy::core::manifest::{SLO_FLAG, SloEntry, SloManifest};
use virga_proxy::core::{NewObject, ObjectName};
use virga_proxy::server::Origin;

use super::parts::Row;
use super::{Upload, parts_of};
use crate::access::Action;
use crate::checksum::{self, Algorithm, Kind};
use crate::conditions::Expect;
use crate::detail::Detailed;
use crate::fault::OrFault;
use crate::object::body::{Notes, expecting};
use crate::object::find::{Asked, Found};
use crate::object::view::{S3_ETAG, S3_UPLOAD, SLO_ETAG, SLO_SIZE, etag_of, sysmeta};
use crate::{Backend, encryption};

/// What stays as it is in a path.
const PATH: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// Bytes of every part but the last.
pub(crate) const LEAST_BYTES: u64 = 5 * 1024 * 1024;

/// What the object will be.
struct Whole {
    manifest: SloManifest,
    size: u64,
    /// ETag in S3's way.
    etag: String,
    /// ETag in Swift's way.
    slo_etag: String,
    checksum: Option<(Algorithm, String, Kind)>,
}

fn claimed(part: &CompletedPart, algorithm: Algorithm) -> Option<&str> {
    match algorithm {
        Algorithm::Crc32 => part.checksum_crc32.as_deref(),
        Algorithm::Crc32c => part.checksum_crc32c.as_deref(),
        Algorithm::Crc64Nvme => part.checksum_crc64nvme.as_deref(),
        Algorithm::Sha1 => part.checksum_sha1.as_deref(),
        Algorithm::Sha256 => part.checksum_sha256.as_deref(),
    }
}

fn claimed_of_whole(input: &CompleteMultipartUploadInput, algorithm: Algorithm) -> Option<&str> {
    match algorithm {
        Algorithm::Crc32 => input.checksum_crc32.as_deref(),
        Algorithm::Crc32c => input.checksum_crc32c.as_deref(),
        Algorithm::Crc64Nvme => input.checksum_crc64nvme.as_deref(),
        Algorithm::Sha1 => input.checksum_sha1.as_deref(),
        Algorithm::Sha256 => input.checksum_sha256.as_deref(),
    }
}

/// Compares a part that the client lists with the one that is there.
fn check_part(upload: &Upload, part: &CompletedPart, row: &Row) -> S3Result<()> {
    let etag = part.e_tag.as_ref().ok_or_else(|| s3_error!(MalformedXML))?;
    if etag.value() != row.etag {
        return Err(no_part(upload, part));
    }
    let Some((algorithm, kind)) = upload.checksum() else {
        return Ok(());
    };
    match (claimed(part, algorithm), &row.checksum) {
        (Some(claimed), Some((_, value))) if claimed == value => Ok(()),
        (None, Some(_)) if kind == Kind::Full => Ok(()),
        (None, Some(_)) => Err(s3_error!(
            InvalidRequest,
            "The upload was created using a {} checksum. The complete request must include the checksum for each part. It was missing for part {} in the request.",
            algorithm.name().to_ascii_lowercase(),
            row.number
        )),
        _ => Err(no_part(upload, part)),
    }
}

/// Refuses to finish an upload with another type of checksum than it was begun with.
fn check_kind(upload: &Upload, said: Option<&ChecksumType>) -> S3Result<()> {
    match (upload.checksum(), said) {
        (Some((_, kind)), Some(said)) if said.as_str() != kind.name() => Err(s3_error!(
            InvalidRequest,
            "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
            kind.name()
        )),
        _ => Ok(()),
    }
}

/// The error for a part that is listed and not there.
fn no_part(upload: &Upload, part: &CompletedPart) -> S3Error {
    let number = part.part_number.unwrap_or_default();
    s3_error!(InvalidPart)
        .detail("UploadId", &upload.id)
        .detail("PartNumber", &number.to_string())
        .detail("ETag", part.e_tag.as_ref().map_or("", |etag| etag.value()))
}

/// S3's ETag of an object in parts, whose MD5 were hashed.
fn etag_of_parts(md5: Md5, parts: usize) -> String {
    format!("{}-{parts}", hex::encode(md5.finalize()))
}

/// Puts the parts together as the client lists them.
fn assemble(upload: &Upload, listed: &[CompletedPart], rows: Vec<Row>) -> S3Result<Whole> {
    let mut there: HashMap<i32, Row> = rows.into_iter().map(|row| (row.number, row)).collect();
    let (mut manifest, mut size) = (SloManifest::default(), 0u64);
    let (mut md5, mut slo_md5) = (Md5::new(), Md5::new());
    let mut sums = Vec::new();
    let numbers = listed.iter().map(|part| part.part_number);
    let numbers: Vec<i32> = numbers
        .collect::<Option<_>>()
        .ok_or_else(|| s3_error!(MalformedXML))?;
    if !numbers.is_sorted_by(|a, b| a < b) {
        return Err(s3_error!(InvalidPartOrder));
    }
    for (index, (part, number)) in listed.iter().zip(numbers).enumerate() {
        let row = there.remove(&number).ok_or_else(|| no_part(upload, part))?;
        check_part(upload, part, &row)?;
        if row.size < LEAST_BYTES && index + 1 < listed.len() {
            return Err(s3_error!(EntityTooSmall));
        }
        size = size.saturating_add(row.size);
        md5.update(hex::decode(&row.etag).map_err(|_| s3_error!(InvalidPart))?);
        slo_md5.update(&row.etag);
        sums.push((row.checksum.as_ref().map(|(_, value)| value.clone()), row.size));
        manifest.entries.push(SloEntry {
            name: Some(format!("/{}/{}", upload.container.container(), row.row.name)),
            hash: Some(row.etag),
            bytes: row.size,
            content_type: Some(row.row.content_type),
            ..SloEntry::default()
        });
    }
    let checksum = match upload.checksum() {
        Some((algorithm, kind)) => {
            let sums: Vec<(&str, u64)> = sums
                .iter()
                .map(|(value, size)| (value.as_deref().unwrap_or_default(), *size))
                .collect();
            Some((algorithm, algorithm.join(kind, &sums)?, kind))
        }
        None => None,
    };
    Ok(Whole {
        etag: etag_of_parts(md5, listed.len()),
        slo_etag: hex::encode(slo_md5.finalize()),
        manifest,
        size,
        checksum,
    })
}

/// The large object that the parts become.
fn object_of(upload: &Upload, whole: &Whole) -> S3Result<(NewObject, Vec<u8>)> {
    let document = whole.manifest.to_json().map_err(s3s::S3Error::internal_error)?;
    let hash = hex::encode(Md5::digest(&document));
    let meta = &upload.stat.meta;
    let mut new = NewObject::new(meta.content_type.clone());
    new.headers.clone_from(&meta.headers);
    new.sysmeta = [
        (SLO_FLAG, "True"),
        (SLO_ETAG, &whole.slo_etag),
        (SLO_SIZE, &whole.size.to_string()),
        (S3_ETAG, &whole.etag),
        (S3_UPLOAD, &upload.id),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    if let Some((algorithm, value, kind)) = &whole.checksum {
        new.sysmeta.extend(checksum::stored(*algorithm, value, *kind));
    }
    new.listed = Some(Listed {
        size: whole.size,
        etag: format!("{hash}; s3_etag={}; slo_etag={}", whole.etag, whole.slo_etag),
    });
    new.expected_size = Some(document.len() as u64);
    Ok((new, document))
}

fn output(
    input: CompleteMultipartUploadInput,
    location: String,
    etag: String,
    checksum: Option<(Algorithm, String, Kind)>,
    version: Option<String>,
) -> S3Response<CompleteMultipartUploadOutput> {
    let shown = checksum.map(|(algorithm, value, kind)| algorithm.document(&value, Some(kind)));
    let shown = shown.unwrap_or_default();
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        location: Some(location),
        e_tag: Some(ETag::Strong(etag)),
        version_id: version,
        ..CompleteMultipartUploadOutput::default()
    };
    output.checksum_type = checksum::show_in!(output, shown);
    S3Response::new(output)
}

/// The object, if these parts of this very upload have become it already: the
/// client did not hear so and asks again.
async fn done_before(
    backend: &Backend,
    name: &ObjectName,
    id: &str,
    input: &CompleteMultipartUploadInput,
) -> Option<Found> {
    let found = backend.find(name, Asked::Current, None).await.ok()?;
    let listed = input.multipart_upload.as_ref()?.parts.as_deref()?;
    let mut md5 = Md5::new();
    for part in listed {
        md5.update(hex::decode(part.e_tag.as_ref()?.value()).ok()?);
    }
    let etag = etag_of_parts(md5, listed.len());
    let same = sysmeta(&found.stat, S3_UPLOAD) == Some(id) && sysmeta(&found.stat, S3_ETAG) == Some(&etag);
    same.then_some(found)
}

/// Where the object is, as the client came here.
fn location(req: &S3Request<CompleteMultipartUploadInput>) -> String {
    let host = req.headers.get(http::header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let secure = req.extensions.get::<Origin>().is_some_and(|origin| origin.secure);
    let scheme = if secure { "https" } else { "http" };
    let path = percent_encoding::percent_decode_str(req.uri.path()).decode_utf8_lossy();
    let (bucket, key) = (&req.input.bucket, &req.input.key);
    let shown = percent_encoding::utf8_percent_encode(key, PATH);
    // The bucket may be a part of the host.
    match path.strip_prefix('/') == Some(key) {
        true => format!("{scheme}://{host}/{shown}"),
        false => format!("{scheme}://{host}/{bucket}/{shown}"),
    }
}

/// `CompleteMultipartUpload`.
pub(crate) async fn complete(
    backend: &Backend,
    req: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let asker = backend.asker(&req).await?;
    let location = location(&req);
    let input = req.input;
    let name = backend
        .object(&asker, Action::Write, &input.bucket, &input.key)
        .await?;
    let expect = Expect::of(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let upload = match backend.upload(name.clone(), &input.upload_id).await {
        Ok(upload) => upload,
        Err(gone) => match done_before(backend, &name, &input.upload_id, &input).await {
            Some(Found { stat, version, .. }) => {
                let etag = etag_of(&stat).etag;
                return Ok(output(input, location, etag, checksum::of(&stat), version));
            }
            None => return Err(gone),
        },
    };
    let listed = input
        .multipart_upload
        .as_ref()
        .and_then(|all| all.parts.as_deref());
    let listed = listed
        .filter(|parts| !parts.is_empty())
        .ok_or_else(|| s3_error!(MalformedXML))?;
    check_kind(&upload, input.checksum_type.as_ref())?;
    if let Some(expect) = &expect {
        backend.expect(&name, expect).await?;
    }
    let rows = backend
        .rows(&upload.container, &parts_of(&name, &upload.id))
        .await?;
    let used: std::collections::HashSet<i32> = listed.iter().filter_map(|part| part.part_number).collect();
    let rows: Vec<Row> = rows.into_iter().filter_map(Row::of).collect();
    let spare: Vec<String> = rows
        .iter()
        .filter(|row| !used.contains(&row.number))
        .map(|row| row.row.name.clone())
        .collect();
    let whole = assemble(&upload, listed, rows)?;
    if let Some((algorithm, value, _)) = &whole.checksum
        && claimed_of_whole(&input, *algorithm).is_some_and(|claimed| claimed != value)
    {
        let shown = algorithm.name();
        return Err(s3_error!(
            BadDigest,
            "The {shown} you specified did not match the calculated checksum."
        ));
    }
    let announced = input.mpu_object_size.and_then(|size| u64::try_from(size).ok());
    if announced.is_some_and(|size| size != whole.size) {
        return Err(s3_error!(
            InvalidRequest,
            "The provided 'x-amz-mp-object-size' header does not match what was computed."
        ));
    }
    let (mut new, document) = object_of(&upload, &whole)?;
    let (seal, parts, said) = encryption::of_finished(&upload.stat);
    new.seal = seal;
    new.sysmeta.extend(parts);
    backend.lock_uploaded(&name, &upload.stat, &mut new).await?;
    let notes = Notes::default();
    let body = stream::iter([Ok(bytes::Bytes::from(document))]);
    let body = expecting(body, backend, &name, expect, &notes);
    let written = backend.store(&asker, &name, new, body, &notes).await?;
    // From here on the object stands. A marker that is left makes the upload
    // look unfinished, and finishing it again changes nothing.
    backend
        .core()
        .delete_object(&upload.marker, None)
        .await
        .or_fault()?;
    backend.delete_hidden(&upload.container, spare).await;
    let mut answer = output(input, location, whole.etag, whole.checksum, written.version);
    said.show(&mut answer.headers);
    Ok(answer)
}
