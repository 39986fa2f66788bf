//! Checks components against each other and against the ring they made
//! before, and joins their tables.
use std::collections::{BTreeMap, BTreeSet};

use super::{ComponentRecord, Composite, MAX_COMPONENTS};
use crate::builder::Builder;
use crate::device::{Device, DeviceId};
use crate::ring::{Ring, RingError, RingInfo};
use crate::table::{MAX_SLOTS, NONE, Table};

/// A builder and the path of its file, which also names it in messages.
#[derive(Clone, Copy, Debug)]
pub struct Component<'a> {
    /// Path of the builder file, as it is to be remembered.
    pub file: &'a str,
    /// The builder.
    pub builder: &'a Builder,
}

/// A composed ring and what is to be remembered of it.
#[derive(Debug)]
pub struct Composed {
    /// The ring.
    pub ring: Ring,
    /// The new content of the composite ring's file.
    pub composite: Composite,
}

/// Why builders make no composite ring. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// One, none, or absurdly many.
    #[error("a composite ring has 2 to {MAX_COMPONENTS} components, not {0}: name their builder files")]
    Count(usize),
    /// They do not go together; every reason is listed.
    #[error("{}", lines(.0))]
    Unfit(Vec<Unfit>),
    /// They are not what the ring was made of before; every reason is listed.
    #[error("{}\n--force composes all the same; fragments and replicas may change places then", lines(.0))]
    Changed(Vec<Unfit>),
    /// Nothing to do.
    #[error("no component has changed since the ring was composed (--force composes all the same)")]
    Unmodified,
    /// The joint table would be too large.
    #[error("the joint table has more than {MAX_SLOTS} slots, the most a table may have")]
    TooLarge,
    /// The tables contradict their devices.
    #[error("the components make no ring: {0}")]
    Ring(#[from] RingError),
}

/// One thing that is wrong with a component.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Other number of partitions.
    #[error("{file}: part power {power}, but {other_power} in {other}")]
    PartPower {
        /// The component.
        file: String,
        /// Its part power.
        power: u8,
        /// The component before it.
        other: String,
        /// That one's part power.
        other_power: u8,
    },
    /// One increases its part power and the other does not.
    #[error("{file}: its partition power increase is at another step than that of {other}")]
    PowerIncrease {
        /// The component.
        file: String,
        /// The component before it.
        other: String,
    },
    /// A fraction of a replica.
    #[error("{file}: {replicas} replicas; a component needs a whole number of them")]
    Replicas {
        /// The component.
        file: String,
        /// Its replicas.
        replicas: f64,
    },
    /// Changes without a rebalance, or none ever.
    #[error("{file}: it needs a rebalance first")]
    NeedsRebalance {
        /// The component.
        file: String,
    },
    /// Never saved by a tool that gives ids.
    #[error("{file}: it has no id: save it once (rebalance --force)")]
    NoId {
        /// The component.
        file: String,
    },
    /// One builder twice, or a copy.
    #[error("{file}: it has the same id as {other}: {id}")]
    SameId {
        /// The component.
        file: String,
        /// The other one.
        other: String,
        /// Their id.
        id: String,
    },
    /// A region in two components.
    #[error("{file}: region {region} is used by {other} too; each region belongs to one component")]
    Region {
        /// The component.
        file: String,
        /// The other one.
        other: String,
        /// The region.
        region: u32,
    },
    /// A device in two components.
    #[error("{file}: device {id} ({ip}:{port}/{device}) is in {other} too")]
    Device {
        /// The component.
        file: String,
        /// Its number there.
        id: DeviceId,
        /// Address.
        ip: String,
        /// Port.
        port: u16,
        /// Name.
        device: String,
        /// The other component.
        other: String,
    },
    /// Fewer components than before.
    #[error("component {index} (builder {id}) is missing")]
    Missing {
        /// Its place.
        index: usize,
        /// Its builder's id.
        id: String,
    },
    /// More components than before.
    #[error("{file}: component {index} is new")]
    Extra {
        /// The component.
        file: String,
        /// Its place.
        index: usize,
    },
    /// Another builder at this place.
    #[error("{file}: component {index} was builder {was} before, now it is {id}")]
    Replaced {
        /// The component.
        file: String,
        /// Its place.
        index: usize,
        /// The id at this place before.
        was: String,
        /// The id now.
        id: String,
    },
    /// Other replicas than before: all later fragments would change places.
    #[error("{file}: it had {was} replicas before, now {replicas}")]
    ReplicasChanged {
        /// The component.
        file: String,
        /// Replicas before.
        was: f64,
        /// Replicas now.
        replicas: f64,
    },
    /// An older version of the builder: a copy from a backup?
    #[error("{file}: version {version} is older than {was}, which the ring was made of")]
    Older {
        /// The component.
        file: String,
        /// Version now.
        version: u64,
        /// Version before.
        was: u64,
    },
}

