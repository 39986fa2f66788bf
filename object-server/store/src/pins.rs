//! Segments that must stay although the index names nothing in them: extents
//! of uploads that are not committed yet, and extents being read.
//!
//! Taken by [`crate::put_stream`] and [`crate::read`], respected by compaction.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virga_disk::segment::Stream;

#[derive(Debug, Default)]
struct Held {
    /// Number of uploads with extents in a segment.
    segments: HashMap<u64, u32>,
    /// Extents being written: they land in this segment or a later one.
    floors: BTreeMap<u64, u32>,
    /// Newest segment of the stream that a finished write named.
    newest: u64,
}

/// What uploads in progress hold.
#[derive(Debug, Default)]
pub struct Pins(Mutex<Held>);

impl Pins {
    /// No uploads; the stream's newest segment is `newest`.
    pub fn new(newest: u64) -> Self {
        Self(Mutex::new(Held {
            newest,
            ..Held::default()
        }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a segment must stay: any that is pinned, and of the stream that
    /// uploads write to all from the floor on.
    pub fn holds(&self, segment: u64, stream: Stream) -> bool {
        let held = self.held();
        let floor = held.floors.first_key_value().map(|(floor, _)| *floor);
        let landing = stream == Stream::Bulk && floor.is_some_and(|floor| segment >= floor);
        landing || held.segments.contains_key(&segment)
    }

    /// Call before an extent is queued: until the guard goes, no segment it
    /// could land in is given up.
    pub fn writing(self: &Arc<Self>) -> Writing {
        let mut held = self.held();
        let floor = held.newest;
        *held.floors.entry(floor).or_insert(0) += 1;
        Writing {
            pins: self.clone(),
            floor,
        }
    }
}

/// An extent is being written somewhere; see [`Pins::writing`].
#[derive(Debug)]
pub struct Writing {
    pins: Arc<Pins>,
    floor: u64,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut held = self.pins.held();
        if let Some(count) = held.floors.get_mut(&self.floor) {
            *count -= 1;
            if *count == 0 {
                held.floors.remove(&self.floor);
            }
        }
    }
}

/// Segments that stay while this lives.
#[derive(Debug)]
pub struct Pinned {
    pins: Arc<Pins>,
    segments: Vec<u64>,
}

impl Pinned {
    /// Pins nothing yet.
    pub fn none(pins: &Arc<Pins>) -> Self {
        Self {
            pins: pins.clone(),
            segments: Vec::new(),
        }
    }

    /// Pins the segment an extent landed in. The extent's [`Writing`] must
    /// still live, so that there is no moment between the two.
    pub fn add(&mut self, segment: u64) {
        // A sequential upload names the same segment again and again.
        if self.segments.contains(&segment) {
            return;
        }
        let mut held = self.pins.held();
        *held.segments.entry(segment).or_insert(0) += 1;
        held.newest = held.newest.max(segment);
        self.segments.push(segment);
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut held = self.pins.held();
        for segment in &self.segments {
            if let Some(count) = held.segments.get_mut(segment) {
                *count -= 1;
                if *count == 0 {
                    held.segments.remove(segment);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_pinned_until_the_last_holder_lets_go() {
        let pins = Arc::new(Pins::default());
        let mut first = Pinned::none(&pins);
        let mut second = Pinned::none(&pins);
        first.add(1);
        first.add(1);
        second.add(1);
        drop(first);
        assert!(pins.holds(1, Stream::Bulk));
        drop(second);
        assert!(!pins.holds(1, Stream::Bulk));
    }

    #[test]
    fn no_segment_an_extent_may_land_in_is_given_up_while_it_is_written() {
        let pins = Arc::new(Pins::new(5));
        let writing = pins.writing();
        assert!(!pins.holds(4, Stream::Bulk) && !pins.holds(9, Stream::Hot));
        assert!(pins.holds(5, Stream::Bulk) && pins.holds(9, Stream::Bulk));
        let mut pinned = Pinned::none(&pins);
        pinned.add(7);
        drop(writing);
        assert!(pins.holds(7, Stream::Bulk) && !pins.holds(5, Stream::Bulk));
        let _later = pins.writing();
        assert!(pins.holds(7, Stream::Bulk) && pins.holds(8, Stream::Bulk) && !pins.holds(6, Stream::Bulk));
    }
}
