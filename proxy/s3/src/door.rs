//! Where S3 requests come in, and where answers get what AWS says and the
//! protocol layer does not: request ids, the resource of an error, AWS's words
//! for its codes, headers for pages of other origins.
use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use s3s::host::{S3Host, VirtualHost};
use s3s::path::check_bucket_name;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;
use s3s::{HttpResponse, S3Error, S3Result};
use virga_node::clock::Clock;
use virga_proxy::server::Dialect;
use virga_proxy::swift::body::{Answer, Outgoing, empty, full, streamed};
use virga_proxy::swift::domain_remap;
use virga_proxy::swift::pages;
use virga_proxy::swift::upload::Upload;

use super::detail::{self, escaped};
use super::fault::sentence;
use super::listing::document::Written;
use super::precedence::{Documented, NoSecrets, Routes};
use super::request::{self, Checked, Target};
use super::{Backend, S3Parts, access, cors, form, lifecycle, shape};

/// The status of an answer, where the protocol layer would give another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusOverride(pub(crate) StatusCode);

/// The S3 dialect at the door of the object store.
pub struct S3Door {
    service: S3Service,
    /// The same for requests that bring a document: it notes which operation they mean.
    documents: S3Service,
    backend: Backend,
    domains: Vec<String>,
}

impl S3Door {
    /// Puts the parts together.
    pub fn new(parts: S3Parts) -> Self {
        let domains = parts.config.storage_domains.clone();
        let backend = Backend::new(parts);
        // It knows no keys and judges nobody: signatures are checked before it is
        // called, and every operation is judged by itself.
        let service = || {
            let mut service = S3ServiceBuilder::new(backend.clone());
            service.set_host(Domains(domains.clone()));
            service.set_validation(Names);
            service
        };
        let mut documents = service();
        documents.set_auth(NoSecrets);
        documents.set_access(Routes);
        Self {
            service: service().build(),
            documents: documents.build(),
            backend,
            domains,
        }
    }

    /// Who runs the life-cycle rules of all buckets behind this door.
    pub fn lifecycle(&self, settings: &lifecycle::Settings, clock: Arc<dyn Clock>) -> lifecycle::Worker {
        lifecycle::Worker::new(self.backend.clone(), settings, clock)
    }

    /// Answers a request that was checked.
    async fn served(&self, mut checked: Checked, method: &Method, target: Target) -> Answer {
        let documented = Documented::of(target, &mut checked.request);
        let service = match documented {
            Some(_) => &self.documents,
            None => &self.service,
        };
        let answer = match service.call(checked.request).await {
            Ok(response) => convert(response),
            Err(error) => {
                let error: s3s::StdError = error.into();
                tracing::error!(%error, "an S3 request failed");
                dress_error(s3s::s3_error!(InternalError))
            }
        };
        if let Some(documented) = documented
            && !answer.status().is_success()
            && let Some(fault) = documented.refused(&self.backend).await
        {
            return dress_error(fault);
        }
        match checked.faults.take() {
            Some(fault) if !answer.status().is_success() => dress_error(fault),
            _ if is_unknown(&answer) => dress_error(request::not_allowed(method, target)),
            _ => answer,
        }
    }

    /// Answers a form. `hosted`: its bucket stands in the name of the host.
    async fn form(&self, request: Request<Upload>, hosted: bool, id: &str) -> Answer {
        let (uri, headers) = (request.uri().clone(), request.headers().clone());
        let bucket = self.bucket(&uri, &headers);
        let path = uri.path().trim_end_matches('/');
        let mut signer = None;
        let done = match path.matches('/').count() == usize::from(!hosted) {
            true => self.backend.post_form(request, &bucket, &mut signer).await,
            false => Err(s3s::s3_error!(MethodNotAllowed)),
        };
        let answer = done.unwrap_or_else(dress_error);
        let mut answer = dress(answer, &Method::POST, &uri, id);
        let signer = signer.as_deref();
        let shown = self
            .backend
            .for_page(&bucket, &Method::POST, signer, &headers)
            .await;
        answer.headers_mut().extend(shown);
        answer
    }