fn lines(all: &[Unfit]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join("\n")
}

/// Joins `components`. `before` is what is remembered of the ring, if it has
/// been composed before; `force` lets anything follow it.
pub fn compose(
    components: &[Component<'_>],
    before: Option<&Composite>,
    force: bool,
) -> Result<Composed, ComposeError> {
    if !(2..=MAX_COMPONENTS).contains(&components.len()) {
        return Err(ComposeError::Count(components.len()));
    }
    let (records, mut unfit) = records(components);
    let mut modified = true;
    if unfit.is_empty()
        && let Some(before) = before.filter(|_| !force)
    {
        let (changed, newer) = follow(before, components, &records);
        if !changed.is_empty() {
            return Err(ComposeError::Changed(changed));
        }
        modified = newer;
    }
    check_shapes(components, &mut unfit);
    check_devices(components, &mut unfit);
    if !unfit.is_empty() {
        return Err(ComposeError::Unfit(unfit));
    }
    if !modified {
        return Err(ComposeError::Unmodified);
    }
    let ring = join(components)?;
    let files = records.iter().zip(components);
    let composite = Composite {
        version: before.map_or(0, |before| before.version).saturating_add(1),
        component_builder_files: files
            .map(|(record, component)| (record.id.clone(), component.file.to_owned()))
            .collect(),
        components: records,
        saved_path: None,
        serialization_version: None,
        extra: before.map(|before| before.extra.clone()).unwrap_or_default(),
    };
    Ok(Composed { ring, composite })
}

/// What is to be remembered of each; ids have to be there and different.
fn records(components: &[Component<'_>]) -> (Vec<ComponentRecord>, Vec<Unfit>) {
    let mut records: Vec<ComponentRecord> = Vec::new();
    let mut unfit = Vec::new();
    let mut files: BTreeMap<String, &str> = BTreeMap::new();
    for Component { file, builder } in components {
        let Some(record) = ComponentRecord::of(builder) else {
            unfit.push(Unfit::NoId {
                file: (*file).to_owned(),
            });
            continue;
        };
        if let Some(other) = files.insert(record.id.clone(), file) {
            unfit.push(Unfit::SameId {
                file: (*file).to_owned(),
                other: other.to_owned(),
                id: record.id.clone(),
            });
        }
        records.push(record);
    }
    (records, unfit)
}

/// Are these the components of `before`, none of them older? And is one newer?
fn follow(
    before: &Composite,
    components: &[Component<'_>],
    records: &[ComponentRecord],
) -> (Vec<Unfit>, bool) {
    let mut unfit = Vec::new();
    let mut newer = false;
    for (index, was) in before.components.iter().enumerate() {
        let (Some(now), Some(component)) = (records.get(index), components.get(index)) else {
            let id = was.id.clone();
            unfit.push(Unfit::Missing { index, id });
            continue;
        };
        let file = component.file.to_owned();
        if now.id != was.id {
            unfit.push(Unfit::Replaced {
                file,
                index,
                was: was.id.clone(),
                id: now.id.clone(),
            });
        } else if now.replicas != was.replicas {
            unfit.push(Unfit::ReplicasChanged {
                file,
                was: was.replicas,
                replicas: now.replicas,
            });
        } else if now.version < was.version {
            unfit.push(Unfit::Older {
                file,
                version: now.version,
                was: was.version,
            });
        }
        newer |= now.version > was.version;
    }
    for (index, component) in components.iter().enumerate().skip(before.components.len()) {
        unfit.push(Unfit::Extra {
            file: component.file.to_owned(),
            index,
        });
    }
    (unfit, newer)
}

fn check_shapes(components: &[Component<'_>], unfit: &mut Vec<Unfit>) {
    for pair in components.windows(2) {
        let (other, one) = (&pair[0], &pair[1]);
        if one.builder.part_power() != other.builder.part_power() {
            unfit.push(Unfit::PartPower {
                file: one.file.to_owned(),
                power: one.builder.part_power(),
                other: other.file.to_owned(),
                other_power: other.builder.part_power(),
            });
        } else if one.builder.next_part_power() != other.builder.next_part_power() {
            unfit.push(Unfit::PowerIncrease {
                file: one.file.to_owned(),
                other: other.file.to_owned(),
            });
        }
    }
    for Component { file, builder } in components {
        let file = (*file).to_owned();
        let replicas = builder.replicas();
        let full = |table: &Table| table.rows() as f64 == replicas && table.last_row() == table.parts();
        if replicas.fract() != 0.0 {
            unfit.push(Unfit::Replicas { file, replicas });
        } else if builder.is_changed() || !builder.table().is_some_and(full) {
            unfit.push(Unfit::NeedsRebalance { file });
        }
    }
}

fn check_devices(components: &[Component<'_>], unfit: &mut Vec<Unfit>) {
    let mut regions: BTreeMap<u32, &str> = BTreeMap::new();
    let mut places: BTreeMap<(&str, u16, &str), &str> = BTreeMap::new();
    for Component { file, builder } in components {
        let own: BTreeSet<u32> = builder.devices().map(|device| device.region).collect();
        for region in own {
            if let Some(other) = regions.insert(region, file) {
                unfit.push(Unfit::Region {
                    file: (*file).to_owned(),
                    other: other.to_owned(),
                    region,
                });
            }
        }
        let known = places.clone();
        for device in builder.devices() {
            let place = (device.ip.as_str(), device.port, device.device.as_str());
            if let Some(other) = known.get(&place) {
                unfit.push(Unfit::Device {
                    file: (*file).to_owned(),
                    id: device.id,
                    ip: device.ip.clone(),
                    port: device.port,
                    device: device.device.clone(),
                    other: (*other).to_owned(),
                });
            }
            places.insert(place, file);
        }
    }
}

/// Rows one after the other, device numbers behind those of the components
/// before.
fn join(components: &[Component<'_>]) -> Result<Ring, ComposeError> {
    let first = components[0].builder;
    let tables = || {
        components
            .iter()
            .filter_map(|component| component.builder.table())
    };
    let slots = tables().map(Table::slots).fold(0, usize::saturating_add);
    if slots > MAX_SLOTS {
        return Err(ComposeError::TooLarge);
    }
    let mut devices: Vec<Option<Device>> = Vec::new();
    let mut ids = Vec::with_capacity(slots);
    for Component { builder, .. } in components {
        let shift = devices.len() as u32;
        let shifted = |id: u32| {
            if id == NONE {
                NONE
            } else {
                id.saturating_add(shift)
            }
        };
        if let Some(table) = builder.table() {
            ids.extend(table.row_major().map(shifted));
        }
        devices.extend(builder.device_list().iter().map(|device| {
            let mut device = device.clone()?;
            device.id = DeviceId(shifted(device.id.0));
            Some(device)
        }));
    }
    let parts = tables().next().map_or(0, Table::parts);
    let table = Table::from_row_major(parts, &ids).ok_or(ComposeError::TooLarge)?;
    let info = RingInfo {
        part_power: first.part_power(),
        // Swift's composite rings carry none: the composite has a version of its own.
        version: None,
        next_part_power: first.next_part_power(),
        extra: BTreeMap::new(),
    };
    Ok(Ring::new(info, devices, table)?)
}
