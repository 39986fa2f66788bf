//! DeleteObject and DeleteObjects.
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error,
    ObjectIdentifier,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_object_wire::listing::ContainerInfo;
use virga_proxy::core::{ContainerName, ObjectName};
use virga_proxy::swift::versions::lock::{self, Lock};
use virga_proxy::swift::versions::name::{VersionId, object_of};
use virga_proxy::swift::versions::{self, DELETED_TYPE, Keeping, NULL_ID, link, write};

use super::find::Asked;
use super::view::{S3_UPLOAD, sysmeta};
use crate::access::{Action, Asker};
use crate::conditions::Expect;
use crate::fault::{self, IntoFault, OrFault};
use crate::{Backend, multipart};

/// Names in one request, as AWS allows.
pub(crate) const MOST: usize = 1000;
/// Deletions of one request at the same time.
const AT_ONCE: usize = 8;

/// What a deletion did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    /// The version that is gone, or that now marks the deletion.
    pub(crate) version: Option<String>,
    /// Whether that one marks a deletion.
    pub(crate) marker: bool,
}

impl Backend {
    /// Deletes an object as its bucket does it, or one version for good.
    /// `bypass`: who may lift governance retentions says that they do not count.
    ///
    /// # Errors
    /// `AccessDenied` for a version that is locked. That there is none is no error.
    pub(crate) async fn remove(&self, name: &ObjectName, asked: Asked, bypass: bool) -> S3Result<Gone> {
        let core = self.core();
        let info = core.container_info(&name.container_name()).await.or_fault()?;
        let info = info.ok_or_else(|| s3_error!(NoSuchBucket))?;
        match (asked, Keeping::of(&info)) {
            (Asked::Id(id), _) => self.remove_version(&info, name, id, bypass).await,
            (Asked::Null, Keeping::Versions | Keeping::Suspended) => {
                self.remove_null(&info, name, bypass).await
            }
            (Asked::Current, Keeping::Versions) => {
                let marked = write::delete(core, name).await.or_fault()?;
                Ok(Gone {
                    version: Some(marked.id.to_string()),
                    marker: true,
                })
            }
            (Asked::Current, Keeping::Suspended) => self.mark_null(&info, name).await,
            (_, Keeping::Stack(location)) => {
                versions::legacy::delete_popping(core, name, &location)
                    .await
                    .or_fault()?;
                Ok(Gone::default())
            }
            (_, Keeping::History(location)) => {
                versions::legacy::delete_noted(core, name, &location)
                    .await
                    .or_fault()?;
                Ok(Gone::default())
            }
            (_, Keeping::Nothing) => {
                let upload = multipart::upload_of(self, &info, name).await?;
                core.delete_object(name, None).await.or_fault()?;
                if let Some(upload) = upload {
                    multipart::forget_parts(self, name, &upload).await;
                }
                Ok(Gone::default())
            }
        }
    }

    /// Deletes what has no version, and leaves a mark that has none either.
    async fn mark_null(&self, info: &ContainerInfo, name: &ObjectName) -> S3Result<Gone> {
        let upload = multipart::upload_of(self, info, name).await?;
        let older = self.null_of(name).await?;
        write::delete_as_null(self.core(), name).await.or_fault()?;
        if let Some(upload) = upload {
            multipart::forget_parts(self, name, &upload).await;
        }
        if let Some(older) = older {
            self.forget_version(info, name, older).await;
        }
        Ok(Gone {
            version: Some(NULL_ID.to_owned()),
            marker: true,
        })
    }

    async fn remove_null(&self, info: &ContainerInfo, name: &ObjectName, bypass: bool) -> S3Result<Gone> {
        let core = self.core();
        let stands = write::head(core, name).await.or_fault()?;
        let gone = |marker| Gone {
            version: Some(NULL_ID.to_owned()),
            marker,
        };
        let Some(stat) = stands.filter(|stat| link::of(stat).is_none()) else {
            let Some(id) = self.null_of(name).await? else {
                return Ok(gone(false));
            };
            let removed = self.remove_version(info, name, id, bypass).await?;
            return Ok(gone(removed.marker));
        };
        lock::guard(core, info, name, bypass).await.or_fault()?;
        core.delete_object(name, None).await.or_fault()?;
        write::promote(core, name, None, false).await.or_fault()?;
        if let Some(upload) = sysmeta(&stat, S3_UPLOAD) {
            self.forget_unused(name, upload).await;
        }
        Ok(gone(false))
    }

    async fn remove_version(
        &self,
        info: &ContainerInfo,
        name: &ObjectName,
        id: VersionId,
        bypass: bool,
    ) -> S3Result<Gone> {
        let core = self.core();
        let version = Some(id.to_string());
        let Some(stat) = write::head(core, &object_of(name, id)).await.or_fault()? else {
            return Ok(Gone {
                version,
                marker: false,
            });
        };
        let now = self.0.clock.now().as_secs();
        if lock::of_container(info).is_some() && Lock::of(&stat).keeps(now, bypass) {
            return Err(write::WriteError::Locked.into_fault());
        }
        write::pop(core, name, id).await.or_fault()?;
        if let Some(upload) = sysmeta(&stat, S3_UPLOAD) {
            self.forget_unused(name, upload).await;
        }
        Ok(Gone {
            version,
            marker: stat.meta.content_type == DELETED_TYPE,
        })
    }

