//! Credentials at rest: sealed under keys of their own.
use virga_identity_api::keys::KeyRing;
use virga_node::clock::Clock;
use zeroize::Zeroizing;

use crate::fault::Fault;

/// Seals the content of a credential.
pub(crate) fn seal(keys: &KeyRing, clock: &dyn Clock, blob: &str) -> Result<String, Fault> {
    keys.seal(blob.as_bytes(), clock.now().as_secs())
        .map_err(|e| Fault::Unexpected(e.to_string()))
}

/// Opens the content of a credential.
pub(crate) fn open(keys: &KeyRing, sealed: &str) -> Result<Zeroizing<String>, Fault> {
    let opened = keys
        .open_text(sealed)
        .map_err(|e| Fault::Unexpected(format!("a credential: {e}")))?;
    let text = String::from_utf8(opened.content);
    text.map(Zeroizing::new)
        .map_err(|_| Fault::Unexpected("a credential is not text".into()))
}
