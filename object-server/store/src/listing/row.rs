//! One row as it is stored: how two of them merge, what a row counts for, and
//! its bytes.
//!
//! Values borrow: from the request that brings them or from the database, so
//! that a merge copies nothing until the winner is written. A merge takes the
//! larger row of an object, and the larger of each part of a container's, ties
//! broken by content, and is therefore free of order and repetition (invariant I6).
use virga_node::clock::Version;
use virga_object_wire::listing::{ContainerRow, ObjectRow};

use super::codec::{Reader, put_text, put_varint};

/// First byte of a stored object row, format 1.
const OBJECT: u8 = 1;
/// First byte of a stored container row, format 1.
const CONTAINER: u8 = 2;
/// The row marks a deletion; no size and no ETag follow.
const DELETED: u8 = 1;
/// The ETag is 16 bytes instead of a string: 32 lower case hex digits.
const PACKED: u8 = 2;
/// Metadata and data have the same version: the former is left out.
const ONE_VERSION: u8 = 4;
/// Key of the digest's hash: a name for the purpose.
const DIGEST_KEY: [u8; 32] = *b"virga listing row digest, v1\0\0\0\0";

/// What a row says beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Of an object, in its container.
    Object(ObjectValue<'a>),
    /// Of a container, in its account.
    Container(ContainerValue),
}

/// See [`ObjectRow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectValue<'a> {
    version: Version,
    meta_version: Version,
    size: u64,
    etag: Etag<'a>,
    content_type: &'a str,
    deleted: bool,
}

/// An ETag: nearly always the hex of an MD5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Etag<'a> {
    Packed([u8; 16]),
    Text(&'a str),
}

/// See [`ContainerRow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerValue {
    put: Version,
    deleted: Version,
    policy: u32,
    counted: Version,
    objects: u64,
    bytes: u64,
}

/// What a live row adds to the totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Policy index; zero for objects, whose container has only one.
    pub policy: u32,
    /// Objects: one for an object.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

impl<'a> Etag<'a> {
    fn new(text: &'a str) -> Self {
        let digits: Option<&[u8; 32]> = text.as_bytes().try_into().ok();
        digits.and_then(pack).map_or(Self::Text(text), Self::Packed)
    }

    fn to_text(self) -> String {
        match self {
            Self::Text(text) => text.to_owned(),
            Self::Packed(bytes) => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let mut text = String::with_capacity(32);
                for byte in bytes {
                    text.push(DIGITS[usize::from(byte >> 4)] as char);
                    text.push(DIGITS[usize::from(byte & 15)] as char);
                }
                text
            }
        }
    }
}

/// Two lower case hex digits to a byte; `None` for anything else.
fn pack(digits: &[u8; 32]) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; 16];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

impl<'a> From<&'a ObjectRow> for Value<'a> {
    fn from(row: &'a ObjectRow) -> Self {
        // A deletion has no content, whatever the message says, so that equal
        // rows have equal bytes; metadata is never older than its data.
        let (size, etag) = if row.deleted {
            (0, "")
        } else {
            (row.size, row.etag.as_str())
        };
        Value::Object(ObjectValue {
            version: row.version,
            meta_version: row.meta_version.max(row.version),
            size,
            etag: Etag::new(etag),
            content_type: &row.content_type,
            deleted: row.deleted,
        })
    }
}

impl From<&ContainerRow> for Value<'_> {
    fn from(row: &ContainerRow) -> Self {
        Value::Container(ContainerValue {
            put: row.put,
            deleted: row.deleted,
            policy: row.policy,
            counted: row.counted,
            objects: row.objects,
            bytes: row.bytes,
        })
    }
}

impl<'a> ObjectValue<'a> {
    fn merge(self, other: Self) -> Self {
        // As `ObjectRow::rank`: an update of the metadata belongs to the data it
        // was made over, and data win over a deletion of their version.
        let rank = |v: &Self| {
            let data = (v.version, !v.deleted, v.size, v.etag);
            (data, v.meta_version, v.content_type)
        };
        if rank(&self) >= rank(&other) { self } else { other }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let packed = matches!(self.etag, Etag::Packed(_)) && !self.deleted;
        let one = self.meta_version == self.version;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.extend([
            OBJECT,
            flag(self.deleted, DELETED) | flag(packed, PACKED) | flag(one, ONE_VERSION),
        ]);
        out.extend(self.version.0.to_le_bytes());
        if !one {
            out.extend(self.meta_version.0.to_le_bytes());
        }
        if !self.deleted {
            put_varint(out, self.size);
            match self.etag {
                Etag::Packed(bytes) => out.extend(bytes),
                Etag::Text(text) => put_text(out, text),
            }
        }
        put_text(out, self.content_type);
    }

    fn decode(mut from: Reader<'a>) -> Option<Self> {
        let flags = from.byte()?;
        let deleted = flags & DELETED != 0;
        let version = Version(from.u64()?);
        let meta_version = if flags & ONE_VERSION != 0 {
            version
        } else {
            Version(from.u64()?)
        };
        let (size, etag) = match (deleted, flags & PACKED != 0) {
            (true, _) => (0, Etag::Text("")),
            (false, true) => (from.varint()?, Etag::Packed(from.bytes(16)?.try_into().ok()?)),
            (false, false) => (from.varint()?, Etag::Text(from.text()?)),
        };
        let content_type = from.text()?;
        from.end()?;
        Some(Self {
            version,
            meta_version,
            size,
            etag,
            content_type,
            deleted,
        })
    }
}

