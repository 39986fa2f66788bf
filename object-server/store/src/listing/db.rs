//! The listing database of a device: its families and how it is written.
use std::path::Path;

use virga_disk::kv::cursor::{Bounds, Cursor};
use virga_disk::kv::{Durability, Family, FamilyOptions, Kv, KvCache, KvError, KvOptions, Wal};

use super::fault::{ChangeError, OpenError, ReadError};
use super::keys;

/// Bytes of a memtable: some 30 000 rows, so that flushes stay rare under the
/// load of one device.
const MEMTABLE: usize = 8 << 20;
/// Bytes of log that a crash may leave to replay, well under a second's work.
const MAX_LOG: u64 = 96 << 20;

/// The database of one device.
pub struct Db(Kv);

/// One change of the database.
enum Write {
    /// Sets a key, or removes it.
    Key(Family, Vec<u8>, Option<Vec<u8>>),
    /// Removes the keys from one, included, to another, left out.
    Range(Family, Vec<u8>, Vec<u8>),
}

/// Changes to be written together, in order.
#[derive(Default)]
pub struct Writes(Vec<Write>);

impl Writes {
    /// Sets a key, or removes it (`None`).
    pub fn set(&mut self, family: Family, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.0.push(Write::Key(family, key, value));
    }

    /// Removes the keys from `low`, included, to `high`, left out. Reads are
    /// slower for every range, so few keys are better removed one by one.
    pub fn clear(&mut self, family: Family, low: Vec<u8>, high: Vec<u8>) {
        self.0.push(Write::Range(family, low, high));
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Db {
    /// Opens the database in `folder`, making it if it is missing. One whose files
    /// contradict themselves is put aside: no log brings it back, other replicas do.
    pub fn open(folder: &Path, cache: KvCache) -> Result<Self, OpenError> {
        let options = KvOptions {
            write_buffer: MEMTABLE,
            max_wal: MAX_LOG,
            ..KvOptions::new(Wal::On, cache)
        };
        let families = [
            FamilyOptions::plain(keys::SHARD.0).often_missed(),
            FamilyOptions::plain(keys::DIRTY.0),
            FamilyOptions::plain(keys::GRAVE.0),
            FamilyOptions::plain(keys::TOMB.0),
            FamilyOptions::plain(keys::INDEX.0),
            FamilyOptions::plain(keys::HIDDEN.0),
            FamilyOptions::plain(keys::PART.0),
            FamilyOptions::plain(keys::STALE.0),
            FamilyOptions::plain(keys::SYS.0),
        ];
        match Kv::open(folder, &options, &families) {
            Err(KvError::Damaged(why)) => {
                let aside = Kv::set_aside(folder)?;
                tracing::error!(
                    folder = %folder.display(),
                    aside = %aside.display(),
                    why,
                    "the accounts and containers of the device are damaged: put aside, to be fetched from other replicas"
                );
                Ok(Self(Kv::open(folder, &options, &families)?))
            }
            opened => Ok(Self(opened?)),
        }
    }

    /// One value of what is known of shards.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.get_from(keys::SHARD, key)
    }

    /// One value.
    pub fn get_from(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.get(family, key)?)
    }

    /// Values of many keys, in their order.
    pub fn get_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, ReadError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.0.multi_get(keys::SHARD, keys.iter().map(Vec::as_slice))?)
    }

    /// Writes all of it or nothing, and syncs.
    pub fn commit(&self, writes: &Writes) -> Result<(), ChangeError> {
        let mut batch = self.0.batch();
        for write in &writes.0 {
            match write {
                Write::Key(family, key, Some(value)) => batch.put(*family, key, value),
                Write::Key(family, key, None) => batch.delete(*family, key),
                Write::Range(family, low, high) => batch.delete_range(*family, low, high),
            }
        }
        Ok(self.0.write(batch, Durability::Synced)?)
    }

    /// Number of keys in a small family.
    pub fn count(&self, family: Family) -> Result<u64, ReadError> {
        let mut cursor = self.cursor(family, Vec::new(), None)?;
        let mut count = 0;
        cursor.first();
        while cursor.current()?.is_some() {
            count += 1;
            cursor.step();
        }
        Ok(count)
    }

    /// A cursor over `low..high` of a family (to the end if there is no
    /// `high`) as of now.
    pub fn cursor(
        &self,
        family: Family,
        low: Vec<u8>,
        high: Option<Vec<u8>>,
    ) -> Result<Cursor<'_>, ReadError> {
        Ok(self.0.cursor(
            family,
            Bounds {
                lower: Some(low),
                upper: high,
            },
        )?)
    }
}

impl From<KvError> for OpenError {
    fn from(error: KvError) -> Self {
        Self::Database(error)
    }
}

impl From<KvError> for ReadError {
    fn from(error: KvError) -> Self {
        Self::Device(error.to_string().into())
    }
}

impl From<KvError> for ChangeError {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Full(_) => Self::Full,
            KvError::Damaged(_)
            | KvError::Locked(_)
            | KvError::ReadOnly(_)
            | KvError::NoFamily(_)
            | KvError::Failed(_) => Self::Device(error.to_string().into()),
        }
    }
}
