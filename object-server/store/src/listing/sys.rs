//! What the listing database notes about itself: its format, and for each kind
//! of listing how far deletions are forgotten and the last complete round of
//! reconciliation.
//!
//! Both guard invariant I7. A deletion is forgotten only after a round that
//! began when it was known here already, so every primary has it; and what was
//! forgotten is told by the horizon, so that a device which was away for long
//! does not bring back what the others no longer remember as deleted.
use virga_node::clock::{Micros, Version};
use virga_ring::RingId;

use super::codec::Reader;
use super::db::{Db, Writes};
use super::fault::ReadError;
use super::head::Kind;
use super::keys::{self, kind_byte};

/// The format of this database.
pub const FORMAT: u8 = 2;
/// The kinds of listings, for whoever goes through both.
pub const KINDS: [Kind; 2] = [Kind::Container, Kind::Account];
/// Key of the format.
const FORMAT_KEY: [u8; 1] = [0];
/// First bytes of the other keys; the kind follows.
const HORIZON: u8 = 1;
const ROUND: u8 = 2;

/// A complete round of reconciliation: what is here is also on all primaries,
/// or newer there, as of the moment when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The ring that it went by.
    pub ring: RingId,
    /// When it began.
    pub started: Micros,
}

/// Highest version among forgotten deletions, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizons([Version; 2]);

impl Horizons {
    /// As stored.
    pub fn read(db: &Db) -> Result<Self, ReadError> {
        Ok(Self([horizon(db, Kind::Container)?, horizon(db, Kind::Account)?]))
    }

    /// That of one kind.
    pub fn of(&self, kind: Kind) -> Version {
        self.0[usize::from(kind_byte(kind))]
    }

    /// Notes that a deletion is forgotten.
    pub fn forgot(&mut self, kind: Kind, version: Version) {
        let known = &mut self.0[usize::from(kind_byte(kind))];
        *known = version.max(*known);
    }

    /// Adds what has changed since `before`.
    pub fn write(&self, before: &Self, writes: &mut Writes) {
        for kind in KINDS {
            if self.of(kind) != before.of(kind) {
                let value = self.of(kind).0.to_le_bytes().to_vec();
                writes.set(keys::SYS, key(HORIZON, kind), Some(value));
            }
        }
    }
}

fn key(what: u8, kind: Kind) -> Vec<u8> {
    vec![what, kind_byte(kind)]
}

/// The format of the database; `None` if none is noted.
pub fn format(db: &Db) -> Result<Option<u8>, ReadError> {
    let stored = db.get_from(keys::SYS, &FORMAT_KEY)?;
    Ok(stored.and_then(|bytes| bytes.first().copied()))
}

/// Notes the format.
pub fn set_format(writes: &mut Writes) {
    writes.set(keys::SYS, FORMAT_KEY.to_vec(), Some(vec![FORMAT]));
}

/// Highest version among forgotten deletions of this kind.
pub fn horizon(db: &Db, kind: Kind) -> Result<Version, ReadError> {
    let Some(bytes) = db.get_from(keys::SYS, &key(HORIZON, kind))? else {
        return Ok(Version(0));
    };
    let number = Reader(&bytes).u64();
    number.map(Version).ok_or(ReadError::Damaged("the horizon"))
}

/// The last complete round.
pub fn round(db: &Db, kind: Kind) -> Result<Option<Round>, ReadError> {
    let Some(bytes) = db.get_from(keys::SYS, &key(ROUND, kind))? else {
        return Ok(None);
    };
    let mut from = Reader(&bytes);
    let round = (|| {
        let version = from.u64()?;
        let digest = from.bytes(16)?.try_into().ok()?;
        let started = Micros(from.u64()?);
        let ring = RingId { version, digest };
        Some(Round { ring, started })
    })();
    round.map(Some).ok_or(ReadError::Damaged("the note of a round"))
}

/// Notes a complete round.
pub fn set_round(kind: Kind, round: &Round, writes: &mut Writes) {
    let mut value = round.ring.version.to_le_bytes().to_vec();
    value.extend(round.ring.digest);
    value.extend(round.started.0.to_le_bytes());
    writes.set(keys::SYS, key(ROUND, kind), Some(value));
}
