//! Changes to the devices and settings of a builder.
//!
//! Each counts the version up; none moves data before the next rebalance.
use super::address;
use super::{Builder, CreateError, MAX_DEVICES, check_min_part_hours, check_replicas};
use crate::device::{Device, DeviceId};

/// Heaviest weight allowed: beyond it the shares lose all precision.
const MAX_WEIGHT: f64 = 1e15;
/// Lightest weight above 0, for the same reason.
const MIN_WEIGHT: f64 = 1e-9;

/// A device to be added.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDevice {
    /// Region.
    pub region: u32,
    /// Zone in the region.
    pub zone: u32,
    /// Address or host name.
    pub ip: String,
    /// Port.
    pub port: u16,
    /// Address for replication; `None` = `ip`.
    pub replication_ip: Option<String>,
    /// Port for replication; `None` = `port`.
    pub replication_port: Option<u16>,
    /// Name on its server.
    pub device: String,
    /// Share of the data; 0 holds nothing.
    pub weight: f64,
    /// Free text.
    pub meta: String,
}

/// What to change of a device's description; `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceInfo {
    /// New address.
    pub ip: Option<String>,
    /// New port.
    pub port: Option<u16>,
    /// New replication address.
    pub replication_ip: Option<String>,
    /// New replication port.
    pub replication_port: Option<u16>,
    /// New name.
    pub device: Option<String>,
    /// New free text.
    pub meta: Option<String>,
}

/// Why a change is refused.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ChangeError {
    /// Same address, port and name as another device.
    #[error("device {id} already uses {ip}:{port}/{device}")]
    Duplicate {
        /// The device that is there.
        id: DeviceId,
        /// Address.
        ip: String,
        /// Port.
        port: u16,
        /// Name.
        device: String,
    },
    /// Neither address nor host name.
    #[error("{0:?} is neither an IP address nor a host name")]
    Address(String),
    /// Empty, or with a slash or white space in it.
    #[error("bad device name {0:?}: it must be a single folder name")]
    Name(String),
    /// Negative, not a number, or absurd.
    #[error(
        "bad weight {weight:e} for device {device}: it must be 0 (holds nothing) or between {MIN_WEIGHT:e} and {MAX_WEIGHT:e}"
    )]
    Weight {
        /// The device: its address and name.
        device: String,
        /// The weight.
        weight: f64,
    },
    /// No such device.
    #[error("there is no device {0}")]
    NoDevice(DeviceId),
    /// It goes at the next rebalance.
    #[error("device {0} is marked for removal")]
    Removed(DeviceId),
    /// The list is full.
    #[error("a ring holds at most {MAX_DEVICES} devices")]
    TooMany,
    /// Devices may not change now.
    #[error("a partition power increase is in progress: finish or cancel it first")]
    PowerIncrease,
    /// A negative or absurd overload.
    #[error("bad overload {0}: it must be 0 or more")]
    Overload(f64),
    /// Every partition has more replicas than that.
    #[error("a scatter limit of {limit} is less than the other replicas of a partition: with {replicas} replicas it must be {} or more", replicas.ceil() - 1.0)]
    ScatterLimit {
        /// The limit.
        limit: u32,
        /// Replicas of a partition.
        replicas: f64,
    },
    /// A bad replica count or min_part_hours.
    #[error(transparent)]
    Setting(#[from] CreateError),
}