    /// The bucket that a request names, by path or by host.
    fn bucket(&self, uri: &Uri, headers: &HeaderMap) -> String {
        if let Some(bucket) = bucket_of_host(&self.domains, host_of(headers)) {
            return bucket.to_owned();
        }
        let first = uri.path().split('/').nth(1).unwrap_or_default();
        percent_encoding::percent_decode_str(first)
            .decode_utf8_lossy()
            .into_owned()
    }
}

/// What `Host` says; nothing, if it says nothing.
fn host_of(headers: &HeaderMap) -> &str {
    let host = headers.get(http::header::HOST);
    host.and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// The bucket in front of one of the domains.
fn bucket_of_host<'a>(domains: &[String], host: &'a str) -> Option<&'a str> {
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    domains
        .iter()
        .find_map(|domain| bare.strip_suffix(domain.as_str())?.strip_suffix('.'))
}

/// Hosts that name a bucket. Any other host names none: there is no telling
/// what name this door is reached by.
struct Domains(Vec<String>);

impl S3Host for Domains {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let named = VirtualHost::new(host);
        Ok(match bucket_of_host(&self.0, host) {
            Some(bucket) => named.with_bucket(bucket),
            None => named,
        })
    }
}

/// Names of buckets: AWS's rules, with or without the project in front.
struct Names;

impl NameValidation for Names {
    fn validate_bucket_name(&self, name: &str) -> bool {
        let bare = access::with_project(name).map_or(name, |(_, bucket)| bucket);
        check_bucket_name(bare)
    }
}

/// Whether a request is signed as AWS signs, or claims to be.
fn is_signed(uri: &Uri, headers: &HeaderMap) -> bool {
    let authorization = headers
        .get("authorization")
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let query = uri.query().unwrap_or_default();
    let named = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    authorization.starts_with(b"AWS4-HMAC-SHA256")
        || authorization.starts_with(b"AWS ")
        || ["X-Amz-Signature", "X-Amz-Algorithm", "AWSAccessKeyId"]
            .into_iter()
            .any(named)
}

/// What the other dialect's paths may begin with besides: `/object/v1/ACCOUNT`.
const BEFORE_VERSION: &str = "object";

/// Whether paths that begin with this are the other dialect's, or the door's.
fn is_elsewhere(first: &str) -> bool {
    let taken = pages::ALL.iter().filter_map(|page| page.split('/').nth(1));
    taken.chain([BEFORE_VERSION]).any(|taken| taken == first)
}

/// Whether an unsigned request can only mean a bucket.
fn names_bucket(uri: &Uri) -> bool {
    let first = uri.path().split('/').nth(1).unwrap_or_default();
    let mut start = first.bytes();
    let version = start.next() == Some(b'v') && start.next().is_some_and(|byte| byte.is_ascii_digit());
    let named = percent_encoding::percent_decode_str(first).decode_utf8_lossy();
    let of_project = access::with_project(&named).is_some_and(|(_, bucket)| check_bucket_name(bucket));
    of_project || !version && !is_elsewhere(first) && check_bucket_name(first)
}

#[async_trait]
impl Dialect for S3Door {
    fn claims(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        if is_signed(uri, headers) {
            return true;
        }
        let token = headers.contains_key("x-auth-token") || headers.contains_key("x-storage-token");
        // Hosts that stand for an account are the other dialect's.
        let account = domain_remap::remap(self.backend.config(), host_of(headers), uri.path());
        !token && matches!(account, Ok(None)) && names_bucket(uri)
    }

    fn info(&self) -> (&'static str, serde_json::Value) {
        ("s3api", self.backend.info())
    }

