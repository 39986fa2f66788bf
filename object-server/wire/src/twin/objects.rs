//! Objects of the twin: merging by version, bodies by block.
use blake3::hazmat::HasherExt;
use bytes::Bytes;
use virga_node::clock::Version;
use virga_ring::NameHash;

use super::{Contents, Key, Owed};
use crate::checked::{BLOCK, Checked, EXTENT};
use crate::error::NodeError;
use crate::listing::{ObjectRow, split_path};
use crate::movement::{DataState, NameState, Push, Rank, Records, tie};
use crate::node::Span;
use crate::object::{Deleted, Found, ObjectStat, PostMeta, PutObject, Source, SubtreesRequest};
use crate::posted::Posted;

/// The newest data or deletion of a name, and the newest metadata update.
#[derive(Default)]
pub(super) struct Slot {
    data: Option<(PutObject, Checked)>,
    post: Option<Posted>,
    deleted: Version,
    /// Path of what was deleted.
    path: String,
}

impl Slot {
    /// Newest version: that of the data, of a metadata update, or of the deletion.
    fn version(&self) -> Version {
        let data = self.data.as_ref().map_or(self.deleted, |(put, _)| put.version);
        self.post.as_ref().map_or(data, |post| data.max(post.version))
    }

    /// What a reader is told at `now` (Unix seconds): an object whose time has
    /// come is as good as deleted.
    pub(super) fn found(&self, now: u64) -> Found {
        match (self.seen(now), self.version()) {
            (Some(stat), _) => Found::Object(stat),
            (None, Version(0)) => Found::Absent,
            (None, deleted) => Found::Deleted(deleted),
        }
    }

    fn seen(&self, now: u64) -> Option<ObjectStat> {
        self.stat()
            .filter(|stat| stat.meta.delete_at.is_none_or(|at| at > now))
    }

    pub(super) fn stat(&self) -> Option<ObjectStat> {
        let (put, _) = self.data.as_ref()?;
        let (version, size, blake3) = (put.version, put.size, put.blake3);
        let mut stat = ObjectStat {
            version,
            meta_version: version,
            type_version: version,
            size,
            blake3,
            meta: put.meta.clone(),
        };
        if let Some(post) = self.post.as_ref().filter(|post| post.rank().shows_with(version)) {
            stat.meta_version = post.version;
            stat.meta.headers.clone_from(&post.meta.headers);
            stat.meta.delete_at = post.meta.delete_at;
            if let Some(content_type) = &post.meta.content_type {
                stat.type_version = post.typed;
                stat.meta.content_type.clone_from(content_type);
            }
        }
        Some(stat)
    }

    /// The pieces that cover `span`, unverified, and where the first starts.
    pub(super) fn pieces(&self, span: Option<Span>) -> (u64, Vec<Checked>) {
        let Some((_, body)) = &self.data else {
            return (0, Vec::new());
        };
        let len = body.len() as u64;
        let end = span.map_or(len, |span| span.end.min(len));
        let start = span.map_or(0, |span| span.start.min(end)) as usize / BLOCK * BLOCK;
        let end = (end as usize).next_multiple_of(BLOCK).min(body.len());
        if span.is_some_and(|span| span.start >= span.end.min(len)) {
            return (start as u64, Vec::new());
        }
        let pieces = (start..end)
            .step_by(EXTENT)
            .map(|from| cut(body, from, end.min(from + EXTENT)));
        (start as u64, pieces.collect())
    }

    /// Subtree values of extents, if the data is the wanted.
    pub(super) fn subtrees(&self, wanted: SubtreesRequest) -> Result<Vec<[u8; 32]>, NodeError> {
        wanted.check()?;
        let same = |put: &PutObject| (put.version, put.blake3) == (wanted.version, wanted.blake3);
        let Some((_, body)) = self.data.as_ref().filter(|(put, _)| same(put)) else {
            return Err(NodeError::NotFound);
        };
        if body.len() <= EXTENT {
            return Err(SubtreesRequest::too_small());
        }
        let extents = body.data().chunks(EXTENT).enumerate();
        let wanted = extents.skip(wanted.first as usize).take(wanted.count as usize);
        Ok(wanted
            .map(|(index, bytes)| {
                let mut hasher = blake3::Hasher::new();
                hasher.set_input_offset((index * EXTENT) as u64);
                hasher.update(bytes).finalize_non_root()
            })
            .collect())
    }

