//! Any bytes as the documents of a life cycle and of an access list.

use super::fuzzed;

/// Panics if a reader does, or if what it read is not the same once it was written and read again.
pub fn chew(data: &[u8]) {
    again(data, fuzzed::lifecycle);
    again(data, fuzzed::acl);
}

fn again(data: &[u8], read: fn(&[u8]) -> Result<Vec<u8>, String>) {
    let Ok(written) = read(data) else {
        return;
    };
    let shown = String::from_utf8_lossy(&written).into_owned();
    let once_more = read(&written);
    assert_eq!(once_more.as_deref(), Ok(&*written), "{shown}");
}
