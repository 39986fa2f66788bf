//! Rules of life cycles: as clients set and read them, and as they are run with
//! a clock that the test turns.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use virga_node::clock::{Clock, ManualClock, SystemClock};
use virga_proxy::core::{BodyError, NewObject, ObjectName};
use virga_proxy::swift::versions;
use virga_s3::lifecycle::{Settings, Tally, Worker};

use super::door::{Door, RITA, Reply};

const DAY: Duration = Duration::from_secs(86_400);
const VERSIONS: &[u8] = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";

fn document(rules: &[&str]) -> Vec<u8> {
    let rules: String = rules.iter().map(|rule| format!("<Rule>{rule}</Rule>")).collect();
    format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>").into_bytes()
}

/// An enabled rule about names with this prefix.
fn rule(prefix: &str, actions: &str) -> String {
    format!("<ID>r-{prefix}</ID><Status>Enabled</Status><Filter><Prefix>{prefix}</Prefix></Filter>{actions}")
}

fn days(days: u32) -> String {
    format!("<Expiration><Days>{days}</Days></Expiration>")
}

async fn set(door: &Door, rules: &[&str]) {
    door.alice("PUT /bucket?lifecycle", &[], &document(rules), 200)
        .await;
}

/// A bucket, and who runs its rules by the clock beside.
async fn ready() -> (Door, Worker, Arc<ManualClock>) {
    let door = Door::open().await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    let (worker, clock) = worker_of(&door);
    (door, worker, clock)
}

fn worker_of(door: &Door) -> (Worker, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let worker = door.s3.lifecycle(&Settings::default(), clock.clone());
    (worker, clock)
}

/// Runs all rules once; what they removed.
async fn run(worker: &Worker) -> Tally {
    let round = worker.round().await.unwrap();
    assert_eq!(round.tally.error, None);
    round.tally
}

async fn names(door: &Door) -> Vec<String> {
    let listed = door.alice("GET /bucket", &[], b"", 200).await;
    listed.elements("Key")
}

async fn put(door: &Door, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    door.alice(&format!("PUT /bucket/{key}"), headers, body, 200)
        .await
}

#[tokio::test]
async fn rules_are_kept_shown_and_removed() {
    let (door, ..) = ready().await;
    let get = "GET /bucket?lifecycle";
    let none = door.alice(get, &[], b"", 404).await;
    assert_eq!(none.code(), "NoSuchLifecycleConfiguration");
    let bare = format!(
        "<ID>old</ID><Prefix>logs/</Prefix><Status>Disabled</Status>{}",
        days(3)
    );
    let dated = rule(
        "x",
        "<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration><NoncurrentVersionExpiration>\
         <NewerNoncurrentVersions>2</NewerNoncurrentVersions><NoncurrentDays>9</NoncurrentDays>\
         </NoncurrentVersionExpiration>",
    );
    set(&door, &[&bare, &dated]).await;
    let kept = door.alice(get, &[], b"", 200).await;
    assert_eq!(kept.elements("ID"), ["old", "r-x"]);
    assert_eq!(kept.elements("Status"), ["Disabled", "Enabled"]);
    assert_eq!(kept.elements("Date"), ["2030-01-01T00:00:00.000Z"]);
    assert_eq!(kept.elements("NewerNoncurrentVersions"), ["2"]);
    assert!(
        kept.text().contains("<Filter><Prefix>x</Prefix></Filter>"),
        "{}",
        kept.text()
    );
    assert_eq!(door.call(RITA, get, &[], b"").await.status, 403);
    let refused = door
        .call(RITA, "PUT /bucket?lifecycle", &[], &document(&[&bare]))
        .await;
    assert_eq!(refused.status, 403);
    door.alice("DELETE /bucket?lifecycle", &[], b"", 204).await;
    door.alice("DELETE /bucket?lifecycle", &[], b"", 204).await;
    door.alice(get, &[], b"", 404).await;
    let elsewhere = door.alice("GET /nobucket?lifecycle", &[], b"", 404).await;
    assert_eq!(elsewhere.code(), "NoSuchBucket");
}

