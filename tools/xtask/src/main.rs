//! The checks that keep the house: `cargo xtask layers|tidy|licences|check`.
//!
//! Called by `make check` and by the test suite. Each check prints what is
//! wrong and where, and the process ends with 1 if anything is.
mod layers;
mod licences;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What a check found: one line for each thing wrong.
type Findings = Vec<String>;

/// A check of the workspace at this folder; an error says why it could not look.
type Check = fn(&Path) -> Result<Findings, String>;

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let root = workspace_root();
    let checks: &[(&str, Check)] = &[
        ("layers", layers::check),
        ("tidy", tidy::check),
        ("licences", licences::check),
    ];
    let chosen: Vec<_> = checks
        .iter()
        .filter(|(name, _)| verb == "check" || verb == *name)
        .collect();
    if chosen.is_empty() {
        eprintln!("usage: cargo xtask layers | tidy | licences | check (all of them)");
        return ExitCode::from(2);
    }
    let mut failed = false;
    for (name, check) in chosen {
        match check(&root) {
            Ok(findings) if findings.is_empty() => println!("{name}: ok"),
            Ok(findings) => {
                failed = true;
                println!("{name}: {} finding(s)", findings.len());
                findings.iter().for_each(|line| println!("  {line}"));
            }
            Err(reason) => {
                failed = true;
                println!("{name}: cannot check: {reason}");
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// `cargo metadata` of the workspace as JSON.
fn metadata(root: &Path, deps: bool) -> Result<serde_json::Value, String> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root);
    if !deps {
        cargo.arg("--no-deps");
    }
    let out = cargo.output().map_err(|e| format!("cargo metadata: {e}"))?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    serde_json::from_slice(&out.stdout).map_err(|e| format!("cargo metadata: {e}"))
}