impl Builder {
    /// Adds a device and gives its number: the first hole or the next one.
    pub fn add(&mut self, new: NewDevice) -> Result<DeviceId, ChangeError> {
        self.refuse_while_increasing()?;
        let spelled = |ip: &str| address::normalize(ip).ok_or_else(|| ChangeError::Address(ip.to_owned()));
        let ip = spelled(&new.ip)?;
        let replication_ip = match new.replication_ip {
            Some(other) => spelled(&other)?,
            None => ip.clone(),
        };
        check_name(&new.device)?;
        check_weight(new.weight, || format!("{ip}:{}/{}", new.port, new.device))?;
        self.check_unique(None, &ip, new.port, &new.device)?;
        let place = self
            .devices
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.devices.len());
        if place >= MAX_DEVICES {
            return Err(ChangeError::TooMany);
        }
        let device = Device {
            id: DeviceId(place as u32),
            region: new.region,
            zone: new.zone,
            ip,
            port: new.port,
            replication_ip,
            replication_port: new.replication_port.unwrap_or(new.port),
            device: new.device,
            weight: new.weight,
            meta: new.meta,
            extra: Default::default(),
        };
        if place == self.devices.len() {
            self.devices.push(None);
        }
        let id = device.id;
        self.devices[place] = Some(device);
        self.note_change();
        Ok(id)
    }

    /// Marks a device for removal: weight 0 now, gone at the next rebalance.
    pub fn remove(&mut self, id: DeviceId) -> Result<(), ChangeError> {
        self.refuse_while_increasing()?;
        self.changeable(id)?.weight = 0.0;
        self.removed.push(id);
        self.note_change();
        Ok(())
    }

    /// Changes a device's share of the data; 0 drains it.
    pub fn set_weight(&mut self, id: DeviceId, weight: f64) -> Result<(), ChangeError> {
        let device = self.changeable(id)?;
        check_weight(weight, || {
            format!("d{id} ({}:{}/{})", device.ip, device.port, device.device)
        })?;
        device.weight = weight;
        self.note_change();
        Ok(())
    }

    /// Moves a device to another region.
    pub fn set_region(&mut self, id: DeviceId, region: u32) -> Result<(), ChangeError> {
        self.changeable(id)?.region = region;
        self.note_change();
        Ok(())
    }

    /// Moves a device to another zone.
    pub fn set_zone(&mut self, id: DeviceId, zone: u32) -> Result<(), ChangeError> {
        self.changeable(id)?.zone = zone;
        self.note_change();
        Ok(())
    }

    /// Changes how a device is reached or described. Moves nothing by itself,
    /// though a new address is a new server to the next rebalance.
    pub fn set_info(&mut self, id: DeviceId, info: DeviceInfo) -> Result<(), ChangeError> {
        let spelled = |ip: Option<String>| match ip {
            None => Ok(None),
            Some(ip) => address::normalize(&ip).map(Some).ok_or(ChangeError::Address(ip)),
        };
        let (ip, replication_ip) = (spelled(info.ip)?, spelled(info.replication_ip)?);
        let mut device = self.device(id).ok_or(ChangeError::NoDevice(id))?.clone();
        device.ip = ip.unwrap_or(device.ip);
        device.port = info.port.unwrap_or(device.port);
        device.replication_ip = replication_ip.unwrap_or(device.replication_ip);
        device.replication_port = info.replication_port.unwrap_or(device.replication_port);
        device.device = info.device.unwrap_or(device.device);
        device.meta = info.meta.unwrap_or(device.meta);
        check_name(&device.device)?;
        self.check_unique(Some(id), &device.ip, device.port, &device.device)?;
        self.devices[id.0 as usize] = Some(device);
        Ok(())
    }

    /// Changes the replica count; the next rebalance adds or drops replicas.
    pub fn set_replicas(&mut self, replicas: f64) -> Result<(), ChangeError> {
        check_replicas(replicas)?;
        if replicas != self.settings.replicas {
            self.settings.replicas = replicas;
            self.settings.changed = true;
        }
        Ok(())
    }

    /// Changes how long a partition rests after a move.
    pub fn set_min_part_hours(&mut self, hours: u32) -> Result<(), ChangeError> {
        check_min_part_hours(hours)?;
        self.settings.min_part_hours = hours;
        Ok(())
    }

    /// Changes the overload (0.1 is 10 %).
    pub fn set_overload(&mut self, overload: f64) -> Result<(), ChangeError> {
        if !(0.0..=1e6).contains(&overload) {
            return Err(ChangeError::Overload(overload));
        }
        self.settings.overload = overload;
        Ok(())
    }

    /// Lets every partition move at the next rebalance.
    pub fn pretend_min_part_hours_passed(&mut self) {
        self.times.hours.fill(u8::MAX);
        // Counting starts anew at the next rebalance.
        self.times.epoch = 0;
    }

    /// A device that may be changed.
    fn changeable(&mut self, id: DeviceId) -> Result<&mut Device, ChangeError> {
        if self.removed.contains(&id) {
            return Err(ChangeError::Removed(id));
        }
        self.devices
            .get_mut(id.0 as usize)
            .and_then(Option::as_mut)
            .ok_or(ChangeError::NoDevice(id))
    }

    fn note_change(&mut self) {
        self.settings.changed = true;
        self.settings.version += 1;
    }

    fn refuse_while_increasing(&self) -> Result<(), ChangeError> {
        if self.settings.next_part_power.is_some() {
            Err(ChangeError::PowerIncrease)
        } else {
            Ok(())
        }
    }

    fn check_unique(
        &self,
        except: Option<DeviceId>,
        ip: &str,
        port: u16,
        name: &str,
    ) -> Result<(), ChangeError> {
        let same = |device: &&Device| device.ip == ip && device.port == port && device.device == name;
        match self
            .devices()
            .filter(|device| Some(device.id) != except)
            .find(same)
        {
            None => Ok(()),
            Some(there) => Err(ChangeError::Duplicate {
                id: there.id,
                ip: ip.to_owned(),
                port,
                device: name.to_owned(),
            }),
        }
    }
}

fn check_weight(weight: f64, device: impl Fn() -> String) -> Result<(), ChangeError> {
    if weight == 0.0 || (MIN_WEIGHT..=MAX_WEIGHT).contains(&weight) {
        Ok(())
    } else {
        let device = device();
        Err(ChangeError::Weight { device, weight })
    }
}

fn check_name(name: &str) -> Result<(), ChangeError> {
    let bad = |c: char| c == '/' || c == '\0' || c.is_whitespace();
    match name {
        "" | "." | ".." => Err(ChangeError::Name(name.to_owned())),
        _ if name.contains(bad) => Err(ChangeError::Name(name.to_owned())),
        _ => Ok(()),
    }
}
