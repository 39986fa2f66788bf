//! The verifier by its behaviour.
use std::sync::atomic::{AtomicUsize, Ordering};

use virga_node::clock::ManualClock;

use super::*;
use crate::fernet::Key;
use crate::keys::KeySet;
use crate::payload::new_audit_id;
use crate::revocation::Revocation;

const START: Micros = Micros(1_766_400_000_000_000);

struct Asked(AtomicUsize);

#[async_trait]
impl RoleSource for Asked {
    async fn resolve(&self, token: &Payload) -> Result<Resolved, TokenError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Resolved {
            user_id: token.user_id.clone(),
            roles: vec![format!("role-of-{}", token.user_id)],
        })
    }

    async fn access_rules(&self, credential_id: &str) -> Result<Option<Vec<AccessRule>>, TokenError> {
        match credential_id {
            "gone" => Err(TokenError::Revoked),
            "free" => Ok(None),
            _ => Ok(Some(vec![AccessRule {
                service: "identity".into(),
                method: "GET".into(),
                path: "/v3/users/*".into(),
            }])),
        }
    }
}

struct Bench {
    keys: Arc<KeyRing>,
    revocations: Arc<Revocations>,
    clock: Arc<ManualClock>,
    asked: Arc<Asked>,
    verifier: LocalVerifier,
}

fn bench() -> Bench {
    let keys = Arc::new(KeyRing::fixed(KeySet::new(Key::generate().unwrap(), vec![])));
    let revocations = Arc::new(Revocations::new());
    let clock = Arc::new(ManualClock::new(START));
    let asked = Arc::new(Asked(AtomicUsize::new(0)));
    let verifier = LocalVerifier::new(
        keys.clone(),
        revocations.clone(),
        clock.clone(),
        Some(asked.clone()),
    );
    Bench {
        keys,
        revocations,
        clock,
        asked,
        verifier,
    }
}

fn payload(roles: Option<Vec<String>>) -> Payload {
    Payload {
        user_id: "u".into(),
        methods: vec!["password".into()],
        scope: Scope::Project("p".into()),
        issued_at: START,
        expires_at: START.plus(Duration::from_secs(60)),
        audit_ids: vec![new_audit_id().unwrap()],
        roles,
        delegation: None,
        federation: None,
        presented_by: None,
    }
}

#[tokio::test]
async fn a_token_with_access_rules_is_good_for_those_calls_only() {
    let b = bench();
    let mut narrow = payload(Some(vec!["member".into()]));
    let of = |id: &str| {
        Some(Delegation::ApplicationCredential {
            id: id.into(),
            ruled: true,
        })
    };
    narrow.delegation = of("c");
    let token = narrow.seal(&b.keys).unwrap();
    let caller = b.verifier.verify(&token).await.unwrap();
    assert!(caller.may_call("identity", "GET", "/v3/users/u"));
    assert!(!caller.may_call("identity", "DELETE", "/v3/users/u"));
    assert!(!caller.may_call("object-store", "GET", "/v3/users/u"));
    // Keystone's tokens do not say whether there are rules.
    narrow.delegation = of("free");
    let free = narrow.seal(&b.keys).unwrap();
    let caller = b.verifier.verify(&free).await.unwrap();
    assert!(caller.may_call("object-store", "GET", "/v3/users/u"));
    narrow.delegation = of("gone");
    let gone = narrow.seal(&b.keys).unwrap();
    assert_eq!(b.verifier.verify(&gone).await, Err(TokenError::Revoked));
    let alone = LocalVerifier::new(b.keys, b.revocations, b.clock, None);
    assert!(matches!(
        alone.verify(&token).await,
        Err(TokenError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_token_is_good_until_its_time_is_over() {
    let b = bench();
    let token = payload(Some(vec!["member".into()])).seal(&b.keys).unwrap();
    let caller = b.verifier.verify(&token).await.unwrap();
    assert_eq!((caller.user_id.as_str(), caller.project_id()), ("u", Some("p")));
    assert!(caller.has_role("Member") && !caller.has_role("admin"));
    b.clock.advance(Duration::from_secs(59));
    b.verifier.verify(&token).await.unwrap();
    b.clock.advance(Duration::from_secs(1));
    assert_eq!(b.verifier.verify(&token).await, Err(TokenError::Expired));
    assert_eq!(
        bench().verifier.verify(&token).await,
        Err(TokenError::Invalid),
        "another cloud's keys"
    );
}

#[tokio::test]
async fn a_revocation_reaches_tokens_that_were_verified_before() {
    let b = bench();
    let token = payload(Some(vec![])).seal(&b.keys).unwrap();
    b.verifier.verify(&token).await.unwrap();
    let other = Revocation {
        issued_before: START,
        user_id: Some("someone".into()),
        ..Revocation::default()
    };
    b.revocations.add(other, START);
    b.verifier.verify(&token).await.unwrap();
    let event = Revocation {
        issued_before: START,
        user_id: Some("u".into()),
        ..Revocation::default()
    };
    b.revocations.add(event, START);
    assert_eq!(b.verifier.verify(&token).await, Err(TokenError::Revoked));
}

#[tokio::test]
async fn roles_are_asked_for_once_in_a_while_when_the_token_carries_none() {
    let b = bench();
    let token = payload(None).seal(&b.keys).unwrap();
    for _ in 0..3 {
        assert!(b.verifier.verify(&token).await.unwrap().has_role("role-of-u"));
    }
    assert_eq!(b.asked.0.load(Ordering::SeqCst), 1);
    b.clock.advance(ASKED_LIFETIME);
    b.verifier.verify(&token).await.unwrap();
    assert_eq!(b.asked.0.load(Ordering::SeqCst), 2);
    let alone = LocalVerifier::new(b.keys.clone(), b.revocations.clone(), b.clock.clone(), None);
    assert!(matches!(
        alone.verify(&token).await,
        Err(TokenError::Unavailable(_))
    ));
}

#[tokio::test]
async fn the_cache_stays_bounded() {
    let b = bench();
    for _ in 0..3 * CACHED {
        let token = payload(Some(vec![])).seal(&b.keys).unwrap();
        b.verifier.verify(&token).await.unwrap();
    }
    let cache = b.verifier.cache.lock().unwrap();
    assert!(cache.young.len() <= CACHED && cache.old.len() <= CACHED);
}

#[tokio::test]
async fn absurd_tokens_are_refused() {
    let b = bench();
    for token in ["", "x", &"A".repeat(100_000), "gAAAAABpSSAA", "\u{1F600}"] {
        assert_eq!(b.verifier.verify(token).await, Err(TokenError::Invalid));
    }
}
