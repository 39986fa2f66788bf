//! Small mutations: PUT of up to one extent, POST, DELETE.
//!
//! Each asks the index whether it would win, writes one record to the `hot`
//! log and is answered when that is durable and applied. Larger objects come
//! through [`crate::put_stream`].
use bytes::Bytes;
use virga_disk::batch::record::{Head, Kind as RecordKind, NewRecord};
use virga_disk::threads::Threads;
use virga_node::clock::Version;
use virga_object_wire::checked::{Checked, EXTENT, Hashed};
use virga_object_wire::error::NodeError;
use virga_object_wire::object::{At, Deleted, ObjectStat, PostMeta, PutObject, Source};
use virga_object_wire::posted::Posted;

use crate::apply::{Fate, Outcome};
use crate::device::Device;
use crate::entry::{Entry, Kind};
use crate::keys::NameKey;
use crate::read::BEFORE_ALL;
use crate::record::{self, Basis, Facts, TombstoneHead};

/// Bodies longer than this are hashed on a thread that may block: a worker of
/// the runtime is not kept from its sockets for more than some 20 us.
const HASH_INLINE: usize = 64 * 1024;
/// Longest metadata of one record in bytes, encoded.
pub(crate) const MAX_OBJECT_META: usize = 64 * 1024;

impl Device {
    /// Stores an object of at most [`EXTENT`] bytes.
    ///
    /// # Errors
    /// `Newer` if newer data or a newer deletion is here; `Garbled` if body, checksums and
    /// hash do not agree; `Full`, `Ahead`, `Invalid`, `Device`.
    pub async fn put(&self, at: &At, put: PutObject, body: Checked) -> Result<(), NodeError> {
        if body.len() > EXTENT || body.len() as u64 != put.size {
            return Err(NodeError::Invalid(format!(
                "{} bytes for a size of {}",
                body.len(),
                put.size
            )));
        }
        let name = NameKey::of(at);
        if self.admit_put(&name, &put).await? {
            return Ok(());
        }
        verify(self.threads(), &body, put.blake3).await?;
        let facts = Facts {
            delete_at: put.meta.delete_at,
            handoff_for: put.handoff_for,
        };
        let meta = encode(facts, &put.meta)?;
        let head = head(RecordKind::Object, &name, put.version, put.size, put.blake3);
        let crcs = body.crcs().to_vec();
        let head = from(put.source, head);
        let record = NewRecord::with_crcs(head, meta, body.into_data(), crcs).map_err(invalid)?;
        judge(self.write_hot(record).await?, put.version, put.source)
    }

    /// What must hold before any record of a PUT is written. `Ok(true)` says
    /// that this very object is here already.
    pub(crate) async fn admit_put(&self, name: &NameKey, put: &PutObject) -> Result<bool, NodeError> {
        self.condition().admit_data()?;
        self.check_clock(put.version)?;
        let Some(entry) = self.entry(name).await? else {
            return Ok(false);
        };
        if let Some(winner) = entry.object()
            && (winner.version, winner.blake3) == (put.version, put.blake3)
        {
            return Ok(true);
        }
        if put.source != Source::Client {
            return Ok(entry.outranks(put.version, &put.blake3));
        }
        // Another write of the same version, from another proxy: replicas would
        // agree on one by the hash, but the container's row cannot know which.
        // Whoever came second is stamped anew. Metadata updates do not stand in
        // the way: they belong to the data that this is newer than.
        if entry.data_version() >= put.version {
            return Err(NodeError::Newer(entry.data_version()));
        }
        Ok(false)
    }

    /// Replaces the metadata of an object that exists.
    ///
    /// # Errors
    /// `NotFound` without an object, `Newer` if its metadata is newer, and as
    /// for [`Device::put`].
    pub async fn post(&self, at: &At, version: Version, meta: PostMeta) -> Result<ObjectStat, NodeError> {
        self.post_as_of(at, version, meta, self.now_secs()).await
    }

    /// The same to an object that has expired too.
    ///
    /// # Errors
    /// As [`Device::post`].
    pub async fn post_expired_too(
        &self,
        at: &At,
        version: Version,
        meta: PostMeta,
    ) -> Result<ObjectStat, NodeError> {
        self.post_as_of(at, version, meta, BEFORE_ALL).await
    }

    async fn post_as_of(
        &self,
        at: &At,
        version: Version,
        meta: PostMeta,
        now_secs: u64,
    ) -> Result<ObjectStat, NodeError> {
        self.condition().admit_data()?;
        self.check_clock(version)?;
        let name = NameKey::of(at);
        let before = self.seen(&name, now_secs).await?.ok_or(NodeError::NotFound)?;
        let mut stat = before.stat;
        if stat.meta_version >= version {
            let same = before.posted.is_some_and(|post| post.is_of(version, &meta));
            return if same {
                Ok(stat)
            } else {
                Err(NodeError::Newer(stat.meta_version))
            };
        }
        // What an earlier POST set as the type stays, though its record will be
        // dropped. Never the type that came with the data: this replica may have
        // missed newer data, and that brings its own.
        let update = Posted::asked(version, meta, stat.version, before.posted);
        let record = update_record(&name, &update, Source::Client)?;
        judge(self.write_hot(record).await?, version, Source::Client)?;
        stat.meta_version = version;
        stat.type_version = update.typed.max(stat.type_version);
        record::merge_post(&mut stat.meta, update.meta);
        Ok(stat)
    }

