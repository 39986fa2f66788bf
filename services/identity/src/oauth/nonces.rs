//! Signed requests that were shown: each is good once.
//!
//! Remembered for as long as its timestamp lets it pass, by a hash, in a bounded
//! memory: when that is full, nothing new passes until the oldest may be
//! forgotten. Only who has a secret gets this far. Kept by each process for
//! itself.
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use super::signature::Signed;

/// Requests of one generation; two are kept.
const GENERATION: usize = 50_000;

/// Too many requests are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Default)]
struct Seen {
    young: HashSet<u64>,
    old: HashSet<u64>,
    /// When `young` began, seconds since the epoch.
    since: u64,
}

/// What was shown.
#[derive(Debug, Default)]
pub(crate) struct UsedNonces {
    hasher: RandomState,
    seen: Mutex<Seen>,
}

impl UsedNonces {
    /// Whether the request is shown for the first time. Its timestamp is within
    /// `window` seconds of `now`.
    pub(crate) fn accept(&self, signed: &Signed, now: u64, window: u64) -> Result<bool, Full> {
        let key = (&signed.consumer, &signed.token, signed.timestamp, &signed.nonce);
        let key = self.hasher.hash_one(key);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // From the future by a window, it passes until two windows from now.
        let span = 2 * window + 1;
        if now.saturating_sub(seen.since) >= 2 * span {
            *seen = Seen::default();
            seen.since = now;
        } else if now.saturating_sub(seen.since) >= span {
            seen.old = std::mem::take(&mut seen.young);
            seen.since = now;
        }
        if seen.young.contains(&key) || seen.old.contains(&key) {
            return Ok(false);
        }
        if seen.young.len() >= GENERATION {
            return Err(Full);
        }
        seen.young.insert(key);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(nonce: &str, timestamp: u64) -> Signed {
        let header = format!(
            "OAuth oauth_consumer_key=\"c\", oauth_nonce=\"{nonce}\", oauth_timestamp=\"{timestamp}\", \
             oauth_signature_method=\"HMAC-SHA1\", oauth_signature=\"AAAA\""
        );
        Signed::read(&header, "GET", "http://h/", &[]).unwrap()
    }

    #[test]
    fn a_request_passes_once_for_as_long_as_its_timestamp_would_let_it() {
        let used = UsedNonces::default();
        let (now, window) = (1_000_000, 100);
        // From the future: it could be shown again until two windows from now.
        let early = signed("a", now + window);
        assert_eq!(used.accept(&early, now, window), Ok(true));
        for later in [0, 1, 100, 199, 200] {
            assert_eq!(
                used.accept(&early, now + later, window),
                Ok(false),
                "after {later} s"
            );
            let other = signed(&format!("n{later}"), now + later);
            assert_eq!(used.accept(&other, now + later, window), Ok(true));
        }
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let used = UsedNonces::default();
        let (now, window) = (1_000_000, 100);
        for n in 0..GENERATION {
            assert_eq!(used.accept(&signed(&n.to_string(), now), now, window), Ok(true));
        }
        assert_eq!(used.accept(&signed("x", now), now, window), Err(Full));
        let later = now + 2 * window + 1;
        assert_eq!(used.accept(&signed("x", later), later, window), Ok(true));
    }
}
