//! Reading heads and pages, each from one snapshot. What is deleted or unknown
//! is told too, by its versions: only several replicas together know whether
//! something exists.
use virga_disk::kv::cursor::Cursor;
use virga_node::clock::Version;
use virga_object_wire::listing::{AccountInfo, ContainerInfo, ListRequest, Page};
use virga_ring::hash::NameHash;

use super::db::Db;
use super::fault::ReadError;
use super::head::{Head, Kind};
use super::keys;
use super::meta::Meta;
use super::page;
use super::row::Listed;

/// What a head and its metadata say to the outside.
pub trait Info: Default + Send + 'static {
    /// What it is about.
    const KIND: Kind;
    /// Head and metadata in one.
    fn new(head: Head, meta: Meta) -> Self;
}

impl Info for ContainerInfo {
    const KIND: Kind = Kind::Container;

    fn new(head: Head, meta: Meta) -> Self {
        let items = meta.items();
        Self {
            account: meta.account,
            container: meta.container,
            created: head.created,
            put: head.put,
            deleted: head.deleted,
            policy: head.policy,
            meta: items,
            objects: head.live,
            bytes: head.bytes,
            newest: head.newest,
            digest: head.digest,
        }
    }
}

impl Info for AccountInfo {
    const KIND: Kind = Kind::Account;

    fn new(head: Head, meta: Meta) -> Self {
        let items = meta.items();
        let sum = |of: fn(&_) -> u64| head.policies.iter().map(of).fold(0, u64::wrapping_add);
        Self {
            account: meta.account,
            created: head.created,
            put: head.put,
            deleted: head.deleted,
            meta: items,
            containers: head.live,
            objects: sum(|totals: &virga_object_wire::listing::PolicyTotals| totals.objects),
            bytes: head.bytes,
            newest: head.newest,
            digest: head.digest,
            policies: head.policies,
        }
    }
}

/// The head of a shard, whether or not it exists; `None` if it is unknown.
pub fn head(cursor: &mut Cursor<'_>, shard: NameHash) -> Result<Option<Head>, ReadError> {
    let Some(bytes) = at(cursor, &keys::head(shard))? else {
        return Ok(None);
    };
    Head::decode(bytes).map(Some).ok_or(ReadError::Damaged("a head"))
}

/// The metadata of a shard.
pub fn meta(cursor: &mut Cursor<'_>, shard: NameHash) -> Result<Meta, ReadError> {
    let Some(bytes) = at(cursor, &keys::meta(shard))? else {
        return Ok(Meta::default());
    };
    Meta::decode(bytes).ok_or(ReadError::Damaged("metadata"))
}

/// The value of exactly that key.
fn at<'a>(cursor: &'a mut Cursor<'_>, key: &[u8]) -> Result<Option<&'a [u8]>, ReadError> {
    cursor.seek(key);
    let found = cursor.current()?;
    Ok(found.filter(|(here, _)| *here == key).map(|(_, value)| value))
}

/// What is known of a shard; nothing if there is none of this kind.
pub fn info<I: Info>(db: &Db, shard: NameHash) -> Result<I, ReadError> {
    let mut cursor = db.cursor(keys::SHARD, keys::head(shard), Some(keys::row(shard, "")))?;
    Ok(known(&mut cursor, shard)?
        .map(|(info, _)| info)
        .unwrap_or_default())
}

/// What is known of a shard, with its newest deletion.
fn known<I: Info>(cursor: &mut Cursor<'_>, shard: NameHash) -> Result<Option<(I, Version)>, ReadError> {
    let Some(head) = head(cursor, shard)?.filter(|head| head.kind == I::KIND) else {
        return Ok(None);
    };
    let deleted = head.deleted;
    Ok(Some((I::new(head, meta(cursor, shard)?), deleted)))
}

/// A page; `None` if more than `visits` rows would have to be looked at.
pub fn list<I: Info, R: Listed>(
    db: &Db,
    shard: NameHash,
    list: &ListRequest,
    visits: usize,
) -> Result<Option<Page<I, R>>, ReadError> {
    let (low, high) = page::bounds(shard, list);
    // Head and metadata lie before all rows, in reach of the same cursor.
    let mut cursor = db.cursor(keys::SHARD, keys::head(shard), high)?;
    let Some((info, deleted)) = known(&mut cursor, shard)? else {
        // Every row has a head before it: without one there are no rows.
        return Ok(Some(Page {
            info: I::default(),
            entries: Vec::new(),
            complete_to: None,
        }));
    };
    let found = page::read(&mut cursor, (shard, &low), list, deleted, visits)?;
    Ok(found.map(|(entries, complete_to)| Page {
        info,
        entries,
        complete_to,
    }))
}
