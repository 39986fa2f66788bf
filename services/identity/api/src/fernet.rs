//! Fernet: AES-128-CBC under HMAC-SHA256, base64url without padding.
//!
//! The format of the Fernet specification (version byte 0x80, 64 bit seconds,
//! IV, ciphertext, HMAC), so that keys and tokens are exchangeable with
//! Keystone. Used for tokens and for secrets at rest. It knows nothing of what
//! is sealed.
use aes::Aes128;
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::URL_SAFE, general_purpose::URL_SAFE_NO_PAD};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

const VERSION: u8 = 0x80;
const HEADER: usize = 1 + 8 + 16;
const TAG: usize = 32;
const BLOCK: usize = 16;
/// The longest text that is looked at; ours stay under 400 characters,
/// secrets at rest may be longer.
pub const MAX_TEXT: usize = 16 * 1024;

/// Keystone strips the padding, the specification has it: both are read.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A Fernet key: 16 bytes to sign, 16 bytes to encrypt.
#[derive(Clone)]
pub struct Key {
    signing: Zeroizing<[u8; 16]>,
    encryption: Zeroizing<[u8; 16]>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Why a sealed text could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not base64url, too short, too long or of an unknown version.
    #[error("not a sealed text")]
    Malformed,
    /// No key fits, or the text was changed.
    #[error("sealed with a key that is not here, or damaged")]
    Unauthentic,
}

/// What was sealed, and when.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// Seconds since the epoch that the sealer wrote down.
    pub sealed_at: u64,
    /// The content.
    pub content: Vec<u8>,
}

impl Key {
    /// A key from 32 bytes: signing half first.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut key = Self {
            signing: Zeroizing::new([0; 16]),
            encryption: Zeroizing::new([0; 16]),
        };
        key.signing.copy_from_slice(&bytes[..16]);
        key.encryption.copy_from_slice(&bytes[16..]);
        key
    }

    /// Reads the text form of a key file: base64url of 32 bytes.
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(LENIENT.decode(text.trim()).ok()?);
        Some(Self::from_bytes(bytes.as_slice().try_into().ok()?))
    }

    /// The text form of a key file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes[..16].copy_from_slice(&*self.signing);
        bytes[16..].copy_from_slice(&*self.encryption);
        Zeroizing::new(URL_SAFE.encode(*bytes))
    }

    /// A new key from the system's randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes)?;
        Ok(Self::from_bytes(&bytes))
    }

    /// Seals `content`. `iv` must be random and used once.
    pub fn seal(&self, content: &[u8], at_secs: u64, iv: [u8; 16]) -> String {
        let cipher = cbc::Encryptor::<Aes128>::new(&(*self.encryption).into(), &iv.into());
        // Room for the padding, which is 1 to 16 bytes.
        let room = (content.len() / BLOCK + 1) * BLOCK;
        let mut out = Vec::with_capacity(HEADER + room + TAG);
        out.push(VERSION);
        out.extend_from_slice(&at_secs.to_be_bytes());
        out.extend_from_slice(&iv);
        out.resize(HEADER + room, 0);
        if cipher
            .encrypt_padded_b2b::<Pkcs7>(content, &mut out[HEADER..])
            .is_err()
        {
            // The buffer was sized for exactly this content.
            unreachable!("the padded length of {} bytes is not {room}", content.len());
        }
        let tag = self.mac(&out).finalize().into_bytes();
        out.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(out)
    }

    fn mac(&self, signed: &[u8]) -> Hmac<Sha256> {
        // HMAC takes a key of any length.
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&*self.signing) else {
            unreachable!("HMAC refused a 16 byte key")
        };
        mac.update(signed);
        mac
    }

    fn try_open(&self, raw: &[u8]) -> Option<Vec<u8>> {
        let (signed, tag) = raw.split_at(raw.len() - TAG);
        // Compares in constant time.
        self.mac(signed).verify_slice(tag).ok()?;
        let iv: [u8; 16] = signed[9..HEADER].try_into().ok()?;
        let cipher = cbc::Decryptor::<Aes128>::new(&(*self.encryption).into(), &iv.into());
        let mut content = signed[HEADER..].to_vec();
        let length = cipher.decrypt_padded::<Pkcs7>(&mut content).ok()?.len();
        content.truncate(length);
        Some(content)
    }
}