    /// Version and content of the data or deletion.
    fn rank(&self) -> (Version, [u8; 32]) {
        self.data
            .as_ref()
            .map_or((self.deleted, [0; 32]), |(put, _)| (put.version, put.blake3))
    }

    /// What other replicas are told.
    pub(super) fn state(&self, hash: NameHash) -> NameState {
        let (version, blake3) = self.rank();
        let data = DataState {
            rank: Rank {
                version,
                tie: if self.data.is_some() { tie(&blake3) } else { 0 },
            },
            deleted: self.data.is_none(),
            size: self.data.as_ref().map_or(0, |(put, _)| put.size),
        };
        NameState {
            hash,
            data: (version.0 > 0).then_some(data),
            post: self
                .post
                .as_ref()
                .map(Posted::rank)
                .filter(|post| post.outlives(version)),
        }
    }

    pub(super) fn corrupt(&mut self, block: usize) -> bool {
        let Some((_, body)) = &mut self.data else {
            return false;
        };
        let mut bytes = body.data().to_vec();
        let Some(byte) = bytes.get_mut(block * BLOCK) else {
            return false;
        };
        *byte ^= 1;
        *body = Checked::unverified(bytes.into(), body.crcs().to_vec());
        true
    }

    pub(super) fn handoff_for(&self) -> Option<u32> {
        self.data.as_ref().and_then(|(put, _)| put.handoff_for)
    }
}

fn cut(body: &Checked, from: usize, to: usize) -> Checked {
    let crcs = body.crcs()[from / BLOCK..to.div_ceil(BLOCK)].to_vec();
    Checked::unverified(body.data().slice(from..to), crcs)
}

/// Joins pieces that were verified one by one.
pub(super) fn join(pieces: &[Checked]) -> Checked {
    let bytes: Vec<u8> = pieces
        .iter()
        .flat_map(|piece| piece.data().iter().copied())
        .collect();
    let crcs = pieces
        .iter()
        .flat_map(|piece| piece.crcs().iter().copied())
        .collect();
    Checked::unverified(Bytes::from(bytes), crcs)
}

/// Whether the announced size came.
pub(super) fn check_size(put: &PutObject, body: &Checked) -> Result<(), NodeError> {
    if put.size == body.len() as u64 {
        return Ok(());
    }
    Err(NodeError::Invalid(format!(
        "{} bytes announced, {} came",
        put.size,
        body.len()
    )))
}

/// Whether the bytes are those that were sent.
pub(super) fn check_bytes(put: &PutObject, body: &Checked) -> Result<(), NodeError> {
    let good = body.verify().is_ok() && *blake3::hash(body.data()).as_bytes() == put.blake3;
    if good { Ok(()) } else { Err(NodeError::Garbled) }
}

impl Contents {
    pub(super) fn put(&mut self, key: Key, put: PutObject, body: Checked) -> Result<(), NodeError> {
        if let Source::Replica { row_owed } = put.source {
            return self.merge_data(key, put, body, row_owed);
        }
        if let Some(slot) = self.objects.get(&key) {
            let same =
                |(old, _): &(PutObject, Checked)| (old.version, old.blake3) == (put.version, put.blake3);
            if slot.data.as_ref().is_some_and(same) {
                return Ok(());
            }
            if slot.rank().0 >= put.version {
                return Err(NodeError::Newer(slot.rank().0));
            }
        }
        check_bytes(&put, &body)?;
        let post = None;
        self.objects.insert(
            key,
            Slot {
                data: Some((put, body)),
                post,
                ..Slot::default()
            },
        );
        self.owe(key);
        Ok(())
    }

    pub(super) fn post(
        &mut self,
        key: Key,
        version: Version,
        meta: PostMeta,
        now: u64,
    ) -> Result<ObjectStat, NodeError> {
        let slot = self.objects.get_mut(&key).ok_or(NodeError::NotFound)?;
        let stat = slot.seen(now).ok_or(NodeError::NotFound)?;
        if stat.meta_version >= version {
            let same = slot.post.as_ref().is_some_and(|post| post.is_of(version, &meta));
            return if same {
                Ok(stat)
            } else {
                Err(NodeError::Newer(stat.meta_version))
            };
        }
        slot.post = Some(Posted::asked(version, meta, stat.version, slot.post.take()));
        let stat = slot.stat().ok_or(NodeError::NotFound)?;
        self.owe(key);
        Ok(stat)
    }

