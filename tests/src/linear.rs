//! Whether what concurrent clients saw could have happened one at a time.
//!
//! A history is a list of [`Call`]s, each with the time it began and the time
//! its answer came. It is linearizable if every call can be given one moment
//! between the two so that, in the order of these moments, every answer is
//! what the [`Model`] says. The search is Wing and Gong's with Lowe's memory:
//! it places calls one after the other and never tries the same set of placed
//! calls with the same state twice. A call without an answer may have happened
//! at any time after it began, or never; a set that used more of those than
//! another one that came as far is not tried either.
//!
//! The suites use it for objects that several clients write at once
//! ([`crate::workload`]); it leaves out what several keys are to each other:
//! give it the calls of one key.
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

/// What one thing does when it is called by one client at a time.
pub trait Model {
    /// What it holds.
    type State: Clone + Eq + Hash + Debug;
    /// A call together with the answer it got.
    type Op: Debug;

    /// The state after the call; `None` when no such answer can come in `state`.
    fn apply(state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// A call as its client saw it. Times are of one clock, in any unit.
#[derive(Debug, Clone)]
pub struct Call<O> {
    /// What was called and answered.
    pub op: O,
    /// When it was sent.
    pub begun: u64,
    /// When the answer was there; `None` when none came.
    pub ended: Option<u64>,
}

/// What the search came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Broken(Broken),
    /// Not found out within the bound on work.
    TooHard,
}

/// How far the search came where there is no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Answered calls in the longest order that fits.
    pub placed: usize,
    /// Answered calls in all.
    pub answered: usize,
    /// What the thing held then.
    pub state: String,
    /// The calls that had to come next, with their times.
    pub stuck: Vec<String>,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "no order of the calls explains the answers: {} of {} can be placed, then it holds {}, and none of these fits:",
            self.placed, self.answered, self.state
        )?;
        self.stuck.iter().try_for_each(|call| writeln!(f, "  {call}"))
    }
}

/// Sets of placed calls with the state they lead to, tried at most.
pub const USUAL_BUDGET: usize = 2_000_000;

/// A set of calls, by their place in the history.
type Placed = Vec<u64>;

/// Searches for an order of `calls` that starts in `start`, through at most
/// `budget` sets of placed calls.
pub fn check<M: Model>(start: M::State, calls: &[Call<M::Op>], budget: usize) -> Verdict {
    let mut order: Vec<&Call<M::Op>> = calls.iter().collect();
    order.sort_by_key(|call| call.begun);
    let mut search = Search::<M> {
        answered: order.iter().filter(|call| call.ended.is_some()).count(),
        order,
        tried: HashMap::new(),
        deepest: None,
    };
    search.run(start, budget)
}

/// What was placed and where it leads.
struct Step<S> {
    /// The answered calls that are placed.
    placed: Placed,
    /// The unanswered calls that are placed.
    used: Placed,
    /// How many answered calls are placed.
    done: usize,
    state: S,
}

fn holds(set: &Placed, at: usize) -> bool {
    set[at / 64] >> (at % 64) & 1 == 1
}

fn within(smaller: &Placed, larger: &Placed) -> bool {
    smaller
        .iter()
        .zip(larger)
        .all(|(small, large)| small & !large == 0)
}

struct Search<'a, M: Model> {
    /// By the time they began.
    order: Vec<&'a Call<M::Op>>,
    answered: usize,
    /// By answered calls and state: the smallest sets of unanswered calls
    /// that came there.
    tried: HashMap<(Placed, M::State), Vec<Placed>>,
    deepest: Option<Step<M::State>>,
}

