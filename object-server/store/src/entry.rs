//! What the index says about one name, and the rule by which records change it.
//!
//! An entry has two slots: the winner among data records and tombstones, and
//! the newest metadata update (POST) over that data or later data. Each slot
//! only ever grows, so records may come in any order and any number of times
//! (invariant I6). Pure: no I/O, no clock.
//!
//! Changed by applying records and by compaction; the stored form is in
//! `docs/formats/object.md`, and public for the tests that hold it in place.
use virga_disk::segment::Locator;
use virga_node::clock::Version;
use virga_object_wire::posted::PostRank;

/// What kind of record won a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A whole object in one record.
    Object = 1,
    /// The commit record of an object in extents.
    Commit = 3,
    /// A deletion.
    Tombstone = 4,
}

/// The winning data record or tombstone of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Winner {
    /// Kind of record.
    pub kind: Kind,
    /// Version it was written with.
    pub version: Version,
    /// BLAKE3 of the object's bytes; zero for a tombstone.
    pub blake3: [u8; 32],
    /// Bytes of the object.
    pub size: u64,
    /// How often compaction rewrote the extent list: of two records of the same
    /// content the one rewritten more often names extents that still exist.
    pub moves: u32,
    /// The record.
    pub place: Locator,
    /// Segments that hold extents, with the bytes of their records there.
    pub extents: Vec<(u64, u64)>,
}

/// The newest metadata update of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Its versions, and what decides between it and others.
    pub rank: PostRank,
    /// The record.
    pub place: Locator,
}

/// Everything the index knows of a name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// Data or deletion; `None` if only a metadata update arrived so far.
    pub winner: Option<Winner>,
    /// Metadata update over the winner, or over data that is newer.
    pub post: Option<Post>,
    /// Second of expiry, from the newest record that can set one.
    pub delete_at: Option<u64>,
}

impl Winner {
    /// What decides between two winners.
    fn rank(&self) -> (Version, &[u8; 32], u32) {
        (self.version, &self.blake3, self.moves)
    }

    /// Bytes of records that this winner keeps alive, by segment.
    pub fn keeps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        std::iter::once((self.place.segment, u64::from(self.place.length)))
            .chain(self.extents.iter().copied())
    }
}

impl Entry {
    /// Newest version of the entry: what readers compare.
    pub fn version(&self) -> Version {
        let data = self.winner.as_ref().map_or(Version(0), |w| w.version);
        self.post
            .as_ref()
            .map_or(data, |post| post.rank.version.max(data))
    }

    /// Version of the data or deletion; zero if neither is known.
    pub fn data_version(&self) -> Version {
        self.winner.as_ref().map_or(Version(0), |winner| winner.version)
    }

    /// The winner if it is an object.
    pub fn object(&self) -> Option<&Winner> {
        self.winner.as_ref().filter(|w| w.kind != Kind::Tombstone)
    }

    /// Whether the name is an object that has not expired at `now_secs`.
    pub fn expired(&self, now_secs: u64) -> bool {
        self.object().is_some() && self.delete_at.is_some_and(|at| at <= now_secs)
    }

    /// Whether the data or deletion here is at least as new as this data.
    pub fn outranks(&self, version: Version, blake3: &[u8; 32]) -> bool {
        let winner = self.winner.as_ref();
        winner.is_some_and(|winner| (winner.version, &winner.blake3) >= (version, blake3))
    }

    /// The entry after a data record or tombstone, or `None` if that changes
    /// nothing. `delete_at` is the record's own expiry.
    pub fn with_winner(old: Option<&Self>, new: Winner, delete_at: Option<u64>) -> Option<Self> {
        let old_winner = old.and_then(|entry| entry.winner.as_ref());
        if old_winner.is_some_and(|old| old.rank() >= new.rank()) {
            return None;
        }
        let post = old
            .and_then(|entry| entry.post.as_ref())
            .filter(|post| post.rank.outlives(new.version));
        let delete_at = match (post, old) {
            (Some(_), Some(entry)) => entry.delete_at,
            _ => delete_at,
        };
        Some(Self {
            post: post.cloned(),
            winner: Some(new),
            delete_at,
        })
    }

    /// The entry after a metadata update, or `None` if that changes nothing.
    pub fn with_post(old: Option<&Self>, new: Post, delete_at: Option<u64>) -> Option<Self> {
        let winner = old.and_then(|entry| entry.winner.as_ref());
        if winner.is_some_and(|winner| !new.rank.outlives(winner.version)) {
            return None;
        }
        let before = old.and_then(|entry| entry.post.as_ref());
        if before.is_some_and(|post| post.rank >= new.rank) {
            return None;
        }
        Some(Self {
            winner: winner.cloned(),
            post: Some(new),
            delete_at,
        })
    }

    /// Bytes of records that this entry keeps alive, by segment.
    pub fn keeps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let winner = self.winner.iter().flat_map(Winner::keeps);
        winner.chain(
            self.post
                .iter()
                .map(|post| (post.place.segment, u64::from(post.place.length))),
        )
    }
}

