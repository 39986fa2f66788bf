//! The bytes that an object's are joined with: AES-256 in counter mode, from
//! any offset on.
use aes::Aes256;
use bytes::Bytes;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};

/// Seals and opens the bytes of one object, from a position on.
pub(in crate::core) struct Pad(Ctr128BE<Aes256>);

impl Pad {
    /// From the first byte on. `key` must be used for one object only: the
    /// counter always begins at zero.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Ctr128BE::<Aes256>::new(&(*key).into(), &[0; 16].into()))
    }

    /// The same from byte `offset` on.
    pub(in crate::core) fn at(mut self, offset: u64) -> Self {
        self.0.seek(offset);
        self
    }

    /// Seals or opens the next bytes, which is the same.
    pub(in crate::core) fn apply(&mut self, bytes: Bytes) -> Bytes {
        // Copies them unless nobody else holds them.
        let mut own = Vec::from(bytes);
        self.0.apply_keystream(&mut own);
        own.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_opens_by_itself() {
        let plain: Vec<u8> = (0..1000u32).map(|n| (n * 7 % 251) as u8).collect();
        let mut pad = Pad::new(&[9; 32]);
        let mut sealed = Vec::new();
        for piece in plain.chunks(77) {
            sealed.extend(pad.apply(Bytes::copy_from_slice(piece)));
        }
        assert_ne!(sealed, plain);
        for (from, to) in [(0, 1000), (0, 1), (15, 17), (16, 32), (500, 999), (1000, 1000)] {
            let part = Bytes::copy_from_slice(&sealed[from..to]);
            let opened = Pad::new(&[9; 32]).at(from as u64).apply(part);
            assert_eq!(opened, plain[from..to], "{from}..{to}");
        }
    }

    #[test]
    fn it_is_the_standards_counter_mode() {
        // NIST SP 800-38A, F.5.5, with the first counter block as the position of zeroes.
        let key: [u8; 32] = hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
            .unwrap()
            .try_into()
            .unwrap();
        let counter = hex::decode("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").unwrap();
        let mut pad = Pad(Ctr128BE::<Aes256>::new(
            &key.into(),
            &<[u8; 16]>::try_from(counter).unwrap().into(),
        ));
        let plain = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
        let sealed = pad.apply(plain.into());
        assert_eq!(hex::encode(sealed), "601ec313775789a5b7a7f504bbf3d228");
    }
}
