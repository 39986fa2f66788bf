//! The verbs as an operator types them: output, exit codes, files left.
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use virga_node::clock::{ManualClock, Micros};

use super::*;

mod bad_input;
mod plans;

/// A folder with one builder, and a clock.
pub(crate) struct Desk {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: ManualClock,
}

/// What a verb said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new(Micros(1_800_000_000_000_000));
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock,
        }
    }

    /// A builder with `devices` equal devices in three zones, not rebalanced.
    pub(crate) fn with_devices(devices: u32) -> Self {
        let desk = Self::new();
        desk.ok("create 6 3 1");
        for at in 0..devices {
            desk.ok(&format!("add r1z{}-10.0.0.{at}:6200/sd{at} 100", at % 3));
        }
        desk
    }

    /// Seconds since the desk was made.
    pub(crate) fn elapsed(&self) -> u64 {
        self.clock.now().as_secs() - 1_800_000_000
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn say(&self, file: &Path, words: &str, input: &str) -> Said {
        let words = words.split_whitespace().map(OsString::from);
        let args = std::iter::once(file.as_os_str().to_owned());
        self.words(args.chain(words).collect(), input)
    }

    /// Runs any words.
    pub(crate) fn words(&self, args: Vec<OsString>, input: &str) -> Said {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run_with(args, &self.clock, &mut input.as_bytes(), &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            code,
            out: text(out),
            err: text(err),
        }
    }

    pub(crate) fn run(&self, words: &str) -> Said {
        self.say(&self.path("object.builder"), words, "")
    }

    pub(crate) fn ok(&self, words: &str) -> String {
        let said = self.run(words);
        assert_eq!(said.code, DONE, "{words}: {}{}", said.out, said.err);
        said.out
    }

    pub(crate) fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{words} --json")).out).unwrap()
    }
}

#[test]
fn a_first_ring_is_made_as_with_swifts_tool() {
    let desk = Desk::new();
    assert_eq!(desk.ok("create 6 3 1"), "");
    let added = desk.ok("add r1z1-10.0.0.1:6200R10.1.0.1:6300/sda_meta 100");
    assert_eq!(
        added,
        "Device d0r1z1-10.0.0.1:6200R10.1.0.1:6300/sda_\"meta\" with 100.0 weight got id 0\n"
    );
    desk.ok("add --region 1 --zone 2 --ip 10.0.0.2 --port 6200 --device sda --weight 100");
    desk.ok("add r1z3-10.0.0.3:6200/sda 50 r1z3-10.0.0.3:6200/sdb 50");
    let said = desk.ok("rebalance --seed 1");
    assert!(
        said.starts_with("Reassigned 192 (300.00%) partitions. Balance is now "),
        "{said}"
    );
    assert!(desk.path("object.ring.gz").exists());
    assert!(desk.path("backups/1800000000.object.ring.gz").exists());
    assert!(desk.path("backups/1800000000.object.builder").exists());
    desk.ok("validate");
    assert!(desk.ok("").contains("is up-to-date"));
    assert!(
        desk.ok("version")
            .contains("Serialization version: 1 (2-byte IDs), build version: 5")
    );
}

#[test]
fn a_second_rebalance_has_nothing_to_do_and_warns() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    let said = desk.run("rebalance");
    assert_eq!(said.code, WARNING);
    assert!(
        said.out.contains("min_part_hours: 1 hours (1:00:00 remaining)"),
        "{}",
        said.out
    );
    desk.clock.advance(Duration::from_secs(3600));
    let said = desk.run("rebalance");
    assert_eq!(
        (
            said.code,
            said.out.contains("There is no need to do so at this time")
        ),
        (WARNING, true)
    );
}

#[test]
fn a_plan_says_what_the_rebalance_then_moves() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    desk.ok("add r1z0-10.0.0.99:6200/new 100");
    desk.ok("pretend_min_part_hours_passed");
    let plan = desk.json("plan --used 19200");
    let bound = desk.json("bound");
    let done = desk.json("rebalance --force");
    assert_eq!(plan["steps"][0]["movements"], done["movements"]);
    assert_eq!(
        (&plan["moved"], &bound["bound"]),
        (&done["moved"], &done["bound"])
    );
    assert_eq!(done["moved"], done["bound"]);
    assert_eq!(
        plan["bytes"].as_f64().unwrap(),
        100.0 * plan["moved"].as_f64().unwrap()
    );
}

#[test]
fn changing_many_devices_asks_first() {
    let desk = Desk::with_devices(4);
    let builder = desk.path("object.builder");
    let before = std::fs::read(&builder).unwrap();
    let said = desk.say(&builder, "remove z0", "n\n");
    assert_eq!(said.code, ERROR);
    assert!(said.out.contains("Matched more than one device:"));
    assert_eq!(std::fs::read(&builder).unwrap(), before);
    assert_eq!(desk.say(&builder, "set_weight z0 50", "y\n").code, DONE);
    assert!(desk.ok("remove z0 --yes").contains("marked for removal"));
    assert!(desk.ok("").contains("DEL"));
    assert_eq!(desk.run("remove d77").code, ERROR);
}

