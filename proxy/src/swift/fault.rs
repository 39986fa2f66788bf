//! The one place from errors to Swift's status codes and bodies.
//!
//! Handlers return [`Fault`]s; the door turns them into responses. Texts are
//! the ones Swift's clients and tests know.
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};

use super::body::{Answer, full};
use crate::core::{
    BodyError, DeleteContainerError, DeleteObjectError, ListError, PostMetaError, PostObjectError,
    ProveError, PutContainerError, PutObjectError, ReadObjectError, SegmentError, Unavailable,
};

/// An answer that is not a success.
#[derive(Debug)]
pub struct Fault(Box<Detail>);

#[derive(Debug)]
struct Detail {
    status: StatusCode,
    body: Said,
    headers: HeaderMap,
}

#[derive(Debug)]
enum Said {
    /// Swift's short page for the status.
    Page,
    /// This sentence as `text/plain`.
    Plain(String),
    /// This sentence, labelled HTML as Swift labels it.
    Html(String),
}

impl Fault {
    /// Swift's short page for `status`.
    pub fn page(status: StatusCode) -> Self {
        Self(Box::new(Detail {
            status,
            body: Said::Page,
            headers: HeaderMap::new(),
        }))
    }

    /// `status` with a sentence as plain text.
    pub fn plain(status: StatusCode, text: impl Into<String>) -> Self {
        Self(Box::new(Detail {
            status,
            body: Said::Plain(text.into()),
            headers: HeaderMap::new(),
        }))
    }

    /// `status` with a sentence that Swift labels as HTML.
    pub fn html(status: StatusCode, text: impl Into<String>) -> Self {
        Self(Box::new(Detail {
            status,
            body: Said::Html(text.into()),
            headers: HeaderMap::new(),
        }))
    }

    /// 404.
    pub fn not_found() -> Self {
        Self::page(StatusCode::NOT_FOUND)
    }

    /// 400 with a sentence as plain text.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::plain(StatusCode::BAD_REQUEST, text)
    }

    /// 412 with a sentence.
    pub fn precondition(text: impl Into<String>) -> Self {
        Self::html(StatusCode::PRECONDITION_FAILED, text)
    }

    /// 403 that names the action, if it has a name.
    pub fn forbidden(action: Option<&str>) -> Self {
        let status = StatusCode::FORBIDDEN;
        match (action, page(status).strip_suffix("</html>")) {
            (Some(action), Some(page)) => Self::html(
                status,
                format!(
                    "{page}<p>You are not authorized to perform the requested action: {action}.</p></html>"
                ),
            ),
            _ => Self::page(status),
        }
    }

    /// 499: the client went away.
    pub fn client_disconnect() -> Self {
        Self::page(client_disconnect())
    }

    /// Adds the header that goes with every 401. `realm` is an account, or
    /// "unknown" where it is not said.
    pub fn challenged(self, realm: &str) -> Self {
        let realm = super::headers::to_value(&format!("Swift realm=\"{}\"", super::target::quote(realm)));
        self.with(WWW_AUTHENTICATE, realm)
    }

    /// Adds a header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The body's text.
    pub fn text(&self) -> String {
        match &self.0.body {
            Said::Page => page(self.0.status),
            Said::Plain(text) | Said::Html(text) => text.clone(),
        }
    }

    /// The response.
    pub fn into_answer(self) -> Answer {
        let text = self.text();
        let kind = match &self.0.body {
            Said::Plain(_) => "text/plain; charset=UTF-8",
            Said::Page | Said::Html(_) => "text/html; charset=UTF-8",
        };
        let mut answer = Answer::new(full(text));
        *answer.status_mut() = self.0.status;
        *answer.headers_mut() = self.0.headers;
        answer
            .headers_mut()
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static(kind));
        answer
    }
}

/// 499, which the registry of status codes does not know.
pub fn client_disconnect() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// What Swift calls a status ("404 Not Found").
pub fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), title(status))
}

/// Swift's name for a status, which differs from the registry's here and there.
pub fn title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        413 => "Request Entity Too Large",
        414 => "Request URI Too Long",
        416 => "Requested Range Not Satisfiable",
        497 => "Blacklisted",
        498 => "Rate Limited",
        499 => "Client Disconnect",
        500 => "Internal Error",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}

fn explanation(status: StatusCode) -> &'static str {
    match status.as_u16() {
        202 => "The request is accepted for processing.",
        400 => {
            "The server could not comply with the request since it is either malformed or otherwise incorrect."
        }
        401 => "This server could not verify that you are authorized to access the document you requested.",
        403 => "Access was denied to this resource.",
        404 => "The resource could not be found.",
        405 => "The method is not allowed for this resource.",
        406 => "The resource is not available in a format acceptable to your browser.",
        408 => "The server has waited too long for the request to be sent by the client.",
        409 => "There was a conflict when trying to complete your request.",
        410 => "This resource is no longer available.",
        411 => "Content-Length header required.",
        412 => "A precondition for this request was not met.",
        413 => "The body of your request was too large for this server.",
        414 => "The request URI was too long for this server.",
        416 => "The Range requested is not available.",
        431 => "The head of the request was too large for this server.",
        422 => "Unable to process the contained instructions",
        499 => "The client was disconnected during request.",
        500 => "The server has either erred or is incapable of performing the requested operation.",
        501 => "The requested method is not implemented by this server.",
        503 => "The server is currently unavailable. Please try again at a later time.",
        507 => "There was not enough space to save the resource.",
        _ => "",
    }
}

