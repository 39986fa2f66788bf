//! The verbs of `virga ring FILE VERB ...`: library and text output.
//!
//! Same verbs, arguments and exit codes as swift-ring-builder (0 done,
//! 1 warning or nothing to do, 2 error), plus `plan`, `bound`, `diff`, `lookup`, `nodes`,
//! `durability`, `draw` and `analyze`, and `--json` everywhere (its shapes and the
//! differences from Swift's tool: docs/operations/rings.md). Called by the
//! `virga` binary; placement itself is `virga-ring`.
mod cli;
mod device_text;
mod examples;
mod progress;
mod quantity;
mod report;
mod secrets;
mod select;
mod store;
mod verbs;

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};

use clap::Parser;
use virga_node::clock::{Clock, SystemClock};

use cli::{Arguments, Verb};
use report::{Report, VerbError};
use store::Files;

/// Exit code: done.
pub const DONE: i32 = 0;
/// Exit code: done with a warning, or nothing to do.
pub const WARNING: i32 = 1;
/// Exit code: not done.
pub const ERROR: i32 = 2;

/// Runs one verb. `args` are the words after `virga ring`; results go to
/// `out`, complaints to `err`; questions are answered on standard input. Gives the exit code.
pub fn run(args: Vec<OsString>, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let picture = io::stderr().is_terminal();
    run_in(args, (&SystemClock, picture), &mut io::stdin().lock(), out, err)
}

/// The clap command, for a binary that lists it in its own help.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// [`run`] with clock and answers given, and without pictures of progress.
pub fn run_with(
    args: Vec<OsString>,
    clock: &dyn Clock,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    run_in(args, (clock, false), input, out, err)
}

fn run_in(
    mut args: Vec<OsString>,
    (clock, picture): (&dyn Clock, bool),
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    if args.is_empty() {
        args.push("--help".into());
    }
    let json = args.iter().any(|word| word == "--json");
    let words = std::iter::once(OsString::from("virga ring")).chain(args);
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => return misread(&error, json, out, err),
    };
    let mut session = Session {
        now: clock.now().as_secs(),
        json: arguments.json,
        picture,
        input,
        out,
        err,
    };
    match session.perform(arguments) {
        Ok(report) => session.show(&report),
        Err(error) => session.complain(&error),
    }
}

/// What clap has to say: help, or what it does not understand.
fn misread(error: &clap::Error, json: bool, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let asked = !error.use_stderr();
    let text = error.render();
    let written = match (asked, json) {
        (true, _) => write!(out, "{text}"),
        (false, false) => write!(err, "{text}"),
        (false, true) => {
            let text = text.to_string();
            let what = text.lines().next().unwrap_or_default();
            let what = what.strip_prefix("error: ").unwrap_or(what);
            let said =
                serde_json::json!({"error": what, "hint": "virga ring FILE VERB --help explains a verb"});
            writeln!(err, "{said}")
        }
    };
    if asked && written.is_ok() { DONE } else { ERROR }
}

/// One call: its streams and its time.
struct Session<'a> {
    /// Unix seconds.
    now: u64,
    json: bool,
    /// Show progress on the terminal.
    picture: bool,
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl Session<'_> {
    fn perform(&mut self, arguments: Arguments) -> Result<Report, VerbError> {
        let files = Files::of(&arguments.file);
        let verb = arguments.verb.unwrap_or(Verb::Show);
        let ring_alone = matches!(verb, Verb::Draw(_)) && files.is_bare_ring();
        if !verb.reads_ring() && !ring_alone && files.builder != arguments.file {
            self.note(&format!(
                "Note: using {} instead of {} as builder file",
                files.builder.display(),
                arguments.file.display()
            ))?;
        }
        // Held to the end: two tools must not change one builder at once.
        let _lock = if verb.writes() { Some(files.lock()?) } else { None };
        verbs::perform(self, &files, verb)
    }

    /// Does `work`, with a sign of life on the terminal if it takes long.
    fn during<T>(&self, what: &str, work: impl FnOnce(&progress::Steps) -> T) -> T {
        progress::during(self.picture, what, work)
    }

    /// A remark beside the result (not part of `--json`).
    fn note(&mut self, text: &str) -> Result<(), VerbError> {
        let to = if self.json { &mut *self.err } else { &mut *self.out };
        Ok(writeln!(to, "{text}")?)
    }

    /// A warning on the error stream.
    fn warn(&mut self, text: &str) -> Result<(), VerbError> {
        Ok(writeln!(self.err, "{text}")?)
    }

    fn show(&mut self, report: &Report) -> i32 {
        // Null: the verb has written its own lines.
        let written = if self.json && report.json.is_null() {
            Ok(())
        } else if self.json {
            writeln!(self.out, "{}", report.json)
        } else {
            self.out.write_all(report.text.as_bytes())
        };
        match written.and_then(|()| self.out.flush()) {
            Ok(()) => report.code,
            Err(_) => ERROR,
        }
    }

    fn complain(&mut self, error: &VerbError) -> i32 {
        let hint = error.hint();
        let shown = if self.json {
            writeln!(
                self.err,
                "{}",
                serde_json::json!({"error": error.to_string(), "hint": hint})
            )
        } else {
            let hint = hint.map_or_else(String::new, |hint| format!("\n{hint}"));
            writeln!(self.err, "{error}{hint}")
        };
        // Nowhere left to complain to: the code says it.
        shown.map_or(ERROR, |()| ERROR)
    }
}

#[cfg(test)]
mod tests;
