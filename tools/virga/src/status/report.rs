//! The health report for people: one line of how it is, then what is the matter,
//! what is done about it, when it ends, and what to type.
use std::fmt::Write;
use std::time::Duration;

use virga_node::clock::Micros;

use super::text::{bytes, span};
use crate::health::{Doing, Finding, Health, HealthReport, Lacking, Weight};

/// Width of a progress bar.
const BAR: u64 = 24;
/// Findings shown in full; the rest is counted.
const SHOWN: usize = 24;

/// Renders the report; `bars` where a person watches.
pub(super) fn render(report: &HealthReport, now: Micros, bars: bool) -> String {
    let mut text = format!("health: {} - {}\n", report.health.name(), report.summary);
    for finding in report.findings.iter().take(SHOWN) {
        text += &one(finding, now, bars);
    }
    if report.findings.len() > SHOWN {
        let more = report.findings.len() - SHOWN;
        let _ = writeln!(text, "\n  and {more} more: virga status --json has all of them");
    }
    let shown = |doing: &&Doing| report.health != Health::Ok || doing.what != "scrub";
    let going: Vec<&Doing> = report.doing.iter().filter(shown).collect();
    if !going.is_empty() {
        text += "\n  going on\n";
    }
    for doing in going {
        let _ = writeln!(text, "    {}", progress(doing, bars));
    }
    text
}

fn one(finding: &Finding, now: Micros, bars: bool) -> String {
    let mark = match finding.weight {
        Weight::Degraded => "!",
        Weight::Notice => "-",
    };
    let since = finding
        .since
        .map_or_else(String::new, |since| format!(" (for {})", span(now.since(since))));
    let mut text = format!("\n  {mark} {}{since}: {}\n", finding.subject, finding.what);
    if let Some(lacking) = &finding.lacking {
        let _ = writeln!(text, "      lacks   {}", lacks(lacking));
    }
    if !finding.meanwhile.is_empty() {
        let _ = writeln!(text, "      now     {}", finding.meanwhile);
    }
    if let Some(doing) = &finding.doing {
        let _ = writeln!(text, "              {}", progress(doing, bars));
    }
    if let Some(ends) = &finding.ends {
        let _ = writeln!(text, "      ends    {ends}");
    }
    for (n, step) in finding.todo.iter().enumerate() {
        let _ = writeln!(text, "      {}    {step}", if n == 0 { "do  " } else { "    " });
    }
    text
}

fn lacks(lacking: &Lacking) -> String {
    let about = if lacking.guessed { "about " } else { "" };
    format!(
        "{} partitions have one copy less: {about}{} objects, {}",
        lacking.partitions,
        lacking.objects,
        bytes(lacking.bytes)
    )
}

/// "compare and fill object: [#####-----] 12 of 40 partitions, 3 devices, 1.2 MiB/s, about 3 min left".
fn progress(doing: &Doing, bars: bool) -> String {
    let ring = doing
        .ring
        .as_ref()
        .map_or_else(String::new, |ring| format!(" {ring}"));
    let all = doing.done + doing.left;
    let bar = match bars && all > 0 {
        true => {
            let full = usize::try_from(BAR * doing.done / all).unwrap_or(0);
            let rest = usize::try_from(BAR).unwrap_or(0) - full;
            format!("[{}{}] ", "#".repeat(full), "-".repeat(rest))
        }
        false => String::new(),
    };
    let mut text = format!(
        "{}{ring}: {bar}{} of {all} {}",
        doing.what, doing.done, doing.unit
    );
    if doing.devices > 1 {
        let _ = write!(text, ", on {} devices", doing.devices);
    }
    if doing.bytes > 0 {
        let _ = write!(text, ", {} moved", bytes(doing.bytes));
    }
    if doing.bytes_per_s > 0 {
        let _ = write!(text, ", {}/s", bytes(doing.bytes_per_s));
    }
    if let Some(left) = doing.seconds_left {
        let _ = write!(text, ", about {} left", span(Duration::from_secs(left)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Kind;

    #[test]
    fn a_finding_says_what_why_when_and_what_to_type() {
        let report = HealthReport {
            health: Health::Degraded,
            summary: "7 partitions have fewer copies than wanted".to_owned(),
            findings: vec![Finding {
                kind: Kind::DeviceReadOnly,
                weight: Weight::Degraded,
                subject: "10.0.0.1:6200/d1".to_owned(),
                since: Some(Micros(1_000_000)),
                what: "the device is read-only: I/O errors".to_owned(),
                lacking: Some(Lacking {
                    partitions: 7,
                    objects: 12,
                    bytes: 2048,
                    guessed: true,
                }),
                meanwhile: "it copies what it holds".to_owned(),
                doing: Some(Doing {
                    what: "drain".to_owned(),
                    unit: "partitions".to_owned(),
                    done: 3,
                    left: 3,
                    devices: 1,
                    bytes: 1 << 20,
                    bytes_per_s: 1 << 10,
                    seconds_left: Some(200),
                    ..Doing::default()
                }),
                ends: None,
                todo: vec!["it asks for weight 0:".to_owned(), "virga ring ...".to_owned()],
            }],
            ..HealthReport::default()
        };
        let text = render(&report, Micros(61_000_000), true);
        let wanted = "\
health: degraded - 7 partitions have fewer copies than wanted

  ! 10.0.0.1:6200/d1 (for 60 s): the device is read-only: I/O errors
      lacks   7 partitions have one copy less: about 12 objects, 2.0 KiB
      now     it copies what it holds
              drain: [############------------] 3 of 6 partitions, 1.0 MiB moved, 1.0 KiB/s, about 3 min left
      do      it asks for weight 0:
              virga ring ...
";
        assert_eq!(text, wanted);
    }
}
