//! A cursor over one family: seek, step both ways, read in place.

use rocksdb::{DB, DBRawIteratorWithThreadMode};

use super::KvError;
use super::soundness::Soundness;

/// The keys a cursor may visit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// First key allowed.
    pub lower: Option<Vec<u8>>,
    /// First key no longer allowed.
    pub upper: Option<Vec<u8>>,
}

impl Bounds {
    /// Every key.
    #[must_use]
    pub fn all() -> Bounds {
        Bounds::default()
    }

    /// Keys from `lower` on, up to but without `upper`.
    #[must_use]
    pub fn range(lower: impl Into<Vec<u8>>, upper: impl Into<Vec<u8>>) -> Bounds {
        Bounds {
            lower: Some(lower.into()),
            upper: Some(upper.into()),
        }
    }

    /// Keys that start with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Bounds {
        let lower: Vec<u8> = prefix.into();
        let upper = prefix_end(&lower);
        Bounds {
            lower: Some(lower),
            upper,
        }
    }
}

/// The first key behind all keys that start with `prefix`, if there is one.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

/// A key and its value, in place.
pub type Row<'a> = (&'a [u8], &'a [u8]);

/// A cursor; it sees the database as it was when the cursor was made.
pub struct Cursor<'kv> {
    inner: DBRawIteratorWithThreadMode<'kv, DB>,
    soundness: &'kv Soundness,
}

impl<'kv> Cursor<'kv> {
    pub(super) fn new(inner: DBRawIteratorWithThreadMode<'kv, DB>, soundness: &'kv Soundness) -> Cursor<'kv> {
        Cursor { inner, soundness }
    }

    /// The key and value under the cursor; none before the first seek and past the ends.
    ///
    /// # Errors
    /// See [`KvError`]: the end of the data and a failure to read look the same until asked here.
    pub fn current(&self) -> Result<Option<Row<'_>>, KvError> {
        match self.inner.item() {
            Some(item) => Ok(Some(item)),
            None => match self.inner.status() {
                Ok(()) => Ok(None),
                Err(error) => Err(self.soundness.judge(error)),
            },
        }
    }

    /// Goes to the first key.
    pub fn first(&mut self) {
        self.inner.seek_to_first();
    }

    /// Goes to the last key.
    pub fn last(&mut self) {
        self.inner.seek_to_last();
    }

    /// Goes to `key` or the first key behind it.
    pub fn seek(&mut self, key: &[u8]) {
        self.inner.seek(key);
    }

    /// Goes to `key` or the last key before it.
    pub fn seek_back(&mut self, key: &[u8]) {
        self.inner.seek_for_prev(key);
    }

    /// Goes to the next key; stays past the end.
    pub fn step(&mut self) {
        if self.inner.valid() {
            self.inner.next();
        }
    }

    /// Goes to the previous key; stays before the start.
    pub fn step_back(&mut self) {
        if self.inner.valid() {
            self.inner.prev();
        }
    }
}
