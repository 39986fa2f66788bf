//! Versions of objects: switching them on and off, and listing them.
//!
//! They are those of the other dialect (`X-Versions-Enabled`), so both see the
//! same. Where S3 means something else it is done here and in
//! [`super::object`]: what is stored while no versions are kept is `null`, and
//! who deletes the current version gets the one before it back.
pub(crate) mod list;
mod page;

use s3s::dto::{
    BucketVersioningStatus, GetBucketVersioningInput, GetBucketVersioningOutput, MFADelete,
    PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use virga_proxy::swift::versions::{ENABLED, Keeping, container, lock};

use super::Backend;
use super::access::Action;
use super::fault::{OrFault, invalid_state, named};

/// `GetBucketVersioning`.
pub(crate) async fn get(
    backend: &Backend,
    req: S3Request<GetBucketVersioningInput>,
) -> S3Result<S3Response<GetBucketVersioningOutput>> {
    let asker = backend.asker(&req).await?;
    let (_, info) = backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
    let status = match Keeping::of(&info) {
        Keeping::Versions => Some(BucketVersioningStatus::ENABLED),
        Keeping::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        Keeping::Nothing | Keeping::Stack(_) | Keeping::History(_) => None,
    };
    Ok(S3Response::new(GetBucketVersioningOutput {
        status: status.map(BucketVersioningStatus::from_static),
        ..GetBucketVersioningOutput::default()
    }))
}

/// `PutBucketVersioning`.
pub(crate) async fn put(
    backend: &Backend,
    req: S3Request<PutBucketVersioningInput>,
) -> S3Result<S3Response<PutBucketVersioningOutput>> {
    let asker = backend.asker(&req).await?;
    let input = req.input;
    let (name, info) = backend.bucket(&asker, Action::Own, &input.bucket).await?;
    let wanted = input.versioning_configuration;
    let on = match wanted.status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => true,
        Some(BucketVersioningStatus::SUSPENDED) => false,
        Some(_) => return Err(s3_error!(MalformedXML)),
        None => {
            return Err(named(
                http::StatusCode::BAD_REQUEST,
                "IllegalVersioningConfigurationException",
                "The Versioning element must be specified",
            ));
        }
    };
    if wanted
        .mfa_delete
        .is_some_and(|mfa| mfa.as_str() == MFADelete::ENABLED)
    {
        return Err(s3_error!(NotImplemented, "MFA delete is not supported here."));
    }
    if matches!(Keeping::of(&info), Keeping::Stack(_) | Keeping::History(_)) {
        return Err(invalid_state(
            "Swift clients keep copies of what is overwritten here (X-Versions-Location). Remove that first.",
        ));
    }
    if !on && lock::of_container(&info).is_some() {
        return Err(invalid_state(
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
        ));
    }
    if on {
        container::make(backend.core(), &name, Some(info.policy))
            .await
            .or_fault()?;
    }
    let change = vec![(ENABLED.to_owned(), on.to_string())];
    backend.core().post_container(&name, change).await.or_fault()?;
    Ok(S3Response::new(PutBucketVersioningOutput::default()))
}
