//! A cluster on a network and on disks that break: faults come and go here.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::fault::{At, DEVICES, End, Fault, PROXIES};
use super::net::{Net, SUBNET};
use super::{output, sh};
use crate::chance::Chance;
use crate::cluster::{Cluster, Shape, Site};

/// Where folders and disks are.
const FOLDER: &str = "/run/lab";
/// Workers that look often, and segments that small disks have room for.
const WORKERS: &str = "update_listings_ms = 200\nreconcile_ms = 300\nin_flight_ms = 1000\n";
/// Causes for which a device takes no writes until its process is restarted.
const SICK: [&str; 4] = ["io-errors", "index-failed", "bad-records", "read-only-filesystem"];
const STORE: &str = "segment_bytes = 8388608\n";

/// The cluster, its network, its disks.
#[derive(Debug)]
pub struct Field {
    /// Processes before what they stand on: dropped in this order.
    pub cluster: Cluster,
    net: Net,
    disks: BTreeMap<At, Disk>,
}

impl Field {
    /// Makes all of it anew, in an enclosure.
    pub fn make() -> Self {
        let hosts: Vec<usize> = (1..=1 + PROXIES).chain((10..).take(DEVICES.len())).collect();
        clear(&hosts);
        let net = Net::new(&hosts);
        let folder = PathBuf::from(FOLDER);
        let mut disks = BTreeMap::new();
        for (store, devices) in DEVICES.into_iter().enumerate() {
            let data = folder.join(format!("store{}", store + 1));
            std::fs::create_dir_all(&data).expect("a folder");
            for device in 0..devices {
                let (name, at) = (format!("s{}d{}", store + 1, device + 1), At { store, device });
                let link = data.join(format!("d{}", device + 1));
                disks.insert(at, Disk::new(&folder.join("disks"), &name, &link));
            }
        }
        let cluster = Cluster::start_as(Shape {
            site: Some(Site {
                folder,
                subnet: SUBNET.to_owned(),
            }),
            store: STORE.to_owned(),
            stores: (1..).zip(DEVICES).collect(),
            proxies: PROXIES,
            part_power: 4,
            workers: WORKERS.to_owned(),
            ..Shape::default()
        });
        Self { cluster, net, disks }
    }

    /// Lets a fault come. What it did, where that is not said by its name.
    pub fn begin(&mut self, fault: &Fault, chance: &mut Chance) -> Option<String> {
        match fault {
            Fault::Kill(s) => self.cluster.kill_store(*s),
            Fault::Freeze(s) => self.cluster.freeze_store(*s),
            Fault::KillProxy(p) => self.cluster.kill_proxy(*p),
            Fault::PowerLoss => self.cluster.power_off(),
            Fault::Deaf(from, to) => self.net.cut_one_way(&address(*from), &address(*to)),
            Fault::Cut(a, b) => self.net.cut(&address(*a), &address(*b)),
            Fault::Isolate(s) => self.net.isolate(&address(End::Store(*s))),
            Fault::Slow(s) => self.net.slow(&address(End::Store(*s))),
            Fault::Fill(at, left) => self.disks[at].fill(*left),
            Fault::ReadOnly(at) => self.disks[at].fail(),
            Fault::Swap(at) => {
                self.cluster.kill_store(at.store);
                self.disks[at].swap();
            }
            Fault::Flip(at, count) => {
                let flipped = self.disks[at].flip(*count, chance);
                return Some(format!("{flipped} bits flipped"));
            }
            Fault::Truncate(at) => {
                self.cluster.kill_store(at.store);
                return Some(self.disks[at].truncate(chance));
            }
            Fault::DropIndex(at) => {
                self.cluster.kill_store(at.store);
                self.disks[at].drop_index();
            }
        }
        None
    }

    /// Lets it go again.
    pub fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::Freeze(s) if self.cluster.runs(*s) => self.cluster.thaw_store(*s),
            Fault::Freeze(_) => {}
            Fault::PowerLoss | Fault::KillProxy(_) => self.cluster.power_on(),
            // Other cuts of the same step may end with it.
            Fault::Deaf(..) | Fault::Cut(..) | Fault::Isolate(_) => self.net.heal(),
            Fault::Slow(s) => self.net.quicken(&address(End::Store(*s))),
            Fault::Fill(at, _) => self.disks[at].free(),
            Fault::ReadOnly(at) => {
                self.cluster.kill_store(at.store);
                self.disks[at].repair();
                self.cluster.start_store(at.store);
            }
            Fault::Flip(..) => {}
            Fault::Kill(s) => self.start(*s),
            Fault::Swap(at) | Fault::Truncate(at) | Fault::DropIndex(at) => self.start(at.store),
        }
    }

    /// Copies what every host has logged to a folder.
    pub fn keep_logs(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder");
        for host in std::fs::read_dir(FOLDER).expect("the hosts").flatten() {
            let name = host.file_name().to_string_lossy().into_owned();
            let _ = std::fs::copy(host.path().join("log"), folder.join(format!("{name}.log")));
        }
    }

    fn start(&mut self, store: usize) {
        if !self.cluster.runs(store) {
            self.cluster.start_store(store);
        }
    }

    /// As an operator does with a host whose status says that a device took no
    /// more writes: the cause is gone, the host is started anew. Which ones.
    pub fn restart_where_asked(&mut self) -> Vec<usize> {
        let asks = |store: &usize| {
            let status = self.cluster.store_status(*store);
            let devices = status["devices"].as_array().cloned().unwrap_or_default();
            let reasons = devices
                .iter()
                .flat_map(|d| d["reasons"].as_array().cloned().unwrap_or_default());
            let mut causes = reasons.filter_map(|reason| Some(reason["cause"].as_str()?.to_owned()));
            causes.any(|cause| SICK.contains(&cause.as_str()))
        };
        let stores: Vec<usize> = (0..DEVICES.len()).filter(asks).collect();
        for store in &stores {
            self.cluster.kill_store(*store);
            self.cluster.start_store(*store);
        }
        stores
    }
}

/// Takes away what an earlier field of this enclosure left.
fn clear(hosts: &[usize]) {
    let _ = std::fs::remove_dir_all(FOLDER);
    for host in hosts {
        let name = format!("{SUBNET}.{host}");
        if Path::new("/run/netns").join(&name).exists() {
            sh(&["ip", "netns", "del", &name]);
            // The kernel takes its cable away too, but when it likes.
            output(&["ip", "link", "del", &format!("port{host}")]);
        }
    }
    output(&["ip", "link", "del", "switch"]);
}

fn address(end: End) -> String {
    let last = match end {
        End::Store(n) => 10 + n,
        End::Proxy(n) => 2 + n,
    };
    format!("{SUBNET}.{last}")
}
