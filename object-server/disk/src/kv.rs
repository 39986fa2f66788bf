//! A thin, safe door to `RocksDB`: named families, atomic batches, bounded cursors.
//!
//! Used by the object store for its derived index (no WAL: the segment log is one) and by the container store
//! (WAL on, synced). Keys, values and what a merge means are the caller's; nothing of `RocksDB` shows outside.

mod ballast;
pub mod cursor;
mod shadow;
mod soundness;

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    ErrorKind, FlushOptions, LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
};

use cursor::{Bounds, Cursor};
use shadow::Shadow;
use soundness::Soundness;

/// Share of a memtable that its filter takes.
const MEMTABLE_FILTER: f64 = 0.02;

/// Name of a column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Family(pub &'static str);

/// Folds operands into a value. It must be associative: operands are also folded among themselves, with no value
/// before them. None means the bytes make no sense, and reads of the key then fail.
pub type Merge = fn(Option<&[u8]>, &mut dyn Iterator<Item = &[u8]>) -> Option<Vec<u8>>;

/// A family to open, and what it needs.
#[derive(Clone, Copy, Debug)]
pub struct FamilyOptions {
    /// Its name.
    pub family: Family,
    /// Its merge operator with a name that must never change on disk.
    pub merge: Option<(&'static str, Merge)>,
    /// Most lookups are for keys that are not there, as before a new name is written.
    pub often_missed: bool,
}

impl FamilyOptions {
    /// A family without a merge operator.
    #[must_use]
    pub fn plain(name: &'static str) -> FamilyOptions {
        FamilyOptions {
            family: Family(name),
            merge: None,
            often_missed: false,
        }
    }

    /// The same, with a filter before its memtables: a lookup that finds nothing then costs a few probes and no
    /// search. Takes a fiftieth of a memtable at once.
    #[must_use]
    pub fn often_missed(self) -> FamilyOptions {
        FamilyOptions {
            often_missed: true,
            ..self
        }
    }

    /// A family with a merge operator.
    #[must_use]
    pub fn merging(name: &'static str, operator: &'static str, merge: Merge) -> FamilyOptions {
        FamilyOptions {
            family: Family(name),
            merge: Some((operator, merge)),
            often_missed: false,
        }
    }
}

/// Whether a database keeps a log of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wal {
    /// None; after a crash the database is as of some earlier moment, the same for all families (atomic flush).
    Off,
    /// Kept; a synced write survives a crash.
    On,
}

/// A block cache shared by all databases of a process.
#[derive(Clone)]
pub struct KvCache(Cache);

impl KvCache {
    /// An LRU cache of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> KvCache {
        KvCache(Cache::new_lru_cache(bytes))
    }

    /// Bytes cached now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.get_usage()
    }
}

/// How a database is opened.
#[derive(Clone)]
pub struct KvOptions {
    /// Own log or not.
    pub wal: Wal,
    /// Cache to share.
    pub cache: KvCache,
    /// Bytes of one memtable; a family has up to three of them, and an idle family next to nothing.
    pub write_buffer: usize,
    /// Bytes of own log after which the oldest memtables are flushed; without effect when it is off.
    pub max_wal: u64,
}

impl KvOptions {
    /// 8 MiB memtables, 64 MiB of log.
    #[must_use]
    pub fn new(wal: Wal, cache: KvCache) -> KvOptions {
        KvOptions {
            wal,
            cache,
            write_buffer: 8 << 20,
            max_wal: 64 << 20,
        }
    }
}

/// Why the database refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KvError {
    /// Its files contradict themselves: an index is deleted and rebuilt, anything else repaired from peers.
    #[error("database is damaged: {0}")]
    Damaged(String),
    /// Another process has it open.
    #[error("database is in use: {0}")]
    Locked(String),
    /// No room on the device.
    #[error("no room for the database: {0}")]
    Full(String),
    /// The file system takes no writes.
    #[error("the file system of the database is read-only: {0}")]
    ReadOnly(String),
    /// A family that was not named at opening.
    #[error("database has no family {0}")]
    NoFamily(&'static str),
    /// Anything else.
    #[error("database failed: {0}")]
    Failed(String),
}

