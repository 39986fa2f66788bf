//! What the headers of a request say of its body, and whether that can be:
//! digests, checksums, lengths, chunks.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use s3s::{S3Error, S3Result, s3_error};
use virga_proxy::swift::headers::to_text;
use virga_proxy::swift::upload::Upload;

use super::body::{Digests, Incoming, sha_mismatch};
use super::chunked::{Announced, Decoder, malformed_trailer, wrong_length};
use super::verify::{Chain, sha256};
use super::{Faults, Target, Trailing, asks, header, is_document};
use crate::checksum::Claim;
use crate::detail::Detailed;
use crate::object::write::announced_md5;

const DIGEST: &str = "x-amz-content-sha256";
const DECODED: &str = "x-amz-decoded-content-length";
/// Bytes of a document: no more than the protocol layer reads.
const MOST_OF_DOCUMENT: u64 = 20 * 1024 * 1024;
/// Documents of objects: what else is put to one is the object itself.
pub(super) const DOCUMENTS: [&str; 4] = ["acl", "tagging", "retention", "legal-hold"];

/// How long the body says it is. Without a length and without chunks there is none.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    match headers.get(CONTENT_LENGTH) {
        Some(length) => length.to_str().ok()?.parse().ok(),
        None if headers.contains_key(TRANSFER_ENCODING) => None,
        None => Some(0),
    }
}

/// How a body travels in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streaming {
    Unsigned,
    Signed {
        trailer: bool,
    },
    /// By a kind of key that nobody here has.
    Foreign,
}

fn streaming(digest: &str) -> Option<Streaming> {
    Some(match digest {
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Streaming::Unsigned,
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Streaming::Signed { trailer: false },
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Streaming::Signed { trailer: true },
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD" | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => {
            Streaming::Foreign
        }
        _ => return None,
    })
}

/// Refuses a request that a header signs by version 4, and that does not say
/// what its body is.
///
/// # Errors
/// `InvalidRequest`, `InvalidArgument`.
pub(super) fn require_digest(headers: &HeaderMap) -> S3Result<()> {
    let Some(digest) = header(headers, DIGEST) else {
        return Err(s3_error!(
            InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256"
        ));
    };
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_digest || digest == "UNSIGNED-PAYLOAD" || streaming(digest).is_some() {
        true => Ok(()),
        false => Err(s3_error!(
            InvalidArgument,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."
        )
        .detail("ArgumentName", DIGEST)
        .detail("ArgumentValue", digest)),
    }
}

fn no_length() -> S3Error {
    s3_error!(MissingContentLength)
}

fn decoded_length(headers: &HeaderMap) -> S3Result<u64> {
    let text = header(headers, DECODED);
    text.and_then(|text| text.parse().ok()).ok_or_else(no_length)
}

/// What an object's encodings are without the one it only travels in.
fn without_chunked(headers: &mut HeaderMap) {
    let all = headers.get_all(CONTENT_ENCODING).iter().map(to_text);
    let all: Vec<String> = all.collect();
    let own = all.iter().flat_map(|value| value.split(',')).map(str::trim);
    let own: Vec<&str> = own
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    headers.remove(CONTENT_ENCODING);
    if let Ok(value) = HeaderValue::from_str(&own.join(", "))
        && !own.is_empty()
    {
        headers.insert(CONTENT_ENCODING, value);
    }
}

/// How a body is read.
pub(super) struct Plan {
    length: Option<u64>,
    decoder: Option<(Announced, Trailing)>,
    digests: Digests,
    /// Bytes that the body may have.
    most: u64,
}

impl Plan {
    /// Looks at the headers of a request whose signature is good, or which has
    /// none. `chain` goes on from a signature of version 4.
    ///
    /// # Errors
    /// What is wrong with them, in AWS's words and order.
    pub(super) fn of(parts: &Parts, target: Target, chain: Option<Chain>, by_header: bool) -> S3Result<Self> {
        let headers = &parts.headers;
        let sends = parts.method == Method::PUT || parts.method == Method::POST;
        let length = announced(headers);
        let digest = header(headers, DIGEST).filter(|digest| *digest != "UNSIGNED-PAYLOAD");
        let streaming = digest.and_then(streaming);
        let mut decoded = None;
        if streaming.is_some() {
            decoded = Some(decoded_length(headers)?);
        }
        if streaming == Some(Streaming::Foreign) && by_header {
            return Err(s3_error!(
                NotImplemented,
                "Signatures by AWS4-ECDSA-P256-SHA256 are not supported here."
            ));
        }
        // Only a signature in a header has chunks go on from it: elsewhere the
        // word is a digest like any other, and no body has it.
        let streaming = streaming.filter(|_| by_header);
        if let (None, Some(decoded), Some(length)) = (streaming, decoded, length)
            && length > decoded
        {
            return Err(wrong_length(decoded, length));
        }
        let md5 = announced_md5(header(headers, "content-md5"))?;
        let is_object = target == Target::Object
            && parts.method == Method::PUT
            && !is_document(&parts.method, &parts.uri, target);
        let completes = parts.method == Method::POST && asks(&parts.uri, "uploadId");
        let claim = match sends && !completes {
            true => Claim::of(headers)?,
            false => None,
        };
        let trails = claim.as_ref().is_some_and(|claim| claim.trails);
        if trails && streaming.is_none() {
            return Err(malformed_trailer());
        }
        let deletes = parts.method == Method::POST && target == Target::Bucket && asks(&parts.uri, "delete");
        if deletes && md5.is_none() && claim.is_none() {
            return Err(s3_error!(
                InvalidRequest,
                "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
            ));
        }
        let copies = headers.contains_key("x-amz-copy-source");
        if is_object && !copies && streaming.is_none() && !headers.contains_key(CONTENT_LENGTH) {
            return Err(no_length());
        }
        let mut digests = Digests::default();
        if sends && streaming.is_none() {
            digests.sha256 = digest.map(str::to_owned);
        }
        if length == Some(0)
            && digests
                .sha256
                .as_ref()
                .is_some_and(|said| !said.eq_ignore_ascii_case(&sha256(b"")))
        {
            let said = digests.sha256.take().unwrap_or_default();
            return Err(sha_mismatch(&said, &sha256(b"")));
        }
        if sends && !is_object {
            // The core compares that of an object, and its operation the claim.
            digests.md5 = md5
                .and_then(|md5| hex::decode(md5).ok())
                .map(|md5| STANDARD.encode(md5));
            digests.claim = claim
                .clone()
                .filter(|claim| claim.value.is_some() || claim.trails);
        }
        let decoder = streaming.map(|streaming| {
            let announced = Announced {
                length: decoded.unwrap_or_default(),
                chain: chain.filter(|_| streaming != Streaming::Unsigned),
                signed_trailer: streaming == Streaming::Signed { trailer: true },
                checksum: claim.filter(|claim| claim.trails).map(|claim| claim.algorithm),
            };
            (announced, Trailing::default())
        });
        Ok(Self {
            length: decoder
                .as_ref()
                .map_or(length, |(announced, _)| Some(announced.length)),
            decoder,
            digests,
            most: match is_document(&parts.method, &parts.uri, target) {
                true => MOST_OF_DOCUMENT,
                false => u64::MAX,
            },
        })
    }

