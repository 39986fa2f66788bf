//! Manifests of static large objects as clients send them: parsed, checked,
//! and brought into the form in which they are stored.
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::StatusCode;
use md5::{Digest as _, Md5};
use serde_json::{Map, Value, json};

use super::super::fault::Fault;
use super::super::range::{Ranges, Selected};
use crate::core::ObjectName;

/// One entry as the client wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An object, or a part of one.
    Object(ObjectEntry),
    /// Bytes that are in the manifest itself.
    Inline(Vec<u8>),
}

/// An entry that is an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its name.
    pub name: ObjectName,
    /// The path as the client wrote it.
    pub path: String,
    /// ETag it must have.
    pub etag: Option<String>,
    /// Bytes it must have.
    pub size: Option<u64>,
    /// The part that is used.
    pub range: Option<Ranges>,
}

/// Reads a manifest that becomes the object `own`.
///
/// # Errors
/// 400 with a sentence for every entry that is wrong.
pub fn parse(body: &[u8], own: &ObjectName) -> Result<Vec<Entry>, Fault> {
    let parsed: Value = serde_json::from_slice(body)
        .map_err(|_| Fault::html(StatusCode::BAD_REQUEST, "Manifest must be valid JSON.\n"))?;
    let Value::Array(items) = parsed else {
        return Err(Fault::html(StatusCode::BAD_REQUEST, "Manifest must be a list.\n"));
    };
    let mut entries = Vec::with_capacity(items.len());
    let mut errors = String::new();
    for (index, item) in items.iter().enumerate() {
        match parse_item(item, own, index + 1 == items.len()) {
            Ok(entry) => entries.push(entry),
            Err(why) => errors.push_str(&format!("Index {index}: {why}\n")),
        }
    }
    let inline = |entry: &Entry| matches!(entry, Entry::Inline(_));
    if errors.is_empty() && !entries.is_empty() && entries.iter().all(inline) {
        errors.push_str("Inline data segments require at least one object-backed segment.\n");
    }
    match errors.is_empty() {
        true => Ok(entries),
        false => Err(Fault::bad(errors)),
    }
}

fn parse_item(item: &Value, own: &ObjectName, last: bool) -> Result<Entry, String> {
    let Value::Object(map) = item else {
        return Err("not a JSON object".into());
    };
    let (kind, known): (&str, &[&str]) = match (map.contains_key("path"), map.contains_key("data")) {
        (true, _) => ("path", &["path", "etag", "size_bytes", "range"]),
        (false, true) => ("data", &["data"]),
        (false, false) => return Err("expected keys to include one of 'path' or 'data'".into()),
    };
    let mut extra: Vec<String> = map
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        .map(|key| json!(key).to_string())
        .collect();
    extra.sort_unstable();
    if !extra.is_empty() {
        return Err(format!("extraneous keys {}", extra.join(", ")));
    }
    match kind {
        "data" => parse_data(&map["data"]).map(Entry::Inline),
        _ => parse_object(map, own, last).map(Entry::Object),
    }
}

fn parse_data(data: &Value) -> Result<Vec<u8>, String> {
    let text = data.as_str().ok_or("data must be valid base64")?;
    let bytes = STANDARD_NO_PAD
        .decode(text.trim().trim_end_matches('='))
        .map_err(|_| "data must be valid base64")?;
    match bytes.is_empty() {
        true => Err("too small; each segment must be at least 1 byte.".into()),
        false => Ok(bytes),
    }
}

fn parse_object(map: &Map<String, Value>, own: &ObjectName, last: bool) -> Result<ObjectEntry, String> {
    let path = map["path"].as_str().ok_or("\"path\" must be a string")?;
    let etag = match map.get("etag") {
        None | Some(Value::Null) => None,
        Some(Value::String(etag)) => Some(etag.clone()),
        Some(_) => return Err("\"etag\" must be a string or null (if provided)".into()),
    };
    let trimmed = path.trim_start_matches('/');
    let (container, object) = match trimmed.split_once('/') {
        Some((container, object)) if !object.trim_matches('/').is_empty() => (container, object),
        _ => {
            return Err(
                "path does not refer to an object. Path must be of the form /container/object.".into(),
            );
        }
    };
    let name = ObjectName::new(own.account(), container, object)
        .map_err(|_| "path does not refer to an object. Path must be of the form /container/object.")?;
    let size = parse_size(map.get("size_bytes"))?;
    if size == Some(0) && !last {
        return Err("too small; each segment must be at least 1 byte.".into());
    }
    if name == *own {
        return Err("manifest must not include itself as a segment".into());
    }
    let range = parse_range(map.get("range"), size)?;
    Ok(ObjectEntry {
        name,
        path: path.to_owned(),
        etag,
        size,
        range,
    })
}

