//! What a bucket cannot be set to: it reads as not set, switching it off is
//! done, and switching it on is refused in words.
use virga_proxy::swift::config::Config as SwiftConfig;

use super::door::{Door, MALLORY, RESELLER, RITA};

async fn ready() -> Door {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[], b"x", 200).await;
    door
}

#[tokio::test]
async fn configurations_by_name_read_as_not_there() {
    let door = ready().await;
    for what in ["inventory", "analytics", "metrics", "intelligent-tiering"] {
        for line in ["GET", "DELETE"] {
            let none = door
                .alice(&format!("{line} /bucket?{what}&id=one"), &[], b"", 404)
                .await;
            assert_eq!(none.code(), "NoSuchConfiguration", "{line} {what}");
        }
        let listed = door.alice(&format!("GET /bucket?{what}"), &[], b"", 200).await;
        assert_eq!(listed.element("IsTruncated").as_deref(), Some("false"), "{what}");
    }
}

#[tokio::test]
async fn what_is_off_can_be_switched_off_and_not_on() {
    let door = ready().await;
    let xmlns = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
    for (what, off, on) in [
        (
            "logging",
            format!("<BucketLoggingStatus {xmlns}/>"),
            format!(
                "<BucketLoggingStatus {xmlns}><LoggingEnabled><TargetBucket>b</TargetBucket>\
                 <TargetPrefix>p</TargetPrefix></LoggingEnabled></BucketLoggingStatus>"
            ),
        ),
        (
            "notification",
            format!("<NotificationConfiguration {xmlns}></NotificationConfiguration>"),
            format!(
                "<NotificationConfiguration {xmlns}><QueueConfiguration><Queue>arn:aws:sqs:r:1:q</Queue>\
                 <Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>"
            ),
        ),
        (
            "accelerate",
            format!("<AccelerateConfiguration {xmlns}><Status>Suspended</Status></AccelerateConfiguration>"),
            format!("<AccelerateConfiguration {xmlns}><Status>Enabled</Status></AccelerateConfiguration>"),
        ),
    ] {
        let line = format!("PUT /bucket?{what}");
        door.alice(&line, &[], off.as_bytes(), 200).await;
        let refused = door.alice(&line, &[], on.as_bytes(), 501).await;
        assert_eq!(refused.code(), "NotImplemented", "{what}");
        assert!(
            refused.element("Message").unwrap().ends_with("here."),
            "{}",
            refused.text()
        );
        assert_eq!(
            door.call(RITA, &line, &[], off.as_bytes()).await.status,
            403,
            "{what}"
        );
        door.alice(&format!("GET /bucket?{what}"), &[], b"", 200).await;
    }
}

#[tokio::test]
async fn sites_replicas_and_reports_are_refused_in_words() {
    let door = ready().await;
    for (line, body) in [
        (
            "PUT /bucket?website",
            "<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument></WebsiteConfiguration>",
        ),
        (
            "PUT /bucket?replication",
            "<ReplicationConfiguration><Role>r</Role><Rule><Status>Enabled</Status><Destination>\
             <Bucket>b</Bucket></Destination></Rule></ReplicationConfiguration>",
        ),
        (
            "PUT /bucket?metrics&id=m",
            "<MetricsConfiguration><Id>m</Id></MetricsConfiguration>",
        ),
        (
            "PUT /bucket?analytics&id=m",
            "<AnalyticsConfiguration><Id>m</Id><StorageClassAnalysis/></AnalyticsConfiguration>",
        ),
    ] {
        let refused = door.alice(line, &[], body.as_bytes(), 501).await;
        assert_eq!(refused.code(), "NotImplemented", "{line}");
        assert!(
            refused.element("Message").unwrap().contains("here"),
            "{}",
            refused.text()
        );
    }
}

#[tokio::test]
async fn there_is_nothing_to_restore_or_to_select() {
    let door = ready().await;
    let days = b"<RestoreRequest><Days>1</Days></RestoreRequest>";
    let restored = door.alice("POST /bucket/k?restore", &[], days, 403).await;
    assert_eq!(restored.code(), "InvalidObjectState");
    let missing = door.alice("POST /bucket/none?restore", &[], days, 404).await;
    assert_eq!(missing.code(), "NoSuchKey");
    let select = b"<SelectObjectContentRequest><Expression>select * from s3object</Expression>\
        <ExpressionType>SQL</ExpressionType><InputSerialization><CSV/></InputSerialization>\
        <OutputSerialization><CSV/></OutputSerialization></SelectObjectContentRequest>";
    let selected = door
        .alice("POST /bucket/k?select&select-type=2", &[], select, 405)
        .await;
    assert_eq!(selected.code(), "MethodNotAllowed");
}

/// Says of project p's account whether it may only be read.
async fn read_only(door: &Door, word: &str) {
    let headers = [("X-Auth-Token", RESELLER), ("X-Account-Sysmeta-Read-Only", word)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let set = door.send("POST /v1/AUTH_p", &headers, b"").await;
    assert_eq!(set.status, 204, "{}", set.text());
}

/// Tries to write in many ways; all are refused.
async fn no_writes(door: &Door) {
    let delete = b"<Delete><Object><Key>k</Key></Object></Delete>";
    for (line, body) in [
        ("PUT /other", &b""[..]),
        ("PUT /bucket/k", b"x"),
        ("POST /bucket?delete", delete),
        ("POST /bucket/k?uploads", b""),
        ("DELETE /bucket/k", b""),
    ] {
        let refused = door.alice(line, &[], body, 405).await;
        assert_eq!(refused.code(), "MethodNotAllowed", "{line}");
    }
    assert_eq!(door.alice("GET /bucket/k", &[], b"", 200).await.body, b"abc");
}

#[tokio::test]
async fn a_store_for_reading_only_takes_no_writes_but_where_an_account_says_otherwise() {
    let door = Door::with(SwiftConfig {
        read_only: true,
        ..SwiftConfig::default()
    })
    .await;
    door.alice("PUT /bucket", &[], b"", 405).await;
    door.alice("GET /", &[], b"", 200).await;
    read_only(&door, "false").await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[], b"abc", 200).await;
    let other = door.call(MALLORY, "PUT /hers", &[], b"").await;
    assert_eq!(other.status, 405, "the word is one account's own");
    read_only(&door, "").await;
    no_writes(&door).await;
}

#[tokio::test]
async fn an_account_that_may_only_be_read_is_so_in_both_dialects() {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    door.alice("PUT /bucket/k", &[], b"abc", 200).await;
    read_only(&door, "true").await;
    no_writes(&door).await;
    let stranger = door.call(MALLORY, "DELETE /p:bucket/k", &[], b"").await;
    assert_eq!(stranger.status, 403, "who may not write learns nothing of it");
    read_only(&door, "").await;
    door.alice("DELETE /bucket/k", &[], b"", 204).await;
}
