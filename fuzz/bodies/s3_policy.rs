//! Any bytes as the policy of a bucket.

use super::fuzzed;

/// Panics if the reader or a ruling does, or if what is read is not one thing.
pub fn chew(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = fuzzed::policy(text);
    assert_eq!(read, fuzzed::policy(text));
    if let Err(why) = read {
        assert!(
            !why.is_empty() && !why.contains("denies nothing"),
            "{why}: {text}"
        );
    }
}