fn parse_size(value: Option<&Value>) -> Result<Option<u64>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(size), _) => Ok(Some(size)),
            // "4.0" is what some languages make of 4; 2^53 is where they lose count.
            (None, Some(size)) if size.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&size) => {
                Ok(Some(size as u64))
            }
            (None, _) => Err("invalid size_bytes".into()),
        },
        Some(Value::String(text)) => text
            .trim()
            .parse()
            .map(Some)
            .map_err(|_| "invalid size_bytes".into()),
        Some(_) => Err("invalid size_bytes".into()),
    }
}

fn parse_range(value: Option<&Value>, size: Option<u64>) -> Result<Option<Ranges>, String> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return Err("invalid range".into()),
    };
    let range = Ranges::parse(&format!("bytes={text}")).ok_or("invalid range")?;
    if range.several() {
        return Err("multiple ranges (only one allowed)".into());
    }
    match size {
        Some(size) if range.select(size) == Selected::None => Err("unsatisfiable range".into()),
        _ => Ok(Some(range)),
    }
}

/// What was found out about a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// MIME type.
    pub content_type: String,
    /// As listings show it.
    pub last_modified: String,
    /// Whether it is a static large object itself.
    pub is_slo: bool,
    /// Whether it was found through a symbolic link.
    pub is_link: bool,
}

/// A manifest in the making.
#[derive(Debug, Default)]
pub struct Assembly {
    items: Vec<Value>,
    etag: Md5,
    /// Bytes of the large object.
    pub size: u64,
    /// Paths (percent-encoded) and what is wrong with them.
    pub problems: Vec<(String, String)>,
}

impl Assembly {
    /// Adds inline bytes.
    pub fn add_inline(&mut self, data: &[u8]) {
        self.size += data.len() as u64;
        self.etag.update(hex::encode(Md5::digest(data)));
        self.items.push(json!({ "data": STANDARD.encode(data) }));
    }

    /// Adds a segment that was looked up, or notes why it cannot be one.
    pub fn add(&mut self, entry: &ObjectEntry, head: &Result<SegmentHead, StatusCode>, last: bool) {
        let quoted = super::super::target::quote(&entry.path);
        let head = match head {
            Ok(head) => head,
            Err(status) => {
                self.problems
                    .push((quoted, super::super::fault::status_line(*status)));
                return;
            }
        };
        let mut problem = |what: &str| self.problems.push((quoted.clone(), what.to_owned()));
        let mut used = (0, head.size);
        if let Some(range) = &entry.range {
            match range.select(head.size) {
                Selected::Parts(parts) => used = parts.first().copied().unwrap_or(used),
                Selected::None => problem("Unsatisfiable Range"),
            }
        }
        if used.1 - used.0 < 1 && !last {
            problem("Too small; each segment must be at least 1 byte.");
        }
        if entry.size.is_some_and(|size| size != head.size) {
            problem("Size Mismatch");
        }
        if entry
            .etag
            .as_deref()
            .is_some_and(|etag| super::super::conditional::unquote_etag(etag) != head.etag)
        {
            problem("Etag Mismatch");
        }
        let range = (used != (0, head.size)).then(|| format!("{}-{}", used.0, used.1.saturating_sub(1)));
        self.size += used.1 - used.0;
        match &range {
            Some(range) => self.etag.update(format!("{}:{range};", head.etag)),
            None => self.etag.update(&head.etag),
        }
        self.items.push(stored_item(entry, head, range));
    }

    /// The document to be stored and the ETag of the large object.
    pub fn finish(self) -> (Vec<u8>, String) {
        let etag = hex::encode(self.etag.finalize());
        // Strings and numbers only: there is nothing that could fail.
        (serde_json::to_vec(&self.items).unwrap_or_default(), etag)
    }
}

fn stored_item(entry: &ObjectEntry, head: &SegmentHead, range: Option<String>) -> Value {
    let mut item = json!({
        "name": format!("/{}/{}", entry.name.container(), entry.name.object()),
        "bytes": head.size,
        "hash": head.etag,
        "content_type": head.content_type,
        "last_modified": head.last_modified,
    });
    if let Some(range) = range {
        item["range"] = range.into();
    }
    if head.is_slo {
        item["sub_slo"] = true.into();
    }
    item
}

