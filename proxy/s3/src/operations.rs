//! Which operations there are, where each is done, and what each is called where
//! permissions are given: no operation begins before [`Backend::admit`] has
//! judged it by its row. What is not in this table answers `NotImplemented`.
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::access::Place;
use super::object::{attributes, copy, delete, read, write};
use super::{
    Backend, acl, bucket, cors, encryption, lifecycle, listing, lock, multipart, policy, public, tagging,
    unset, versioning,
};

/// What an operation is done to.
macro_rules! place {
    (account, $input:expr) => {
        Place::Account
    };
    (new, $input:expr) => {
        Place::New($input.bucket.clone())
    };
    (bucket, $input:expr) => {
        Place::Bucket($input.bucket.clone())
    };
    (batch, $input:expr) => {
        Place::Batch($input.bucket.clone())
    };
    (object, $input:expr) => {
        Place::Object($input.bucket.clone(), $input.key.clone())
    };
}

/// Gives an operation the bare name of its bucket.
macro_rules! name {
    (account, $input:expr, $bucket:expr) => {};
    ($kind:ident, $input:expr, $bucket:expr) => {
        $input.bucket = $bucket
    };
}

macro_rules! operations {
    ($($name:ident($input:ident) -> $output:ident = $done:path, $action:literal on $kind:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Backend {
            $(
                async fn $name(&self, mut req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    let place = place!($kind, req.input);
                    let (_bucket, sight) = self.admit(&mut req, $action, place).await?;
                    name!($kind, req.input, _bucket);
                    $done(self, req).await.map_err(|error| sight.of(error))
                }
            )*
        }

        /// Every operation and the action that it is judged by.
        pub const OPERATIONS: &[(&str, &str)] = &[$((stringify!($name), $action)),*];

        /// Operations, their actions, and who does them.
        #[cfg(test)]
        pub(crate) const TABLE: &[(&str, &str, &str)] = &[$((stringify!($name), $action, stringify!($done))),*];
    };
}

operations! {
    list_buckets(ListBucketsInput) -> ListBucketsOutput = bucket::list, "s3:ListAllMyBuckets" on account;
    create_bucket(CreateBucketInput) -> CreateBucketOutput = bucket::create, "s3:CreateBucket" on new;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = bucket::delete, "s3:DeleteBucket" on bucket;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = bucket::head, "s3:ListBucket" on bucket;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = bucket::location, "s3:GetBucketLocation" on bucket;
    list_objects(ListObjectsInput) -> ListObjectsOutput = listing::first, "s3:ListBucket" on bucket;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = listing::second, "s3:ListBucket" on bucket;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = versioning::list::versions, "s3:ListBucketVersions" on bucket;
    get_object(GetObjectInput) -> GetObjectOutput = read::get, "s3:GetObject" on object;
    head_object(HeadObjectInput) -> HeadObjectOutput = read::head, "s3:GetObject" on object;
    put_object(PutObjectInput) -> PutObjectOutput = write::put, "s3:PutObject" on object;
    copy_object(CopyObjectInput) -> CopyObjectOutput = copy::copy, "s3:PutObject" on object;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = delete::one, "s3:DeleteObject" on object;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = delete::several, "s3:DeleteObject" on batch;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput = attributes::get, "s3:GetObjectAttributes" on object;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = multipart::create, "s3:PutObject" on object;
    upload_part(UploadPartInput) -> UploadPartOutput = multipart::parts::upload, "s3:PutObject" on object;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = multipart::parts::copy, "s3:PutObject" on object;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput =
        multipart::complete::complete, "s3:PutObject" on object;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = multipart::abort, "s3:AbortMultipartUpload" on object;
    list_parts(ListPartsInput) -> ListPartsOutput = multipart::parts::list, "s3:ListMultipartUploadParts" on object;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = multipart::list::uploads, "s3:ListBucketMultipartUploads" on bucket;
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput = acl::get_of_bucket, "s3:GetBucketAcl" on bucket;
    put_bucket_acl(PutBucketAclInput) -> PutBucketAclOutput = acl::put_of_bucket, "s3:PutBucketAcl" on bucket;
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput = acl::get_of_object, "s3:GetObjectAcl" on object;
    put_object_acl(PutObjectAclInput) -> PutObjectAclOutput = acl::put_of_object, "s3:PutObjectAcl" on object;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = tagging::get, "s3:GetObjectTagging" on object;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput = tagging::put, "s3:PutObjectTagging" on object;
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput = tagging::delete, "s3:DeleteObjectTagging" on object;
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput = tagging::get_of_bucket, "s3:GetBucketTagging" on bucket;
    put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput = tagging::put_of_bucket, "s3:PutBucketTagging" on bucket;
    delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput = tagging::delete_of_bucket, "s3:PutBucketTagging" on bucket;
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput = cors::get, "s3:GetBucketCORS" on bucket;
    put_bucket_cors(PutBucketCorsInput) -> PutBucketCorsOutput = cors::put, "s3:PutBucketCORS" on bucket;
    delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput = cors::delete, "s3:PutBucketCORS" on bucket;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = versioning::get, "s3:GetBucketVersioning" on bucket;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = versioning::put, "s3:PutBucketVersioning" on bucket;
    put_object_lock_configuration(PutObjectLockConfigurationInput) -> PutObjectLockConfigurationOutput =
        lock::bucket::put, "s3:PutBucketObjectLockConfiguration" on bucket;
    get_object_retention(GetObjectRetentionInput) -> GetObjectRetentionOutput = lock::version::get_retention, "s3:GetObjectRetention" on object;
    put_object_retention(PutObjectRetentionInput) -> PutObjectRetentionOutput = lock::version::put_retention, "s3:PutObjectRetention" on object;
    get_object_legal_hold(GetObjectLegalHoldInput) -> GetObjectLegalHoldOutput = lock::version::get_hold, "s3:GetObjectLegalHold" on object;
    put_object_legal_hold(PutObjectLegalHoldInput) -> PutObjectLegalHoldOutput = lock::version::put_hold, "s3:PutObjectLegalHold" on object;
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput = unset::logging, "s3:GetBucketLogging" on bucket;
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput)
        -> GetBucketNotificationConfigurationOutput = unset::notification, "s3:GetBucketNotification" on bucket;
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput)
        -> GetBucketAccelerateConfigurationOutput = unset::accelerate, "s3:GetAccelerateConfiguration" on bucket;
    get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput =
        unset::request_payment, "s3:GetBucketRequestPayment" on bucket;
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput = policy::settings::get, "s3:GetBucketPolicy" on bucket;
    get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput =
        policy::settings::status, "s3:GetBucketPolicyStatus" on bucket;
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput = lifecycle::configuration::get, "s3:GetLifecycleConfiguration" on bucket;
    put_bucket_lifecycle_configuration(PutBucketLifecycleConfigurationInput)
        -> PutBucketLifecycleConfigurationOutput = lifecycle::configuration::put, "s3:PutLifecycleConfiguration" on bucket;
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput = encryption::configuration::get, "s3:GetEncryptionConfiguration" on bucket;
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput = unset::replication, "s3:GetReplicationConfiguration" on bucket;
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput = unset::website, "s3:GetBucketWebsite" on bucket;
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput =
        lock::bucket::get, "s3:GetBucketObjectLockConfiguration" on bucket;
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput =
        public::get_ownership, "s3:GetBucketOwnershipControls" on bucket;
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput = public::get_block, "s3:GetBucketPublicAccessBlock" on bucket;
    delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput = policy::settings::delete, "s3:DeleteBucketPolicy" on bucket;
    delete_bucket_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput =
        lifecycle::configuration::delete, "s3:PutLifecycleConfiguration" on bucket;
    delete_bucket_encryption(DeleteBucketEncryptionInput) -> DeleteBucketEncryptionOutput =
        encryption::configuration::delete, "s3:PutEncryptionConfiguration" on bucket;
    delete_bucket_replication(DeleteBucketReplicationInput) -> DeleteBucketReplicationOutput =
        unset::remove_replication, "s3:PutReplicationConfiguration" on bucket;
    delete_bucket_website(DeleteBucketWebsiteInput) -> DeleteBucketWebsiteOutput = unset::remove_website, "s3:DeleteBucketWebsite" on bucket;
    delete_bucket_ownership_controls(DeleteBucketOwnershipControlsInput)
        -> DeleteBucketOwnershipControlsOutput = public::delete_ownership, "s3:DeleteBucketOwnershipControls" on bucket;
    delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput =
        public::delete_block, "s3:DeleteBucketPublicAccessBlock" on bucket;
    put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput = policy::settings::put, "s3:PutBucketPolicy" on bucket;
    put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput =
        public::put_ownership, "s3:PutBucketOwnershipControls" on bucket;
    put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput = public::put_block, "s3:PutBucketPublicAccessBlock" on bucket;
    put_bucket_request_payment(PutBucketRequestPaymentInput) -> PutBucketRequestPaymentOutput =
        public::put_payment, "s3:PutBucketRequestPayment" on bucket;
    put_bucket_encryption(PutBucketEncryptionInput) -> PutBucketEncryptionOutput = encryption::configuration::put, "s3:PutEncryptionConfiguration" on bucket;
    put_bucket_website(PutBucketWebsiteInput) -> PutBucketWebsiteOutput = unset::put_website, "s3:PutBucketWebsite" on bucket;
    put_bucket_logging(PutBucketLoggingInput) -> PutBucketLoggingOutput = unset::put_logging, "s3:PutBucketLogging" on bucket;
    put_bucket_notification_configuration(PutBucketNotificationConfigurationInput)
        -> PutBucketNotificationConfigurationOutput = unset::put_notification, "s3:PutBucketNotification" on bucket;
    put_bucket_replication(PutBucketReplicationInput) -> PutBucketReplicationOutput = unset::put_replication, "s3:PutReplicationConfiguration" on bucket;
    put_bucket_accelerate_configuration(PutBucketAccelerateConfigurationInput)
        -> PutBucketAccelerateConfigurationOutput = unset::put_accelerate, "s3:PutAccelerateConfiguration" on bucket;
    get_bucket_inventory_configuration(GetBucketInventoryConfigurationInput)
        -> GetBucketInventoryConfigurationOutput = unset::inventory, "s3:GetInventoryConfiguration" on bucket;
    list_bucket_inventory_configurations(ListBucketInventoryConfigurationsInput)
        -> ListBucketInventoryConfigurationsOutput = unset::inventories, "s3:GetInventoryConfiguration" on bucket;
    put_bucket_inventory_configuration(PutBucketInventoryConfigurationInput)
        -> PutBucketInventoryConfigurationOutput = unset::put_inventory, "s3:PutInventoryConfiguration" on bucket;
    delete_bucket_inventory_configuration(DeleteBucketInventoryConfigurationInput)
        -> DeleteBucketInventoryConfigurationOutput = unset::remove_inventory, "s3:PutInventoryConfiguration" on bucket;
    get_bucket_analytics_configuration(GetBucketAnalyticsConfigurationInput)
        -> GetBucketAnalyticsConfigurationOutput = unset::analytics, "s3:GetAnalyticsConfiguration" on bucket;
    list_bucket_analytics_configurations(ListBucketAnalyticsConfigurationsInput)
        -> ListBucketAnalyticsConfigurationsOutput = unset::analyses, "s3:GetAnalyticsConfiguration" on bucket;
    put_bucket_analytics_configuration(PutBucketAnalyticsConfigurationInput)
        -> PutBucketAnalyticsConfigurationOutput = unset::put_analytics, "s3:PutAnalyticsConfiguration" on bucket;
    delete_bucket_analytics_configuration(DeleteBucketAnalyticsConfigurationInput)
        -> DeleteBucketAnalyticsConfigurationOutput = unset::remove_analytics, "s3:PutAnalyticsConfiguration" on bucket;
    get_bucket_metrics_configuration(GetBucketMetricsConfigurationInput)
        -> GetBucketMetricsConfigurationOutput = unset::metrics, "s3:GetMetricsConfiguration" on bucket;
    list_bucket_metrics_configurations(ListBucketMetricsConfigurationsInput)
        -> ListBucketMetricsConfigurationsOutput = unset::all_metrics, "s3:GetMetricsConfiguration" on bucket;
    put_bucket_metrics_configuration(PutBucketMetricsConfigurationInput)
        -> PutBucketMetricsConfigurationOutput = unset::put_metrics, "s3:PutMetricsConfiguration" on bucket;
    delete_bucket_metrics_configuration(DeleteBucketMetricsConfigurationInput)
        -> DeleteBucketMetricsConfigurationOutput = unset::remove_metrics, "s3:PutMetricsConfiguration" on bucket;
    get_bucket_intelligent_tiering_configuration(GetBucketIntelligentTieringConfigurationInput)
        -> GetBucketIntelligentTieringConfigurationOutput = unset::tiering, "s3:GetIntelligentTieringConfiguration" on bucket;
    list_bucket_intelligent_tiering_configurations(ListBucketIntelligentTieringConfigurationsInput)
        -> ListBucketIntelligentTieringConfigurationsOutput = unset::tierings, "s3:GetIntelligentTieringConfiguration" on bucket;
    put_bucket_intelligent_tiering_configuration(PutBucketIntelligentTieringConfigurationInput)
        -> PutBucketIntelligentTieringConfigurationOutput = unset::put_tiering, "s3:PutIntelligentTieringConfiguration" on bucket;
    delete_bucket_intelligent_tiering_configuration(DeleteBucketIntelligentTieringConfigurationInput)
        -> DeleteBucketIntelligentTieringConfigurationOutput = unset::remove_tiering, "s3:PutIntelligentTieringConfiguration" on bucket;
    select_object_content(SelectObjectContentInput) -> SelectObjectContentOutput = unset::select, "s3:GetObject" on object;
    restore_object(RestoreObjectInput) -> RestoreObjectOutput = unset::restore, "s3:RestoreObject" on object;
}
