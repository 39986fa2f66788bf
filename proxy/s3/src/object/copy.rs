//! CopyObject, and the source of every copy.
use futures_util::StreamExt;
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, ETag, MetadataDirective,
    TaggingDirective,
};
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::object::Header;
use virga_proxy::core::{BodyError, GetOptions, NewObject, ObjectName};

use super::body::{Arriving, Notes, computed, expecting};
use super::find::Asked;
use super::view::View;
use super::write::{self, Written};
use crate::access::{Action, Asker};
use crate::checksum::{self, Algorithm, Kind};
use crate::conditions::{self, Expect, Held};
use crate::{Backend, acl, dates, encryption, lock, metadata, tagging, unset};

impl Backend {
    /// The object that a copy is made of, if it exists, may be read, and is as
    /// the request expects it.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `AccessDenied`, `PreconditionFailed`.
    pub(crate) async fn source(
        &self,
        asker: &Asker,
        source: &CopySource,
        headers: &http::HeaderMap,
    ) -> S3Result<(ObjectName, View)> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(s3_error!(NotImplemented, "Access points are not supported here."));
        };
        let name = self.source_of(asker, bucket, key, version_id.as_deref()).await?;
        let asked = Asked::of(version_id.as_deref())?;
        let whole = Some(GetOptions::default());
        let found = self.find(&name, asked, whole).await.map_err(|error| {
            match *error.code() == S3ErrorCode::MethodNotAllowed {
                true => s3_error!(
                    InvalidRequest,
                    "The source of a copy request may not specifically refer to a delete marker by version id."
                ),
                false => error,
            }
        })?;
        let found = self.follow(asker, found, whole).await?;
        let view = self.view(found, true).await?;
        let held = Held {
            etag: &view.etag,
            modified: dates::seconds(view.modified),
        };
        conditions::judge(headers, &conditions::SOURCE, held)
            .map_err(|_| conditions::failed("x-amz-copy-source-If"))?;
        Ok((name, view))
    }
}

fn replaces(directive: Option<&str>, replace: &str, copy: &str) -> S3Result<bool> {
    match directive {
        None => Ok(false),
        Some(word) if word == replace => Ok(true),
        Some(word) if word == copy => Ok(false),
        Some(_) => Err(s3_error!(InvalidArgument, "Unknown metadata directive.")),
    }
}

/// Metadata of the copy.
fn headers_of(
    view: &View,
    headers: &http::HeaderMap,
    tags: Option<&str>,
    (metadata, tagging): (bool, bool),
) -> S3Result<Vec<Header>> {
    let mut stored: Vec<Header> = match metadata {
        true => metadata::of_request(headers)?,
        false => {
            let kept = view.stat.meta.headers.iter();
            // A copy of a large object is one object, no manifest; locks are the source's own.
            let is_data = |(name, _): &&Header| {
                name != "x-object-manifest"
                    && !tagging::is_stored(name)
                    && !lock::is_stored(name)
                    && !acl::is_stored(name)
            };
            kept.filter(is_data).cloned().collect()
        }
    };
    match tagging {
        true => stored.extend(tagging::of_header(tags)?),
        false => stored.extend(
            view.stat
                .meta
                .headers
                .iter()
                .filter(|(n, _)| tagging::is_stored(n))
                .cloned(),
        ),
    }
    Ok(stored)
}

/// Refuses a copy onto itself that changes nothing (`onto_itself`: neither
/// metadata nor tags nor encryption), and one that is too large.
fn refuse_pointless(input: &CopyObjectInput, onto_itself: bool, size: u64) -> S3Result<()> {
    let older = matches!(&input.copy_source, CopySource::Bucket { version_id, .. } if version_id.is_some());
    if onto_itself && !older && input.checksum_algorithm.is_none() && input.storage_class.is_none() {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."
        ));
    }
    match size > write::MOST_BYTES {
        true => Err(s3_error!(
            InvalidRequest,
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"
        )),
        false => Ok(()),
    }
}

/// `CopyObject`.
pub(crate) async fn copy(
    backend: &Backend,
    req: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let asker = backend.asker(&req).await?;
    let (headers, input) = (req.headers, req.input);
    let name = backend
        .object(&asker, Action::Write, &input.bucket, &input.key)
        .await?;
    unset::refuse_headers(&headers)?;
    let list = acl::of_new_object(&asker, &headers)?;
    let expect = Expect::of_headers(&headers)?;
    if let Some(expect) = &expect {
        backend.expect(&name, expect).await?;
    }
    let directive = input.metadata_directive.as_ref().map(MetadataDirective::as_str);
    let metadata = replaces(directive, MetadataDirective::REPLACE, MetadataDirective::COPY)?;
    let directive = input.tagging_directive.as_ref().map(TaggingDirective::as_str);
    let tagging = replaces(directive, TaggingDirective::REPLACE, TaggingDirective::COPY)?;
    let (seal, said) = backend.sealing(&name, &headers).await?;
    let reader = backend.holding(&headers, &encryption::SOURCE)?;
    let (source, view) = reader.source(&asker, &input.copy_source, &headers).await?;
    encryption::check(&view.stat, &headers, &encryption::SOURCE)?;
    let changes = metadata || tagging || !matches!(encryption::Wish::of(&headers)?, encryption::Wish::None);
    refuse_pointless(&input, source == name && !changes, view.size)?;
    let mut new = NewObject::new(match metadata {
        true => metadata::type_of(&headers),
        false => view.stat.meta.content_type.clone(),
    });
    new.headers = headers_of(&view, &headers, input.tagging.as_deref(), (metadata, tagging))?;
    new.headers.extend(list);
    new.expected_size = Some(view.size);
    backend.lock_new(&name, &headers, &mut new).await?;
    new.seal = seal;
    let algorithm = match &input.checksum_algorithm {
        Some(name) => Some(Algorithm::read(name)?),
        None => checksum::of(&view.stat).map(|(algorithm, ..)| algorithm),
    };
    let notes = Notes::default();
    let claim = algorithm.map(computed);
    new.at_end = write::at_end(claim.as_ref(), &notes);
    let size = view.size;
    let source_version = view.version.clone();
    let body = reader.bytes(&asker, view, 0..size).await?;
    let hashed = Arriving::new(
        Some(super::body::Leaving::blob(body, size)),
        claim,
        None,
        notes.clone(),
    );
    let body = hashed.map(|piece| piece.map_err(|error| BodyError::Source(error.to_string())));
    let body = expecting(body, backend, &name, expect, &notes);
    let Written {
        stored,
        version,
        modified,
    } = backend.store(&asker, &name, new, body, &notes).await?;
    let shown = match (algorithm, notes.checksum()) {
        (Some(algorithm), Some(value)) => algorithm.document(&value, Some(Kind::Full)),
        _ => s3s::dto::Checksum::default(),
    };
    let mut result = CopyObjectResult {
        e_tag: Some(ETag::Strong(stored.etag)),
        last_modified: Some(dates::timestamp(modified)),
        ..CopyObjectResult::default()
    };
    result.checksum_type = checksum::show_in!(result, shown);
    let mut response = S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: source_version,
        version_id: version,
        ..CopyObjectOutput::default()
    });
    said.show(&mut response.headers);
    Ok(response)
}
