//! One key as its single writer knows it: every write that was tried, which of
//! them were acknowledged, and what a reader may therefore see.
//!
//! At most one client writes a key at a time ([`Key::claim`]); anyone reads. A
//! read may show the write that was acknowledged last when it began, or any
//! write tried since; and nothing older than what an earlier read has shown.
//! A write that failed may show up until the next one is acknowledged.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::findings::Kind;
use crate::linear::Held;

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a 2xx (or a 404 of a DELETE): it happened.
    Acknowledged,
    /// Refused or cut off: it may have happened.
    Unknown,
    /// Without an answer in a long time: it may happen yet. The key is given up.
    Silent,
}

/// What a write makes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// New data, with its ETag and size, and new metadata.
    Put(String, u64),
    /// New metadata.
    Post,
    /// Nothing left.
    Delete,
}

/// What a read showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Nothing.
    Gone,
    /// Data and metadata of these writes.
    Data(u64, u64),
    /// Data with this ETag and metadata of this write.
    Head(String, u64),
    /// A line of a listing: ETag and size.
    Row(String, u64),
    /// No line where it would stand in a listing.
    Unlisted,
}

#[derive(Debug)]
struct Attempt {
    held: Held,
    etag: String,
    size: u64,
}

#[derive(Debug)]
struct Register {
    /// Every write that was tried; the first stands for the beginning.
    attempts: Vec<Attempt>,
    /// The last one that was acknowledged.
    acknowledged: usize,
    /// The newest that a read has shown for certain.
    seen: usize,
    given_up: bool,
}

/// What was so when a read began.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    acknowledged: usize,
    seen: usize,
}

/// A key with one writer at a time.
#[derive(Debug)]
pub struct Key {
    /// Path below the account.
    pub path: String,
    writing: AtomicBool,
    register: Mutex<Register>,
}

/// The right to write a key.
#[derive(Debug)]
pub struct Claim<'a>(&'a Key);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.writing.store(false, Ordering::Release);
    }
}

impl Key {
    /// A key that holds nothing.
    pub fn new(path: String) -> Self {
        let nothing = Attempt {
            held: None,
            etag: String::new(),
            size: 0,
        };
        Self {
            path,
            writing: AtomicBool::new(false),
            register: Mutex::new(Register {
                attempts: vec![nothing],
                acknowledged: 0,
                seen: 0,
                given_up: false,
            }),
        }
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().expect("no client panicked")
    }

    /// The right to write it, unless somebody else does or it was given up.
    pub fn claim(&self) -> Option<Claim<'_>> {
        if self.writing.swap(true, Ordering::Acquire) {
            return None;
        }
        let claim = Claim(self);
        (!self.register().given_up).then_some(claim)
    }

    /// To be taken before a read is sent.
    pub fn window(&self) -> Window {
        let register = self.register();
        Window {
            acknowledged: register.acknowledged,
            seen: register.seen,
        }
    }

    /// Whether something is there; `None` if the last write has failed.
    pub fn exists(&self) -> Option<bool> {
        let register = self.register();
        (register.acknowledged + 1 == register.attempts.len())
            .then(|| register.attempts[register.acknowledged].held.is_some())
    }

    /// ETag and size of the data that a write brought.
    pub fn data(&self, number: u64) -> Option<(String, u64)> {
        let register = self.register();
        let attempt = register.attempts.get(usize::try_from(number).ok()?)?;
        Some((attempt.etag.clone(), attempt.size))
    }

    /// The write whose data have this ETag.
    pub fn by_etag(&self, etag: &str) -> Option<u64> {
        let register = self.register();
        let put = register.attempts.iter().rposition(|a| a.etag == etag);
        put.map(|at| at as u64)
    }

    /// How many writes were tried.
    pub fn writes(&self) -> u64 {
        self.register().attempts.len() as u64 - 1
    }

    /// Notes a write before it is sent, and whether the last acknowledged one
    /// is the last one tried: a POST may only follow such a one, as what it
    /// would be on top of is not known otherwise.
    pub fn begin(&self, claim: &Claim<'_>, change: impl FnOnce(u64) -> Change) -> u64 {
        debug_assert!(std::ptr::eq(claim.0, self));
        // What the number makes (a body, its sum) takes a while.
        let number = self.register().attempts.len() as u64;
        let change = change(number);
        let mut register = self.register();
        let (held, etag, size) = match change {
            Change::Put(etag, size) => (Some((number, number)), etag, size),
            Change::Post => {
                let below = register.attempts[register.acknowledged].held;
                (below.map(|(data, _)| (data, number)), String::new(), 0)
            }
            Change::Delete => (None, String::new(), 0),
        };
        register.attempts.push(Attempt { held, etag, size });
        number
    }

    /// Notes how the last write ended.
    pub fn end(&self, claim: Claim<'_>, outcome: Outcome) {
        let mut register = self.register();
        match outcome {
            Outcome::Acknowledged => register.acknowledged = register.attempts.len() - 1,
            Outcome::Unknown => {}
            Outcome::Silent => register.given_up = true,
        }
        drop(claim);
    }

    /// Whether a read that began with `window` and ends now may show `sight`.
    ///
    /// # Errors
    /// What it violates, in words.
    pub fn judge(&self, window: Window, sight: &Sight) -> Result<(), (Kind, String)> {
        let mut register = self.register();
        if register.given_up {
            return Ok(());
        }
        // A row is written after the object and before the acknowledgement: till
        // then a listing may be behind what reads show.
        let listed = matches!(sight, Sight::Row(..) | Sight::Unlisted);
        let matches = |at: &usize| register.shows(*at, sight);
        let fitting: Vec<usize> = (window.acknowledged..register.attempts.len())
            .filter(matches)
            .collect();
        let (Some(first), Some(last)) = (fitting.first(), fitting.last()) else {
            return Err(register.why_not(window, sight));
        };
        if listed {
            return Ok(());
        }
        if *last < window.seen {
            let text = format!("shows write {last} after a read has shown write {}", window.seen);
            return Err((Kind::WentBack, text));
        }
        register.seen = register.seen.max(*first);
        Ok(())
    }
}

