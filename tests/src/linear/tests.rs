use super::RegisterOp::{Delete, Get, Post, Put};
use super::*;
use crate::chance::Chance;

fn call(op: RegisterOp, begun: u64, ended: impl Into<Option<u64>>) -> Call<RegisterOp> {
    Call {
        op,
        begun,
        ended: ended.into(),
    }
}

fn verdict(calls: &[Call<RegisterOp>]) -> Verdict {
    check::<Register>(None, calls, USUAL_BUDGET)
}

fn linearizable(calls: &[Call<RegisterOp>]) -> bool {
    match verdict(calls) {
        Verdict::Linearizable => true,
        Verdict::Broken(_) => false,
        Verdict::TooHard => panic!("too hard"),
    }
}

const NEW: Option<bool> = None;

#[test]
fn one_call_after_the_other_is_fine() {
    assert!(linearizable(&[
        call(Get(None), 0, 1),
        call(Put(1), 2, 3),
        call(Get(Some((1, 1))), 4, 5),
        call(
            Post {
                write: 2,
                found: Some(true)
            },
            6,
            7
        ),
        call(Get(Some((1, 2))), 8, 9),
        call(Delete { found: Some(true) }, 10, 11),
        call(Get(None), 12, 13),
        call(Delete { found: Some(false) }, 14, 15),
    ]));
}

#[test]
fn a_stale_read_is_found() {
    assert!(!linearizable(&[
        call(Put(1), 0, 1),
        call(Put(2), 2, 3),
        call(Get(Some((1, 1))), 4, 5),
    ]));
}

#[test]
fn a_lost_write_and_one_that_comes_back_are_found() {
    assert!(!linearizable(&[call(Put(1), 0, 1), call(Get(None), 2, 3)]));
    assert!(!linearizable(&[
        call(Put(1), 0, 1),
        call(Delete { found: Some(true) }, 2, 3),
        call(Get(Some((1, 1))), 4, 5),
    ]));
}

#[test]
fn a_read_beside_a_write_may_see_either() {
    for seen in [None, Some((1, 1))] {
        assert!(linearizable(&[call(Put(1), 0, 10), call(Get(seen), 2, 3)]));
    }
}

#[test]
fn two_reads_beside_a_write_may_not_see_new_then_old() {
    assert!(linearizable(&[
        call(Put(1), 0, 10),
        call(Get(None), 2, 3),
        call(Get(Some((1, 1))), 4, 5),
    ]));
    assert!(!linearizable(&[
        call(Put(1), 0, 10),
        call(Get(Some((1, 1))), 2, 3),
        call(Get(None), 4, 5),
    ]));
}

#[test]
fn a_write_without_an_answer_may_have_happened_late_or_never() {
    let unanswered = call(Put(1), 0, None);
    let late = [
        unanswered.clone(),
        call(Get(None), 1, 2),
        call(Get(Some((1, 1))), 3, 4),
    ];
    let never = [unanswered.clone(), call(Get(None), 1, 2), call(Get(None), 3, 4)];
    let twice = [
        unanswered,
        call(Get(Some((1, 1))), 1, 2),
        call(Put(2), 3, 4),
        call(Get(Some((1, 1))), 5, 6),
    ];
    assert!(linearizable(&late) && linearizable(&never));
    assert!(!linearizable(&twice));
}

#[test]
fn what_a_delete_or_a_post_found_has_to_fit() {
    assert!(!linearizable(&[
        call(Put(1), 0, 1),
        call(Delete { found: Some(false) }, 2, 3)
    ]));
    assert!(!linearizable(&[call(
        Post {
            write: 1,
            found: Some(true)
        },
        0,
        1
    )]));
    assert!(linearizable(&[call(Post { write: 1, found: NEW }, 0, 1)]));
}

