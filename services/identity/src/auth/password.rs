//! Password hashing and checking, off the async threads.
//!
//! A hash costs tens of milliseconds and megabytes on purpose, so at most a
//! few are computed at once and the queue is bounded. A password that was good
//! a moment ago is remembered under a keyed hash, because command line clients
//! authenticate at every run. Failures are never remembered, and a user that
//! does not exist costs the same as a wrong password.
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;
use virga_node::clock::{Clock, Micros};
use zeroize::Zeroizing;

use super::AuthError;
use crate::config::PasswordConfig;

/// Longest password, in bytes. Longer ones are refused, not cut.
pub(crate) const MAX_PASSWORD: usize = 4096;
/// Good passwords remembered at most.
const REMEMBERED: usize = 1024;

/// Checks and makes password hashes.
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    remember: Duration,
    clock: Arc<dyn Clock>,
    /// Key of the remembered hashes; lives as long as the process.
    secret: Zeroizing<[u8; 32]>,
    remembered: Mutex<HashMap<[u8; 32], Micros>>,
    /// Checked against when there is no such user.
    dummy: String,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

fn hash_error(error: impl std::fmt::Display) -> AuthError {
    AuthError::Hash(error.to_string())
}

fn compute(argon2: &Argon2<'_>, password: &[u8]) -> Result<String, AuthError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    Ok(argon2
        .hash_password_with_salt(password, &salt)
        .map_err(hash_error)?
        .to_string())
}

fn check(hash: &str, password: &[u8]) -> Result<bool, AuthError> {
    if hash.starts_with("$2") {
        return bcrypt::verify(password, hash).map_err(hash_error);
    }
    let hash = PasswordHash::new(hash).map_err(hash_error)?;
    // The parameters come from the hash, so old hashes stay good.
    Ok(Argon2::default().verify_password(password, &hash).is_ok())
}

impl Passwords {
    pub(crate) fn new(config: &PasswordConfig, clock: Arc<dyn Clock>) -> Result<Self, AuthError> {
        let params = Params::new(config.memory_kib, config.passes, 1, None).map_err(hash_error)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret)?;
        let dummy = compute(&argon2, &*secret)?;
        Ok(Self {
            argon2,
            turns: Arc::new(Semaphore::new(config.concurrent.max(1))),
            waiting: AtomicUsize::new(0),
            queue: config.queue,
            remember: Duration::from_secs(config.remember),
            clock,
            secret,
            remembered: Mutex::default(),
            dummy,
        })
    }

    /// Runs `work` when its turn comes, on a thread that may block.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, AuthError> {
        let place = Place::take(&self.waiting, self.queue).ok_or(AuthError::Overloaded)?;
        let turn = self
            .turns
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| AuthError::Overloaded)?;
        drop(place);
        // The turn goes along: a client that hangs up must not free it early.
        let task = tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop(turn);
            outcome
        });
        task.await.map_err(hash_error)?
    }

    /// The hash to store for `password`.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, AuthError> {
        let argon2 = self.argon2.clone();
        let password = Zeroizing::new(password.to_owned());
        self.off_thread(move || compute(&argon2, password.as_bytes()))
            .await
    }

    /// Whether `password` is the one behind `hash`. Without a hash the answer
    /// is no, after the same work.
    pub(crate) async fn verify(
        &self,
        user_id: &str,
        password: &str,
        hash: Option<&str>,
    ) -> Result<bool, AuthError> {
        let known = hash.is_some() && password.len() <= MAX_PASSWORD;
        let hash = hash.filter(|_| known).unwrap_or(&self.dummy).to_owned();
        let tag = self.tag(user_id, password, &hash);
        if known && self.remembers(&tag) {
            return Ok(true);
        }
        let shown = Zeroizing::new(if known { password.to_owned() } else { String::new() });
        let good = self.off_thread(move || check(&hash, shown.as_bytes())).await? && known;
        if good {
            self.remember(tag);
        }
        Ok(good)
    }

    fn tag(&self, user_id: &str, password: &str, hash: &str) -> [u8; 32] {
        // HMAC takes a key of any length.
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.secret) else {
            unreachable!("HMAC refused a 32 byte key")
        };
        for part in [user_id, hash, password] {
            mac.update(&part.len().to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn remembers(&self, tag: &[u8; 32]) -> bool {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(tag).is_some_and(|until| *until > self.clock.now())
    }

    fn remember(&self, tag: [u8; 32]) {
        let now = self.clock.now();
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, until| *until > now);
        }
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(tag, now.plus(self.remember));
    }
}

/// A place in the queue; gives itself back.
struct Place<'p>(&'p AtomicUsize);

impl<'p> Place<'p> {
    fn take(waiting: &'p AtomicUsize, limit: usize) -> Option<Self> {
        let took = waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            (n < limit).then_some(n + 1)
        });
        took.is_ok().then(|| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[path = "password_tests.rs"]
mod tests;
