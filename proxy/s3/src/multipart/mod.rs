//! Uploads in parts.
//!
//! Everything of a bucket's uploads lies in one container beside it, whose name
//! no bucket can have: `uploads/<key>/<id>` marks an upload that is under way
//! and holds the metadata its object will get, `parts/<key>/<id>/<number>` are
//! its parts. The finished object is a static large object over its parts, so
//! the other dialect reads it as one. Parts that no object is made of any more
//! go with the object: [`forget_parts`].
pub(crate) mod complete;
pub(crate) mod list;
pub(crate) mod parts;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput,
};
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use virga_node::clock::Version;
use virga_object_wire::listing::{ContainerInfo, Entry, ListRequest, ObjectRow};
use virga_object_wire::object::ObjectStat;
use virga_proxy::core::{BodyError, ContainerName, NewObject, ObjectName, ReadObjectError};
use virga_proxy::swift::versions::name::{VersionId, object_of};
use virga_proxy::swift::versions::stack;

use super::access::{Action, Asker, meta};
use super::checksum::{Algorithm, Kind};
use super::fault::{IntoFault, OrFault};
use super::object::view::{S3_UPLOAD, sysmeta};
use super::object::write;
use super::{Backend, acl, lock, metadata, unset};

/// Largest number of a part.
pub(crate) const MOST_PARTS: i32 = 10_000;
/// Rows of the hidden container read at once.
const PAGE: u32 = 10_000;
/// Parts deleted at the same time.
const AT_ONCE: usize = 8;
/// System metadata of an upload: the checksum its parts must have.
const CHECKSUM: &str = "x-object-sysmeta-s3-upload-checksum";
/// And how that of the whole is made of them.
const CHECKSUM_KIND: &str = "x-object-sysmeta-s3-upload-checksum-type";

/// Metadata of a bucket that has had an upload in parts: those without, of which
/// there are most, are not asked about each object that is written.
const HAS_UPLOADS: &str = "x-container-sysmeta-s3-uploads";

/// The container that holds the uploads of a bucket.
pub(crate) fn hidden(bucket: &str) -> String {
    format!("{bucket}+segments")
}

fn hidden_of(name: &ObjectName) -> S3Result<ContainerName> {
    let account = name.container_name().account_name();
    account
        .container(&hidden(name.container()))
        .map_err(|_| s3_error!(InvalidBucketName))
}

/// What the names of all parts of an upload start with.
fn parts_of(name: &ObjectName, upload: &str) -> String {
    format!("parts/{}/{upload}/", name.object())
}

/// The name of a part in the hidden container. Numbers sort as texts.
fn part_name(name: &ObjectName, upload: &str, number: i32) -> String {
    format!("{}{number:05}", parts_of(name, upload))
}

/// Whether a text can be the id of an upload.
fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
}

/// An upload that is under way.
struct Upload {
    /// The object it will be.
    name: ObjectName,
    id: String,
    container: ContainerName,
    marker: ObjectName,
    /// What was said when it began.
    stat: ObjectStat,
}

impl Upload {
    fn checksum(&self) -> Option<(Algorithm, Kind)> {
        let algorithm = Algorithm::named(sysmeta(&self.stat, CHECKSUM)?)?;
        let kind = sysmeta(&self.stat, CHECKSUM_KIND).and_then(|kind| Kind::named(kind).ok());
        Some((algorithm, kind.unwrap_or_else(|| algorithm.usual_kind())))
    }

    fn part(&self, number: i32) -> S3Result<ObjectName> {
        let name = part_name(&self.name, &self.id, number);
        self.container.object(&name).map_err(|_| s3_error!(NoSuchUpload))
    }
}

impl Backend {
    /// An upload that is under way.
    ///
    /// # Errors
    /// `NoSuchUpload`.
    async fn upload(&self, name: ObjectName, id: &str) -> S3Result<Upload> {
        let gone = || s3_error!(NoSuchUpload);
        if !is_id(id) {
            return Err(gone());
        }
        let container = hidden_of(&name)?;
        let marker = container
            .object(&format!("uploads/{}/{id}", name.object()))
            .map_err(|_| gone())?;
        match self.core().head_object(&marker, false).await {
            Ok(stat) => Ok(Upload {
                name,
                id: id.to_owned(),
                container,
                marker,
                stat,
            }),
            Err(ReadObjectError::NotFound { .. }) => Err(gone()),
            Err(error) => Err(error.into_fault()),
        }
    }