#[test]
fn bad_input_exits_with_2_and_leaves_the_builder_as_it_was() {
    let desk = Desk::with_devices(4);
    let before = std::fs::read(desk.path("object.builder")).unwrap();
    for bad in [
        "create 33 3 1",
        "create 8 0.5 1",
        "create 8 3 256",
        "create 8 nan 1",
        "create x 3 1",
        "frobnicate",
        "add r1z1-10.0.0.0:6200/sd0 100",
        "add z1-10.0.0.9:6200/sdx -1",
        "add z1-10.0.0.9:6200/sdx inf",
        "add z1-10.0.0.9/sdx 1",
        "add z1-10.0.0.9:6200/sdx",
        "set_weight d0 lots",
        "set_weight nonsense 1",
        "set_region d0 -1",
        "set_overload -1",
        "set_replicas 0",
        "set_min_part_hours 999",
        "set_info d0 x",
        "increase_partition_power",
        "dispersion",
        "list_parts d0",
        "write_ring --format-version 3",
    ] {
        let said = desk.run(bad);
        assert_eq!(said.code, ERROR, "{bad}: {}", said.out);
        assert!(!said.err.is_empty(), "{bad}");
    }
    assert_eq!(std::fs::read(desk.path("object.builder")).unwrap(), before);
}

#[test]
fn fewer_devices_than_replicas_is_an_error_that_says_so() {
    let desk = Desk::with_devices(2);
    let said = desk.run("rebalance");
    assert_eq!(said.code, ERROR);
    assert!(said.err.contains("requires more than 2 devices"), "{}", said.err);
}

#[test]
fn lookups_answer_one_json_object_a_line() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance --format-version 2");
    let ring = desk.path("object.ring.gz");
    let said = desk.say(&ring, "lookup --hash-suffix s --handoffs -1", "a\na/c/o x\n");
    assert_eq!((said.code, said.out.lines().count()), (DONE, 2));
    for line in said.out.lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (
                answer["primary"].as_array().unwrap().len(),
                answer["handoffs"].as_array().unwrap().len()
            ),
            (3, 3)
        );
    }
    assert_eq!(desk.say(&ring, "lookup --parts", "64\n").code, ERROR);
    assert_eq!(desk.say(&ring, "lookup", "a/c/o\n").code, ERROR);
    std::fs::write(&ring, b"damaged").unwrap();
    assert_eq!(desk.say(&ring, "lookup --parts", "1\n").code, ERROR);
}

#[test]
fn a_lost_builder_is_made_again_from_its_ring() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    assert_eq!(desk.run("write_builder").code, ERROR);
    std::fs::remove_file(desk.path("object.builder")).unwrap();
    assert_eq!(
        desk.say(&desk.path("object.ring.gz"), "write_builder 24", "")
            .code,
        DONE
    );
    assert!(desk.ok("").contains("is 24 ("));
    desk.ok("validate");
}

#[test]
fn partition_power_goes_up_in_its_steps_only() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    desk.ok("prepare_increase_partition_power");
    assert_eq!(desk.run("rebalance").code, ERROR);
    assert_eq!(desk.run("add z1-10.9.9.9:1/sdz 1").code, ERROR);
    desk.ok("increase_partition_power");
    desk.ok("finish_increase_partition_power");
    desk.ok("write_ring");
    assert!(desk.ok("").contains("128 partitions"));
    let said = desk.say(&desk.path("object.ring.gz"), "lookup --parts", "127\n");
    assert_eq!(said.code, DONE);
}