impl ContainerValue {
    fn merge(self, other: Self) -> Self {
        let (put, policy) = (self.put, self.policy).max((other.put, other.policy));
        let count = |v: &Self| (v.counted, v.objects, v.bytes);
        let (counted, objects, bytes) = count(&self).max(count(&other));
        Self {
            put,
            deleted: self.deleted.max(other.deleted),
            policy,
            counted,
            objects,
            bytes,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(CONTAINER);
        for version in [self.put, self.deleted, self.counted] {
            out.extend(version.0.to_le_bytes());
        }
        for number in [u64::from(self.policy), self.objects, self.bytes] {
            put_varint(out, number);
        }
    }

    fn decode(mut from: Reader<'_>) -> Option<Self> {
        let (put, deleted, counted) = (from.u64()?, from.u64()?, from.u64()?);
        let policy = u32::try_from(from.varint()?).ok()?;
        let (objects, bytes) = (from.varint()?, from.varint()?);
        from.end()?;
        let (put, deleted, counted) = (Version(put), Version(deleted), Version(counted));
        Some(Self {
            put,
            deleted,
            policy,
            counted,
            objects,
            bytes,
        })
    }
}

impl<'a> Value<'a> {
    /// Reads stored bytes; `None` if they are not a row.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        match from.byte()? {
            OBJECT => ObjectValue::decode(from).map(Self::Object),
            CONTAINER => ContainerValue::decode(from).map(Self::Container),
            _ => None,
        }
    }

    /// Appends the bytes as stored. Equal values have equal bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Object(value) => value.encode(out),
            Self::Container(value) => value.encode(out),
        }
    }

    /// Both together. `None` if they are of different kinds.
    pub fn merge(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Object(a), Self::Object(b)) => Some(Self::Object(a.merge(b))),
            (Self::Container(a), Self::Container(b)) => Some(Self::Container(a.merge(b))),
            _ => None,
        }
    }

    /// What the row adds to totals, `None` if it is not live. `deleted` is the
    /// newest deletion of the container or account that the row stands in. It
    /// ends containers, which an account's deletion is meant to, and never
    /// objects: a container is deleted when it is empty, so a live row is one
    /// that this deletion did not know of.
    pub fn weight(&self, deleted: Version) -> Option<Weight> {
        match self {
            Self::Object(v) if !v.deleted => Some(Weight {
                policy: 0,
                objects: 1,
                bytes: v.size,
            }),
            Self::Container(v) if v.put > v.deleted && v.put > deleted => Some(Weight {
                policy: v.policy,
                objects: v.objects,
                bytes: v.bytes,
            }),
            _ => None,
        }
    }

    /// When the row itself marks a deletion: since when.
    pub fn tombstone(&self) -> Option<Version> {
        match self {
            Self::Object(v) => v.deleted.then_some(v.version),
            // A count may come before any PUT or DELETE: no deletion then.
            Self::Container(v) => (v.put <= v.deleted && v.deleted > Version(0)).then_some(v.deleted),
        }
    }

    /// Since when the row is dead, by its own deletion or that of the account
    /// it stands in; `None` if it is live.
    pub fn death(&self, deleted: Version) -> Option<Version> {
        let buried = match self {
            Self::Object(_) => false,
            Self::Container(v) if v.put == Version(0) => v.counted <= deleted,
            Self::Container(v) => v.put <= deleted,
        };
        // An account that was never deleted has buried nobody.
        let burial = Some(deleted).filter(|deleted| buried && *deleted > Version(0));
        self.tombstone().or(burial)
    }

    /// The newest of the row's versions.
    pub fn newest(&self) -> Version {
        match self {
            Self::Object(v) => v.version.max(v.meta_version),
            Self::Container(v) => v.put.max(v.deleted).max(v.counted),
        }
    }
}

/// What a row adds to the digest of its shard: a hash of the name and of
/// everything that is stored with it.
pub fn digest(name: &[u8], value: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new_keyed(&DIGEST_KEY);
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name).update(value);
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(first)
}

/// A kind of row that a listing returns.
pub trait Listed: Sized {
    /// The row of that name; `None` if the value is of another kind.
    fn listed(name: &str, value: Value<'_>) -> Option<Self>;
}

impl Listed for ObjectRow {
    fn listed(name: &str, value: Value<'_>) -> Option<Self> {
        let Value::Object(value) = value else { return None };
        Some(Self {
            name: name.to_owned(),
            version: value.version,
            meta_version: value.meta_version,
            size: value.size,
            etag: value.etag.to_text(),
            content_type: value.content_type.to_owned(),
            deleted: value.deleted,
        })
    }
}

impl Listed for ContainerRow {
    fn listed(name: &str, value: Value<'_>) -> Option<Self> {
        let Value::Container(value) = value else {
            return None;
        };
        let ContainerValue {
            put,
            deleted,
            policy,
            counted,
            objects,
            bytes,
        } = value;
        Some(Self {
            name: name.to_owned(),
            put,
            deleted,
            policy,
            counted,
            objects,
            bytes,
        })
    }
}