    /// Deletes the parts of an upload that nothing is made of any more. A write
    /// that failed when what stood there had just become a version leaves two
    /// manifests over the same parts.
    async fn forget_unused(&self, name: &ObjectName, upload: &str) {
        match self.is_used(name, upload).await {
            Ok(true) => {}
            Ok(false) => multipart::forget_parts(self, name, upload).await,
            Err(error) => {
                tracing::warn!(%error, object = name.path(), "the parts of a deleted version are left")
            }
        }
    }

    async fn is_used(&self, name: &ObjectName, upload: &str) -> S3Result<bool> {
        let mut at = vec![name.clone()];
        at.extend(self.null_of(name).await?.map(|id| object_of(name, id)));
        for at in at {
            let stat = write::head(self.core(), &at).await.or_fault()?;
            if stat.is_some_and(|stat| sysmeta(&stat, S3_UPLOAD) == Some(upload)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes a version that another one without an id has replaced, with its
    /// parts. What cannot be deleted now is left and said: it is shown under
    /// the id it has in the other dialect.
    pub(crate) async fn forget_version(&self, info: &ContainerInfo, name: &ObjectName, id: VersionId) {
        let at = object_of(name, id);
        let upload = multipart::upload_of(self, info, &at).await;
        match self.core().delete_object(&at, None).await {
            Ok(_) => {
                if let Ok(Some(upload)) = upload {
                    multipart::forget_parts(self, name, &upload).await;
                }
            }
            Err(error) => tracing::warn!(%error, object = name.path(), "a replaced version is left"),
        }
    }
}

/// `DeleteObject`.
pub(crate) async fn one(
    backend: &Backend,
    req: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let name = backend
        .object(&asker, Action::Write, &input.bucket, &input.key)
        .await?;
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(s3_error!(NotImplemented));
    }
    let asked = Asked::of(input.version_id.as_deref())?;
    // Who asks for this and may not was sent away when the request was judged.
    let bypass = input.bypass_governance_retention == Some(true);
    let guard = match Expect::of(input.if_match.as_ref(), None)? {
        Some(expect) => Some(backend.expect_and_hold(&name, &expect).await?),
        None => None,
    };
    let gone = backend.remove(&name, asked, bypass).await?;
    drop(guard);
    Ok(S3Response::new(DeleteObjectOutput {
        delete_marker: gone.marker.then_some(true),
        version_id: gone.version,
        ..DeleteObjectOutput::default()
    }))
}

async fn delete_listed(
    backend: &Backend,
    asker: &Asker,
    container: &ContainerName,
    object: &ObjectIdentifier,
    bypass: bool,
) -> S3Result<Gone> {
    if object.key.len() > 1024 {
        return Err(s3_error!(KeyTooLongError));
    }
    let name = container
        .object(&object.key)
        .map_err(|_| s3_error!(MalformedXML))?;
    let version = object.version_id.as_deref().filter(|id| !id.is_empty());
    let asked = Asked::of(version).map_err(|_| s3_error!(NoSuchVersion))?;
    backend.judge_deletion(asker, &object.key, version).await?;
    let _held = match &object.e_tag {
        Some(etag) => {
            let expect = Expect::Present(Some(etag.value().to_owned()));
            Some(backend.expect_and_hold(&name, &expect).await?)
        }
        None => None,
    };
    backend.remove(&name, asked, bypass).await
}

fn deleted(object: ObjectIdentifier, gone: Gone) -> DeletedObject {
    let named = object.version_id.filter(|id| !id.is_empty());
    DeletedObject {
        key: Some(object.key),
        delete_marker: gone.marker.then_some(true),
        delete_marker_version_id: gone.version.filter(|_| gone.marker),
        version_id: named,
    }
}

/// `DeleteObjects`.
pub(crate) async fn several(
    backend: &Backend,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let (container, _): (_, Arc<ContainerInfo>) =
        backend.bucket(&asker, Action::Write, &input.bucket).await?;
    // Who asks for this and may not was sent away when the request was judged.
    let bypass = input.bypass_governance_retention == Some(true);
    let (objects, quiet) = (input.delete.objects, input.delete.quiet.unwrap_or(false));
    if objects.is_empty() || objects.len() > MOST {
        return Err(s3_error!(MalformedXML));
    }
    if objects.iter().any(|object| object.key.is_empty()) {
        return Err(fault::named(
            http::StatusCode::BAD_REQUEST,
            "UserKeyMustBeSpecified",
            "The bucket POST must contain the specified field name. If it is specified, please check the order of the fields.",
        ));
    }
    let (container, asker) = (&container, &asker);
    let one = |object: ObjectIdentifier| {
        async move {
            let done = delete_listed(backend, asker, container, &object, bypass).await;
            (object, done)
        }
        .boxed()
    };
    let work: Vec<BoxFuture<'_, _>> = objects.into_iter().map(one).collect();
    let done: Vec<_> = stream::iter(work).buffered(AT_ONCE).collect().await;
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for (object, done) in done {
        match done {
            Ok(_) if quiet => {}
            Ok(gone) => all.push(deleted(object, gone)),
            Err(error) => {
                let code = error.code().as_str().to_owned();
                let says = error.message().or_else(|| fault::sentence(&code));
                errors.push(Error {
                    message: says.map(str::to_owned),
                    code: Some(code),
                    key: Some(object.key),
                    version_id: object.version_id,
                });
            }
        }
    }
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (!all.is_empty()).then_some(all),
        errors: (!errors.is_empty()).then_some(errors),
        ..DeleteObjectsOutput::default()
    }))
}
