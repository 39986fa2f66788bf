//! Builders of Swift taken over and given back, composite rings, as an operator types it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use virga_node::clock::{ManualClock, Micros};
use virga_ring::DeviceId;
use virga_ring::builder::Builder;
use virga_ring_builder::{DONE, ERROR, WARNING, run_with};

/// A builder file as Swift 2.38 saves it.
const SWIFT: &[u8] = include_bytes!("../../../ring/golden/swift-builder-2.pickle");

/// A folder and a clock.
struct Desk {
    folder: tempfile::TempDir,
    clock: ManualClock,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: ManualClock::new(Micros(1_800_100_000_000_000)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a verb on the file of that name; `@x` among the words is file `x` of the folder.
    fn run(&self, file: &str, words: &str) -> Said {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => OsString::from(word),
        };
        let args =
            std::iter::once(self.path(file).into_os_string()).chain(words.split_whitespace().map(word));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run_with(
            args.collect(),
            &self.clock,
            &mut std::io::empty(),
            &mut out,
            &mut err,
        );
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            code,
            out: text(out),
            err: text(err),
        }
    }

    fn ok(&self, file: &str, words: &str) -> String {
        let said = self.run(file, words);
        assert_eq!(said.code, DONE, "{file} {words}: {}{}", said.out, said.err);
        said.out
    }

    fn refused(&self, file: &str, words: &str) -> String {
        let said = self.run(file, words);
        assert_eq!(said.code, ERROR, "{file} {words}: {}{}", said.out, said.err);
        said.err
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Two rebalanced components and the ring they make.
    fn composed() -> Self {
        let desk = Self::new();
        for region in 1..3 {
            let file = format!("region{region}.builder");
            desk.ok(&file, "create 6 2 1");
            for number in 0..4 {
                desk.ok(
                    &file,
                    &format!("add r{region}z{number}-10.0.{region}.{number}:6200/sda 100"),
                );
            }
            desk.ok(&file, "rebalance");
        }
        let said = desk.ok(
            "object.composite",
            "compose @region1.builder @region2.builder --output @object.ring.gz",
        );
        assert!(said.contains("2 components, 4 replicas, version 1"), "{said}");
        desk
    }
}

#[test]
fn a_builder_of_swift_is_taken_over_and_goes_on() {
    let desk = Desk::new();
    desk.write("swift.builder", SWIFT);
    let said = desk.ok("object.builder", "import @swift.builder");
    assert!(
        said.contains("8 partitions, 2.5 replicas, 5 devices, version 10"),
        "{said}"
    );
    assert_eq!(desk.read("swift.builder"), SWIFT);
    desk.ok("object.builder", "validate");
    let code = desk.run("object.builder", "rebalance").code;
    assert!(code <= WARNING);
    let builder = Builder::load(&desk.path("object.builder")).unwrap();
    assert!(builder.device(DeviceId(4)).is_none(), "it was marked for removal");
    assert_eq!(builder.id(), Some("00112233445566778899aabbccddeeff"));
}

#[test]
fn an_import_in_place_needs_force_and_keeps_the_old_file() {
    let desk = Desk::new();
    desk.write("object.builder", SWIFT);
    let said = desk.refused("object.builder", "import @object.builder");
    assert!(said.contains("exists") && said.contains("--force"), "{said}");
    assert_eq!(desk.read("object.builder"), SWIFT);
    desk.ok("object.builder", "import @object.builder --force");
    assert_eq!(desk.read("backups/1800100000.replaced-object.builder"), SWIFT);
    desk.ok("object.builder", "validate");
}

#[test]
fn every_verb_says_what_to_do_with_a_builder_of_swift() {
    let desk = Desk::new();
    desk.write("object.builder", SWIFT);
    for verb in ["", "validate", "rebalance", "set_overload 0.1"] {
        let said = desk.refused("object.builder", verb);
        assert!(
            said.contains("virga ring NEW.builder import FILE"),
            "{verb}: {said}"
        );
    }
    assert_eq!(desk.read("object.builder"), SWIFT);
}

#[test]
fn a_pickle_that_wants_to_run_something_is_refused_with_its_offset() {
    let desk = Desk::new();
    desk.write(
        "evil.builder",
        b"\x80\x02cos\nsystem\nX\x06\x00\x00\x00reboot\x85R.",
    );
    let said = desk.refused("object.builder", "import_builder @evil.builder");
    assert!(said.contains("byte 2: it wants to load os.system"), "{said}");
    let said = desk.refused("object.builder", "import @missing.builder");
    assert!(said.contains("cannot read"), "{said}");
    assert!(!desk.path("object.builder").exists());
}

