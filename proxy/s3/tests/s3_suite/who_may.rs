//! Walks every operation as everyone, in buckets that are private, public and
//! under a policy, and compares with the table beside this file, `who_may.txt`.
use std::collections::BTreeSet;

use serde_json::json;
use virga_identity_api::policy::{Decision, Rules, ScopeKind};
use virga_proxy::swift::config::Config;
use virga_s3::{OPERATIONS, policy_rules};

use super::door::{ALICE, Door, Reply, SECRET};

const TABLE: &str = include_str!("who_may.txt");

// An operation without a row does not build.
#[allow(
    long_running_const_eval,
    reason = "all operations times all rows is some millions of steps"
)]
const _: () = {
    let mut n = 0;
    while n < OPERATIONS.len() {
        if !has_row(TABLE.as_bytes(), OPERATIONS[n].0.as_bytes()) {
            panic!("{}", OPERATIONS[n].0);
        }
        n += 1;
    }
};

/// Whether a line begins with this word.
const fn has_row(table: &[u8], word: &[u8]) -> bool {
    let (mut at, mut same, mut in_word) = (0, 0, true);
    while at < table.len() {
        let byte = table[at];
        if byte == b'\n' {
            (same, in_word) = (0, true);
        } else if in_word && byte == b' ' {
            if same == word.len() {
                return true;
            }
            in_word = false;
        } else if in_word {
            in_word = same < word.len() && word[same] == byte;
            same += 1;
        }
        at += 1;
    }
    false
}

/// Personas of the table and the keys that they sign with.
const PERSONAS: [(&str, Option<&str>); 7] = [
    ("nobody", None),
    ("reader", Some("as-p-reader")),
    ("service", Some("as-p-service")),
    ("member", Some("as-p-member")),
    ("admin", Some("as-p-admin")),
    ("stranger", Some("as-q-admin")),
    ("reseller", Some("as-r-ResellerAdmin")),
];

/// Keys and secrets that open nothing anywhere, and the code of the refusal.
const NEVER: [(&str, &str, &str); 3] = [
    ("unheard-of", SECRET, "InvalidAccessKeyId"),
    (ALICE, "guess", "SignatureDoesNotMatch"),
    ("as--admin", SECRET, "AccessDenied"),
];

/// Kinds of buckets, in the order of the columns; `read` is in another cloud.
const KINDS: [&str; 5] = ["shut", "read", "open", "ruled", "barred"];

struct Row {
    operation: &'static str,
    /// What it is judged by.
    action: &'static str,
    method: &'static str,
    target: &'static str,
    /// Who may, by kind of bucket.
    who: [BTreeSet<&'static str>; KINDS.len()],
}

impl Row {
    fn changes(&self) -> bool {
        !["GET", "HEAD"].contains(&self.method)
    }

    /// Asks it about a bucket of project p.
    async fn ask(&self, door: &Door, key: Option<(&str, &str)>, bucket: &str) -> Reply {
        let target = match self.target.strip_prefix('B') {
            Some(rest) => format!("/p:{bucket}{rest}"),
            None => self.target.replace("NEW", &format!("/p:new-{bucket}")),
        };
        let line = format!("{} {target}", self.method);
        let (headers, body) = sample(self.operation, bucket);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        match key {
            Some((key, secret)) => {
                door.call_with((key, secret), &line, &headers, body.as_bytes())
                    .await
            }
            None => door.send_as_is(&line, &headers, body.as_bytes()).await,
        }
    }
}

fn people(words: &'static str) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    for word in words.split(',') {
        match word {
            "-" => {}
            "all" => found.extend(PERSONAS.iter().map(|(name, _)| *name)),
            "keys" => found.extend(PERSONAS.iter().skip(1).map(|(name, _)| *name)),
            "own" => found.extend(["member", "admin", "reseller"]),
            name if PERSONAS.iter().any(|(known, _)| *known == name) => drop(found.insert(name)),
            name => panic!("nobody is called {name}"),
        }
    }
    found
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| {
        let words: Vec<&'static str> = line.split_whitespace().collect();
        let [operation, method, target, shut, read, open, ruled, barred] = words[..] else {
            panic!("not a row: {line}");
        };
        let known = OPERATIONS.iter().find(|(name, _)| *name == operation);
        let (_, action) = known.unwrap_or_else(|| panic!("there is no operation {operation}"));
        Row {
            operation,
            action,
            method,
            target,
            who: [shut, read, open, ruled, barred].map(people),
        }
    });
    rows.collect()
}

