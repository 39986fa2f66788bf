//! What breaks in a run, drawn from its seed.
//!
//! A run is narrow or wide. In a narrow one everything happens to one storage
//! host: nothing may be refused, as three replicas lie on three hosts. In a
//! wide one several hosts break at once; what then cannot reach a quorum may be
//! refused, and what stand-ins took may be seen late. In both nothing that was
//! acknowledged may be lost and nothing deleted come back for good. Faults that destroy what is on a
//! disk hit one host of a run, alone, and replicas are made equal before the
//! next step: two lost copies of three are lost for good in any store that
//! acknowledges at two.
use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use crate::chance::Chance;

/// Devices of each storage host of a lab.
pub const DEVICES: [usize; 4] = [2, 1, 1, 2];
/// Proxies of a lab.
pub const PROXIES: usize = 2;
/// Bytes that a foreign file leaves of a disk when it does not take all: less
/// than what is kept for deletions, so that data is refused.
const SCARCE: u64 = 20 << 20;

/// A device: its storage host and its number there, both from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Storage host.
    pub store: usize,
    /// Device of that host.
    pub device: usize,
}

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "store{}/d{}", self.store + 1, self.device + 1)
    }
}

/// An end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A storage host.
    Store(usize),
    /// A proxy.
    Proxy(usize),
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Store(n) => write!(f, "store{}", n + 1),
            Self::Proxy(n) => write!(f, "proxy{}", n + 1),
        }
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of a storage host; it is started again.
    Kill(usize),
    /// SIGSTOP of a storage host; SIGCONT.
    Freeze(usize),
    /// kill -9 of a proxy; it is started again.
    KillProxy(usize),
    /// kill -9 of all hosts at once; all start at once.
    PowerLoss,
    /// The second does not hear the first any more.
    Deaf(End, End),
    /// Neither hears the other.
    Cut(End, End),
    /// A storage host is cut off from everybody.
    Isolate(usize),
    /// A storage host has a slow cable.
    Slow(usize),
    /// Somebody else's file takes a disk's room, all but some bytes.
    Fill(At, u64),
    /// A disk's file system meets an error and becomes read-only; the host is
    /// stopped, the file system checked, the host started.
    ReadOnly(At),
    /// An empty disk in the place of one.
    Swap(At),
    /// So many bits flipped in segments of a running host.
    Flip(At, usize),
    /// kill -9, a segment cut short, start.
    Truncate(At),
    /// kill -9, the index deleted, start.
    DropIndex(At),
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Kill(s) => write!(f, "kill {}", End::Store(*s)),
            Self::Freeze(s) => write!(f, "freeze {}", End::Store(*s)),
            Self::KillProxy(p) => write!(f, "kill {}", End::Proxy(*p)),
            Self::PowerLoss => write!(f, "power loss"),
            Self::Deaf(from, to) => write!(f, "{to} deaf to {from}"),
            Self::Cut(a, b) => write!(f, "cut {a}-{b}"),
            Self::Isolate(s) => write!(f, "isolate {}", End::Store(*s)),
            Self::Slow(s) => write!(f, "slow {}", End::Store(*s)),
            Self::Fill(at, 0) => write!(f, "fill {at} to the brim"),
            Self::Fill(at, _) => write!(f, "fill {at}"),
            Self::ReadOnly(at) => write!(f, "read-only {at}"),
            Self::Swap(at) => write!(f, "empty disk for {at}"),
            Self::Flip(at, bits) => write!(f, "flip {bits} bits of {at}"),
            Self::Truncate(at) => write!(f, "truncate a segment of {at}"),
            Self::DropIndex(at) => write!(f, "delete the index of {at}"),
        }
    }
}

