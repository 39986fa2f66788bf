//! Buffers of large reads, used again.
//!
//! A fresh buffer of a megabyte costs its zeros and a page fault for each of its pages, which is more than reading
//! it from the page cache does. So a few are kept when their bytes are dropped. Only the [`super::Reader`] takes
//! them, and every byte it hands on was read into them just before. Small reads are left to the allocator.
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// From this size in bytes on a buffer is worth keeping.
const LARGE: usize = 128 << 10;
/// Most buffers kept by one device: enough for the read-ahead of eight streams, some 16 MiB.
const KEPT: usize = 16;

/// The kept buffers of one device.
#[derive(Default)]
pub(super) struct Buffers {
    kept: Mutex<Vec<Vec<u8>>>,
}

/// A buffer on loan; dropped, it goes back.
pub(super) struct Lent {
    bytes: Vec<u8>,
    /// How much of it is wanted: an older buffer may be longer.
    len: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// A buffer of `len` bytes whose content is unspecified.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Lent {
        let kept = (len >= LARGE).then(|| self.kept().pop()).flatten();
        let bytes = kept.filter(|kept| kept.len() >= len);
        Lent {
            bytes: bytes.unwrap_or_else(|| vec![0; len]),
            len,
            home: Arc::clone(self),
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// The bytes, to be filled.
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// The filled bytes; the buffer goes back when the last part of them is dropped.
    pub(super) fn filled(mut self) -> Bytes {
        if self.bytes.len() < LARGE {
            return Bytes::from(std::mem::take(&mut self.bytes));
        }
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.bytes.len() < LARGE {
            return;
        }
        let mut kept = self.home.kept();
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_used_again_once_its_last_part_is_dropped() {
        let buffers = Arc::new(Buffers::default());
        let mut lent = buffers.take(LARGE + 5);
        lent.as_mut().fill(7);
        let whole = lent.filled();
        let (place, part) = (whole.as_ptr(), whole.slice(LARGE..));
        drop(whole);
        assert_ne!(
            buffers.take(LARGE).as_ref().as_ptr(),
            place,
            "a part is still read"
        );
        assert_eq!(part, [7; 5][..]);
        drop(part);
        let again = buffers.take(LARGE);
        assert_eq!(again.as_ref().as_ptr(), place);
        assert_eq!(again.as_ref().len(), LARGE);
    }

    #[test]
    fn what_is_kept_has_a_bound_and_small_buffers_are_not_kept() {
        let buffers = Arc::new(Buffers::default());
        let many: Vec<_> = (0..KEPT * 2).map(|_| buffers.take(LARGE)).collect();
        drop(many);
        assert_eq!(buffers.kept().len(), KEPT);
        buffers.kept().clear();
        drop(buffers.take(LARGE - 1).filled());
        assert!(buffers.kept().is_empty());
    }

    #[test]
    fn a_kept_buffer_that_is_too_short_is_replaced() {
        let buffers = Arc::new(Buffers::default());
        drop(buffers.take(LARGE));
        assert_eq!(buffers.take(2 * LARGE).as_ref().len(), 2 * LARGE);
    }
}
