//! A ring to look names up in: immutable, checked once when it is made.
//!
//! The proxy and the object server hold one behind [`crate::RingHandle`].
//! Making and changing rings is the builder's work.
use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use crate::device::{Device, DeviceId, Partition};
use crate::handoff::Handoffs;
use crate::hash::NameHash;
use crate::lookup::{LookupTable, Scan, Slots};
use crate::table::Table;

/// Why parts of a ring do not make a ring.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RingError {
    /// The table has not 2^part_power partitions.
    #[error("the table has {parts} partitions, part power {part_power} wants {want}")]
    Shape {
        /// Partitions found.
        parts: usize,
        /// Part power claimed.
        part_power: u8,
        /// Partitions that makes.
        want: u64,
    },
    /// A slot names a device that is not in the list.
    #[error("partition {part} is assigned to device {id}, which the ring does not list")]
    UnknownDevice {
        /// The partition.
        part: usize,
        /// The device number.
        id: u32,
    },
    /// A device's id is not its place in the list.
    #[error("device at place {place} of the list says its id is {id}")]
    MisplacedDevice {
        /// Its place.
        place: usize,
        /// Its id.
        id: u32,
    },
}

/// What a ring file says beside devices and table.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RingInfo {
    /// log2 of the number of partitions, 0..=32.
    pub part_power: u8,
    /// Counts the builder's changes; old files have none.
    pub version: Option<u64>,
    /// Set while the part power is being increased.
    pub next_part_power: Option<u8>,
    /// Keys this version does not know, kept as found.
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// Dense numbers of regions, zones and servers, for the handoff search.
#[derive(Debug)]
pub(crate) struct TierNumbers {
    /// Per device id: region, zone, server number (`u32::MAX` for a hole or a
    /// device without a slot).
    pub(crate) of: Vec<[u32; 3]>,
    /// How many regions, zones, servers, devices own at least one slot.
    pub(crate) totals: [usize; 4],
}

/// Devices and the partitions they hold.
#[derive(Debug)]
pub struct Ring {
    pub(crate) lookup: LookupTable,
    /// The same as builders work on it; made when it is first asked for.
    table: OnceLock<Table>,
    pub(crate) devices: Vec<Option<Device>>,
    pub(crate) tiers: TierNumbers,
    info: RingInfo,
    /// Some partition has one device twice: lookups must look for that.
    repeats: bool,
}

impl Ring {
    /// Checks the parts and puts them together.
    ///
    /// # Errors
    /// See [`RingError`]: the parts contradict each other.
    pub fn new(info: RingInfo, devices: Vec<Option<Device>>, table: Table) -> Result<Self, RingError> {
        check_shape(&info, table.parts(), table.rows())?;
        // Before numbers that the cells cannot hold are lost.
        for part in 0..table.parts() {
            if let Some(&id) = table.of(part).iter().find(|&&id| id as usize >= devices.len()) {
                return Err(RingError::UnknownDevice { part, id });
            }
        }
        let want = 1u64 << info.part_power;
        let lookup = LookupTable::of(&table, devices.len()).ok_or(RingError::Shape {
            parts: table.parts(),
            part_power: info.part_power,
            want,
        })?;
        Self::from_lookup(info, devices, lookup)
    }

    /// The same for a table that was read straight into its last form.
    pub(crate) fn from_lookup(
        info: RingInfo,
        devices: Vec<Option<Device>>,
        lookup: LookupTable,
    ) -> Result<Self, RingError> {
        check_shape(&info, lookup.parts(), lookup.rows())?;
        let devices: Vec<_> = devices
            .into_iter()
            .map(|device| device.map(Device::complete))
            .collect();
        for (place, device) in devices.iter().enumerate() {
            if let Some(device) = device
                && device.id.0 as usize != place
            {
                return Err(RingError::MisplacedDevice {
                    place,
                    id: device.id.0,
                });
            }
        }
        // Apart from the devices themselves: these few bytes stay in the cache.
        let listed: Vec<bool> = devices.iter().map(Option::is_some).collect();
        let Scan { used, repeats } = lookup
            .scan(&listed)
            .map_err(|(part, id)| RingError::UnknownDevice { part, id })?;
        let tiers = number_tiers(&devices, &used);
        Ok(Self {
            lookup,
            table: OnceLock::new(),
            devices,
            tiers,
            info,
            repeats,
        })
    }

    /// The partition a name belongs to.
    #[inline]
    pub fn partition(&self, name: &NameHash) -> Partition {
        Partition(self.cut(name.leading()))
    }

    /// The top `part_power` bits; a shift by all 32 gives 0.
    #[inline]
    pub(crate) fn cut(&self, leading: u32) -> u32 {
        (u64::from(leading) >> (32 - u32::from(self.info.part_power))) as u32
    }

