//! PutObject, and what all writes of objects have in common.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use s3s::dto::{ETag, PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_node::clock::Version;
use virga_object_wire::object::Header;
use virga_proxy::core::{AtEnd, Ending, NewObject, ObjectName, Stored};
use virga_proxy::swift::quota;
use virga_proxy::swift::versions::write::WriteError;
use virga_proxy::swift::versions::{self, Keeping, NULL_ID};

use super::body::{Arriving, Notes, expecting};
use crate::access::{Action, Asker};
use crate::checksum::{self, Claim, Kind};
use crate::conditions::Expect;
use crate::fault::{IntoFault, OrFault};
use crate::form::Unmeasured;
use crate::lifecycle::Seen;
use crate::{Backend, acl, lock, metadata, multipart, tagging, unset};

/// Bytes of one upload.
pub(crate) const MOST_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// The MD5 that a request announces, in hex.
///
/// # Errors
/// `InvalidDigest` for what is none.
pub(crate) fn announced_md5(value: Option<&str>) -> S3Result<Option<String>> {
    let Some(value) = value else { return Ok(None) };
    let bytes = STANDARD.decode(value.trim()).ok();
    match bytes.filter(|bytes| bytes.len() == 16) {
        Some(bytes) => Ok(Some(hex::encode(bytes))),
        None => Err(s3_error!(InvalidDigest)),
    }
}

/// What the headers of a request store with its object: metadata and tags.
pub(crate) fn stored_headers(headers: &HeaderMap, tags: Option<&str>) -> S3Result<Vec<Header>> {
    let mut stored = metadata::of_request(headers)?;
    stored.extend(tagging::of_header(tags)?);
    Ok(stored)
}

/// The checksum that a request claims, as a closure that stores it at the end.
pub(crate) fn at_end(claim: Option<&Claim>, notes: &Notes) -> Option<AtEnd> {
    let algorithm = claim?.algorithm;
    let notes = notes.clone();
    Some(AtEnd::new(move |_, _| {
        let value = notes.checksum();
        let sysmeta = value.map(|value| checksum::stored(algorithm, &value, Kind::Full));
        Ending {
            sysmeta: sysmeta.unwrap_or_default(),
            listed: None,
        }
    }))
}

/// What a write became.
pub(crate) struct Written {
    pub(crate) stored: Stored,
    /// The version to tell clients; `None` in a bucket that never had any.
    pub(crate) version: Option<String>,
    /// When it was written, as reads say.
    pub(crate) modified: Version,
}

impl Backend {
    /// Stores an object, and does with the one it replaces what the bucket does
    /// with versions: where none are kept, the parts of that one go too.
    pub(crate) async fn store<S>(
        &self,
        asker: &Asker,
        name: &ObjectName,
        new: NewObject,
        body: S,
        notes: &Notes,
    ) -> S3Result<Written>
    where
        S: futures_util::Stream<Item = Result<bytes::Bytes, virga_proxy::core::BodyError>> + Send,
    {
        let core = self.core();
        let info = core.container_info(&name.container_name()).await.or_fault()?;
        let info = info.ok_or_else(|| s3_error!(NoSuchBucket))?;
        let asked = (new.expected_size.unwrap_or(0), self.is_unbound(asker));
        quota::check(core, name, &info, asked).await.or_fault()?;
        let keeping = Keeping::of(&info);
        let before = match &keeping {
            Keeping::Versions => {
                let written = versions::write::put(core, name, new, body).await;
                let written = written.map_err(|error| match error {
                    WriteError::Put(error) => notes.explain(error),
                    error => error.into_fault(),
                })?;
                return Ok(Written {
                    stored: written.stored,
                    version: Some(written.id.to_string()),
                    modified: written.id.0,
                });
            }
            Keeping::Stack(location) | Keeping::History(location) => {
                // The copy is made of the same parts: they stay.
                versions::legacy::keep(core, name, location).await.or_fault()?;
                None
            }
            Keeping::Nothing | Keeping::Suspended => multipart::upload_of(self, &info, name).await?,
        };
        let suspended = keeping == Keeping::Suspended;
        let older = match suspended {
            true => self.null_of(name).await?,
            false => None,
        };
        let stored = core.put_object(name, new, body).await;
        let stored = stored.map_err(|error| notes.explain(error))?;
        if let Some(upload) = before {
            multipart::forget_parts(self, name, &upload).await;
        }
        if let Some(older) = older {
            self.forget_version(&info, name, older).await;
        }
        Ok(Written {
            modified: stored.version,
            stored,
            version: suspended.then(|| NULL_ID.to_owned()),
        })
    }
}

/// `PutObject`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let asker = backend.asker(&req).await?;
    let unmeasured = req.extensions.get::<Unmeasured>().is_some();
    let trailing = req.extensions.get().cloned();
    let headers = req.headers;
    let input = req.input;
    let name = backend
        .object(&asker, Action::Write, &input.bucket, &input.key)
        .await?;
    unset::refuse_headers(&headers)?;
    let list = acl::of_new_object(&asker, &headers)?;
    if input.write_offset_bytes.is_some() {
        return Err(s3_error!(NotImplemented));
    }
    let length = input.content_length.and_then(|length| u64::try_from(length).ok());
    if length.is_none() && !unmeasured {
        return Err(s3_error!(MissingContentLength));
    }
    if length.is_some_and(|length| length > MOST_BYTES) {
        return Err(s3_error!(EntityTooLarge));
    }
    let expect = Expect::of(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    if let Some(expect) = &expect {
        backend.expect(&name, expect).await?;
    }
    let claim = Claim::of(&headers)?;
    let notes = Notes::default();
    let mut new = NewObject::new(metadata::type_of(&headers));
    new.headers = stored_headers(&headers, input.tagging.as_deref())?;
    new.headers.extend(list);
    new.delete_at = metadata::delete_at(&headers, backend.0.clock.now().as_secs())?;
    let delete_at = new.delete_at;
    new.expected_size = length;
    new.expected_etag = notes.announce(announced_md5(input.content_md5.as_deref())?);
    new.max_size = MOST_BYTES;
    new.at_end = at_end(claim.as_ref(), &notes);
    if claim.is_none() && new.expected_etag.is_none() {
        lock::refuse_unchecked(&headers)?;
    }
    backend.lock_new(&name, &headers, &mut new).await?;
    let (seal, said) = backend.sealing(&name, &headers).await?;
    new.seal = seal;
    let kept = new.headers.clone();
    let algorithm = claim.as_ref().map(|claim| claim.algorithm);
    let body = Arriving::new(input.body, claim, trailing, notes.clone());
    let body = expecting(body, backend, &name, expect, &notes);
    let written = backend.store(&asker, &name, new, body, &notes).await?;
    let mut output = PutObjectOutput {
        e_tag: Some(ETag::Strong(written.stored.etag)),
        version_id: written.version,
        ..PutObjectOutput::default()
    };
    if let (Some(algorithm), Some(value)) = (algorithm, notes.checksum()) {
        let shown = algorithm.document(&value, Some(Kind::Full));
        output.checksum_type = checksum::show_in!(output, shown);
    }
    let mut response = S3Response::new(output);
    said.show(&mut response.headers);
    let seen = Seen {
        headers: &kept,
        size: written.stored.size,
        written: written.modified,
        delete_at,
    };
    backend.show_expiry(&name, seen, &mut response.headers).await;
    Ok(response)
}