/// First byte of a stored entry: the layout below.
const FORMAT: u8 = 2;
/// Every flag of that layout.
const FLAGS: u8 = HAS_WINNER | HAS_POST | HAS_EXPIRY | HAS_EXTENTS;
const HAS_WINNER: u8 = 1;
const HAS_POST: u8 = 2;
const HAS_EXPIRY: u8 = 4;
const HAS_EXTENTS: u8 = 8;

/// Why stored bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// Another version of the software wrote them.
    #[error("an entry of the index is of format {0}, and {FORMAT} is what can be read")]
    Format(u8),
    /// They are cut short, too long, or contradict themselves.
    #[error("an entry of the index cannot be read")]
    Malformed,
}

impl Entry {
    /// Appends the stored form: format, flags, then only what is there.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        if self.delete_at.is_some() {
            flags |= HAS_EXPIRY;
        }
        if self.post.is_some() {
            flags |= HAS_POST;
        }
        if let Some(winner) = &self.winner {
            flags |= HAS_WINNER;
            if winner.kind == Kind::Commit {
                flags |= HAS_EXTENTS;
            }
        }
        out.extend_from_slice(&[FORMAT, flags]);
        if let Some(at) = self.delete_at {
            out.extend_from_slice(&at.to_le_bytes());
        }
        if let Some(post) = &self.post {
            let rank = &post.rank;
            for number in [rank.over.0, rank.version.0, rank.typed.0, rank.tie] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            put_place(out, &post.place);
        }
        let Some(winner) = &self.winner else { return };
        out.push(winner.kind as u8);
        out.extend_from_slice(&winner.version.0.to_le_bytes());
        put_place(out, &winner.place);
        if winner.kind == Kind::Tombstone {
            return;
        }
        out.extend_from_slice(&winner.size.to_le_bytes());
        out.extend_from_slice(&winner.blake3);
        if winner.kind == Kind::Commit {
            out.extend_from_slice(&winner.moves.to_le_bytes());
            out.extend_from_slice(&(winner.extents.len() as u32).to_le_bytes());
            for (segment, bytes) in &winner.extents {
                out.extend_from_slice(&segment.to_le_bytes());
                out.extend_from_slice(&bytes.to_le_bytes());
            }
        }
    }

    /// Reads a stored entry.
    ///
    /// # Errors
    /// [`BadEntry`] unless these are exactly the bytes of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadEntry> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => Self::decode_rest(rest).ok_or(BadEntry::Malformed),
            Some((&other, _)) => Err(BadEntry::Format(other)),
            None => Err(BadEntry::Malformed),
        }
    }

    /// Reads what follows the format.
    fn decode_rest(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let [flags] = cursor.take()?;
        let extents_alone = flags & (HAS_EXTENTS | HAS_WINNER) == HAS_EXTENTS;
        if flags & !FLAGS != 0 || extents_alone {
            return None;
        }
        let mut entry = Self::default();
        if flags & HAS_EXPIRY != 0 {
            entry.delete_at = Some(cursor.u64()?);
        }
        if flags & HAS_POST != 0 {
            entry.post = Some(Post {
                rank: PostRank {
                    over: Version(cursor.u64()?),
                    version: Version(cursor.u64()?),
                    typed: Version(cursor.u64()?),
                    tie: cursor.u64()?,
                },
                place: cursor.place()?,
            });
        }
        if flags & HAS_WINNER != 0 {
            entry.winner = Some(cursor.winner(flags)?);
        }
        cursor.0.is_empty().then_some(entry)
    }
}

fn put_place(out: &mut Vec<u8>, place: &Locator) {
    out.extend_from_slice(&place.segment.to_le_bytes());
    out.extend_from_slice(&place.offset.to_le_bytes());
    out.extend_from_slice(&place.length.to_le_bytes());
}