    pub(super) fn delete(
        &mut self,
        key: Key,
        version: Version,
        path: &str,
        now: u64,
    ) -> Result<Deleted, NodeError> {
        let slot = self.objects.entry(key).or_default();
        if slot.data.is_none() && slot.deleted == version {
            return Ok(Deleted {
                existed: false,
                before: Version(0),
            });
        }
        if slot.rank().0 >= version {
            return Err(NodeError::Newer(slot.rank().0));
        }
        let (existed, before) = (slot.seen(now).is_some(), slot.rank().0);
        *slot = Slot {
            deleted: version,
            path: path.to_owned(),
            ..Slot::default()
        };
        self.owe_deletion(key, version, path);
        Ok(Deleted { existed, before })
    }

    fn owe_deletion(&mut self, key: Key, version: Version, path: &str) {
        if let Some((_, _, name)) = split_path(path) {
            let row = ObjectRow::deletion(name, version);
            self.owed.insert(
                key,
                Owed {
                    path: path.to_owned(),
                    row,
                    version,
                },
            );
        }
    }

    /// Takes data that another replica has: it wins over older data, whatever
    /// metadata updates are here.
    fn merge_data(
        &mut self,
        key: Key,
        put: PutObject,
        body: Checked,
        row_owed: bool,
    ) -> Result<(), NodeError> {
        let slot = self.objects.entry(key).or_default();
        if slot.rank() >= (put.version, put.blake3) {
            return Ok(());
        }
        check_bytes(&put, &body)?;
        let post = slot.post.take().filter(|post| post.rank().outlives(put.version));
        *slot = Slot {
            data: Some((put, body)),
            post,
            ..Slot::default()
        };
        if row_owed {
            self.owe(key);
        }
        Ok(())
    }

    /// The records of a name as they were written.
    pub(super) fn records(&self, key: Key) -> Records {
        let Some(slot) = self.objects.get(&key) else {
            return Records::default();
        };
        let owes = |version| self.owed.get(&key).is_some_and(|owed| owed.version == version);
        let object = slot.data.as_ref().map(|(put, _)| PutObject {
            handoff_for: None,
            source: Source::Replica {
                row_owed: owes(put.version),
            },
            ..put.clone()
        });
        let deletion = (object.is_none() && slot.deleted > Version(0)).then(|| Push::Deletion {
            version: slot.deleted,
            path: slot.path.clone(),
            row_owed: owes(slot.deleted),
        });
        let update = slot.post.clone();
        let update = update.filter(|post| post.rank().outlives(slot.rank().0));
        let post = update.map(|update| Push::Post {
            row_owed: owes(update.version),
            update,
        });
        Records {
            object,
            deletion,
            post,
        }
    }

    /// Takes a deletion or metadata update that another replica has.
    pub(super) fn push(&mut self, key: Key, push: Push) {
        let slot = self.objects.entry(key).or_default();
        match push {
            Push::Deletion {
                version,
                path,
                row_owed,
            } => {
                if slot.rank() >= (version, [0; 32]) {
                    return;
                }
                let post = slot.post.take().filter(|post| post.rank().outlives(version));
                *slot = Slot {
                    data: None,
                    post,
                    deleted: version,
                    path: path.clone(),
                };
                if row_owed {
                    self.owe_deletion(key, version, &path);
                }
            }
            Push::Post { update, row_owed } => {
                if !update.rank().outlives(slot.rank().0) {
                    return;
                }
                let before = slot.post.as_ref().map(Posted::rank);
                let joined = match slot.post.take() {
                    Some(here) => here.joined(update),
                    None => update,
                };
                let new = before != Some(joined.rank());
                slot.post = Some(joined);
                if new && row_owed {
                    self.owe(key);
                }
            }
        }
    }

    /// Notes that the container has to hear of the object as it is now.
    fn owe(&mut self, key: Key) {
        let Some(stat) = self.objects.get(&key).and_then(Slot::stat) else {
            return;
        };
        if let Some(row) = ObjectRow::of(&stat) {
            let owed = Owed {
                path: stat.meta.path,
                row,
                version: stat.meta_version,
            };
            self.owed.insert(key, owed);
        }
    }

    /// Takes a damaged record out, so that nobody is served from it again.
    pub(super) fn quarantine(&mut self, key: Key) {
        if self.objects.remove(&key).is_some() {
            self.quarantined += 1;
        }
    }
}
