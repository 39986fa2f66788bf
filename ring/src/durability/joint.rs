//! Devices that fail in groups: whole servers, whole zones, a share of every
//! zone. All combinations are tried where that is affordable, else a seeded
//! sample of them.
use super::CopySets;
use super::binomial;

/// Which devices fail together.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// So many of these groups, each with all its devices; any choice equally likely.
    Groups {
        /// Device numbers of each group.
        groups: Vec<Vec<u32>>,
        /// How many groups fail.
        fail: usize,
    },
    /// This share of the devices of every group, rounded up; any choice equally likely.
    Share {
        /// Device numbers of each group.
        groups: Vec<Vec<u32>>,
        /// 0 to 1.
        share: f64,
    },
}

/// What such failures cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointLoss {
    /// Share of the failures tried that lost a partition.
    pub chance: f64,
    /// Standard error of the chance; 0 if every failure was tried.
    pub error: f64,
    /// Partitions lost on average.
    pub mean_lost: f64,
    /// The most partitions lost in one of the failures tried.
    pub worst_lost: u64,
    /// Failures tried.
    pub tried: u64,
    /// All that can happen were tried.
    pub exact: bool,
    /// Devices that failed, on average.
    pub failed_devices: f64,
}

/// Tries failures on the sets: all of them if they are at most `samples`, else
/// that many drawn with `seed`. `progress` hears how many are done, and of how many.
pub fn joint_loss(
    sets: &CopySets,
    failure: &Failure,
    samples: usize,
    seed: u64,
    mut progress: impl FnMut(u64, u64),
) -> JointLoss {
    let mut trial = Trial::new(sets);
    let samples = samples.max(1) as u64;
    match failure {
        Failure::Groups { groups, fail } => {
            let fail = (*fail).min(groups.len());
            let ways = binomial(groups.len(), fail);
            if ways <= samples as f64 {
                let ways = ways.round() as u64;
                let mut chosen: Vec<usize> = (0..fail).collect();
                loop {
                    trial.fail(chosen.iter().flat_map(|&at| &groups[at]));
                    progress(trial.tried, ways);
                    if !next_choice(&mut chosen, groups.len()) {
                        return trial.finish(true);
                    }
                }
            }
            let mut chance = Chance(seed);
            let mut order: Vec<usize> = (0..groups.len()).collect();
            for _ in 0..samples {
                chance.draw(&mut order, fail);
                trial.fail(order[..fail].iter().flat_map(|&at| &groups[at]));
                progress(trial.tried, samples);
            }
            trial.finish(false)
        }
        Failure::Share { groups, share } => {
            let mut chance = Chance(seed);
            let mut orders = groups.clone();
            let take = |group: &Vec<u32>| (group.len() as f64 * share).ceil() as usize;
            // One way only: nothing is left to chance.
            let sure = orders.iter().all(|group| [0, group.len()].contains(&take(group)));
            let samples = if sure { 1 } else { samples };
            for _ in 0..samples {
                orders.iter_mut().for_each(|group| {
                    let count = take(group);
                    chance.draw(group, count);
                });
                trial.fail(orders.iter().flat_map(|group| &group[..take(group)]));
                progress(trial.tried, samples);
            }
            trial.finish(sure)
        }
    }
}

/// The next combination in order; false after the last one.
fn next_choice(chosen: &mut [usize], of: usize) -> bool {
    let count = chosen.len();
    let Some(at) = (0..count).rev().find(|&at| chosen[at] + (count - at) < of) else {
        return false;
    };
    chosen[at] += 1;
    for next in at + 1..count {
        chosen[next] = chosen[next - 1] + 1;
    }
    true
}

/// Failures tried so far.
struct Trial<'a> {
    sets: &'a CopySets,
    /// Per device, the sets of which it is the first member.
    first: Vec<Vec<u32>>,
    /// Partitions without any device: lost whatever happens.
    homeless: u64,
    failed: Vec<bool>,
    tried: u64,
    losing: u64,
    lost: f64,
    worst: u64,
    devices: u64,
}

impl<'a> Trial<'a> {
    fn new(sets: &'a CopySets) -> Self {
        let empty = (0..sets.len()).filter(|&at| sets.set(at).is_empty());
        Self {
            sets,
            first: sets.index(|set, id| set.first() == Some(&id)),
            homeless: empty.map(|at| sets.partitions(at)).sum(),
            failed: vec![false; sets.device_limit()],
            tried: 0,
            losing: 0,
            lost: 0.0,
            worst: 0,
            devices: 0,
        }
    }

    /// Counts what is lost when these devices fail.
    fn fail<'b>(&mut self, devices: impl Iterator<Item = &'b u32> + Clone) {
        let limit = self.failed.len();
        let known = devices.filter(|&&id| (id as usize) < limit);
        let mut count = 0;
        for &id in known.clone() {
            self.failed[id as usize] = true;
            count += 1;
        }
        let mut lost = self.homeless;
        for &id in known.clone() {
            for &at in &self.first[id as usize] {
                let set = self.sets.set(at as usize);
                if set.iter().all(|&id| self.failed[id as usize]) {
                    lost += self.sets.partitions(at as usize);
                }
            }
        }
        known.for_each(|&id| self.failed[id as usize] = false);
        self.tried += 1;
        self.devices += count;
        self.losing += u64::from(lost > 0);
        self.lost += lost as f64;
        self.worst = self.worst.max(lost);
    }

    fn finish(self, exact: bool) -> JointLoss {
        let tried = self.tried.max(1) as f64;
        let chance = self.losing as f64 / tried;
        JointLoss {
            chance,
            error: if exact {
                0.0
            } else {
                (chance * (1.0 - chance) / tried).sqrt()
            },
            mean_lost: self.lost / tried,
            worst_lost: self.worst,
            tried: self.tried,
            exact,
            failed_devices: self.devices as f64 / tried,
        }
    }
}

/// SplitMix64: equal seeds draw equal failures on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * below as u128) >> 64) as usize
    }

    /// Brings `count` random items to the front.
    fn draw<T>(&mut self, items: &mut [T], count: usize) {
        for at in 0..count.min(items.len()) {
            let other = at + self.below(items.len() - at);
            items.swap(at, other);
        }
    }
}