impl Fault {
    /// Storage hosts that are not fully there for clients while it lasts.
    pub fn impaired(&self) -> Vec<usize> {
        match self {
            Self::Kill(s) | Self::Freeze(s) | Self::Isolate(s) | Self::Slow(s) => vec![*s],
            Self::PowerLoss => (0..DEVICES.len()).collect(),
            Self::Deaf(a, b) | Self::Cut(a, b) => match (a, b) {
                (End::Proxy(_), End::Store(s)) | (End::Store(s), End::Proxy(_)) => vec![*s],
                // Clients go through proxies, which reach both.
                _ => vec![],
            },
            Self::Fill(at, _) | Self::ReadOnly(at) | Self::Swap(at) => vec![at.store],
            Self::Flip(at, _) | Self::Truncate(at) | Self::DropIndex(at) => vec![at.store],
            Self::KillProxy(_) => vec![],
        }
    }

    /// Whether it closes doors of the cloud.
    pub fn closes_doors(&self) -> bool {
        matches!(self, Self::KillProxy(_) | Self::PowerLoss)
    }

    /// Whether something that was acknowledged is gone from a disk by it.
    pub fn destroys(&self) -> bool {
        matches!(self, Self::Swap(_) | Self::Flip(..) | Self::Truncate(_))
    }

    /// Whether it stops or freezes processes.
    fn stops(&self) -> bool {
        use Fault::{DropIndex, Freeze, Kill, PowerLoss, ReadOnly, Swap, Truncate};
        matches!(
            self,
            Kill(_) | Freeze(_) | PowerLoss | ReadOnly(_) | Swap(_) | Truncate(_) | DropIndex(_)
        )
    }

    /// Whether it changes what a disk can do.
    fn of_disk(&self) -> bool {
        matches!(self, Self::Fill(..) | Self::ReadOnly(_) | Self::DropIndex(_)) || self.destroys()
    }

    /// Whether both can be there at the same time.
    fn goes_with(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.impaired(), other.impaired());
        let meet = ours.iter().any(|s| theirs.contains(s));
        let alone = self.destroys() || other.destroys();
        let slows = |f: &Self| matches!(f, Self::Slow(_));
        let same = |kind: fn(&Self) -> bool| kind(self) && kind(other);
        let doors = |f: &Self| f.closes_doors();
        !(alone || meet && (same(Self::stops) || same(Self::of_disk) || same(slows)) || same(doors))
    }
}

/// Faults that are there at the same time, for a while.
#[derive(Debug, Clone)]
pub struct Step {
    /// In the order in which they come.
    pub faults: Vec<Fault>,
    /// In which order they go: places in `faults`.
    pub ends: Vec<usize>,
    /// How long all of them are there.
    pub lasts: Duration,
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        write!(f, "{} ({:.1} s)", faults.join(" + "), self.lasts.as_secs_f64())
    }
}

/// All that breaks in a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The host that everything happens to, if it is a narrow run.
    pub narrow: Option<usize>,
    /// One after the other.
    pub steps: Vec<Step>,
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let steps: Vec<String> = self.steps.iter().map(Step::to_string).collect();
        let width = if self.narrow.is_some() { "narrow" } else { "wide" };
        write!(f, "{width}: {}", steps.join("; "))
    }
}

impl Plan {
    /// Draws a run.
    pub fn draw(chance: &mut Chance) -> Self {
        let victim = chance.below(DEVICES.len() as u64) as usize;
        let narrow = (chance.below(5) < 2).then_some(victim);
        let steps = 4 + chance.below(3);
        let step = |_| {
            let wanted = 1 + chance.below(if narrow.is_some() { 2 } else { 4 });
            let mut faults: Vec<Fault> = Vec::new();
            for _ in 0..wanted {
                let fault = match narrow {
                    Some(host) => on_host(chance, host, true),
                    None => anywhere(chance, victim),
                };
                if faults.iter().all(|other| other.goes_with(&fault)) {
                    faults.push(fault);
                }
            }
            let ends = order(&faults, chance);
            let lasts = Duration::from_millis(200 + chance.below(1300));
            Step { faults, ends, lasts }
        };
        Self {
            narrow,
            steps: (0..steps).map(step).collect(),
        }
    }
}

