//! What reconciliation asks of a device: sums, names, copies of records for
//! other replicas, and to take or forget names.
//!
//! Called by the object server's `reconcile` duty and, across the network, by
//! that of other nodes. Which device should have what is not known here.
use virga_disk::aside::Aside;
use virga_disk::batch::record::{Kind as RecordKind, NewRecord};
use virga_disk::kv::cursor::Bounds;
use virga_disk::threads::Threads;
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::{NameState, NamesPage, NamesRequest, Push, Records, Sum};
use virga_object_wire::node::Body;
use virga_object_wire::object::{At, ObjectStat, PutObject, Source};
use virga_object_wire::posted::Posted;
use virga_ring::Partition;

use crate::change::Change;
use crate::device::{Device, device_failed};
use crate::digest::state;
use crate::entry::{Entry, Kind, Post, Winner};
use crate::keys::{self, NameKey};
use crate::mutate::{encode, from, head, invalid, judge, update_record};
use crate::read::{FOLLOW, Miss};
use crate::record::{Facts, TombstoneHead};

/// Entries looked at for one page of names: a call stays short although few of
/// a partition's names lie in the buckets that are asked for.
const LOOK_AT: usize = 8192;
/// Most names in one page.
const NAMES: usize = 1000;

/// What a replica lacks of a name, as this device holds it.
pub struct Copy {
    /// The object, with its own metadata whatever was posted later.
    pub object: Option<(PutObject, Body)>,
    /// The deletion, if that is what is known.
    pub deletion: Option<Push>,
    /// The newest metadata update.
    pub post: Option<Push>,
}