/// Reads fixed-size fields off the front of a slice.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn place(&mut self) -> Option<Locator> {
        Some(Locator {
            segment: self.u64()?,
            offset: self.u32()?,
            length: self.u32()?,
        })
    }

    fn winner(&mut self, flags: u8) -> Option<Winner> {
        let [kind] = self.take()?;
        let kind = match kind {
            1 => Kind::Object,
            3 => Kind::Commit,
            4 => Kind::Tombstone,
            _ => return None,
        };
        if (kind == Kind::Commit) != (flags & HAS_EXTENTS != 0) {
            return None;
        }
        let (version, place) = (Version(self.u64()?), self.place()?);
        let mut winner = Winner {
            kind,
            version,
            blake3: [0; 32],
            size: 0,
            moves: 0,
            place,
            extents: Vec::new(),
        };
        if kind != Kind::Tombstone {
            winner.size = self.u64()?;
            winner.blake3 = self.take()?;
        }
        if flags & HAS_EXTENTS != 0 {
            winner.moves = self.u32()?;
            let count = self.u32()? as usize;
            if count > self.0.len() / 16 {
                return None;
            }
            winner.extents = (0..count)
                .map(|_| Some((self.u64()?, self.u64()?)))
                .collect::<Option<_>>()?;
        }
        Some(winner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Data(Winner, Option<u64>),
        Meta(Post, Option<u64>),
    }

    fn apply(entry: Option<Entry>, change: &Change) -> Option<Entry> {
        let new = match change.clone() {
            Change::Data(winner, at) => Entry::with_winner(entry.as_ref(), winner, at),
            Change::Meta(post, at) => Entry::with_post(entry.as_ref(), post, at),
        };
        new.or(entry)
    }

    /// A record is a function of its version and content, as on a real device:
    /// equal ones are the same record.
    fn change() -> impl Strategy<Value = Change> {
        let place = |n: u64| Locator {
            segment: n,
            offset: 64,
            length: 200,
        };
        (0..4u8, 1..6u64, 0..2u8, 0..6u64).prop_map(move |(kind, version, content, over)| {
            let at = content
                .is_multiple_of(2)
                .then_some(version * 10 + u64::from(kind));
            let (kind, blake3) = match kind {
                0 => (Kind::Tombstone, [0; 32]),
                1 => (Kind::Commit, [content + 10; 32]),
                2 => (Kind::Object, [content + 20; 32]),
                _ => {
                    let rank = PostRank {
                        over: Version(over),
                        version: Version(version),
                        typed: Version(version * u64::from(content)),
                        tie: u64::from(content),
                    };
                    let post = Post {
                        rank,
                        place: place(over * 1000 + version * 100 + rank.tie),
                    };
                    let at = at.map(|at| at + 100 * over);
                    return Change::Meta(post, at);
                }
            };
            let extents = if kind == Kind::Commit {
                vec![(version, 7)]
            } else {
                vec![]
            };
            let winner = Winner {
                kind,
                version: Version(version),
                blake3,
                size: 5,
                moves: 0,
                place: place(version * 10 + u64::from(content)),
                extents,
            };
            let winner = if kind == Kind::Tombstone {
                Winner { size: 0, ..winner }
            } else {
                winner
            };
            Change::Data(winner, if kind == Kind::Tombstone { None } else { at })
        })
    }

    proptest! {
        #[test]
        fn i6_any_order_and_repetition_of_records_gives_the_same_entry(
            (changes, shuffled) in proptest::collection::vec(change(), 1..12).prop_flat_map(|changes| {
                let twice: Vec<_> = changes.iter().chain(&changes).cloned().collect();
                (Just(changes), Just(twice).prop_shuffle())
            })
        ) {
            // Tombstones of one version differ in nothing but their place.
            let strip = |entry: Option<Entry>| entry.map(|mut entry| {
                if let Some(winner) = entry.winner.as_mut().filter(|w| w.kind == Kind::Tombstone) {
                    winner.place.segment = 0;
                }
                entry
            });
            let once = strip(changes.iter().fold(None, apply));
            let again = strip(shuffled.iter().fold(None, apply));
            prop_assert_eq!(once, again);
        }

        #[test]
        fn an_entry_reads_back_as_it_was_stored(changes in proptest::collection::vec(change(), 1..6)) {
            let entry = changes.iter().fold(None, apply).unwrap();
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
            for cut in 0..bytes.len() {
                prop_assert_eq!(Entry::decode(&bytes[..cut]), Err(BadEntry::Malformed));
            }
            bytes.push(0);
            prop_assert_eq!(Entry::decode(&bytes), Err(BadEntry::Malformed));
        }
    }

    #[test]
    fn an_entry_of_another_format_is_named_and_unknown_flags_are_refused() {
        assert_eq!(Entry::decode(&[FORMAT, 0]), Ok(Entry::default()));
        assert_eq!(Entry::decode(&[1, 0]), Err(BadEntry::Format(1)));
        for flags in [0x10, 0x80, HAS_EXTENTS] {
            assert_eq!(Entry::decode(&[FORMAT, flags]), Err(BadEntry::Malformed));
        }
    }

    #[test]
    fn an_entry_keeps_alive_its_record_its_extents_and_its_post() {
        let place = |segment, length| Locator {
            segment,
            offset: 64,
            length,
        };
        let winner = Winner {
            kind: Kind::Commit,
            version: Version(5),
            blake3: [1; 32],
            size: 9,
            moves: 0,
            place: place(1, 100),
            extents: vec![(2, 70), (3, 80)],
        };
        let post = Post {
            rank: PostRank {
                over: Version(5),
                version: Version(6),
                typed: Version(0),
                tie: 0,
            },
            place: place(4, 50),
        };
        let mut entry = Entry {
            winner: Some(winner),
            post: Some(post),
            delete_at: None,
        };
        let kept = |entry: &Entry| entry.keeps().collect::<Vec<_>>();
        assert_eq!(kept(&entry), [(1, 100), (2, 70), (3, 80), (4, 50)]);
        entry.post = None;
        assert_eq!(kept(&entry), [(1, 100), (2, 70), (3, 80)]);
        assert_eq!(kept(&Entry::default()), []);
    }
}
