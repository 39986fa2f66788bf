//! One frame: a fixed header, then a head, payload checksums and payload.
//!
//! Decoding is a pure function over bytes: nothing is believed before the
//! header's CRC-32 passed, nothing is reserved before its lengths passed their
//! bounds, and no input makes it panic.
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of the fixed header.
pub const HEADER: usize = 40;
/// Longest head, bytes: an object's metadata with room to spare. Whatever can
/// grow larger travels as payload.
pub const HEAD_MAX: usize = 64 * 1024;
/// Largest payload, bytes: one extent of a large object.
pub const PAYLOAD_MAX: usize = 1024 * 1024;
/// Most payload checksums: one for every 4 KiB of the largest payload.
pub const CRCS_MAX: usize = PAYLOAD_MAX / 4096;

const MAGIC: u32 = u32::from_le_bytes(*b"VRF1");
const LAST: u8 = 1;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Begins a call; `value` is its deadline in milliseconds.
    Open = 1,
    /// The next message of a stream.
    Data = 2,
    /// The receiver took `value` bytes; as many more may be sent.
    Credit = 3,
    /// The caller gives the call up.
    Cancel = 4,
    /// The server cannot carry the call out; `value` says why, the head in words.
    Refuse = 5,
    /// Asks for a sign of life.
    Ping = 6,
    /// A sign of life.
    Pong = 7,
    /// Ends a stream without a further message.
    End = 8,
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        use Kind::{Cancel, Credit, Data, End, Open, Ping, Pong, Refuse};
        let all = [Open, Data, Credit, Cancel, Refuse, Ping, Pong, End];
        all.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// Payload with the checksums that travel with it. How many bytes each covers
/// is agreed by the crates above, and they verify them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Piece {
    /// The bytes.
    pub data: Bytes,
    /// CRC-32s of its blocks.
    pub crcs: Vec<u32>,
}

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Message {
    /// Structured part, at most [`HEAD_MAX`] bytes, covered by the frame's checksum.
    pub head: Bytes,
    /// Payload, at most [`PAYLOAD_MAX`] bytes, covered by its own.
    pub piece: Piece,
}

impl Message {
    /// A message without payload.
    pub fn head(head: impl Into<Bytes>) -> Self {
        Self {
            head: head.into(),
            piece: Piece::default(),
        }
    }

    /// Bytes that a queue holds for it.
    pub(crate) fn cost(&self) -> usize {
        (self.head.len() + self.piece.data.len()).max(crate::limits::MIN_COST)
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub kind: Kind,
    /// Operation, for [`Kind::Open`].
    pub op: u8,
    /// Whether the stream ends with it.
    pub last: bool,
    /// Which call it belongs to.
    pub tag: u64,
    /// Meaning depends on the kind.
    pub value: u32,
    /// Head and payload; empty unless the kind is open, data or refuse.
    pub message: Message,
}

/// Why bytes are no frame. The connection cannot be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The header does not begin with the magic number.
    #[error("not a frame")]
    Magic,
    /// The header does not match its checksum.
    #[error("the header of a frame is damaged")]
    Header,
    /// The head or the payload's checksums do not match theirs.
    #[error("the head of a frame is damaged")]
    Head,
    /// Unknown kind or flags.
    #[error("a frame of an unknown kind")]
    Kind,
    /// A length is over its bound.
    #[error("a frame is too large")]
    TooLarge,
    /// A frame that may not carry a message does.
    #[error("a frame carries what it must not")]
    Unexpected,
}

/// What [`decode`] found at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A frame, taken out of the buffer.
    Frame(Frame),
    /// The buffer must grow to this many bytes first.
    Need(usize),
}

impl Frame {
    /// A frame without a message.
    pub(crate) fn bare(kind: Kind, tag: u64, value: u32) -> Self {
        Self {
            kind,
            op: 0,
            last: false,
            tag,
            value,
            message: Message::default(),
        }
    }

