//! Uploads by a browser's form: `POST` of `multipart/form-data` to a bucket,
//! with a policy that says what may be sent, signed by a key in its place.
//!
//! The file passes through as it comes, as the body of a PutObject that is
//! judged like any other. The protocol layer would gather it in memory first,
//! so forms do not get there.
mod document;
mod fields;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzed;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body::Frame;
use s3s::dto::{ETag, PutObjectInput, StreamingBlob, Tagging};
use s3s::xml::{DeserializeContent, Deserializer};
use s3s::{Body, S3, S3Error, S3Request, S3Result, s3_error};
use virga_proxy::core::BodyError;
use virga_proxy::swift::body::{Answer, empty, full};
use virga_proxy::swift::formpost::multipart::{Multipart, Part, PartError, boundary};
use virga_proxy::swift::upload::Upload;

use self::document::Document;
use self::fields::Fields;
use super::access::with_project;
use super::fault::named;
use super::request::{Place, Signed};
use super::{Backend, signatures, tagging};

/// Fields that become headers of the upload under the same name.
const HEADERS: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];
/// Fields of the signature, which the upload does not store.
const OF_SIGNATURE: [&str; 4] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-signature",
];

/// What is encoded in a URL.
const RESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'/')
    .remove(b'_')
    .remove(b'~');

/// Whether a request is a form, or what the protocol layer would take for one:
/// it must not get there.
pub(crate) fn is_one(method: &Method, headers: &HeaderMap) -> bool {
    const KIND: &str = "multipart/form-data";
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let start = kind.and_then(|kind| kind.trim_start().get(..KIND.len()));
    method == Method::POST && start.is_some_and(|start| start.eq_ignore_ascii_case(KIND))
}

/// A file that its policy does not let be so small or so large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongSize {
    /// It ended before it had the bytes it must have.
    #[error("the file is smaller than its policy allows")]
    Small,
    /// It went on after the bytes it may have.
    #[error("the file is larger than its policy allows")]
    Large,
}

impl WrongSize {
    /// AWS's error.
    pub(crate) fn fault(self) -> S3Error {
        match self {
            Self::Small => s3_error!(EntityTooSmall),
            Self::Large => s3_error!(EntityTooLarge),
        }
    }
}

/// That the length of an upload is known only when it has ended: an extension
/// of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unmeasured;

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Size(#[from] WrongSize),
}

/// The bytes of the file.
struct File(Pin<Box<dyn Stream<Item = Result<Bytes, FileError>> + Send>>);

impl File {
    /// The rest of the part that stands there.
    fn new(parts: Multipart<Upload>, (least, most): (u64, u64)) -> Self {
        let next = move |(mut parts, seen): (Multipart<Upload>, u64)| async move {
            let piece = parts.data().await.map_err(|error| match error {
                PartError::Body(error) => error,
                other => BodyError::Malformed(other.to_string()),
            })?;
            let Some(piece) = piece else {
                return match seen < least {
                    true => Err(WrongSize::Small.into()),
                    false => Ok(None),
                };
            };
            let seen = seen.saturating_add(piece.len() as u64);
            match seen > most {
                true => Err(WrongSize::Large.into()),
                false => Ok(Some((piece, (parts, seen)))),
            }
        };
        Self(Box::pin(stream::try_unfold((parts, 0), next)))
    }
}

impl http_body::Body for File {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.0.as_mut().poll_next(cx);
        piece.map(|piece| {
            piece.map(|bytes| match bytes {
                Ok(bytes) => Ok(Frame::data(bytes)),
                Err(FileError::Body(error)) => Err(error.into()),
                Err(FileError::Size(error)) => Err(error.into()),
            })
        })
    }
}

