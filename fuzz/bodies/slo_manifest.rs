//! Any bytes as the manifest of a static large object.

use super::fuzzed;

/// Panics if the reader does, or if what would be stored cannot be sent again.
pub fn chew(data: &[u8]) {
    let Ok((entries, again)) = fuzzed::manifest(data) else {
        return;
    };
    let Some(again) = again else {
        return;
    };
    let shown = String::from_utf8_lossy(&again).into_owned();
    let read = fuzzed::manifest(&again);
    let (same, once_more) = read.unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert_eq!(same, entries, "{shown}");
    assert_eq!(once_more.as_deref(), Some(&*again), "{shown}");
}
