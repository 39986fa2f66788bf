//! Handoffs: where a replica goes while a primary is away.
//!
//! The order is a contract between all nodes of a cluster (and with Swift):
//! four passes over the table from a start that the partition's number
//! decides; unseen regions first, then zones, then servers, then any device
//! left. Called by [`crate::Ring::handoffs`]; lazy, one step per device asked for.
use md5::{Digest, Md5};

use crate::device::{Device, Partition};
use crate::ring::Ring;

/// A set of small dense numbers.
#[derive(Clone, Debug, Default)]
struct Seen {
    bits: Vec<u64>,
    count: usize,
}

impl Seen {
    fn new(size: usize) -> Self {
        Self {
            bits: vec![0; size.div_ceil(64)],
            count: 0,
        }
    }

    fn has(&self, number: u32) -> bool {
        self.bits
            .get(number as usize / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn add(&mut self, number: u32) {
        if let Some(word) = self.bits.get_mut(number as usize / 64) {
            self.count += usize::from(*word >> (number % 64) & 1 == 0);
            *word |= 1 << (number % 64);
        }
    }
}

/// Passes, in order: unseen region, zone, server, device.
const PASSES: usize = 4;

/// The handoff devices of one partition, best first, with their index.
#[derive(Clone, Debug)]
pub struct Handoffs<'a> {
    ring: &'a Ring,
    /// Seen numbers per pass: regions, zones, servers, devices.
    seen: [Seen; PASSES],
    pass: usize,
    start: usize,
    step: usize,
    walk: Walk,
    row: usize,
    index: usize,
}

/// Where the walk over the partitions stands.
#[derive(Clone, Copy, Debug)]
enum Walk {
    /// From the start to the end of the table.
    Up(usize),
    /// From the front of the table to the start.
    Around(usize),
    Done,
}

impl<'a> Handoffs<'a> {
    pub(crate) fn new(ring: &'a Ring, part: Partition) -> Self {
        let parts = ring.lookup.parts();
        let digest: [u8; 16] = Md5::digest(part.to_string().as_bytes()).into();
        let leading = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        let start = ring.cut(leading) as usize;
        let mut seen = ring.tiers.totals.map(Seen::new);
        // Numbers of devices without a slot never come up: sizes follow the
        // numbers, totals follow the slots.
        seen[3] = Seen::new(ring.devices.len());
        let mut it = Self {
            ring,
            seen,
            pass: 0,
            start,
            step: (parts / 65536).max(1),
            walk: Walk::Up(start),
            row: 0,
            index: 0,
        };
        for (_, device) in ring.primaries(part) {
            it.mark(device.id.0);
        }
        it
    }

    fn mark(&mut self, id: u32) {
        let Some(tiers) = self.ring.tiers.of.get(id as usize) else {
            return;
        };
        for (seen, number) in self.seen.iter_mut().zip([tiers[0], tiers[1], tiers[2], id]) {
            seen.add(number);
        }
    }

    /// The partition to look at, moving on from one that is used up.
    fn position(&mut self) -> Option<usize> {
        loop {
            match self.walk {
                Walk::Up(at) if at < self.ring.lookup.parts() => return Some(at),
                Walk::Up(_) => {
                    // Swift begins the second run at `step - rest`, which skips
                    // partition 0 when the rest is 0. Part of the contract.
                    let rest = (self.ring.lookup.parts() - self.start) % self.step;
                    self.walk = Walk::Around(self.step - rest);
                }
                Walk::Around(at) if at < self.start => return Some(at),
                Walk::Around(_) => self.walk = Walk::Done,
                Walk::Done => return None,
            }
        }
    }

    fn advance(&mut self) {
        self.row = 0;
        self.walk = match self.walk {
            Walk::Up(at) => Walk::Up(at + self.step),
            Walk::Around(at) => Walk::Around(at + self.step),
            Walk::Done => Walk::Done,
        };
    }

    fn next_pass(&mut self) {
        self.pass += 1;
        self.row = 0;
        self.walk = Walk::Up(self.start);
    }

    /// Looks on through the current pass for a device it wants.
    fn find(&mut self) -> Option<u32> {
        while self.seen[self.pass].count < self.ring.tiers.totals[self.pass] {
            let part = self.position()?;
            let row = self.ring.lookup.slots(part);
            while let Some(id) = row.get(self.row) {
                self.row += 1;
                let Some(tiers) = self.ring.tiers.of.get(id as usize) else {
                    continue;
                };
                let wanted = [tiers[0], tiers[1], tiers[2], id][self.pass];
                if !self.seen[self.pass].has(wanted) && !self.seen[3].has(id) {
                    return Some(id);
                }
            }
            self.advance();
        }
        None
    }
}

impl<'a> Iterator for Handoffs<'a> {
    type Item = (usize, &'a Device);

    fn next(&mut self) -> Option<Self::Item> {
        while self.pass < PASSES {
            if let Some(id) = self.find() {
                self.mark(id);
                let index = self.index;
                self.index += 1;
                return Some((index, self.ring.device(crate::DeviceId(id))?));
            }
            self.next_pass();
        }
        None
    }
}

#[cfg(test)]
mod tests;
