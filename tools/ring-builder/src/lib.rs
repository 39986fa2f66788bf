//! The verbs of `virga ring FILE VERB ...`: library and text output.
//!
//! Same verbs, arguments and exit codes as swift-ring-builder (0 done,
//! 1 warning or nothing to do, 2 error), plus `lookup`, `plan`, `diff`,
//! `bound` and `durability`, and `--json` everywhere. Called by the `virga` binary; placement
//! itself is `virga-ring`.
mod cli;
mod device_text;
mod report;
mod select;
mod store;
mod verbs;

use std::ffi::OsString;
use std::io::{self, BufRead, Write};

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
    run_with(args, &SystemClock, &mut io::stdin().lock(), out, err)
}

/// The clap command, for a binary that lists it in its own help.
pub fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}

/// [`run`] with clock and answers given.
pub fn run_with(
    args: Vec<OsString>,
    clock: &dyn Clock,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    let words = std::iter::once(OsString::from("virga ring")).chain(args);
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = !error.use_stderr();
            let text = error.render();
            let written = if asked {
                write!(out, "{text}")
            } else {
                write!(err, "{text}")
            };
            return if asked && written.is_ok() { DONE } else { ERROR };
        }
    };
    let json = arguments.json;
    let mut session = Session {
        now: clock.now().as_secs(),
        json,
        input,
        out,
        err,
    };
    match session.perform(arguments) {
        Ok(report) => session.show(&report),
        Err(error) => session.complain(&error),
    }
}

/// One call: its streams and its time.
struct Session<'a> {
    /// Unix seconds.
    now: u64,
    json: bool,
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl Session<'_> {
    fn perform(&mut self, arguments: Arguments) -> Result<Report, VerbError> {
        let files = Files::of(&arguments.file);
        let verb = arguments.verb.unwrap_or(Verb::Show);
        if !verb.reads_ring() && files.builder != arguments.file {
            self.note(&format!(
                "Note: using {} instead of {} as builder file",
                files.builder.display(),
                arguments.file.display()
            ))?;
        }
        let _lock = if verb.writes() { Some(files.lock()?) } else { None };
        verbs::perform(self, &files, verb)
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
        let shown = if self.json {
            writeln!(self.err, "{}", serde_json::json!({"error": error.to_string()}))
        } else {
            writeln!(self.err, "{error}")
        };
        // Nowhere left to complain to: the code says it.
        shown.map_or(ERROR, |()| ERROR)
    }
}

#[cfg(test)]
mod tests;