/// What goes with an operation: headers and a body good enough to be refused
/// for its sender only.
fn sample(operation: &str, bucket: &str) -> (Vec<(&'static str, String)>, String) {
    let source = || {
        vec![
            ("x-amz-copy-source", format!("/{bucket}/k")),
            ("x-amz-source-expected-bucket-owner", "p".to_owned()),
        ]
    };
    let headers = match operation {
        "copy_object" | "upload_part_copy" => source(),
        "get_object_attributes" => vec![("x-amz-object-attributes", "ETag".to_owned())],
        "put_bucket_acl" | "put_object_acl" => vec![("x-amz-acl", "private".to_owned())],
        _ => Vec::new(),
    };
    (headers, document(operation, bucket))
}

fn document(operation: &str, bucket: &str) -> String {
    let fixed = match operation {
        "put_bucket_policy" => return policy(bucket, "Allow", r#"{"AWS": "q"}"#),
        "delete_objects" => "<Delete><Object><Key>k</Key></Object></Delete>",
        "complete_multipart_upload" => {
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"
        }
        "put_object_tagging" | "put_bucket_tagging" => {
            "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
        }
        "put_bucket_cors" => {
            "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
        }
        "put_bucket_versioning" => {
            "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
        }
        "put_object_lock_configuration" => {
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"
        }
        "put_object_retention" => {
            "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z</RetainUntilDate></Retention>"
        }
        "put_object_legal_hold" => "<LegalHold><Status>ON</Status></LegalHold>",
        "put_bucket_lifecycle_configuration" => {
            "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix>x</Prefix></Filter><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>"
        }
        "put_bucket_ownership_controls" => {
            "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>"
        }
        "put_public_access_block" => {
            "<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>"
        }
        "put_bucket_request_payment" => {
            "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>"
        }
        "put_bucket_encryption" => {
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        }
        "put_bucket_website" => {
            "<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument></WebsiteConfiguration>"
        }
        "put_bucket_replication" => {
            "<ReplicationConfiguration><Role>r</Role><Rule><Status>Enabled</Status><Destination><Bucket>b</Bucket></Destination></Rule></ReplicationConfiguration>"
        }
        "put_bucket_logging" => "<BucketLoggingStatus/>",
        "put_bucket_notification_configuration" => "<NotificationConfiguration></NotificationConfiguration>",
        "put_bucket_accelerate_configuration" => {
            "<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>"
        }
        "put_bucket_inventory_configuration" => {
            "<InventoryConfiguration><Id>i</Id><IsEnabled>true</IsEnabled><IncludedObjectVersions>All</IncludedObjectVersions><Schedule><Frequency>Daily</Frequency></Schedule><Destination><S3BucketDestination><Bucket>arn:aws:s3:::b</Bucket><Format>CSV</Format></S3BucketDestination></Destination></InventoryConfiguration>"
        }
        "put_bucket_analytics_configuration" => {
            "<AnalyticsConfiguration><Id>i</Id><StorageClassAnalysis/></AnalyticsConfiguration>"
        }
        "put_bucket_metrics_configuration" => "<MetricsConfiguration><Id>i</Id></MetricsConfiguration>",
        "put_bucket_intelligent_tiering_configuration" => {
            "<IntelligentTieringConfiguration><Id>i</Id><Status>Enabled</Status><Tiering><AccessTier>ARCHIVE_ACCESS</AccessTier><Days>90</Days></Tiering></IntelligentTieringConfiguration>"
        }
        "restore_object" => "<RestoreRequest><Days>1</Days></RestoreRequest>",
        "select_object_content" => {
            "<SelectObjectContentRequest><Expression>select * from s3object</Expression><ExpressionType>SQL</ExpressionType><InputSerialization><CSV/></InputSerialization><OutputSerialization><CSV/></OutputSerialization></SelectObjectContentRequest>"
        }
        _ => "",
    };
    fixed.to_owned()
}

fn policy(bucket: &str, effect: &str, principal: &str) -> String {
    format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "{effect}", "Principal": {principal}, "Action": "s3:*", "Resource": ["arn:aws:s3:::{bucket}", "arn:aws:s3:::{bucket}/*"]}}]}}"#
    )
}

