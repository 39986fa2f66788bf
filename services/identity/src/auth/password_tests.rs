//! Password checks by their behaviour.
use virga_node::clock::ManualClock;

use super::*;

fn passwords(config: PasswordConfig) -> (Arc<ManualClock>, Passwords) {
    let clock = Arc::new(ManualClock::new(Micros(1)));
    (clock.clone(), Passwords::new(&config, clock).unwrap())
}

fn cheap() -> PasswordConfig {
    PasswordConfig {
        memory_kib: 8,
        passes: 1,
        ..PasswordConfig::default()
    }
}

#[tokio::test]
async fn a_good_password_passes_and_anything_else_does_not() {
    let (_, p) = passwords(cheap());
    let hash = p.hash("secret").await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
    assert!(p.verify("u", "secret", Some(&hash)).await.unwrap());
    assert!(!p.verify("u", "Secret", Some(&hash)).await.unwrap());
    assert!(!p.verify("u", "", Some(&hash)).await.unwrap());
    assert!(!p.verify("u", "secret", None).await.unwrap());
    assert!(
        !p.verify("u", &"x".repeat(MAX_PASSWORD + 1), Some(&hash))
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn hashes_imported_from_keystone_are_honoured() {
    // bcrypt.hashpw(b'secret', bcrypt.gensalt(4)) of Python's bcrypt.
    let hash = "$2b$04$tWTcGDeZrG7xBl.Hquj0suNBIxPwOLgkJqbdjqarWJjio401KOPMi";
    let (_, p) = passwords(cheap());
    assert!(p.verify("u", "secret", Some(hash)).await.unwrap());
    assert!(!p.verify("u", "secres", Some(hash)).await.unwrap());
}

#[tokio::test]
async fn only_the_same_user_password_and_hash_are_remembered_and_not_for_long() {
    let (clock, p) = passwords(PasswordConfig {
        remember: 10,
        ..cheap()
    });
    let hash = p.hash("secret").await.unwrap();
    p.verify("u", "secret", Some(&hash)).await.unwrap();
    assert!(p.remembers(&p.tag("u", "secret", &hash)));
    assert!(!p.remembers(&p.tag("v", "secret", &hash)));
    assert!(!p.remembers(&p.tag("u", "secret", "another hash")));
    p.verify("u", "wrong", Some(&hash)).await.unwrap();
    assert!(!p.remembers(&p.tag("u", "wrong", &hash)));
    clock.advance(Duration::from_secs(10));
    assert!(!p.remembers(&p.tag("u", "secret", &hash)));
}

#[tokio::test]
async fn a_full_queue_turns_away_instead_of_growing() {
    let (_, p) = passwords(PasswordConfig { queue: 1, ..cheap() });
    let turn = p.turns.clone().acquire_owned().await.unwrap();
    let first = p.hash("a");
    tokio::pin!(first);
    assert!(futures_poll(&mut first).await.is_none());
    assert!(matches!(p.hash("b").await, Err(AuthError::Overloaded)));
    drop(turn);
    first.await.unwrap();
    p.hash("c").await.unwrap();
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = std::pin::Pin::new(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(out) => std::task::Poll::Ready(Some(out)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
