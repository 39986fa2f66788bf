//! Tidiness that a formatter does not see: file length, module docs, empty
//! names, marks left behind, words that do not belong in the project.
use std::path::{Path, PathBuf};

use crate::Findings;

/// Most lines of a source file.
const MAX_LINES: usize = 600;
/// Module and folder names that say nothing.
const EMPTY_NAMES: [&str; 5] = ["common", "utils", "util", "helpers", "misc"];
/// Marks of unfinished work. Written apart so that this file passes.
const MARKS: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX:"),
    concat!("HA", "CK"),
];
/// Folders that are not ours to tidy.
const SKIP: [&str; 6] = ["target", ".git", ".native", ".venv", "node_modules", "virga-data"];

/// Checks every source file below the root.
pub fn check(root: &Path) -> Result<Findings, String> {
    let mut findings = Findings::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| e.to_string())?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !SKIP.contains(&name) && !path.is_symlink() {
                    folders.push(path);
                }
            } else if matches!(
                path.extension().and_then(|e| e.to_str()),
                Some("rs" | "py" | "sh")
            ) {
                let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                findings.extend(judge(path.strip_prefix(root).unwrap_or(&path), &text));
            }
        }
    }
    findings.sort();
    Ok(findings)
}

fn judge(path: &Path, text: &str) -> Findings {
    let mut findings = Findings::new();
    let shown = path.display();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        findings.push(format!(
            "{shown}: {lines} lines, at most {MAX_LINES}: split it by what it holds"
        ));
    }
    let mut parts = path
        .iter()
        .filter_map(|part| Path::new(part).file_stem()?.to_str());
    if let Some(bad) = parts.find(|part| EMPTY_NAMES.contains(part)) {
        findings.push(format!("{shown}: `{bad}` says nothing: name the thing"));
    }
    for (at, line) in text.lines().enumerate() {
        if let Some(mark) = MARKS.iter().find(|mark| line.contains(**mark)) {
            findings.push(format!(
                "{shown}:{}: {mark} left behind: do it, or file an issue",
                at + 1
            ));
        }
    }
    if needs_module_doc(path) && !text.trim_start().starts_with("//!") {
        findings.push(format!(
            "{shown}: no module doc: say what it is, who calls it, what it leaves out"
        ));
    }
    findings
}

/// Product modules explain themselves; test files are named by what they test.
fn needs_module_doc(path: &Path) -> bool {
    let inside_tests = path.iter().any(|part| part == "tests");
    path.extension().is_some_and(|e| e == "rs") && (!inside_tests || path.ends_with(PathBuf::from("lib.rs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_undocumented_or_vaguely_named_file_is_found() {
        let long = "//! Doc.\n".repeat(MAX_LINES + 1);
        assert_eq!(judge(Path::new("ring/src/builder.rs"), &long).len(), 1);
        assert_eq!(judge(Path::new("ring/src/builder.rs"), "fn main() {}\n").len(), 1);
        assert_eq!(judge(Path::new("ring/src/utils/mod.rs"), "//! Doc.\n").len(), 1);
        assert_eq!(
            judge(
                Path::new("ring/src/a.rs"),
                &format!("//! Doc.\n// {} later\n", MARKS[0])
            )
            .len(),
            1
        );
        assert_eq!(judge(Path::new("ring/tests/a.rs"), "fn a() {}\n").len(), 0);
    }
}
