//! Signatures over a text, compared in constant time. What text a request signs
//! is [`crate::request`]'s business, that of a form [`crate::form`]'s.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// HMAC with SHA-256.
pub(crate) fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The key of version 4 for a day, a region and a service.
pub(crate) fn key_of(secret: &str, scope: [&str; 3]) -> Zeroizing<[u8; 32]> {
    let [day, region, service] = scope;
    let first = Zeroizing::new(format!("AWS4{secret}"));
    let mut key = Zeroizing::new(mac(first.as_bytes(), day.as_bytes()));
    for part in [region, service, "aws4_request"] {
        *key = mac(&*key, part.as_bytes());
    }
    key
}

/// Whether `shown` (base64) signs `text` as version 2 does.
pub(crate) fn is_v2(secret: &str, text: &str, shown: &str) -> bool {
    let Ok(mut mac) = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(text.as_bytes());
    STANDARD
        .decode(shown)
        .is_ok_and(|shown| mac.verify_slice(&shown).is_ok())
}

/// Whether `shown` (hex) signs `text` as version 4 does with this key.
pub(crate) fn is_v4(key: &[u8; 32], text: &str, shown: &str) -> bool {
    let own = hex::encode(mac(key, text.as_bytes()));
    own.as_bytes().ct_eq(shown.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's published secret and signatures.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[test]
    fn version_four_signs_a_policy_as_published() {
        // From the chapter on POST policies of AWS's documents.
        let key = key_of(SECRET, ["20151229", "us-east-1", "s3"]);
        let text = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
        let shown = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
        assert!(is_v4(&key, text, shown));
        assert!(!is_v4(&key, text, &shown.replace('8', "9")));
        assert!(!is_v4(&key, text, "zz"));
    }
}
