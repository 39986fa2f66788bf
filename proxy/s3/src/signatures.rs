//! Signatures over a text, compared in constant time. What text a request signs
//! is [`crate::request`]'s business, that of a form [`crate::form`]'s.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

fn sha256(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(text);
    mac
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

/// Whether `shown` (hex) signs `text` as version 4 does, with a key derived from
/// `scope`: day, region, service and "aws4_request".
pub(crate) fn is_v4(secret: &str, scope: &[&str; 4], text: &str, shown: &str) -> bool {
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope {
        key = sha256(&key, part.as_bytes()).finalize().into_bytes().to_vec();
    }
    hex::decode(shown).is_ok_and(|shown| sha256(&key, text.as_bytes()).verify_slice(&shown).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's published secret and signatures.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[test]
    fn version_four_signs_a_policy_as_published() {
        // From the chapter on POST policies of AWS's documents.
        let scope = ["20151229", "us-east-1", "s3", "aws4_request"];
        let text = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
        let shown = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
        assert!(is_v4(SECRET, &scope, text, shown));
        assert!(!is_v4(SECRET, &scope, text, &shown.replace('8', "9")));
        assert!(!is_v4(SECRET, &scope, text, "zz"));
    }
}
