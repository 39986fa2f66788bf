//! Documents of listings, written once and as AWS writes them. The protocol layer
//! writes one from values made for it, out of AWS's order, which [`crate::shape`] then
//! puts right: for a page of a thousand names that was most of what a listing cost. Its
//! operations answer with nothing but what is written here, and [`crate::door`] sends it.
use std::fmt::Write as _;

use bytes::Bytes;
use s3s::S3Response;
use s3s::dto::Owner;
use virga_node::clock::Version;

use super::Encoding;
use crate::dates;

/// An answer's document, in place of the one that the protocol layer makes.
#[derive(Clone, Debug)]
pub(crate) struct Written(pub(crate) Bytes);

/// Bytes of an entry besides its names, about.
const ENTRY: usize = 256;

/// A document that is being written. Elements go in the order of the calls.
pub(crate) struct Document {
    text: String,
    root: &'static str,
}

impl Document {
    /// Begins one that will have so many entries.
    pub(crate) fn new(root: &'static str, entries: usize) -> Self {
        let mut text = String::with_capacity(ENTRY * (entries + 2));
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        text.push_str(root);
        text.push_str(" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        Self { text, root }
    }

    fn tag(&mut self, before: &str, name: &str) {
        self.text.push_str(before);
        self.text.push_str(name);
        self.text.push('>');
    }

    /// An element that holds what `inner` writes.
    pub(crate) fn element(&mut self, name: &'static str, inner: impl FnOnce(&mut Self)) {
        self.tag("<", name);
        inner(self);
        self.tag("</", name);
    }

    /// Text, whatever characters it has.
    pub(crate) fn text(&mut self, name: &'static str, text: &str) {
        self.element(name, |document| document.escape(text));
    }

    /// Text, if there is any to be shown.
    pub(crate) fn some(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Something that has no characters to be escaped.
    pub(crate) fn plain(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.element(name, |document| {
            // A String takes everything.
            let _ = write!(document.text, "{value}");
        });
    }

    /// An ETag, which stands in quotes.
    pub(crate) fn etag(&mut self, etag: &str) {
        self.element("ETag", |document| {
            document.text.push('"');
            document.escape(etag);
            document.text.push('"');
        });
    }

    /// When something was written.
    pub(crate) fn modified(&mut self, version: Version) {
        self.element("LastModified", |document| {
            dates::write_iso(dates::seconds(version), &mut document.text);
        });
    }

    /// Whose it is.
    pub(crate) fn owner(&mut self, owner: &Owner) {
        self.element("Owner", |document| {
            document.some("ID", owner.id.as_deref());
            document.some("DisplayName", owner.display_name.as_deref());
        });
    }

    /// Names rolled up at the delimiter.
    pub(crate) fn prefixes(&mut self, prefixes: &[String], encoding: &Encoding) {
        for prefix in prefixes {
            self.element("CommonPrefixes", |document| {
                document.text("Prefix", &encoding.name(prefix));
            });
        }
    }

    /// Carriage returns are written so that readers of XML do not turn them into line
    /// feeds: keys may have them.
    fn escape(&mut self, text: &str) {
        let mut done = 0;
        for (at, byte) in text.bytes().enumerate() {
            let written = match byte {
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'&' => "&amp;",
                b'\'' => "&apos;",
                b'"' => "&quot;",
                b'\r' => "&#13;",
                _ => continue,
            };
            self.text.push_str(text.get(done..at).unwrap_or_default());
            self.text.push_str(written);
            done = at + 1;
        }
        self.text.push_str(text.get(done..).unwrap_or_default());
    }

    /// Ends the document.
    pub(crate) fn end(mut self) -> Written {
        let root = self.root;
        self.tag("</", root);
        Written(self.text.into())
    }
}

impl Written {
    /// The answer of an operation that this is the document of.
    pub(crate) fn answer<T: Default>(self) -> S3Response<T> {
        let mut response = S3Response::new(T::default());
        response.extensions.insert(self);
        response
    }
}
