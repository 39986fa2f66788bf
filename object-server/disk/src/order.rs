//! What an operator wants of a device, kept on the device so that it outlives restarts and goes where the disk goes.
//!
//! Read when the object store opens the device, written when an operator says something else. The file is
//! `order.json` in the device's folder; without one a device is active. One that cannot be read stops writes: it
//! was written by somebody who did not want the device as it was.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::io::file;

/// Longest file read, bytes.
const MOST: u64 = 64 << 10;

/// What an operator can want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Reads and writes.
    #[default]
    Active,
    /// Reads only.
    ReadOnly,
    /// Reads only, and what it holds goes to other devices.
    Draining,
}

/// An operator's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is wanted.
    pub standing: Standing,
    /// Since when, microseconds since 1970.
    pub since: u64,
    /// Why, in the operator's words; may be empty.
    pub note: String,
}

impl Device {
    /// The order that the device is under; the usual one if there is none.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense.
    pub fn order(&self) -> io::Result<Order> {
        read(self.path())
    }

    /// Puts the device under an order, durably. Blocks on the device.
    ///
    /// # Errors
    /// What the file system says; the order before may then still stand.
    pub fn set_order(&self, order: &Order) -> io::Result<()> {
        write(self.path(), order)
    }
}

fn read(folder: &Path) -> io::Result<Order> {
    let mut text = String::new();
    match File::open(folder.join("order.json")) {
        Ok(file) => file.take(MOST).read_to_string(&mut text)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Order::default()),
        Err(e) => return Err(e),
    };
    serde_json::from_str(&text)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("order.json: {e}")))
}

fn write(folder: &Path, order: &Order) -> io::Result<()> {
    let tmp = folder.join("order.json.tmp");
    let mut text = File::create(&tmp)?;
    text.write_all(&serde_json::to_vec_pretty(order)?)?;
    text.sync_all()?;
    fs::rename(&tmp, folder.join("order.json"))?;
    file::sync_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_kept_and_a_torn_one_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Order::default());
        let drain = Order {
            standing: Standing::Draining,
            since: 7,
            note: "it clicks".to_owned(),
        };
        write(dir.path(), &drain).unwrap();
        assert_eq!(read(dir.path()).unwrap(), drain);
        let text = fs::read_to_string(dir.path().join("order.json")).unwrap();
        assert!(text.contains(r#""standing": "draining""#), "{text}");
        fs::write(dir.path().join("order.json"), &text[..10]).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("order.json"));
    }
}
