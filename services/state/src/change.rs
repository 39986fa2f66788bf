//! The change feed: what changed, in the order it was committed, linked into a
//! chain of hashes ([`crate::chain`]).
//!
//! Every change of a record appends one entry in the same transaction. Audit,
//! notifications and metering read it; nothing here knows who does, nor what
//! the detail of an entry means. Old entries go ([`Keep`]); where the chain
//! then begins is kept.
use serde::{Deserialize, Serialize};

use crate::args;
use crate::chain::{self, Link};
use crate::engine::{Reader, State};
use crate::error::StateError;
use crate::migrate::Migration;
use crate::row::{Arg, Row};
use crate::transaction::{Queries, Transaction};

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The service that owns the record: "identity".
    pub service: &'a str,
    /// The kind of record: "user".
    pub kind: &'a str,
    /// Id of the record.
    pub id: &'a str,
    /// What happened: "created", "updated", "deleted", or the service's own word.
    pub action: &'a str,
    /// Id of the user who asked for it; `None` when the service did it itself.
    pub actor: Option<&'a str>,
    /// What else the service says of it: the text of a JSON object as
    /// `serde_json` writes it, or nothing. No secrets.
    pub detail: &'a str,
}

/// A [`Change`] as read back from the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedEntry {
    /// Position in the feed; grows by one.
    pub sequence: i64,
    /// When, in microseconds since the epoch.
    pub at: i64,
    /// See [`Change::service`].
    pub service: String,
    /// See [`Change::kind`].
    pub kind: String,
    /// See [`Change::id`].
    pub id: String,
    /// See [`Change::action`].
    pub action: String,
    /// See [`Change::actor`].
    pub actor: Option<String>,
    /// See [`Change::detail`].
    pub detail: String,
    /// The chain's hash up to and with this entry, in hex. Empty for entries
    /// made before there was a chain.
    pub hash: String,
}

/// How long entries of the feed are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Days; 0 for no bound in time.
    pub days: u32,
    /// Entries at most, at least 1000.
    pub entries: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            days: 400,
            entries: 1_000_000,
        }
    }
}

/// Fewest entries that a setting can keep.
const LEAST_ENTRIES: i64 = 1000;
/// So many appends lie between two looks for entries that are too old.
const TRIM_EVERY: i64 = 256;
const DAY: i64 = 24 * 3600 * 1_000_000;

/// Which entries are wanted. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// After this position.
    pub after: Option<i64>,
    /// Before this position.
    pub before: Option<i64>,
    /// Not made before this time, microseconds since the epoch.
    pub since: Option<i64>,
    /// Made before this time, microseconds since the epoch.
    pub until: Option<i64>,
    /// By or about this user: the actor's or the record's id.
    pub user: Option<String>,
    /// Of this kind of record.
    pub kind: Option<String>,
    /// Not of this kind of record.
    pub other_than: Option<String>,
    /// Of the record with this id.
    pub id: Option<String>,
    /// With this action.
    pub action: Option<String>,
    /// The newest first.
    pub newest_first: bool,
}

pub(crate) const SQLITE_TABLE: &str = "CREATE TABLE IF NOT EXISTS state_change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, at BIGINT NOT NULL, service TEXT NOT NULL,
    kind TEXT NOT NULL, id TEXT NOT NULL, action TEXT NOT NULL, actor TEXT)";

pub(crate) const POSTGRES_TABLE: &str = "CREATE TABLE IF NOT EXISTS state_change (
    sequence BIGINT PRIMARY KEY, at BIGINT NOT NULL, service TEXT NOT NULL,
    kind TEXT NOT NULL, id TEXT NOT NULL, action TEXT NOT NULL, actor TEXT)";

/// Positions are given by the chain; earlier releases let PostgreSQL count.
pub(crate) const POSTGRES_COUNTS_NO_MORE: &str =
    "ALTER TABLE state_change ALTER COLUMN sequence DROP IDENTITY IF EXISTS";

/// Of the feed itself. `anchor` is the last entry that is no longer there (or
/// from before there was a chain), `head` the newest.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "a chain of hashes over the change feed",
    sql: "
