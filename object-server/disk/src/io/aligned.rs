//! A heap buffer that direct I/O accepts: start and length are multiples of the page.
//!
//! Used wherever bytes go to or come from a device past the page cache.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::PAGE;

/// A page-aligned buffer of fixed capacity; its length is set in whole pages.
pub struct AlignedBuf {
    start: NonNull<u8>,
    capacity: usize,
    len: usize,
}

impl AlignedBuf {
    /// A zeroed buffer whose capacity is `bytes` rounded up to whole pages (at least one), of length zero.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> AlignedBuf {
        let capacity = bytes.max(1).div_ceil(PAGE) * PAGE;
        let layout = Self::layout(capacity);
        // Safety: the layout's size is at least one page, so not zero.
        #[allow(unsafe_code)]
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        AlignedBuf {
            start,
            capacity,
            len: 0,
        }
    }

    /// A zeroed buffer of length `bytes` rounded up to whole pages.
    #[must_use]
    pub fn zeroed(bytes: usize) -> AlignedBuf {
        let mut buf = AlignedBuf::with_capacity(bytes);
        buf.len = buf.capacity;
        buf
    }

    #[allow(clippy::expect_used)] // the size is a multiple of the alignment, far below isize::MAX
    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, PAGE).expect("a page is a valid alignment")
    }

    /// Most bytes it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets the length to `bytes` rounded up to whole pages, at most the capacity. Bytes that come into view
    /// are whatever was there: zeros at first, older content later.
    pub fn set_len(&mut self, bytes: usize) {
        self.len = (bytes.div_ceil(PAGE) * PAGE).min(self.capacity);
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // Safety: `start` owns `capacity` bytes, all initialised (allocated zeroed, written only through
        // slices of u8), and `len <= capacity` by every assignment; the borrow of self keeps writers away.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.start.as_ptr(), self.len)
        }
    }
}

impl std::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // Safety: as in `deref`, and the exclusive borrow of self makes this the only view.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len)
        }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // Safety: `start` came from `alloc_zeroed` with this same layout and is freed only here.
        #[allow(unsafe_code)]
        unsafe {
            dealloc(self.start.as_ptr(), Self::layout(self.capacity));
        }
    }
}

// Safety: the buffer is plain owned memory without interior mutability; `&` gives reads only.
#[allow(unsafe_code)]
unsafe impl Send for AlignedBuf {}
// Safety: as above.
#[allow(unsafe_code)]
unsafe impl Sync for AlignedBuf {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_starts_on_a_page_and_counts_in_pages() {
        let mut buf = AlignedBuf::with_capacity(5000);
        assert_eq!(buf.as_ptr() as usize % PAGE, 0);
        assert_eq!(buf.capacity(), 2 * PAGE);
        assert!(buf.is_empty());
        buf.set_len(1);
        assert_eq!(buf.len(), PAGE);
        buf.set_len(1 << 20);
        assert_eq!(buf.len(), 2 * PAGE);
        assert!(buf.iter().all(|b| *b == 0));
    }
}
