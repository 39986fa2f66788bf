//! Accounts that may only be read for a time.
use super::door::{ADMIN, ALICE, Door, MALLORY};

const WRITES: &[&str] = &[
    "PUT /v1/AUTH_p",
    "POST /v1/AUTH_p",
    "POST /v1/AUTH_p?bulk-delete",
    "PUT /v1/AUTH_p/d",
    "POST /v1/AUTH_p/c",
    "DELETE /v1/AUTH_p/c",
    "PUT /v1/AUTH_p/c/o",
    "PUT /v1/AUTH_p/c/o?temp_url_sig=00&temp_url_expires=1",
    "POST /v1/AUTH_p/c/o",
    "COPY /v1/AUTH_p/c/o",
    "DELETE /v1/AUTH_p/c/o",
];

async fn filled(all: bool) -> Door {
    let door = Door::with(|config| config.swift.read_only = all).await;
    let open = [("X-Account-Sysmeta-Read-Only", "false")];
    if all {
        let opened = door.call(ADMIN, "PUT /v1/AUTH_p", &open, b"").await;
        assert_eq!(opened.status, 201, "{}", opened.text());
    }
    door.alice("PUT /v1/AUTH_p/c", &[], b"", 201).await;
    door.alice("PUT /v1/AUTH_p/c/o", &[], b"abc", 201).await;
    door
}

async fn set(door: &Door, who: &str, word: &str) -> u16 {
    let word = [("X-Account-Sysmeta-Read-Only", word)];
    door.call(who, "POST /v1/AUTH_p", &word, b"").await.status
}

#[tokio::test]
async fn a_locked_account_is_read_and_not_written_until_it_is_unlocked() {
    let door = filled(false).await;
    assert_eq!(set(&door, ADMIN, "True").await, 204);
    for line in WRITES {
        for who in [ALICE, ADMIN, MALLORY, ""] {
            let refused = door.call(who, line, &[("Destination", "c/x")], b"").await;
            assert_eq!(refused.status, 405, "{line} {who}");
            assert_eq!(refused.text(), "Writes are disabled for this account.", "{line}");
        }
    }
    let got = door.alice("GET /v1/AUTH_p/c/o", &[], b"", 200).await;
    assert_eq!(got.text(), "abc");
    door.alice("GET /v1/AUTH_p/c", &[], b"", 200).await;
    // Nothing goes there from another account either.
    let from = [("X-Container-Read", "p:*")];
    assert_eq!(
        door.call(MALLORY, "PUT /v1/AUTH_q/c", &from, b"").await.status,
        201
    );
    assert_eq!(
        door.call(MALLORY, "PUT /v1/AUTH_q/c/o", &[], b"x").await.status,
        201
    );
    let there = [("Destination", "c/x"), ("Destination-Account", "AUTH_p")];
    let copied = door.call(ALICE, "COPY /v1/AUTH_q/c/o", &there, b"").await;
    assert_eq!(copied.status, 405);
    assert_eq!(set(&door, ADMIN, "").await, 204);
    door.alice("PUT /v1/AUTH_p/c/x", &[], b"", 201).await;
}

#[tokio::test]
async fn nobody_but_the_reseller_admin_locks_unlocks_or_sees_it() {
    let door = filled(false).await;
    assert_eq!(
        set(&door, ALICE, "true").await,
        204,
        "left out, as all that is internal"
    );
    door.alice("PUT /v1/AUTH_p/c/x", &[], b"", 201).await;
    assert_eq!(set(&door, ADMIN, "maybe").await, 400);
    assert_eq!(set(&door, ADMIN, "true").await, 204);
    for who in [ALICE, MALLORY, ""] {
        assert_eq!(set(&door, who, "false").await, 405, "{who}");
    }
    let bulk = [("X-Account-Sysmeta-Read-Only", "false")];
    let bulk = door
        .call(ADMIN, "POST /v1/AUTH_p?bulk-delete", &bulk, b"c/o")
        .await;
    assert_eq!(bulk.status, 405);
    let seen = async |who| {
        let head = door.call(who, "HEAD /v1/AUTH_p", &[], b"").await;
        head.header("x-account-sysmeta-read-only").map(str::to_owned)
    };
    assert_eq!(seen(ADMIN).await.as_deref(), Some("true"));
    assert_eq!(seen(ALICE).await, None);
}

#[tokio::test]
async fn an_account_may_be_written_though_all_others_may_not() {
    let door = filled(true).await;
    let info = door.call("", "GET /info", &[], b"").await.json();
    assert!(info["read_only"].is_object());
    assert_eq!(door.call(MALLORY, "PUT /v1/AUTH_q/c", &[], b"").await.status, 405);
    door.alice("DELETE /v1/AUTH_p/c/o", &[], b"", 204).await;
}