impl<M: Model> Search<'_, M> {
    fn run(&mut self, start: M::State, budget: usize) -> Verdict {
        let mut open = vec![Step {
            placed: vec![0; self.order.len().div_ceil(64)],
            used: vec![0; self.order.len().div_ceil(64)],
            done: 0,
            state: start,
        }];
        while let Some(step) = open.pop() {
            if step.done == self.answered {
                return Verdict::Linearizable;
            }
            if self.tried.len() >= budget {
                return Verdict::TooHard;
            }
            // Last pushed, first tried: answered calls before others, the one
            // that began first before later ones.
            let mut next = self.next(&step);
            next.sort_by_key(|at| (self.order[*at].ended.is_some(), std::cmp::Reverse(*at)));
            for at in next {
                if let Some(further) = self.place(&step, at) {
                    open.push(further);
                }
            }
            if self
                .deepest
                .as_ref()
                .is_none_or(|deepest| deepest.done < step.done)
            {
                self.deepest = Some(step);
            }
        }
        Verdict::Broken(self.broken())
    }

    /// The calls that may come next: those that began before any other that is
    /// not placed had its answer.
    fn next(&self, step: &Step<M::State>) -> Vec<usize> {
        let (mut next, mut first_end) = (Vec::new(), u64::MAX);
        for (at, call) in self.order.iter().enumerate() {
            if call.begun > first_end {
                break;
            }
            if !holds(&step.placed, at) && !holds(&step.used, at) {
                next.push(at);
                first_end = first_end.min(call.ended.unwrap_or(u64::MAX));
            }
        }
        // One that began early may have its answer after another that is
        // further on had its own.
        next.retain(|at| self.order[*at].begun <= first_end);
        next
    }

    /// Places one more call; `None` if its answer does not fit or this was tried.
    fn place(&mut self, step: &Step<M::State>, at: usize) -> Option<Step<M::State>> {
        let call = self.order[at];
        let state = M::apply(&step.state, &call.op)?;
        let (mut placed, mut used) = (step.placed.clone(), step.used.clone());
        match call.ended {
            Some(_) => placed[at / 64] |= 1 << (at % 64),
            None => used[at / 64] |= 1 << (at % 64),
        }
        let tried = self.tried.entry((placed.clone(), state.clone())).or_default();
        if tried.iter().any(|before| within(before, &used)) {
            return None;
        }
        tried.retain(|before| !within(&used, before));
        tried.push(used.clone());
        Some(Step {
            placed,
            used,
            done: step.done + usize::from(call.ended.is_some()),
            state,
        })
    }

    fn broken(&self) -> Broken {
        let describe = |at: usize| {
            let call = self.order[at];
            let ended = call
                .ended
                .map_or_else(|| "no answer".into(), |end| end.to_string());
            format!("{}..{ended} {:?}", call.begun, call.op)
        };
        let (placed, state, stuck) = match &self.deepest {
            Some(step) => (
                step.done,
                format!("{:?}", step.state),
                self.next(step).into_iter().map(describe).collect(),
            ),
            None => (0, String::new(), Vec::new()),
        };
        Broken {
            placed,
            answered: self.answered,
            state,
            stuck,
        }
    }
}

/// An object of the Swift API, as one key sees it: data, and metadata that a
/// POST replaces. Every write has a number of its own.
#[derive(Debug)]
pub struct Register;

/// What a [`Register`] holds: the numbers of the writes that its data and its
/// metadata come from, or nothing.
pub type Held = Option<(u64, u64)>;

/// A call of a [`Register`] and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterOp {
    /// Replaces everything.
    Put(u64),
    /// Replaces the metadata of what is there; `found` as it was answered.
    Post {
        /// Number of the write.
        write: u64,
        /// Whether it found something, if that is known.
        found: Option<bool>,
    },
    /// Deletes; `found` as it was answered.
    Delete {
        /// Whether it found something, if that is known.
        found: Option<bool>,
    },
    /// Showed this.
    Get(Held),
}

impl Model for Register {
    type State = Held;
    type Op = RegisterOp;

    fn apply(state: &Held, op: &RegisterOp) -> Option<Held> {
        let fits = |found: Option<bool>| found.is_none_or(|found| found == state.is_some());
        match *op {
            RegisterOp::Put(write) => Some(Some((write, write))),
            RegisterOp::Post { write, found } => fits(found).then(|| state.map(|(data, _)| (data, write))),
            RegisterOp::Delete { found } => fits(found).then_some(None),
            RegisterOp::Get(held) => (held == *state).then_some(held),
        }
    }
}

#[cfg(test)]
mod tests;
