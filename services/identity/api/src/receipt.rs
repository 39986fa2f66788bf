//! What a user who must show more has shown so far, sealed under the token
//! keys in Keystone's layout: user, bits of the methods, end.
//!
//! Made and read by identity's sign-in. It cannot be taken for a token: that
//! begins with a number, a receipt with a pair.
use virga_node::clock::Micros;

use crate::keys::KeyRing;
use crate::keystone::{pack_time, unpack_time};
use crate::msgpack::Value;
use crate::payload::{pack_methods, unpack_id, unpack_methods};

/// The content of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The user's id.
    pub user_id: String,
    /// What was shown, by name.
    pub methods: Vec<String>,
    /// When it was made; whole seconds.
    pub issued_at: Micros,
    /// When it ends.
    pub expires_at: Micros,
}

impl Receipt {
    /// Seals the receipt.
    pub fn seal(&self, keys: &KeyRing) -> Result<String, getrandom::Error> {
        let mut content = Vec::with_capacity(64);
        Value::Array(vec![
            crate::keystone::pair(Some(&self.user_id)),
            pack_methods(&self.methods),
            pack_time(self.expires_at),
        ])
        .encode(&mut content);
        keys.seal(&content, self.issued_at.as_secs())
    }

    /// Opens a receipt; `None` if it is not one of these keys. Says nothing
    /// about whether its time is over.
    pub fn open(keys: &KeyRing, text: &str) -> Option<Self> {
        let opened = keys.open_text(text).ok()?;
        let Value::Array(items) = Value::decode(&opened.content)? else {
            return None;
        };
        let [user @ Value::Array(_), methods, expires] = items.as_slice() else {
            return None;
        };
        Some(Self {
            user_id: unpack_id(user)?,
            methods: unpack_methods(methods)?,
            issued_at: Micros(opened.sealed_at.checked_mul(1_000_000)?),
            expires_at: unpack_time(expires)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fernet::Key;
    use crate::keys::KeySet;
    use crate::payload::Payload;

    fn ring() -> KeyRing {
        KeyRing::fixed(KeySet::new(Key::generate().unwrap(), vec![]))
    }

    #[test]
    fn a_receipt_comes_back_and_is_no_token() {
        let keys = ring();
        let receipt = Receipt {
            user_id: "00112233445566778899aabbccddeeff".into(),
            methods: vec!["password".into()],
            issued_at: Micros(1_766_400_000_000_000),
            expires_at: Micros(1_766_400_300_123_456),
        };
        let text = receipt.seal(&keys).unwrap();
        assert_eq!(Receipt::open(&keys, &text), Some(receipt));
        assert!(Payload::open(&keys, &text).is_err());
        assert_eq!(Receipt::open(&ring(), &text), None);
    }

    /// As Keystone 30 assembles it.
    const KEYSTONE: &str = "9392c3c41000112233445566778899aabbccddeeff02cb41da52484b07e6b4";

    #[test]
    fn receipts_are_keystones() {
        let keys = ring();
        let sealed = keys.seal(&hex::decode(KEYSTONE).unwrap(), 1_766_400_000).unwrap();
        let receipt = Receipt::open(&keys, &sealed).unwrap();
        assert_eq!(receipt.user_id, "00112233445566778899aabbccddeeff");
        assert_eq!(receipt.methods, ["password"]);
        assert_eq!(receipt.expires_at, Micros(1_766_400_300_123_456));
        let text = receipt.seal(&keys).unwrap();
        assert_eq!(hex::encode(keys.open_text(&text).unwrap().content), KEYSTONE);
    }

    #[test]
    fn a_token_is_no_receipt() {
        let keys = ring();
        let sealed = keys.seal(b"\x93\x00\x02\x03", 1).unwrap();
        assert_eq!(Receipt::open(&keys, &sealed), None);
        assert_eq!(Receipt::open(&keys, ""), None);
    }
}