impl Device {
    /// Sums of partitions, zero for one without names.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub async fn sums(&self, policy: u32, partitions: Vec<Partition>) -> Result<Vec<Sum>, NodeError> {
        self.on_index(move |device| device.index().sums(policy, &partitions))
            .await
    }

    /// Partitions of a policy's ring that hold anything here, with their sums.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub async fn held(&self, policy: u32) -> Result<Vec<(Partition, Sum)>, NodeError> {
        self.on_index(move |device| device.index().held(policy)).await
    }

    /// Sums of the buckets of a partition that hold anything, by bucket.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub async fn bucket_sums(&self, policy: u32, partition: Partition) -> Result<Vec<(u8, Sum)>, NodeError> {
        self.on_index(move |device| device.index().digests(policy, partition))
            .await
    }

    /// What is known of the names in a partition, in order of their hash.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub async fn names(&self, wanted: NamesRequest) -> Result<NamesPage, NodeError> {
        self.on_index(move |device| device.page(&wanted)).await
    }

    /// Looks something up in the index where that may wait.
    async fn on_index<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Self) -> Result<T, virga_disk::kv::KvError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let device = self.clone();
        let found = self.reader().pool().run(move || look(&device)).await;
        found
            .map_err(device_failed)?
            .map_err(|error| self.index_failed(&error))
    }

    fn page(&self, wanted: &NamesRequest) -> Result<NamesPage, virga_disk::kv::KvError> {
        let prefix = keys::partition(wanted.policy, wanted.partition);
        let mut cursor = self.index().cursor(keys::OBJ, Bounds::prefix(prefix))?;
        match wanted.after {
            None => cursor.first(),
            Some(after) => {
                let last = NameKey::new(wanted.policy, wanted.partition, after);
                cursor.seek(&last.0);
                if cursor.current()?.is_some_and(|(key, _)| key == last.0) {
                    cursor.step();
                }
            }
        }
        let limit = usize::try_from(wanted.limit).unwrap_or(NAMES).clamp(1, NAMES);
        let mut page = NamesPage::default();
        let mut looked = 0;
        while let Some((key, value)) = cursor.current()? {
            let damaged = || virga_disk::kv::KvError::Damaged("a name cannot be read".into());
            let name = NameKey::parse(key).ok_or_else(damaged)?;
            if wanted.buckets.contains(name.hash().0[15]) {
                let entry = Entry::decode(value).map_err(|_| damaged())?;
                page.names.push(state(&name, &entry));
            }
            looked += 1;
            cursor.step();
            if page.names.len() >= limit || looked >= LOOK_AT {
                // The end of the partition may be here; an empty page says so.
                page.upto = Some(name.hash());
                break;
            }
        }
        Ok(page)
    }

    /// The records of a name for another replica: the data or deletion if
    /// `data`, the metadata update if `post`. `None` if the name is no longer as
    /// `known` says: what it is now is found later.
    ///
    /// # Errors
    /// `Damaged` if a record is (it is set aside), `Device` if the device fails.
    pub async fn copy_for_replica(
        &self,
        name: &NameKey,
        known: &NameState,
        data: bool,
        post: bool,
    ) -> Result<Option<Copy>, NodeError> {
        for _ in 0..FOLLOW {
            let entry = self.entry(name).await?;
            let Some(entry) = entry.filter(|entry| state(name, entry) == *known) else {
                return Ok(None);
            };
            match self.copy_of(name, &entry, data, post).await {
                Ok(copy) => return Ok(Some(copy)),
                Err(Miss::Moved) => {}
                Err(Miss::Failed(error)) => return Err(error),
            }
        }
        Err(NodeError::Busy)
    }

    async fn copy_of(&self, name: &NameKey, entry: &Entry, data: bool, post: bool) -> Result<Copy, Miss> {
        let mut copy = Copy {
            object: None,
            deletion: None,
            post: None,
        };
        match entry.winner.as_ref().filter(|_| data) {
            Some(winner) if winner.kind == Kind::Tombstone => {
                copy.deletion = Some(self.deletion_of(name, winner).await?);
            }
            Some(winner) => copy.object = Some(self.object_of(name, entry, winner).await?),
            None => {}
        }
        if let Some(post) = entry.post.as_ref().filter(|_| post) {
            copy.post = Some(self.post_of(name, post).await?);
        }
        Ok(copy)
    }

    async fn object_of(
        &self,
        name: &NameKey,
        entry: &Entry,
        winner: &Winner,
    ) -> Result<(PutObject, Body), Miss> {
        // The update travels by itself, under its own version.
        let bare = Entry {
            post: None,
            ..entry.clone()
        };
        let read = match winner.kind {
            Kind::Commit => self.read_extents(name, &bare, winner, None).await?,
            _ => self.read_whole(name, &bare, winner, None).await?,
        };
        Ok((self.as_put(name, read.stat)?, read.body))
    }

    /// An object as another replica is sent it.
    fn as_put(&self, name: &NameKey, bare: ObjectStat) -> Result<PutObject, NodeError> {
        let row_owed = self.owes(name, bare.version)?;
        Ok(PutObject {
            version: bare.version,
            size: bare.size,
            blake3: bare.blake3,
            meta: bare.meta,
            handoff_for: None,
            source: Source::Replica { row_owed },
        })
    }

    /// The records of a name as they were written, without bytes.
    ///
    /// # Errors
    /// `Damaged` if a record is (it is set aside), `Device` if the device fails.
    pub async fn records(&self, at: &At) -> Result<Records, NodeError> {
        let name = NameKey::of(at);
        for _ in 0..FOLLOW {
            let Some(entry) = self.entry(&name).await? else {
                return Ok(Records::default());
            };
            match self.records_of(&name, &entry).await {
                Ok(records) => return Ok(records),
                Err(Miss::Moved) => {}
                Err(Miss::Failed(error)) => return Err(error),
            }
        }
        Err(NodeError::Busy)
    }

    async fn records_of(&self, name: &NameKey, entry: &Entry) -> Result<Records, Miss> {
        let mut records = Records::default();
        match &entry.winner {
            Some(winner) if winner.kind == Kind::Tombstone => {
                records.deletion = Some(self.deletion_of(name, winner).await?);
            }
            Some(winner) => {
                let bare = Entry {
                    post: None,
                    ..entry.clone()
                };
                let stat = self.stat_of(name, &bare, winner).await?;
                records.object = Some(self.as_put(name, stat)?);
            }
            None => {}
        }
        if let Some(post) = &entry.post {
            records.post = Some(self.post_of(name, post).await?);
        }
        Ok(records)
    }

    async fn deletion_of(&self, name: &NameKey, winner: &Winner) -> Result<Push, Miss> {
        Ok(Push::Deletion {
            version: winner.version,
            path: self.tombstone_path(name, winner.place).await?,
            row_owed: self.owes(name, winner.version)?,
        })
    }

    async fn post_of(&self, name: &NameKey, post: &Post) -> Result<Push, Miss> {
        Ok(Push::Post {
            update: self.update(name, post).await?,
            row_owed: self.owes(name, post.rank.version)?,
        })
    }

    /// Whether the container's row of this version is still owed.
    fn owes(&self, name: &NameKey, version: Version) -> Result<bool, NodeError> {
        self.index()
            .owes(&keys::work(name, version))
            .map_err(|error| self.index_failed(&error))
    }

    /// Takes a deletion or a metadata update that another replica has.
    ///
    /// # Errors
    /// `Ahead`, `Full`, `Invalid`, `Device`; not that something newer is here.
    pub async fn push(&self, at: &At, push: Push) -> Result<(), NodeError> {
        let name = NameKey::of(at);
        match push {
            Push::Deletion {
                version,
                path,
                row_owed,
            } => {
                self.condition().admit_delete()?;
                let entry = self.entry(&name).await?;
                if entry.is_some_and(|entry| entry.outranks(version, &[0; 32])) {
                    return Ok(());
                }
                self.check_clock(version)?;
                let source = Source::Replica { row_owed };
                let meta = encode(Facts::default(), &TombstoneHead { path })?;
                let head = head(RecordKind::Tombstone, &name, version, 0, [0; 32]);
                let record = NewRecord::new(from(source, head), meta, bytes::Bytes::new());
                let record = record.map_err(invalid)?;
                judge(self.write_hot(record).await?, version, source)
            }
            Push::Post { update, row_owed } => {
                self.condition().admit_data()?;
                self.check_clock(update.version)?;
                let source = Source::Replica { row_owed };
                for _ in 0..FOLLOW {
                    let entry = self.entry(&name).await?.unwrap_or_default();
                    match self.joined(&name, &entry, &update).await {
                        Ok(None) => return Ok(()),
                        Ok(Some(joined)) => {
                            let record = update_record(&name, &joined, source)?;
                            return judge(self.write_hot(record).await?, joined.version, source);
                        }
                        Err(Miss::Moved) => {}
                        Err(Miss::Failed(error)) => return Err(error),
                    }
                }
                Err(NodeError::Busy)
            }
        }
    }

    /// What is to be written of an update that another replica has: it, or it and
    /// the one that is here in one. `None` if nothing of it is new.
    async fn joined(&self, name: &NameKey, entry: &Entry, update: &Posted) -> Result<Option<Posted>, Miss> {
        let rank = update.rank();
        if !rank.outlives(entry.data_version()) {
            return Ok(None);
        }
        let Some(here) = &entry.post else {
            return Ok(Some(update.clone()));
        };
        if here.rank >= rank && !rank.has_newer_type(&here.rank) {
            return Ok(None);
        }
        if !here.rank.has_newer_type(&rank) && rank > here.rank {
            return Ok(Some(update.clone()));
        }
        Ok(Some(self.update(name, here).await?.joined(update.clone())))
    }

    /// Forgets names that are still as `known` says, because those whom they
    /// belong to have them; says how many. Their records are dead from then on.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub async fn forget(
        &self,
        policy: u32,
        partition: Partition,
        known: Vec<NameState>,
    ) -> Result<u64, NodeError> {
        self.on_index(move |device| device.forget_blocking(policy, partition, &known))
            .await
    }

    fn forget_blocking(
        &self,
        policy: u32,
        partition: Partition,
        known: &[NameState],
    ) -> Result<u64, virga_disk::kv::KvError> {
        let mut lock = self.index().lock();
        let mut change = Change::new(self.index());
        let mut forgotten = 0;
        for known in known {
            let name = NameKey::new(policy, partition, known.hash);
            let entry = change.entry(&name)?;
            let Some(old) = entry.filter(|entry| state(&name, entry) == *known) else {
                continue;
            };
            // Who has the record owes the row as well, or it is settled.
            let data = known.data.map(|data| data.rank.version);
            let post = known.post.map(|post| post.version);
            for version in data.into_iter().chain(post) {
                change.forget(&keys::work(&name, version));
            }
            change.replace(name, Some(&old), None);
            forgotten += 1;
        }
        lock.write(change.finish(), 0)?;
        Ok(forgotten)
    }

    /// Copies an object to the folder `stale` and forgets it: its deletion may
    /// have been forgotten everywhere. False if the name has changed.
    ///
    /// # Errors
    /// `Damaged`, and `Device` if the copy cannot be written: the object then
    /// stays.
    pub async fn set_stale_aside(&self, at: &At, known: &NameState) -> Result<bool, NodeError> {
        use futures_util::StreamExt;
        let name = NameKey::of(at);
        let Some(copy) = self.copy_for_replica(&name, known, true, true).await? else {
            return Ok(false);
        };
        let Some((put, mut body)) = copy.object else {
            return Ok(false);
        };
        let line = describe(at, &put, copy.post.as_ref());
        let file_name = format!("{}-{}-{:016x}", at.policy, at.hash, put.version.0);
        let folder = self.folder().cloned();
        let folder = folder.ok_or_else(|| device_failed("there is no folder to set objects aside in"))?;
        let threads = self.threads();
        let mut aside = blocking(threads, move || folder.set_aside(&file_name, &line)).await?;
        while let Some(piece) = body.next().await {
            let bytes = piece?.into_data();
            aside = blocking(threads, move || append(aside, &bytes)).await?;
        }
        blocking(threads, move || aside.finish()).await?;
        tracing::warn!(
            device = &**self.name(),
            path = put.meta.path,
            version = put.version.to_timestamp(),
            "an object whose deletion may have been forgotten is set aside"
        );
        Ok(self.forget(at.policy, at.partition, vec![*known]).await? > 0)
    }

    /// Objects of a policy in the folder `stale`.
    pub fn set_aside_count(&self, policy: u32) -> u64 {
        let prefix = format!("{policy}-");
        let count = self.folder().map(|folder| folder.set_aside_count(&prefix));
        count.and_then(Result::ok).unwrap_or(0)
    }
}

fn append(mut aside: Aside, bytes: &[u8]) -> std::io::Result<Aside> {
    aside.write(bytes)?;
    Ok(aside)
}

async fn blocking<T: Send + 'static>(
    threads: &Threads,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, NodeError> {
    let done = threads.run(work).await;
    done.map_err(device_failed)?.map_err(device_failed)
}

/// The first line of an object set aside, for people.
fn describe(at: &At, put: &PutObject, post: Option<&Push>) -> String {
    let header = |(name, value): &(String, String)| format!("{name}: {value}");
    let mut headers: Vec<_> = put
        .meta
        .headers
        .iter()
        .chain(&put.meta.sysmeta)
        .map(header)
        .collect();
    if let Some(Push::Post { update, .. }) = post {
        let posted = &update.meta.headers;
        headers = put.meta.sysmeta.iter().chain(posted).map(header).collect();
    }
    format!(
        "{:?} version {} size {} type {:?} etag {:?} policy {} partition {} blake3 {} headers {headers:?}",
        put.meta.path,
        put.version.to_timestamp(),
        put.size,
        put.meta.content_type,
        put.meta.etag,
        at.policy,
        at.partition,
        blake3::Hash::from_bytes(put.blake3),
    )
}