    /// Marks an object deleted, whether or not this device has heard of it.
    ///
    /// # Errors
    /// `Newer` if newer data or a newer deletion is here, and as for [`Device::put`]; `Full`
    /// only when the room for deletions is used up too.
    pub async fn delete(&self, at: &At, version: Version, path: &str) -> Result<Deleted, NodeError> {
        self.condition().admit_delete()?;
        self.check_clock(version)?;
        let name = NameKey::of(at);
        let now = self.now_secs();
        if let Some(entry) = self.entry(&name).await? {
            let deleted = entry.winner.as_ref().is_some_and(|w| w.kind == Kind::Tombstone);
            if deleted && entry.data_version() == version {
                return Ok(Deleted {
                    existed: false,
                    before: Version(0),
                });
            }
            if entry.data_version() >= version {
                return Err(NodeError::Newer(entry.data_version()));
            }
        }
        let meta = encode(
            Facts::default(),
            &TombstoneHead {
                path: path.to_owned(),
            },
        )?;
        let head = head(RecordKind::Tombstone, &name, version, 0, [0; 32]);
        let record = NewRecord::new(head, meta, Bytes::new()).map_err(invalid)?;
        let outcome = self.write_hot(record).await?;
        judge(outcome, version, Source::Client)?;
        Ok(Deleted {
            existed: outcome.existed && outcome.expiry.is_none_or(|at| at > now),
            before: outcome.before,
        })
    }
}

/// The fixed fields of a record of `name`.
pub(crate) fn head(kind: RecordKind, name: &NameKey, version: Version, size: u64, blake3: [u8; 32]) -> Head {
    Head {
        kind,
        policy: name.policy(),
        partition: name.partition().0,
        key: name.hash().0,
        version: version.0,
        size,
        blake3,
        settled: false,
    }
}

/// The same, by who sends the record: a copy from a replica that owes no row
/// makes nobody owe one.
pub(crate) fn from(source: Source, head: Head) -> Head {
    Head {
        settled: source == Source::Replica { row_owed: false },
        ..head
    }
}

/// Encodes metadata within its bound.
pub(crate) fn encode(facts: Facts, head: &impl serde::Serialize) -> Result<Bytes, NodeError> {
    bounded(record::encode(facts, head).map_err(invalid)?)
}

fn bounded(meta: Vec<u8>) -> Result<Bytes, NodeError> {
    if meta.len() > MAX_OBJECT_META {
        return Err(NodeError::Invalid(format!("{} bytes of metadata", meta.len())));
    }
    Ok(meta.into())
}

/// The record of a metadata update.
pub(crate) fn update_record(name: &NameKey, update: &Posted, source: Source) -> Result<NewRecord, NodeError> {
    let facts = Facts {
        delete_at: update.meta.delete_at,
        handoff_for: None,
    };
    let basis = Basis {
        over: update.over,
        typed: update.typed,
    };
    let meta = bounded(record::encode_update(facts, basis, &update.meta).map_err(invalid)?)?;
    let head = head(RecordKind::Meta, name, update.version, 0, update.blake3);
    NewRecord::new(from(source, head), meta, Bytes::new()).map_err(invalid)
}

/// From what applying said to the caller's answer.
pub(crate) fn judge(outcome: Outcome, asked: Version, source: Source) -> Result<(), NodeError> {
    match outcome.fate {
        // Both were admitted before either was here ([`Device::admit_put`]).
        Fate::Adopted if outcome.tied && source == Source::Client => {
            Err(NodeError::Newer(outcome.newest.max(asked)))
        }
        Fate::Adopted | Fate::Same => Ok(()),
        // What another replica has is merged, and so it was.
        Fate::Overtaken if source != Source::Client => Ok(()),
        Fate::Overtaken => Err(NodeError::Newer(outcome.newest.max(asked))),
    }
}

pub(crate) fn invalid(error: impl ToString) -> NodeError {
    NodeError::Invalid(error.to_string())
}

/// Checks a body against its checksums and its hash.
async fn verify(threads: &Threads, body: &Checked, blake3: [u8; 32]) -> Result<(), NodeError> {
    let good = move |body: &Checked| body.verify().is_ok() && *blake3::hash(body.data()).as_bytes() == blake3;
    let fine = if body.hashed() == Some(Hashed::Object(blake3)) {
        // The proxy in this process hashed these very bytes for this hash.
        body.verify().is_ok()
    } else if body.len() <= HASH_INLINE {
        good(body)
    } else {
        let body = body.clone();
        threads.run(move || good(&body)).await.map_err(invalid)?
    };
    if fine { Ok(()) } else { Err(NodeError::Garbled) }
}

/// Whether an entry is an object a reader may see at `now_secs`.
pub(crate) fn visible(entry: &Entry, now_secs: u64) -> bool {
    entry.object().is_some() && !entry.expired(now_secs)
}
