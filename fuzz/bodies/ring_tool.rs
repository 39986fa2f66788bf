//! Files that people write for `virga ring`: any bytes as a scenario and as a `swift.conf`, through the verbs that
//! read them.

use std::ffi::OsString;
use std::path::Path;

use virga_node::clock::{ManualClock, Micros};
use virga_ring_builder::{DONE, ERROR, run_with};

/// A ring to look names up in.
const RING: &[u8] = include_bytes!("../../ring/golden/swift-v1.ring.gz");

/// Any bytes as the scenario of `analyze`. `folder` is empty at first, and the body's alone.
pub fn scenario(folder: &Path, data: &[u8]) {
    let file = folder.join("scenario.json");
    std::fs::write(&file, data).expect("a folder to write in");
    verb(&[file.as_os_str().to_owned(), "analyze".into(), "--check".into()]);
}

/// Any bytes as the `swift.conf` of `nodes`. `folder` is empty at first, and the body's alone.
pub fn swift_conf(folder: &Path, data: &[u8]) {
    let (ring, conf) = (folder.join("object.ring.gz"), folder.join("swift.conf"));
    if !ring.exists() {
        std::fs::write(&ring, RING).expect("a folder to write in");
    }
    std::fs::write(&conf, data).expect("a folder to write in");
    let words = ["nodes", "a", "c", "o", "--swift-conf"].map(OsString::from);
    let mut args = vec![ring.into_os_string()];
    args.extend(words);
    args.push(conf.into_os_string());
    verb(&args);
    // By the name of a policy, which only swift.conf knows.
    let words = ["nodes", "-P", "gold", "a"].map(OsString::from);
    let mut args = vec![folder.as_os_str().to_owned()];
    args.extend(words);
    verb(&args);
}

/// Panics if the verb does, or if it fails without a word.
fn verb(args: &[OsString]) {
    let clock = ManualClock::new(Micros(1_800_000_000_000_000));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run_with(args.to_vec(), &clock, &mut std::io::empty(), &mut out, &mut err);
    assert!((DONE..=ERROR).contains(&code));
    assert_eq!(
        code == ERROR,
        !err.is_empty(),
        "{}",
        String::from_utf8_lossy(&err)
    );
}