#[tokio::test]
async fn bad_rules_are_refused_and_the_ones_before_stay() {
    let (door, ..) = ready().await;
    set(&door, &[&rule("", &days(3))]).await;
    let at_noon = "<Expiration><Date>2030-01-01T12:00:00Z</Date></Expiration>";
    let moved = "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>";
    for (rules, status, code) in [
        (vec![], 400, "MalformedXML"),
        (vec![rule("", "")], 400, "InvalidRequest"),
        (vec![rule("", &days(0))], 400, "InvalidArgument"),
        (vec![rule("", at_noon)], 400, "InvalidArgument"),
        (vec![rule("", moved)], 501, "NotImplemented"),
        (
            vec![rule("a", &days(1)), rule("a", &days(2))],
            400,
            "InvalidArgument",
        ),
        (vec!["<ID>x</ID>".to_owned()], 400, "MalformedXML"),
    ] {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let reply = door
            .alice("PUT /bucket?lifecycle", &[], &document(&rules), status)
            .await;
        assert_eq!(reply.code(), code, "{rules:?}: {}", reply.text());
    }
    let kept = door.alice("GET /bucket?lifecycle", &[], b"", 200).await;
    assert_eq!(kept.elements("Days"), ["3"]);
}

#[tokio::test]
async fn objects_end_when_their_day_has_come_and_not_before() {
    let (door, worker, clock) = ready().await;
    for key in ["logs/a", "logs/b", "other"] {
        put(&door, key, &[], b"x").await;
    }
    set(&door, &[&rule("logs/", &days(3))]).await;
    clock.advance(DAY * 2);
    assert_eq!(run(&worker).await, Tally::default());
    assert_eq!(names(&door).await.len(), 3);
    clock.advance(DAY * 2);
    assert_eq!(run(&worker).await.objects, 2);
    assert_eq!(names(&door).await, ["other"]);
    door.alice("GET /bucket/logs/a", &[], b"", 404).await;
    // Nobody runs them anew within the period, whoever it is.
    let (other, later) = worker_of(&door);
    later.set(clock.now());
    assert_eq!(other.round().await.unwrap().buckets, 0);
    later.advance(Duration::from_secs(3600));
    assert_eq!(other.round().await.unwrap().buckets, 1);
}

#[tokio::test]
async fn rules_that_change_are_run_at_once() {
    let (door, worker, clock) = ready().await;
    put(&door, "a", &[], b"x").await;
    set(&door, &[&rule("b", &days(1))]).await;
    clock.advance(DAY * 3);
    assert_eq!(run(&worker).await.objects, 0);
    set(&door, &[&rule("a", &days(1))]).await;
    assert_eq!(run(&worker).await.objects, 1);
    door.alice("DELETE /bucket?lifecycle", &[], b"", 204).await;
    put(&door, "a", &[], b"x").await;
    clock.advance(DAY * 3);
    assert_eq!(run(&worker).await, Tally::default());
}

#[tokio::test]
async fn tags_and_sizes_decide_too() {
    let (door, worker, clock) = ready().await;
    put(&door, "big", &[], &[1; 2000]).await;
    put(&door, "small", &[], b"x").await;
    put(&door, "temp", &[("x-amz-tagging", "kind=temp&x=y")], b"x").await;
    put(&door, "kept", &[("x-amz-tagging", "kind=kept")], b"x").await;
    let tagged = format!(
        "<ID>t</ID><Status>Enabled</Status><Filter><Tag><Key>kind</Key><Value>temp</Value></Tag></Filter>{}",
        days(1)
    );
    let large = format!(
        "<ID>l</ID><Status>Enabled</Status><Filter><ObjectSizeGreaterThan>1000</ObjectSizeGreaterThan></Filter>{}",
        days(1)
    );
    set(&door, &[&tagged, &large]).await;
    clock.advance(DAY * 3);
    assert_eq!(run(&worker).await.objects, 2);
    assert_eq!(names(&door).await, ["kept", "small"]);
}

#[tokio::test]
async fn clients_are_told_when_an_object_will_go_and_by_which_rule() {
    let (door, ..) = ready().await;
    set(&door, &[&rule("a", &days(2)), &rule("ab", &days(1))]).await;
    let by = |reply: &Reply| {
        let said = reply.header("x-amz-expiration")?;
        assert!(said.starts_with("expiry-date=\""), "{said}");
        said.split("rule-id=\"")
            .nth(1)
            .map(|id| id.trim_end_matches('"').to_owned())
    };
    assert_eq!(by(&put(&door, "abc", &[], b"x").await).as_deref(), Some("r-ab"));
    assert_eq!(by(&put(&door, "ac", &[], b"x").await).as_deref(), Some("r-a"));
    assert_eq!(by(&put(&door, "b", &[], b"x").await), None);
    for line in ["GET /bucket/abc", "HEAD /bucket/abc"] {
        assert_eq!(
            by(&door.alice(line, &[], b"", 200).await).as_deref(),
            Some("r-ab")
        );
    }
    assert_eq!(by(&door.alice("HEAD /bucket/b", &[], b"", 200).await), None);
}