    /// All rows of the hidden container whose names start with `prefix`.
    async fn rows(&self, container: &ContainerName, prefix: &str) -> S3Result<Vec<ObjectRow>> {
        let mut list = ListRequest {
            prefix: prefix.to_owned(),
            limit: PAGE,
            ..ListRequest::default()
        };
        let mut rows = Vec::new();
        loop {
            let page = self
                .core()
                .list_container(container, list.clone())
                .await
                .or_fault()?;
            for entry in page.entries {
                if let Entry::Row(row) = entry {
                    list.marker.clone_from(&row.name);
                    rows.push(row);
                }
            }
            // One upload has no more than this, whatever a client does.
            if !page.more || rows.len() > 2 * PAGE as usize {
                return Ok(rows);
            }
        }
    }

    /// Deletes objects of a hidden container that nobody needs any more.
    pub(crate) async fn delete_hidden(&self, container: &ContainerName, names: Vec<String>) {
        let names = names.into_iter().filter_map(|name| container.object(&name).ok());
        let one = |name: ObjectName| {
            async move {
                if let Err(error) = self.core().delete_object(&name, None).await {
                    tracing::warn!(%error, part = name.path(), "a part that nobody needs is left");
                }
            }
            .boxed()
        };
        let work: Vec<BoxFuture<'_, ()>> = names.map(one).collect();
        stream::iter(work).buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

/// The upload that what is stored under `at`, an object of a bucket with this
/// info or one of its versions, was made by, if it was made in parts.
///
/// # Errors
/// When that cannot be told now.
pub(crate) async fn upload_of(
    backend: &Backend,
    bucket: &ContainerInfo,
    at: &ObjectName,
) -> S3Result<Option<String>> {
    if meta(&bucket.meta, HAS_UPLOADS).is_none() {
        return Ok(None);
    }
    match backend.core().head_object(at, false).await {
        Ok(stat) => Ok(sysmeta(&stat, S3_UPLOAD).map(str::to_owned)),
        Err(ReadObjectError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into_fault()),
    }
}

/// Deletes the parts of an upload whose object is gone. What cannot be deleted
/// now is left and said: no object is made of it.
pub(crate) async fn forget_parts(backend: &Backend, name: &ObjectName, upload: &str) {
    let Ok(container) = hidden_of(name) else { return };
    match backend.rows(&container, &parts_of(name, upload)).await {
        Ok(rows) => {
            let names = rows.into_iter().map(|row| row.name).collect();
            backend.delete_hidden(&container, names).await;
        }
        Err(error) => tracing::warn!(%error, object = name.path(), "the parts of a replaced object are left"),
    }
}

/// `CreateMultipartUpload`.
pub(crate) async fn create(
    backend: &Backend,
    req: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let asker = backend.asker(&req).await?;
    let (headers, input) = (req.headers, req.input);
    let (bucket, info) = backend.bucket(&asker, Action::Write, &input.bucket).await?;
    let name = bucket.object(&input.key).map_err(|_| s3_error!(InvalidURI))?;
    unset::refuse_headers(&headers)?;
    let list = acl::of_new_object(&asker, &headers)?;
    let id = uuid::Uuid::now_v7().simple().to_string();
    let mut new = NewObject::new(metadata::type_of(&headers));
    new.headers = write::stored_headers(&headers, input.tagging.as_deref())?;
    new.headers.extend(list);
    let asked = input
        .checksum_algorithm
        .as_ref()
        .map(Algorithm::read)
        .transpose()?;
    let kind = input
        .checksum_type
        .as_ref()
        .map(|kind| Kind::named(kind.as_str()));
    let (algorithm, kind) = (asked, kind.transpose()?);
    if let Some(algorithm) = algorithm {
        let kind = kind.unwrap_or_else(|| algorithm.usual_kind());
        if !algorithm.allows(kind) {
            return Err(s3_error!(
                InvalidRequest,
                "The {} checksum type cannot be used with the {} checksum algorithm.",
                kind.name(),
                algorithm.name()
            ));
        }
        new.sysmeta.push((CHECKSUM.into(), algorithm.name().into()));
        new.sysmeta.push((CHECKSUM_KIND.into(), kind.name().into()));
    } else if kind.is_some() {
        return Err(s3_error!(
            InvalidRequest,
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
        ));
    }
    backend.lock_upload(&info, &headers, &mut new)?;
    let (sealing, said) = backend.seal_upload(&headers, &info)?;
    new.sysmeta.extend(sealing);
    let container = hidden_of(&name)?;
    if meta(&info.meta, HAS_UPLOADS).is_none() {
        let change = vec![(HAS_UPLOADS.to_owned(), "yes".to_owned())];
        backend.core().post_container(&bucket, change).await.or_fault()?;
    }
    if backend
        .core()
        .container_info(&container)
        .await
        .or_fault()?
        .is_none()
    {
        let mut list = acl::lists(&info);
        list.extend(lock::of_parts(&info));
        backend
            .core()
            .put_container(&container, Some(info.policy), list)
            .await
            .or_fault()?;
    }
    let marker = container
        .object(&format!("uploads/{}/{id}", name.object()))
        .map_err(|_| s3_error!(InvalidURI))?;
    let nothing = stream::empty::<Result<bytes::Bytes, BodyError>>();
    backend
        .core()
        .put_object(&marker, new, nothing)
        .await
        .or_fault()?;
    let mut response = S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(id),
        checksum_algorithm: algorithm.map(Algorithm::dto),
        checksum_type: algorithm.map(|a| kind.unwrap_or_else(|| a.usual_kind()).dto()),
        ..CreateMultipartUploadOutput::default()
    });
    said.show(&mut response.headers);
    Ok(response)
}

