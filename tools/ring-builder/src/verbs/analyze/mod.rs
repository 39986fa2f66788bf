//! Plays a scenario of changes, as swift-ring-builder-analyzer does: the same
//! file, the same lines, and dispersion, bound and time beside them.
mod scenario;

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use virga_ring::DeviceId;
use virga_ring::builder::{Builder, Rebalanced};

use crate::Session;
use crate::cli::Analyze;
use crate::progress::Steps;
use crate::report::{Report, VerbError};
use crate::store::{Files, save_new};
use scenario::{Command, Scenario};

/// Balance of a ring with something left on a device without weight.
const WORST_BALANCE: f64 = 999.99;
/// Rebalances of one round: a round that needs more does not settle.
const MAX_REBALANCES: usize = 1000;

/// One rebalance and the seconds it took.
struct Run {
    done: Rebalanced,
    seconds: f64,
}

pub(super) fn analyze(
    session: &mut Session<'_>,
    files: &Files,
    options: &Analyze,
) -> Result<Report, VerbError> {
    let scenario = Scenario::read(&files.builder)?;
    if options.check {
        let commands: usize = scenario.rounds.iter().map(Vec::len).sum();
        let text = format!(
            "The scenario is valid: {} rounds, {commands} commands",
            scenario.rounds.len()
        );
        return Ok(Report::done(
            text,
            json!({"valid": true, "rounds": scenario.rounds.len(), "commands": commands}),
        ));
    }
    let now = session.now;
    let rounds = session.during("round", |steps| play(&files.builder, &scenario, now, steps))?;
    let mut text = String::new();
    for (round, runs) in rounds.iter().enumerate() {
        text += &format!("Round {}\n", round + 1);
        for (number, run) in runs.iter().enumerate() {
            text += &format!(
                "\tRebalance {}: moved {} parts, balance is {:.6}, {} removed devs (at least {} had to move, dispersion is {:.6}, {:.3} s)\n",
                number + 1,
                run.done.moved,
                run.done.balance,
                run.done.removed.len(),
                run.done.bound,
                run.done.dispersion,
                run.seconds
            );
        }
    }
    let json: Vec<Value> = rounds
        .iter()
        .map(|runs| json!({"rebalances": runs.iter().map(run_value).collect::<Vec<_>>()}))
        .collect();
    Ok(Report::done(text, json!({"rounds": json})))
}

fn run_value(run: &Run) -> Value {
    json!({
        "moved": run.done.moved, "bound": run.done.bound, "pending": run.done.pending, "balance": run.done.balance,
        "dispersion": run.done.dispersion, "removed": run.done.removed, "seconds": run.seconds,
    })
}

fn play(file: &Path, scenario: &Scenario, now: u64, steps: &Steps) -> Result<Vec<Vec<Run>>, VerbError> {
    let mut builder = Builder::create(scenario.part_power, scenario.replicas, 1)?;
    builder.set_overload(scenario.overload)?;
    let mut rounds = Vec::new();
    for (at, commands) in scenario.rounds.iter().enumerate() {
        steps.at(at as u64, scenario.rounds.len() as u64);
        for (number, command) in commands.iter().enumerate() {
            let place = |error: VerbError| {
                let text = error.to_string();
                VerbError::usage(
                    format!(
                        "{}: rounds[{at}][{number}]: {}",
                        file.display(),
                        text.lines().next().unwrap_or_default()
                    ),
                    "correct the command; analyze --check checks what can be known beforehand",
                )
            };
            apply(&mut builder, command, now).map_err(place)?;
        }
        let place = |error: VerbError| {
            let what = format!("{}: rounds[{at}]: {error}", file.display());
            VerbError::usage(what, "add devices with a weight in this round or before it")
        };
        rounds.push(settle(&mut builder, scenario.seed, now).map_err(place)?);
    }
    Ok(rounds)
}

fn apply(builder: &mut Builder, command: &Command, now: u64) -> Result<(), VerbError> {
    match command {
        Command::Add(new) => builder.add(new.clone()).map(|_| ())?,
        Command::Remove(id) => builder.remove(DeviceId(*id))?,
        Command::SetWeight(id, weight) => builder.set_weight(DeviceId(*id), *weight)?,
        Command::Save(path) => save_new(builder, path, now)?,
    }
    Ok(())
}

/// Rebalances until nothing moves or the balance changes by less than 1.
fn settle(builder: &mut Builder, seed: u64, now: u64) -> Result<Vec<Run>, VerbError> {
    let mut runs: Vec<Run> = Vec::new();
    while runs.len() < MAX_REBALANCES {
        let begin = Instant::now();
        let done = builder.rebalance(seed, now)?;
        let seconds = begin.elapsed().as_secs_f64();
        builder.pretend_min_part_hours_passed();
        let settled = runs.last().is_some_and(|last: &Run| {
            let (old, new) = (last.done.balance, done.balance);
            let worst = old == WORST_BALANCE && new == WORST_BALANCE;
            (done.moved == 0 && done.removed.is_empty()) || ((new - old).abs() < 1.0 && !worst)
        });
        runs.push(Run { done, seconds });
        if settled {
            break;
        }
    }
    Ok(runs)
}
