//! Devices that were away for long, and until when they are not believed.
//!
//! A device remembers when its last complete round of reconciliation began, ring
//! by ring. Deletions are forgotten (by devices that all have them) once they are
//! as old as the reclaim age. So a device whose last round is younger cannot lack a
//! deletion that others have forgotten, and what it answers is worth as much as
//! any replica's. One whose last round is older, or that does not know of one
//! although it holds something (its index was lost), is *returning*: it may hold
//! what was deleted long ago, and nobody could tell it so any more. It
//!
//! - takes writes, what replicas push, and all that reconciliation asks;
//! - answers nothing about what it holds: [`NodeError::Returning`], so that
//!   quorums are made without it;
//! - pays no container rows, reports no totals, expires nothing.
//!
//! **When it is over.** Every round first asks the other primaries how far they
//! have forgotten deletions (their horizons; each passes on the highest it has
//! heard of). Then either
//!
//! 1. a quorum of every partition that holds anything here has answered, and no
//!    horizon reaches beyond this device's last round: whatever was deleted since
//!    then is still known as deleted to somebody of every quorum, as if the device
//!    had been away for a minute; or
//! 2. all primaries have answered and the round is complete: what nobody knows of and
//!    may have been deleted has been set aside, the rest is everywhere.
//!
//! Until one of both holds, nothing is pushed.
//!
//! **Why nothing comes back.** Let a name be deleted by `d`, and be held here by
//! an older version `v`. If `d` is known to some primary of every quorum, readers
//! see `d`. If every primary has forgotten `d`, the one that forgot it first had a
//! horizon of `d` or more from then on, and whoever compared itself with that one
//! since. So one of a quorum answers with a horizon at or beyond `d`. If `d` is
//! later than this device's last round, 1 does not hold, and 2 sets `v` aside before
//! anybody is answered. If `d` is earlier, that round was complete with `d` known
//! to the primaries, who forget it only after rounds of their own that brought it here.
//!
//! **Why nobody waits for ever.** When all primaries come back together, as after a
//! month without power, nobody forgot anything meanwhile: horizons lie a
//! reclaim age before the stop, last rounds at the stop. 1 holds for each of them as
//! soon as a quorum answers, and answering about horizons and sums is what
//! a returning device does. A dead disk among them changes nothing. What does wait is
//! a device that may really hold something deleted, while another primary does not
//! answer: until that one is back, or has been taken out of the ring.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use virga_node::clock::{Micros, Version};
use virga_object_wire::movement::RingName;
use virga_object_wire::status::{Cause, DeviceState, DeviceStatus, Reason};

/// How far a clock may have gone back before times cannot be compared.
const SKEW: Duration = Duration::from_secs(60);

/// What is known of one device. See the module.
#[derive(Debug)]
pub(crate) struct Absence {
    /// When it was opened.
    opened: Micros,
    reclaim_age: Duration,
    /// By ring: since when the device is returning; `None` when it is in step.
    rings: Mutex<BTreeMap<RingName, Option<Version>>>,
    /// Whether all rings have been judged and none is returning.
    over: AtomicBool,
}

/// Whether no deletion that was forgotten is later than a device's last round.
pub(crate) fn nothing_forgotten(last_round: Version, horizon: Version) -> bool {
    horizon == Version(0) || last_round > horizon
}

