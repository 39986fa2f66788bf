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

/// Operations that all begin alike: the bucket is looked up for what they do,
/// and the answer is known from the request alone.
macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident($input:ident) -> $output:ident, $action:ident: $answer:expr;)*) => {
        $(
            $(#[$doc])*
            pub(crate) async fn $name(
                backend: &Backend,
                req: S3Request<$input>,
            ) -> S3Result<S3Response<$output>> {
                let asker = backend.asker(&req).await?;
                backend.bucket(&asker, Action::$action, &req.input.bucket).await?;
                let answer: fn(&$input) -> S3Result<$output> = $answer;
                answer(&req.input).map(S3Response::new)
            }
        )*
    };
}

// Settings that no bucket has, and that it cannot be given.
answers! {
    /// `GetBucketReplication`.
    replication(GetBucketReplicationInput) -> GetBucketReplicationOutput, Read:
        |_| Err(not_set(
            "ReplicationConfigurationNotFoundError",
            "The replication configuration was not found"
        ));
    /// `GetBucketWebsite`.
    website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput, Read:
        |_| Err(s3_error!(NoSuchWebsiteConfiguration));
    /// `GetBucketInventoryConfiguration`.
    inventory(GetBucketInventoryConfigurationInput) -> GetBucketInventoryConfigurationOutput, Read:
        |_| Err(no_such());
    /// `GetBucketAnalyticsConfiguration`.
    analytics(GetBucketAnalyticsConfigurationInput) -> GetBucketAnalyticsConfigurationOutput, Read:
        |_| Err(no_such());
    /// `GetBucketMetricsConfiguration`.
    metrics(GetBucketMetricsConfigurationInput) -> GetBucketMetricsConfigurationOutput, Read:
        |_| Err(no_such());
    /// `GetBucketIntelligentTieringConfiguration`.
    tiering(GetBucketIntelligentTieringConfigurationInput)
        -> GetBucketIntelligentTieringConfigurationOutput, Read: |_| Err(no_such());
    /// `DeleteBucketInventoryConfiguration`.
    remove_inventory(DeleteBucketInventoryConfigurationInput) -> DeleteBucketInventoryConfigurationOutput, Read:
        |_| Err(no_such());
    /// `DeleteBucketAnalyticsConfiguration`.
    remove_analytics(DeleteBucketAnalyticsConfigurationInput) -> DeleteBucketAnalyticsConfigurationOutput, Read:
        |_| Err(no_such());
    /// `DeleteBucketMetricsConfiguration`.
    remove_metrics(DeleteBucketMetricsConfigurationInput) -> DeleteBucketMetricsConfigurationOutput, Read:
        |_| Err(no_such());
    /// `DeleteBucketIntelligentTieringConfiguration`.
    remove_tiering(DeleteBucketIntelligentTieringConfigurationInput)
        -> DeleteBucketIntelligentTieringConfigurationOutput, Read: |_| Err(no_such());
    /// `PutBucketWebsite`.
    put_website(PutBucketWebsiteInput) -> PutBucketWebsiteOutput, Read:
        |_| Err(s3_error!(
            NotImplemented,
            "S3 serves no websites here. Swift does: see X-Container-Meta-Web-Index."
        ));
    /// `PutBucketReplication`.
    put_replication(PutBucketReplicationInput) -> PutBucketReplicationOutput, Read:
        |_| Err(s3_error!(
            NotImplemented,
            "Buckets are not replicated to other buckets here; each object has its replicas in this cloud."
        ));
    /// `PutBucketInventoryConfiguration`.
    put_inventory(PutBucketInventoryConfigurationInput) -> PutBucketInventoryConfigurationOutput, Read:
        |_| Err(s3_error!(NotImplemented, "There are no inventory reports here: list the bucket."));
    /// `PutBucketAnalyticsConfiguration`.
    put_analytics(PutBucketAnalyticsConfigurationInput) -> PutBucketAnalyticsConfigurationOutput, Read:
        |_| Err(s3_error!(NotImplemented, "Storage classes are not analysed here: there is one."));
    /// `PutBucketMetricsConfiguration`.
    put_metrics(PutBucketMetricsConfigurationInput) -> PutBucketMetricsConfigurationOutput, Read:
        |_| Err(s3_error!(NotImplemented, "There are no metrics of single buckets here."));
    /// `PutBucketIntelligentTieringConfiguration`.
    put_tiering(PutBucketIntelligentTieringConfigurationInput)
        -> PutBucketIntelligentTieringConfigurationOutput, Read:
        |_| Err(s3_error!(NotImplemented, "Objects are not moved between tiers here: there is one."));
    /// `SelectObjectContent`, which AWS offers to nobody new either.
    select(SelectObjectContentInput) -> SelectObjectContentOutput, Read: |_| Err(s3_error!(MethodNotAllowed));
}