    async fn answer(&self, request: Request<Upload>, id: &str) -> Answer {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let page = request.headers().contains_key(http::header::ORIGIN);
        if method == Method::OPTIONS {
            let bucket = self.bucket(&uri, request.headers());
            let answer = match self.backend.preflight(&bucket, &uri, request.headers()).await {
                Ok(headers) => {
                    let mut answer = Answer::new(empty());
                    *answer.headers_mut() = headers;
                    answer
                }
                Err(error) => dress_error(error),
            };
            return dress(answer, &method, &uri, id);
        }
        let headers = page.then(|| request.headers().clone());
        let host = bucket_of_host(&self.domains, host_of(request.headers())).map(str::to_owned);
        if form::is_one(&method, request.headers()) {
            return self.form(request, host.is_some(), id).await;
        }
        let answer = match request::check(&self.backend, request, host.as_deref()).await {
            Ok(checked) => {
                self.served(checked, &method, Target::of(&uri, host.is_some()))
                    .await
            }
            Err(error) => dress_error(error),
        };
        let mut answer = dress(answer, &method, &uri, id);
        if let Some(headers) = headers {
            let bucket = self.bucket(&uri, &headers);
            let access = cors::access_key(&uri, &headers);
            let shown = self
                .backend
                .for_page(&bucket, &method, access.as_deref(), &headers)
                .await;
            answer.headers_mut().extend(shown);
        }
        answer
    }
}

/// Whether the protocol layer knows no operation for a request.
fn is_unknown(answer: &Answer) -> bool {
    let body = match answer.body() {
        Outgoing::Whole(Some(body)) if answer.status() == StatusCode::NOT_IMPLEMENTED => body,
        _ => return false,
    };
    let said = std::str::from_utf8(body)
        .ok()
        .and_then(|text| element(text, "Message"));
    said == Some("Unknown operation")
}

fn dress_error(error: S3Error) -> Answer {
    match error.to_http_response() {
        Ok(response) => convert(response),
        Err(_) => {
            let mut answer = Answer::new(empty());
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            answer
        }
    }
}

/// From the protocol layer's answer to the door's.
fn convert(response: HttpResponse) -> Answer {
    let (mut parts, body) = response.into_parts();
    if let Some(StatusOverride(status)) = parts.extensions.get() {
        parts.status = *status;
    }
    if let Some(Written(document)) = parts.extensions.get() {
        let document = document.clone();
        parts.headers.remove(CONTENT_LENGTH);
        return Response::from_parts(parts, full(document));
    }
    let body = match body.bytes() {
        Some(bytes) => full(bytes),
        None => {
            let length = body.size_hint().exact();
            streamed(Box::pin(body), length)
        }
    };
    Response::from_parts(parts, body)
}

/// Adds what AWS says and the protocol layer does not.
fn dress(mut answer: Answer, method: &Method, uri: &Uri, id: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(id) {
        let headers = answer.headers_mut();
        headers.insert("x-amz-request-id", value.clone());
        headers.insert("x-amz-id-2", value);
    }
    let details = detail::take(answer.headers_mut());
    let status = answer.status();
    if status == StatusCode::NOT_MODIFIED {
        answer.headers_mut().remove(CONTENT_TYPE);
        *answer.body_mut() = empty();
        return answer;
    }
    if status.is_client_error() || status.is_server_error() {
        let written = match answer.body() {
            Outgoing::Whole(Some(body)) => {
                let about = status != StatusCode::BAD_REQUEST;
                error_document(body, about.then_some(uri), id, &details)
            }
            _ => None,
        };
        if let Some(written) = written {
            let headers = answer.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            headers.remove(CONTENT_LENGTH);
            *answer.body_mut() = full(written);
        }
        if method == Method::HEAD {
            let headers = answer.headers_mut();
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            *answer.body_mut() = empty();
        }
    } else if method == Method::HEAD {
        let xml = HeaderValue::from_static("application/xml");
        answer.headers_mut().entry(CONTENT_TYPE).or_insert(xml);
    } else if !answer.headers().contains_key(ETAG)
        && answer.extensions().get::<Written>().is_none()
        && let Outgoing::Whole(Some(body)) = answer.body()
        && let Some(document) = shape::as_aws(body)
    {
        answer.headers_mut().remove(CONTENT_LENGTH);
        *answer.body_mut() = full(document);
    }
    answer
}

