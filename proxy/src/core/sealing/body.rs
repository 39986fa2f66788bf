//! What becomes of a body on its way to the nodes.
use super::Pad;

/// Encrypts a body, and says which of its MD5s somebody is to hear of.
pub(in crate::core) struct Work {
    pub(in crate::core) pad: Pad,
    /// Whether the object's ETag is that of the plain bytes. It must not be
    /// where nobody without the key is to learn anything of them.
    pub(in crate::core) shown: bool,
    /// Whether the client announced the MD5 of the plain bytes.
    pub(in crate::core) announced: bool,
}

/// What is done with a body: nothing, unless it says something else.
#[derive(Default)]
pub(in crate::core) struct Treatment {
    /// Seals it.
    pub(in crate::core) work: Option<Work>,
    /// It is sealed already, and its object keeps this ETag.
    pub(in crate::core) etag: Option<String>,
}
