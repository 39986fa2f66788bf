//! The cloud's keys, as a repository holds them: those that identity seals its
//! credentials with are kept the same way.
use std::sync::Arc;

use virga_identity_api::keys::KeyRing;
use virga_proxy::core::sealing::CloudKeys;
use zeroize::Zeroizing;

/// Wraps keys of objects with the primary key of a ring, and unwraps them with
/// any key of it.
pub struct RingKeys(pub Arc<KeyRing>);

impl CloudKeys for RingKeys {
    fn wrap(&self, key: &[u8; 32]) -> Option<String> {
        // When it was wrapped is nobody's business.
        self.0.seal(key, 0).ok()
    }

    fn unwrap(&self, wrapped: &str) -> Option<Zeroizing<[u8; 32]>> {
        let opened = Zeroizing::new(self.0.open_text(wrapped).ok()?.content);
        Some(Zeroizing::new(opened.as_slice().try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use virga_identity_api::fernet::Key;
    use virga_identity_api::keys::KeySet;

    use super::*;

    #[test]
    fn a_key_comes_back_as_long_as_its_own_is_there() {
        let (old, new) = (Key::generate().unwrap(), Key::generate().unwrap());
        let ring = |primary: &Key, others: Vec<Key>| {
            RingKeys(Arc::new(KeyRing::fixed(KeySet::new(primary.clone(), others))))
        };
        let wrapped = ring(&old, vec![]).wrap(&[9; 32]).unwrap();
        assert_eq!(*ring(&new, vec![old]).unwrap(&wrapped).unwrap(), [9; 32]);
        assert!(ring(&new, vec![]).unwrap(&wrapped).is_none());
        assert!(ring(&new, vec![]).unwrap("nonsense").is_none());
    }
}
