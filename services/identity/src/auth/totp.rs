//! Time-based one-time passcodes (RFC 6238): SHA-1, six digits, 30 seconds.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// Length of a step, in seconds.
const STEP: u64 = 30;
/// Steps before the current one that still count: clocks differ, people type.
const EARLIER: u64 = 1;
/// Used passcodes remembered at most. They are forgotten when their step is
/// over, so this many users can sign in within a minute.
const REMEMBERED: usize = 10_000;

/// The passcode of one step.
fn passcode(secret: &[u8], step: u64) -> String {
    let Ok(mut mac) = <Hmac<Sha1> as KeyInit>::new_from_slice(secret) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let offset = usize::from(digest[19] & 0xf);
    let word = [
        digest[offset] & 0x7f,
        digest[offset + 1],
        digest[offset + 2],
        digest[offset + 3],
    ];
    format!("{:06}", u32::from_be_bytes(word) % 1_000_000)
}

/// Reads base32 (RFC 4648), with or without padding, in either case.
pub(crate) fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut have) = (Vec::new(), 0u32, 0u32);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c.to_ascii_uppercase() {
            c @ b'A'..=b'Z' => c - b'A',
            c @ b'2'..=b'7' => c - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5) | u32::from(value);
        have += 5;
        if have >= 8 {
            have -= 8;
            out.push(u8::try_from((bits >> have) & 0xff).unwrap_or(0));
        }
    }
    (!out.is_empty()).then_some(out)
}

/// The step whose passcode `shown` is, at `now` in seconds since the epoch.
fn step_of(secret: &[u8], shown: &str, now: u64) -> Option<u64> {
    let current = now / STEP;
    let mut found = None;
    // All are computed, whichever fits, so that time tells nothing.
    for step in current.saturating_sub(EARLIER)..=current {
        if bool::from(passcode(secret, step).as_bytes().ct_eq(shown.as_bytes())) {
            found = Some(step);
        }
    }
    found
}

/// Passcodes that were used: each is good once.
#[derive(Debug, Default)]
pub(crate) struct UsedPasscodes(Mutex<HashMap<String, u64>>);

impl UsedPasscodes {
    /// Whether `shown` is the passcode behind one of the credential's `secret`,
    /// and was not used before. `id` is the credential's.
    pub(crate) fn accept(&self, id: &str, secret: &[u8], shown: &str, now: u64) -> bool {
        let Some(step) = step_of(secret, shown, now) else {
            return false;
        };
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.get(id).is_some_and(|last| *last >= step) {
            return false;
        }
        if used.len() >= REMEMBERED {
            used.retain(|_, step| *step + EARLIER >= now / STEP);
        }
        // Rather nobody signs in for a moment than a passcode counts twice.
        if used.len() >= REMEMBERED && !used.contains_key(id) {
            return false;
        }
        used.insert(id.to_owned(), step);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passcodes_are_those_of_the_standard() {
        // RFC 6238, appendix B, the last six of its eight digits.
        let secret = b"12345678901234567890";
        for (at, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(passcode(secret, at / STEP), code);
        }
        assert_eq!(base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap(), secret);
        assert_eq!(base32("mzxw6===").unwrap(), b"foo");
        assert!(base32("not base32!").is_none() && base32("").is_none());
    }

    #[test]
    fn a_passcode_counts_for_two_steps_and_once() {
        let (used, secret) = (UsedPasscodes::default(), b"12345678901234567890");
        assert!(!used.accept("c", secret, "287082", 30 * 4), "two steps late");
        assert!(used.accept("c", secret, "287082", 30 * 3 - 1));
        assert!(!used.accept("c", secret, "287082", 59), "again");
        assert!(used.accept("other", secret, "287082", 59));
        assert!(!used.accept("c", secret, "", 59));
    }
}
