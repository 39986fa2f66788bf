//! The core of the object proxy: everything between a dialect and the nodes.
//!
//! A dialect (Swift, later S3) turns a request into names and values and calls
//! [`Core`]: where replicas lie, how many must answer, what is done when one
//! is dead, slow, stale or damaged, how listings of two replicas are merged,
//! how large objects are put together. Everything said here holds after any
//! one of three replicas fails: an acknowledged write is on a quorum and is
//! seen by every later read and listing.
//!
//! The core knows no HTTP, no users and no permissions, and opens no sockets:
//! it calls nodes through [`virga_object_wire::node::Nodes`].
mod accounts;
mod body;
mod changes;
mod containers;
mod digest;
mod error;
mod fanout;
mod found;
mod gather;
mod get;
mod heal;
mod health;
mod hedge;
mod hold;
mod info_cache;
mod infos;
mod listing;
pub mod manifest;
mod names;
mod objects;
mod open;
mod peer;
mod place;
mod prove;
mod put;
mod quorum;
mod reading;
mod renew;
mod rows;
pub mod sealing;
mod settings;
mod settle;
mod shared;
mod upload;
mod write_back;

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Semaphore;
use virga_node::clock::{Hlc, Version};
use virga_node::task::Tasks;
use virga_object_wire::exchange::RingExchange;
use virga_object_wire::movement::RingName;
use virga_object_wire::node::Nodes;
use virga_object_wire::object::{Header, Listed, ObjectStat};
use virga_ring::{HashPath, RingHandle};

use self::place::Placement;
use self::shared::Shared;

pub use self::body::ObjectBody;
pub use self::changes::RingChange;
pub use self::error::{
    BodyError, BodyReadError, DeleteContainerError, DeleteObjectError, ListError, PostMetaError,
    PostObjectError, ProveError, PutContainerError, PutObjectError, ReadObjectError, SegmentError,
    Unavailable,
};
pub use self::hold::HeldName;
pub use self::listing::Listing;
pub use self::names::{AccountName, BadName, ContainerName, ObjectName};
pub use self::reading::ContainerForReading;
pub use self::settings::{Affinity, Settings};

/// The rings of a cluster and the secret its names are hashed with.
pub struct Rings {
    /// Hash of names.
    pub hash: HashPath,
    /// Where accounts lie.
    pub account: Arc<RingHandle>,
    /// Where containers lie.
    pub container: Arc<RingHandle>,
    /// Where objects lie, by storage policy index.
    pub object: Vec<(u32, Arc<RingHandle>)>,
}

/// What a [`Core`] is made of.
pub struct CoreParts {
    /// Placement.
    pub rings: Rings,
    /// The nodes.
    pub nodes: Arc<dyn Nodes>,
    /// Versions.
    pub hlc: Arc<Hlc>,
    /// Where background work runs.
    pub tasks: Tasks,
    /// Bounds and waits.
    pub settings: Settings,
}

/// An object to be stored.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// MIME type.
    pub content_type: String,
    /// User metadata and what a POST replaces, names in lower case.
    pub headers: Vec<Header>,
    /// What the dialect stores for itself and a POST never touches.
    pub sysmeta: Vec<Header>,
    /// Unix time in seconds from which on the object is gone.
    pub delete_at: Option<u64>,
    /// Size and ETag that the listing shows instead of the body's own.
    pub listed: Option<Listed>,
    /// Length announced (`Content-Length`); a body of another length is refused.
    pub expected_size: Option<u64>,
    /// Hex MD5 announced (`ETag`), lower case; other bytes are refused.
    pub expected_etag: Option<String>,
    /// Largest body allowed, bytes.
    pub max_size: u64,
    /// Version asked for (`X-Timestamp`): never restamped.
    pub version: Option<Version>,
    /// Seal it, with whose key; what its container asks for where this is `None`.
    pub seal: Option<sealing::Seal>,
    /// Store only if there is no such object (`If-None-Match: *`). Looked up
    /// before the first byte of the body is read, and again when all of it is here
    /// and no other conditional write of the name is under way in any proxy.
    pub if_none_match_any: bool,
    /// What is to be stored with it beside the above and is known only when the
    /// body has ended.
    pub at_end: Option<AtEnd>,
}

/// What is stored with an object and known only when its body has ended, as
/// checksums in trailers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Joins [`NewObject::sysmeta`].
    pub sysmeta: Vec<Header>,
    /// Replaces [`NewObject::listed`].
    pub listed: Option<Listed>,
}

/// Tells the [`Ending`] from the ETag (hex MD5) and the number of all bytes.
type Told = dyn Fn(&str, u64) -> Ending + Send + Sync;

/// Asked for the [`Ending`] once all bytes are here.
#[derive(Clone)]
pub struct AtEnd(Arc<Told>);

impl AtEnd {
    /// Asks `told`, which must not wait for anything.
    pub fn new(told: impl Fn(&str, u64) -> Ending + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }
}

impl std::fmt::Debug for AtEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AtEnd")
    }
}

impl NewObject {
    /// An object of this type with no metadata, no expectations and no limit.
    pub fn new(content_type: impl Into<String>) -> Self {
        Self {
            content_type: content_type.into(),
            headers: Vec::new(),
            sysmeta: Vec::new(),
            delete_at: None,
            listed: None,
            expected_size: None,
            expected_etag: None,
            max_size: u64::MAX,
            version: None,
            seal: None,
            if_none_match_any: false,
            at_end: None,
        }
    }
}

