//! Reports of long work (bulk deletion, manifests): their formats, and the
//! white space that keeps a connection alive until they are ready.
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::accept::Format;
use super::body::Outgoing;
use super::listing::xml_escape;

/// How often white space is sent while work goes on.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// A report in the making.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Titles and values, in any order.
    pub fields: Vec<(&'static str, Field)>,
    /// Names (percent-encoded) and what went wrong with them.
    pub errors: Vec<(String, String)>,
}

/// A value of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A number.
    Number(u64),
    /// A sentence.
    Text(String),
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Report {
    /// Adds a value.
    pub fn set(&mut self, title: &'static str, field: Field) {
        self.fields.push((title, field));
    }

    /// Writes the report; `root` names the work in XML ("delete", "upload").
    pub fn write(mut self, format: Format, root: &str) -> Bytes {
        self.fields.sort_by_key(|(title, _)| *title);
        match format {
            Format::Json => self.json(),
            Format::Text => self.text(),
            Format::Xml | Format::TextXml => self.xml(root),
        }
        .into()
    }

    fn json(self) -> String {
        let mut map = serde_json::Map::new();
        for (title, field) in self.fields {
            let value = match field {
                Field::Number(number) => number.into(),
                Field::Text(text) => text.into(),
            };
            map.insert(title.to_owned(), value);
        }
        let errors: Vec<serde_json::Value> = self
            .errors
            .into_iter()
            .map(|(name, status)| serde_json::json!([name, status]))
            .collect();
        map.insert("Errors".into(), errors.into());
        serde_json::Value::Object(map).to_string()
    }

    fn text(self) -> String {
        let mut out = String::new();
        for (title, field) in self.fields {
            let _ = writeln!(out, "{title}: {field}");
        }
        out.push_str("Errors:\n");
        for (name, status) in self.errors {
            let _ = writeln!(out, "{name}, {status}");
        }
        out
    }

    fn xml(self, root: &str) -> String {
        let mut out = format!("<{root}>\n");
        for (title, field) in self.fields {
            let tag = title.replace(' ', "_").to_lowercase();
            let _ = writeln!(out, "<{tag}>{}</{tag}>", xml_escape(&field.to_string()));
        }
        out.push_str("<errors>\n");
        for (name, status) in self.errors {
            let _ = writeln!(
                out,
                "<object><name>{}</name><status>{}</status></object>",
                xml_escape(&name),
                xml_escape(&status)
            );
        }
        let _ = writeln!(out, "</errors>\n</{root}>");
        out
    }
}

/// Work that ends in a report.
type Work = Pin<Box<dyn Future<Output = Bytes> + Send>>;

/// The report of `work`, if it comes within a heartbeat. Else (or always, if
/// `at_once`) a body that goes on with the work while it is sent: white space
/// now and then, empty lines, the report.
pub async fn heartbeat(
    work: impl Future<Output = Bytes> + Send + 'static,
    format: Format,
    at_once: bool,
) -> Outgoing {
    let mut work: Work = Box::pin(work);
    if !at_once && let Ok(report) = tokio::time::timeout(HEARTBEAT, &mut work).await {
        return super::body::full(report);
    }
    let first = match format {
        Format::Xml | Format::TextXml if !at_once => {
            Bytes::from_static(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
        }
        Format::Xml | Format::TextXml | Format::Json | Format::Text => Bytes::from_static(b" "),
    };
    let rest = stream::unfold(Some(work), |work| async move {
        let mut work = work?;
        match tokio::time::timeout(HEARTBEAT, &mut work).await {
            Ok(report) => Some((Ok([b"\r\n\r\n", &report[..]].concat().into()), None)),
            Err(_) => Some((Ok(Bytes::from_static(b" ")), Some(work))),
        }
    });
    super::body::streamed(Box::pin(stream::iter([Ok(first)]).chain(rest)), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.set("Response Status", Field::Text("400 Bad Request".into()));
        report.set("Number Deleted", Field::Number(2));
        report.errors.push(("c%20/o".into(), "409 Conflict".into()));
        report
    }

    #[test]
    fn a_report_in_every_format() {
        let text = |format| String::from_utf8(report().write(format, "delete").to_vec()).unwrap();
        insta::assert_snapshot!(text(Format::Text), @r"
        Number Deleted: 2
        Response Status: 400 Bad Request
        Errors:
        c%20/o, 409 Conflict
        ");
        insta::assert_snapshot!(text(Format::Json), @r#"{"Errors":[["c%20/o","409 Conflict"]],"Number Deleted":2,"Response Status":"400 Bad Request"}"#);
        insta::assert_snapshot!(text(Format::Xml), @r"
        <delete>
        <number_deleted>2</number_deleted>
        <response_status>400 Bad Request</response_status>
        <errors>
        <object><name>c%20/o</name><status>409 Conflict</status></object>
        </errors>
        </delete>
        ");
    }

    async fn sent(at_once: bool, wait: Duration) -> String {
        let work = async move {
            tokio::time::sleep(wait).await;
            Bytes::from_static(b"done")
        };
        let pieces = match heartbeat(work, Format::Json, at_once).await {
            Outgoing::Whole(bytes) => return String::from_utf8(bytes.unwrap().to_vec()).unwrap(),
            Outgoing::Stream(pieces, _) => pieces,
        };
        let pieces: Vec<_> = pieces.map(|piece| piece.unwrap().to_vec()).collect().await;
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn long_work_sends_white_space_before_its_report() {
        assert_eq!(sent(false, Duration::ZERO).await, "done");
        assert_eq!(sent(true, Duration::ZERO).await, " \r\n\r\ndone");
        assert_eq!(sent(false, HEARTBEAT * 2 + HEARTBEAT / 2).await, "  \r\n\r\ndone");
    }
}
