//! Signed texts of three parts (compact JWS, RFC 7515): taking them apart,
//! public keys (also as JSON, RFC 7517) and the two algorithms that are taken,
//! ES256 and RS256.
//!
//! Used for tokens by [`crate::jws_keys`], and by identity for the tokens of
//! OpenID providers. Says nothing of what is signed. A text never chooses how it
//! is checked: the key knows its algorithm, and a text that names another one,
//! none, or extensions that must be understood, does not fit.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest text that is looked at, in bytes.
pub const MAX_TEXT: usize = 16 * 1024;

/// How a text is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSA (PKCS 1, version 1.5) with SHA-256, keys of 2048 bits at least.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// Its name in headers and keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A signed text, taken apart but not checked.
#[derive(Debug)]
pub struct Compact<'t> {
    /// The algorithm that the header names.
    pub algorithm: Algorithm,
    /// The key that the header names.
    pub key_id: Option<String>,
    /// What is signed: header and payload as they came.
    signed: &'t str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Compact<'t> {
    /// Takes a text apart. `None` if it is not of three parts, names an
    /// algorithm that is not taken, or asks for what is not understood.
    pub fn parse(text: &'t str) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header = URL_SAFE_NO_PAD.decode(header).ok()?;
        let header: Map<String, Value> = serde_json::from_slice(&header).ok()?;
        if header.contains_key("crit") {
            return None;
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return None,
        };
        Some(Self {
            algorithm: Algorithm::deserialize(header.get("alg")?).ok()?,
            key_id,
            signed,
            payload: URL_SAFE_NO_PAD.decode(payload).ok()?,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// The claims, if `key` signed them.
    pub fn claims(&self, key: &PublicKey) -> Option<Map<String, Value>> {
        let signed = key.algorithm() == self.algorithm && key.signed(self.signed, &self.signature);
        serde_json::from_slice(&self.payload).ok().filter(|_| signed)
    }
}

/// A text of three parts: `sign` signs the bytes of the first two.
pub(crate) fn assemble<E>(
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    let header = URL_SAFE_NO_PAD.encode(br#"{"alg":"ES256","typ":"JWT"}"#);
    let mut text = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = sign(text.as_bytes())?;
    text.push('.');
    text.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(text)
}

/// What checks a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// A point on P-256, not compressed: 0x04, then both coordinates.
    P256([u8; 65]),
    /// An RSA key: modulus and exponent, big endian.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
}

fn number(key: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let raw = URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok()?;
    // Some writers put a zero byte before a high first bit.
    let zeros = raw.iter().take_while(|b| **b == 0).count();
    Some(raw[zeros..].to_vec())
}

impl PublicKey {
    /// What it checks.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::P256(_) => Algorithm::Es256,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Reads a JSON web key that is meant for signatures of an algorithm that
    /// is taken; `None` for all others.
    pub fn from_jwk(key: &Map<String, Value>) -> Option<Self> {
        let says = |name: &str, wanted: &str| key.get(name).is_none_or(|v| v.as_str() == Some(wanted));
        if !says("use", "sig") {
            return None;
        }
        let found = match key.get("kty")?.as_str()? {
            "EC" if key.get("crv")?.as_str()? == "P-256" => {
                let mut point = [0; 65];
                point[0] = 4;
                for (name, end) in [("x", 33), ("y", 65)] {
                    let coordinate = number(key, name).filter(|c| c.len() <= 32)?;
                    point[end - coordinate.len()..end].copy_from_slice(&coordinate);
                }
                Self::P256(point)
            }
            "RSA" => Self::Rsa {
                n: number(key, "n")?,
                e: number(key, "e")?,
            },
            _ => return None,
        };
        says("alg", found.algorithm().name()).then_some(found)
    }

    fn signed(&self, message: &str, signature: &[u8]) -> bool {
        let message = message.as_bytes();
        match self {
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }
}

#[cfg(test)]
#[path = "jws_tests.rs"]
mod tests;
