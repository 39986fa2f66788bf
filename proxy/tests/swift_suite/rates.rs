//! Requests that come too fast. Rates are so low that no machine is too slow
//! for them, and waits so short that nobody waits.
use virga_proxy::swift::ratelimit::{RateLimits, SizedRate};

use super::door::{ADMIN, ALICE, Door};

fn rarely() -> Vec<SizedRate> {
    let sized = |objects| SizedRate { objects, rate: 0.001 };
    vec![sized(0)]
}

async fn limited(limits: RateLimits) -> Door {
    Door::with(|config| {
        config.swift.ratelimit = RateLimits {
            max_sleep_time_seconds: 0.0,
            ..limits
        };
    })
    .await
}

#[tokio::test]
async fn who_writes_objects_too_fast_is_told_to_slow_down() {
    let door = limited(RateLimits {
        container_ratelimits: rarely(),
        account_whitelist: vec!["AUTH_q".into()],
        ..RateLimits::default()
    })
    .await;
    for container in ["c", "d"] {
        door.alice(&format!("PUT /v1/AUTH_p/{container}"), &[], b"", 201)
            .await;
    }
    // Strangers count for nothing.
    for _ in 0..3 {
        let stranger = door.call("", "PUT /v1/AUTH_p/c/o", &[], b"x").await;
        assert_eq!(stranger.status, 401);
    }
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"x", 201).await;
    for line in [
        "PUT /v1/AUTH_p/c/o",
        "POST /v1/AUTH_p/c/o",
        "DELETE /v1/AUTH_p/c/o",
        "COPY /v1/AUTH_p/c/o",
    ] {
        let refused = door.alice(line, &[("Destination", "d/o")], b"", 498).await;
        assert_eq!(refused.text(), "Slow down", "{line}");
    }
    // Reading is not limited, and neither are other containers.
    door.alice("GET /v1/AUTH_p/c/o", &[], b"", 200).await;
    door.alice("GET /v1/AUTH_p/c", &[], b"", 200).await;
    door.alice("PUT /v1/AUTH_p/d/o", &[], b"x", 201).await;
    // Of several in one request each counts.
    let headers = [("Content-Type", "text/plain"), ("Accept", "application/json")];
    let report = door
        .alice("POST /v1/AUTH_p?bulk-delete", &headers, b"/c/o\n/d/o", 200)
        .await
        .json();
    assert_eq!(report["Number Deleted"], 0, "{report}");
    assert_eq!(report["Errors"][0][1], "498 Rate Limited", "{report}");
    // Those on the white list go on.
    for line in ["PUT /v1/AUTH_q/c", "PUT /v1/AUTH_q/c/a", "PUT /v1/AUTH_q/c/b"] {
        assert_eq!(door.call(ADMIN, line, &[], b"").await.status, 201, "{line}");
    }
    let info = door.call(ALICE, "GET /info", &[], b"").await.json();
    assert_eq!(info["ratelimit"]["container_ratelimits"][0][0], 0, "{info}");
}

#[tokio::test]
async fn containers_are_made_and_listed_no_faster_than_allowed() {
    let door = limited(RateLimits {
        account_ratelimit: 0.001,
        container_listing_ratelimits: rarely(),
        ..RateLimits::default()
    })
    .await;
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    for line in ["PUT /v1/AUTH_p/d", "DELETE /v1/AUTH_p/c"] {
        door.alice(line, &[], b"", 498).await;
    }
    door.alice("POST /v1/AUTH_p/c", &[("X-Container-Meta-A", "1")], b"", 204)
        .await;
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"x", 201).await;
    door.alice("GET /v1/AUTH_p/c", &[], b"", 200).await;
    door.alice("GET /v1/AUTH_p/c", &[], b"", 498).await;
    door.alice("HEAD /v1/AUTH_p/c", &[], b"", 204).await;
}

#[tokio::test]
async fn accounts_on_the_black_list_get_nothing_done_that_is_limited() {
    let door = limited(RateLimits {
        account_blacklist: vec!["AUTH_p".into()],
        ..RateLimits::default()
    })
    .await;
    let refused = door.alice("PUT /v1/AUTH_p/c", &[], b"", 497).await;
    assert_eq!(refused.text(), "Your account has been blacklisted");
    door.alice("HEAD /v1/AUTH_p", &[], b"", 204).await;
}
