//! Headers of requests: which a client may send, how values become text, and
//! the limits of metadata.
use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::config::Limits;
use super::fault::Fault;
use super::query::is_true;

/// What account, container and object metadata headers start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `X-Account-Meta-`.
    Account,
    /// `X-Container-Meta-`.
    Container,
    /// `X-Object-Meta-`.
    Object,
}

impl Level {
    /// Prefix of metadata headers.
    pub fn meta_prefix(self) -> &'static str {
        match self {
            Self::Account => "x-account-meta-",
            Self::Container => "x-container-meta-",
            Self::Object => "x-object-meta-",
        }
    }

    /// Prefix of headers that remove metadata.
    pub fn remove_prefix(self) -> &'static str {
        match self {
            Self::Account => "x-remove-account-meta-",
            Self::Container => "x-remove-container-meta-",
            Self::Object => "x-remove-object-meta-",
        }
    }
}

/// Header names that only the store itself may use.
const INTERNAL: &[&str] = &[
    "x-account-sysmeta-",
    "x-container-sysmeta-",
    "x-object-sysmeta-",
    "x-object-transient-sysmeta-",
    "x-backend",
    "x-timestamp",
];

/// What names of headers start with that are stored beside those of clients and
/// survive a POST: the tags of the other dialect.
pub const TRANSIENT: &str = "x-object-transient-sysmeta-";

/// Takes out what clients may not send. Swift does so silently.
pub fn drop_internal(headers: &mut HeaderMap) {
    let internal = |name: &HeaderName| INTERNAL.iter().any(|prefix| name.as_str().starts_with(prefix));
    let names: Vec<HeaderName> = headers.keys().filter(|name| internal(name)).cloned().collect();
    for name in names {
        headers.remove(&name);
    }
}

/// Makes one of headers that came several times, their values with commas between
/// them, as HTTP and Swift read them.
pub fn fold(headers: &mut HeaderMap) {
    if headers.len() == headers.keys_len() {
        return;
    }
    let several = headers
        .keys()
        .filter(|name| headers.get_all(*name).iter().nth(1).is_some());
    for name in several.cloned().collect::<Vec<HeaderName>>() {
        let values: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(value) = HeaderValue::from_bytes(&values.join(&b',')) {
            headers.insert(name, value);
        }
    }
}

/// Marks text that stands for bytes which are not UTF-8: no header holds NUL.
const RAW: char = '\0';

/// A header's bytes as text that can be stored. What is not UTF-8 is kept
/// byte by byte, so that [`to_value`] gives back exactly what came.
pub fn to_text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => std::iter::once(RAW)
            .chain(value.as_bytes().iter().map(|b| char::from(*b)))
            .collect(),
    }
}

/// Stored text as a header's bytes. Line breaks, which no header may hold,
/// make it empty.
pub fn to_value(text: &str) -> HeaderValue {
    let bytes: Cow<'_, [u8]> = match text.strip_prefix(RAW) {
        Some(raw) => raw
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
            .collect::<Vec<u8>>()
            .into(),
        None => text.as_bytes().into(),
    };
    HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static(""))
}

/// The value of a header as text, if it is there and UTF-8.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// Whether a header is there and means yes.
pub fn truthy(headers: &HeaderMap, name: &str) -> bool {
    text(headers, name).is_some_and(|value| is_true(value.trim()))
}

/// Adds a header whose name was stored. A name that no header can have is left out.
pub fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
        headers.insert(name, to_value(value));
    }
}

/// Checks the metadata of a request.
///
/// # Errors
/// 400 with Swift's sentence for what is wrong.
pub fn check_metadata(headers: &HeaderMap, level: Level, limits: &Limits) -> Result<(), Fault> {
    let prefix = level.meta_prefix();
    let (mut count, mut size) = (0, 0);
    for (name, value) in headers {
        if value.len() > limits.max_header_size {
            let short: String = name.as_str().chars().take(limits.max_meta_name_length).collect();
            return Err(Fault::bad(format!("Header value too long: {short}")));
        }
        let Some(key) = name.as_str().strip_prefix(prefix) else {
            continue;
        };
        if key.is_empty() {
            return Err(Fault::bad("Metadata name cannot be empty"));
        }
        if level != Level::Object && std::str::from_utf8(value.as_bytes()).is_err() {
            return Err(Fault::bad("Metadata must be valid UTF-8"));
        }
        count += 1;
        size += key.len() + value.len();
        if key.len() > limits.max_meta_name_length {
            return Err(Fault::bad(format!("Metadata name too long: {prefix}{key}")));
        }
        if value.len() > limits.max_meta_value_length {
            let longest = limits.max_meta_value_length;
            return Err(Fault::bad(format!(
                "Metadata value longer than {longest}: {prefix}{key}"
            )));
        }
        check_totals(count, size, limits)?;
    }
    Ok(())
}