impl From<rocksdb::Error> for KvError {
    fn from(e: rocksdb::Error) -> KvError {
        let kind = e.kind();
        let text = e.into_string();
        match kind {
            ErrorKind::Corruption => KvError::Damaged(text),
            _ if text.contains("No space left") => KvError::Full(text),
            _ if text.contains("Read-only file system") => KvError::ReadOnly(text),
            // A file that the others name is gone.
            ErrorKind::IOError if text.contains("No such file or directory") => KvError::Damaged(text),
            _ if text.contains("lock") && text.contains("LOCK") => KvError::Locked(text),
            _ => KvError::Failed(text),
        }
    }
}

/// How sure a write is when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Visible; durable with a later flush or synced write.
    Buffered,
    /// On stable storage (own log, fsynced); only with [`Wal::On`].
    Synced,
}

/// An open database.
pub struct Kv {
    // Closed before the folder that it may be open through goes.
    db: DB,
    families: Vec<Family>,
    wal: Wal,
    path: PathBuf,
    soundness: Soundness,
    _shadow: Option<Shadow>,
}

impl Kv {
    /// Opens the database at `path`, creating it and its families if they are missing. On a file system that takes
    /// no writes it is opened as it is, and what is written to it lasts until it is closed. Some room is kept in the
    /// folder around it, for an opening when the file system is full.
    ///
    /// # Errors
    /// See [`KvError`]; one without own log in which damage was met is [`KvError::Damaged`].
    pub fn open(path: &Path, options: &KvOptions, families: &[FamilyOptions]) -> Result<Kv, KvError> {
        if Soundness::is_marked(path) {
            return Err(KvError::Damaged("damage was met while it was in use".into()));
        }
        let opened = match Self::open_at(path, None, options, families) {
            Err(KvError::Full(_)) if ballast::give(path) => Self::open_at(path, None, options, families),
            Err(KvError::ReadOnly(_)) => {
                let shadow = Shadow::of(path).map_err(|error| KvError::Failed(error.to_string()))?;
                return Self::open_at(path, Some(shadow), options, families);
            }
            opened => opened,
        }?;
        ballast::lay(path);
        Ok(opened)
    }

    /// Throws away what is at `path` and begins with nothing; on a file system that takes no writes, what is there
    /// stays, and what is written lasts until the database is closed.
    ///
    /// # Errors
    /// See [`KvError`].
    pub fn open_anew(path: &Path, options: &KvOptions, families: &[FamilyOptions]) -> Result<Kv, KvError> {
        let made = Self::destroy(path).and_then(|()| Self::open_at(path, None, options, families));
        match made {
            Err(KvError::ReadOnly(_)) => {
                let shadow = Shadow::empty().map_err(|error| KvError::Failed(error.to_string()))?;
                Self::open_at(path, Some(shadow), options, families)
            }
            made => made,
        }
    }

    fn open_at(
        path: &Path,
        shadow: Option<Shadow>,
        options: &KvOptions,
        families: &[FamilyOptions],
    ) -> Result<Kv, KvError> {
        let db_options = database_options(options);
        let plain = FamilyOptions::plain("default");
        let wanted = std::iter::once(&plain).chain(families);
        let descriptors: Vec<_> = wanted
            .map(|f| {
                let mut family = family_options(options, f);
                // It would copy the tables, little by little.
                family.set_disable_auto_compactions(shadow.is_some());
                ColumnFamilyDescriptor::new(f.family.0, family)
            })
            .collect();
        let place = shadow.as_ref().map_or(path, Shadow::path);
        let db = DB::open_cf_descriptors(&db_options, place, descriptors)?;
        let families = families.iter().map(|f| f.family).collect();
        Ok(Kv {
            db,
            families,
            wal: options.wal,
            path: path.to_owned(),
            soundness: Soundness::of((options.wal == Wal::Off && shadow.is_none()).then_some(path)),
            _shadow: shadow,
        })
    }

