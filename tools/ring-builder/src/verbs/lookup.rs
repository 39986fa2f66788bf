//! Names or partitions in, nodes out: one JSON object a line.
use std::io::{BufRead, Read};

use serde_json::{Value, json};
use virga_ring::{HashPath, Partition, Ring, file};

use crate::Session;
use crate::cli::Lookup;
use crate::report::{Report, VerbError};
use crate::store::Files;

/// Longest line read: the limits of account, container and object names are far below.
const MAX_LINE: u64 = 64 << 10;

pub(super) fn lookup(
    session: &mut Session<'_>,
    files: &Files,
    options: &Lookup,
) -> Result<Report, VerbError> {
    let ring = file::load(&files.ring)?;
    let path = if options.parts {
        HashPath::default()
    } else {
        options.secrets.path(None)?
    };
    let handoffs = usize::try_from(options.handoffs).unwrap_or(usize::MAX);
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let got = (&mut session.input).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if got == 0 {
            break;
        }
        let wrong = |why: &str| {
            let hint = if options.parts {
                "each line is one partition number"
            } else {
                "each line is ACCOUNT[/CONTAINER[/OBJECT]] in UTF-8"
            };
            VerbError::usage(format!("line {number} of the input: {why}"), hint)
        };
        if line.pop_if(|byte| *byte == b'\n').is_none() && got as u64 == MAX_LINE {
            return Err(wrong("too long"));
        }
        let text = std::str::from_utf8(&line).map_err(|_| wrong("not UTF-8"))?;
        let part = if options.parts {
            let part = text.trim().parse().map_err(|_| wrong("not a partition number"))?;
            Some(Partition(part)).filter(|part| u64::from(part.0) < ring.partition_count())
        } else {
            let mut names = text.splitn(3, '/');
            let account = names
                .next()
                .filter(|name| !name.is_empty())
                .ok_or_else(|| wrong("no account"))?;
            Some(ring.partition(&path.hash(account, names.next(), names.next())))
        };
        let part = part.ok_or_else(|| wrong("the ring has no such partition"))?;
        writeln!(session.out, "{}", describe(&ring, part, handoffs))?;
    }
    Ok(Report {
        code: crate::DONE,
        text: String::new(),
        json: Value::Null,
    })
}

fn describe(ring: &Ring, part: Partition, handoffs: usize) -> Value {
    let primary: Vec<u32> = ring.primaries(part).map(|(_, device)| device.id.0).collect();
    let handoffs: Vec<u32> = ring
        .handoffs(part)
        .take(handoffs)
        .map(|(_, device)| device.id.0)
        .collect();
    json!({"part": part.0, "primary": primary, "handoffs": handoffs})
}