#[test]
fn the_dispersion_report_names_the_worst_tier() {
    let desk = Desk::new();
    desk.ok("create 6 3 1");
    for (at, weight) in [(0, 900), (1, 100), (2, 100), (3, 900)] {
        desk.ok(&format!("add r1z{}-10.0.0.{at}:6200/sd{at} {weight}", at % 3));
    }
    assert_eq!(desk.run("rebalance").code, WARNING);
    let said = desk.run("dispersion -v r1z");
    assert_eq!(said.code, WARNING);
    assert!(
        said.out.contains("Worst tier is") && said.out.contains("(r1z0)"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("\nr1 "));
    assert_eq!(desk.run("dispersion [").code, ERROR);
}

#[test]
fn help_lists_the_verbs() {
    let said = Desk::new().run("--help");
    assert_eq!(said.code, DONE);
    for verb in [
        "rebalance",
        "set_min_part_hours",
        "pretend_min_part_hours_passed",
        "lookup",
        "plan",
    ] {
        assert!(said.out.contains(verb), "{verb}");
    }
}

#[test]
fn the_examples_of_the_help_are_words_the_parser_knows() {
    let mut seen = 0;
    let texts = [
        examples::TOOL,
        examples::CREATE,
        examples::ADD,
        examples::REMOVE,
        examples::SET_WEIGHT,
        examples::SET_REGION,
        examples::SET_ZONE,
        examples::SET_INFO,
        examples::SEARCH,
        examples::LIST_PARTS,
        examples::REBALANCE,
        examples::PLAN,
        examples::DURABILITY,
        examples::DIFF,
        examples::DISPERSION,
        examples::WRITE_RING,
        examples::WRITE_BUILDER,
        examples::SET_REPLICAS,
        examples::SET_MIN_PART_HOURS,
        examples::SET_OVERLOAD,
        examples::SET_SCATTER_LIMIT,
        examples::PRETEND,
        examples::PREPARE,
        examples::LOOKUP,
        examples::NODES,
        examples::ANALYZE,
        examples::DRAW,
        examples::IMPORT,
        examples::EXPORT,
        examples::COMPOSE,
    ];
    for line in texts.iter().flat_map(|text| text.lines()) {
        let Some((_, command)) = line.split_once("virga ring ") else {
            continue;
        };
        // Two or more blanks begin a remark.
        let command = command.split("   ").next().unwrap();
        let command = command.split("  ").next().unwrap();
        if command.contains("VERB") {
            continue;
        }
        let mut words = vec!["virga ring".to_owned()];
        let (mut word, mut quoted) = (String::new(), false);
        for c in command.chars().chain([' ']) {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted && !word.is_empty() => words.push(std::mem::take(&mut word)),
                ' ' if !quoted => {}
                c => word.push(c),
            }
        }
        let parsed = Arguments::try_parse_from(&words);
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        seen += 1;
    }
    assert!(seen > 50, "{seen} examples");
}

#[test]
fn nodes_and_lookup_need_the_secrets_of_the_cluster() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    let ring = desk.path("object.ring.gz");
    for words in ["nodes a c o", "nodes --hash-prefix= a", "lookup"] {
        let said = desk.say(&ring, words, "a/c/o\n");
        assert_eq!(said.code, ERROR, "{words}");
        assert!(said.err.contains("--swift-conf"), "{words}: {}", said.err);
    }
    std::fs::write(
        desk.path("swift.conf"),
        "[swift-hash]\nswift_hash_path_suffix = s\n",
    )
    .unwrap();
    let conf = desk.path("swift.conf");
    let found = desk.say(
        &ring,
        &format!("nodes --json --swift-conf {} a/c/o", conf.display()),
        "",
    );
    let found: Value = serde_json::from_str(&found.out).unwrap();
    let same = desk.say(&ring, "lookup --hash-suffix s --handoffs 3", "a/c/o\n");
    let same: Value = serde_json::from_str(&same.out).unwrap();
    assert_eq!(found["partition"], same["part"]);
    let ids = |nodes: &Value| {
        nodes
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(&ids(&found["primaries"]), same["primary"].as_array().unwrap());
    assert_eq!(&ids(&found["handoffs"]), same["handoffs"].as_array().unwrap());
    assert_eq!(desk.say(&ring, "nodes -p 64", "").code, ERROR);
    assert_eq!(desk.say(&ring, "nodes", "").code, ERROR);
}

#[test]
fn durability_tells_random_failures_from_those_of_servers_and_zones() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    let ring = desk.path("object.ring.gz");
    let said = desk.say(
        &ring,
        "durability --json --servers 1 --zones 3 --afr 2% --rebuild-hours 12",
        "",
    );
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let joint = found["joint"].as_array().unwrap();
    // Three zones hold one replica each: one server is never all of them, three zones always are.
    assert_eq!(
        (&joint[1]["chance"], &joint[2]["chance"]),
        (&0.0.into(), &1.0.into())
    );
    assert_eq!(joint[2]["worst_lost_partitions"], 64);
    let annual = found["annual"]["chance"].as_f64().unwrap();
    assert!(annual > 0.0 && annual < 1e-4, "{annual}");
    for bad in [
        "--samples 0",
        "--share 200%",
        "--afr 2%",
        "--afr 2% --rebuild-hours -1",
    ] {
        assert_eq!(
            desk.say(&ring, &format!("durability {bad}"), "").code,
            ERROR,
            "{bad}"
        );
    }
}

#[test]
fn a_scenario_is_played_and_its_builder_saved() {
    let desk = Desk::new();
    let file = desk.path("scenario.json");
    let saved = desk.path("after.builder");
    let scenario = serde_json::json!({
        "part_power": 6, "replicas": 2, "overload": 0, "random_seed": 1, "rounds": [
            [["add", "r1z1-10.0.0.1:6200/sda", 1], ["add", "z2-10.0.0.2:6200/sda", 1], ["add", "z3-10.0.0.3:6200/sda", 1]],
            [["remove", 0]], [["save", saved]], [["remove", 7]],
        ],
    });
    std::fs::write(&file, scenario.to_string()).unwrap();
    let said = desk.say(&file, "analyze", "");
    assert_eq!(said.code, ERROR);
    assert!(
        said.err.contains("rounds[3][0]: there is no device 7"),
        "{}",
        said.err
    );
    assert_eq!(desk.say(&saved, "validate", "").code, DONE);
    assert_eq!(desk.say(&saved, "analyze", "").code, ERROR);
}
