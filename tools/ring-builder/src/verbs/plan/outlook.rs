//! Consecutive rebalances in memory, as an operator would run them: one now,
//! the next when every partition may move again, until nothing is pending.
use std::collections::BTreeMap;

use clap::Parser;
use virga_ring::builder::{Builder, RebalanceOptions, Rebalanced};
use virga_ring::durability::CopySets;
use virga_ring::{DeviceId, Ring, Table};

use super::super::change;
use super::super::rebalance::{Start, seed_of};
use super::usual_failures;
use crate::Session;
use crate::cli::{Arguments, Trial};
use crate::progress::Steps;
use crate::report::VerbError;
use crate::store::Files;

/// Steps looked ahead; a plan that needs more says so.
const MAX_STEPS: usize = 32;

/// Chance that devices failing together take all replicas of a partition.
#[derive(Clone, Copy, Debug)]
pub(in crate::verbs) struct Risk {
    pub(in crate::verbs) chance: f64,
}

/// Slots by the devices they come from and go to.
pub(in crate::verbs) type Links = BTreeMap<(Option<DeviceId>, DeviceId), u64>;

/// One rebalance of the plan.
#[derive(Debug)]
pub(in crate::verbs) struct Step {
    /// When it is run, in Unix seconds.
    pub(in crate::verbs) at: u64,
    /// Seconds after the step before.
    pub(in crate::verbs) wait: u64,
    pub(in crate::verbs) done: Rebalanced,
    /// Would `rebalance` save it without --force?
    pub(in crate::verbs) worth_saving: bool,
    /// Most slots that one device takes in, or gives up.
    pub(in crate::verbs) busiest: u64,
    /// Slots from device to device; `None`: replicas that did not exist.
    /// Unlike [`Rebalanced::movements`] it names devices that are removed.
    pub(in crate::verbs) links: Links,
    /// While it is copied: only replicas that are in place count.
    pub(in crate::verbs) during: Option<Risk>,
    /// The same if what still lies on devices that stay counts too.
    pub(in crate::verbs) during_with_old: Option<Risk>,
}

/// All steps, and what they start from and end with.
#[derive(Debug)]
pub(in crate::verbs) struct Outlook {
    /// The builder with the changes tried out, not rebalanced.
    pub(in crate::verbs) before: Builder,
    pub(in crate::verbs) after: Builder,
    pub(in crate::verbs) steps: Vec<Step>,
    /// What the changes tried out said.
    pub(in crate::verbs) changes: Vec<String>,
    /// Fewest moves of any way to the goal.
    pub(in crate::verbs) bound: u64,
    /// Slots still to move after the last step.
    pub(in crate::verbs) pending: u64,
    pub(in crate::verbs) risk_before: Option<Risk>,
    pub(in crate::verbs) risk_after: Option<Risk>,
}

impl Outlook {
    /// Looks ahead from the builder file. `failures`: no risks, or as many
    /// devices failing together as told, or as usual.
    pub(in crate::verbs) fn of(
        session: &mut Session<'_>,
        files: &Files,
        trial: &Trial,
        failures: Option<Option<usize>>,
    ) -> Result<Self, VerbError> {
        let mut before = files.load()?;
        let changes = try_out(session, &mut before, &trial.with)?;
        let failures = failures.map(|given| given.unwrap_or_else(|| usual_failures(&before)));
        let now = session.now;
        session.during("planning: step", |progress| {
            Self::play(before, changes, (trial, now, failures), progress)
        })
    }

    /// The builder with the changes tried out, and no step.
    pub(in crate::verbs) fn still(
        session: &mut Session<'_>,
        files: &Files,
        trial: &Trial,
    ) -> Result<Self, VerbError> {
        let mut before = files.load()?;
        let changes = try_out(session, &mut before, &trial.with)?;
        Ok(Self::unmoved(before, changes))
    }

    /// The same for a ring without its builder.
    pub(in crate::verbs) fn of_ring(ring: &Ring) -> Result<Self, VerbError> {
        Ok(Self::unmoved(Builder::from_ring(ring, 0)?, Vec::new()))
    }

    fn unmoved(before: Builder, changes: Vec<String>) -> Self {
        Self {
            after: before.clone(),
            before,
            steps: Vec::new(),
            changes,
            bound: 0,
            pending: 0,
            risk_before: None,
            risk_after: None,
        }
    }

    fn play(
        before: Builder,
        changes: Vec<String>,
        (trial, now, failures): (&Trial, u64, Option<usize>),
        progress: &Steps,
    ) -> Result<Self, VerbError> {
        let mut it = Self {
            after: before.clone(),
            risk_before: before
                .table()
                .and_then(|table| risk(CopySets::of(table), failures)),
            before,
            steps: Vec::new(),
            changes,
            bound: 0,
            pending: 0,
            risk_after: None,
        };
        let (mut at, mut last) = (now, now);
        for number in 0..MAX_STEPS {
            progress.at(number as u64, MAX_STEPS as u64);
            let old = it.after.clone();
            let options = RebalanceOptions {
                least_moves: trial.least_moves,
                ..RebalanceOptions::new(seed_of(trial.seed.seed.as_deref(), &it.after), at)
            };
            let done = it.after.rebalance_with(&options)?;
            it.pending = done.pending;
            let nothing = Start::did_nothing(&done);
            if nothing {
                // Nothing is saved then: the next step starts from the same.
                it.after = old;
            } else {
                it.steps
                    .push(Step::of(&old, &it.after, done, (at, at - last), failures));
                last = at;
            }
            let rest = it.after.seconds_until_movable(at);
            // Done, or nothing left that waiting would change.
            if it.pending == 0 || (nothing && rest == 0) {
                break;
            }
            at += rest;
        }
        it.risk_after = it
            .after
            .table()
            .and_then(|table| risk(CopySets::of(table), failures));
        it.bound = it.bound_without_rest(now, trial)?;
        Ok(it)
    }

