//! The id of a request: `req-` and a UUID, in every answer and log line.
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, in both directions.
pub const HEADER: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// The id of the request at hand; an extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

impl RequestId {
    /// A new id.
    pub fn generate() -> Self {
        Self(format!("req-{}", uuid::Uuid::new_v4()))
    }

    /// As a header's value.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("req-unknown"))
    }
}

/// The id that the caller's own request carries, to follow one call through
/// several services. Only the well-formed are believed: it goes to the log.
pub fn global_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(&HEADER)?.to_str().ok()?;
    let id = text.strip_prefix("req-")?;
    (id.len() == 36 && uuid::Uuid::try_parse(id).is_ok()).then_some(text)
}
