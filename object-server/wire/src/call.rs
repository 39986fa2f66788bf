//! How requests and answers become messages of the node protocol.
//!
//! Heads are `postcard`. A value that may outgrow a head (listings, many rows)
//! begins with a byte that says where it is: in the head itself, or, with its
//! length, in the payload of this and the following messages.
use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use virga_rpc::CallError;
use virga_rpc::frame::{HEAD_MAX, Message, Piece};

use crate::checked::Checked;
use crate::error::NodeError;

/// Longest value that is put together from messages: a page of 10,000 rows
/// with the longest names fits several times.
const VALUE_MAX: usize = 64 * 1024 * 1024;
const IN_HEAD: u8 = 0;
const IN_PAYLOAD: u8 = 1;

/// Operations, as `docs/formats/node-protocol.md` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    Put = 1,
    BeginPut = 2,
    Get = 3,
    Head = 4,
    Post = 5,
    Delete = 6,
    Settle = 7,
    Subtrees = 8,
    Records = 9,
    GetExpiredToo = 10,
    PostExpiredToo = 11,
    Hold = 12,
    PutContainer = 16,
    PostContainer = 17,
    DeleteContainer = 18,
    HeadContainer = 19,
    ListContainer = 20,
    PutObjectRows = 21,
    PutAccount = 24,
    DeleteAccount = 25,
    HeadAccount = 26,
    ListAccount = 27,
    PutContainerRows = 28,
    Status = 32,
    Admin = 33,
    Movement = 40,
    Sums = 41,
    BucketSums = 42,
    Names = 43,
    Push = 44,
    RingFile = 45,
    HearOfRing = 46,
    ListingSums = 48,
    ListingShards = 49,
    ListingState = 50,
    ListingParts = 51,
    ListingRows = 52,
    MergeListing = 53,
}

impl Op {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        use Op::{
            Admin, BeginPut, BucketSums, Delete, DeleteAccount, DeleteContainer, Get, GetExpiredToo, Head,
            HeadAccount, HeadContainer, HearOfRing, Hold, ListAccount, ListContainer, ListingParts,
            ListingRows, ListingShards, ListingState, ListingSums, MergeListing, Movement, Names, Post,
            PostContainer, PostExpiredToo, Push, Put, PutAccount, PutContainer, PutContainerRows,
            PutObjectRows, Records, RingFile, Settle, Status, Subtrees, Sums,
        };
        let all = [
            Put,
            BeginPut,
            Get,
            Head,
            Post,
            Delete,
            Settle,
            Subtrees,
            Records,
            GetExpiredToo,
            PostExpiredToo,
            Hold,
            PutContainer,
            PostContainer,
            DeleteContainer,
            HeadContainer,
            ListContainer,
            PutObjectRows,
            PutAccount,
            DeleteAccount,
            HeadAccount,
            ListAccount,
            PutContainerRows,
            Status,
            Admin,
            Movement,
            Sums,
            BucketSums,
            Names,
            Push,
            RingFile,
            HearOfRing,
            ListingSums,
            ListingShards,
            ListingState,
            ListingParts,
            ListingRows,
            MergeListing,
        ];
        all.into_iter().find(|op| *op as u8 == code)
    }
}

/// The head of an answered get.
#[derive(Debug, Serialize, serde::Deserialize)]
#[allow(clippy::large_enum_variant, reason = "written or read once, never kept")]
pub(crate) enum ReadHead {
    Object {
        stat: crate::object::ObjectStat,
        body_start: u64,
    },
    Gone(Option<virga_node::clock::Version>),
}

fn odd(error: impl std::fmt::Display) -> NodeError {
    NodeError::Invalid(format!("not a message of this protocol: {error}"))
}

/// Encodes something small.
pub(crate) fn to_head<T: Serialize>(value: &T) -> Result<Bytes, NodeError> {
    let head = postcard::to_stdvec(value).map_err(odd)?;
    if head.len() > HEAD_MAX {
        return Err(NodeError::Invalid(format!(
            "{} bytes of metadata are too many",
            head.len()
        )));
    }
    Ok(head.into())
}

/// Reads what [`to_head`] wrote.
pub(crate) fn from_head<T: DeserializeOwned>(head: &[u8]) -> Result<T, NodeError> {
    postcard::from_bytes(head).map_err(odd)
}

/// A piece of a body with its checksums.
pub(crate) fn to_piece(piece: Checked) -> Piece {
    let crcs = piece.crcs().to_vec();
    Piece {
        data: piece.into_data(),
        crcs,
    }
}

/// Takes a piece in: this is where bytes from the network are verified.
pub(crate) fn from_piece(piece: Piece) -> Result<Checked, NodeError> {
    let piece = Checked::unverified(piece.data, piece.crcs);
    piece.verify().map_err(|_| NodeError::Garbled)?;
    Ok(piece)
}

