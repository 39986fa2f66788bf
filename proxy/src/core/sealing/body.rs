//! A body being sealed: its plain bytes are hashed as they go by, because that
//! is what clients announce and are told.
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::Pad;
use crate::core::digest::Digests;
use crate::core::error::PutObjectError;

/// What the plain bytes of a body become, and what they are known by.
pub(in crate::core) enum Plain {
    /// Sealed on the way.
    Sealing {
        /// Taken by the body.
        work: Option<Box<Work>>,
        md5: Arc<Mutex<Md5>>,
        /// Hex MD5 that was announced.
        expected: Option<String>,
        /// Whether the object's ETag is that of the plain bytes. It must not
        /// be where nobody without the key is to learn anything of them.
        shown: bool,
    },
    /// Sealed already; the object keeps its ETag.
    Stored { etag: Option<String> },
}

/// Does it, piece by piece.
pub(in crate::core) struct Work {
    pad: Pad,
    md5: Arc<Mutex<Md5>>,
}

impl Work {
    /// The next bytes, sealed.
    pub(in crate::core) fn seal(&mut self, plain: Bytes) -> Bytes {
        self.md5
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .update(&plain);
        self.pad.apply(plain)
    }
}

impl Plain {
    pub(super) fn new(pad: Pad, expected: Option<String>, shown: bool) -> Self {
        let md5 = Arc::new(Mutex::new(Md5::new()));
        Self::Sealing {
            work: Some(Box::new(Work {
                pad,
                md5: Arc::clone(&md5),
            })),
            md5,
            expected,
            shown,
        }
    }

    pub(super) fn stored(etag: Option<String>) -> Self {
        Self::Stored { etag }
    }

    /// What seals the body; `None` if it is sealed already.
    pub(in crate::core) fn work(&mut self) -> Option<Box<Work>> {
        match self {
            Self::Sealing { work, .. } => work.take(),
            Self::Stored { .. } => None,
        }
    }

    /// At the end of the body: compares what was announced, and says by which
    /// ETag the object is known.
    ///
    /// # Errors
    /// [`PutObjectError::EtagMismatch`].
    pub(in crate::core) fn settle(self, digests: &mut Digests) -> Result<(), PutObjectError> {
        let (md5, expected, shown) = match self {
            Self::Sealing {
                md5, expected, shown, ..
            } => (md5, expected, shown),
            Self::Stored { etag } => {
                if let Some(etag) = etag {
                    digests.etag = etag;
                }
                return Ok(());
            }
        };
        let hash = md5.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let got = hex::encode(hash.finalize());
        if expected.is_some_and(|expected| !expected.eq_ignore_ascii_case(&got)) {
            return Err(PutObjectError::EtagMismatch { got });
        }
        if shown {
            digests.etag = got;
        }
        Ok(())
    }
}
