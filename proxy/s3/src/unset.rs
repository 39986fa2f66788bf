//! What is not kept here: it reads as "not set", in AWS's words, can be switched
//! off where AWS has a document for that, and is refused rather than ignored
//! where somebody asks for it.
use http::{HeaderMap, StatusCode};
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::Backend;
use super::access::Action;
use super::fault::{named, not_set};
use super::object::find::Asked;

/// Refuses what a write asks for and would not get.
///
/// # Errors
/// `NotImplemented`, `InvalidStorageClass`.
pub(crate) fn refuse_headers(headers: &HeaderMap) -> S3Result<()> {
    if headers.contains_key("x-amz-website-redirect-location") {
        return Err(s3_error!(NotImplemented, "Redirects are not supported here."));
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
                backend.bucket(&asker, Action::Read, &req.input.bucket).await?;
                Err($error)
            }
        )*
    };
}

never_set! {
    /// `GetBucketReplication`.
    replication(GetBucketReplicationInput) -> GetBucketReplicationOutput: not_set(
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found"
    );
    /// `GetBucketWebsite`.
    website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput: s3_error!(NoSuchWebsiteConfiguration);
    /// `GetBucketInventoryConfiguration`.
    inventory(GetBucketInventoryConfigurationInput) -> GetBucketInventoryConfigurationOutput: no_such();
    /// `GetBucketAnalyticsConfiguration`.
    analytics(GetBucketAnalyticsConfigurationInput) -> GetBucketAnalyticsConfigurationOutput: no_such();
    /// `GetBucketMetricsConfiguration`.
    metrics(GetBucketMetricsConfigurationInput) -> GetBucketMetricsConfigurationOutput: no_such();
    /// `GetBucketIntelligentTieringConfiguration`.
    tiering(GetBucketIntelligentTieringConfigurationInput) -> GetBucketIntelligentTieringConfigurationOutput:
        no_such();
    /// `DeleteBucketInventoryConfiguration`.
    remove_inventory(DeleteBucketInventoryConfigurationInput) -> DeleteBucketInventoryConfigurationOutput:
        no_such();
    /// `DeleteBucketAnalyticsConfiguration`.
    remove_analytics(DeleteBucketAnalyticsConfigurationInput) -> DeleteBucketAnalyticsConfigurationOutput:
        no_such();
    /// `DeleteBucketMetricsConfiguration`.
    remove_metrics(DeleteBucketMetricsConfigurationInput) -> DeleteBucketMetricsConfigurationOutput:
        no_such();
    /// `DeleteBucketIntelligentTieringConfiguration`.
    remove_tiering(DeleteBucketIntelligentTieringConfigurationInput)
        -> DeleteBucketIntelligentTieringConfigurationOutput: no_such();
    /// `PutBucketWebsite`.
    put_website(PutBucketWebsiteInput) -> PutBucketWebsiteOutput: s3_error!(
        NotImplemented,
        "S3 serves no websites here. Swift does: see X-Container-Meta-Web-Index."
    );
    /// `PutBucketReplication`.
    put_replication(PutBucketReplicationInput) -> PutBucketReplicationOutput: s3_error!(
        NotImplemented,
        "Buckets are not replicated to other buckets here; each object has its replicas in this cloud."
    );
    /// `PutBucketInventoryConfiguration`.
    put_inventory(PutBucketInventoryConfigurationInput) -> PutBucketInventoryConfigurationOutput:
        s3_error!(NotImplemented, "There are no inventory reports here: list the bucket.");
    /// `PutBucketAnalyticsConfiguration`.
    put_analytics(PutBucketAnalyticsConfigurationInput) -> PutBucketAnalyticsConfigurationOutput:
        s3_error!(NotImplemented, "Storage classes are not analysed here: there is one.");
    /// `PutBucketMetricsConfiguration`.
    put_metrics(PutBucketMetricsConfigurationInput) -> PutBucketMetricsConfigurationOutput:
        s3_error!(NotImplemented, "There are no metrics of single buckets here.");
    /// `PutBucketIntelligentTieringConfiguration`.
    put_tiering(PutBucketIntelligentTieringConfigurationInput)
        -> PutBucketIntelligentTieringConfigurationOutput:
        s3_error!(NotImplemented, "Objects are not moved between tiers here: there is one.");
    /// `SelectObjectContent`, which AWS offers to nobody new either.
    select(SelectObjectContentInput) -> SelectObjectContentOutput: s3_error!(MethodNotAllowed);
}

