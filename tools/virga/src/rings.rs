//! The rings of a one-machine cloud: made on the first start, kept after.
use std::path::{Path, PathBuf};

use virga_node::clock::Clock;
use virga_ring::builder::{Builder, NewDevice};
use virga_ring::file::{self, Format};

/// Partitions of a one-machine cloud: 2^10. Enough that four devices are even
/// to a tenth of a percent; few enough that digests of all are small.
const PART_POWER: u8 = 10;

/// A device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDevice {
    /// Name in the ring.
    pub name: String,
    /// Folder.
    pub path: PathBuf,
}

/// What rings a cloud has.
pub const RINGS: [&str; 3] = ["account", "container", "object"];

/// Why the rings could not be made. The text names the file or the device.
#[derive(Debug, thiserror::Error)]
#[error("rings: {0}")]
pub struct RingsError(String);

/// Makes `FOLDER/{account,container,object}.{builder,ring.gz}` over the
/// devices, all of the same weight and reached at `ip:port`.
///
/// # Errors
/// When the devices cannot hold so many replicas, or a file cannot be written.
pub fn make(
    folder: &Path,
    devices: &[LocalDevice],
    replicas: u8,
    address: (&str, u16),
    clock: &dyn Clock,
) -> Result<(), RingsError> {
    let failed = |what: &str, why: String| RingsError(format!("{what}: {why}"));
    std::fs::create_dir_all(folder).map_err(|e| failed(&folder.display().to_string(), e.to_string()))?;
    let now = clock.now().as_secs();
    for (seed, name) in RINGS.iter().enumerate() {
        let mut builder =
            Builder::create(PART_POWER, f64::from(replicas), 1).map_err(|e| failed(name, e.to_string()))?;
        for device in devices {
            builder
                .add(new_device(device, address))
                .map_err(|e| failed(&device.name, e.to_string()))?;
        }
        builder
            .rebalance(seed as u64, now)
            .map_err(|e| failed(name, e.to_string()))?;
        let ring = match builder.to_ring() {
            Some(ring) => ring.map_err(|e| failed(name, e.to_string()))?,
            None => return Err(failed(name, "nothing was placed".into())),
        };
        let file_name = format!("{name}.ring.gz");
        let bytes =
            file::encode(&ring, Format::V1, &file_name, None).map_err(|e| failed(name, e.to_string()))?;
        let builder_file = folder.join(format!("{name}.builder"));
        builder
            .save(&builder_file, now)
            .map_err(|e| failed(name, e.to_string()))?;
        // The ring last: a first start that was cut off before it makes everything anew.
        virga_ring::file::replace(&folder.join(&file_name), &bytes)
            .map_err(|e| failed(name, e.to_string()))?;
    }
    Ok(())
}

fn new_device(device: &LocalDevice, (ip, port): (&str, u16)) -> NewDevice {
    NewDevice {
        region: 1,
        zone: 1,
        ip: ip.to_owned(),
        port,
        replication_ip: None,
        replication_port: None,
        device: device.name.clone(),
        weight: 100.0,
        meta: device.path.display().to_string(),
    }
}

/// Whether every ring file is there.
pub fn exist(folder: &Path) -> bool {
    RINGS
        .iter()
        .all(|name| folder.join(format!("{name}.ring.gz")).exists())
}
