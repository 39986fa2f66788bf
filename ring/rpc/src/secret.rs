//! The cluster's secret, and proofs of knowing it.
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Least length of a secret, bytes: proofs can be tried offline by whoever
/// hears one, so it must not be guessable.
const LEAST: usize = 16;

/// What all nodes of a cluster know and nobody else.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// The secret is too short to keep anyone out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cluster secret needs at least {LEAST} bytes, this one has {0}")]
pub struct WeakSecret(pub usize);

impl Secret {
    /// Takes the secret's bytes.
    ///
    /// # Errors
    /// Fewer than 16 bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, WeakSecret> {
        let bytes = bytes.into();
        if bytes.len() < LEAST {
            Err(WeakSecret(bytes.len()))
        } else {
            Ok(Self(bytes))
        }
    }

    /// HMAC-SHA256 over the parts. `None` never happens: HMAC takes keys of
    /// any length.
    fn mac(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        for part in parts {
            mac.update(part);
        }
        Some(mac)
    }

    /// Proof of knowing the secret, bound to `parts`.
    pub(crate) fn prove(&self, parts: &[&[u8]]) -> Option<[u8; 32]> {
        self.mac(parts).map(|mac| mac.finalize().into_bytes().into())
    }

    /// Whether `proof` is the one for `parts`, in constant time.
    pub(crate) fn holds(&self, parts: &[&[u8]], proof: &[u8]) -> bool {
        self.mac(parts).is_some_and(|mac| mac.verify_slice(proof).is_ok())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_is_refused_and_none_is_printed() {
        assert_eq!(Secret::new("short").map(|_| ()), Err(WeakSecret(5)));
        let secret = Secret::new("long enough to be a secret").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn a_proof_holds_for_its_parts_and_its_secret_only() {
        let ours = Secret::new([1; 32]).unwrap();
        let theirs = Secret::new([2; 32]).unwrap();
        let proof = ours.prove(&[b"a", b"b"]).unwrap();
        assert!(ours.holds(&[b"a", b"b"], &proof));
        assert!(!ours.holds(&[b"a", b"c"], &proof));
        assert!(!theirs.holds(&[b"a", b"b"], &proof));
        assert!(!ours.holds(&[b"a", b"b"], &proof[..31]));
    }
}