/// Makes a bucket of a kind, with an object "k" in it.
async fn make(door: &Door, kind: &str, bucket: &str) {
    let lists: &[(&str, &str)] = match kind {
        "open" => &[("x-amz-acl", "public-read-write")],
        _ => &[],
    };
    door.alice(&format!("PUT /{bucket}"), lists, b"", 200).await;
    door.alice(&format!("PUT /{bucket}/k"), &[], b"x", 200).await;
    let everyone = match kind {
        "ruled" => policy(
            bucket,
            "Allow",
            r#"{"AWS": ["q", "arn:aws:iam::p:user/as-p-reader"]}"#,
        ),
        "barred" => policy(bucket, "Deny", "\"*\""),
        _ => return,
    };
    let line = format!("PUT /{bucket}?policy");
    door.alice(&line, &[], everyone.as_bytes(), 204).await;
}

/// Settings of the cloud that a kind of bucket is in.
fn config_of(kind: &str) -> Config {
    let mut config = Config::default();
    if kind == "read" {
        config.resellers[0].project_reader_roles = vec!["reader".to_owned()];
    }
    config
}

/// The refusal that an answer is: its code, and the sentence that says why.
fn refusal(reply: &Reply) -> Option<(String, String)> {
    // Of several objects each is judged by itself, in an answer that is no error.
    let codes = ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"];
    let (code, says) = (reply.code(), reply.element("Message").unwrap_or_default());
    let headless = reply.status == 403 && reply.body.is_empty();
    (headless || codes.contains(&code.as_str())).then_some((code, says))
}

/// Asserts that an answer lets nobody in and says by which rule.
fn assert_refused(row: &Row, reply: &Reply, code: &str, says: &[&str], who: &str) {
    let Some((refused_by, sentence)) = refusal(reply) else {
        panic!(
            "{} lets in {who}: {} {}",
            row.operation,
            reply.status,
            reply.text()
        );
    };
    // The root without a key is no bucket's, and an answer to HEAD has no body.
    if row.method == "HEAD" {
        assert_eq!(reply.status, 403, "{} as {who}", row.operation);
        return;
    }
    assert_eq!(refused_by, code, "{} as {who}: {sentence}", row.operation);
    for part in says {
        assert!(sentence.contains(part), "{} as {who}: {sentence}", row.operation);
    }
}

#[tokio::test]
async fn nobody_does_to_a_bucket_what_the_table_does_not_say_and_hears_which_action_it_was() {
    for (column, kind) in KINDS.iter().enumerate() {
        let door = Door::with(config_of(kind)).await;
        make(&door, kind, "bucket").await;
        for row in rows() {
            for (persona, key) in PERSONAS
                .iter()
                .filter(|(name, _)| !row.who[column].contains(name))
            {
                let reply = row.ask(&door, key.map(|key| (key, SECRET)), "bucket").await;
                if row.target == "/" {
                    // Without a key the root is the other dialect's.
                    assert!((400..500).contains(&reply.status), "{persona}: {}", reply.status);
                    continue;
                }
                let action = format!("to perform {}:", row.action);
                let user = format!("User {} is", key.unwrap_or("anonymous"));
                assert_refused(&row, &reply, "AccessDenied", &[&action, &user], persona);
            }
        }
        // What was refused left no trace.
        if *kind == "barred" {
            door.alice("DELETE /bucket?policy", &[], b"", 204).await;
        }
        untouched(&door).await;
    }
}