    /// Whether damage was met since it was opened.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.soundness.is_damaged()
    }

    /// Says that something in it makes no sense: one without own log is then damaged at its next opening.
    pub fn condemn(&self) {
        self.soundness.condemn();
    }

    /// Puts a closed database aside, so that another can be begun in its place; one put aside earlier goes. Says where
    /// it is now.
    ///
    /// # Errors
    /// See [`KvError`].
    pub fn set_aside(path: &Path) -> Result<PathBuf, KvError> {
        let failed = |error: std::io::Error| KvError::Failed(error.to_string());
        let aside = path.with_extension("damaged");
        Self::destroy(&aside)?;
        std::fs::rename(path, &aside).map_err(failed)?;
        crate::io::file::sync_dir(path.parent().unwrap_or(path)).map_err(failed)?;
        Ok(aside)
    }

    /// Deletes a closed database; a missing one is no error.
    ///
    /// # Errors
    /// See [`KvError`].
    pub fn destroy(path: &Path) -> Result<(), KvError> {
        match std::fs::remove_dir_all(path) {
            Err(e) if e.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                Err(KvError::ReadOnly(e.to_string()))
            }
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(KvError::Failed(e.to_string())),
            _ => Ok(()),
        }
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn handle(&self, family: Family) -> Result<&ColumnFamily, KvError> {
        self.db.cf_handle(family.0).ok_or(KvError::NoFamily(family.0))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// See [`KvError`].
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let value = self.db.get_cf(self.handle(family)?, key);
        value.map_err(|error| self.soundness.judge(error))
    }

    /// Shows the value of a key to `look` without copying it.
    ///
    /// # Errors
    /// See [`KvError`].
    pub fn get_with<T>(
        &self,
        family: Family,
        key: &[u8],
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, KvError> {
        let value = self.db.get_pinned_cf(self.handle(family)?, key);
        let value = value.map_err(|error| self.soundness.judge(error))?;
        Ok(value.map(|value| look(&value)))
    }

    /// The values of many keys, in the order of the keys.
    ///
    /// # Errors
    /// See [`KvError`]; the first failure fails all.
    pub fn multi_get<'k>(
        &self,
        family: Family,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        let keys: Vec<&[u8]> = keys.into_iter().collect();
        let found = self.db.batched_multi_get_cf(self.handle(family)?, &keys, false);
        found
            .into_iter()
            .map(|value| match value {
                Ok(value) => Ok(value.map(|v| v.to_vec())),
                Err(error) => Err(self.soundness.judge(error)),
            })
            .collect()
    }

    /// A cursor over the keys inside `bounds`, as of now, standing nowhere yet.
    ///
    /// # Errors
    /// [`KvError::NoFamily`].
    pub fn cursor(&self, family: Family, bounds: Bounds) -> Result<Cursor<'_>, KvError> {
        let mut options = ReadOptions::default();
        if let Some(lower) = bounds.lower {
            options.set_iterate_lower_bound(lower);
        }
        if let Some(upper) = bounds.upper {
            options.set_iterate_upper_bound(upper);
        }
        Ok(Cursor::new(
            self.db.raw_iterator_cf_opt(self.handle(family)?, options),
            &self.soundness,
        ))
    }

    /// An empty batch for this database.
    #[must_use]
    pub fn batch(&self) -> KvBatch<'_> {
        KvBatch {
            kv: self,
            inner: WriteBatch::default(),
            unknown: None,
        }
    }

    /// Writes a batch, all of it or nothing.
    ///
    /// # Errors
    /// See [`KvError`]; [`KvError::Failed`] for a synced write without own log.
    pub fn write(&self, batch: KvBatch<'_>, durability: Durability) -> Result<(), KvError> {
        if let Some(name) = batch.unknown {
            return Err(KvError::NoFamily(name));
        }
        let mut options = WriteOptions::default();
        match (self.wal, durability) {
            (Wal::Off, Durability::Synced) => {
                return Err(KvError::Failed(
                    "a synced write needs the log, which is off".into(),
                ));
            }
            (Wal::Off, Durability::Buffered) => options.disable_wal(true),
            (Wal::On, durability) => options.set_sync(durability == Durability::Synced),
        }
        let written = self.db.write_opt(batch.inner, &options);
        written.map_err(|error| self.soundness.judge(error))
    }

    /// Makes everything written so far durable, all families as of one moment. Blocks on the device.
    ///
    /// # Errors
    /// See [`KvError`].
    pub fn flush(&self) -> Result<(), KvError> {
        let handles: Vec<&ColumnFamily> = self
            .families
            .iter()
            .map(|f| self.handle(*f))
            .collect::<Result<_, _>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let all: Vec<&&ColumnFamily> = handles.iter().collect();
        let flushed = self.db.flush_cfs_opt(&all, &options);
        flushed.map_err(|error| self.soundness.judge(error))
    }

    /// Bytes in memtables, and bytes in table files that are live.
    ///
    /// # Errors
    /// See [`KvError`].
    pub fn sizes(&self) -> Result<KvSizes, KvError> {
        let mut sizes = KvSizes {
            memtables: 0,
            tables: 0,
        };
        for family in &self.families {
            let handle = self.handle(*family)?;
            let property = |name: &str| self.db.property_int_value_cf(handle, name);
            sizes.memtables += property("rocksdb.cur-size-all-mem-tables")?.unwrap_or(0);
            sizes.tables += property("rocksdb.live-sst-files-size")?.unwrap_or(0);
        }
        Ok(sizes)
    }
}