/// Checks number and size of all metadata together.
///
/// # Errors
/// 400 with Swift's sentence.
pub fn check_totals(count: usize, size: usize, limits: &Limits) -> Result<(), Fault> {
    if count > limits.max_meta_count {
        return Err(Fault::bad(format!(
            "Too many metadata items; max {}",
            limits.max_meta_count
        )));
    }
    if size > limits.max_meta_overall_size {
        return Err(Fault::bad(format!(
            "Total metadata too large; max {}",
            limits.max_meta_overall_size
        )));
    }
    Ok(())
}

/// Changes to an account's or container's metadata that a request asks for:
/// names in lower case, an empty value removes. `more` are the names beside
/// the metadata that pass (`x-container-read`).
pub fn meta_changes(headers: &HeaderMap, level: Level, more: &[&str]) -> Vec<(String, String)> {
    let mut changes: Vec<(String, String)> = Vec::new();
    let mut set = |name: String, value: String| match changes.iter_mut().find(|(n, _)| *n == name) {
        Some(there) => there.1 = value,
        None => changes.push((name, value)),
    };
    for name in headers.keys().map(HeaderName::as_str) {
        let Some(bare) = name.strip_prefix("x-remove-") else {
            continue;
        };
        if name.starts_with(level.remove_prefix()) || more.iter().any(|m| m.strip_prefix("x-") == Some(bare))
        {
            set(format!("x-{bare}"), String::new());
        }
    }
    for (name, value) in headers {
        if name.as_str().starts_with(level.meta_prefix()) || more.contains(&name.as_str()) {
            set(name.as_str().to_owned(), to_text(value));
        }
    }
    changes
}

/// Headers, beside the metadata, that are stored with an object and that a
/// POST replaces as a whole.
pub const OBJECT_HEADERS: &[&str] = &[
    "content-disposition",
    "content-encoding",
    "x-object-manifest",
    "cache-control",
    "content-language",
    "expires",
    "x-robots-tag",
];

/// What a PUT or POST stores of the request's headers.
pub fn object_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| {
            name.as_str().starts_with("x-object-meta-") || OBJECT_HEADERS.contains(&name.as_str())
        })
        // An empty item is one too; an empty manifest is none.
        .filter(|(name, value)| !value.is_empty() || name.as_str() != "x-object-manifest")
        .map(|(name, value)| (name.as_str().to_owned(), to_text(value)))
        .collect()
}

/// A whole number; one beyond all bounds is the largest or smallest there is.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse().unwrap_or(i128::MAX);
    Some(if negative { -size } else { size })
}

