//! Answers to queries, remembered until a record changes.
//!
//! What every sign-in reads is the same from one to the next and costs a query
//! each. A reader of [`State::recalling`](crate::State::recalling) takes such an
//! answer from here while [`State::changed`](crate::State::changed) stays what
//! it was. That number tells of this process's changes; whoever follows the feed
//! for those of others says so by `heard_of_changes` and
//! [`confirm`](crate::State::confirm), and an answer that nobody confirmed is
//! believed for [`LIFETIME`] only.
//!
//! Every answer has the time as of which it held
//! ([`Reader::as_of`](crate::Reader::as_of)), so that what is made from it can be
//! dated: a change of this process that is not seen yet is always later than
//! that. One of another process may have begun before and not be done: whoever
//! makes something that lasts looks again when that is written (identity does so
//! in `following`).
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use virga_node::clock::Micros;

use crate::row::{Arg, Row};

/// How long an answer is believed that nobody confirmed.
const LIFETIME: Duration = Duration::from_secs(1);
/// Bytes that each of two halves holds at most, as [`weight`] counts them.
const HALF: usize = 8 << 20;
/// Heaviest answer that is remembered.
const HEAVIEST: usize = 64 << 10;
/// What an entry and a cell cost besides their texts, about.
const OVERHEAD: usize = 64;

/// A statement with what is bound to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) sql: Cow<'static, str>,
    pub(crate) args: Vec<Arg>,
}

#[derive(Clone)]
struct Known {
    rows: Arc<Vec<Row>>,
    at: Micros,
}

/// Two halves, as in `virga_identity_api::recent`, but bounded by weight.
#[derive(Default)]
struct Halves {
    /// The number of changes at which all of it was read.
    stamp: u64,
    young: HashMap<Question, Known>,
    old: HashMap<Question, Known>,
    weight: usize,
}

/// What a process remembers of its records.
pub(crate) struct Memory {
    halves: Mutex<Halves>,
    /// As of when nobody else had changed anything unheard, in microseconds.
    confirmed: AtomicU64,
    /// When the open transaction began; `u64::MAX` if there is none.
    writing: AtomicU64,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rows hold secrets.
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

fn weight(question: &Question, rows: &[Row]) -> usize {
    let args = question.args.iter().map(|arg| OVERHEAD + arg.size());
    let rows = rows.iter().map(|row| OVERHEAD + row.size(OVERHEAD));
    question.sql.len() + args.chain(rows).sum::<usize>()
}

impl Halves {
    /// Forgets what was read at another number of changes.
    fn turn_to(&mut self, stamp: u64) {
        if self.stamp < stamp {
            *self = Self {
                stamp,
                ..Self::default()
            };
        }
    }

    fn put(&mut self, question: Question, known: Known) {
        let more = weight(&question, &known.rows);
        if more > HEAVIEST {
            return;
        }
        if self.weight + more > HALF {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += more;
        self.young.insert(question, known);
    }

    fn get(&mut self, question: &Question) -> Option<Known> {
        if let Some(known) = self.young.get(question) {
            return Some(known.clone());
        }
        let (question, known) = self.old.remove_entry(question)?;
        self.put(question, known.clone());
        Some(known)
    }
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            halves: Mutex::default(),
            confirmed: AtomicU64::new(0),
            writing: AtomicU64::new(u64::MAX),
        }
    }

    fn halves(&self) -> std::sync::MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest time up to which every change of this process is either done
    /// or not begun. `now` is to be read before.
    pub(crate) fn settled(&self, now: Micros) -> Micros {
        now.min(Micros(self.writing.load(Ordering::Acquire)))
    }

    /// As of when something holds that was read at `at` and has not changed, as
    /// far as is known; `None` if nothing was heard for too long.
    pub(crate) fn still(&self, at: Micros, now: Micros) -> Option<Micros> {
        let at = at.max(Micros(self.confirmed.load(Ordering::Acquire)));
        (now.since(at) < LIFETIME).then_some(at)
    }

    /// Says that by `at` nothing had changed but what is known.
    pub(crate) fn confirm(&self, at: Micros) {
        self.confirmed.fetch_max(at.0, Ordering::AcqRel);
    }

    /// The answer, and as of when it held.
    pub(crate) fn recall(
        &self,
        question: &Question,
        stamp: u64,
        now: Micros,
    ) -> Option<(Arc<Vec<Row>>, Micros)> {
        let known = {
            let mut halves = self.halves();
            if halves.stamp != stamp {
                return None;
            }
            halves.get(question)?
        };
        Some((known.rows, self.still(known.at, now)?))
    }