/// An object that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Hex MD5 of the bytes.
    pub etag: String,
    /// Version it got.
    pub version: Version,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the bytes.
    pub blake3: [u8; 32],
}

/// Which bytes of an object are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wanted {
    /// All of them.
    #[default]
    All,
    /// From this offset to the end ("bytes=5-").
    From(u64),
    /// `start..end`, end exclusive; cut at the object's end ("bytes=5-9" is 5, 10).
    Span(u64, u64),
    /// The last so many ("bytes=-5").
    Last(u64),
}

impl Wanted {
    /// The bytes of an object of `size` bytes that this means; empty when the
    /// range lies beyond the end (416).
    pub fn within(self, size: u64) -> Range<u64> {
        match self {
            Self::All => 0..size,
            Self::From(start) => start.min(size)..size,
            Self::Span(start, end) => {
                let end = end.min(size);
                start.min(end)..end
            }
            Self::Last(n) => size.saturating_sub(n)..size,
        }
    }
}

/// How an object is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GetOptions {
    /// Which bytes.
    pub wanted: Wanted,
    /// Ask every replica for its version, not just a quorum (`X-Newest`).
    pub newest: bool,
}

/// An object being read.
#[derive(Debug)]
pub struct GotObject {
    /// Its head: newest metadata known to the replicas that were asked.
    pub stat: ObjectStat,
    /// The bytes that the body delivers; empty when the wanted range lies
    /// beyond the end.
    pub range: Range<u64>,
    /// The bytes, verified, cut to `range`.
    pub body: ObjectBody,
}

/// What a DELETE did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletedObject {
    /// Version of the deletion.
    pub version: Version,
    /// Whether there was an object (if not: 404).
    pub existed: bool,
}

/// Metadata to set on a container or account: name in lower case, and value;
/// an empty value removes the item.
pub type MetaChange = (String, String);

/// The proxy's view of the cluster; see the module. Cheap to clone.
#[derive(Clone)]
pub struct Core {
    shared: Arc<Shared>,
    opener: sealing::Opener,
    /// Whether objects are there for it whose time is over.
    expired_too: bool,
}

impl Core {
    /// Puts the parts together. Starts no task before the first request.
    pub fn new(parts: CoreParts) -> Self {
        let CoreParts {
            rings,
            nodes,
            hlc,
            tasks,
            settings,
        } = parts;
        let listings = [
            (RingName::Account, Arc::clone(&rings.account)),
            (RingName::Container, Arc::clone(&rings.container)),
        ];
        let by_policy = rings.object.iter();
        let by_policy = by_policy.map(|(policy, ring)| (RingName::Object(*policy), Arc::clone(ring)));
        let exchange = RingExchange::new(Arc::clone(&nodes), listings.into_iter().chain(by_policy));
        let mut objects: Vec<_> = rings
            .object
            .into_iter()
            .map(|(policy, ring)| {
                let own = settings.policy_affinity.get(&policy);
                let affinity = own.unwrap_or(&settings.affinity).clone();
                (policy, Placement::new(ring, RingName::Object(policy), affinity))
            })
            .collect();
        objects.sort_by_key(|(policy, _)| *policy);
        let shared = Shared {
            nodes,
            hlc,
            tasks,
            hash: rings.hash,
            accounts: Placement::new(rings.account, RingName::Account, settings.affinity.clone()),
            containers: Placement::new(rings.container, RingName::Container, settings.affinity.clone()),
            objects,
            health: peer::NodeHealth::default(),
            background: Arc::new(Semaphore::new(settings.background)),
            hashing: digest::Hashing::new(settings.hash_inline),
            hedge: hedge::Hedge::new(settings.hedge),
            infos: info_cache::Infos::new(settings.info_ttl, settings.info_entries),
            rows: rows::Rows::default(),
            settler: settle::Settler::default(),
            healing: heal::Healing::default(),
            changes: changes::Changes::default(),
            renewal: renew::Renewal::new(exchange),
            proofs: Semaphore::new(prove::AT_ONCE),
            settings,
        };
        Self {
            shared: Arc::new(shared),
            opener: sealing::Opener::default(),
            expired_too: false,
        }
    }

    /// The same core, for which objects are there too that have expired and are
    /// not deleted yet: it reads them, and a POST to them may make them last.
    #[must_use]
    pub fn opening_expired(&self) -> Self {
        Self {
            expired_too: true,
            ..self.clone()
        }
    }

    /// The clock of versions (`X-Timestamp` of answers).
    pub fn hlc(&self) -> &Arc<Hlc> {
        &self.shared.hlc
    }

    /// Reads of objects so far whose answer could not be made certain: fewer
    /// replicas than a quorum know it, so that a later read, which asks others,
    /// may show something older. See decision 10.
    pub fn uncertain_reads(&self) -> u64 {
        self.shared.healing.uncertain_reads()
    }

    /// Indexes of the storage policies this proxy has rings for, ascending.
    pub fn policies(&self) -> Vec<u32> {
        self.shared.objects.iter().map(|(policy, _)| *policy).collect()
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}