#[test]
fn a_violation_is_shown_with_the_calls_that_do_not_fit() {
    let calls = [
        call(Put(1), 0, 1),
        call(Put(2), 2, 3),
        call(Get(Some((1, 1))), 4, 5),
    ];
    let Verdict::Broken(broken) = verdict(&calls) else {
        panic!("not found")
    };
    assert_eq!((broken.placed, broken.answered), (2, 3));
    let text = broken.to_string();
    assert!(text.contains("Some((2, 2))") && text.contains("4..5"), "{text}");
}

/// Tries every order of every choice of the unanswered calls.
fn by_force(calls: &[Call<RegisterOp>]) -> bool {
    fn extend(calls: &[Call<RegisterOp>], placed: u32, state: Held) -> bool {
        let open = |at: &usize| placed >> at & 1 == 0;
        if (0..calls.len()).filter(open).all(|at| calls[at].ended.is_none()) {
            return true;
        }
        (0..calls.len()).filter(open).any(|at| {
            let before = |other: usize| calls[other].ended.is_some_and(|end| end < calls[at].begun);
            !(0..calls.len()).filter(open).any(before)
                && Register::apply(&state, &calls[at].op)
                    .is_some_and(|state| extend(calls, placed | 1 << at, state))
        })
    }
    extend(calls, 0, None)
}

fn any_op(chance: &mut Chance, write: u64) -> RegisterOp {
    let found = [None, Some(true), Some(false)][chance.below(3) as usize];
    match chance.below(6) {
        0 | 1 => Put(write),
        2 => Post { write, found },
        3 => Delete { found },
        _ if chance.below(4) == 0 => Get(None),
        _ => Get(Some((chance.below(4), chance.below(4)))),
    }
}

#[test]
fn small_histories_are_judged_as_by_trying_every_order() {
    let mut chance = Chance::announced("linear");
    let (mut good, mut bad) = (0, 0);
    for _ in 0..4000 {
        let calls: Vec<_> = (0..2 + chance.below(5))
            .map(|write| {
                let begun = chance.below(12);
                let ended = (chance.below(6) > 0).then(|| begun + chance.below(8));
                call(any_op(&mut chance, write), begun, ended)
            })
            .collect();
        let expected = by_force(&calls);
        assert_eq!(linearizable(&calls), expected, "{calls:?}");
        match expected {
            true => good += 1,
            false => bad += 1,
        }
    }
    assert!(
        good > 200 && bad > 200,
        "{good} good, {bad} bad: the test says little"
    );
}

/// What clients see of a real register: every call takes effect at one moment
/// between its beginning and its end.
fn real_history(chance: &mut Chance, calls: u64) -> Vec<Call<RegisterOp>> {
    let mut moments: Vec<(u64, u64)> = (0..calls).map(|n| (chance.below(calls * 10), n)).collect();
    moments.sort_unstable();
    let mut state = None;
    moments
        .into_iter()
        .map(|(moment, write)| {
            let found = Some(state.is_some());
            let op = match chance.below(8) {
                0 | 1 => Put(write),
                2 => Post { write, found },
                3 => Delete { found },
                _ => Get(state),
            };
            state = Register::apply(&state, &op).expect("its own answer fits");
            // About five calls at the same time.
            let (before, after) = (chance.below(25), chance.below(25));
            let answered = !matches!(op, Put(_)) || chance.below(10) > 0;
            call(
                op,
                100 + moment - before,
                answered.then_some(100 + moment + after),
            )
        })
        .collect()
}

#[test]
fn long_histories_of_a_real_register_pass_and_a_read_of_the_distant_past_does_not() {
    let mut chance = Chance::announced("linear long");
    for _ in 0..10 {
        let mut calls = real_history(&mut chance, 300);
        assert!(linearizable(&calls));
        let first = calls.iter().find_map(|call| match call.op {
            Put(write) if call.ended.is_some() => Some(write),
            _ => None,
        });
        let last = calls.iter().map(|call| call.begun).max().expect("calls") + 1000;
        let first = first.expect("a write");
        calls.push(call(Put(1_000_000), last, last + 1));
        calls.push(call(Get(Some((first, first))), last + 2, last + 3));
        assert!(!linearizable(&calls));
    }
}