/// Opens `text` with the first of `keys` that fits.
pub fn open<'k>(keys: impl IntoIterator<Item = &'k Key>, text: &str) -> Result<Opened, OpenError> {
    if text.len() > MAX_TEXT {
        return Err(OpenError::Malformed);
    }
    let raw = LENIENT.decode(text).map_err(|_| OpenError::Malformed)?;
    let body = raw.len().checked_sub(HEADER + TAG).ok_or(OpenError::Malformed)?;
    if raw[0] != VERSION || body == 0 || body % BLOCK != 0 {
        return Err(OpenError::Malformed);
    }
    let stamp: [u8; 8] = raw[1..9].try_into().map_err(|_| OpenError::Malformed)?;
    let content = keys
        .into_iter()
        .find_map(|key| key.try_open(&raw))
        .ok_or(OpenError::Unauthentic)?;
    Ok(Opened {
        sealed_at: u64::from_be_bytes(stamp),
        content,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made with `Fernet._encrypt_from_parts` of Python's cryptography: key
    /// bytes 0..32, IV bytes 100..116, time 1766400000.
    const VECTORS: [(&[u8], &str); 3] = [
        (
            b"hello",
            "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFyczfTAmqQfptucGOVw56Wo4qan7CTOXWVVDT6CIulVfPJaNPO7KzcP3VF1GptvsI2sg",
        ),
        (
            b"",
            "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFycwohCGftV42ZN2jR4ndbsQbx2RxxtgtLIcgu_Wtykp3BEGNuyh1nj1QQPjN2rpBAPg",
        ),
        (
            b"0123456789abcdef",
            "gAAAAABpSSAAZGVmZ2hpamtsbW5vcHFyc8lSLa-QKMFJ_TAJOA-SkR9SPl2Ze7j3qx0Q6rHRtKk0I_9tUQjMGiQeKpg9KSkB5S-crWIGv4_6qAq__gvOt9M",
        ),
    ];

    fn key() -> Key {
        Key::from_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()
    }

    fn iv() -> [u8; 16] {
        std::array::from_fn(|i| 100 + u8::try_from(i).unwrap())
    }

    #[test]
    fn seals_and_opens_as_the_python_library_does() {
        for (content, text) in VECTORS {
            assert_eq!(key().seal(content, 1_766_400_000, iv()), text);
            let opened = open(&[key()], text).unwrap();
            assert_eq!(
                (opened.sealed_at, opened.content.as_slice()),
                (1_766_400_000, content)
            );
            open(
                &[key()],
                &format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4)),
            )
            .unwrap();
        }
        assert_eq!(
            key().to_text().as_str(),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        );
    }

    #[test]
    fn a_changed_character_or_another_key_is_refused() {
        let text = VECTORS[0].1;
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(open(&[key()], &changed).is_err(), "position {at}");
        }
        assert_eq!(
            open(&[Key::generate().unwrap()], text),
            Err(OpenError::Unauthentic)
        );
        open(&[Key::generate().unwrap(), key()], text).unwrap();
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_comes_back(content in prop::collection::vec(any::<u8>(), 0..300), at in any::<u64>(), iv in any::<[u8; 16]>()) {
            let text = key().seal(&content, at, iv);
            prop_assert_eq!(open(&[key()], &text).unwrap(), Opened { sealed_at: at, content });
        }

        #[test]
        fn no_text_makes_opening_panic(text in "\\PC{0,200}", raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = open(&[key()], &text);
            prop_assert!(open(&[key()], &URL_SAFE_NO_PAD.encode(raw)).is_err());
        }
    }
}