/// Encodes a value of any size as messages with at most `piece` bytes of
/// payload each; the first of them always exists.
pub(crate) fn to_messages<T: Serialize>(
    value: &T,
    piece: usize,
) -> Result<(Message, impl Iterator<Item = Message> + Send + use<T>), NodeError> {
    let mut bytes = postcard::to_extend(value, vec![IN_HEAD]).map_err(odd)?;
    let mut rest = Bytes::new();
    if bytes.len() > HEAD_MAX {
        if bytes.len() > VALUE_MAX {
            return Err(NodeError::Invalid(format!(
                "{} bytes in one answer are too many",
                bytes.len()
            )));
        }
        rest = Bytes::from(bytes).slice(1..);
        bytes = vec![IN_PAYLOAD];
        bytes.extend_from_slice(&(rest.len() as u64).to_le_bytes());
    }
    let mut take = move || (!rest.is_empty()).then(|| rest.split_to(rest.len().min(piece)));
    let first = take().map_or_else(Piece::default, |bytes| to_piece(Checked::seal(bytes)));
    let first = Message {
        head: bytes.into(),
        piece: first,
    };
    let rest = std::iter::from_fn(take).map(|bytes| Message {
        head: Bytes::new(),
        piece: to_piece(Checked::seal(bytes)),
    });
    Ok((first, rest))
}

/// Puts a value together again.
pub(crate) struct Assembly {
    bytes: BytesMut,
    missing: usize,
}

impl Assembly {
    /// Begins with the first message.
    pub(crate) fn begin(first: Message) -> Result<Self, NodeError> {
        let mut head = first.head;
        match head.try_get_u8() {
            Ok(IN_HEAD) => Ok(Self {
                bytes: BytesMut::from(head),
                missing: 0,
            }),
            Ok(IN_PAYLOAD) => {
                let length = head.try_get_u64_le().map_err(odd)?;
                let missing = usize::try_from(length).ok().filter(|length| *length <= VALUE_MAX);
                let mut assembly = Self {
                    bytes: BytesMut::new(),
                    missing: missing.ok_or_else(|| odd("too long"))?,
                };
                assembly.add(first.piece)?;
                Ok(assembly)
            }
            _ => Err(odd("no value")),
        }
    }

    /// Whether messages are missing.
    pub(crate) fn incomplete(&self) -> bool {
        self.missing > 0
    }

    /// Adds the payload of the next message.
    pub(crate) fn add(&mut self, piece: Piece) -> Result<(), NodeError> {
        let piece = from_piece(piece)?;
        if piece.is_empty() || piece.len() > self.missing {
            return Err(odd("a length that does not fit"));
        }
        self.missing -= piece.len();
        self.bytes.extend_from_slice(piece.data());
        Ok(())
    }

    /// The value, once complete.
    pub(crate) fn finish<T: DeserializeOwned>(self) -> Result<T, NodeError> {
        from_head(&self.bytes)
    }
}

/// What a failed call means to someone who asked a node.
pub(crate) fn failure(error: CallError) -> NodeError {
    match error {
        CallError::Unreachable(why) => NodeError::Unreachable(why),
        CallError::Busy => NodeError::Busy,
        CallError::TooLarge => NodeError::Invalid("a message over the bounds of the protocol".into()),
        CallError::Deadline | CallError::Stopping | CallError::Refused(_) | CallError::Over => {
            NodeError::Unreachable(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_of_any_size_survive(text in "[a-z]{0,30}", times in 0_usize..40_000, piece in 70_000_usize..200_000) {
            let value = vec![text; times];
            let (first, rest) = to_messages(&value, piece).unwrap();
            let mut assembly = Assembly::begin(first).unwrap();
            for message in rest {
                prop_assert!(message.piece.data.len() <= piece);
                prop_assert!(assembly.incomplete());
                assembly.add(message.piece).unwrap();
            }
            prop_assert!(!assembly.incomplete());
            prop_assert_eq!(assembly.finish::<Vec<String>>().unwrap(), value);
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_panic(head in vec(any::<u8>(), 0..60), data in vec(any::<u8>(), 0..60)) {
            let piece = to_piece(Checked::seal(data.into()));
            if let Ok(assembly) = Assembly::begin(Message { head: head.into(), piece }) {
                let _ = assembly.finish::<Vec<crate::listing::ObjectRow>>();
            }
        }
    }

    #[test]
    fn a_damaged_piece_is_refused() {
        let mut piece = to_piece(Checked::seal(Bytes::from_static(b"abc")));
        piece.data = Bytes::from_static(b"abd");
        assert_eq!(from_piece(piece), Err(NodeError::Garbled));
    }

    #[test]
    fn every_operation_has_its_own_number() {
        for code in 0..=u8::MAX {
            if let Some(op) = Op::from_code(code) {
                assert_eq!(op as u8, code);
            }
        }
        assert_eq!((0..=u8::MAX).filter_map(Op::from_code).count(), 38);
    }
}
