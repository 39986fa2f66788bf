//! Takes a builder file of Swift over.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use virga_ring::builder::Builder;
use virga_ring::file;

use crate::Session;
use crate::report::{Report, VerbError};
use crate::store::Files;

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Swift's builder file. It is read only, and may be FILE itself (with --force).
    swift: PathBuf,
    /// Replace FILE if it exists; the old one stays in backups/.
    #[arg(short, long)]
    force: bool,
}

pub(super) fn import(
    session: &mut Session<'_>,
    files: &Files,
    options: &Import,
) -> Result<Report, VerbError> {
    let mut builder = load(&options.swift)?;
    keep_old(&files.builder, options.force, session.now)?;
    files.save(&mut builder, session.now)?;
    for pair in same_places(&builder) {
        session.warn(&format!("WARNING: {pair}"))?;
    }
    let devices = builder.devices().count();
    let text = format!(
        "{}: taken over from {} ({} partitions, {} replicas, {devices} devices, version {}).\n\
         The ring file is as it was. From now on change this ring with one tool only.",
        files.builder.display(),
        options.swift.display(),
        builder.partition_count(),
        builder.replicas(),
        builder.version(),
    );
    let json = json!({
        "builder": files.builder, "from": options.swift, "part_power": builder.part_power(),
        "replicas": builder.replicas(), "devices": devices, "version": builder.version(), "id": builder.id(),
        "rebalanced": builder.table().is_some(),
    });
    Ok(Report::done(text, json))
}

/// Reads Swift's builder file.
pub(super) fn load(path: &Path) -> Result<Builder, VerbError> {
    Builder::load_swift(path).map_err(|error| VerbError::Usage(format!("{}: {error}", path.display())))
}

/// Before `path` is replaced: refuses without `force`, else leaves a copy in
/// `backups/` whatever the file is.
pub(super) fn keep_old(path: &Path, force: bool, now: u64) -> Result<(), VerbError> {
    if !path.exists() {
        return Ok(());
    }
    if !force {
        let what = format!("{} exists", path.display());
        return Err(VerbError::usage(
            what,
            "choose another name, or replace it with --force (a copy stays in backups/)",
        ));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let copy = path.with_file_name(format!("replaced-{name}"));
    let kept = std::fs::read(path).and_then(|bytes| file::save_backup(&copy, &bytes, now));
    let kept = kept.map_err(|error| VerbError::Usage(format!("cannot copy {}: {error}", path.display())));
    kept.map(drop)
}

/// Devices that say they are the same disk of the same server, which Swift's
/// tool refuses to add but old files have.
fn same_places(builder: &Builder) -> Vec<String> {
    let mut known = BTreeMap::new();
    let mut said = Vec::new();
    for device in builder.devices() {
        let place = (&device.ip, device.port, &device.device);
        if let Some(other) = known.insert(place, device.id) {
            said.push(format!(
                "devices {other} and {} are both {}:{}/{}: correct one with set_info",
                device.id, device.ip, device.port, device.device
            ));
        }
    }
    said
}
