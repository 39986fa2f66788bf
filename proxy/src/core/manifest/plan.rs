//! What a large object is put together from, cut to the bytes wanted.
use std::ops::Range;

use bytes::Bytes;
use md5::{Digest, Md5};

use super::super::names::ObjectName;

/// Where a segment's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In an object.
    Object(ObjectName),
    /// Here.
    Inline(Bytes),
}

/// One piece of a large object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its bytes are.
    pub source: Source,
    /// ETag the segment must have, if known.
    pub etag: Option<String>,
    /// Size the whole segment must have.
    pub size: u64,
    /// The part of it that is used.
    pub range: Range<u64>,
    /// Whether it is a static manifest to be put together in turn.
    pub nested: bool,
}

/// What a large object is put together from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// Segments in order.
    pub segments: Vec<Segment>,
}

impl Plan {
    /// Bytes of the whole.
    pub fn size(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.range.end.saturating_sub(segment.range.start))
            .sum()
    }

    /// ETag of the whole, without quotes: hex MD5 over the segments' ETags, a
    /// used part written behind its ETag as ":first-last;".
    pub fn etag(&self) -> String {
        let mut md5 = Md5::new();
        for segment in &self.segments {
            match (&segment.source, &segment.etag) {
                (Source::Inline(data), _) => md5.update(hex::encode(Md5::digest(data))),
                (Source::Object(_), etag) => md5.update(etag.as_deref().unwrap_or_default()),
            }
            if segment.range != (0..segment.size) {
                md5.update(format!(
                    ":{}-{};",
                    segment.range.start,
                    segment.range.end.saturating_sub(1)
                ));
            }
        }
        hex::encode(md5.finalize())
    }

    /// The segments that bytes `range` of the whole lie in, each cut to them.
    pub(super) fn cut(self, range: &Range<u64>) -> Vec<Segment> {
        let mut start = 0;
        let mut wanted = Vec::new();
        for mut segment in self.segments {
            let end = start + (segment.range.end - segment.range.start);
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let used = segment.range.start;
                segment.range = used + (from - start)..used + (to - start);
                wanted.push(segment);
            }
            start = end;
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inline(data: &[u8], range: Range<u64>) -> Segment {
        let size = data.len() as u64;
        Segment {
            source: Source::Inline(Bytes::copy_from_slice(data)),
            etag: None,
            size,
            range,
            nested: false,
        }
    }

    #[test]
    fn the_etag_is_swifts() {
        let name = |object| Source::Object(ObjectName::new("a", "c", object).unwrap());
        let segment = |object, etag: &str, range| Segment {
            source: name(object),
            etag: Some(etag.into()),
            size: 10,
            range,
            nested: false,
        };
        let plan = Plan {
            segments: vec![segment("1", "aa", 0..10), segment("2", "bb", 2..6)],
        };
        assert_eq!(plan.etag(), hex::encode(Md5::digest("aabb:2-5;")));
    }

    proptest! {
        #[test]
        fn a_cut_delivers_the_bytes_that_the_whole_has_there(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), 0u64..20, 0u64..20), 0..6),
            from in 0u64..100,
            len in 0u64..100,
        ) {
            let segments: Vec<_> = parts
                .iter()
                .map(|(data, a, b)| {
                    let size = data.len() as u64;
                    inline(data, (*a).min(*b).min(size)..(*a).max(*b).min(size))
                })
                .collect();
            let bytes = |segments: &[Segment]| -> Vec<u8> {
                segments
                    .iter()
                    .flat_map(|it| match &it.source {
                        Source::Inline(data) => data[it.range.start as usize..it.range.end as usize].to_vec(),
                        Source::Object(_) => Vec::new(),
                    })
                    .collect()
            };
            let whole = bytes(&segments);
            let plan = Plan { segments };
            prop_assert_eq!(plan.size(), whole.len() as u64);
            let cut = bytes(&plan.cut(&(from..from + len)));
            let size = whole.len();
            let (from, to) = ((from as usize).min(size), ((from + len) as usize).min(size));
            prop_assert_eq!(cut, &whole[from..to]);
        }
    }
}