/// `AbortMultipartUpload`.
pub(crate) async fn abort(
    backend: &Backend,
    req: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let name = backend
        .object(&asker, Action::Write, &input.bucket, &input.key)
        .await?;
    let upload = backend.upload(name, &input.upload_id).await?;
    end(backend, &upload).await?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

/// Gives up an upload, if it is under way.
///
/// # Errors
/// When that cannot be done now.
pub(crate) async fn give_up(backend: &Backend, name: ObjectName, id: &str) -> S3Result<()> {
    match backend.upload(name, id).await {
        Ok(upload) => end(backend, &upload).await,
        Err(error) if *error.code() == S3ErrorCode::NoSuchUpload => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes an upload: its mark, and its parts unless an object is made of them.
async fn end(backend: &Backend, upload: &Upload) -> S3Result<()> {
    let done = is_made(backend, upload).await?;
    let gone = backend.core().delete_object(&upload.marker, None).await;
    gone.or_fault()?;
    if !done {
        forget_parts(backend, &upload.name, &upload.id).await;
    }
    Ok(())
}

/// Whether an object is made of an upload whose mark was left: the current one,
/// or a version of it.
async fn is_made(backend: &Backend, upload: &Upload) -> S3Result<bool> {
    let core = backend.core();
    let of_upload = async |at: &ObjectName| match core.head_object(at, false).await {
        Ok(stat) => Ok(sysmeta(&stat, S3_UPLOAD) == Some(upload.id.as_str())),
        Err(ReadObjectError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into_fault()),
    };
    if of_upload(&upload.name).await? {
        return Ok(true);
    }
    let mut before = VersionId(Version(u64::MAX));
    loop {
        let next = |kept: &stack::Kept| kept.id < before && kept.id.0 > upload.stat.version;
        let Some(kept) = stack::find(core, &upload.name, next).await.or_fault()? else {
            return Ok(false);
        };
        if of_upload(&object_of(&upload.name, kept.id)).await? {
            return Ok(true);
        }
        before = kept.id;
    }
}

/// The owner of an upload, as documents name who began it.
fn initiator(asker: &Asker) -> s3s::dto::Initiator {
    let owner = asker.owner();
    s3s::dto::Initiator {
        display_name: owner.display_name,
        id: owner.id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_sort_by_their_numbers_and_belong_to_one_upload() {
        let name = ObjectName::new("AUTH_p", "bucket", "a/b").unwrap();
        let id = uuid::Uuid::now_v7().simple().to_string();
        assert!(is_id(&id) && !is_id("x") && !is_id(&id.to_uppercase().replace('0', "A")));
        let (two, ten) = (part_name(&name, &id, 2), part_name(&name, &id, 10));
        assert!(two < ten && two.starts_with(&parts_of(&name, &id)));
        assert_eq!(hidden_of(&name).unwrap().path(), "AUTH_p/bucket+segments");
        assert!(!s3s::path::check_bucket_name(&hidden("bucket")));
    }
}