/// A stored manifest in the form in which it could be sent again.
pub fn to_raw(stored: &[u8]) -> Option<Vec<u8>> {
    let items: Vec<Map<String, Value>> = serde_json::from_slice(stored).ok()?;
    let raw: Vec<Map<String, Value>> = items
        .into_iter()
        .map(|mut item| {
            if item.contains_key("data") {
                return item;
            }
            for gone in ["content_type", "last_modified", "sub_slo"] {
                item.remove(gone);
            }
            for (from, to) in [("name", "path"), ("bytes", "size_bytes"), ("hash", "etag")] {
                let value = item.remove(from).unwrap_or(Value::Null);
                item.insert(to.to_owned(), value);
            }
            item
        })
        .collect();
    serde_json::to_vec(&raw).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own() -> ObjectName {
        ObjectName::new("AUTH_a", "c", "large").unwrap()
    }

    fn errors(body: &str) -> String {
        parse(body.as_bytes(), &own()).unwrap_err().text()
    }

    fn head(size: u64) -> SegmentHead {
        SegmentHead {
            size,
            etag: format!("etag{size}"),
            content_type: "text/plain".into(),
            last_modified: "2026-01-01T00:00:00.000000".into(),
            is_slo: false,
            is_link: false,
        }
    }

    #[test]
    fn every_wrong_entry_gets_its_sentence() {
        for (body, says) in [
            ("nope", "Manifest must be valid JSON."),
            ("{}", "Manifest must be a list."),
            ("[1]", "Index 0: not a JSON object"),
            ("[{}]", "Index 0: expected keys"),
            (
                r#"[{"path":"/c/o","x":1,"a":2}]"#,
                "Index 0: extraneous keys \"a\", \"x\"",
            ),
            (r#"[{"path":1}]"#, "Index 0: \"path\" must be a string"),
            (
                r#"[{"path":"/c/o","etag":1}]"#,
                "Index 0: \"etag\" must be a string",
            ),
            (r#"[{"path":"/c/"}]"#, "Index 0: path does not refer to an object"),
            (
                r#"[{"path":"/c/o","size_bytes":"x"}]"#,
                "Index 0: invalid size_bytes",
            ),
            (
                r#"[{"path":"/c/o","size_bytes":-1}]"#,
                "Index 0: invalid size_bytes",
            ),
            (
                r#"[{"path":"/c/o","size_bytes":0},{"path":"/c/p"}]"#,
                "Index 0: too small",
            ),
            (
                r#"[{"path":"c/large"}]"#,
                "Index 0: manifest must not include itself",
            ),
            (r#"[{"path":"/c/o","range":"x"}]"#, "Index 0: invalid range"),
            (
                r#"[{"path":"/c/o","range":"0-1,3-4"}]"#,
                "Index 0: multiple ranges",
            ),
            (
                r#"[{"path":"/c/o","range":"9-10","size_bytes":9}]"#,
                "Index 0: unsatisfiable range",
            ),
            (
                r#"[{"data":"%"},{"path":"/c/o"}]"#,
                "Index 0: data must be valid base64",
            ),
            (r#"[{"path":"/c/o"},{"data":""}]"#, "Index 1: too small"),
            (r#"[{"data":"YQ=="}]"#, "Inline data segments require"),
        ] {
            assert!(errors(body).starts_with(says), "{body}: {}", errors(body));
        }
    }

    proptest! {
        #[test]
        fn no_document_makes_the_parser_fall_over(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body, &own());
        }
    }

    #[test]
    fn the_etag_is_that_of_the_segments_etags_and_ranges() {
        let body =
            r#"[{"path":"/c/a","etag":"etag4","size_bytes":4},{"path":"c/b","range":"1-2"},{"data":"aGk"}]"#;
        let entries = parse(body.as_bytes(), &own()).unwrap();
        let mut assembly = Assembly::default();
        for (entry, size) in entries.iter().zip([4, 5, 0]) {
            match entry {
                Entry::Object(entry) => assembly.add(entry, &Ok(head(size)), false),
                Entry::Inline(data) => assembly.add_inline(data),
            }
        }
        assert_eq!((assembly.size, assembly.problems.len()), (4 + 2 + 2, 0));
        let (stored, etag) = assembly.finish();
        let hi = hex::encode(Md5::digest(b"hi"));
        assert_eq!(etag, hex::encode(Md5::digest(format!("etag4etag5:1-2;{hi}"))));
        let raw = String::from_utf8(to_raw(&stored).unwrap()).unwrap();
        assert_eq!(
            raw,
            r#"[{"etag":"etag4","path":"/c/a","size_bytes":4},{"etag":"etag5","path":"/c/b","range":"1-2","size_bytes":5},{"data":"aGk="}]"#
        );
        assert!(parse(raw.as_bytes(), &own()).is_ok());
    }

    #[test]
    fn a_segment_that_is_not_what_the_client_says_is_a_problem() {
        let body = r#"[{"path":"/c/\u00e4","etag":"other","size_bytes":3},{"path":"/c/b","range":"7-"},{"path":"/c/e"}]"#;
        let entries = parse(body.as_bytes(), &own()).unwrap();
        let mut assembly = Assembly::default();
        let heads = [Ok(head(4)), Ok(head(5)), Err(StatusCode::NOT_FOUND)];
        for (entry, head) in entries.iter().zip(&heads) {
            let Entry::Object(entry) = entry else {
                unreachable!()
            };
            assembly.add(entry, head, false);
        }
        let problems: Vec<(&str, &str)> = assembly
            .problems
            .iter()
            .map(|(name, what)| (name.as_str(), what.as_str()))
            .collect();
        assert_eq!(
            problems,
            [
                ("/c/%C3%A4", "Size Mismatch"),
                ("/c/%C3%A4", "Etag Mismatch"),
                ("/c/b", "Unsatisfiable Range"),
                ("/c/e", "404 Not Found")
            ]
        );
    }
}
