//! DeleteObject and DeleteObjects.
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, Error,
    ObjectIdentifier,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_proxy::core::{ContainerName, ObjectName};

use crate::access::Action;
use crate::conditions::Expect;
use crate::fault::{self, OrFault};
use crate::{Backend, multipart};

/// Names in one request, as AWS allows.
const MOST: usize = 1000;
/// Deletions of one request at the same time.
const AT_ONCE: usize = 8;

impl Backend {
    /// Deletes an object, whether or not it is there, and the parts that only
    /// it was made of.
    pub(crate) async fn delete(&self, name: &ObjectName) -> S3Result<()> {
        let upload = multipart::upload_of(self, name).await?;
        self.core().delete_object(name, None).await.or_fault()?;
        if let Some(upload) = upload {
            multipart::forget_parts(self, name, &upload).await;
        }
        Ok(())
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
    let guard = match Expect::of(input.if_match.as_ref(), None)? {
        Some(expect) => backend.expect_and_hold(&name, &expect).await?,
        None => None,
    };
    // Of another version than the only one there is nothing.
    if matches!(input.version_id.as_deref(), None | Some("" | "null")) {
        backend.delete(&name).await?;
    }
    drop(guard);
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

async fn delete_listed(
    backend: &Backend,
    container: &ContainerName,
    object: &ObjectIdentifier,
) -> S3Result<()> {
    if object.key.len() > 1024 {
        return Err(s3_error!(KeyTooLongError));
    }
    let name = container
        .object(&object.key)
        .map_err(|_| s3_error!(MalformedXML))?;
    if let Some(etag) = &object.e_tag {
        let expect = Expect::Present(Some(etag.value().to_owned()));
        let _held = backend.expect_and_hold(&name, &expect).await?;
        return backend.delete(&name).await;
    }
    match object.version_id.as_deref() {
        None | Some("" | "null") => backend.delete(&name).await,
        Some(_) => Err(s3_error!(NoSuchVersion)),
    }
}

/// `DeleteObjects`.
pub(crate) async fn several(
    backend: &Backend,
    req: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let (container, _) = backend.bucket(&asker, Action::Write, &input.bucket).await?;
    let (objects, quiet) = (input.delete.objects, input.delete.quiet.unwrap_or(false));
    if objects.is_empty() || objects.len() > MOST {
        return Err(s3_error!(MalformedXML));
    }
    let container = &container;
    let one = |object: ObjectIdentifier| {
        async move {
            let done = delete_listed(backend, container, &object).await;
            (object, done)
        }
        .boxed()
    };
    let work: Vec<BoxFuture<'_, _>> = objects.into_iter().map(one).collect();
    let done: Vec<_> = stream::iter(work).buffered(AT_ONCE).collect().await;
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (object, done) in done {
        match done {
            Ok(()) if quiet => {}
            Ok(()) => deleted.push(DeletedObject {
                key: Some(object.key),
                version_id: object.version_id,
                ..DeletedObject::default()
            }),
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
        deleted: (!deleted.is_empty()).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..DeleteObjectsOutput::default()
    }))
}
