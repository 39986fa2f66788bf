//! What stands in `sys`: the format of the index, how far each stream of the log
//! is applied to it, and the totals.
//!
//! Written by [`crate::change`] and the index itself, read when a device is opened.
//! Byte by byte in `docs/formats/object.md`.
use virga_disk::segment::{Position, Stream};
use virga_node::clock::{Micros, Version};
use virga_ring::RingId;

use crate::entry::Entry;
use crate::live::Live;
use crate::rounds::LastRound;
use crate::scrub::ScrubCursor;

/// Format of the index, of all families together. The index is derived: one of
/// an older format is not read but built anew.
pub const FORMAT: u32 = 4;

/// Key of [`FORMAT`]. It is written once everything there was in the log has been
/// applied: an index without it was never finished.
pub const WHOLE: &[u8] = b"whole";

/// Key of [`FORMAT`], written when an index is begun: one that is of this format and
/// was never finished goes on where it was.
pub const BEGUN: &[u8] = b"begun";

/// Value of [`WHOLE`] and [`BEGUN`].
pub fn encode_format(format: u32) -> [u8; 4] {
    format.to_le_bytes()
}

/// Reads the value of [`WHOLE`] or [`BEGUN`]; `None` if it has another length.
pub fn decode_format(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Key of how far a stream is applied: "applied/hot".
pub fn applied(stream: Stream) -> Vec<u8> {
    [b"applied/", stream.name().as_bytes()].concat()
}

/// Key of the last complete round of reconciliation of a policy's objects:
/// "round/" and the policy, big-endian.
pub fn round(policy: u32) -> Vec<u8> {
    [&b"round/"[..], &policy.to_be_bytes()].concat()
}

/// Bytes of a round as stored: when it began, version and digest of the ring.
pub fn encode_round(round: LastRound) -> [u8; 32] {
    let mut out = [0; 32];
    out[..8].copy_from_slice(&round.started.0.to_le_bytes());
    out[8..16].copy_from_slice(&round.ring.version.to_le_bytes());
    out[16..].copy_from_slice(&round.ring.digest);
    out
}

/// Reads a stored round; `None` if it has another length.
pub fn decode_round(bytes: &[u8]) -> Option<LastRound> {
    let (started, rest) = bytes.split_first_chunk()?;
    let (version, digest) = rest.split_first_chunk()?;
    Some(LastRound {
        started: Version(u64::from_le_bytes(*started)),
        ring: RingId {
            version: u64::from_le_bytes(*version),
            digest: digest.try_into().ok()?,
        },
    })
}

/// Key of the horizon of a policy's objects: "horizon/" and the policy,
/// big-endian.
pub fn horizon(policy: u32) -> Vec<u8> {
    [&b"horizon/"[..], &policy.to_be_bytes()].concat()
}

/// Bytes of a horizon as stored.
pub fn encode_version(version: Version) -> [u8; 8] {
    version.0.to_le_bytes()
}

/// Reads a stored horizon; `None` if it has another length.
pub fn decode_version(bytes: &[u8]) -> Option<Version> {
    Some(Version(u64::from_le_bytes(bytes.try_into().ok()?)))
}

/// Key of how far the scrub is.
pub const SCRUB: &[u8] = b"scrub";

/// Bytes of the scrub's cursor as stored: segment; end of the last pass, begin of
/// the one under way, in microseconds, zero for none; records and damaged records
/// of the one under way; damaged records of the last.
pub fn encode_scrub(cursor: ScrubCursor) -> [u8; 48] {
    let time = |time: Option<Micros>| time.map_or(0, |time| time.0);
    let fields = [
        cursor.segment,
        time(cursor.pass_ended),
        time(cursor.began),
        cursor.records,
        cursor.damaged,
        cursor.last_damaged,
    ];
    let mut out = [0; 48];
    for (place, field) in out.chunks_exact_mut(8).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    out
}

/// Reads a stored cursor; `None` if it has another length. One that says nothing
/// of records was written by an earlier version.
pub fn decode_scrub(bytes: &[u8]) -> Option<ScrubCursor> {
    if bytes.len() != 16 && bytes.len() != 48 {
        return None;
    }
    let mut fields = [0; 6];
    for (field, stored) in fields.iter_mut().zip(bytes.chunks_exact(8)) {
        *field = u64::from_le_bytes(stored.try_into().ok()?);
    }
    let [segment, ended, began, records, damaged, last_damaged] = fields;
    let time = |time| (time > 0).then_some(Micros(time));
    Some(ScrubCursor {
        segment,
        pass_ended: time(ended),
        began: time(began),
        records,
        damaged,
        last_damaged,
    })
}

/// Length of a stored position in bytes.
pub const POSITION_LEN: usize = 20;

/// Bytes of a position as stored.
pub fn encode_position(position: Position) -> [u8; POSITION_LEN] {
    let mut out = [0; POSITION_LEN];
    out[..8].copy_from_slice(&position.sequence.to_le_bytes());
    out[8..16].copy_from_slice(&position.segment.to_le_bytes());
    out[16..].copy_from_slice(&position.offset.to_le_bytes());
    out
}

/// Reads a stored position; `None` if it has another length.
pub fn decode_position(bytes: &[u8]) -> Option<Position> {
    let (sequence, rest) = bytes.split_first_chunk()?;
    let (segment, offset) = rest.split_first_chunk()?;
    Some(Position {
        sequence: u64::from_le_bytes(*sequence),
        segment: u64::from_le_bytes(*segment),
        offset: u32::from_le_bytes(offset.try_into().ok()?),
    })
}

/// Objects and their bytes on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Totals {
    /// Objects that are not deleted (expired ones count until reclaimed).
    pub objects: i64,
    /// Sum of their sizes.
    pub bytes: i64,
}

impl Totals {
    /// Key in `sys`.
    pub const KEY: &'static [u8] = b"totals";

    /// What one entry adds.
    pub fn of(entry: Option<&Entry>) -> Self {
        entry
            .and_then(Entry::object)
            .map_or(Self::default(), |winner| Self {
                objects: 1,
                bytes: winner.size as i64,
            })
    }

    /// Bytes as stored.
    pub fn encode(self) -> [u8; Live::LEN] {
        Live {
            bytes: self.bytes,
            refs: self.objects,
        }
        .encode()
    }

    /// Reads stored bytes; `None` if they have another length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Live::decode(bytes).map(|live| Self {
            objects: live.refs,
            bytes: live.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_of_the_scrub_is_six_numbers_of_which_an_earlier_version_wrote_two() {
        let cursor = ScrubCursor {
            segment: 1,
            pass_ended: Some(Micros(2)),
            began: None,
            records: 4,
            damaged: 5,
            last_damaged: 6,
        };
        let bytes = encode_scrub(cursor);
        let numbers = [1_u64, 2, 0, 4, 5, 6].map(u64::to_le_bytes);
        assert_eq!(bytes, numbers.as_flattened());
        assert_eq!(decode_scrub(&bytes), Some(cursor));
        let earlier = ScrubCursor {
            segment: 1,
            pass_ended: Some(Micros(2)),
            ..ScrubCursor::default()
        };
        assert_eq!(decode_scrub(&bytes[..16]), Some(earlier));
        for len in [0, 8, 15, 17, 40, 47] {
            assert_eq!(decode_scrub(&bytes[..len]), None, "{len} bytes");
        }
    }
}