    /// Everything but the payload, which follows it on the wire.
    pub fn encode(&self) -> Bytes {
        let Message { head, piece } = &self.message;
        let mut out = BytesMut::with_capacity(HEADER + head.len() + 4 * piece.crcs.len());
        out.put_u32_le(MAGIC);
        out.put_u32_le(0);
        out.put_slice(&[self.kind as u8, self.op, u8::from(self.last), 0]);
        out.put_u32_le(length(head.len()));
        out.put_u64_le(self.tag);
        out.put_u32_le(length(piece.data.len()));
        out.put_u32_le(length(piece.crcs.len()));
        out.put_u32_le(0);
        out.put_u32_le(self.value);
        out.put_slice(head);
        for crc in &piece.crcs {
            out.put_u32_le(*crc);
        }
        let inner = crc32fast::hash(&out[HEADER..]);
        out[32..36].copy_from_slice(&inner.to_le_bytes());
        let header = crc32fast::hash(&out[8..HEADER]);
        out[4..8].copy_from_slice(&header.to_le_bytes());
        out.freeze()
    }
}

/// Lengths are bounded long before they come here; a longer one would be
/// refused by the receiver.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The fixed header, believed.
struct Header {
    kind: Kind,
    op: u8,
    last: bool,
    tag: u64,
    value: u32,
    head: usize,
    payload: usize,
    crcs: usize,
    inner: u32,
}

impl Header {
    fn parse(mut bytes: &[u8], piece: usize) -> Result<Self, Bad> {
        if bytes.get_u32_le() != MAGIC {
            return Err(Bad::Magic);
        }
        if bytes.get_u32_le() != crc32fast::hash(bytes) {
            return Err(Bad::Header);
        }
        let kind = Kind::from_code(bytes.get_u8()).ok_or(Bad::Kind)?;
        let (op, flags, zero) = (bytes.get_u8(), bytes.get_u8(), bytes.get_u8());
        if flags > LAST || zero != 0 {
            return Err(Bad::Kind);
        }
        let head = bytes.get_u32_le() as usize;
        let tag = bytes.get_u64_le();
        let (payload, crcs) = (bytes.get_u32_le() as usize, bytes.get_u32_le() as usize);
        let (inner, value) = (bytes.get_u32_le(), bytes.get_u32_le());
        if head > HEAD_MAX || payload > piece || crcs > CRCS_MAX {
            return Err(Bad::TooLarge);
        }
        let carries = matches!(kind, Kind::Open | Kind::Data | Kind::Refuse);
        if !carries && head + payload + crcs > 0 {
            return Err(Bad::Unexpected);
        }
        Ok(Self {
            kind,
            op,
            last: flags == LAST,
            tag,
            value,
            head,
            payload,
            crcs,
            inner,
        })
    }
}

