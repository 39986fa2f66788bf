//! Composite rings: composing, showing and rebalancing them.
//!
//! FILE is the composite ring's own file (JSON as Swift's); the components'
//! builder files are named when it is composed first, and remembered in it.
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use virga_ring::builder::{Builder, LoadBuilderError, Rebalanced};
use virga_ring::composite::{self, Component, Composite};
use virga_ring::file;

use super::{import, rebalance as single};
use crate::cli::{FormatVersion, Rebalance};
use crate::report::{Report, VerbError};
use crate::store::Files;
use crate::{Session, WARNING};

/// Arguments of `compose`.
#[derive(Debug, Args)]
pub(crate) struct Compose {
    /// Builder files of the components, in their order; default: those of last time.
    builders: Vec<PathBuf>,
    /// The ring file to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Compose even if the components are other ones than last time, or unchanged.
    #[arg(short, long)]
    force: bool,
    /// Ring format to write.
    #[arg(long)]
    format_version: Option<FormatVersion>,
}

/// Is FILE a composite ring's file?
pub(super) fn is_composite(files: &Files) -> bool {
    let mut head = [0; 1];
    let read = File::open(&files.builder).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"{"
}

pub(super) fn compose(
    session: &mut Session<'_>,
    files: &Files,
    options: &Compose,
) -> Result<Report, VerbError> {
    let before = if files.builder.exists() {
        Some(load(&files.builder)?)
    } else {
        None
    };
    let paths = match &before {
        _ if !options.builders.is_empty() => absolute(&options.builders)?,
        Some(before) => before.files().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let builders = paths
        .iter()
        .map(|path| load_component(Path::new(path)))
        .collect::<Result<Vec<_>, _>>()?;
    let components: Vec<_> = paths
        .iter()
        .zip(&builders)
        .map(|(file, builder)| Component { file, builder })
        .collect();
    let composed = composite::compose(&components, before.as_ref(), options.force);
    let composed = composed.map_err(|error| VerbError::Usage(error.to_string()))?;
    let here = absolute(std::slice::from_ref(&files.builder))?.remove(0);
    let bytes = composed.composite.encode(&here);
    let bytes = bytes.map_err(|error| VerbError::Usage(format!("cannot write JSON: {error}")))?;
    let ring = Files {
        builder: files.builder.clone(),
        ring: options.output.clone(),
    };
    let format = options.format_version.map(Into::into).unwrap_or_default();
    let ring_bytes = ring.encode_ring(&composed.ring, format, None)?;
    ring.write_ring_bytes(&ring_bytes, session.now)?;
    let written = file::save_backup(&files.builder, &bytes, session.now)
        .and_then(|_| file::replace(&files.builder, &bytes));
    written
        .map_err(|error| VerbError::Usage(format!("cannot write {}: {error}", files.builder.display())))?;
    let version = composed.composite.version;
    let text = format!(
        "{}: {} components, {} replicas, version {version}",
        options.output.display(),
        components.len(),
        composed.ring.replica_count()
    );
    let json = json!({
        "ring": options.output, "composite": files.builder, "version": version, "components": paths,
        "replicas": composed.ring.replica_count(),
    });
    Ok(Report::done(text, json))
}

pub(super) fn show(files: &Files) -> Result<Report, VerbError> {
    let composite = load(&files.builder)?;
    let mut text = format!(
        "{}: composite ring, version {}, {} components\n\
         \x20 # replicas  version  state        builder file\n",
        files.builder.display(),
        composite.version,
        composite.components.len()
    );
    let mut list = Vec::new();
    let mut code = crate::DONE;
    for (at, (component, path)) in composite.components.iter().zip(composite.files()).enumerate() {
        let (state, now) = match load_component(Path::new(path)) {
            Err(_) => ("unreadable", None),
            Ok(builder) if builder.id() != Some(component.id.as_str()) => ("other id", None),
            Ok(builder) if builder.is_changed() => ("unbalanced", Some(builder.version())),
            Ok(builder) if builder.version() < component.version => ("older", Some(builder.version())),
            Ok(builder) if builder.version() > component.version => ("newer", Some(builder.version())),
            Ok(builder) => ("composed", Some(builder.version())),
        };
        if matches!(state, "unreadable" | "other id" | "older") {
            code = WARNING;
        }
        // A String takes any text.
        let _ = writeln!(
            text,
            "{at:>3} {:>8} {:>8}  {state:<11}  {path}",
            component.replicas, component.version
        );
        list.push(json!({
            "id": component.id, "version": component.version, "replicas": component.replicas, "file": path,
            "state": state, "version_now": now,
        }));
    }
    let json = json!({"version": composite.version, "components": list, "saved_path": composite.saved_path});
    Ok(Report::done(text, json).code(code))
}

/// Rebalances all components so that no partition moves in two of them.
pub(super) fn rebalance(
    session: &mut Session<'_>,
    files: &Files,
    options: &Rebalance,
) -> Result<Report, VerbError> {
    let composite = load(&files.builder)?;
    let paths: Vec<&Path> = composite.files().map(Path::new).collect();
    let _locks = lock_folders(files, &paths)?;
    let mut builders = Vec::new();
    for path in &paths {
        builders.push(Files::of(path).load()?);
    }
    let word = options.seed.seed.as_deref().or(options.seed_word.as_deref());
    let seed = single::seed_of(word, &builders[0]);
    let changed: Vec<bool> = builders.iter().map(Builder::is_changed).collect();
    let done = composite::rebalance(&mut builders, seed, session.now);
    let done = done.map_err(|error| {
        let path = paths[error.index].display();
        VerbError::Usage(format!("{path}: cannot rebalance: {}", error.source))
    })?;
    let mut text = String::new();
    let mut list = Vec::new();
    let mut saved_any = false;
    for ((path, builder), (done, changed)) in paths.iter().zip(&mut builders).zip(done.iter().zip(changed)) {
        let save = options.force || changed || done.moved > 0 || !done.removed.is_empty();
        if save {
            builder.validate()?;
            Files::of(path).save(builder, session.now)?;
            saved_any = true;
        }
        text += &describe(path, builder, done);
        let mut json = single::to_json(done);
        (json["builder"], json["saved"]) = (json!(path), save.into());
        list.push(json);
    }
    let json = json!({"components": list, "saved": saved_any});
    if !saved_any {
        text += "No partitions could be reassigned.\n";
        return Ok(Report::done(text, json).code(WARNING));
    }
    text += "The ring is as it was: write it with compose --output NAME.ring.gz\n";
    Ok(Report::done(text, json))
}

fn describe(path: &Path, builder: &Builder, done: &Rebalanced) -> String {
    let pending = match done.pending {
        0 => String::new(),
        pending => format!(" {pending} slots still to move."),
    };
    format!(
        "{}: reassigned {} ({:.2}%) partitions. Balance is now {:.2}.  Dispersion is now {:.2}.{pending}\n",
        path.display(),
        done.moved,
        100.0 * done.moved as f64 / builder.partition_count() as f64,
        done.balance,
        done.dispersion
    )
}

/// Locks the folders of the components, but for FILE's own, which is locked.
fn lock_folders(files: &Files, paths: &[&Path]) -> Result<Vec<File>, VerbError> {
    let folder = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        std::fs::canonicalize(parent.unwrap_or(Path::new(".")))
    };
    let own = folder(&files.builder)?;
    let mut folders = Vec::new();
    for path in paths {
        let found = folder(path);
        let found =
            found.map_err(|error| VerbError::Usage(format!("cannot find {}: {error}", path.display())))?;
        if found != own {
            folders.push((found, *path));
        }
    }
    // In one order, so that two tools at work do not wait for each other.
    folders.sort();
    folders.dedup_by(|one, other| one.0 == other.0);
    folders.iter().map(|(_, path)| Files::of(path).lock()).collect()
}

fn load(path: &Path) -> Result<Composite, VerbError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(composite::MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| VerbError::Usage(format!("cannot read {}: {error}", path.display())))?;
    Composite::decode(&bytes).map_err(|error| VerbError::Usage(format!("{}: {error}", path.display())))
}

/// A component's builder, ours or Swift's (which is read as it is).
fn load_component(path: &Path) -> Result<Builder, VerbError> {
    match Builder::load(path) {
        Err(LoadBuilderError::Pickle) => import::load(path),
        Err(error @ LoadBuilderError::Read { .. }) => Err(error.into()),
        Err(source) => Err(VerbError::LoadFrom {
            path: path.into(),
            source,
        }),
        Ok(builder) => Ok(builder),
    }
}

/// Paths as they are remembered: whole, so that another folder finds them.
fn absolute(paths: &[PathBuf]) -> Result<Vec<String>, VerbError> {
    let whole = |path: &PathBuf| {
        let path = std::path::absolute(path)?;
        path.into_os_string().into_string().map_err(|path| {
            VerbError::Usage(format!(
                "{}: the name is not in UTF-8",
                Path::new(&path).display()
            ))
        })
    };
    paths.iter().map(whole).collect()
}
