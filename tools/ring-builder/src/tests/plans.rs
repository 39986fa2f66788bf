//! What `plan` says is what `rebalance` does.
use std::time::Duration;

use serde_json::Value;

use super::Desk;
use crate::ERROR;

/// Numbers from a seed.
struct Lot(u64);

impl Lot {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// A change that a builder of `devices` devices allows, most of the time.
    fn change(&mut self, devices: u64) -> String {
        let device = self.below(devices);
        match self.below(8) {
            0..3 => {
                let (zone, server) = (self.below(3), self.below(99));
                format!(
                    "add r1z{zone}-10.1.{zone}.{server}:6200/sd{server} {}",
                    50 + self.below(200)
                )
            }
            3 => format!("remove d{device}"),
            4 => format!("set_weight d{device} {}", self.below(300)),
            5 => format!("set_zone d{device} {}", self.below(4)),
            6 => format!("set_overload 0.{}", self.below(10)),
            _ => format!("set_replicas {}", ["2", "2.5", "3"][self.below(3) as usize]),
        }
    }
}

#[test]
fn over_random_histories_a_rebalance_does_what_the_plan_said() {
    let cases = if std::env::var_os("VIRGA_SOAK").is_some() {
        300
    } else {
        12
    };
    for seed in 0..cases {
        let mut lot = Lot(seed);
        let desk = Desk::with_devices(7);
        desk.run("rebalance --force");
        for round in 0..4 {
            for _ in 0..=lot.below(3) {
                // Some are refused (too few devices, twice the same): that is a history too.
                desk.run(&lot.change(8));
            }
            desk.clock.advance(Duration::from_secs(lot.below(5) * 1200));
            let before = std::fs::read(desk.path("object.builder")).unwrap();
            let plan = desk.run("plan --json");
            assert!(
                std::fs::read(desk.path("object.builder")).unwrap() == before,
                "a plan changes nothing"
            );
            if plan.code == ERROR {
                assert_eq!(
                    desk.run("rebalance").code,
                    ERROR,
                    "seed {seed}, round {round}: {}",
                    plan.err
                );
                continue;
            }
            let plan: Value = serde_json::from_str(&plan.out).unwrap();
            let said = &plan["steps"][0];
            let is_now = said["at"] == 1_800_000_000 + desk.elapsed();
            let lazy = desk.json("rebalance");
            if is_now {
                assert_eq!(lazy["movements"], said["movements"], "seed {seed}, round {round}");
                assert_eq!(
                    lazy["saved"], said["saved_without_force"],
                    "seed {seed}, round {round}"
                );
                if lazy["saved"] == false {
                    let done = desk.json("rebalance --force");
                    assert_eq!(done["movements"], said["movements"], "seed {seed}, round {round}");
                }
            } else {
                assert_eq!(
                    (&lazy["moved"], &lazy["saved"]),
                    (&0.into(), &false.into()),
                    "seed {seed}: {said}"
                );
            }
            if plan["complete"] == true {
                let (moved, bound) = (plan["moved"].as_u64(), plan["bound"].as_u64());
                assert!(moved >= bound, "seed {seed}, round {round}: {moved:?} {bound:?}");
            }
        }
    }
}

#[test]
fn the_later_steps_of_a_plan_are_those_of_the_later_rebalances() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    desk.ok("pretend_min_part_hours_passed");
    // Two of three replicas of a partition have to move: that takes two steps.
    desk.ok("set_weight z0 0 --yes");
    desk.ok("add r1z3-10.0.3.1:6200/sda 300 r1z4-10.0.4.1:6200/sda 300");
    let plan = desk.json("plan");
    let steps = plan["steps"].as_array().unwrap();
    assert!(steps.len() > 1 && plan["complete"] == true, "{plan}");
    for step in steps {
        desk.clock
            .advance(Duration::from_secs(step["wait_seconds"].as_u64().unwrap()));
        assert_eq!(desk.json("rebalance --force")["movements"], step["movements"]);
    }
    assert_eq!(desk.json("plan")["moved"], 0);
}

#[test]
fn a_plan_tries_changes_out_without_saving_them() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    desk.ok("pretend_min_part_hours_passed");
    let before = std::fs::read(desk.path("object.builder")).unwrap();
    let words = |with: &[&str]| {
        let mut args = vec![
            desk.path("object.builder").into_os_string(),
            "plan".into(),
            "--json".into(),
        ];
        for change in with {
            args.extend(["--with".into(), (*change).into()]);
        }
        desk.words(args, "")
    };
    let said = words(&["add r1z0-10.0.0.99:6200/new 100", "remove d1", "set_weight d2 50"]);
    let plan: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(plan["trying"].as_array().unwrap().len(), 3);
    let device = |id: usize| &plan["devices"][id];
    assert_eq!(
        (&device(1)["after"], &device(1)["target"]),
        (&0.into(), &Value::Null)
    );
    assert_eq!(device(1)["out"], device(1)["before"]);
    let total = |key: &str| -> u64 {
        plan["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it[key].as_u64().unwrap())
            .sum()
    };
    assert_eq!(
        (total("in"), total("out")),
        (plan["moved"].as_u64().unwrap(), plan["moved"].as_u64().unwrap())
    );
    for kind in ["links", "zones", "regions"] {
        let slots = plan[kind]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["slots"].as_u64().unwrap());
        assert_eq!(Some(slots.sum()), plan["moved"].as_u64(), "{kind}");
    }
    for bad in ["add nonsense 1", "rebalance", "frob", "set_weight d99 1", ""] {
        let said = words(&[bad]);
        assert_eq!(said.code, ERROR, "{bad}");
        assert!(said.err.contains("--with"), "{bad}: {}", said.err);
    }
    assert!(std::fs::read(desk.path("object.builder")).unwrap() == before);
}
