//! Seeds that found something, each by the name of what it was.
use crate::seeds::{play, scenario};

fn holds(name: &str, seed: u64) {
    let outcome = play(scenario(name), seed, false);
    assert!(
        outcome.findings.is_empty(),
        "{name} {seed}: {:#?}",
        outcome.findings
    );
}

/// Differences that a node had judged by a clock a year ahead were remembered as
/// nothing to do, and replicas stayed different for ten minutes after the clock
/// was put right.
#[test]
fn what_a_wrong_clock_has_judged_is_judged_again_when_it_is_right() {
    holds("clock-a-year-off", 3);
}

/// Acknowledged by one primary and a device that stood in, a write is missed by a
/// reader of the other two until it has been brought to them, and must be there
/// afterwards.
#[test]
fn what_stand_ins_held_through_a_power_loss_is_there_in_the_end() {
    holds("power-loss-of-all", 1);
}

/// Rows of a deleted object were forgotten by some replicas of a listing and kept
/// by another that had been away.
#[test]
fn listings_become_equal_after_a_replica_was_away_for_longer_than_deletions_live() {
    holds("away-longer-than-tombstones-live", 7);
}

/// A POST that was answered with 503 lay on one replica: one read showed it, and the
/// next one, which asked the two others, did not.
#[test]
fn what_a_read_has_shown_is_shown_by_the_next_one_that_asks_others() {
    holds("random-faults", 141);
    holds("random-faults", 290);
}

/// A POST was answered with 404 as a quorum knew no object, though one replica had it,
/// took the POST, and showed it later.
#[test]
fn a_post_that_a_replica_took_is_not_said_to_have_found_nothing() {
    holds("one-way-partition", 81);
    holds("ring-change-while-a-node-is-down", 73);
}

/// A device that left forgot an object that readers had brought to the others, and
/// with it the row that it owed.
#[test]
fn the_row_of_an_object_that_readers_brought_around_is_not_forgotten() {
    holds("full-then-expanded", 3);
}

/// Two proxies gave a PUT and a DELETE of one name the same version: replicas kept the
/// data, and listings the deletion.
#[test]
fn data_and_a_deletion_of_one_version_end_alike_in_replicas_and_listings() {
    holds("full-then-expanded", 98);
}

/// A POST of a proxy whose clock is behind, to an object that one replica had missed, was
/// acknowledged though nobody had taken it: it counted as overtaken by the very data it was
/// made to.
#[test]
fn a_post_whose_clock_is_behind_is_not_taken_for_overtaken_by_what_it_is_made_to() {
    holds("clock-skew", 5029);
}

/// Two proxies gave two PUTs the same version, and replicas that had both in one batch took both for
/// done: they kept one by its hash, and listings the other by its ETag.
#[test]
fn two_puts_of_one_version_at_the_same_time_end_alike_in_replicas_and_listings() {
    holds("power-loss-of-all", 20049);
    holds("random-faults", 20167);
}

/// A POST reached a quorum of replicas that had missed the newest PUT, while a stand-in that had it, or a
/// replica with what is left of a PUT that failed, answered a moment later: it was lost with the data it had
/// been made to, or shown with other data.
#[test]
fn a_post_belongs_to_the_newest_data_of_a_replica_that_answers_a_little_later() {
    holds("power-loss-of-all", 20097);
    holds("full-then-expanded", 20071);
}

/// A POST that replicas had taken in its first try found newer data in its second, and went out again under
/// another version, seconds later: it happened twice.
#[test]
fn a_post_that_was_taken_in_an_earlier_try_is_not_stamped_anew() {
    holds("random-faults", 20142);
}

/// A device that started with its clock a year ahead forgot deletions before it had heard what time it is
/// elsewhere.
#[test]
fn nothing_is_forgotten_before_the_clock_was_compared() {
    holds("clock-a-year-off", 20149);
    holds("clock-a-year-off", 20247);
}

/// While stand-ins held the newest PUT, a POST was made to the data of before, which all of the name's own devices
/// still had, and went with them: said in decision 8, and left out by the judge.
#[test]
fn a_post_made_while_stand_ins_held_newer_data_goes_with_the_older() {
    holds("power-loss-of-all", 20152);
}