/// Swift's short page for a status; empty where it has none.
pub fn page(status: StatusCode) -> String {
    match explanation(status) {
        "" => String::new(),
        text => format!("<html><h1>{}</h1><p>{text}</p></html>", title(status)),
    }
}

impl From<Unavailable> for Fault {
    fn from(error: Unavailable) -> Self {
        let status = match &error {
            Unavailable::NoQuorum { .. } | Unavailable::NoRing(_) | Unavailable::NoKey(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Unavailable::Full => StatusCode::INSUFFICIENT_STORAGE,
            Unavailable::Refused(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        tracing::warn!(%error, "the core could not do it");
        Self::page(status)
    }
}

impl From<BodyError> for Fault {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Disconnected => Self::client_disconnect(),
            BodyError::TooSlow => Self::page(StatusCode::REQUEST_TIMEOUT),
            BodyError::Malformed(why) => Self::bad(why),
            BodyError::Source(why) => {
                tracing::warn!(why, "the source of a copy failed");
                Self::page(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}

impl From<PutObjectError> for Fault {
    fn from(error: PutObjectError) -> Self {
        match error {
            PutObjectError::NoContainer => Self::not_found(),
            PutObjectError::Exists => Self::page(StatusCode::PRECONDITION_FAILED),
            PutObjectError::Body(error) => error.into(),
            PutObjectError::TooLarge { .. } => {
                Self::plain(StatusCode::PAYLOAD_TOO_LARGE, "Your request is too large.")
            }
            PutObjectError::SizeMismatch { .. } => Self::client_disconnect(),
            PutObjectError::EtagMismatch { .. } => Self::page(StatusCode::UNPROCESSABLE_ENTITY),
            PutObjectError::Newer(_) => Self::page(StatusCode::CONFLICT),
            PutObjectError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ReadObjectError> for Fault {
    fn from(error: ReadObjectError) -> Self {
        match error {
            ReadObjectError::NotFound { .. } => Self::not_found(),
            ReadObjectError::Sealed { .. } => Self::plain(
                StatusCode::FORBIDDEN,
                "The object is sealed with a key of its owner's own. It is read by S3, with that key.",
            ),
            ReadObjectError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ProveError> for Fault {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::Range(_) => Self::page(StatusCode::RANGE_NOT_SATISFIABLE),
            ProveError::Sealed => {
                Self::bad("The object is stored sealed: its own bytes have no root to prove them by")
            }
            ProveError::Busy | ProveError::Lost => {
                tracing::info!(%error, "no proof is made");
                Self::page(StatusCode::SERVICE_UNAVAILABLE)
            }
            ProveError::Unavailable(error) => error.into(),
        }
    }
}

impl From<SegmentError> for Fault {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Missing(_)
            | SegmentError::Changed(_)
            | SegmentError::Forbidden(_)
            | SegmentError::TooDeep(_)
            | SegmentError::Broken { .. }
            | SegmentError::TooMany(_) => {
                tracing::info!(%error, "a large object cannot be put together");
                Self::page(StatusCode::CONFLICT)
            }
            SegmentError::Unavailable(error) => error.into(),
        }
    }
}

impl From<PostObjectError> for Fault {
    fn from(error: PostObjectError) -> Self {
        match error {
            PostObjectError::NotFound => Self::not_found(),
            PostObjectError::Newer(_) => Self::page(StatusCode::CONFLICT),
            PostObjectError::Unavailable(error) => error.into(),
        }
    }
}

impl From<DeleteObjectError> for Fault {
    fn from(error: DeleteObjectError) -> Self {
        match error {
            DeleteObjectError::NoContainer => Self::not_found(),
            DeleteObjectError::Newer(_) => Self::page(StatusCode::CONFLICT),
            DeleteObjectError::Unavailable(error) => error.into(),
        }
    }
}

impl From<PutContainerError> for Fault {
    fn from(error: PutContainerError) -> Self {
        match error {
            PutContainerError::NoAccount => Self::not_found(),
            PutContainerError::PolicyConflict(_) => Self::page(StatusCode::CONFLICT),
            PutContainerError::UnknownPolicy(index) => {
                Self::bad(format!("Invalid X-Storage-Policy '{index}'"))
            }
            PutContainerError::Unavailable(error) => error.into(),
        }
    }
}

impl From<PostMetaError> for Fault {
    fn from(error: PostMetaError) -> Self {
        match error {
            PostMetaError::NotFound => Self::not_found(),
            PostMetaError::Unavailable(error) => error.into(),
        }
    }
}

impl From<DeleteContainerError> for Fault {
    fn from(error: DeleteContainerError) -> Self {
        match error {
            DeleteContainerError::NotFound => Self::not_found(),
            DeleteContainerError::NotEmpty => Self::page(StatusCode::CONFLICT),
            DeleteContainerError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ListError> for Fault {
    fn from(error: ListError) -> Self {
        match error {
            ListError::NotFound => Self::not_found(),
            ListError::Unavailable(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_swift_writes_it() {
        assert_eq!(
            page(StatusCode::NOT_FOUND),
            "<html><h1>Not Found</h1><p>The resource could not be found.</p></html>"
        );
        assert_eq!(page(StatusCode::CREATED), "");
        assert_eq!(
            Fault::forbidden(Some("object-store:get_object")).text(),
            "<html><h1>Forbidden</h1><p>Access was denied to this resource.</p>\
             <p>You are not authorized to perform the requested action: object-store:get_object.</p></html>"
        );
        assert_eq!(status_line(client_disconnect()), "499 Client Disconnect");
    }
}
