//! What requests say of encryption: with whose key an object is to be sealed,
//! and the key that a client shows.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use md5::{Digest as _, Md5};
use s3s::{S3Error, S3Result, s3_error};
use subtle::ConstantTimeEq as _;
use virga_proxy::core::sealing::{ClientKey, Seal};
use zeroize::Zeroizing;

use crate::fault::named;

/// What asks for the cloud's keys.
const SSE: &str = "x-amz-server-side-encryption";
/// The only algorithm there is.
pub(super) const AES256: &str = "AES256";

/// Headers that a client shows a key with.
pub(crate) struct Names {
    algorithm: &'static str,
    key: &'static str,
    md5: &'static str,
}

/// Those of the object that a request names.
pub(crate) const OWN: Names = Names {
    algorithm: "x-amz-server-side-encryption-customer-algorithm",
    key: "x-amz-server-side-encryption-customer-key",
    md5: "x-amz-server-side-encryption-customer-key-md5",
};

/// Those of the source of a copy.
pub(crate) const SOURCE: Names = Names {
    algorithm: "x-amz-copy-source-server-side-encryption-customer-algorithm",
    key: "x-amz-copy-source-server-side-encryption-customer-key",
    md5: "x-amz-copy-source-server-side-encryption-customer-key-md5",
};

/// A key that a client shows.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) key: ClientKey,
    /// Its MD5 as the client wrote it, which answers repeat.
    pub(crate) md5: String,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn wrong_algorithm() -> S3Error {
    named(
        StatusCode::BAD_REQUEST,
        "InvalidEncryptionAlgorithmError",
        "The encryption request you specified is not valid. The valid value is AES256.",
    )
}

fn incomplete(lacks: &str) -> S3Error {
    s3_error!(
        InvalidArgument,
        "Requests specifying Server Side Encryption with Customer provided keys must provide {lacks}."
    )
}

impl Shown {
    /// The key that a request shows under these names; `None` if it shows none.
    ///
    /// # Errors
    /// `InvalidArgument` for half a key, or one that is none.
    pub(crate) fn of(headers: &HeaderMap, names: &Names) -> S3Result<Option<Self>> {
        let (algorithm, key, md5) = (
            text(headers, names.algorithm),
            text(headers, names.key),
            text(headers, names.md5),
        );
        if algorithm.is_none() && key.is_none() && md5.is_none() {
            return Ok(None);
        }
        let algorithm = algorithm.ok_or_else(|| incomplete("a valid encryption algorithm"))?;
        if algorithm != AES256 {
            return Err(wrong_algorithm());
        }
        let key = key.ok_or_else(|| incomplete("an appropriate secret key"))?;
        let md5 = md5.ok_or_else(|| incomplete("the client calculated MD5 of the secret key"))?;
        let decoded = Zeroizing::new(STANDARD.decode(key).unwrap_or_default());
        let bits: Zeroizing<[u8; 32]> = match <[u8; 32]>::try_from(decoded.as_slice()) {
            Ok(bits) => Zeroizing::new(bits),
            Err(_) => {
                return Err(s3_error!(
                    InvalidArgument,
                    "The secret key was invalid for the specified algorithm."
                ));
            }
        };
        let own = STANDARD.encode(Md5::digest(*bits));
        if !bool::from(own.as_bytes().ct_eq(md5.as_bytes())) {
            return Err(s3_error!(
                InvalidArgument,
                "The calculated MD5 hash of the key did not match the hash that was provided."
            ));
        }
        Ok(Some(Self {
            key: ClientKey::new(*bits),
            md5: own,
        }))
    }
}

/// With whose key a request wants its object sealed.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// It does not say.
    None,
    /// The cloud's.
    Cloud,
    /// This one.
    Client(Shown),
}