/// Takes the frame at the start of `buffer` out of it, if all of it is there.
/// `piece` is the largest payload allowed.
///
/// # Errors
/// The bytes are not a frame that may come here.
pub fn decode(buffer: &mut BytesMut, piece: usize) -> Result<Decoded, Bad> {
    let Some(fixed) = buffer.get(..HEADER) else {
        return Ok(Decoded::Need(HEADER));
    };
    let header = Header::parse(fixed, piece)?;
    let before = HEADER + header.head + 4 * header.crcs;
    let total = before + header.payload;
    if let Some(inner) = buffer.get(HEADER..before)
        && crc32fast::hash(inner) != header.inner
    {
        return Err(Bad::Head);
    }
    if buffer.len() < total {
        return Ok(Decoded::Need(total));
    }
    buffer.advance(HEADER);
    let head = buffer.split_to(header.head).freeze();
    let mut array = buffer.split_to(4 * header.crcs);
    let crcs = (0..header.crcs).map(|_| array.get_u32_le()).collect();
    let data = buffer.split_to(header.payload).freeze();
    let message = Message {
        head,
        piece: Piece { data, crcs },
    };
    let Header {
        kind,
        op,
        last,
        tag,
        value,
        ..
    } = header;
    Ok(Decoded::Frame(Frame {
        kind,
        op,
        last,
        tag,
        value,
        message,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let message = (
            vec(any::<u8>(), 0..300),
            vec(any::<u8>(), 0..3000),
            vec(any::<u32>(), 0..5),
        );
        let kind = prop_oneof![Just(Kind::Open), Just(Kind::Data), Just(Kind::Refuse)];
        (
            kind,
            any::<u8>(),
            any::<bool>(),
            any::<u64>(),
            any::<u32>(),
            message,
        )
            .prop_map(|(kind, op, last, tag, value, (head, data, crcs))| {
                let piece = Piece {
                    data: data.into(),
                    crcs,
                };
                Frame {
                    kind,
                    op,
                    last,
                    tag,
                    value,
                    message: Message {
                        head: head.into(),
                        piece,
                    },
                }
            })
    }

    fn wire(frame: &Frame) -> BytesMut {
        let mut bytes = BytesMut::from(&frame.encode()[..]);
        bytes.extend_from_slice(&frame.message.piece.data);
        bytes
    }

    /// A header that passes its own checksum, whatever it says.
    fn forged(kind: u8, head: u32, payload: u32, crcs: u32) -> BytesMut {
        let mut bytes = BytesMut::from(&Frame::bare(Kind::Data, 1, 0).encode()[..]);
        bytes[8] = kind;
        bytes[12..16].copy_from_slice(&head.to_le_bytes());
        bytes[24..28].copy_from_slice(&payload.to_le_bytes());
        bytes[28..32].copy_from_slice(&crcs.to_le_bytes());
        let crc = crc32fast::hash(&bytes[8..HEADER]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            sent in vec(frames(), 1..5),
            step in 1_usize..700,
        ) {
            let all: Vec<u8> = sent.iter().flat_map(|frame| wire(frame).to_vec()).collect();
            let (mut buffer, mut came) = (BytesMut::new(), Vec::new());
            for part in all.chunks(step) {
                buffer.extend_from_slice(part);
                while let Decoded::Frame(frame) = decode(&mut buffer, PAYLOAD_MAX).unwrap() {
                    came.push(frame);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(came, sent);
        }

        #[test]
        fn a_flipped_bit_before_the_payload_is_always_noticed(frame in frames(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut bytes = wire(&frame);
            let before = bytes.len() - frame.message.piece.data.len();
            bytes[at.index(before)] ^= 1_u8 << bit;
            prop_assert!(decode(&mut bytes, PAYLOAD_MAX).is_err());
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes in vec(any::<u8>(), 0..400), magic in any::<bool>()) {
            let mut buffer = BytesMut::from(&bytes[..]);
            if magic && buffer.len() >= HEADER {
                buffer[..4].copy_from_slice(&MAGIC.to_le_bytes());
                let crc = crc32fast::hash(&buffer[8..HEADER]);
                buffer[4..8].copy_from_slice(&crc.to_le_bytes());
            }
            if let Ok(Decoded::Need(bytes)) = decode(&mut buffer, PAYLOAD_MAX) {
                prop_assert!(bytes <= HEADER + HEAD_MAX + 4 * CRCS_MAX + PAYLOAD_MAX);
            }
        }

        #[test]
        fn hostile_lengths_are_refused_or_bounded(kind in any::<u8>(), head: u32, payload: u32, crcs: u32) {
            let mut bytes = forged(kind, head, payload, crcs);
            if let Ok(Decoded::Need(bytes)) = decode(&mut bytes, PAYLOAD_MAX) {
                prop_assert!(bytes <= HEADER + HEAD_MAX + 4 * CRCS_MAX + PAYLOAD_MAX);
            }
        }
    }

    #[test]
    fn lengths_are_judged_before_anything_is_read() {
        for (head, payload, crcs) in [
            (HEAD_MAX + 1, 0, 0),
            (0, PAYLOAD_MAX + 1, 0),
            (0, 0, CRCS_MAX + 1),
        ] {
            let mut bytes = forged(2, head as u32, payload as u32, crcs as u32);
            assert_eq!(decode(&mut bytes, PAYLOAD_MAX), Err(Bad::TooLarge));
        }
        let mut small = forged(2, 0, 1001, 0);
        assert_eq!(decode(&mut small, 1000), Err(Bad::TooLarge));
        assert_eq!(decode(&mut forged(3, 1, 0, 0), PAYLOAD_MAX), Err(Bad::Unexpected));
        assert_eq!(decode(&mut forged(99, 0, 0, 0), PAYLOAD_MAX), Err(Bad::Kind));
    }

    #[test]
    fn the_first_version_stays_readable() {
        let golden = concat!(
            "56524631016e0326010701000200000008070605040302010300000001000000",
            "ab8659fadc0500006869efbeadde78797a",
        );
        let piece = Piece {
            data: Bytes::from_static(b"xyz"),
            crcs: vec![0xdead_beef],
        };
        let message = Message {
            head: Bytes::from_static(b"hi"),
            piece,
        };
        let frame = Frame {
            kind: Kind::Open,
            op: 7,
            last: true,
            tag: 0x0102_0304_0506_0708,
            value: 1500,
            message,
        };
        let hex: String = wire(&frame).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(decode(&mut wire(&frame), PAYLOAD_MAX), Ok(Decoded::Frame(frame)));
    }
}
