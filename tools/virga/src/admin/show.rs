//! What `virga admin` prints: tables for people, JSON for machines.
use serde_json::{Value, json};
use virga_node::clock::{Clock, Micros, SystemClock};
use virga_object_wire::admin::{KeptFile, OwedRow};

use super::Found;
use crate::status::text::{bytes, span, table};

/// Bytes of a kept file in a line.
const LINE: usize = 16;

fn ago(then: Micros) -> String {
    format!("{} ago", span(SystemClock.now().since(then)))
}

/// All devices.
pub(super) fn devices(all: &[Found]) -> String {
    let mut shown = table(&["device", "state", "why", "free", "of", "objects", "bytes"]);
    for found in all {
        let d = &found.status;
        let why: Vec<String> = d.reasons.iter().map(|reason| reason.cause.to_string()).collect();
        shown.add_row([
            found.shown(),
            d.state.to_string(),
            why.join("; "),
            bytes(d.free),
            bytes(d.total),
            d.objects.to_string(),
            bytes(d.bytes),
        ]);
    }
    shown.to_string()
}

/// The status of devices, as of `virga status --json`, with their hosts.
pub(super) fn devices_json(all: &[Found]) -> Value {
    let one = |found: &Found| json!({ "node": found.node, "status": found.status });
    all.iter().map(one).collect()
}

/// One device.
pub(super) fn device(found: &Found) -> String {
    let d = &found.status;
    let mut text = format!("{}: {}\n", found.shown(), d.state);
    for reason in &d.reasons {
        let detail = match reason.detail.is_empty() {
            true => String::new(),
            false => format!(" ({})", reason.detail),
        };
        text += &format!(
            "  because   {}{detail}, since {}\n",
            reason.cause,
            ago(reason.since)
        );
    }
    text += &format!("  holds     {} objects, {}\n", d.objects, bytes(d.bytes));
    text += &format!("  room      {} of {} free\n", bytes(d.free), bytes(d.total));
    text += &format!("  set aside {} damaged, {} stale\n", d.bad_files, d.stale_files);
    for work in d
        .work
        .iter()
        .filter(|work| work.left > 0 || work.trouble.is_some())
    {
        let ring = work.ring.map_or_else(String::new, |ring| format!(" {ring}"));
        let why = work
            .trouble
            .as_ref()
            .map_or_else(String::new, |why| format!(": {why}"));
        text += &format!(
            "  {}{ring}: {} done, {} {} left{why}\n",
            work.duty, work.done, work.left, work.unit
        );
    }
    text + &scrubs(std::slice::from_ref(found))
}

/// How far scrubs are.
pub(super) fn scrubs(all: &[Found]) -> String {
    let mut shown = table(&[
        "device",
        "this pass",
        "damaged",
        "left",
        "last pass ended",
        "it found damaged",
    ]);
    for found in all {
        let scrub = &found.status.scrub;
        let pass = match scrub.began {
            Some(_) => format!(
                "{} of {} segments",
                scrub.segments - scrub.left.min(scrub.segments),
                scrub.segments
            ),
            None => "between passes".to_owned(),
        };
        let left = match scrub.began {
            Some(_) => span(std::time::Duration::from_secs(scrub.seconds_left)),
            None => String::new(),
        };
        shown.add_row([
            found.shown(),
            pass,
            scrub.damaged.to_string(),
            left,
            scrub.pass_ended.map_or_else(|| "never".to_owned(), ago),
            scrub.last_damaged.to_string(),
        ]);
    }
    shown.to_string()
}

/// The same for machines.
pub(super) fn scrubs_json(all: &[Found]) -> Value {
    let one = |found: &Found| json!({ "node": found.node, "device": found.status.device, "scrub": found.status.scrub });
    all.iter().map(one).collect()
}

/// Kept files, each with its device.
pub(super) fn files(all: &[(String, KeptFile)]) -> String {
    if all.is_empty() {
        return "nothing is kept".to_owned();
    }
    let mut shown = table(&["device", "name", "size", "written", "what"]);
    for (device, file) in all {
        shown.add_row([
            device.clone(),
            file.name.clone(),
            bytes(file.size),
            ago(Micros(file.written.saturating_mul(1_000_000))),
            file.line.clone(),
        ]);
    }
    shown.to_string()
}

/// The same for machines.
pub(super) fn files_json(all: &[(String, KeptFile)]) -> Value {
    let one = |(device, file): &(String, KeptFile)| json!({ "device": device, "file": file });
    all.iter().map(one).collect()
}

/// A kept file: what it says, and its first bytes as numbers and letters.
pub(super) fn shown(line: &str, first: &[u8]) -> String {
    let mut text = match line.is_empty() {
        true => String::new(),
        false => format!("{line}\n"),
    };
    for (n, piece) in first.chunks(LINE).enumerate() {
        let letters: String = piece
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            })
            .collect();
        text += &format!("{:08x}  {:<32}  {letters}\n", n * LINE, hex::encode(piece));
    }
    text.trim_end().to_owned()
}

/// Rows that are owed, each with its device.
pub(super) fn owed(all: &[(String, OwedRow)]) -> String {
    if all.is_empty() {
        return "no rows are owed".to_owned();
    }
    let mut shown = table(&["device", "ring", "path", "version", "says"]);
    for (device, row) in all {
        let says = if row.deleted { "deleted" } else { "stored" };
        shown.add_row([
            device.clone(),
            row.ring.to_string(),
            row.path.clone(),
            row.timestamp.clone(),
            says.to_owned(),
        ]);
    }
    shown.to_string()
}

/// The same for machines.
pub(super) fn owed_json(all: &[(String, OwedRow)]) -> Value {
    let one = |(device, row): &(String, OwedRow)| json!({ "device": device, "row": row });
    all.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_kept_are_shown_as_numbers_and_letters() {
        assert_eq!(
            shown("what it is", b"rot\x00"),
            "what it is\n00000000  726f7400                          rot."
        );
    }
}
