//! The picture as a reader of XML sees it.
use std::collections::BTreeSet;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::svg::Shade;
use crate::tests::Desk;

/// Every element with its attributes; panics unless the text is XML.
fn elements(picture: &str) -> Vec<Vec<(String, String)>> {
    let mut reader = Reader::from_str(picture);
    let mut found = Vec::new();
    let mut depth = 0;
    let attributes = |element: &BytesStart<'_>| {
        let all = element.attributes().map(|it| it.unwrap());
        all.map(|it| (it.key.as_ref().to_owned(), it.value.as_ref().to_owned()))
            .collect::<Vec<(String, String)>>()
    };
    loop {
        match reader.read_event().unwrap() {
            Event::Start(element) => {
                depth += 1;
                found.push(attributes(&element));
            }
            Event::Empty(element) => found.push(attributes(&element)),
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "every element is closed");
    found
}

fn get<'a>(element: &'a [(String, String)], key: &str) -> Option<&'a str> {
    element
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.as_str())
}

fn sum(elements: &[Vec<(String, String)>], key: &str) -> u64 {
    let values = elements.iter().filter_map(|element| get(element, key));
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_picture_has_every_device_and_numbers_that_add_up() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    desk.ok("add r1z1-10.0.0.9:6200/new_<b>&\"'\u{7} 100");
    desk.ok("remove d5");
    desk.ok("pretend_min_part_hours_passed");
    let plan = desk.json("plan");
    let out = desk.path("ring.svg");
    desk.ok(&format!("draw {}", out.display()));
    let picture = std::fs::read_to_string(&out).unwrap();
    let elements = elements(&picture);
    let ids: BTreeSet<&str> = elements
        .iter()
        .filter_map(|element| get(element, "data-id"))
        .collect();
    assert_eq!(ids.len(), 7);
    assert_eq!(sum(&elements, "data-held"), 192);
    assert_eq!(sum(&elements, "data-after"), 192);
    assert_eq!(sum(&elements, "data-slots"), plan["moved"].as_u64().unwrap());
    assert!(!picture.contains("<b>") && picture.contains("&lt;b&gt;&amp;"));
    desk.ok(&format!("draw --still {}", out.display()));
    let still = std::fs::read_to_string(&out).unwrap();
    assert!(!still.contains("data-after") && !still.contains("data-slots"));
}

#[test]
fn a_ring_without_its_builder_is_drawn_as_it_is() {
    let desk = Desk::with_devices(6);
    desk.ok("rebalance");
    let alone = desk.path("alone.ring.gz");
    std::fs::copy(desk.path("object.ring.gz"), &alone).unwrap();
    let out = desk.path("ring.svg");
    let draw = || desk.say(&alone, &format!("draw {}", out.display()), "");
    let said = draw();
    assert_eq!(said.code, crate::DONE, "{}", said.err);
    let picture = std::fs::read_to_string(&out).unwrap();
    let elements = elements(&picture);
    assert_eq!(sum(&elements, "data-held"), 192);
    assert!(picture.contains("alone.ring.gz") && !picture.contains("data-after"));
    assert!(!picture.contains("overload") && !picture.contains("slots to move"));
    let words = ["draw", "ring.svg", "--with", "set_weight d0 1"].map(Into::into);
    let said = desk.words([alone.clone().into()].into_iter().chain(words).collect(), "");
    assert_eq!(said.code, crate::ERROR);
    assert!(said.err.contains("no builder beside it"), "{}", said.err);
    // Damage is an error that names the file.
    std::fs::write(&alone, b"no ring").unwrap();
    let said = draw();
    assert_eq!(said.code, crate::ERROR);
    assert!(said.err.contains("alone.ring.gz"), "{}", said.err);
}

#[test]
fn a_thousand_devices_are_all_in_the_picture() {
    let desk = Desk::new();
    desk.ok("create 10 3 1");
    let mut words = String::from("add");
    for at in 0..1000 {
        let (zone, server, disk) = (at % 5, at / 20, at % 20);
        words += &format!(" r{}z{zone}-10.0.{zone}.{server}:6200/d{disk} 100", zone % 2);
    }
    desk.ok(&words);
    // Three slots a device cannot be even to a percent: a note, exit code 1.
    assert_eq!(desk.run("rebalance").code, crate::WARNING);
    desk.ok("set_weight d0 200");
    desk.ok("pretend_min_part_hours_passed");
    let out = desk.path("ring.svg");
    desk.ok(&format!("draw {}", out.display()));
    let picture = std::fs::read_to_string(&out).unwrap();
    let elements = elements(&picture);
    assert_eq!(
        elements
            .iter()
            .filter(|element| get(element, "data-id").is_some())
            .count(),
        1000
    );
    assert_eq!(sum(&elements, "data-held"), 3072);
    assert!(picture.len() < 1 << 20, "{}", picture.len());
}

#[test]
fn a_picture_that_cannot_be_written_is_an_error_that_names_the_file() {
    let desk = Desk::with_devices(4);
    let said = desk.run("draw /nowhere/ring.svg");
    assert_eq!(said.code, crate::ERROR);
    assert!(said.err.contains("/nowhere/ring.svg"), "{}", said.err);
}

#[test]
fn colours_say_how_far_a_device_is_from_its_target() {
    for (held, target, shade) in [
        (100, 100.4, Shade::Even),
        (0, 0.9, Shade::Even),
        (80, 100.0, Shade::FarBelow),
        (95, 100.0, Shade::Below),
        (105, 100.0, Shade::Above),
        (120, 100.0, Shade::FarAbove),
        (7, 0.0, Shade::Leaving),
    ] {
        assert_eq!(Shade::of(held, target, false), shade, "{held} of {target}");
    }
    assert_eq!(Shade::of(100, 100.0, true), Shade::Leaving);
}
