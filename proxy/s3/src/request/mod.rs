//! What AWS asks of every request before any operation begins: its signature,
//! its lengths, its digests, the chunks its body travels in. The door calls
//! [`check`] once; what it lets through reaches the protocol layer unsigned and
//! with a plain body, which checks itself as it is read ([`body`]). Forms of
//! browsers, which are signed inside their body, do not come here.
mod body;
mod canonical;
mod chunked;
mod claimed;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;
mod payload;
mod tidy;
mod verify;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::header::{AUTHORIZATION, RANGE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Uri};
use s3s::{Body, S3Error, S3ErrorCode, S3Result};
use virga_proxy::core::BodyError;
use virga_proxy::swift::upload::Upload;

use super::Backend;
use super::detail::Detailed;

pub(crate) use body::md5_mismatch;
pub(crate) use chunked::malformed_trailer;

use claimed::Claimed;
use payload::Plan;

/// A request that goes on to its operation.
pub(crate) struct Checked {
    pub(crate) request: Request<Body>,
    /// What turns out to be wrong with its body.
    pub(crate) faults: Faults,
}

/// What is wrong with a body, in AWS's words. The protocol layer and the core
/// only learn that it ends early.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<S3Error>>>);

impl Faults {
    /// Notes a fault; the body ends with the error that is returned.
    fn refuse(&self, fault: S3Error) -> BodyError {
        let why = fault.code().as_str().to_owned();
        self.note(fault);
        BodyError::Malformed(why)
    }

    fn note(&self, fault: S3Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// What was noted.
    pub(crate) fn take(&self) -> Option<S3Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The checksum that came behind a body, once it has ended: an extension of
/// requests that announce one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trailing(Arc<OnceLock<String>>);

impl Trailing {
    /// The value, in base64.
    pub(crate) fn value(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn set(&self, value: String) {
        let _ = self.0.set(value);
    }
}

/// Where a signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Header,
    Query,
    Form,
}

impl Place {
    /// As policies name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Header => "REST-HEADER",
            Self::Query => "REST-QUERY-STRING",
            Self::Form => "POST",
        }
    }
}

/// Whose signature a request bears, after it was found good: an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    /// The access key.
    pub(crate) access: String,
    pub(crate) place: Place,
    /// As policies name it; forms do not say.
    pub(crate) version: Option<&'static str>,
    /// The region that it was made for, if it says one.
    pub(crate) region: Option<String>,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Service,
    Bucket,
    Object,
}

impl Target {
    /// What a path names, with the bucket in front of it or in the host.
    pub(crate) fn of(uri: &Uri, bucket_in_host: bool) -> Self {
        let path = uri.path().trim_start_matches('/');
        let (bucket, key) = match bucket_in_host {
            true => ("host", path),
            false => path.split_once('/').unwrap_or((path, "")),
        };
        match (bucket.is_empty(), key.is_empty()) {
            (true, _) => Self::Service,
            (false, true) => Self::Bucket,
            (false, false) => Self::Object,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Service => "SERVICE",
            Self::Bucket => "BUCKET",
            Self::Object => "OBJECT",
        }
    }
}

/// The error for a method that means nothing here.
pub(crate) fn not_allowed(method: &Method, target: Target) -> S3Error {
    S3Error::new(S3ErrorCode::MethodNotAllowed)
        .detail("Method", method.as_str())
        .detail("ResourceType", target.name())
}

/// The value of a header that is text, without spaces around it.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.trim())
}

/// Names and values of a query, decoded.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        let bytes = percent_encoding::percent_decode_str(&spaced);
        bytes.decode_utf8_lossy().into_owned()
    };
    let written = query.split('&').filter(|pair| !pair.is_empty());
    written.map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// Whether a query has a name, with any value.
fn asks(uri: &Uri, wanted: &str) -> bool {
    pairs(uri.query().unwrap_or_default()).any(|(name, _)| name == wanted)
}

/// Whether the body of a request is a document, and not an object's bytes.
pub(crate) fn is_document(method: &Method, uri: &Uri, target: Target) -> bool {
    let of_object = || payload::DOCUMENTS.iter().any(|name| asks(uri, name));
    match *method {
        Method::POST => true,
        Method::PUT => target == Target::Bucket || target == Target::Object && of_object(),
        _ => false,
    }
}

/// Takes the signature off, which the protocol layer would check again.
fn without_signature(parts: &mut Parts) {
    parts.headers.remove(AUTHORIZATION);
    let Some(query) = parts.uri.query() else { return };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            name != "X-Amz-Signature" && name != "Signature"
        })
        .collect();
    let path = parts.uri.path();
    let target = match kept.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", kept.join("&")),
    };
    if let Ok(target) = PathAndQuery::try_from(target) {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(uri) {
            parts.uri = uri;
        }
    }
}

/// Takes off a range that is none, or several in one: AWS sends all of the
/// object then, and the protocol layer would refuse the request.
fn without_odd_range(headers: &mut HeaderMap) {
    let range = header(headers, RANGE.as_str());
    if range.is_some_and(|range| s3s::dto::Range::parse(range).is_err()) {
        headers.remove(RANGE);
    }
}

/// Checks a request before its operation begins.
///
/// # Errors
/// What is wrong with it, in AWS's words and order.
pub(crate) async fn check(
    backend: &Backend,
    request: Request<Upload>,
    bucket_in_host: Option<&str>,
) -> S3Result<Checked> {
    let (mut parts, upload) = request.into_parts();
    let faults = Faults::default();
    let claimed = Claimed::of(&parts)?;
    let by_header = matches!(&claimed, Some(Claimed::New(new)) if !new.in_query());
    if by_header {
        payload::require_digest(&parts.headers)?;
    }
    let (signed, chain) = match claimed {
        Some(claimed) => {
            let (signed, chain) = verify::verify(backend, &parts, claimed, bucket_in_host).await?;
            (Some(signed), chain)
        }
        None => (None, None),
    };
    let target = Target::of(&parts.uri, bucket_in_host.is_some());
    if target == Target::Service && parts.method != Method::GET {
        return Err(not_allowed(&parts.method, target));
    }
    tidy::copy_source(&parts.headers)?;
    let plan = Plan::of(&parts, target, chain, by_header)?;
    without_signature(&mut parts);
    without_odd_range(&mut parts.headers);
    tidy::dates(&mut parts.headers);
    tidy::conceal(&mut parts.headers);
    if let Some(signed) = signed {
        parts.extensions.insert(signed);
    }
    let body = plan.body(&mut parts, upload, faults.clone());
    let request = Request::from_parts(parts, Body::http_body_unsync(body));
    Ok(Checked { request, faults })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_service_a_bucket_or_an_object() {
        for (uri, in_host, expected) in [
            ("/", false, Target::Service),
            ("/b", false, Target::Bucket),
            ("/b/?acl", false, Target::Bucket),
            ("/b/k", false, Target::Object),
            ("/", true, Target::Bucket),
            ("/k", true, Target::Object),
        ] {
            assert_eq!(Target::of(&uri.parse().unwrap(), in_host), expected, "{uri}");
        }
    }

    #[test]
    fn a_signature_in_a_query_is_taken_off_and_nothing_else() {
        let request = Request::builder()
            .uri("/b/k?a=%2F&X-Amz-Signature=x&Signature=y&X-Amz-Date=z")
            .header("authorization", "AWS a:b");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        without_signature(&mut parts);
        assert_eq!(parts.uri, "/b/k?a=%2F&X-Amz-Date=z");
        assert!(parts.headers.is_empty());
    }
}