/// A drawn order of ends. A disk without a byte left is freed before anything
/// is started on it: a process needs some to begin.
fn order(faults: &[Fault], chance: &mut Chance) -> Vec<usize> {
    let mut ends: Vec<usize> = (0..faults.len()).collect();
    for at in (1..ends.len()).rev() {
        ends.swap(at, chance.below(at as u64 + 1) as usize);
    }
    ends.sort_by_key(|at| !matches!(faults[*at], Fault::Fill(_, 0)));
    ends
}

/// A fault of one host; `destroy`: it may be one that destroys.
fn on_host(chance: &mut Chance, store: usize, destroy: bool) -> Fault {
    let device = chance.below(DEVICES[store] as u64) as usize;
    let at = At { store, device };
    let proxy = End::Proxy(chance.below(PROXIES as u64) as usize);
    let here = End::Store(store);
    let left = if chance.below(2) == 0 { 0 } else { SCARCE };
    match chance.below(if destroy { 24 } else { 18 }) {
        0..=3 => Fault::Kill(store),
        4..=5 => Fault::Freeze(store),
        6 => Fault::Deaf(proxy, here),
        7 => Fault::Deaf(here, proxy),
        8 => Fault::Cut(proxy, here),
        9..=10 => Fault::Isolate(store),
        11..=12 => Fault::Slow(store),
        13..=15 => Fault::Fill(at, left),
        16 => Fault::ReadOnly(at),
        17 => Fault::DropIndex(at),
        18..=19 => Fault::Swap(at),
        20..=22 => Fault::Flip(at, 1 + chance.below(4) as usize),
        _ => Fault::Truncate(at),
    }
}

/// A fault of any host; what destroys hits the victim.
fn anywhere(chance: &mut Chance, victim: usize) -> Fault {
    let stores = DEVICES.len() as u64;
    let any = |chance: &mut Chance| chance.below(stores) as usize;
    match chance.below(16) {
        0 => Fault::PowerLoss,
        1 => Fault::KillProxy(chance.below(PROXIES as u64) as usize),
        2 | 3 => {
            let a = any(chance);
            let b = (a + 1 + chance.below(stores - 1) as usize) % DEVICES.len();
            let (a, b) = (End::Store(a), End::Store(b));
            if chance.below(2) == 0 {
                Fault::Cut(a, b)
            } else {
                Fault::Deaf(a, b)
            }
        }
        4..=6 => on_host(chance, victim, true),
        _ => {
            let store = any(chance);
            on_host(chance, store, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans() -> impl Iterator<Item = Plan> {
        (0..300).map(|seed| Plan::draw(&mut Chance::replay(seed * 7919)))
    }

    #[test]
    fn a_seed_draws_the_same_run_again() {
        let draw = |seed| Plan::draw(&mut Chance::replay(seed)).to_string();
        assert_eq!(draw(77), draw(77));
        assert_ne!(draw(77), draw(79));
    }

    #[test]
    fn what_destroys_comes_alone_and_always_to_the_same_host() {
        let mut destroyed = 0;
        for plan in plans() {
            let all = plan.steps.iter().filter(|s| s.faults.iter().any(Fault::destroys));
            let mut hosts: Vec<usize> = all
                .map(|step| {
                    assert_eq!(step.faults.len(), 1, "{plan}");
                    step.faults[0].impaired()[0]
                })
                .collect();
            destroyed += hosts.len();
            hosts.dedup();
            assert!(hosts.len() <= 1, "{plan}");
        }
        assert!(destroyed > 100, "{destroyed} of 300 runs");
    }

    #[test]
    fn a_narrow_run_impairs_one_host_and_a_wide_one_several() {
        let (mut narrow, mut wide) = (0, 0);
        for plan in plans() {
            let faults = plan.steps.iter().flat_map(|step| &step.faults);
            let mut hosts: Vec<usize> = faults.flat_map(Fault::impaired).collect();
            hosts.sort_unstable();
            hosts.dedup();
            match plan.narrow {
                Some(host) => {
                    narrow += 1;
                    assert_eq!(hosts, [host], "{plan}");
                }
                None => wide += usize::from(hosts.len() > 1),
            }
        }
        assert!(narrow > 60 && wide > 100, "{narrow} narrow, {wide} wide");
    }
}