impl Wish {
    /// Reads the headers of a write.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidEncryptionAlgorithmError`, and
    /// `NotImplemented` for keys of a key management service.
    pub(crate) fn of(headers: &HeaderMap) -> S3Result<Self> {
        let (sse, shown) = (text(headers, SSE), Shown::of(headers, &OWN)?);
        if sse.is_none_or(|sse| !sse.starts_with("aws:kms")) {
            let mut names = headers.keys().map(http::HeaderName::as_str);
            if names.any(of_key_management) {
                return Err(s3_error!(
                    InvalidArgument,
                    "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms"
                ));
            }
        }
        match (sse, shown) {
            (None, None) => Ok(Self::None),
            (None, Some(shown)) => Ok(Self::Client(shown)),
            (Some(AES256), None) => Ok(Self::Cloud),
            (Some(AES256), Some(_)) => Err(s3_error!(
                InvalidArgument,
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"
            )),
            (Some(other), _) => Err(other_algorithm(other)),
        }
    }

    /// As the core is told.
    pub(crate) fn seal(&self) -> Option<Seal> {
        match self {
            Self::None => None,
            Self::Cloud => Some(Seal::Cloud),
            Self::Client(shown) => Some(Seal::Client(shown.key.clone())),
        }
    }
}

/// Headers that go with keys of a key management service alone.
fn of_key_management(name: &str) -> bool {
    ["-aws-kms-key-id", "-context", "-bucket-key-enabled"]
        .into_iter()
        .any(|end| name.strip_prefix(SSE) == Some(end))
}

/// The error for an algorithm other than [`AES256`].
pub(super) fn other_algorithm(algorithm: &str) -> S3Error {
    match algorithm.starts_with("aws:kms") {
        true => s3_error!(
            NotImplemented,
            "There is no key management service here: aws:kms is not supported, AES256 is."
        ),
        false => wrong_algorithm(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn code(pairs: &[(&'static str, &str)]) -> String {
        match Wish::of(&headers(pairs)) {
            Ok(wish) => format!("{wish:?}").split('(').next().unwrap().to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn a_key_is_taken_whole_or_not_at_all() {
        let key = STANDARD.encode([5; 32]);
        let md5 = STANDARD.encode(Md5::digest([5; 32]));
        let short = STANDARD.encode([5; 16]);
        let (algorithm, k, m) = (OWN.algorithm, OWN.key, OWN.md5);
        for (pairs, expected) in [
            (vec![], "None"),
            (vec![(algorithm, "AES256"), (k, &key), (m, &md5)], "Client"),
            (vec![(k, &key), (m, &md5)], "InvalidArgument"),
            (vec![(algorithm, "AES256"), (m, &md5)], "InvalidArgument"),
            (vec![(algorithm, "AES256"), (k, &key)], "InvalidArgument"),
            (
                vec![(algorithm, "AES256"), (k, &short), (m, &md5)],
                "InvalidArgument",
            ),
            (
                vec![(algorithm, "AES256"), (k, "%"), (m, &md5)],
                "InvalidArgument",
            ),
            (
                vec![(algorithm, "AES256"), (k, &key), (m, "abc")],
                "InvalidArgument",
            ),
            (
                vec![(algorithm, "AES128"), (k, &key), (m, &md5)],
                "InvalidEncryptionAlgorithmError",
            ),
            (
                vec![(SSE, "AES256"), (algorithm, "AES256"), (k, &key), (m, &md5)],
                "InvalidArgument",
            ),
        ] {
            assert_eq!(code(&pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_clouds_keys_are_asked_for_by_their_algorithm() {
        let id = "x-amz-server-side-encryption-aws-kms-key-id";
        for (pairs, expected) in [
            (vec![(SSE, "AES256")], "Cloud"),
            (vec![(SSE, "aes256")], "InvalidEncryptionAlgorithmError"),
            (vec![(SSE, "aws:kms")], "NotImplemented"),
            (vec![(SSE, "aws:kms:dsse"), (id, "k")], "NotImplemented"),
            (vec![(SSE, "AES256"), (id, "k")], "InvalidArgument"),
            (vec![(id, "k")], "InvalidArgument"),
        ] {
            assert_eq!(code(&pairs), expected, "{pairs:?}");
        }
    }
}
