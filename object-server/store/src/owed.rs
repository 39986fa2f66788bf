//! What the device owes to others: container rows, deletions of expired
//! objects.
//!
//! The rows are written with the index change that causes them, so none is
//! lost; the workers of the object server come here for what is still open.
use std::sync::{Arc, PoisonError};

use virga_disk::kv::cursor::Bounds;
use virga_disk::segment::Locator;
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{ObjectRow, split_path};
use virga_object_wire::object::{At, ObjectStat, Settled};

use crate::device::{Device, device_failed};
use crate::entry::Kind;
use crate::keys::{self, NameKey, WORK_LEN};
use crate::record::{self, TombstoneHead};

/// A container row that nobody has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedRow {
    /// The object on this device.
    pub at: At,
    /// "account/container/object".
    pub path: String,
    /// The row.
    pub row: ObjectRow,
    /// What to settle once the container has it.
    pub settled: Settled,
}

/// An object whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The object on this device.
    pub at: At,
    /// "account/container/object".
    pub path: String,
    /// What expired. A deletion of the version right behind it overtakes no
    /// later change; the worker asks the other replicas first, as this one may
    /// have missed a POST that put the expiry off.
    pub stat: ObjectStat,
}

/// A debt found in `work`.
struct Debt {
    key: [u8; WORK_LEN],
    name: NameKey,
    version: Version,
}

impl Device {
    /// Takes note that containers have these rows.
    ///
    /// # Errors
    /// `Device` if the index fails.
    pub async fn settle(&self, rows: Vec<Settled>) -> Result<(), NodeError> {
        let debts = rows
            .iter()
            .map(|row| keys::work(&NameKey::new(row.policy, row.partition, row.hash), row.version));
        self.index()
            .settle(debts)
            .map_err(|error| self.index_failed(&error))
    }