impl Backend {
    /// Who signed the policy of a form; nobody, where there is none.
    async fn signer(&self, fields: &Fields) -> S3Result<Option<String>> {
        let Some(policy) = fields.get("policy") else {
            return match fields.get("x-amz-signature").or(fields.get("signature")) {
                Some(_) => fields.wanted("policy").map(|_| None),
                None => Ok(None),
            };
        };
        let wrong = || s3_error!(SignatureDoesNotMatch);
        if let Some(shown) = fields.get("x-amz-signature") {
            if fields.wanted("x-amz-algorithm")? != "AWS4-HMAC-SHA256" {
                return Err(s3_error!(
                    InvalidArgument,
                    "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""
                ));
            }
            let credential: Vec<&str> = fields.wanted("x-amz-credential")?.split('/').collect();
            let [access, day, region, "s3", "aws4_request"] = credential.as_slice() else {
                return Err(s3_error!(
                    InvalidArgument,
                    "The field x-amz-credential is no KEY/DATE/REGION/s3/aws4_request."
                ));
            };
            if !fields.wanted("x-amz-date")?.starts_with(day) {
                return Err(wrong());
            }
            let key = self.0.keys.get(access).await?;
            let key = signatures::key_of(&key.secret, [day, region, "s3"]);
            return match signatures::is_v4(&key, policy, shown) {
                true => Ok(Some((*access).to_owned())),
                false => Err(wrong()),
            };
        }
        let (Some(access), Some(shown)) = (fields.get("awsaccesskeyid"), fields.get("signature")) else {
            return Err(document::unsigned());
        };
        let key = self.0.keys.get(access).await?;
        match signatures::is_v2(&key.secret, policy, shown) {
            true => Ok(Some(access.to_owned())),
            false => Err(wrong()),
        }
    }

    /// The bytes that the file must and may have, if the policy of the form, where
    /// there is one, permits what it says.
    fn permitted(&self, fields: &Fields, bucket: &str, key: &str) -> S3Result<(u64, u64)> {
        let Some(policy) = fields.get("policy") else {
            return Ok((0, u64::MAX));
        };
        let document = Document::read(policy)?;
        let value = |name: &str| match name {
            "bucket" => Some(with_project(bucket).map_or(bucket, |(_, bare)| bare).to_owned()),
            "key" => Some(key.to_owned()),
            name => fields.get(name).map(str::to_owned),
        };
        let now = i64::try_from(self.0.clock.now().0 / 1000).unwrap_or(i64::MAX);
        document.check(now, fields.names(), value)?;
        Ok(document.length())
    }

    /// Uploads the file of a form to `bucket`. `signer` becomes the key that
    /// signed it, as soon as that is known.
    ///
    /// # Errors
    /// AWS's for what is wrong with it.
    pub(crate) async fn post_form(
        &self,
        request: Request<Upload>,
        bucket: &str,
        signer: &mut Option<String>,
    ) -> S3Result<Answer> {
        let (head, upload) = request.into_parts();
        let kind = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let boundary = kind.and_then(boundary).ok_or_else(|| {
            named(
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailed",
                "Bucket POST must be of the enclosure-type multipart/form-data",
            )
        })?;
        let mut parts = Multipart::new(upload, boundary);
        let (fields, file) = Fields::read(&mut parts).await?;
        let key = key_of(&fields, &file)?;
        *signer = self.signer(&fields).await?;
        let range = self.permitted(&fields, bucket, &key)?;
        let body = Body::http_body_unsync(File::new(parts, range));
        let mut put = S3Request {
            input: PutObjectInput {
                bucket: bucket.to_owned(),
                key: key.clone(),
                body: Some(StreamingBlob::from(body)),
                ..PutObjectInput::default()
            },
            method: Method::PUT,
            uri: head.uri.clone(),
            headers: headers_of(&fields, &file)?,
            extensions: head.extensions,
            credentials: None,
            region: None,
            service: None,
            trailing_headers: None,
        };
        put.input.tagging = put
            .headers
            .get("x-amz-tagging")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        put.extensions.insert(Unmeasured);
        if let Some(access) = signer {
            put.extensions.insert(Signed {
                access: access.clone(),
                place: Place::Form,
                version: None,
                region: None,
            });
        }
        let stored = self.put_object(put).await?;
        let etag = match stored.output.e_tag {
            Some(ETag::Strong(etag) | ETag::Weak(etag)) => etag,
            None => String::new(),
        };
        answer(&fields, &head.uri, bucket, &key, &etag)
    }
}

