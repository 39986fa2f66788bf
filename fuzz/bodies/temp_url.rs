//! Any text as the query of a temporary URL, and as what the page of a directory shows: settings of a container and
//! names of files.

use super::fuzzed;

/// Panics if a reader does, if a query passes that nobody signed, or if a text becomes markup.
pub fn chew(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok((signed, query)) = fuzzed::temp_url(&text, "a key that nobody knows") {
        assert!(!signed, "{text:?}");
        let query = query.unwrap_or_default();
        assert!(!query.contains(['<', '>', '"', '\'', ' ']), "{query:?}");
    }
    let prefixed = format!(
        "temp_url_expires=4000000000&temp_url_sig={}&{text}",
        "0".repeat(64)
    );
    if let Ok((signed, _)) = fuzzed::temp_url(&prefixed, "a key that nobody knows") {
        assert!(!signed, "{prefixed:?}");
    }
    page(&text);
}

/// A page has the same tags whatever its texts are.
fn page(text: &str) {
    let mut parts = text.split('\n');
    let mut next = || parts.next().unwrap_or_default();
    let (css, label, prefix) = (next(), next(), next().replace('/', ""));
    let names: Vec<&str> = parts.filter(|name| !name.is_empty()).collect();
    let html = fuzzed::web_listing([css, label, &prefix], &names);
    let plain = |text: &str| if text.is_empty() { "" } else { "a" };
    let harmless = vec!["a"; names.len()];
    let expected = fuzzed::web_listing([plain(css), plain(label), plain(&prefix)], &harmless);
    for mark in ["<", ">", "\""] {
        assert_eq!(
            html.matches(mark).count(),
            expected.matches(mark).count(),
            "{mark} of {text:?}: {html}"
        );
    }
}