    /// The devices that own `part`, with their index (the fragment index of
    /// erasure coding). Empty for a partition beyond the ring.
    #[inline]
    pub fn primaries(&self, part: Partition) -> Primaries<'_> {
        Primaries {
            ring: self,
            ids: self.primary_ids(part),
            index: 0,
        }
    }

    /// The numbers of the devices that own `part`, in the order of
    /// [`Ring::primaries`]. Cheaper: the devices themselves are not touched.
    #[inline]
    pub fn primary_ids(&self, part: Partition) -> PrimaryIds<'_> {
        PrimaryIds {
            left: self.lookup.slots(part.0 as usize),
            repeats: self.repeats.then(|| self.lookup.slots(part.0 as usize)),
        }
    }

    /// The devices to use when primaries are away, in the order all nodes
    /// agree on. Lazy: the search goes on only as far as it is asked to.
    pub fn handoffs(&self, part: Partition) -> Handoffs<'_> {
        Handoffs::new(self, part)
    }

    /// One device.
    #[inline]
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(id.0 as usize)?.as_ref()
    }

    /// All devices, in order of id.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().flatten()
    }

    /// The device list with its holes, as files store it.
    pub fn device_list(&self) -> &[Option<Device>] {
        &self.devices
    }

    /// Part power, version and the rest of the file's header.
    pub fn info(&self) -> &RingInfo {
        &self.info
    }

    /// log2 of the number of partitions.
    pub fn part_power(&self) -> u8 {
        self.info.part_power
    }

    /// Number of partitions.
    pub fn partition_count(&self) -> u64 {
        1 << self.info.part_power
    }

    /// The builder's change counter; 0 if the file had none.
    pub fn version(&self) -> u64 {
        self.info.version.unwrap_or(0)
    }

    /// Average replicas of a partition.
    pub fn replica_count(&self) -> f64 {
        self.lookup.replica_count()
    }

    /// The assignment table as builders and tools work on it: made at the
    /// first call, at four bytes a slot. Lookups do without.
    pub fn table(&self) -> &Table {
        self.table.get_or_init(|| self.lookup.to_table())
    }
}

/// The owners of one partition as numbers; see [`Ring::primary_ids`].
#[derive(Clone, Debug)]
pub struct PrimaryIds<'a> {
    /// Slots still to come.
    left: Slots<'a>,
    /// The whole row, where the ring has rows with one device twice.
    repeats: Option<Slots<'a>>,
}

impl PrimaryIds<'_> {
    /// The next device that was not there before.
    #[cold]
    fn next_distinct(&mut self, row: Slots<'_>) -> Option<DeviceId> {
        loop {
            let at = row.len() - self.left.len();
            let id = self.left.take_first()?;
            if !row.has_before(at, id) {
                return Some(DeviceId(id));
            }
        }
    }
}

impl Iterator for PrimaryIds<'_> {
    type Item = DeviceId;

    #[inline]
    fn next(&mut self) -> Option<DeviceId> {
        match self.repeats {
            Some(row) => self.next_distinct(row),
            None => self.left.take_first().map(DeviceId),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left.len();
        let least = if self.repeats.is_some() { 0 } else { left };
        (least, Some(left))
    }

    /// What `sum`, `for_each` and `collect` use: decides on the width and on
    /// repeats once, not for every slot.
    #[inline]
    fn fold<B, F: FnMut(B, DeviceId) -> B>(mut self, init: B, mut f: F) -> B {
        if self.repeats.is_some() {
            let mut folded = init;
            for id in self.by_ref() {
                folded = f(folded, id);
            }
            return folded;
        }
        let numbers = |folded, id| f(folded, DeviceId(id));
        match self.left {
            Slots::Few(word, len) => {
                let ids = (0..len).map(|at| ((word >> (16 * at)) as u16).into());
                ids.fold(init, numbers)
            }
            Slots::Narrow(cells) => cells.iter().map(|&id| id.into()).fold(init, numbers),
            Slots::Wide(cells) => cells.iter().copied().fold(init, numbers),
        }
    }
}

/// The owners of one partition; see [`Ring::primaries`].
#[derive(Clone, Debug)]
pub struct Primaries<'a> {
    ring: &'a Ring,
    ids: PrimaryIds<'a>,
    index: usize,
}

impl<'a> Iterator for Primaries<'a> {
    type Item = (usize, &'a Device);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let id = self.ids.next()?;
        let index = self.index;
        self.index += 1;
        Some((index, self.ring.device(id)?))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ids.size_hint()
    }

    /// As for the numbers: what is decided once is not decided for every slot.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut f: F) -> B {
        let mut index = self.index;
        self.ids.fold(init, |folded, id| {
            // A checked ring lists every device that it names.
            let Some(device) = self.ring.device(id) else {
                return folded;
            };
            index += 1;
            f(folded, (index - 1, device))
        })
    }
}

fn check_shape(info: &RingInfo, parts: usize, rows: usize) -> Result<(), RingError> {
    let want = 1u64 << info.part_power.min(63);
    if info.part_power <= 32 && (rows == 0 || parts as u64 == want) {
        return Ok(());
    }
    Err(RingError::Shape {
        parts,
        part_power: info.part_power,
        want,
    })
}

fn number_tiers(devices: &[Option<Device>], used: &[bool]) -> TierNumbers {
    let mut regions = HashMap::new();
    let mut zones = HashMap::new();
    let mut servers = HashMap::new();
    let mut of = vec![[u32::MAX; 3]; devices.len()];
    let mut owners = 0;
    for (device, tiers) in devices.iter().zip(&mut of) {
        let Some(device) = device.as_ref().filter(|device| used[device.id.0 as usize]) else {
            continue;
        };
        owners += 1;
        let next = regions.len() as u32;
        let region = *regions.entry(device.region).or_insert(next);
        let next = zones.len() as u32;
        let zone = *zones.entry((region, device.zone)).or_insert(next);
        let next = servers.len() as u32;
        let server = *servers.entry((zone, device.ip.as_str())).or_insert(next);
        *tiers = [region, zone, server];
    }
    TierNumbers {
        of,
        totals: [regions.len(), zones.len(), servers.len(), owners],
    }
}

#[cfg(test)]
mod tests;
