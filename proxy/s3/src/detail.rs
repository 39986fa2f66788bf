//! What an error says beyond its code and message: elements of its document
//! such as `ArgumentName`. The protocol layer's errors have no place for them,
//! so they travel as headers that never leave the door.
use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use s3s::S3Error;

/// Carries one element: its name, `=`, its text.
const CARRIER: HeaderName = HeaderName::from_static("x-virga-error-detail");

/// Adds elements to an error.
pub(crate) trait Detailed {
    /// The error with one more element.
    fn detail(self, name: &'static str, text: &str) -> Self;
}

impl Detailed for S3Error {
    fn detail(mut self, name: &'static str, text: &str) -> Self {
        let mut headers = self.headers().cloned().unwrap_or_default();
        let written = format!("{name}={}", utf8_percent_encode(text, NON_ALPHANUMERIC));
        if let Ok(value) = HeaderValue::from_str(&written) {
            headers.append(CARRIER, value);
        }
        self.set_headers(headers);
        self
    }
}

/// Takes the elements out of the headers of an answer, as they stand in its
/// document.
pub(crate) fn take(headers: &mut HeaderMap) -> String {
    let mut written = String::new();
    for value in headers.get_all(CARRIER) {
        let Some((name, text)) = value.to_str().ok().and_then(|value| value.split_once('=')) else {
            continue;
        };
        let text = percent_decode(text.as_bytes()).decode_utf8_lossy();
        let _ = write!(written, "<{name}>{}</{name}>", escaped(&text));
    }
    headers.remove(CARRIER);
    written
}

/// Text of a document. What XML has no characters for is left out.
pub(crate) fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => written.push_str("&amp;"),
            '<' => written.push_str("&lt;"),
            '>' => written.push_str("&gt;"),
            '\n' | '\t' => written.push(c),
            '\r' => written.push_str("&#13;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => written.push(c),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_come_out_as_they_went_in_and_only_once() {
        let error = s3s::s3_error!(InvalidArgument)
            .detail("ArgumentName", "a=b")
            .detail("ArgumentValue", "<1>\n&\u{1}");
        let mut headers = error.headers().cloned().unwrap_or_default();
        assert_eq!(
            take(&mut headers),
            "<ArgumentName>a=b</ArgumentName><ArgumentValue>&lt;1&gt;\n&amp;</ArgumentValue>"
        );
        assert!(headers.is_empty() && take(&mut headers).is_empty());
    }
}
