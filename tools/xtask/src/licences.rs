//! Every crate that is linked in carries a licence from the allowed list.
use std::path::Path;

use crate::Findings;

/// Licences that may be linked into an Apache-2.0 binary.
const ALLOWED: [&str; 15] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "BSL-1.0",
    // A BSD licence in other words: libbzip2 and its translation to Rust.
    "bzip2-1.0.6",
    "Unicode-3.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "Unlicense",
];

/// Checks the licence expression of every package in the lock file.
pub fn check(root: &Path) -> Result<Findings, String> {
    let metadata = crate::metadata(root, true)?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("no packages in the metadata")?;
    let mut findings = Findings::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        match package["license"].as_str() {
            Some(expression) if allowed(expression) => {}
            Some(expression) => {
                findings.push(format!("{name}: licence {expression} is not on the allowed list"))
            }
            None => findings.push(format!("{name}: states no licence")),
        }
    }
    Ok(findings)
}

/// Whether an SPDX expression can be satisfied: every AND part has an OR
/// choice that is allowed. The old "MIT/Apache-2.0" means OR.
fn allowed(expression: &str) -> bool {
    let flat = expression.replace('/', " OR ");
    split(&flat, " AND ").iter().all(|part| {
        let part = part.trim();
        match part.strip_prefix('(').and_then(|p| p.strip_suffix(')')) {
            Some(inner) => allowed(inner),
            None => split(part, " OR ").iter().any(|choice| {
                let choice = choice.trim();
                match choice.strip_prefix('(').and_then(|c| c.strip_suffix(')')) {
                    Some(inner) => allowed(inner),
                    None => ALLOWED.contains(&choice),
                }
            }),
        }
    })
}

/// Splits at `word` outside parentheses.
fn split<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && text[at..].starts_with(word) => {
                parts.push(&text[start..at]);
                start = at + word.len();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn a_choice_with_one_allowed_licence_passes_and_copyleft_alone_does_not() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND AGPL-3.0",
            "(GPL-2.0 OR LGPL-3.0) AND MIT",
            "",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }
}
