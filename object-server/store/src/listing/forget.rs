//! What a batch takes out: what has been dead for long, what lies on its
//! primaries now, and what nobody else knows of. The other half of
//! [`super::apply`].
use virga_disk::kv::cursor::prefix_end;
use virga_node::clock::Version;
use virga_ring::hash::NameHash;

use super::apply::Stage;
use super::fault::{ChangeError, ReadError};
use super::head::Head;
use super::keys;
use super::op::{Forget, SetAside, Target};
use super::row::Value;

/// Rows up to which a shard is dropped key by key.
const FEW: u64 = 1000;

impl Stage<'_> {
    /// Forgets those candidates that are still dead.
    pub(super) fn forget(&mut self, forget: &Forget, numbers: &[usize]) -> Result<bool, ChangeError> {
        let mut any = !forget.graves.is_empty();
        for ((key, version), number) in forget.rows.iter().zip(numbers) {
            any |= self.forget_row(key, *version, *number)?;
        }
        for (shard, version) in &forget.items {
            any |= self.forget_items(*shard, *version)?;
        }
        for (shard, version, grave) in &forget.shards {
            if self.bury(*shard, *version)? {
                self.writes.set(keys::GRAVE, grave.clone(), None);
                any = true;
            }
        }
        for grave in &forget.graves {
            self.writes.set(keys::GRAVE, grave.clone(), None);
        }
        Ok(any)
    }

    fn forget_row(&mut self, key: &[u8], upto: Version, number: usize) -> Result<bool, ChangeError> {
        let Some(shard) = keys::shard(key) else {
            return Ok(false);
        };
        if self.known(shard)?.is_none() {
            return Ok(false);
        }
        let (slot, touched) = (&mut self.slots[number], self.shards.get_mut(&shard));
        let (Some(bytes), Some(touched)) = (slot.value.as_deref(), touched) else {
            return Ok(false);
        };
        let value = Value::decode(bytes).ok_or(ChangeError::Damaged("a row"))?;
        let death = value.death(touched.head.deleted).filter(|when| *when <= upto);
        let (Some(when), Some(digest)) = (death, slot.digest(&key[keys::NAME..])) else {
            return Ok(false);
        };
        let head = &mut touched.head;
        head.replace(Some((digest, value)), None);
        slot.replace(None, Some(digest), None);
        (touched.head_changed, touched.sum_changed) = (true, true);
        self.horizons.forgot(head.kind, when);
        let (kind, deleted) = (head.kind, head.deleted);
        if head.rows == 0 && !head.exists() && deleted > Version(0) {
            // Whatever kept the shard from being forgotten is gone.
            self.remind(kind, deleted, &shard.0, self.now);
        }
        Ok(true)
    }

    fn forget_items(&mut self, shard: NameHash, upto: Version) -> Result<bool, ChangeError> {
        let Some((kind, partition)) = self
            .known(shard)?
            .map(|touched| (touched.head.kind, touched.head.partition))
        else {
            return Ok(false);
        };
        let target = Target {
            kind,
            shard,
            partition,
        };
        let touched = self.touch_whole(target)?;
        let (head, meta) = touched.whole();
        if !meta.forget(upto) {
            return Ok(false);
        }
        head.meta = meta.digest();
        touched.changed();
        self.horizons.forgot(kind, upto);
        Ok(true)
    }

    /// Forgets a shard deleted at `when` once nothing hangs on it. Returns
    /// whether the reminder of that deletion has done its duty.
    fn bury(&mut self, shard: NameHash, when: Version) -> Result<bool, ChangeError> {
        let Some(touched) = self.known(shard)? else {
            return Ok(true);
        };
        let head = &touched.head;
        if head.exists() || head.deleted != when {
            return Ok(true);
        }
        if head.live > 0 {
            // The deletion never knew of these rows. When they go there will
            // be a new reminder; until then waiting here would only stand in
            // the way of others.
            return Ok(true);
        }
        let done = head.rows == 0 && head.changes == head.reported;
        if done {
            touched.gone = true;
            let kind = touched.head.kind;
            self.horizons.forgot(kind, when);
        }
        Ok(done)
    }

    /// Drops a shard whose sum is still `sum`. All that it knows is known
    /// where it belongs, so its account hears of it from there.
    pub(super) fn drop_shard(&mut self, target: Target, sum: u128) -> Result<bool, ChangeError> {
        let shard = target.shard;
        let Some(touched) = self.known(shard)? else {
            return Ok(true);
        };
        if touched.head.kind != target.kind || touched.head.sum(shard) != Some(sum) {
            return Ok(false);
        }
        let few = touched.head.rows <= FEW;
        touched.gone = true;
        touched.head_changed = true;
        for (family, low) in [
            (keys::SHARD, keys::row(shard, "")),
            (keys::PART, shard.0.to_vec()),
        ] {
            let Some(high) = prefix_end(&low) else { continue };
            if !few {
                self.writes.clear(family, low, high);
                continue;
            }
            let mut cursor = self.db.cursor(family, low, Some(high))?;
            cursor.first();
            while let Some((key, _)) = cursor.current().map_err(ReadError::from)? {
                self.writes.set(family, key.to_vec(), None);
                cursor.step();
            }
        }
        self.writes.set(keys::DIRTY, shard.0.to_vec(), None);
        Ok(true)
    }

    /// Takes out of sight what is still as named, and keeps it for an operator.
    pub(super) fn set_aside(
        &mut self,
        target: Target,
        aside: &SetAside,
        numbers: &[usize],
    ) -> Result<bool, ChangeError> {
        let shard = target.shard;
        if self.known(shard)?.is_none() {
            return Ok(false);
        }
        let report = self.touch(target)?.head.report();
        for ((name, expected), number) in aside.rows.iter().zip(numbers) {
            self.set_row_aside(shard, name, *expected, *number)?;
        }
        let touched = self.touch_whole(target)?;
        let (head, meta) = touched.whole();
        let mut kept: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        if aside.head.is_some_and(|life| life == (head.put, head.deleted)) {
            let unreadable = |_| ChangeError::Invalid("what is set aside cannot be stored");
            kept.push((keys::head(shard), head.encode().map_err(unreadable)?));
            kept.push((keys::meta(shard), meta.encode().map_err(unreadable)?));
            *meta = super::meta::Meta::default();
            let unknown = Head::new(head.kind, head.partition).life();
            head.alter(|life| *life = unknown);
        } else {
            for item in meta.take(&aside.items) {
                let key = [&keys::meta(shard)[..], item.name.as_bytes()].concat();
                let value = [&item.version.0.to_le_bytes()[..], item.value.as_bytes()].concat();
                kept.push((key, value));
            }
        }
        if !kept.is_empty() {
            head.meta = meta.digest();
            touched.changed();
        }
        self.set_aside += kept.len() as u64;
        for (key, value) in kept {
            self.writes.set(keys::STALE, key, Some(value));
        }
        self.note_report(shard, report);
        Ok(true)
    }

    fn set_row_aside(
        &mut self,
        shard: NameHash,
        name: &str,
        expected: u64,
        number: usize,
    ) -> Result<(), ChangeError> {
        let (slot, touched) = (&mut self.slots[number], self.shards.get_mut(&shard));
        let digest = slot.digest(name.as_bytes());
        let (Some(bytes), Some(touched), Some(digest)) = (&slot.value, touched, digest) else {
            return Ok(());
        };
        if digest as u64 != expected {
            return Ok(());
        }
        let value = Value::decode(bytes).ok_or(ChangeError::Damaged("a row"))?;
        touched.head.replace(Some((digest, value)), None);
        (touched.head_changed, touched.sum_changed) = (true, true);
        let kept = slot.value.clone();
        slot.replace(None, Some(digest), None);
        self.writes.set(keys::STALE, keys::row(shard, name), kept);
        self.set_aside += 1;
        Ok(())
    }
}
