//! What operations are called where permissions are given: AWS's actions, and
//! the permission of an access list that covers each.
//!
//! Every row of [`crate::operations`] names its action; a test holds the rows
//! against this list.
use virga_proxy::swift::actions;
use virga_proxy::swift::config::Config as SwiftConfig;

/// Actions that policies may name. AWS's, less those of its own services.
pub(crate) const ACTIONS: [&str; 78] = [
    "s3:AbortMultipartUpload",
    "s3:BypassGovernanceRetention",
    "s3:CreateBucket",
    "s3:DeleteBucket",
    "s3:DeleteBucketOwnershipControls",
    "s3:DeleteBucketPolicy",
    "s3:DeleteBucketPublicAccessBlock",
    "s3:DeleteBucketWebsite",
    "s3:DeleteObject",
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersion",
    "s3:DeleteObjectVersionTagging",
    "s3:GetAccelerateConfiguration",
    "s3:GetAnalyticsConfiguration",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLocation",
    "s3:GetBucketLogging",
    "s3:GetBucketNotification",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPolicyStatus",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketRequestPayment",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetBucketWebsite",
    "s3:GetEncryptionConfiguration",
    "s3:GetIntelligentTieringConfiguration",
    "s3:GetInventoryConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetMetricsConfiguration",
    "s3:GetObject",
    "s3:GetObjectAcl",
    "s3:GetObjectAttributes",
    "s3:GetObjectLegalHold",
    "s3:GetObjectRetention",
    "s3:GetObjectTagging",
    "s3:GetObjectTorrent",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionAttributes",
    "s3:GetObjectVersionTagging",
    "s3:GetReplicationConfiguration",
    "s3:ListAllMyBuckets",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
    "s3:ListMultipartUploadParts",
    "s3:PutAccelerateConfiguration",
    "s3:PutAnalyticsConfiguration",
    "s3:PutBucketAcl",
    "s3:PutBucketCORS",
    "s3:PutBucketLogging",
    "s3:PutBucketNotification",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketRequestPayment",
    "s3:PutBucketTagging",
    "s3:PutBucketVersioning",
    "s3:PutBucketWebsite",
    "s3:PutEncryptionConfiguration",
    "s3:PutIntelligentTieringConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutMetricsConfiguration",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionAcl",
    "s3:PutObjectVersionTagging",
    "s3:PutReplicationConfiguration",
    "s3:RestoreObject",
];

/// The permission of an access list that covers an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// READ of the bucket.
    List,
    /// READ of the bucket or of the object.
    Read,
    /// WRITE of the bucket.
    Write,
    /// READ_ACP of the bucket.
    ReadBucketAcl,
    /// WRITE_ACP of the bucket.
    WriteBucketAcl,
    /// READ_ACP of the object.
    ReadAcl,
    /// WRITE_ACP of the object.
    WriteAcl,
    /// No list covers it: owners do, and whom a policy allows it.
    Owner,
}

/// The permission that covers an action.
pub(crate) fn need(action: &str) -> Need {
    match action {
        "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads" => Need::List,
        "s3:GetObject"
        | "s3:GetObjectVersion"
        | "s3:GetObjectAttributes"
        | "s3:GetObjectVersionAttributes" => Need::Read,
        "s3:PutObject" | "s3:DeleteObject" | "s3:AbortMultipartUpload" | "s3:ListMultipartUploadParts" => {
            Need::Write
        }
        "s3:GetBucketAcl" => Need::ReadBucketAcl,
        "s3:PutBucketAcl" => Need::WriteBucketAcl,
        "s3:GetObjectAcl" | "s3:GetObjectVersionAcl" => Need::ReadAcl,
        "s3:PutObjectAcl" | "s3:PutObjectVersionAcl" => Need::WriteAcl,
        _ => Need::Owner,
    }
}

/// What an action is called where a version is named.
pub(crate) fn of_version(action: &'static str) -> &'static str {
    match action {
        "s3:DeleteObject" => "s3:DeleteObjectVersion",
        "s3:DeleteObjectTagging" => "s3:DeleteObjectVersionTagging",
        "s3:GetObject" => "s3:GetObjectVersion",
        "s3:GetObjectAcl" => "s3:GetObjectVersionAcl",
        "s3:GetObjectAttributes" => "s3:GetObjectVersionAttributes",
        "s3:GetObjectTagging" => "s3:GetObjectVersionTagging",
        "s3:PutObjectAcl" => "s3:PutObjectVersionAcl",
        "s3:PutObjectTagging" => "s3:PutObjectVersionTagging",
        other => other,
    }
}

/// Whether an action only looks: those whose project lets them read may.
pub(crate) fn only_looks(action: &str) -> bool {
    matches!(need(action), Need::List | Need::Read)
        || matches!(
            action,
            "s3:ListAllMyBuckets"
                | "s3:GetAccelerateConfiguration"
                | "s3:GetBucketLocation"
                | "s3:GetBucketLogging"
                | "s3:GetBucketNotification"
                | "s3:GetBucketObjectLockConfiguration"
                | "s3:GetBucketRequestPayment"
                | "s3:GetBucketVersioning"
                | "s3:GetObjectLegalHold"
                | "s3:GetObjectRetention"
                | "s3:GetObjectTagging"
                | "s3:GetObjectVersionTagging"
        )
}

/// What roles alone allow of every action, as policy rules are written; the
/// bucket's policy and lists come on top.
pub fn policy_rules(config: &SwiftConfig) -> Vec<(&'static str, String)> {
    let check = |action: &'static str| match action {
        // Who has a key has a list of buckets, be it an empty one.
        "s3:ListAllMyBuckets" => "@".to_owned(),
        action => actions::rule(config, only_looks(action)),
    };
    ACTIONS
        .into_iter()
        .map(|action| (action, check(action)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_an_action_that_policies_can_name() {
        assert!(ACTIONS.is_sorted(), "so that a missing one is seen");
        for (operation, action, _) in crate::operations::TABLE {
            assert!(ACTIONS.contains(action), "{operation}: {action}");
            assert!(ACTIONS.contains(&of_version(action)), "{operation}");
        }
    }
}
