//! What is not kept here: it reads as "not set", in AWS's words, and headers
//! that ask for it are refused rather than ignored.
use http::HeaderMap;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Backend;
use super::access::Action;
use super::fault::not_set;

/// Refuses encryption with the client's own keys.
///
/// # Errors
/// `NotImplemented`.
pub(crate) fn refuse_client_keys(headers: &HeaderMap) -> S3Result<()> {
    let asks = |name: &str| {
        name.starts_with("x-amz-server-side-encryption-customer")
            || name.starts_with("x-amz-copy-source-server-side-encryption-customer")
    };
    match headers.keys().any(|name| asks(name.as_str())) {
        true => Err(s3_error!(
            NotImplemented,
            "Encryption with keys of the client's own is not supported here."
        )),
        false => Ok(()),
    }
}

/// Refuses what a write asks for and would not get.
///
/// # Errors
/// `NotImplemented`, `InvalidStorageClass`, `InvalidRequest`.
pub(crate) fn refuse_headers(headers: &HeaderMap) -> S3Result<()> {
    refuse_client_keys(headers)?;
    for name in headers.keys().map(http::HeaderName::as_str) {
        if name.starts_with("x-amz-server-side-encryption") {
            return Err(s3_error!(NotImplemented, "Encryption is not supported here."));
        }
        if name.starts_with("x-amz-object-lock-") {
            return Err(s3_error!(
                InvalidRequest,
                "Bucket is missing Object Lock Configuration"
            ));
        }
        if name == "x-amz-website-redirect-location" {
            return Err(s3_error!(NotImplemented, "Redirects are not supported here."));
        }
    }
    let class = headers.get("x-amz-storage-class");
    match class.is_some_and(|class| class.as_bytes() != b"STANDARD") {
        true => Err(s3_error!(InvalidStorageClass)),
        false => Ok(()),
    }
}

/// Readers of settings that no bucket has.
macro_rules! never_set {
    ($($(#[$doc:meta])* $name:ident($input:ident) -> $output:ident: $error:expr;)*) => {
        $(
            $(#[$doc])*
            pub(crate) async fn $name(
                backend: &Backend,
                req: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                let asker = backend.asker(&req).await?;
                backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
                Err($error)
            }
        )*
    };
}

never_set! {
    /// `GetBucketPolicy`.
    policy(GetBucketPolicyInput) -> GetBucketPolicyOutput: s3_error!(NoSuchBucketPolicy);
    /// `GetBucketPolicyStatus`.
    policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput: s3_error!(NoSuchBucketPolicy);
    /// `GetBucketLifecycleConfiguration`.
    lifecycle(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput:
        s3_error!(NoSuchLifecycleConfiguration);
    /// `GetBucketEncryption`.
    encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput: not_set(
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found"
    );
    /// `GetBucketReplication`.
    replication(GetBucketReplicationInput) -> GetBucketReplicationOutput: not_set(
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found"
    );
    /// `GetBucketWebsite`.
    website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput: s3_error!(NoSuchWebsiteConfiguration);
    /// `GetObjectLockConfiguration`.
    object_lock(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput: not_set(
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket"
    );
    /// `GetBucketOwnershipControls`.
    ownership(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput: not_set(
        "OwnershipControlsNotFoundError",
        "The bucket ownership controls were not found"
    );
    /// `GetPublicAccessBlock`.
    public_access(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput: not_set(
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found"
    );
}

/// Readers of settings whose document is empty where nothing is set.
macro_rules! empty {
    ($($(#[$doc:meta])* $name:ident($input:ident) -> $output:ident: $value:expr;)*) => {
        $(
            $(#[$doc])*
            pub(crate) async fn $name(
                backend: &Backend,
                req: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                let asker = backend.asker(&req).await?;
                backend.bucket(&asker, Action::List, &req.input.bucket).await?;
                Ok(S3Response::new($value))
            }
        )*
    };
}

empty! {
    /// `GetBucketVersioning`.
    versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput: GetBucketVersioningOutput::default();
    /// `GetBucketLogging`.
    logging(GetBucketLoggingInput) -> GetBucketLoggingOutput: GetBucketLoggingOutput::default();
    /// `GetBucketNotificationConfiguration`.
    notification(GetBucketNotificationConfigurationInput) -> GetBucketNotificationConfigurationOutput:
        GetBucketNotificationConfigurationOutput::default();
    /// `GetBucketAccelerateConfiguration`.
    accelerate(GetBucketAccelerateConfigurationInput) -> GetBucketAccelerateConfigurationOutput:
        GetBucketAccelerateConfigurationOutput::default();
    /// `GetBucketRequestPayment`.
    request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput:
        GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(Payer::BUCKET_OWNER)) };
}

/// Removing what is not set changes nothing.
macro_rules! nothing_to_remove {
    ($($(#[$doc:meta])* $name:ident($input:ident) -> $output:ident;)*) => {
        $(
            $(#[$doc])*
            pub(crate) async fn $name(
                backend: &Backend,
                req: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                let asker = backend.asker(&req).await?;
                backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
                Ok(S3Response::new($output::default()))
            }
        )*
    };
}

nothing_to_remove! {
    /// `DeleteBucketPolicy`.
    remove_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput;
    /// `DeleteBucketLifecycle`.
    remove_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput;
    /// `DeleteBucketEncryption`.
    remove_encryption(DeleteBucketEncryptionInput) -> DeleteBucketEncryptionOutput;
    /// `DeleteBucketReplication`.
    remove_replication(DeleteBucketReplicationInput) -> DeleteBucketReplicationOutput;
    /// `DeleteBucketWebsite`.
    remove_website(DeleteBucketWebsiteInput) -> DeleteBucketWebsiteOutput;
    /// `DeleteBucketOwnershipControls`.
    remove_ownership(DeleteBucketOwnershipControlsInput) -> DeleteBucketOwnershipControlsOutput;
    /// `DeletePublicAccessBlock`.
    remove_public_access(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput;
}