impl Register {
    fn shows(&self, at: usize, sight: &Sight) -> bool {
        match (self.attempts[at].held, sight) {
            (None, Sight::Gone | Sight::Unlisted) => true,
            (Some(held), Sight::Data(data, meta)) => held == (*data, *meta),
            (Some((data, by)), Sight::Head(etag, meta)) => {
                self.attempts[data as usize].etag == *etag && by == *meta
            }
            (Some((data, _)), Sight::Row(etag, size)) => {
                let put = &self.attempts[data as usize];
                put.etag == *etag && put.size == *size
            }
            _ => false,
        }
    }

    /// Whether it is an update with data before those it was made over: a
    /// replica that had missed a PUT took a POST to it.
    fn mixes(&self, sight: &Sight) -> bool {
        let (data, meta) = match sight {
            Sight::Data(data, meta) => (Some(*data as usize), *meta),
            Sight::Head(etag, meta) => (self.attempts.iter().rposition(|put| put.etag == *etag), *meta),
            _ => return false,
        };
        let update = self.attempts.get(meta as usize).and_then(|made| made.held);
        let put = |at: usize| self.attempts.get(at).is_some_and(|made| !made.etag.is_empty());
        update.is_some_and(|(over, by)| by != over && data.is_some_and(|at| put(at) && (at as u64) < over))
    }

