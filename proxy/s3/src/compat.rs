//! The table of operations in `docs/compat/s3.md`, from [`crate::operations`]:
//! what that does not say, which of them answer an error and which, stands here
//! and is held against it.
#[path = "../../tests/documents/table.rs"]
mod table;

use table::Row;

/// Operations of AWS that have no row: the protocol layer answers them.
const ABSENT: [(&str, &str); 7] = [
    ("CreateBucketMetadataTableConfiguration", "501 `NotImplemented`"),
    (
        "CreateSession",
        "501 `NotImplemented`: directory buckets are AWS's own",
    ),
    ("DeleteBucketMetadataTableConfiguration", "501 `NotImplemented`"),
    ("GetBucketMetadataTableConfiguration", "501 `NotImplemented`"),
    ("GetObjectTorrent", "501 `NotImplemented`"),
    ("ListDirectoryBuckets", "501 `NotImplemented`"),
    (
        "WriteGetObjectResponse",
        "501 `NotImplemented`: there are no object lambdas",
    ),
];

const LIST: &str = "the empty list: none can be set";
const NO_SUCH: &str = "404 `NoSuchConfiguration`";

/// What is to be said of an operation, and whether all of it is there.
fn remark(operation: &str) -> (&'static str, &'static str) {
    match operation {
        "PutObject" => (
            "partial",
            "`aws:kms`, website redirects, `x-amz-write-offset-bytes`: 501 `NotImplemented`; storage classes but `STANDARD`: 400 `InvalidStorageClass`",
        ),
        "CopyObject" | "CreateMultipartUpload" => (
            "partial",
            "`aws:kms`, website redirects: 501 `NotImplemented`; storage classes but `STANDARD`: 400 `InvalidStorageClass`",
        ),
        "UploadPartCopy" => ("partial", "access points as source: 501 `NotImplemented`"),
        "DeleteObject" => (
            "partial",
            "`x-amz-if-match-last-modified-time`, `x-amz-if-match-size`: 501 `NotImplemented`",
        ),
        "GetObject" => ("supported", "of several ranges none is taken, as by AWS"),
        "CreateBucket" => (
            "supported",
            "`LocationConstraint`: the cloud's region or the signature's; else 400 `InvalidLocationConstraint`",
        ),
        "PutBucketAcl" | "PutObjectAcl" => (
            "partial",
            "by email: 400 `UnresolvableGrantByEmailAddress`; to the group of log delivery: 501 `NotImplemented`",
        ),
        "PutBucketVersioning" => ("partial", "MFA delete: 501 `NotImplemented`"),
        "PutBucketLifecycleConfiguration" => ("partial", "transitions: 501 `NotImplemented`"),
        "PutBucketEncryption" => ("partial", "`aws:kms`: 501 `NotImplemented`"),
        "PutBucketRequestPayment" => ("partial", "`Requester`: 501 `NotImplemented`"),
        "PutBucketLogging" | "PutBucketNotificationConfiguration" | "PutBucketAccelerateConfiguration" => {
            ("partial", "off is taken; else 501 `NotImplemented`")
        }
        "GetBucketLogging" | "GetBucketNotificationConfiguration" | "GetBucketAccelerateConfiguration" => {
            ("supported", "the empty document: off")
        }
        "GetBucketRequestPayment" => ("supported", "`BucketOwner`"),
        "GetBucketReplication" => ("refused", "404 `ReplicationConfigurationNotFoundError`"),
        "GetBucketWebsite" => ("refused", "404 `NoSuchWebsiteConfiguration`"),
        "DeleteBucketReplication" | "DeleteBucketWebsite" => ("supported", "204: nothing is set"),
        "PutBucketWebsite" => (
            "refused",
            "501 `NotImplemented`; Swift's web sites are there: `X-Container-Meta-Web-Index`",
        ),
        "PutBucketReplication"
        | "PutBucketInventoryConfiguration"
        | "PutBucketAnalyticsConfiguration"
        | "PutBucketMetricsConfiguration"
        | "PutBucketIntelligentTieringConfiguration" => ("refused", "501 `NotImplemented`"),
        "GetBucketInventoryConfiguration"
        | "GetBucketAnalyticsConfiguration"
        | "GetBucketMetricsConfiguration"
        | "GetBucketIntelligentTieringConfiguration"
        | "DeleteBucketInventoryConfiguration"
        | "DeleteBucketAnalyticsConfiguration"
        | "DeleteBucketMetricsConfiguration"
        | "DeleteBucketIntelligentTieringConfiguration" => ("refused", NO_SUCH),
        "ListBucketInventoryConfigurations"
        | "ListBucketAnalyticsConfigurations"
        | "ListBucketMetricsConfigurations"
        | "ListBucketIntelligentTieringConfigurations" => ("supported", LIST),
        "RestoreObject" => ("refused", "403 `InvalidObjectState`: nothing is archived"),
        "SelectObjectContent" => ("refused", "405 `MethodNotAllowed`, as AWS answers new customers"),
        _ => ("supported", ""),
    }
}

/// `get_object` as AWS writes it.
fn name(operation: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    operation.split('_').map(word).collect()
}

#[test]
fn the_document_says_of_every_operation_what_there_is() {
    let mut rows = Vec::new();
    for (operation, _, done) in crate::operations::TABLE {
        let what = name(operation);
        let (state, says) = remark(&what);
        // What only says that nothing is set is remarked upon, and nothing else is refused.
        let unset = done.replace(' ', "").starts_with("unset::");
        assert!(
            !unset || !says.is_empty(),
            "{what} is done by {done}: say what it answers"
        );
        assert!(
            unset || state != "refused",
            "{what} is done by {done} and said to be refused"
        );
        rows.push(Row { what, state, says });
    }
    for (what, says) in ABSENT {
        assert!(rows.iter().all(|row| row.what != what), "{what} has a row");
        let (what, state) = (what.to_owned(), "refused");
        rows.push(Row { what, state, says });
    }
    rows.push(Row {
        what: "PostObject".to_owned(),
        state: "supported",
        says: "the form of a browser, at the door",
    });
    rows.sort_by(|a, b| a.what.cmp(&b.what));
    table::holds("s3.md", "operations", "operation", &rows);
}