#[test]
fn devices_that_are_the_same_disk_are_pointed_out() {
    let desk = Desk::new();
    let mut twice = SWIFT.to_vec();
    let at = twice.windows(8).position(|window| window == b"10.0.0.3").unwrap();
    twice[at + 7] = b'2';
    let at = twice.windows(3).position(|window| window == b"sd3").unwrap();
    twice[at + 2] = b'2';
    desk.write("swift.builder", &twice);
    let said = desk.run("object.builder", "import @swift.builder");
    assert_eq!(said.code, DONE);
    assert!(
        said.err.contains("devices 2 and 3 are both 10.0.0.2:6200/sd2"),
        "{}",
        said.err
    );
}

#[test]
fn an_export_is_what_was_imported_and_does_not_replace_unasked() {
    let desk = Desk::new();
    desk.write("swift.builder", SWIFT);
    desk.ok("object.builder", "import @swift.builder");
    assert!(
        desk.refused("object.builder", "export @swift.builder")
            .contains("exists")
    );
    desk.ok("object.builder", "export @back.builder");
    let back = Builder::load_swift(&desk.path("back.builder")).unwrap();
    assert_eq!(back, Builder::from_swift(SWIFT).unwrap());
    desk.ok("object.builder", "export-builder @swift.builder --force");
    assert_eq!(desk.read("backups/1800100000.replaced-swift.builder"), SWIFT);
    desk.ok("object.builder", "set_scatter_limit 4");
    let said = desk.run("object.builder", "export @limited.builder");
    assert!(said.err.contains("scatter limit"), "{}", said.err);
}

#[test]
fn a_composite_ring_shows_what_has_changed_and_composes_only_then() {
    let desk = Desk::composed();
    assert!(desk.ok("object.composite", "").contains("composed"));
    let said = desk.refused("object.composite", "compose --output @object.ring.gz");
    assert!(said.contains("no component has changed"), "{said}");
    desk.ok("region2.builder", "add r2z9-10.0.2.9:6200/sda 100");
    let shown = desk.ok("object.composite", "show --json");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["components"][0]["state"], "composed");
    assert_eq!(shown["components"][1]["state"], "unbalanced");
    let said = desk.refused("object.composite", "compose --output @object.ring.gz");
    assert!(
        said.contains("region2.builder: it needs a rebalance first"),
        "{said}"
    );
    desk.clock.advance(Duration::from_secs(3700));
    let said = desk.ok("object.composite", "rebalance --seed 1");
    assert!(said.contains("compose --output"), "{said}");
    let shown = desk.ok("object.composite", "show");
    assert!(shown.contains("newer"), "{shown}");
    let before = desk.read("object.ring.gz");
    let said = desk.ok("object.composite", "compose --output @object.ring.gz");
    assert!(said.contains("version 2"), "{said}");
    assert_ne!(desk.read("object.ring.gz"), before);
    assert_eq!(desk.run("object.composite", "rebalance").code, WARNING);
    let swapped = desk.refused(
        "object.composite",
        "compose @region2.builder @region1.builder --output @object.ring.gz",
    );
    assert!(
        swapped.contains("component 0 was builder") && swapped.contains("--force"),
        "{swapped}"
    );
}

#[test]
fn a_composite_ring_with_a_component_missing_says_which() {
    let desk = Desk::composed();
    std::fs::remove_file(desk.path("region1.builder")).unwrap();
    let said = desk.run("object.composite", "show");
    assert_eq!(
        (said.code, said.out.contains("unreadable")),
        (WARNING, true),
        "{}",
        said.out
    );
    for verb in ["compose --output @object.ring.gz --force", "rebalance"] {
        let said = desk.refused("object.composite", verb);
        assert!(said.contains("region1.builder"), "{verb}: {said}");
    }
    let said = desk.refused("object.composite", "add r1z1-10.0.0.1:6200/sda 1");
    assert!(said.contains("describes a composite ring"), "{said}");
}

#[test]
fn a_rebalance_of_components_in_other_folders_locks_and_saves_them_there() {
    let desk = Desk::composed();
    std::fs::create_dir(desk.path("above")).unwrap();
    let paths = ["region1.builder", "region2.builder"].map(|name| desk.path(name));
    desk.ok(
        "above/top.composite",
        "compose @region1.builder @region2.builder --output @above/top.ring.gz",
    );
    desk.clock.advance(Duration::from_secs(3700));
    desk.ok("region1.builder", "add r1z8-10.0.1.8:6200/sda 100");
    let version = |path: &Path| Builder::load(path).unwrap().version();
    let before = [version(&paths[0]), version(&paths[1])];
    desk.ok("above/top.composite", "rebalance");
    assert_eq!(version(&paths[0]), before[0] + 1);
    assert_eq!(version(&paths[1]), before[1], "nothing was to be done there");
}