    fn why_not(&self, window: Window, sight: &Sight) -> (Kind, String) {
        let before = (0..window.acknowledged).rev().find(|at| self.shows(*at, sight));
        let then = self.attempts[window.acknowledged].held;
        let kind = match (sight, before, then) {
            (Sight::Gone | Sight::Unlisted, _, _) => Kind::Lost,
            (_, Some(_), None) => Kind::CameBack,
            (_, Some(_), Some(_)) => Kind::Stale,
            (_, None, _) if self.mixes(sight) => Kind::Mixed,
            (_, None, _) => Kind::Torn,
        };
        let text = format!(
            "shows {sight:?}{}; acknowledged was write {} ({then:?}), the last one tried is {}",
            before.map_or_else(String::new, |at| format!(" of write {at}")),
            window.acknowledged,
            self.attempts.len() - 1
        );
        (kind, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &Key, outcome: Outcome) -> u64 {
        let claim = key.claim().expect("nobody else writes");
        let number = key.begin(&claim, |n| Change::Put(format!("etag-{n}"), 10 * n));
        key.end(claim, outcome);
        number
    }

    fn delete(key: &Key, outcome: Outcome) {
        let claim = key.claim().expect("nobody else writes");
        key.begin(&claim, |_| Change::Delete);
        key.end(claim, outcome);
    }

    fn kind(key: &Key, sight: Sight) -> Option<Kind> {
        key.judge(key.window(), &sight).err().map(|(kind, _)| kind)
    }

    #[test]
    fn what_was_acknowledged_must_be_seen_and_nothing_older() {
        let key = Key::new("box/a".into());
        assert_eq!(kind(&key, Sight::Gone), None);
        put(&key, Outcome::Acknowledged);
        assert_eq!(kind(&key, Sight::Gone), Some(Kind::Lost));
        put(&key, Outcome::Acknowledged);
        assert_eq!(kind(&key, Sight::Data(1, 1)), Some(Kind::Stale));
        assert_eq!(kind(&key, Sight::Row("etag-1".into(), 10)), Some(Kind::Stale));
        assert_eq!(kind(&key, Sight::Data(2, 2)), None);
        assert_eq!(kind(&key, Sight::Head("etag-2".into(), 2)), None);
        assert_eq!(kind(&key, Sight::Row("etag-2".into(), 21)), Some(Kind::Torn));
        delete(&key, Outcome::Acknowledged);
        assert_eq!(kind(&key, Sight::Data(2, 2)), Some(Kind::CameBack));
        assert_eq!(kind(&key, Sight::Gone), None);
    }

    #[test]
    fn an_update_over_older_data_is_told_from_what_nobody_wrote() {
        let key = Key::new("box/a".into());
        for _ in 0..2 {
            put(&key, Outcome::Acknowledged);
        }
        let claim = key.claim().expect("nobody else writes");
        key.begin(&claim, |_| Change::Post);
        key.end(claim, Outcome::Acknowledged);
        assert_eq!(kind(&key, Sight::Data(2, 3)), None);
        assert_eq!(kind(&key, Sight::Data(1, 3)), Some(Kind::Mixed));
        assert_eq!(kind(&key, Sight::Head("etag-1".into(), 3)), Some(Kind::Mixed));
        // The metadata of a PUT go with no other data.
        assert_eq!(kind(&key, Sight::Data(1, 2)), Some(Kind::Torn));
        assert_eq!(kind(&key, Sight::Head("unknown".into(), 3)), Some(Kind::Torn));
    }

    #[test]
    fn a_failed_write_may_show_until_the_next_is_acknowledged() {
        let key = Key::new("box/a".into());
        put(&key, Outcome::Acknowledged);
        put(&key, Outcome::Unknown);
        assert_eq!(key.exists(), None);
        assert_eq!(kind(&key, Sight::Data(1, 1)), None);
        assert_eq!(kind(&key, Sight::Data(2, 2)), None);
        // From then on it is there.
        assert_eq!(kind(&key, Sight::Data(1, 1)), Some(Kind::WentBack));
        put(&key, Outcome::Acknowledged);
        assert_eq!(kind(&key, Sight::Data(2, 2)), Some(Kind::Stale));
    }

    #[test]
    fn a_read_beside_a_write_may_see_before_and_after() {
        let key = Key::new("box/a".into());
        put(&key, Outcome::Acknowledged);
        let window = key.window();
        put(&key, Outcome::Acknowledged);
        assert_eq!(key.judge(window, &Sight::Data(1, 1)), Ok(()));
        assert_eq!(key.judge(window, &Sight::Data(2, 2)), Ok(()));
        assert!(key.judge(window, &Sight::Gone).is_err());
        assert_eq!(
            kind(&key, Sight::Data(1, 1)),
            Some(Kind::Stale),
            "a new read may not"
        );
    }

    #[test]
    fn a_listing_may_be_behind_reads_until_the_write_is_acknowledged() {
        let key = Key::new("box/a".into());
        let claim = key.claim().expect("nobody else writes");
        key.begin(&claim, |_| Change::Put("etag-1".into(), 10));
        assert_eq!(kind(&key, Sight::Data(1, 1)), None);
        assert_eq!(kind(&key, Sight::Unlisted), None);
        assert_eq!(kind(&key, Sight::Row("etag-1".into(), 10)), None);
        assert_eq!(kind(&key, Sight::Gone), Some(Kind::WentBack));
        key.end(claim, Outcome::Acknowledged);
        assert_eq!(kind(&key, Sight::Unlisted), Some(Kind::Lost));
    }

    #[test]
    fn a_post_keeps_the_data_and_changes_the_metadata() {
        let key = Key::new("box/a".into());
        put(&key, Outcome::Acknowledged);
        let claim = key.claim().expect("nobody else writes");
        key.begin(&claim, |_| Change::Post);
        assert!(key.claim().is_none(), "one writer at a time");
        key.end(claim, Outcome::Acknowledged);
        assert_eq!(kind(&key, Sight::Data(1, 2)), None);
        assert_eq!(kind(&key, Sight::Row("etag-1".into(), 10)), None);
        assert_eq!(kind(&key, Sight::Data(1, 1)), Some(Kind::Stale));
    }

    #[test]
    fn a_key_whose_write_may_still_come_is_given_up() {
        let key = Key::new("box/a".into());
        put(&key, Outcome::Silent);
        assert!(key.claim().is_none());
        assert_eq!(kind(&key, Sight::Data(9, 9)), None);
    }
}