    /// The body as its operation reads it, and headers that say so.
    pub(super) fn body(self, parts: &mut Parts, upload: Upload, faults: Faults) -> Incoming {
        let mut digests = self.digests;
        let decoder = self.decoder.map(|(announced, trailing)| {
            let headers = &mut parts.headers;
            without_chunked(headers);
            headers.remove(TRANSFER_ENCODING);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(announced.length));
            digests.trailing = trailing.clone();
            parts.extensions.insert(trailing.clone());
            Decoder::new(announced, trailing)
        });
        Incoming::new(upload, (self.length, self.most), decoder, digests, faults)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn plan(line: &str, headers: &[(&str, &str)], by_header: bool) -> Result<Parts, String> {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let target = Target::of(&parts.uri, false);
        Plan::of(&parts, target, None, by_header).map_err(|error| error.code().as_str().to_owned())?;
        Ok(parts)
    }

    #[test]
    fn what_cannot_be_is_refused_before_the_body_is_read() {
        let (digest, empty) = ("x-amz-content-sha256", sha256(b""));
        let other = sha256(b"other");
        let unsigned = (digest, "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let length = ("content-length", "5");
        for (line, headers, by_header, code) in [
            ("PUT /b/k", vec![], false, "MissingContentLength"),
            (
                "PUT /b/k",
                vec![("transfer-encoding", "chunked")],
                false,
                "MissingContentLength",
            ),
            (
                "PUT /b/k",
                vec![length, ("content-md5", "x")],
                false,
                "InvalidDigest",
            ),
            ("PUT /b/k", vec![length, unsigned], true, "MissingContentLength"),
            (
                "PUT /b/k",
                vec![length, unsigned, (DECODED, "x")],
                true,
                "MissingContentLength",
            ),
            (
                "PUT /b/k",
                vec![length, unsigned, (DECODED, "4")],
                false,
                "IncompleteBody",
            ),
            (
                "PUT /b/k",
                vec![("content-length", "0"), (digest, &other)],
                true,
                "XAmzContentSHA256Mismatch",
            ),
            (
                "PUT /b/k",
                vec![length, ("x-amz-trailer", "x-amz-checksum-crc32")],
                false,
                "MalformedTrailerError",
            ),
            (
                "PUT /b/k",
                vec![
                    length,
                    (digest, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"),
                    (DECODED, "1"),
                ],
                true,
                "NotImplemented",
            ),
            (
                "POST /b?delete",
                vec![length, (digest, &empty)],
                true,
                "InvalidRequest",
            ),
        ] {
            assert_eq!(
                plan(line, &headers, by_header).err().as_deref(),
                Some(code),
                "{line} {headers:?}"
            );
        }
        for (line, headers) in [
            ("GET /b", vec![(digest, other.as_str())]),
            ("PUT /b/k", vec![("x-amz-copy-source", "/b/l")]),
            ("PUT /b/k?tagging", vec![("transfer-encoding", "chunked")]),
            (
                "POST /b/k?uploadId=u",
                vec![length, ("x-amz-checksum-sha256", "AAAA-2")],
            ),
            (
                "POST /b?delete",
                vec![length, ("x-amz-checksum-crc32", "AAAAAA==")],
            ),
        ] {
            assert!(plan(line, &headers, true).is_ok(), "{line} {headers:?}");
        }
    }

    #[test]
    fn only_the_encoding_of_the_way_is_taken_off() {
        for (before, after) in [
            ("aws-chunked", None),
            ("foo, aws-chunked, bar", Some("foo, bar")),
            ("gzip", Some("gzip")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(before));
            without_chunked(&mut headers);
            assert_eq!(header(&headers, "content-encoding"), after);
        }
    }

    #[test]
    fn a_digest_is_one_or_says_why_there_is_none() {
        let digest = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DIGEST, HeaderValue::from_str(value).unwrap());
            require_digest(&headers).is_ok()
        };
        assert!(digest(&sha256(b"x")) && digest(&sha256(b"x").to_uppercase()) && digest("UNSIGNED-PAYLOAD"));
        assert!(!digest("unsigned-payload") && !digest("invalid") && !digest(&"g".repeat(64)));
        assert!(require_digest(&HeaderMap::new()).is_err());
    }
}
