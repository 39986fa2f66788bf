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

/// Why the rings could not be made. The text names the file or the device.
#[derive(Debug, thiserror::Error)]
#[error("rings: {0}")]
pub struct RingsError(String);

/// Name of the ring of a storage policy's objects, as Swift names it.
pub fn object_ring(policy: u32) -> String {
    match policy {
        0 => "object".to_owned(),
        n => format!("object-{n}"),
    }
}

/// The names of all rings of a cloud with these storage policies.
pub fn names(policies: impl IntoIterator<Item = u32>) -> Vec<String> {
    let mut names = vec!["account".to_owned(), "container".to_owned()];
    names.extend(policies.into_iter().map(object_ring));
    names
}

/// The file of a ring.
pub fn ring_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.ring.gz"))
}

/// Which of these rings have no file.
pub fn missing(folder: &Path, names: &[String]) -> Vec<String> {
    let gone = |name: &&String| !ring_file(folder, name).exists();
    names.iter().filter(gone).cloned().collect()
}

/// Makes `FOLDER/NAME.{builder,ring.gz}` for each name, over the devices, all
/// of the same weight and reached at `ip:port`. A builder that is there is
/// taken as it is: then only its ring is written.
///
/// # Errors
/// When the devices cannot hold so many replicas, or a file cannot be written.
pub fn make(
    folder: &Path,
    names: &[String],
    devices: &[LocalDevice],
    replicas: f64,
    address: (&str, u16),
    clock: &dyn Clock,
) -> Result<(), RingsError> {
    let failed = |what: &str, why: String| RingsError(format!("{what}: {why}"));
    std::fs::create_dir_all(folder).map_err(|e| failed(&folder.display().to_string(), e.to_string()))?;
    let now = clock.now().as_secs();
    for (seed, name) in names.iter().enumerate() {
        let builder_file = folder.join(format!("{name}.builder"));
        let builder = match builder_file.exists() {
            true => Builder::load(&builder_file).map_err(|e| failed(name, e.to_string()))?,
            false => {
                let builder = place(devices, replicas, address, (seed as u64, now))?;
                builder
                    .save(&builder_file, now)
                    .map_err(|e| failed(name, e.to_string()))?;
                builder
            }
        };
        let ring = match builder.to_ring() {
            Some(ring) => ring.map_err(|e| failed(name, e.to_string()))?,
            None => return Err(failed(name, "nothing was placed".into())),
        };
        let path = ring_file(folder, name);
        let bytes = file::encode(&ring, Format::V1, &format!("{name}.ring.gz"), None)
            .map_err(|e| failed(name, e.to_string()))?;
        virga_ring::file::replace(&path, &bytes).map_err(|e| failed(name, e.to_string()))?;
    }
    Ok(())
}

/// Places all partitions on the devices.
fn place(
    devices: &[LocalDevice],
    replicas: f64,
    address: (&str, u16),
    (seed, now): (u64, u64),
) -> Result<Builder, RingsError> {
    let mut builder = Builder::create(PART_POWER, replicas, 1).map_err(|e| RingsError(e.to_string()))?;
    for device in devices {
        builder
            .add(new_device(device, address))
            .map_err(|e| RingsError(format!("{}: {e}", device.name)))?;
    }
    builder
        .rebalance(seed, now)
        .map_err(|e| RingsError(e.to_string()))?;
    Ok(builder)
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

#[cfg(test)]
mod tests {
    use super::*;
    use virga_node::clock::SystemClock;
    use virga_ring::RingHandle;

    fn devices() -> Vec<LocalDevice> {
        let device = |n: u8| LocalDevice {
            name: format!("d{n}"),
            path: format!("/srv/d{n}").into(),
        };
        (1..=4).map(device).collect()
    }

    #[test]
    fn only_what_is_missing_is_made_and_a_builder_that_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let make_these = |names: &[String]| {
            make(
                folder.path(),
                names,
                &devices(),
                3.0,
                ("127.0.0.1", 6200),
                &SystemClock,
            )
            .unwrap();
        };
        make_these(&names([0]));
        let before = RingHandle::open(ring_file(folder.path(), "object")).unwrap();
        assert_eq!(missing(folder.path(), &names([0, 1])), ["object-1"]);
        make_these(&missing(folder.path(), &names([0, 1])));
        std::fs::remove_file(ring_file(folder.path(), "object")).unwrap();
        make_these(&missing(folder.path(), &names([0, 1])));
        let after = RingHandle::open(ring_file(folder.path(), "object")).unwrap();
        assert_eq!(before.current().version(), after.current().version());
        assert!(before.current().table() == after.current().table());
        assert!(missing(folder.path(), &names([0, 1])).is_empty());
    }
}
