//! Rings as an operator handles them: builders in a folder, changed with
//! `virga ring`; ring files that are read here by a reader of the harness's
//! own, so that what moved is not judged by the code that moved it.
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::binary;

/// A partition and a device, by numbers: one replica's place.
pub type Slot = (usize, usize);

/// A folder of builders and their ring files.
#[derive(Debug)]
pub struct Builders {
    /// The folder.
    pub folder: PathBuf,
}

impl Builders {
    /// The ring file of a ring.
    pub fn ring_file(&self, ring: &str) -> PathBuf {
        self.folder.join(format!("{ring}.ring.gz"))
    }

    /// Runs a verb of `virga ring`; panics unless it is done or warns.
    pub fn run(&self, ring: &str, args: &[&str]) -> String {
        let builder = self.folder.join(format!("{ring}.builder"));
        let mut command = Command::new(binary());
        let out = command.arg("ring").arg(&builder).args(args).output();
        let out = out.expect("virga runs");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        // As with swift-ring-builder: 1 is a warning, or nothing to do.
        assert!(
            matches!(out.status.code(), Some(0 | 1)),
            "virga ring {ring} {args:?}: {}\n{said}{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
        said
    }

    /// Runs a verb with `--json`.
    pub fn ask(&self, ring: &str, args: &[&str]) -> Value {
        let said = self.run(ring, &[&["--json"], args].concat());
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{args:?}: {e}: {said}"))
    }

    /// What a rebalance now would move.
    pub fn plan(&self, ring: &str) -> Moves {
        Moves::of(&self.ask(ring, &["plan"])["steps"][0])
    }

    /// Rebalances; what it says it moved.
    pub fn rebalance(&self, ring: &str) -> Moves {
        Moves::of(&self.ask(ring, &["rebalance"]))
    }

    /// Reads a ring file.
    pub fn read(&self, ring: &str) -> Assignment {
        Assignment::read(&self.ring_file(ring))
    }
}

/// What a rebalance moves: how many replicas from which device (none: they had
/// no place) to which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moves {
    /// Replicas.
    pub moved: u64,
    /// The fewest that any rebalance could move.
    pub bound: u64,
    /// Replicas that have to wait for another rebalance.
    pub pending: u64,
    /// From, to, replicas.
    pub movements: Vec<(Option<usize>, usize, u64)>,
}

impl Moves {
    fn of(said: &Value) -> Self {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number in {said}"));
        let movement = |m: &Value| {
            let from = m["from"].as_u64().map(|id| id as usize);
            (from, number(&m["to"]) as usize, number(&m["slots"]))
        };
        let mut movements: Vec<_> = said["movements"]
            .as_array()
            .expect("movements")
            .iter()
            .map(movement)
            .collect();
        movements.sort_unstable();
        Self {
            moved: number(&said["moved"]),
            bound: number(&said["bound"]),
            pending: number(&said["pending"]),
            movements,
        }
    }
}

/// A device as a ring file lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its number.
    pub id: usize,
    /// Address and port of its node.
    pub node: String,
    /// Its name on the node.
    pub name: String,
    /// Its weight.
    pub weight: f64,
}

/// A ring file: who holds what. Format 1 of Swift's, which `virga ring` writes.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Counts the builder's changes.
    pub version: u64,
    /// By number; removed ones leave a hole.
    pub devices: Vec<Option<Listed>>,
    /// By replica, then by partition.
    rows: Vec<Vec<u16>>,
}

impl Assignment {
    /// Reads a file.
    pub fn read(file: &Path) -> Self {
        let packed = std::fs::File::open(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut bytes = Vec::new();
        let read = flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes);
        read.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(&bytes[..6], b"R1NG\0\x01", "{}", file.display());
        let length = u32::from_be_bytes(bytes[6..10].try_into().expect("four")) as usize;
        let header: Value = serde_json::from_slice(&bytes[10..10 + length]).expect("a header");
        let parts = 1usize << (32 - header["part_shift"].as_u64().expect("part_shift"));
        let id = match header["byteorder"].as_str() {
            Some("big") => u16::from_be_bytes,
            _ => u16::from_le_bytes,
        };
        let ids = bytes[10 + length..].chunks_exact(2);
        let ids: Vec<u16> = ids.map(|two| id([two[0], two[1]])).collect();
        let devices = header["devs"].as_array().expect("devs");
        Self {
            version: header["version"].as_u64().expect("a version"),
            devices: devices.iter().map(listed).collect(),
            rows: ids.chunks(parts).map(<[u16]>::to_vec).collect(),
        }
    }

    /// Number of partitions.
    pub fn parts(&self) -> usize {
        self.rows[0].len()
    }

    /// The devices of a partition.
    pub fn holders(&self, part: usize) -> BTreeSet<usize> {
        let held = self.rows.iter().filter_map(|row| row.get(part));
        held.map(|id| usize::from(*id)).collect()
    }

    /// Every replica's place.
    pub fn slots(&self) -> BTreeSet<Slot> {
        let of = |part| self.holders(part).into_iter().map(move |id| (part, id));
        (0..self.parts()).flat_map(of).collect()
    }

    /// The number of a device.
    pub fn id(&self, node: &str, name: &str) -> Option<usize> {
        let mut listed = self.devices.iter().flatten();
        listed.find(|d| d.node == node && d.name == name).map(|d| d.id)
    }
}

fn listed(device: &Value) -> Option<Listed> {
    Some(Listed {
        id: device["id"].as_u64()? as usize,
        node: format!("{}:{}", device["ip"].as_str()?, device["port"].as_u64()?),
        name: device["device"].as_str()?.to_owned(),
        weight: device["weight"].as_f64()?,
    })
}