    /// At most `limit` rows owed since before `older_than`, beginning where the
    /// call before ended, so that rows nobody takes do not hide the others.
    ///
    /// # Errors
    /// `Device` if the index or the device fails.
    pub async fn owed(&self, limit: usize, older_than: Version) -> Result<Vec<OwedRow>, NodeError> {
        let device = self.clone();
        let found = self
            .reader()
            .pool()
            .run(move || device.debts(limit, older_than))
            .await;
        let mut rows = Vec::new();
        for debt in found.map_err(device_failed)?? {
            match self.row_of(&debt).await {
                Ok(Some(owed)) => rows.push(owed),
                // A newer change owes its own row, or the object is set aside
                // and comes back with a debt of its own.
                Ok(None) | Err(NodeError::Damaged) => {
                    self.index()
                        .settle(std::iter::once(debt.key))
                        .map_err(|e| self.index_failed(&e))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }

    fn debts(&self, limit: usize, older_than: Version) -> Result<Vec<Debt>, NodeError> {
        let failed = |error| self.index_failed(&error);
        self.index().write_settled().map_err(failed)?;
        let mut position = self.owed_cursor().lock().unwrap_or_else(PoisonError::into_inner);
        let mut cursor = self
            .index()
            .cursor(keys::WORK, Bounds::prefix([keys::ROW]))
            .map_err(failed)?;
        // By age: behind the first that is too young all are.
        match position.as_ref() {
            Some(last) => {
                cursor.seek(last);
                if cursor
                    .current()
                    .map_err(failed)?
                    .is_some_and(|(key, _)| key == last)
                {
                    cursor.step();
                }
            }
            None => cursor.first(),
        }
        let mut debts = Vec::new();
        while debts.len() < limit {
            let Some((key, _)) = cursor.current().map_err(failed)? else {
                *position = None;
                break;
            };
            if let (Some((name, version)), Ok(key)) = (keys::parse_work(key), key.try_into()) {
                if version >= older_than {
                    *position = None;
                    break;
                }
                *position = Some(key);
                debts.push(Debt { key, name, version });
            }
            cursor.step();
        }
        Ok(debts)
    }

    async fn row_of(&self, debt: &Debt) -> Result<Option<OwedRow>, NodeError> {
        let Some(entry) = self.entry(&debt.name).await? else {
            return Ok(None);
        };
        let Some(winner) = &entry.winner else {
            return Ok(None);
        };
        if debt.version < winner.version {
            return Ok(None);
        }
        let (path, row) = if winner.kind == Kind::Tombstone {
            let path = self.tombstone_path(&debt.name, winner.place).await?;
            let Some((_, _, object)) = split_path(&path) else {
                return Ok(None);
            };
            let row = ObjectRow::deletion(object, winner.version);
            (path, row)
        } else {
            let Some(stat) = self.stat_expired_too(&debt.name).await? else {
                return Ok(None);
            };
            let Some(row) = ObjectRow::of(&stat) else {
                return Ok(None);
            };
            (stat.meta.path, row)
        };
        let settled = Settled {
            policy: debt.name.policy(),
            partition: debt.name.partition(),
            hash: debt.name.hash(),
            version: debt.version,
        };
        Ok(Some(OwedRow {
            at: self.at(&debt.name),
            path,
            row,
            settled,
        }))
    }

    pub(crate) async fn tombstone_path(&self, name: &NameKey, place: Locator) -> Result<String, NodeError> {
        match self.reader().range(place, 0..0).await {
            Ok(record) => {
                let head: TombstoneHead = record::decode(record.meta()).map_err(device_failed)?;
                Ok(head.path)
            }
            Err(virga_disk::reader::ReadError::Damaged { bytes, .. }) => {
                Err(self.set_aside(name, place, place, bytes).await)
            }
            // Compaction moved it: the debt is still there at the next call.
            Err(virga_disk::reader::ReadError::Gone(_)) => Err(NodeError::Busy),
            Err(error) => Err(self.read_failed(&error)),
        }
    }

    /// At most `limit` objects whose time has been over for `secs` seconds, beginning
    /// where the call before ended, so that those that cannot be deleted yet do not
    /// hide the others. Readers do not see them any more.
    ///
    /// # Errors
    /// `Device` if the index or the device fails.
    pub async fn expired(&self, limit: usize, secs: u64) -> Result<Vec<Expired>, NodeError> {
        let device = self.clone();
        let due = self
            .reader()
            .pool()
            .run(move || device.due(limit, secs))
            .await
            .map_err(device_failed)??;
        let mut expired = Vec::new();
        for name in due {
            match self.stat_expired_too(&name).await {
                Ok(Some(stat)) => {
                    expired.push(Expired {
                        at: self.at(&name),
                        path: stat.meta.path.clone(),
                        stat,
                    });
                }
                Ok(None) | Err(NodeError::Damaged) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(expired)
    }

    fn due(&self, limit: usize, secs: u64) -> Result<Vec<NameKey>, NodeError> {
        let failed = |error| self.index_failed(&error);
        let now = self.now_secs().saturating_sub(secs);
        let mut position = self.due_cursor().lock().unwrap_or_else(PoisonError::into_inner);
        let mut cursor = self.index().cursor(keys::DUE, Bounds::all()).map_err(failed)?;
        match position.as_ref() {
            Some(last) => {
                cursor.seek(last);
                if cursor
                    .current()
                    .map_err(failed)?
                    .is_some_and(|(key, _)| key == last)
                {
                    cursor.step();
                }
            }
            None => cursor.first(),
        }
        let mut names = Vec::new();
        while let Some((key, _)) = cursor.current().map_err(failed)? {
            let due = keys::parse_due(key).filter(|(at, _)| *at <= now);
            let Some((_, name)) = due else {
                break;
            };
            if names.len() >= limit {
                return Ok(names);
            }
            *position = key.try_into().ok();
            names.push(name);
            cursor.step();
        }
        *position = None;
        Ok(names)
    }

    pub(crate) fn at(&self, name: &NameKey) -> At {
        At {
            device: Arc::clone(self.name()),
            policy: name.policy(),
            partition: name.partition(),
            hash: name.hash(),
            ring: virga_ring::RingEpoch::NONE,
        }
    }
}