    /// The bound if every partition might move at once: no order of steps does with less.
    fn bound_without_rest(&self, now: u64, trial: &Trial) -> Result<u64, VerbError> {
        if let [only] = self.steps.as_slice()
            && only.done.pending == 0
        {
            return Ok(only.done.bound);
        }
        if self.steps.is_empty() {
            return Ok(0);
        }
        let mut free = self.before.clone();
        free.pretend_min_part_hours_passed();
        let options = RebalanceOptions {
            least_moves: trial.least_moves,
            ..RebalanceOptions::new(seed_of(trial.seed.seed.as_deref(), &self.before), now)
        };
        Ok(free.rebalance_with(&options)?.bound)
    }

    /// Slots moved in all steps.
    pub(in crate::verbs) fn moved(&self) -> u64 {
        self.steps.iter().map(|step| step.done.moved).sum()
    }
}

impl Step {
    fn of(
        old: &Builder,
        new: &Builder,
        done: Rebalanced,
        (at, wait): (u64, u64),
        failures: Option<usize>,
    ) -> Self {
        let links = links(old, new, &done);
        let mut loads = vec![(0u64, 0u64); old.device_list().len()];
        for ((from, to), slots) in &links {
            if let Some(load) = loads.get_mut(to.0 as usize) {
                load.0 += slots;
            }
            let stays = |id: &DeviceId| !done.removed.contains(id);
            if let Some(load) = from.filter(stays).and_then(|from| loads.get_mut(from.0 as usize)) {
                load.1 += slots;
            }
        }
        let (mut during, mut during_with_old) = (None, None);
        if let (Some(before), Some(after)) = (old.table(), new.table()) {
            let gone = |id: u32| done.removed.iter().any(|removed| removed.0 == id);
            let in_place = |part: usize, set: &mut Vec<u32>| copies_in_place(before, after, part, set);
            during = failures.and_then(|_| risk(CopySets::of_rows(after.parts(), in_place), failures));
            let with_old = |part: usize, set: &mut Vec<u32>| {
                set.extend(before.of(part).iter().copied().filter(|&id| !gone(id)));
            };
            during_with_old =
                failures.and_then(|_| risk(CopySets::of_rows(after.parts(), with_old), failures));
        }
        Self {
            worth_saving: Start::of(old).is_worth_saving(&done),
            busiest: loads.iter().map(|load| load.0.max(load.1)).max().unwrap_or(0),
            links,
            at,
            wait,
            done,
            during,
            during_with_old,
        }
    }
}

/// Which slots went where. A slot that is gone and one that came make a link,
/// in the order of the rows, as the rebalance itself counts them.
fn links(old: &Builder, new: &Builder, done: &Rebalanced) -> Links {
    let mut links = Links::new();
    let (Some(before), Some(after)) = (old.table(), new.table()) else {
        let first = done.movements.iter().map(|it| ((it.from, it.to), it.slots));
        return first.collect();
    };
    for part in done.moved_parts.iter().map(|part| part.0 as usize) {
        let (before, after) = (before.of(part), after.of(part));
        let mut gone = before
            .iter()
            .filter(|id| !after.contains(id))
            .map(|&id| DeviceId(id));
        for &to in after.iter().filter(|id| !before.contains(id)) {
            *links.entry((gone.next(), DeviceId(to))).or_default() += 1;
        }
    }
    links
}

/// Devices of the new table that held the partition before.
fn copies_in_place(before: &Table, after: &Table, part: usize, set: &mut Vec<u32>) {
    let old = before.of(part);
    set.extend(after.of(part).iter().copied().filter(|id| old.contains(id)));
}

fn risk(sets: CopySets, failures: Option<usize>) -> Option<Risk> {
    let chance = sets.model().loss_probability(failures?);
    Some(Risk { chance })
}

/// Applies changes given as the words of a verb. Gives what they say.
fn try_out(
    session: &mut Session<'_>,
    builder: &mut Builder,
    changes: &[String],
) -> Result<Vec<String>, VerbError> {
    let mut said = Vec::new();
    for change in changes {
        let wrong = |why: String| {
            VerbError::usage(
                format!("--with {change:?}: {why}"),
                "write a change as for the verb itself: --with 'set_weight d7 0'",
            )
        };
        let words = ["virga ring", "-"].into_iter().chain(change.split_whitespace());
        let arguments = Arguments::try_parse_from(words).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            wrong(first.strip_prefix("error: ").unwrap_or(first).to_owned())
        })?;
        let report = match arguments.verb {
            Some(verb) => change::apply(session, builder, &verb, true),
            None => Ok(None),
        };
        match report {
            Ok(Some(report)) => said.push(report.text.trim_end().to_owned()),
            Ok(None) => return Err(wrong("this verb changes no builder".to_owned())),
            Err(error) => {
                let text = error.to_string();
                return Err(wrong(text.lines().next().unwrap_or_default().to_owned()));
            }
        }
    }
    Ok(said)
}
