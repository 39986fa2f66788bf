//! `virga status --wait` and `--watch`: asks again and again.
//!
//! `--wait` ends when the cloud is well: every part ready, every host there, no
//! ring change under way, and every device has compared all it has with its
//! peers in a round that began after the wait did. What differed at that time
//! is equal then. Progress goes to stderr, so that stdout is for the answer.
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use virga_node::clock::{Clock, Micros, SystemClock, Version};

use super::movement::{ailments, by_ring};
use super::text::{bytes, span};
use crate::Failure;
use crate::control::CloudStatus;

/// Between looks.
const REST: Duration = Duration::from_secs(1);
/// Reasons named when the wait is given up.
const NAMED: usize = 8;
/// Clears the screen from the top on.
const TO_TOP: &str = "\x1b[H\x1b[J";

/// Shows `look`'s text again and again, until it is interrupted.
///
/// # Errors
/// When the cloud cannot be asked any more.
pub(super) fn watch(mut look: impl FnMut() -> Result<String, Failure>) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let clear = if out.is_terminal() { TO_TOP } else { "" };
    loop {
        let text = look()?;
        if writeln!(out, "{clear}{text}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
        std::thread::sleep(REST);
    }
}

/// Waits until `ask` tells of a cloud that is well, at most `limit`; then says
/// `said`, if anything.
///
/// # Errors
/// What it still lacks when time is up, or that it cannot be asked.
pub(super) fn wait(
    limit: Option<Duration>,
    said: Option<&str>,
    mut ask: impl FnMut() -> Result<Vec<CloudStatus>, Failure>,
) -> Result<(), Failure> {
    let (begun, since) = (Instant::now(), Version::at(SystemClock.now()));
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {wide_msg}") {
        bar.set_style(style);
    }
    let mut pace = Pace::default();
    let (mut answer, mut lacks);
    loop {
        answer = ask();
        match &answer {
            Ok(statuses) => {
                lacks = all_ailments(statuses, since);
                if lacks.is_empty() {
                    bar.finish_and_clear();
                    if let Some(said) = said {
                        println!("{said} after {:.1} s", begun.elapsed().as_secs_f64());
                    }
                    return Ok(());
                }
                show(&bar, &pace.note(statuses, since, SystemClock.now()), &lacks);
            }
            // A process that restarts answers again in a moment.
            Err(Failure::Failed(why)) => lacks = vec![why.clone()],
            Err(_) => return answer.map(drop),
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            bar.finish_and_clear();
            return Err(Failure::Failed(given_up(begun.elapsed(), &lacks)));
        }
        std::thread::sleep(REST);
    }
}

fn all_ailments(statuses: &[CloudStatus], since: Version) -> Vec<String> {
    let mut all: Vec<String> = statuses
        .iter()
        .flat_map(|status| ailments(status, Some(since)))
        .collect();
    // Several processes of a host say the same of others.
    all.sort();
    all.dedup();
    all
}

fn given_up(after: Duration, lacks: &[String]) -> String {
    let mut text = format!("not well after {}:", span(after));
    for lack in lacks.iter().take(NAMED) {
        text += &format!("\n  {lack}");
    }
    if lacks.len() > NAMED {
        text += &format!("\n  and {} more", lacks.len() - NAMED);
    }
    text
}

fn show(bar: &ProgressBar, far: &Far, lacks: &[String]) {
    bar.set_length(far.all);
    bar.set_position(far.done);
    let rate = far
        .rate
        .map_or_else(String::new, |rate| format!("{}/s, ", bytes(rate)));
    let left = far
        .left
        .map_or_else(String::new, |left| format!("about {} left, ", span(left)));
    let first = lacks.first().map_or("", String::as_str);
    bar.set_message(format!("{rate}{left}{first}"));
}

/// How far it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Far {
    /// Devices that have to come along, each for each ring.
    all: u64,
    /// Those that have.
    done: u64,
    /// Bytes pushed in a second, once that is known.
    rate: Option<u64>,
    /// Time left, once that can be guessed.
    left: Option<Duration>,
}

/// What earlier looks showed.
#[derive(Debug, Default)]
struct Pace {
    first: Option<(Micros, u64)>,
    last: Option<(Micros, u64)>,
}

impl Pace {
    /// Notes a look. Rates come from the last two looks, the time left from all
    /// of them: by partitions, as sizes are not known beforehand.
    fn note(&mut self, statuses: &[CloudStatus], since: Version, now: Micros) -> Far {
        let mut far = Far::default();
        let (mut pushed, mut partitions) = (0, 0);
        // Each process of a host tells of all hosts: one is enough.
        let most = statuses
            .iter()
            .map(by_ring)
            .max_by_key(|rings| rings.values().map(|ring| ring.devices).sum::<u64>());
        for ring in most.iter().flat_map(|rings| rings.values()) {
            far.all += ring.devices;
            let compared = ring.is_settled() && ring.oldest_round >= since;
            far.done += if compared {
                ring.devices
            } else {
                ring.done.min(ring.devices.saturating_sub(1))
            };
            pushed += ring.bytes;
            partitions += ring.left;
        }
        if let Some((then, before)) = self.last {
            let seconds = now.since(then).as_secs_f64();
            let more = pushed.saturating_sub(before);
            far.rate = (seconds > 0.0 && more > 0).then(|| (more as f64 / seconds) as u64);
        }
        let (then, at_first) = *self.first.get_or_insert((now, partitions));
        let worked = at_first.saturating_sub(partitions);
        if worked > 0 && partitions > 0 {
            far.left = Some(now.since(then).mul_f64(partitions as f64 / worked as f64));
        }
        self.last = Some((now, pushed));
        far
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_patience_names_what_is_missing() {
        let lacks: Vec<String> = (0..10).map(|n| format!("d{n} is away")).collect();
        let text = given_up(Duration::from_secs(60), &lacks);
        assert!(text.starts_with("not well after 60 s:\n  d0 is away\n"), "{text}");
        assert!(text.ends_with("and 2 more"), "{text}");
    }

    #[test]
    fn a_cloud_without_devices_is_no_progress() {
        let mut pace = Pace::default();
        assert_eq!(pace.note(&[], Version(0), Micros(5)), Far::default());
    }
}