impl Absence {
    /// Of a device opened at `opened` that keeps deletions for `reclaim_age`.
    pub(crate) fn new(opened: Micros, reclaim_age: Duration) -> Self {
        Self {
            opened,
            reclaim_age,
            rings: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    fn rings(&self) -> MutexGuard<'_, BTreeMap<RingName, Option<Version>>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a device with this last round (zero: none) may lack deletions
    /// that others have forgotten. Half the age, as clocks and rounds differ.
    fn was_long(&self, last_round: Version) -> bool {
        let then = last_round.time();
        self.opened.since(then) > self.reclaim_age / 2 || then > self.opened.plus(SKEW)
    }

    /// Judges a ring once. `last_round`: when the device's last complete round of
    /// it began, zero for none; `holds`: whether it holds anything of it.
    pub(crate) fn judge(&self, ring: RingName, last_round: Version, holds: bool) -> bool {
        let mut rings = self.rings();
        let judged = rings.entry(ring).or_insert_with(|| {
            let returning = holds && self.was_long(last_round);
            returning.then_some(last_round)
        });
        judged.is_some()
    }

    /// Whether a ring has been judged.
    pub(crate) fn is_judged(&self, ring: RingName) -> bool {
        self.over.load(Ordering::Acquire) || self.rings().contains_key(&ring)
    }

    /// All rings have been judged.
    pub(crate) fn judged_all(&self) {
        let over = self.rings().values().all(Option::is_none);
        self.over.store(over, Ordering::Release);
    }

    /// Whether the device is returning as to a ring; no lock once it is in step
    /// with all.
    pub(crate) fn is_returning(&self, ring: RingName) -> bool {
        !self.over.load(Ordering::Acquire) && self.rings().get(&ring).is_some_and(Option::is_some)
    }

    /// Whether it is returning as to any ring.
    pub(crate) fn is_any(&self) -> bool {
        !self.over.load(Ordering::Acquire) && self.rings().values().any(Option::is_some)
    }

    /// The device is in step with the other replicas; whether that is news.
    pub(crate) fn end(&self, ring: RingName) -> bool {
        let news = self.rings().insert(ring, None).flatten().is_some();
        if news {
            self.judged_all();
        }
        news
    }

    /// Says it in a status.
    pub(crate) fn show(&self, status: &mut DeviceStatus) {
        if !self.is_any() {
            return;
        }
        let rings = self.rings();
        let returning = rings.iter().filter_map(|(ring, since)| Some((ring, (*since)?)));
        let names: Vec<String> = returning.map(|(ring, since)| self.words(*ring, since)).collect();
        status.state = status.state.max(DeviceState::Returning);
        status.reasons.push(Reason {
            cause: Cause::WasAway,
            since: self.opened,
            detail: format!("it answers no reads until it is in step: {}", names.join(", ")),
        });
    }

    fn words(&self, ring: RingName, since: Version) -> String {
        if since == Version(0) {
            return format!("{ring} (its last round is not known)");
        }
        let days = self.opened.since(since.time()).as_secs() / 86_400;
        format!("{ring} (last round {days} days before it was opened)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const RING: RingName = RingName::Object(0);

    fn absence() -> Absence {
        Absence::new(Micros(0).plus(400 * DAY), 7 * DAY)
    }

    fn days(days: u32) -> Version {
        Version::at(Micros(0).plus(days * DAY))
    }

    #[test]
    fn a_device_is_returning_if_its_last_round_is_old_or_unknown_and_it_holds_something() {
        assert!(!absence().judge(RING, days(399), true));
        assert!(!absence().judge(RING, days(397), true));
        assert!(absence().judge(RING, days(396), true));
        assert!(absence().judge(RING, Version(0), true));
        assert!(
            !absence().judge(RING, Version(0), false),
            "an empty device has nothing stale"
        );
        assert!(absence().judge(RING, days(401), true), "the clock has gone back");
    }

    #[test]
    fn a_ring_is_judged_once_and_is_over_once() {
        let absence = absence();
        assert!(!absence.is_judged(RING));
        assert!(absence.judge(RING, days(1), true));
        assert!(
            absence.judge(RING, days(400), true),
            "what it learns later is no excuse"
        );
        assert!(!absence.judge(RingName::Account, days(400), true));
        absence.judged_all();
        assert!(absence.is_returning(RING) && absence.is_any());
        assert!(!absence.is_returning(RingName::Account));
        assert!(absence.end(RING));
        assert!(!absence.end(RING));
        assert!(!absence.is_any() && !absence.is_returning(RING));
    }

    #[test]
    fn forgotten_deletions_matter_from_the_last_round_on() {
        assert!(nothing_forgotten(days(10), days(3)));
        assert!(nothing_forgotten(Version(0), Version(0)));
        assert!(!nothing_forgotten(days(10), days(10)));
        assert!(!nothing_forgotten(Version(0), days(1)));
    }
}