/// When an object is to go: `X-Delete-At`, or `X-Delete-After` from now on.
/// The larger word wins: `X-Delete-After`.
///
/// # Errors
/// 400 for what is no number or lies in the past.
pub fn delete_at(headers: &HeaderMap, now: u64) -> Result<Option<u64>, Fault> {
    const LATEST: u64 = 9_999_999_999;
    let number = |text: &str| integer(text.trim());
    if let Some(value) = headers.get("x-delete-after") {
        let after = std::str::from_utf8(value.as_bytes()).ok().and_then(number);
        let Some(after) = after else {
            return Err(Fault::bad("Non-integer X-Delete-After"));
        };
        return match u64::try_from(after.saturating_add(i128::from(now))) {
            Ok(at) if after > 0 => Ok(Some(at.min(LATEST))),
            Err(_) if after > 0 => Ok(Some(LATEST)),
            _ => Err(Fault::bad("X-Delete-After in past")),
        };
    }
    match headers.get("x-delete-at") {
        None => Ok(None),
        Some(value) => {
            let at = std::str::from_utf8(value.as_bytes()).ok().and_then(number);
            let Some(at) = at else {
                return Err(Fault::bad("Non-integer X-Delete-At"));
            };
            match u64::try_from(at) {
                Ok(at) if at > now => Ok(Some(at.min(LATEST))),
                Err(_) if at > 0 => Ok(Some(LATEST)),
                _ => Err(Fault::bad("X-Delete-At in past")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| {
                (
                    n.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_bytes(v.as_bytes()).unwrap(),
                )
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_header_value_comes_back_as_it_was_stored(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                prop_assert_eq!(to_value(&to_text(&value)), value);
            }
        }
    }

    #[test]
    fn clients_cannot_send_what_the_store_keeps_for_itself() {
        let mut headers = map(&[
            ("x-object-sysmeta-a", "1"),
            ("x-backend-b", "1"),
            ("x-timestamp", "1"),
            ("x-object-meta-c", "1"),
        ]);
        drop_internal(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-object-meta-c"]
        );
    }

    #[test]
    fn a_header_that_comes_twice_is_one_list() {
        let mut headers = map(&[("x-object-meta-a", "1"), ("range", "bytes=0-1")]);
        headers.append("x-object-meta-a", HeaderValue::from_static("2"));
        fold(&mut headers);
        assert_eq!(text(&headers, "x-object-meta-a"), Some("1,2"));
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn an_object_keeps_items_without_a_value_and_no_empty_manifest() {
        let kept = object_headers(&map(&[("x-object-meta-a", ""), ("x-object-manifest", "")]));
        assert_eq!(kept, [("x-object-meta-a".to_owned(), String::new())]);
    }

    #[test]
    fn metadata_has_limits_each_with_its_own_sentence() {
        let limits = Limits {
            max_meta_overall_size: 600,
            ..Limits::default()
        };
        let (name, value) = (format!("x-object-meta-{}", "n".repeat(128)), "v".repeat(256));
        assert!(check_metadata(&map(&[(&name, &value)]), Level::Object, &limits).is_ok());
        for (headers, says) in [
            (map(&[("x-object-meta-", "v")]), "Metadata name cannot be empty"),
            (map(&[(&format!("{name}n"), "v")]), "Metadata name too long"),
            (
                map(&[(&name, &format!("{value}v"))]),
                "Metadata value longer than 256",
            ),
            (
                map(&[(&name, &value), ("x-object-meta-a", &value)]),
                "Total metadata too large; max 600",
            ),
            (
                map(&[("other", &"x".repeat(8193))]),
                "Header value too long: other",
            ),
        ] {
            let fault = check_metadata(&headers, Level::Object, &limits).unwrap_err();
            assert!(fault.text().starts_with(says), "{}", fault.text());
        }
        let many: Vec<(String, String)> = (0..91)
            .map(|i| (format!("x-account-meta-{i}"), "v".into()))
            .collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert!(
            check_metadata(&map(&many), Level::Account, &limits)
                .unwrap_err()
                .text()
                .starts_with("Too many")
        );
    }

    #[test]
    fn metadata_that_is_not_utf8_is_for_objects_only() {
        let mut headers = HeaderMap::new();
        for name in ["x-object-meta-a", "x-account-meta-a"] {
            headers.insert(name, HeaderValue::from_bytes(b"\xff").unwrap());
        }
        assert!(check_metadata(&headers, Level::Object, &Limits::default()).is_ok());
        assert!(check_metadata(&headers, Level::Account, &Limits::default()).is_err());
    }

    #[test]
    fn removal_and_empty_values_remove_and_a_new_value_wins() {
        let headers = map(&[
            ("x-remove-container-meta-a", "x"),
            ("x-remove-container-read", "x"),
            ("x-remove-container-meta-b", "x"),
            ("x-container-meta-b", "2"),
            ("x-container-meta-c", ""),
            ("x-remove-other", "x"),
            ("x-account-meta-d", "1"),
        ]);
        let mut changes = meta_changes(&headers, Level::Container, &["x-container-read"]);
        changes.sort();
        let expected = [
            ("x-container-meta-a", ""),
            ("x-container-meta-b", "2"),
            ("x-container-meta-c", ""),
            ("x-container-read", ""),
        ];
        assert_eq!(changes, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn an_object_can_be_told_when_to_go_but_not_in_the_past() {
        for (name, value, expected) in [
            ("x-delete-at", "101", Ok(Some(101))),
            ("x-delete-at", "100", Err("X-Delete-At in past")),
            ("x-delete-at", "-1", Err("X-Delete-At in past")),
            ("x-delete-at", "1e3", Err("Non-integer X-Delete-At")),
            ("x-delete-at", "", Err("Non-integer X-Delete-At")),
            ("x-delete-at", "99999999999999999999999", Ok(Some(9_999_999_999))),
            ("x-delete-at", &"9".repeat(400), Ok(Some(9_999_999_999))),
            ("x-delete-after", "5", Ok(Some(105))),
            ("x-delete-after", "0", Err("X-Delete-After in past")),
            ("x-delete-after", "-1", Err("X-Delete-After in past")),
            ("x-delete-after", "x", Err("Non-integer X-Delete-After")),
            ("x-other", "x", Ok(None)),
        ] {
            let got = delete_at(&map(&[(name, value)]), 100).map_err(|fault| fault.text());
            assert_eq!(got, expected.map_err(str::to_owned), "{name}: {value}");
        }
    }
}
