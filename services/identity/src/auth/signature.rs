//! Signatures of EC2 and S3 requests, computed anew from what a gateway tells
//! of the request: versions 0, 1, 2 and 4.
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256};

const V4: &str = "AWS4-HMAC-SHA256";
/// What stays as it is in a canonical query.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// Services that S3 gateways sign for.
const SERVICES: [&str; 3] = ["s3", "iam", "sts"];

fn sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn sha1(key: &[u8], text: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = <Hmac<Sha1> as KeyInit>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// A request as a gateway tells it.
#[derive(Debug)]
pub(crate) struct SignedRequest {
    verb: String,
    host: String,
    path: String,
    params: BTreeMap<String, String>,
    /// By name in lower case.
    headers: BTreeMap<String, String>,
    body_hash: String,
}

fn texts(value: Option<&Value>) -> BTreeMap<String, String> {
    let pairs = value.and_then(Value::as_object).into_iter().flatten();
    pairs
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect()
}

impl SignedRequest {
    /// Reads the `credentials` of a body.
    pub(crate) fn read(credentials: &Value) -> Self {
        let text = |key: &str| credentials[key].as_str().unwrap_or_default().to_owned();
        let headers = texts(credentials.get("headers"));
        Self {
            verb: text("verb"),
            host: text("host"),
            path: text("path"),
            params: texts(credentials.get("params")),
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            body_hash: text("body_hash"),
        }
    }

    /// The same as sent to the host without its port: some clients sign that.
    pub(crate) fn without_port(&self) -> Option<Self> {
        let (host, _) = self.host.rsplit_once(':')?;
        Some(Self {
            verb: self.verb.clone(),
            host: host.to_owned(),
            path: self.path.clone(),
            params: self.params.clone(),
            headers: self.headers.clone(),
            body_hash: self.body_hash.clone(),
        })
    }

    /// When it was signed, as it says.
    pub(crate) fn timestamp(&self) -> Option<&str> {
        let stamp = self
            .params
            .get("Timestamp")
            .or_else(|| self.headers.get("x-amz-date"));
        stamp
            .or_else(|| self.params.get("X-Amz-Date"))
            .map(String::as_str)
    }

    /// The signature that the request must have; `None` if it does not say how
    /// it was signed.
    pub(crate) fn signature(&self, secret: &str) -> Option<String> {
        let key = secret.as_bytes();
        match self.params.get("SignatureVersion").map(String::as_str) {
            Some("0") => {
                let part = |name: &str| self.params.get(name).cloned().unwrap_or_default();
                Some(STANDARD.encode(sha1(key, (part("Action") + &part("Timestamp")).as_bytes())))
            }
            Some("1") => {
                let mut pairs: Vec<_> = self.params.iter().filter(|(n, _)| *n != "Signature").collect();
                pairs.sort_by_key(|(name, _)| name.to_lowercase());
                let text: String = pairs.iter().map(|(n, v)| format!("{n}{v}")).collect();
                Some(STANDARD.encode(sha1(key, text.as_bytes())))
            }
            Some("2") => Some(self.version_2(key)),
            Some(_) => None,
            None => self.version_4(secret),
        }
    }

    fn version_2(&self, key: &[u8]) -> String {
        let mut params = self.params.clone();
        params.remove("Signature");
        params.insert("SignatureMethod".into(), "HmacSHA256".into());
        let pairs: Vec<String> = params
            .iter()
            .map(|(n, v)| format!("{}={}", encoded(n), encoded(v)))
            .collect();
        let text = format!("{}\n{}\n{}\n{}", self.verb, self.host, self.path, pairs.join("&"));
        STANDARD.encode(sha256(key, text.as_bytes()))
    }

    /// A part of the `Authorization` header, or of the query in its place.
    fn part(&self, name: &str) -> Option<String> {
        if let Some(value) = self.params.get(&format!("X-Amz-{name}")) {
            return Some(value.clone());
        }
        let parts = self.headers.get("authorization")?.strip_prefix(V4)?;
        parts.split(',').find_map(|part| {
            let (key, value) = part.trim().split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    }

    fn version_4(&self, secret: &str) -> Option<String> {
        let by_query = self.params.get("X-Amz-Algorithm").is_some_and(|a| a == V4);
        let by_header = self
            .headers
            .get("authorization")
            .is_some_and(|a| a.starts_with(V4));
        if !by_query && !by_header {
            return None;
        }
        let query: Vec<String> = self
            .params
            .iter()
            .filter(|(name, _)| *name != "X-Amz-Signature")
            .map(|(n, v)| format!("{}={}", encoded(n), encoded(v)))
            .collect();
        let signed = self.part("SignedHeaders")?;
        let mut names: Vec<String> = signed.split(';').map(|n| n.trim().to_ascii_lowercase()).collect();
        names.sort();
        let headers: String = names
            .iter()
            .filter_map(|name| self.headers.get(name).map(|value| format!("{name}:{value}\n")))
            .collect();
        let request = format!(
            "{}\n{}\n{}\n{headers}\n{signed}\n{}",
            self.verb,
            self.path,
            query.join("&"),
            self.body_hash
        );
        let credential = self.part("Credential")?;
        let (_, scope) = credential.split_once('/')?;
        let date = self
            .headers
            .get("x-amz-date")
            .or_else(|| self.params.get("X-Amz-Date"))?;
        // The day of the scope is the day of the request.
        if !scope.starts_with(date.get(..8)?) {
            return None;
        }
        let hash = hex::encode(Sha256::digest(request.as_bytes()));
        sign_4(&format!("{V4}\n{date}\n{scope}\n{hash}"), scope, secret)
    }
}

/// Signs as version 4: the key is derived from the scope, "day/region/service/aws4_request".
fn sign_4(text: &str, scope: &str, secret: &str) -> Option<String> {
    let parts: Vec<&str> = scope.split('/').collect();
    let [day, region, service, "aws4_request"] = parts.as_slice() else {
        return None;
    };
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [day, region, service, &"aws4_request"] {
        key = sha256(&key, part.as_bytes());
    }
    Some(hex::encode(sha256(&key, text.as_bytes())))
}

/// The signature of a string that an S3 gateway put together; `None` if it is
/// none that can be signed.
pub(crate) fn of_string(to_sign: &[u8], secret: &str) -> Option<String> {
    if !to_sign.starts_with(b"AWS4") {
        return Some(STANDARD.encode(sha1(secret.as_bytes(), to_sign)));
    }
    let text = std::str::from_utf8(to_sign).ok()?;
    let lines: Vec<&str> = text.split('\n').collect();
    let [V4, _, scope, _] = lines.as_slice() else {
        return None;
    };
    let service = scope.split('/').nth(2)?;
    if !SERVICES.contains(&service) {
        return None;
    }
    sign_4(text, scope, secret)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The worked example of Amazon's documents: listing users of IAM.
    #[test]
    fn version_four_is_that_of_the_published_example() {
        let request = SignedRequest::read(&json!({
            "verb": "GET", "host": "iam.amazonaws.com", "path": "/",
            "params": {"Action": "ListUsers", "Version": "2010-05-08"},
            "headers": {
                "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                                  SignedHeaders=content-type;host;x-amz-date, Signature=x",
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                "Host": "iam.amazonaws.com",
                "X-Amz-Date": "20150830T123600Z",
            },
            "body_hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        }));
        let signature = request
            .signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
            .unwrap();
        assert_eq!(
            signature,
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn a_string_of_version_one_is_that_of_the_published_example() {
        let text = "GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/awsexamplebucket1/photos/puppy.jpg";
        assert_eq!(
            of_string(text.as_bytes(), "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY").unwrap(),
            "qgk2+6Sv9/oM7G3qLEjTH1a1l1g="
        );
        assert_eq!(of_string(b"AWS4 rubbish", "x"), None);
    }

    #[test]
    fn a_request_that_does_not_say_how_it_was_signed_has_no_signature() {
        let request = SignedRequest::read(&json!({"params": {"SignatureVersion": 7}}));
        assert_eq!(request.signature("x"), None);
        assert_eq!(SignedRequest::read(&json!(null)).signature("x"), None);
    }
}