/// What a database holds, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvSizes {
    /// In memory, not yet in a table file.
    pub memtables: u64,
    /// In live table files.
    pub tables: u64,
}

/// Changes that become visible together.
pub struct KvBatch<'kv> {
    kv: &'kv Kv,
    inner: WriteBatch,
    /// A family that does not exist; the write then fails.
    unknown: Option<&'static str>,
}

impl KvBatch<'_> {
    fn with(&mut self, family: Family, change: impl FnOnce(&mut WriteBatch, &ColumnFamily)) {
        match self.kv.db.cf_handle(family.0) {
            Some(handle) => change(&mut self.inner, handle),
            None => self.unknown = Some(family.0),
        }
    }

    /// Sets a key.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.with(family, |batch, handle| batch.put_cf(handle, key, value));
    }

    /// Adds an operand to a key of a merging family.
    pub fn merge(&mut self, family: Family, key: &[u8], operand: &[u8]) {
        self.with(family, |batch, handle| batch.merge_cf(handle, key, operand));
    }

    /// Removes a key; a missing one is no error.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.with(family, |batch, handle| batch.delete_cf(handle, key));
    }

    /// Removes the keys from `from` up to but without `to`.
    pub fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.with(family, |batch, handle| batch.delete_range_cf(handle, from, to));
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// True if there is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }
}

fn database_options(options: &KvOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(1 << 20);
    db.set_stats_dump_period_sec(0);
    db.set_skip_stats_update_on_db_open(true);
    db.set_max_open_files(512);
    // One flush and one compaction at a time per database: a node has two databases per device, on few cores.
    db.set_max_background_jobs(2);
    match options.wal {
        Wal::Off => db.set_atomic_flush(true),
        Wal::On => {
            db.set_max_total_wal_size(options.max_wal);
            // A recycled log file needs no journal commit per sync. A torn tail in it is told by its log number,
            // which point-in-time recovery requires.
            db.set_recycle_log_file_num(2);
            db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        }
    }
    db
}

fn family_options(options: &KvOptions, wanted: &FamilyOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&options.cache.0);
    table.set_bloom_filter(10.0, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_block_size(8 << 10);
    let mut family = Options::default();
    family.set_block_based_table_factory(&table);
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_write_buffer_size(options.write_buffer);
    family.set_max_write_buffer_number(3);
    // Memory is taken in steps of this much, so it is what an almost empty memtable costs.
    family.set_arena_block_size(64 << 10);
    family.set_level_compaction_dynamic_level_bytes(true);
    if wanted.often_missed {
        family.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER);
        family.set_memtable_whole_key_filtering(true);
    }
    if let Some((name, merge)) = wanted.merge {
        family.set_merge_operator_associative(
            name,
            move |_key: &[u8], value: Option<&[u8]>, operands: &rocksdb::MergeOperands| {
                merge(value, &mut operands.iter())
            },
        );
    }
    family
}

#[cfg(test)]
mod tests;