#[tokio::test]
async fn current_versions_get_a_mark_and_old_ones_go() {
    let (door, worker, clock) = ready().await;
    door.alice("PUT /bucket?versioning", &[], VERSIONS, 200).await;
    for body in [b"1", b"2", b"3", b"4"] {
        put(&door, "k", &[], body).await;
    }
    let actions = format!(
        "{}<NoncurrentVersionExpiration><NewerNoncurrentVersions>1</NewerNoncurrentVersions>\
         <NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
        days(4)
    );
    set(&door, &[&rule("", &actions)]).await;
    clock.advance(DAY * 3);
    let done = run(&worker).await;
    assert_eq!(
        (done.objects, done.versions),
        (0, 2),
        "the newest replaced one is kept"
    );
    let body = door.alice("GET /bucket/k", &[], b"", 200).await.body;
    assert_eq!(body, b"4");
    clock.advance(DAY * 3);
    let done = run(&worker).await;
    assert_eq!(
        (done.objects, done.versions),
        (1, 1),
        "what was current is kept now"
    );
    door.alice("GET /bucket/k", &[], b"", 404).await;
    let listed = door.alice("GET /bucket?versions", &[], b"", 200).await;
    assert_eq!(listed.elements("DeleteMarker").len(), 1);
    assert_eq!(listed.elements("Version").len(), 1);
}

#[tokio::test]
async fn a_mark_that_hides_nothing_any_more_goes() {
    let (door, worker, clock) = ready().await;
    door.alice("PUT /bucket?versioning", &[], VERSIONS, 200).await;
    for key in ["bare", "hides"] {
        put(&door, key, &[], b"x").await;
        door.alice(&format!("DELETE /bucket/{key}"), &[], b"", 204).await;
    }
    let listed = door
        .alice("GET /bucket?versions&prefix=bare", &[], b"", 200)
        .await;
    let version = listed.text();
    let version = version.split("<Version>").nth(1).unwrap();
    let id = version
        .split("<VersionId>")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    door.alice(&format!("DELETE /bucket/bare?versionId={id}"), &[], b"", 204)
        .await;
    let marks = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
    set(&door, &[&rule("", marks)]).await;
    clock.advance(Duration::from_secs(60));
    assert_eq!(run(&worker).await.markers, 1);
    let listed = door.alice("GET /bucket?versions", &[], b"", 200).await;
    assert_eq!(listed.elements("Key"), ["hides", "hides"]);
}

#[tokio::test]
async fn locked_versions_stay() {
    let door = Door::open().await;
    let asks = [("x-amz-bucket-object-lock-enabled", "true")];
    door.alice("PUT /bucket", &asks, b"", 200).await;
    let (worker, clock) = worker_of(&door);
    for key in ["free", "held"] {
        put(&door, key, &[], b"x").await;
        put(&door, key, &[], b"y").await;
    }
    let listed = door
        .alice("GET /bucket?versions&prefix=held", &[], b"", 200)
        .await;
    let older = listed.elements("VersionId").pop().unwrap();
    let line = format!("PUT /bucket/held?legal-hold&versionId={older}");
    door.alice(&line, &[], b"<LegalHold><Status>ON</Status></LegalHold>", 200)
        .await;
    let old = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
    set(&door, &[&rule("", old)]).await;
    clock.advance(DAY * 3);
    let done = run(&worker).await;
    assert_eq!((done.versions, done.left), (1, 0));
    let kept = door
        .alice(&format!("GET /bucket/held?versionId={older}"), &[], b"", 200)
        .await;
    assert_eq!(kept.body, b"x");
}