ALTER TABLE state_change ADD COLUMN detail TEXT NOT NULL DEFAULT '';
ALTER TABLE state_change ADD COLUMN hash TEXT NOT NULL DEFAULT '';
CREATE INDEX state_change_time ON state_change (at);
CREATE INDEX state_change_actor ON state_change (actor);
CREATE INDEX state_change_record ON state_change (id);
CREATE TABLE state_chain (name TEXT PRIMARY KEY, sequence BIGINT NOT NULL, hash TEXT NOT NULL);
INSERT INTO state_chain SELECT 'anchor', COALESCE(MAX(sequence), 0), '' FROM state_change;
INSERT INTO state_chain SELECT 'head', COALESCE(MAX(sequence), 0), '' FROM state_change;
",
}];

const APPEND: &str =
    "INSERT INTO state_change (sequence, at, service, kind, id, action, actor, detail, hash) VALUES ";
/// So many columns it has.
const WIDTH: usize = 9;
/// So many entries go with one statement; few sizes, because each is a statement
/// that connections prepare.
const TOGETHER: [usize; 4] = [64, 16, 4, 1];
const COLUMNS: &str = "SELECT sequence, at, service, kind, id, action, actor, detail, hash FROM state_change";
const LINK: &str = "SELECT sequence, hash FROM state_chain WHERE name = $1";
const SET_LINK: &str = "UPDATE state_chain SET sequence = $2, hash = $3 WHERE name = $1";

fn entry(row: &Row) -> Result<FeedEntry, StateError> {
    Ok(FeedEntry {
        sequence: row.int("sequence")?,
        at: row.int("at")?,
        service: row.text("service")?,
        kind: row.text("kind")?,
        id: row.text("id")?,
        action: row.text("action")?,
        actor: row.maybe_text("actor")?,
        detail: row.text("detail")?,
        hash: row.text("hash")?,
    })
}

async fn link(q: &mut impl Queries, name: &str) -> Result<Link, StateError> {
    let row = q.fetch_one(LINK, args![name]).await?;
    let row = row.ok_or_else(|| StateError::Column(format!("state_chain {name}")))?;
    Ok(Link {
        sequence: row.int("sequence")?,
        hash: row.text("hash")?,
    })
}

async fn set_link(tx: &mut Transaction, name: &str, link: &Link) -> Result<(), StateError> {
    let bound = args![name, link.sequence, &link.hash];
    tx.execute(SET_LINK, bound).await.map(drop)
}

