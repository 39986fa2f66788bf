//! Who holds an access key, and the secret it signs with.
//!
//! Identity tells ([`KeySource`]); what it told is used for [`FRESH`] without
//! asking again, so a key that was deleted, or whose user lost the role, opens
//! nothing after that.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use s3s::{S3Result, s3_error};
use virga_identity_api::caller::Caller;
use virga_node::clock::{Clock, Micros};
use zeroize::Zeroizing;

/// How long an answer of identity is used.
pub const FRESH: Duration = Duration::from_secs(5);
/// Most keys held. Beyond that those that are no longer fresh go, then all.
const MOST: usize = 10_000;

/// A key and whose it is.
pub struct Key {
    /// What requests are signed with.
    pub secret: Zeroizing<String>,
    /// The user behind it, on the project that the key is for.
    pub caller: Arc<Caller>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("user_id", &self.caller.user_id)
            .finish_non_exhaustive()
    }
}

/// Keys cannot be told now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keys cannot be looked up now: {0}")]
pub struct KeysUnavailable(pub String);

/// Tells who holds a key. Identity's part of the bargain.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The key with this access key, if it exists and may be used now.
    async fn key(&self, access: &str) -> Result<Option<Key>, KeysUnavailable>;
}

/// Keys, as they were told lately.
pub(crate) struct Keys {
    source: Arc<dyn KeySource>,
    clock: Arc<dyn Clock>,
    held: Mutex<HashMap<String, (Micros, Arc<Key>)>>,
}

impl Keys {
    pub(crate) fn new(source: Arc<dyn KeySource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            held: Mutex::default(),
        }
    }

    /// The key, or AWS's error for one that is not known.
    pub(crate) async fn get(&self, access: &str) -> S3Result<Arc<Key>> {
        let now = self.clock.now();
        if let Some(key) = self.fresh(access, now) {
            return Ok(key);
        }
        let found = self.source.key(access).await.map_err(|error| {
            tracing::warn!(%error, "an S3 request cannot be authenticated");
            s3_error!(
                ServiceUnavailable,
                "Keys cannot be checked now. Please try again."
            )
        })?;
        let key = Arc::new(found.ok_or_else(|| s3_error!(InvalidAccessKeyId))?);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.retain(|_, (told, _)| is_fresh(*told, now));
        }
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(access.to_owned(), (now, key.clone()));
        Ok(key)
    }

    fn fresh(&self, access: &str, now: Micros) -> Option<Arc<Key>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, key) = held.get(access)?;
        is_fresh(*told, now).then(|| key.clone())
    }
}

/// Whether what was told then may still be used. A clock that went back makes
/// everything stale.
fn is_fresh(told: Micros, now: Micros) -> bool {
    told <= now && now < told.plus(FRESH)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use virga_identity_api::caller::Scope;

    use super::*;

    #[derive(Debug, Default)]
    struct Hands(AtomicU64);

    impl Clock for Hands {
        fn now(&self) -> Micros {
            Micros(self.0.load(Ordering::Relaxed))
        }
    }

    #[derive(Default)]
    struct Counting(AtomicUsize);

    #[async_trait]
    impl KeySource for Counting {
        async fn key(&self, access: &str) -> Result<Option<Key>, KeysUnavailable> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let caller = Caller {
                user_id: "u".into(),
                scope: Scope::Project("p".into()),
                roles: Vec::new(),
                methods: Vec::new(),
                issued_at: Micros(0),
                expires_at: Micros(0),
                audit_ids: Vec::new(),
                delegation: None,
                access_rules: None,
            };
            Ok(access.starts_with("known").then(|| Key {
                secret: Zeroizing::new("s".into()),
                caller: Arc::new(caller),
            }))
        }
    }

    #[tokio::test]
    async fn a_key_is_asked_for_once_while_it_is_fresh_and_the_number_held_is_bounded() {
        let (source, hands) = (Arc::new(Counting::default()), Arc::new(Hands::default()));
        let keys = Keys::new(source.clone(), hands.clone());
        assert!(keys.get("known").await.is_ok() && keys.get("known").await.is_ok());
        assert_eq!(source.0.load(Ordering::Relaxed), 1);
        hands.0.store(FRESH.as_micros() as u64, Ordering::Relaxed);
        assert!(keys.get("known").await.is_ok() && keys.get("other").await.is_err());
        assert_eq!(source.0.load(Ordering::Relaxed), 3);
        for n in 0..MOST + 10 {
            assert!(keys.get(&format!("known{n}")).await.is_ok());
        }
        assert!(keys.held.lock().unwrap().len() <= MOST);
    }
}
