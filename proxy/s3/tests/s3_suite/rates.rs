//! Requests that come too fast. Rates are so low that no machine is too slow
//! for them, and waits so short that nobody waits.
use virga_proxy::swift::config::Config as SwiftConfig;
use virga_proxy::swift::ratelimit::{RateLimits, SizedRate};

use super::door::{Door, MALLORY, Reply};

fn rarely() -> Vec<SizedRate> {
    vec![SizedRate {
        objects: 0,
        rate: 0.001,
    }]
}

async fn limited(limits: RateLimits) -> Door {
    Door::with(SwiftConfig {
        ratelimit: RateLimits {
            max_sleep_time_seconds: 0.0,
            ..limits
        },
        ..SwiftConfig::default()
    })
    .await
}

fn is_slowed_down(reply: &Reply, line: &str) {
    let answer = (reply.status, reply.code());
    assert_eq!(answer, (503, "SlowDown".into()), "{line}: {}", reply.text());
}

#[tokio::test]
async fn who_writes_objects_too_fast_is_told_to_slow_down_in_either_dialect() {
    let door = limited(RateLimits {
        container_ratelimits: rarely(),
        ..RateLimits::default()
    })
    .await;
    for bucket in ["first", "second", "third"] {
        door.alice(&format!("PUT /{bucket}"), &[], b"", 200).await;
    }
    // Who may not write uses nothing up.
    for _ in 0..3 {
        let stranger = door.call(MALLORY, "PUT /p:first/k", &[], b"x").await;
        assert_eq!(stranger.status, 403, "{}", stranger.text());
    }
    door.alice("PUT /first/k", &[], b"x", 200).await;
    let tags = b"<Tagging><TagSet></TagSet></Tagging>";
    for (line, body) in [
        ("PUT /first/k", &b""[..]),
        ("DELETE /first/k", b""),
        ("PUT /first/k?tagging", tags),
        ("POST /first/k?uploads", b""),
    ] {
        is_slowed_down(&door.alice(line, &[], body, 503).await, line);
    }
    door.swift("PUT /v1/AUTH_p/first/o", &[], b"x", 498).await;
    // The other way round.
    door.swift("PUT /v1/AUTH_p/second/o", &[], b"x", 201).await;
    is_slowed_down(&door.alice("PUT /second/k", &[], b"x", 503).await, "second");
    // Reading is not limited.
    door.alice("GET /first/k", &[], b"", 200).await;
    door.alice("HEAD /first/k", &[], b"", 200).await;
    door.alice("GET /first", &[], b"", 200).await;
    // Of several in one request each counts.
    let two = b"<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>";
    let report = door.alice("POST /third?delete", &[], two, 200).await;
    assert_eq!(report.elements("Deleted").len(), 1, "{}", report.text());
    assert_eq!(report.elements("Code"), ["SlowDown"], "{}", report.text());
}

#[tokio::test]
async fn buckets_are_made_and_listed_no_faster_than_allowed() {
    let door = limited(RateLimits {
        account_ratelimit: 0.001,
        container_listing_ratelimits: rarely(),
        account_blacklist: vec!["AUTH_q".into()],
        ..RateLimits::default()
    })
    .await;
    door.alice("PUT /bucket", &[], b"", 200).await;
    for line in ["PUT /other", "DELETE /bucket"] {
        is_slowed_down(&door.alice(line, &[], b"", 503).await, line);
    }
    door.alice("PUT /bucket/k", &[], b"x", 200).await;
    door.alice("GET /bucket?list-type=2", &[], b"", 200).await;
    for line in ["GET /bucket", "GET /bucket?versions", "GET /bucket?uploads"] {
        is_slowed_down(&door.alice(line, &[], b"", 503).await, line);
    }
    // Settings are not listings.
    door.alice("GET /bucket?acl", &[], b"", 200).await;
    door.alice("HEAD /bucket", &[], b"", 200).await;
    let refused = door.call(MALLORY, "PUT /bucket", &[], b"").await;
    assert_eq!((refused.status, refused.code()), (403, "AccessDenied".into()));
}