/// Appends to the feed, in this order, and moves the chain's head.
pub(crate) async fn append(
    tx: &mut Transaction,
    changes: &[Change<'_>],
    keep: Keep,
) -> Result<(), StateError> {
    let begun = link(tx, "head").await?;
    let mut head = begun.clone();
    let mut bound: Vec<Arg> = Vec::with_capacity(changes.len() * WIDTH);
    for change in changes {
        let mut new = FeedEntry {
            sequence: head.sequence + 1,
            at: tx.now(),
            service: change.service.to_owned(),
            kind: change.kind.to_owned(),
            id: change.id.to_owned(),
            action: change.action.to_owned(),
            actor: change.actor.map(str::to_owned),
            detail: change.detail.to_owned(),
            hash: String::new(),
        };
        new.hash = chain::hash(&head.hash, &new);
        head = Link {
            sequence: new.sequence,
            hash: new.hash.clone(),
        };
        bound.extend(args![
            new.sequence,
            new.at,
            new.service,
            new.kind,
            new.id,
            new.action,
            new.actor,
            new.detail,
            new.hash
        ]);
    }
    insert(tx, bound).await?;
    set_link(tx, "head", &head).await?;
    if head.sequence / TRIM_EVERY > begun.sequence / TRIM_EVERY {
        trim(tx, keep).await?;
    }
    Ok(())
}

/// Stores entries, given as what is bound for one after the other.
async fn insert(tx: &mut Transaction, mut bound: Vec<Arg>) -> Result<(), StateError> {
    for together in TOGETHER {
        while bound.len() >= together * WIDTH {
            let rest = bound.split_off(together * WIDTH);
            let row = |n: usize| {
                let slots: Vec<String> = (1..=WIDTH).map(|slot| format!("${}", n * WIDTH + slot)).collect();
                format!("({})", slots.join(", "))
            };
            let rows: Vec<String> = (0..together).map(row).collect();
            let sql = format!("{APPEND}{}", rows.join(", "));
            tx.execute(sql, std::mem::replace(&mut bound, rest)).await?;
        }
    }
    Ok(())
}

/// Drops entries that are too old or too many; the chain then begins behind
/// the last of them. Returns how many went.
pub(crate) async fn trim(tx: &mut Transaction, keep: Keep) -> Result<u64, StateError> {
    let head = link(tx, "head").await?;
    let most = i64::from(keep.entries).max(LEAST_ENTRIES);
    let mut cut = head.sequence - most;
    if keep.days > 0 {
        // By position and not by time: a clock that was set back for a while
        // must not make a hole.
        let oldest = tx.now() - i64::from(keep.days) * DAY;
        // In the order of positions, and so over those that go and no others;
        // the sum keeps the index of times out of it, which would go over all.
        let sql = "SELECT sequence FROM state_change WHERE at + 0 >= $1 ORDER BY sequence LIMIT 1";
        let row = tx.fetch_one(sql, args![oldest]).await?;
        let first = row.map_or(Ok(head.sequence + 1), |row| row.int("sequence"))?;
        cut = cut.max(first - 1);
    }
    if cut <= link(tx, "anchor").await?.sequence {
        return Ok(0);
    }
    let last = "SELECT hash FROM state_change WHERE sequence = $1";
    let hash = match tx.fetch_one(last, args![cut]).await? {
        Some(row) => row.text("hash")?,
        None => return Ok(0),
    };
    set_link(tx, "anchor", &Link { sequence: cut, hash }).await?;
    tx.execute("DELETE FROM state_change WHERE sequence <= $1", args![cut])
        .await
}

/// The condition of [`Wanted`] with what is bound to it.
fn condition(wanted: &Wanted) -> (String, Vec<Arg>) {
    let mut bound: Vec<Arg> = Vec::new();
    let mut all = vec!["1 = 1".to_owned()];
    let mut add = |text: &str, arg: Option<Arg>| {
        if let Some(arg) = arg {
            bound.push(arg);
            all.push(text.replace('?', &format!("${}", bound.len())));
        }
    };
    add("sequence > ?", wanted.after.map(Arg::from));
    add("sequence < ?", wanted.before.map(Arg::from));
    add("at >= ?", wanted.since.map(Arg::from));
    add("at < ?", wanted.until.map(Arg::from));
    add("(actor = ? OR id = ?)", wanted.user.clone().map(Arg::from));
    add("kind = ?", wanted.kind.clone().map(Arg::from));
    add("kind <> ?", wanted.other_than.clone().map(Arg::from));
    add("id = ?", wanted.id.clone().map(Arg::from));
    add("action = ?", wanted.action.clone().map(Arg::from));
    (all.join(" AND "), bound)
}

impl Reader {
    /// Entries of the feed that are wanted, at most `limit`.
    pub async fn changes(&mut self, wanted: &Wanted, limit: i64) -> Result<Vec<FeedEntry>, StateError> {
        let (condition, mut bound) = condition(wanted);
        bound.push(Arg::from(limit));
        let order = if wanted.newest_first { "DESC" } else { "ASC" };
        let sql = format!(
            "{COLUMNS} WHERE {condition} ORDER BY sequence {order} LIMIT ${}",
            bound.len()
        );
        let rows = self.fetch(sql, bound).await?;
        rows.iter().map(entry).collect()
    }

    /// Where the chain begins: the last entry that is no longer kept.
    pub async fn anchor(&mut self) -> Result<Link, StateError> {
        link(self, "anchor").await
    }

    /// Where the chain ends: its newest entry.
    pub async fn head(&mut self) -> Result<Link, StateError> {
        link(self, "head").await
    }
}

/// Entries that are read at a time.
const PAGE: i64 = 1000;

impl State {
    /// Goes through the whole chain, in which `expected` must be. What was
    /// appended meanwhile is not looked at.
    pub async fn verify_changes(&self, expected: Option<Link>) -> Result<chain::Verdict, StateError> {
        loop {
            let mut q = self.reader();
            let (head, anchor) = (q.head().await?, q.anchor().await?);
            let mut check = chain::Check::new(anchor.clone()).expect(expected.clone());
            let verdict = loop {
                let wanted = Wanted {
                    after: Some(check.reached().sequence),
                    before: Some(head.sequence + 1),
                    ..Wanted::default()
                };
                let page = q.changes(&wanted, PAGE).await?;
                if page.is_empty() {
                    break check.finish(&head);
                }
                if let Some(broken) = page.iter().find_map(|entry| check.see(entry).err()) {
                    break check.broken(&head, broken);
                }
            };
            // Old entries may have gone while this read: not a hole.
            if verdict.is_intact() || q.anchor().await? == anchor {
                return Ok(verdict);
            }
        }
    }
}