fn no_such() -> S3Error {
    not_set(
        "NoSuchConfiguration",
        "The specified configuration does not exist.",
    )
}

// Readers of settings whose document is empty where nothing is set.
answers! {
    /// `GetBucketLogging`.
    logging(GetBucketLoggingInput) -> GetBucketLoggingOutput, List: |_| Ok(Default::default());
    /// `GetBucketNotificationConfiguration`.
    notification(GetBucketNotificationConfigurationInput) -> GetBucketNotificationConfigurationOutput, List:
        |_| Ok(Default::default());
    /// `GetBucketAccelerateConfiguration`.
    accelerate(GetBucketAccelerateConfigurationInput) -> GetBucketAccelerateConfigurationOutput, List:
        |_| Ok(Default::default());
    /// `GetBucketRequestPayment`.
    request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput, List:
        |_| Ok(GetBucketRequestPaymentOutput { payer: Some(Payer::from_static(Payer::BUCKET_OWNER)) });
    /// `ListBucketInventoryConfigurations`.
    inventories(ListBucketInventoryConfigurationsInput) -> ListBucketInventoryConfigurationsOutput, List:
        |_| Ok(ListBucketInventoryConfigurationsOutput { is_truncated: Some(false), ..Default::default() });
    /// `ListBucketAnalyticsConfigurations`.
    analyses(ListBucketAnalyticsConfigurationsInput) -> ListBucketAnalyticsConfigurationsOutput, List:
        |_| Ok(ListBucketAnalyticsConfigurationsOutput { is_truncated: Some(false), ..Default::default() });
    /// `ListBucketMetricsConfigurations`.
    all_metrics(ListBucketMetricsConfigurationsInput) -> ListBucketMetricsConfigurationsOutput, List:
        |_| Ok(ListBucketMetricsConfigurationsOutput { is_truncated: Some(false), ..Default::default() });
    /// `ListBucketIntelligentTieringConfigurations`.
    tierings(ListBucketIntelligentTieringConfigurationsInput)
        -> ListBucketIntelligentTieringConfigurationsOutput, List:
        |_| Ok(ListBucketIntelligentTieringConfigurationsOutput {
            is_truncated: Some(false),
            ..Default::default()
        });
}

// Switching off what is off is done; switching it on is not possible.
answers! {
    /// `PutBucketLogging`.
    put_logging(PutBucketLoggingInput) -> PutBucketLoggingOutput, Own:
        |input| off_or(
            input.bucket_logging_status.logging_enabled.is_none(),
            "Requests to a bucket are not logged into another here."
        );
    /// `PutBucketNotificationConfiguration`.
    put_notification(PutBucketNotificationConfigurationInput) -> PutBucketNotificationConfigurationOutput, Own:
        |input| off_or(
            notifies_nobody(&input.notification_configuration),
            "Buckets notify nobody of what happens in them here."
        );
    /// `PutBucketAccelerateConfiguration`.
    put_accelerate(PutBucketAccelerateConfigurationInput) -> PutBucketAccelerateConfigurationOutput, Own:
        |input| off_or(
            input.accelerate_configuration.status.as_ref()
                .is_none_or(|status| status.as_str() == BucketAccelerateStatus::SUSPENDED),
            "There is no transfer acceleration here."
        );
}

/// The empty answer where what is asked for is off.
fn off_or<T: Default>(off: bool, refusal: &'static str) -> S3Result<T> {
    match off {
        true => Ok(T::default()),
        false => Err(s3_error!(NotImplemented, "{refusal}")),
    }
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

// Removing what is not set changes nothing.
answers! {
    /// `DeleteBucketReplication`.
    remove_replication(DeleteBucketReplicationInput) -> DeleteBucketReplicationOutput, Own:
        |_| Ok(Default::default());
    /// `DeleteBucketWebsite`.
    remove_website(DeleteBucketWebsiteInput) -> DeleteBucketWebsiteOutput, Own: |_| Ok(Default::default());
}