fn no_such() -> S3Error {
    not_set(
        "NoSuchConfiguration",
        "The specified configuration does not exist.",
    )
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
    /// `ListBucketInventoryConfigurations`.
    inventories(ListBucketInventoryConfigurationsInput) -> ListBucketInventoryConfigurationsOutput:
        ListBucketInventoryConfigurationsOutput {
            is_truncated: Some(false),
            ..ListBucketInventoryConfigurationsOutput::default()
        };
    /// `ListBucketAnalyticsConfigurations`.
    analyses(ListBucketAnalyticsConfigurationsInput) -> ListBucketAnalyticsConfigurationsOutput:
        ListBucketAnalyticsConfigurationsOutput {
            is_truncated: Some(false),
            ..ListBucketAnalyticsConfigurationsOutput::default()
        };
    /// `ListBucketMetricsConfigurations`.
    all_metrics(ListBucketMetricsConfigurationsInput) -> ListBucketMetricsConfigurationsOutput:
        ListBucketMetricsConfigurationsOutput {
            is_truncated: Some(false),
            ..ListBucketMetricsConfigurationsOutput::default()
        };
    /// `ListBucketIntelligentTieringConfigurations`.
    tierings(ListBucketIntelligentTieringConfigurationsInput)
        -> ListBucketIntelligentTieringConfigurationsOutput:
        ListBucketIntelligentTieringConfigurationsOutput {
            is_truncated: Some(false),
            ..ListBucketIntelligentTieringConfigurationsOutput::default()
        };
}

/// Switching off what is off is done; switching it on is not possible.
macro_rules! off_only {
    ($($(#[$doc:meta])* $name:ident($input:ident) -> $output:ident: $off:expr, $refusal:literal;)*) => {
        $(
            $(#[$doc])*
            pub(crate) async fn $name(
                backend: &Backend,
                req: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                let asker = backend.asker(&req).await?;
                backend.bucket(&asker, Action::Own, &req.input.bucket).await?;
                let off: fn(&$input) -> bool = $off;
                match off(&req.input) {
                    true => Ok(S3Response::new($output::default())),
                    false => Err(s3_error!(NotImplemented, $refusal)),
                }
            }
        )*
    };
}

off_only! {
    /// `PutBucketLogging`.
    put_logging(PutBucketLoggingInput) -> PutBucketLoggingOutput:
        |input| input.bucket_logging_status.logging_enabled.is_none(),
        "Requests to a bucket are not logged into another here.";
    /// `PutBucketNotificationConfiguration`.
    put_notification(PutBucketNotificationConfigurationInput) -> PutBucketNotificationConfigurationOutput:
        |input| notifies_nobody(&input.notification_configuration),
        "Buckets notify nobody of what happens in them here.";
    /// `PutBucketAccelerateConfiguration`.
    put_accelerate(PutBucketAccelerateConfigurationInput) -> PutBucketAccelerateConfigurationOutput:
        |input| input.accelerate_configuration.status.as_ref()
            .is_none_or(|status| status.as_str() == BucketAccelerateStatus::SUSPENDED),
        "There is no transfer acceleration here.";
}

fn notifies_nobody(asked: &NotificationConfiguration) -> bool {
    let none = |count: Option<usize>| count.is_none_or(|count| count == 0);
    asked.event_bridge_configuration.is_none()
        && none(asked.lambda_function_configurations.as_ref().map(Vec::len))
        && none(asked.queue_configurations.as_ref().map(Vec::len))
        && none(asked.topic_configurations.as_ref().map(Vec::len))
}

/// `RestoreObject`: no object is in a class that it would have to be restored
/// from.
pub(crate) async fn restore(
    backend: &Backend,
    req: S3Request<RestoreObjectInput>,
) -> S3Result<S3Response<RestoreObjectOutput>> {
    let asker = backend.asker(&req).await?;
    let input = &req.input;
    let name = backend
        .object(&asker, Action::Write, &input.bucket, &input.key)
        .await?;
    let asked = Asked::of(input.version_id.as_deref())?;
    backend.find(&name, asked, None).await?;
    Err(named(
        StatusCode::FORBIDDEN,
        "InvalidObjectState",
        "Restore is not allowed for the object's current storage class",
    ))
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
    /// `DeleteBucketReplication`.
    remove_replication(DeleteBucketReplicationInput) -> DeleteBucketReplicationOutput;
    /// `DeleteBucketWebsite`.
    remove_website(DeleteBucketWebsiteInput) -> DeleteBucketWebsiteOutput;
}