    /// Remembers an answer that was read at `at`, when the number of changes
    /// was `stamp`.
    pub(crate) fn remember(&self, question: Question, stamp: u64, at: Micros, rows: &Arc<Vec<Row>>) {
        let mut halves = self.halves();
        halves.turn_to(stamp);
        if halves.stamp == stamp {
            let rows = rows.clone();
            halves.put(question, Known { rows, at });
        }
    }
}

/// A transaction of this process is open, which may change what is read.
#[derive(Debug)]
pub(crate) struct Writing {
    memory: Arc<Memory>,
    /// See [`State::changed`](crate::State::changed).
    changes: Arc<AtomicU64>,
    open: bool,
}

impl Writing {
    /// Only the holder of the writer's turn may have one.
    pub(crate) fn since(memory: &Arc<Memory>, changes: &Arc<AtomicU64>, now: Micros) -> Self {
        memory.writing.store(now.0, Ordering::Release);
        Self {
            memory: memory.clone(),
            changes: changes.clone(),
            open: true,
        }
    }

    /// The transaction has ended; whether records `changed` by it.
    pub(crate) fn done(mut self, changed: bool) {
        self.open = changed;
    }
}

impl Drop for Writing {
    /// Also when nobody waits for the end any more: then it may have been kept
    /// or not.
    fn drop(&mut self) {
        // Before the other: whoever finds no transaction open finds no answer
        // from before it either.
        if self.open {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        self.memory.writing.store(u64::MAX, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(n: usize) -> Question {
        Question {
            sql: Cow::Borrowed("SELECT"),
            args: vec![Arg::from(format!("{n}"))],
        }
    }

    #[test]
    fn an_answer_holds_until_something_changes_or_nobody_confirms_it() {
        let memory = Memory::new();
        let rows = Arc::new(Vec::new());
        let at = Micros(10_000_000);
        memory.remember(question(1), 5, at, &rows);
        let recalled = |stamp, now| memory.recall(&question(1), stamp, now).map(|(_, at)| at);
        assert_eq!(recalled(5, at), Some(at));
        assert_eq!(recalled(6, at), None, "something changed");
        assert_eq!(recalled(5, at.plus(LIFETIME)), None, "nobody confirmed it");
        let later = at.plus(LIFETIME);
        memory.confirm(later);
        assert_eq!(recalled(5, later), Some(later));
        memory.confirm(at);
        assert_eq!(recalled(5, later), Some(later), "a late word takes nothing back");
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_remembered_after_it() {
        let memory = Memory::new();
        let (rows, at) = (Arc::new(Vec::new()), Micros(1));
        memory.remember(question(1), 2, at, &rows);
        memory.remember(question(2), 1, at, &rows);
        assert!(memory.recall(&question(1), 2, at).is_some());
        assert!(memory.recall(&question(2), 2, at).is_none());
        assert!(memory.recall(&question(2), 1, at).is_none());
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_asked_for() {
        let memory = Memory::new();
        let (rows, at) = (Arc::new(Vec::new()), Micros(1));
        memory.remember(question(0), 1, at, &rows);
        for n in 1..300_000 {
            memory.remember(question(n), 1, at, &rows);
            if n % 1000 == 0 {
                assert!(memory.recall(&question(0), 1, at).is_some(), "forgotten at {n}");
            }
        }
        assert!(memory.recall(&question(1), 1, at).is_none());
        let huge = Question {
            sql: Cow::Owned("x".repeat(HEAVIEST + 1)),
            args: Vec::new(),
        };
        memory.remember(huge.clone(), 1, at, &rows);
        assert!(memory.recall(&huge, 1, at).is_none());
    }

    #[test]
    fn while_a_transaction_is_open_nothing_is_later_than_it() {
        let (memory, changes) = (Arc::new(Memory::new()), Arc::new(AtomicU64::new(0)));
        assert_eq!(memory.settled(Micros(9)), Micros(9));
        type End = fn(Writing, bool);
        let ends: [(End, bool); 3] = [
            (Writing::done, false),
            (Writing::done, true),
            // The client has gone, and nobody knows.
            (|open, _| drop(open), true),
        ];
        for (end, changed) in ends {
            let (open, before) = (
                Writing::since(&memory, &changes, Micros(5)),
                changes.load(Ordering::Acquire),
            );
            assert_eq!(memory.settled(Micros(9)), Micros(5));
            end(open, changed);
            assert_eq!(memory.settled(Micros(9)), Micros(9));
            assert_eq!(changes.load(Ordering::Acquire) > before, changed);
        }
    }
}