/// Asserts that the bucket is as it was made, but for its policy and its list.
async fn untouched(door: &Door) {
    let listed = door.alice("GET /bucket?versions", &[], b"", 200).await;
    assert_eq!(listed.elements("Key"), ["k"]);
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.body, b"x");
    assert_eq!(
        door.alice("GET /", &[], b"", 200).await.elements("Name"),
        ["bucket"]
    );
    for unset in [
        "tagging",
        "cors",
        "lifecycle",
        "ownershipControls",
        "publicAccessBlock",
    ] {
        door.alice(&format!("GET /bucket?{unset}"), &[], b"", 404).await;
    }
    let tags = door.alice("GET /bucket/k?tagging", &[], b"", 200).await;
    assert!(tags.elements("Tag").is_empty(), "{}", tags.text());
    let uploads = door.alice("GET /bucket?uploads", &[], b"", 200).await;
    assert!(uploads.elements("Upload").is_empty(), "{}", uploads.text());
}

#[tokio::test]
async fn what_is_no_key_of_a_project_opens_nothing_however_public_it_is() {
    let door = Door::with(config_of("open")).await;
    make(&door, "open", "bucket").await;
    for row in rows() {
        for (key, secret, code) in NEVER {
            let reply = row.ask(&door, Some((key, secret)), "bucket").await;
            assert_refused(&row, &reply, code, &[], key);
        }
    }
    untouched(&door).await;
}

#[tokio::test]
async fn everyone_does_to_a_bucket_what_the_table_says() {
    for (column, kind) in KINDS.iter().enumerate() {
        let door = Door::with(config_of(kind)).await;
        make(&door, kind, "bucket").await;
        for (n, row) in rows().iter().enumerate() {
            for persona in &row.who[column] {
                let (_, key) = PERSONAS.iter().find(|(name, _)| name == persona).unwrap();
                let mut bucket = "bucket".to_owned();
                if row.changes() {
                    bucket = format!("{kind}-{n}-{persona}");
                    make(&door, kind, &bucket).await;
                }
                let reply = row.ask(&door, key.map(|key| (key, SECRET)), &bucket).await;
                let case = format!("{} as {persona} in {kind}", row.operation);
                let said = format!("{} {}", reply.status, reply.text());
                assert!(refusal(&reply).is_none(), "{case}: {said}");
                assert!(reply.status < 500 || reply.status == 501, "{case}: {said}");
                assert!(!said.contains("MalformedXML"), "{case}: {said}");
            }
        }
    }
}

/// `virga policy` shows what roles allow; here is the table's word for it.
#[test]
fn the_policy_rules_say_of_private_buckets_what_the_table_says() {
    for (column, kind) in KINDS.iter().enumerate().take(2) {
        let written = policy_rules(&config_of(kind)).into_iter();
        let written = written.map(|(name, check)| (name.to_owned(), check));
        let written = Rules::fixed(written, &[ScopeKind::Project]).unwrap();
        for row in rows() {
            for (persona, key) in PERSONAS {
                let Some((project, role)) = key.and_then(|key| key.strip_prefix("as-")?.split_once('-'))
                else {
                    continue;
                };
                let who = json!({"roles": [role], "project_id": project});
                let decision = written.allows(
                    row.action,
                    Some(ScopeKind::Project),
                    &who,
                    &json!({"project_id": "p"}),
                );
                assert_eq!(
                    decision == Decision::Allowed,
                    row.who[column].contains(persona),
                    "{} as {persona}",
                    row.operation
                );
            }
        }
    }
}

#[test]
fn every_row_is_an_operation_and_stands_once() {
    let mut seen = BTreeSet::new();
    for row in rows() {
        assert!(seen.insert(row.operation), "twice: {}", row.operation);
    }
    assert_eq!(seen.len(), OPERATIONS.len());
    assert!(has_row(b"# x\nab  c\n", b"ab") && !has_row(b"# x\nabc d\n", b"ab"));
    assert!(!has_row(b"x ab c\n", b"ab") && !has_row(b"a c\n", b"ab"));
}
