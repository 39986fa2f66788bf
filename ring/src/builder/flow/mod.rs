//! The exact finish: cheapest augmenting paths in the residual network.
//!
//! Nodes are devices, edges the ways to pass load on ([`residual`]). A path
//! from a device above its quota to one below settles one slot; taking the
//! cheapest first keeps the whole at the least number of moves. All paths of
//! equal cost are taken in one round ([`labels`] find the cost, [`augment`] the
//! paths). What goes wrong only where a partition may move one replica at a
//! time and a path would use it twice is tried path by path.
//!
//! Why this is the optimum: docs/ring.md.
mod augment;
mod holders;
mod labels;
mod residual;

use self::augment::{Round, is_quota};
use self::holders::Holders;
use self::labels::{FAR, Found, Ground, Labels, Start};
use self::residual::{QUOTA, Step};
use super::field::Field;
use super::survey::Survey;

/// Partitions that a rebalance may look at, per slot of the table. Measured
/// are 0.1, and 5 with weights that are as far apart as can be.
const LOOKS_A_SLOT: u64 = 64;
/// But at least and at most so many: some tens of seconds of work.
const LOOKS: (u64, u64) = (1 << 22, 500_000_000);

/// The search gives up after so many looks and leaves the rest to a later
/// rebalance.
pub(super) fn most_looks(slots: usize) -> u64 {
    (slots as u64 * LOOKS_A_SLOT).clamp(LOOKS.0, LOOKS.1)
}

/// Everything after repair: what can be settled without moving any further
/// slot, then direct moves (`shed`), then chains, then what is needless. Gives
/// the number of partitions looked at.
pub(super) fn settle(field: &mut Field<'_>, survey: &Survey, shed: impl FnOnce(&mut Field<'_>)) -> u64 {
    if field.touched.is_empty() && field.total_surplus() == 0 {
        return 0;
    }
    let mut paths = Paths::new(field, survey, 0);
    paths.settle(field);
    shed(field);
    paths.holders.catch_up(field);
    paths.most = FAR;
    if field.total_surplus() > 0 {
        paths.holders.index_untouched(field);
        paths.settle(field);
    }
    paths.save(field);
    paths.looks
}

/// Finds paths and carries them out.
struct Paths<'a> {
    survey: &'a Survey,
    holders: Holders,
    /// Partitions that two steps of one path would have used at once.
    banned: Vec<u32>,
    most: i32,
    looks: u64,
    most_looks: u64,
}

impl<'a> Paths<'a> {
    fn new(field: &Field<'_>, survey: &'a Survey, most: i32) -> Self {
        Self {
            survey,
            holders: Holders::new(field),
            banned: Vec::new(),
            most,
            looks: 0,
            most_looks: most_looks(field.rows.slots()),
        }
    }

    fn ground<'b>(&'b self, field: &'b Field<'b>) -> Ground<'b> {
        Ground {
            field,
            survey: self.survey,
            holders: &self.holders,
            banned: &self.banned,
            most: self.most,
        }
    }

    /// Takes cheapest paths until none is left.
    fn settle(&mut self, field: &mut Field<'_>) {
        let mut labels = Labels::new(field);
        while self.looks < self.most_looks && field.total_surplus() > 0 {
            let mut looks = 0;
            let found = labels.run(&self.ground(field), Start::Surplus, &mut looks);
            self.looks += looks;
            match found {
                Found::Nothing => return,
                Found::Loop(at) => self.go(field, &labels, at),
                Found::Goal(to) => {
                    if !self.round(field, &labels) {
                        self.go(field, &labels, to);
                    }
                }
            }
        }
    }

    /// Goes round loops of negative cost until there is none.
    fn save(&mut self, field: &mut Field<'_>) {
        let mut labels = Labels::new(field);
        self.banned.clear();
        while self.looks < self.most_looks {
            let mut looks = 0;
            let found = labels.run(&self.ground(field), Start::Everywhere, &mut looks);
            self.looks += looks;
            match found {
                Found::Loop(at) => self.go(field, &labels, at),
                Found::Goal(_) | Found::Nothing => return,
            }
        }
    }

    /// All paths that are cheapest by these labels. False if none could be taken.
    fn round(&mut self, field: &mut Field<'_>, labels: &Labels) -> bool {
        let mut round = Round::new(field, labels);
        let mut any = false;
        for source in 0..field.tree.leaves() as u32 {
            while field.surplus(source) > 0 && round.augment(self, field, labels, source) {
                any = true;
            }
        }
        if any {
            self.banned.clear();
        }
        any
    }

    /// Carries out one step if it leaves its partition no worse.
    fn take(&mut self, field: &mut Field<'_>, step: Step, to: u32) -> bool {
        if is_quota(step) {
            field.shift_quota(step.from, to);
            return true;
        }
        let part = step.part as usize;
        let row = field.rows.of(part);
        let before = field.violation(row);
        let entry = row.iter().position(|&leaf| leaf == step.from);
        let Some(entry) = entry.filter(|_| !row.contains(&to)) else {
            return false;
        };
        field.put(part, entry, to);
        if field.violation(field.rows.of(part)) > before || field.moved(part) > field.allowed[part] {
            field.put(part, entry, step.from);
            return false;
        }
        self.holders.note(field, step.part, to);
        true
    }

    fn undo(&mut self, field: &mut Field<'_>, step: Step, to: u32) {
        if is_quota(step) {
            field.shift_quota(to, step.from);
            return;
        }
        let part = step.part as usize;
        if let Some(entry) = field.rows.of(part).iter().position(|&leaf| leaf == to) {
            field.put(part, entry, step.from);
            self.holders.note(field, step.part, step.from);
        }
    }

    /// Carries out the one path (or loop) that ends at `to`; if its steps do
    /// not go together, keeps the search from finding it again.
    fn go(&mut self, field: &mut Field<'_>, labels: &Labels, to: u32) {
        let mut steps: Vec<(Step, u32)> = Vec::new();
        let mut at = to;
        while let Some(step) = labels.step[at as usize] {
            steps.push((step, at));
            at = step.from;
            if at == to {
                break;
            }
        }
        for (done, &(step, into)) in steps.iter().rev().enumerate() {
            if !self.take(field, step, into) {
                for &(step, into) in steps.iter().rev().take(done).rev() {
                    self.undo(field, step, into);
                }
                self.banned.push(step.part);
                return;
            }
        }
        self.banned.clear();
    }
}
