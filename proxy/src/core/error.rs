//! What can go wrong, one enum per operation. A dialect maps each to its own
//! status codes; the codes named here are Swift's, as a hint.
use virga_node::clock::Version;

/// Too few nodes did what was asked. Nothing is promised: a write may or may
/// not be seen later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Fewer than a quorum answered in time (503).
    #[error("{reached} of {needed} needed replicas answered: {why}")]
    NoQuorum {
        /// Replicas that did.
        reached: usize,
        /// Replicas needed.
        needed: usize,
        /// The last failure heard.
        why: String,
    },
    /// Devices have no room for new data (507).
    #[error("the devices are full")]
    Full,
    /// A container names a storage policy that this proxy has no ring for (503).
    #[error("no ring for storage policy {0}")]
    NoRing(u32),
    /// An object is to be sealed, or opened, and this proxy cannot: it lacks the
    /// keys, or chance to make one of (503).
    #[error("{0}")]
    NoKey(&'static str),
    /// A node refused the request itself: versions too far ahead of its clock,
    /// or a broken rule of the protocol (400 when the client chose the
    /// version, else 500).
    #[error("refused by a node: {0}")]
    Refused(String),
}

/// Why the body of an upload ended early. The dialect's stream says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client went away (499).
    #[error("the client disconnected")]
    Disconnected,
    /// The client sent nothing for too long (408).
    #[error("the client sent nothing for too long")]
    TooSlow,
    /// The client's framing or trailers were wrong (400).
    #[error("malformed body: {0}")]
    Malformed(String),
    /// A source being copied could not be read on.
    #[error("the source of the copy failed: {0}")]
    Source(String),
}

/// Why an object was not stored. Nothing of it is visible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutObjectError {
    /// No such container (404).
    #[error("no such container")]
    NoContainer,
    /// It was to be made only if absent, and it is there (412).
    #[error("the object exists")]
    Exists,
    /// The body ended early.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is larger than allowed (413).
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// Most bytes allowed.
        limit: u64,
    },
    /// More or fewer bytes came than were announced (499 or 400).
    #[error("{got} bytes came, {expected} were announced")]
    SizeMismatch {
        /// Bytes announced.
        expected: u64,
        /// Bytes that came (at least, when more came).
        got: u64,
    },
    /// The bytes do not have the MD5 the client said (422).
    #[error("the bytes have the MD5 {got}")]
    EtagMismatch {
        /// The MD5 they have, hex.
        got: String,
    },
    /// A version was asked for and a newer one exists (409).
    #[error("the object already has version {0:?}")]
    Newer(Version),
    /// Too few nodes stored it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why an object was not read (GET and HEAD).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadObjectError {
    /// No such object, or no such container (404).
    #[error("not found")]
    NotFound {
        /// How recently it was deleted, if that is known.
        deleted: Option<Version>,
    },
    /// It is sealed with a key of the client's own, which must be shown (403).
    #[error("sealed with a key of the client's: {}", if *.given { "another one was shown" } else { "none was shown" })]
    Sealed {
        /// Whether a key was shown.
        given: bool,
    },
    /// Too few nodes answered.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why no proof of a range was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// There are no such bytes (416).
    #[error(transparent)]
    Range(#[from] crate::proof::BadRange),
    /// The root is that of sealed bytes, which no client sees (400).
    #[error("the object is stored sealed: there is no proof of its own bytes")]
    Sealed,
    /// Too many proofs are being made (503).
    #[error("too many proofs are being made at the same time")]
    Busy,
    /// No replica has this version of the object whole any more: it was
    /// replaced meanwhile, or is damaged (503).
    #[error("no replica has this version of the object any more")]
    Lost,
    /// Too few nodes answered.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a body that was being read ended early: the connection to the client
/// must be broken off, as the length was promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyReadError {
    /// No replica could go on with this version of the object.
    #[error("no replica can go on: {0}")]
    Lost(String),
    /// A segment of a large object is not what its manifest says.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// Why a large object could not be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// A segment does not exist any more (409).
    #[error("segment {0} is missing")]
    Missing(String),
    /// A segment has another ETag or size than its manifest says (409).
    #[error("segment {0} has changed")]
    Changed(String),
    /// The caller may not read a segment (403).
    #[error("segment {0} may not be read")]
    Forbidden(String),
    /// Manifests lie too deep in each other (409).
    #[error("manifests are nested deeper than {0}")]
    TooDeep(usize),
    /// A manifest cannot be read (409).
    #[error("manifest {path} is broken: {why}")]
    Broken {
        /// Path of the manifest.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A prefix names more segments than are put together (409).
    #[error("more than {0} segments")]
    TooMany(usize),
    /// Too few nodes answered.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why the metadata of an object was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostObjectError {
    /// No such object or container (404).
    #[error("not found")]
    NotFound,
    /// A version was asked for and a newer one exists (409).
    #[error("the object already has version {0:?}")]
    Newer(Version),
    /// Too few nodes did it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why an object was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteObjectError {
    /// No such container (404).
    #[error("no such container")]
    NoContainer,
    /// A version was asked for and a newer one exists (409).
    #[error("the object already has version {0:?}")]
    Newer(Version),
    /// Too few nodes did it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a container was not made or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutContainerError {
    /// No such account, and accounts do not make themselves (404).
    #[error("no such account")]
    NoAccount,
    /// It exists with another storage policy (409).
    #[error("the container has storage policy {0}")]
    PolicyConflict(u32),
    /// No storage policy has this index (400).
    #[error("no storage policy {0}")]
    UnknownPolicy(u32),
    /// Too few nodes did it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a container's or account's metadata was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostMetaError {
    /// No such container or account (404).
    #[error("not found")]
    NotFound,
    /// Too few nodes did it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a container was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteContainerError {
    /// No such container (404).
    #[error("not found")]
    NotFound,
    /// It holds objects (409).
    #[error("the container is not empty")]
    NotEmpty,
    /// Too few nodes did it.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a listing, or the info of a container or account, was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// No such container or account (404).
    #[error("not found")]
    NotFound,
    /// Too few nodes answered.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
