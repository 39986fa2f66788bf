//! How questions and answers between hosts are sealed: AES-256-GCM under a key
//! that follows from the cluster's `node_secret`.
//!
//! A sealed message is a nonce of 12 bytes, the ciphertext and its tag. What an
//! answer answers is part of what is authenticated: the nonce of the question.
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

/// Sets this key apart from other uses of the secret.
const PURPOSE: &[u8] = b"virga: what hosts ask identity, 1";

/// The nonce of a message.
pub type MessageId = [u8; NONCE_LEN];

/// Whose message it is, so that neither can be taken for the other.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// A question.
    Question,
    /// The answer to the question of this nonce.
    Answer(MessageId),
}

impl Side {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Question => b"question".to_vec(),
            Self::Answer(id) => [b"answer", id.as_slice()].concat(),
        }
    }
}

/// Why a message cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system gave no random bytes.
    #[error("no random bytes from the system")]
    Chance,
    /// Made by somebody who does not know the secret, for something else, or damaged.
    #[error("not sealed with this cluster's secret: is secrets/cluster.json the same on both hosts?")]
    Unauthentic,
}

/// Seals and opens.
pub struct Seal(LessSafeKey);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(..)")
    }
}

impl Seal {
    /// From the text of the cluster's `node_secret`.
    ///
    /// # Errors
    /// Never with a key of this length.
    pub fn new(node_secret: &str) -> Result<Self, SealError> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, node_secret.as_bytes());
        let key = hmac::sign(&secret, PURPOSE);
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| SealError::Unauthentic)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals a message; returns its nonce too.
    ///
    /// # Errors
    /// [`SealError::Chance`].
    pub fn close(&self, side: Side, mut message: Vec<u8>) -> Result<(MessageId, Vec<u8>), SealError> {
        let mut id = [0; NONCE_LEN];
        getrandom::fill(&mut id).map_err(|_| SealError::Chance)?;
        let nonce = Nonce::assume_unique_for_key(id);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(side.bytes()), &mut message)
            .map_err(|_| SealError::Unauthentic)?;
        Ok((id, [&id, message.as_slice(), tag.as_ref()].concat()))
    }

    /// Opens a message; returns its nonce too.
    ///
    /// # Errors
    /// [`SealError::Unauthentic`].
    pub fn open(&self, side: Side, sealed: &[u8]) -> Result<(MessageId, Vec<u8>), SealError> {
        let (id, rest) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::Unauthentic)?;
        let mut message = rest.to_vec();
        let opened = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*id),
                Aad::from(side.bytes()),
                &mut message,
            )
            .map_err(|_| SealError::Unauthentic)?
            .len();
        message.truncate(opened);
        Ok((*id, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_opened_by_who_knows_the_secret_and_as_what_it_is() {
        let (ours, others) = (Seal::new("one").unwrap(), Seal::new("two").unwrap());
        let (id, sealed) = ours.close(Side::Question, b"who".to_vec()).unwrap();
        assert_eq!(ours.open(Side::Question, &sealed).unwrap(), (id, b"who".to_vec()));
        assert!(!sealed.windows(3).any(|part| part == b"who"));
        let refused = Err(SealError::Unauthentic);
        assert_eq!(others.open(Side::Question, &sealed), refused);
        assert_eq!(ours.open(Side::Answer(id), &sealed), refused);
        let (_, answer) = ours.close(Side::Answer(id), b"you".to_vec()).unwrap();
        assert!(ours.open(Side::Answer(id), &answer).is_ok());
        assert_eq!(ours.open(Side::Answer([7; NONCE_LEN]), &answer), refused);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(ours.open(Side::Question, &damaged), refused, "byte {at}");
            assert_eq!(ours.open(Side::Question, &sealed[..at]), refused);
        }
    }
}