#[tokio::test]
async fn uploads_in_parts_are_given_up_and_finished_objects_keep_theirs() {
    let (door, worker, clock) = ready().await;
    let begin = async |key: &str| {
        let begun = door
            .alice(&format!("POST /bucket/{key}?uploads"), &[], b"", 200)
            .await;
        begun.element("UploadId").unwrap()
    };
    let part = async |key: &str, id: &str| {
        let line = format!("PUT /bucket/{key}?partNumber=1&uploadId={id}");
        let put = door.alice(&line, &[], b"part", 200).await;
        put.header("etag").unwrap().to_owned()
    };
    let (left, done) = (begin("left").await, begin("done").await);
    part("left", &left).await;
    let etag = part("done", &done).await;
    let parts = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let line = format!("POST /bucket/done?uploadId={done}");
    door.alice(&line, &[], parts.as_bytes(), 200).await;
    let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>\
                 </AbortIncompleteMultipartUpload>";
    set(&door, &[&rule("", abort)]).await;
    clock.advance(DAY * 6);
    assert_eq!(run(&worker).await.uploads, 0);
    clock.advance(DAY * 3);
    assert_eq!(run(&worker).await.uploads, 1);
    let under_way = door.alice("GET /bucket?uploads", &[], b"", 200).await;
    assert!(under_way.elements("UploadId").is_empty());
    assert_eq!(door.alice("GET /bucket/done", &[], b"", 200).await.body, b"part");
    let segments = door.swift("GET /v1/AUTH_p/bucket+segments", &[], b"", 200).await;
    assert_eq!(segments.text().trim(), format!("parts/done/{done}/00001"));
}

#[tokio::test]
async fn an_object_made_of_parts_ends_with_its_parts() {
    let (door, worker, clock) = ready().await;
    let begun = door.alice("POST /bucket/k?uploads", &[], b"", 200).await;
    let id = begun.element("UploadId").unwrap();
    let line = format!("PUT /bucket/k?partNumber=1&uploadId={id}");
    let put = door.alice(&line, &[], b"part", 200).await;
    let parts = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        put.header("etag").unwrap()
    );
    let line = format!("POST /bucket/k?uploadId={id}");
    door.alice(&line, &[], parts.as_bytes(), 200).await;
    set(&door, &[&rule("", &days(1))]).await;
    clock.advance(DAY * 3);
    assert_eq!(run(&worker).await.objects, 1);
    door.swift("GET /v1/AUTH_p/bucket+segments", &[], b"", 204).await;
}

#[tokio::test]
async fn more_than_a_page_is_looked_through_to_the_end() {
    let (door, worker, clock) = ready().await;
    let body = || stream::iter([Ok::<_, BodyError>(Bytes::from_static(b"x"))]);
    for n in 0..1003 {
        let name = ObjectName::new("AUTH_p", "bucket", &format!("many/{n:04}")).unwrap();
        door.core
            .put_object(&name, NewObject::new("x/y"), body())
            .await
            .unwrap();
    }
    door.alice("PUT /bucket?versioning", &[], VERSIONS, 200).await;
    let name = ObjectName::new("AUTH_p", "bucket", "one").unwrap();
    for _ in 0..1003 {
        versions::write::put(&door.core, &name, NewObject::new("x/y"), body())
            .await
            .unwrap();
    }
    let old = "<NoncurrentVersionExpiration><NewerNoncurrentVersions>2</NewerNoncurrentVersions>\
               <NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
    set(&door, &[&rule("one", old), &rule("many/", &days(1))]).await;
    clock.advance(DAY * 3);
    let done = run(&worker).await;
    assert_eq!((done.objects, done.versions), (1003, 1000));
    assert_eq!(names(&door).await, ["one"]);
    let left = door.alice("GET /bucket?versions&prefix=one", &[], b"", 200).await;
    assert_eq!(left.elements("VersionId").len(), 3);
}

#[tokio::test]
async fn rules_of_a_bucket_that_is_gone_are_not_those_of_the_next() {
    let (door, worker, clock) = ready().await;
    set(&door, &[&rule("", &days(1))]).await;
    door.alice("DELETE /bucket", &[], b"", 204).await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    put(&door, "k", &[], b"x").await;
    let none = door.alice("GET /bucket?lifecycle", &[], b"", 404).await;
    assert_eq!(none.code(), "NoSuchLifecycleConfiguration");
    clock.advance(DAY * 3);
    assert_eq!(worker.round().await.unwrap().buckets, 0);
    assert_eq!(names(&door).await, ["k"]);
}