/// The key, with the name of the file where it says so.
fn key_of(fields: &Fields, file: &Part) -> S3Result<String> {
    let name = file.filename.as_deref().unwrap_or_default();
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let key = fields.wanted("key")?.replace("${filename}", name);
    match key.len() {
        0 => Err(s3_error!(
            InvalidArgument,
            "User key must have a length greater than 0."
        )),
        1..=1024 => Ok(key),
        _ => Err(s3_error!(KeyTooLongError)),
    }
}

/// What the fields say, as the headers of an upload say it.
fn headers_of(fields: &Fields, file: &Part) -> S3Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut set = |name: &str, value: &str| -> S3Result<()> {
        let bad = || s3_error!(InvalidArgument, "The field {name:?} cannot be kept.");
        let value = HeaderValue::from_str(value).map_err(|_| bad())?;
        let name: HeaderName = name.parse().map_err(|_| bad())?;
        headers.insert(name, value);
        Ok(())
    };
    for (name, value) in fields.all() {
        match name {
            "acl" => set("x-amz-acl", value)?,
            "tagging" => set("x-amz-tagging", &tags(value)?)?,
            name if OF_SIGNATURE.contains(&name) => {}
            name if HEADERS.contains(&name) || name.starts_with("x-amz-") => set(name, value)?,
            _ => {}
        }
    }
    if fields.get("content-type").is_none()
        && let Some(kind) = &file.content_type
    {
        set("content-type", kind)?;
    }
    Ok(headers)
}

/// Tags of a form are a document; of an upload they are a query.
fn tags(document: &str) -> S3Result<String> {
    let read = || {
        let mut reader = Deserializer::new(document.as_bytes());
        let tagging = reader
            .named_element("Tagging", Tagging::deserialize_content)
            .ok()?;
        let pairs = tagging.tag_set.into_iter().map(|tag| tag.key.zip(tag.value));
        pairs.collect::<Option<Vec<_>>>()
    };
    let tags = read().ok_or_else(|| s3_error!(MalformedXML))?;
    Ok(tagging::written(&tags))
}

fn answer(fields: &Fields, uri: &Uri, bucket: &str, key: &str, etag: &str) -> S3Result<Answer> {
    let encoded = |text: &str| percent_encoding::utf8_percent_encode(text, RESERVED).to_string();
    let mut answer = Answer::new(empty());
    let quoted = format!("\"{etag}\"");
    let set = |answer: &mut Answer, name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(name, value);
        }
    };
    set(&mut answer, ETAG, &quoted);
    let redirect = fields.get("success_action_redirect").or(fields.get("redirect"));
    let wanted = redirect.and_then(|to| to.parse::<Uri>().ok());
    if let Some(to) = wanted.filter(|to| to.scheme().is_some()) {
        let mark = if to.query().is_some() { '&' } else { '?' };
        let to = format!(
            "{to}{mark}bucket={}&key={}&etag={}",
            encoded(bucket),
            encoded(key),
            encoded(&quoted)
        );
        set(&mut answer, LOCATION, &to);
        *answer.status_mut() = StatusCode::SEE_OTHER;
        return Ok(answer);
    }
    let location = format!("{}/{}", uri.path().trim_end_matches('/'), encoded(key));
    set(&mut answer, LOCATION, &location);
    match fields.get("success_action_status") {
        Some("200") => *answer.status_mut() = StatusCode::OK,
        Some("201") => {
            let escaped = super::detail::escaped;
            let document = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location><Bucket>{}</Bucket>\
                 <Key>{}</Key><ETag>&quot;{etag}&quot;</ETag></PostResponse>",
                escaped(&location),
                escaped(bucket),
                escaped(key)
            );
            *answer.body_mut() = full(document);
            set(&mut answer, CONTENT_TYPE, "application/xml");
            *answer.status_mut() = StatusCode::CREATED;
        }
        _ => *answer.status_mut() = StatusCode::NO_CONTENT,
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_looks_like_a_form_gets_past() {
        for (kind, expected) in [
            ("multipart/form-data; boundary=x", true),
            ("Multipart/Form-Data", true),
            ("multipart/form-data+x; boundary=x", true),
            ("multipart/mixed; boundary=x", false),
            ("text/plain", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_one(&Method::POST, &headers), expected, "{kind}");
            assert!(!is_one(&Method::PUT, &headers), "{kind}");
        }
    }
}
