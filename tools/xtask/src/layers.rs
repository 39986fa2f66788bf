//! Imports point down: every crate states its rank, and may import only
//! crates of a lower one (contracts may build on contracts, and the tools and
//! suites at the top on each other).
use std::collections::BTreeMap;
use std::path::Path;

use crate::Findings;

/// Ranks whose crates may import each other: contracts, tools and tests.
const PEERS_ALLOWED: [u64; 2] = [3, 6];

/// Edges that the ranks would allow and the house forbids, with the reason.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("virga-object-store", "virga-rpc", "the engine knows no network"),
    ("virga-object-store", "hyper", "the engine knows no network"),
    ("virga-object-store", "tonic", "the engine knows no network"),
    ("virga-ring", "tokio", "placement is pure"),
    ("virga-proxy", "rocksdb", "only disk opens RocksDB"),
    ("virga-object-store", "rocksdb", "only disk opens RocksDB"),
    ("virga-object-server", "rocksdb", "only disk opens RocksDB"),
    ("virga-identity", "rocksdb", "control-plane records live in state"),
];

/// Checks every edge between crates of the workspace.
pub fn check(root: &Path) -> Result<Findings, String> {
    let metadata = crate::metadata(root, false)?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("no packages in the metadata")?;
    let mut findings = Findings::new();
    let mut ranks = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        match package["metadata"]["layer"]["rank"].as_u64() {
            Some(rank) => {
                ranks.insert(name, rank);
            }
            None => findings.push(format!(
                "{name}: no rank under [package.metadata.layer] in its Cargo.toml"
            )),
        }
    }
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let test_only = dependency["kind"].as_str() == Some("dev");
            if let Some(line) = edge(&ranks, name, target, test_only) {
                findings.push(line);
            }
        }
    }
    Ok(findings)
}

fn edge(ranks: &BTreeMap<&str, u64>, from: &str, to: &str, test_only: bool) -> Option<String> {
    if let Some((_, _, why)) = FORBIDDEN
        .iter()
        .find(|(f, t, _)| *f == from && *t == to && !test_only)
    {
        return Some(format!("{from} imports {to}: {why}"));
    }
    let (above, below) = (*ranks.get(from)?, *ranks.get(to)?);
    let down = below < above || (below == above && PEERS_ALLOWED.contains(&above));
    (!down).then(|| format!("{from} (layer {above}) imports {to} (layer {below}): imports point down"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_points_up_or_sideways_is_found() {
        let ranks = BTreeMap::from([
            ("ring", 0),
            ("proxy", 5),
            ("server", 5),
            ("wire", 3),
            ("other-wire", 3),
        ]);
        assert!(edge(&ranks, "ring", "proxy", false).is_some());
        assert!(edge(&ranks, "proxy", "server", false).is_some());
        assert!(edge(&ranks, "proxy", "ring", false).is_none());
        assert!(edge(&ranks, "wire", "other-wire", false).is_none());
        assert!(edge(&ranks, "proxy", "serde", false).is_none());
    }

    #[test]
    fn a_forbidden_edge_is_found_though_it_points_down() {
        let ranks = BTreeMap::from([("virga-object-store", 4), ("virga-rpc", 2)]);
        let line = edge(&ranks, "virga-object-store", "virga-rpc", false);
        assert_eq!(
            line.as_deref(),
            Some("virga-object-store imports virga-rpc: the engine knows no network")
        );
    }
}