/// What stands between `<name>` and `</name>`.
fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let start = document.find(&format!("<{name}>"))? + name.len() + 2;
    let end = document[start..].find(&format!("</{name}>"))?;
    document.get(start..start + end)
}

/// The document of an error as AWS writes it.
fn error_document(body: &Bytes, about: Option<&Uri>, id: &str, details: &str) -> Option<String> {
    let document = std::str::from_utf8(body).ok()?;
    let code = element(document, "Code")?;
    let said = element(document, "Message").unwrap_or_default();
    let message = match code {
        // Our own sentence says more than AWS's.
        "NotImplemented" | "InvalidRequest" | "InvalidArgument" | "BadDigest" | "AccessDenied"
        | "ServiceUnavailable" | "MalformedXML" | "IncompleteBody"
            if !said.is_empty() =>
        {
            said
        }
        code => sentence(code).unwrap_or(said),
    };
    let mut written = String::with_capacity(512 + details.len());
    let _ = write!(
        written,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{details}"
    );
    // What is wrong with the request itself is not about what it names.
    if let Some(uri) = about.filter(|_| details.is_empty()) {
        let _ = write!(written, "<Resource>{}</Resource>", escaped(uri.path()));
    }
    let _ = write!(
        written,
        "<RequestId>{id}</RequestId><HostId>{id}</HostId></Error>"
    );
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_are_signed_or_name_a_bucket_are_s3s() {
        let at = |uri: &str| uri.parse::<Uri>().unwrap();
        let nothing = HeaderMap::new();
        for uri in ["/v1/AUTH_p?X-Amz-Signature=x", "/b?AWSAccessKeyId=x&Signature=y"] {
            assert!(is_signed(&at(uri), &nothing), "{uri}");
        }
        assert!(!is_signed(&at("/b?x=AWSAccessKeyId"), &nothing));
        for (uri, expected) in [
            ("/bucket/key", true),
            ("/my.bucket", true),
            ("/v1/AUTH_p/c", false),
            ("/v1.0/AUTH_p", false),
            ("/v12", false),
            ("/info", false),
            ("/healthcheck", false),
            ("/", false),
            ("/UPPER", false),
            ("/p:bucket/key", true),
            ("/p%3Abucket", true),
            ("/p:B", false),
        ] {
            assert_eq!(names_bucket(&at(uri)), expected, "{uri}");
        }
    }

    #[test]
    fn a_host_below_a_domain_names_a_bucket() {
        let domains = ["s3.example".to_owned()];
        assert_eq!(bucket_of_host(&domains, "b.s3.example:8080"), Some("b"));
        assert_eq!(bucket_of_host(&domains, "my.b.s3.example"), Some("my.b"));
        for host in ["s3.example", "127.0.0.1:8080", "bs3.example", "localhost"] {
            assert_eq!(bucket_of_host(&domains, host), None, "{host}");
        }
    }

    #[test]
    fn an_error_says_what_it_is_about() {
        let body = Bytes::from_static(b"<?xml?><Error><Code>NoSuchKey</Code></Error>");
        let written = error_document(&body, Some(&"/b/k%3C&amp".parse().unwrap()), "tx1", "").unwrap();
        assert_eq!(
            element(&written, "Message"),
            Some("The specified key does not exist.")
        );
        assert_eq!(element(&written, "Resource"), Some("/b/k%3C&amp;amp"));
        assert_eq!(element(&written, "RequestId"), Some("tx1"));
        let body = Bytes::from_static(b"<Error><Code>InvalidArgument</Code><Message>Ours</Message></Error>");
        let written = error_document(&body, Some(&"/b".parse().unwrap()), "tx1", "<A>b</A>").unwrap();
        assert_eq!(element(&written, "Message"), Some("Ours"));
        assert_eq!(
            (element(&written, "A"), element(&written, "Resource")),
            (Some("b"), None)
        );
        assert!(error_document(&Bytes::from_static(b"<html>"), None, "x", "").is_none());
    }
}
