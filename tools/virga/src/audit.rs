//! `virga audit`: who did what, and that nobody changed the record of it.
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use virga_identity::AuditQuery;
use virga_node::clock::{Clock, SystemClock};
use virga_state::chain::{self, Check, Link, Verdict};

use crate::Failure;
use crate::cli::identity::{Audit, AuditVerb};
use crate::identity_control::{Client, say, say_json};
use crate::status::text::table;

/// Carries the verb out. The exit code of `verify` says the verdict, too.
///
/// # Errors
/// Nobody answers, it was asked for wrongly, or a file fails.
pub fn run(flags: &Audit) -> Result<ExitCode, Failure> {
    let filters = [
        &flags.since,
        &flags.until,
        &flags.as_of,
        &flags.user,
        &flags.action,
        &flags.kind,
        &flags.id,
    ];
    if flags.verb.is_some() && filters.iter().any(|filter| filter.is_some()) {
        let why = "the whole chain is verified and exported: leave out --since, --user and their like";
        return Err(Failure::Usage(why.to_owned()));
    }
    match &flags.verb {
        None => records(flags),
        Some(AuditVerb::Verify { file, expect }) => {
            let expected = expect.as_deref().map(str::parse::<Link>).transpose();
            let expected = expected.map_err(Failure::Usage)?;
            let verdict = match file {
                Some(file) => verify_file(file, expected)?,
                None => Client::find(&flags.data)?.verify(&expected)?,
            };
            judged(&verdict, flags.json)
        }
        Some(AuditVerb::Export { file }) => {
            let verdict = export(&Client::find(&flags.data)?, file)?;
            match flags.json {
                true => say_json(&json!({"file": file, "entries": verdict.entries, "head": verdict.head}))?,
                false => say(&format!(
                    "{}: {} entries, up to {}\nverify it anywhere with: virga audit verify {}",
                    file.display(),
                    verdict.entries,
                    verdict.head,
                    file.display()
                ))?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn records(flags: &Audit) -> Result<ExitCode, Failure> {
    let query = AuditQuery {
        since: flags.since.clone(),
        until: flags.until.clone(),
        as_of: flags.as_of.clone(),
        user: flags.user.clone(),
        action: flags.action.clone(),
        kind: flags.kind.clone(),
        id: flags.id.clone(),
        marker: None,
        limit: usize::try_from(flags.limit).ok(),
    };
    let found = Client::find(&flags.data)?.records(&query)?;
    match flags.json {
        true => say_json(&found)?,
        false if found.is_empty() => say("nothing")?,
        false => say(&shown(&found))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a record changed, in a few words.
fn changed(record: &Value) -> String {
    let brief = |value: &Value| {
        let text = value.to_string();
        match text.char_indices().nth(120) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    };
    if let Some(reason) = record["reason"].as_str() {
        return reason.to_owned();
    }
    if !record["state"].is_null() {
        return brief(&record["state"]);
    }
    match (&record["before"], &record["after"]) {
        (Value::Null, Value::Null) => String::new(),
        (Value::Null, after) => brief(after),
        (before, Value::Null) => format!("was {}", brief(before)),
        (before, after) => format!("{} (was {})", brief(after), brief(before)),
    }
}

fn shown(records: &[Value]) -> String {
    let mut out = table(&["AT", "WHO", "FROM", "WHAT", "ID", "WHY", "CHANGE"]);
    for record in records {
        let who = match &record["who"]["user_name"] {
            Value::Null => text(&record["actor"]),
            name => text(name),
        };
        let because = record["why"]["because"].as_array().into_iter().flatten();
        let because: Vec<&str> = because.filter_map(Value::as_str).collect();
        let why = match record["why"]["rule"].as_str() {
            Some(rule) => format!("{rule}: {}", because.join(", ")),
            None => String::new(),
        };
        out.add_row(vec![
            text(&record["at"]),
            who,
            text(&record["from"]["address"]),
            format!("{} {}", text(&record["kind"]), text(&record["action"])),
            text(&record["id"]),
            why,
            changed(record),
        ]);
    }
    out.to_string()
}

fn verify_file(file: &Path, expected: Option<Link>) -> Result<Verdict, Failure> {
    let cannot = |why: &dyn std::fmt::Display| Failure::Usage(format!("{}: {why}", file.display()));
    let opened = File::open(file).map_err(|e| cannot(&e))?;
    chain::verify_file(BufReader::new(opened), expected).map_err(|e| cannot(&e))
}

fn judged(verdict: &Verdict, json: bool) -> Result<ExitCode, Failure> {
    match (json, &verdict.broken) {
        (true, _) => say_json(verdict)?,
        (false, None) => say(&format!(
            "whole: {} entries after {}, up to\n  {}\nnote this head elsewhere: `virga audit verify --expect` tells later that nothing before it was changed",
            verdict.entries, verdict.anchor.sequence, verdict.head
        ))?,
        (false, Some(broken)) => say(&format!(
            "NOT WHOLE: {broken}\n{} entries before it are good",
            verdict.entries
        ))?,
    }
    Ok(match verdict.is_intact() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

/// Writes the chain as it is now into a new file.
fn export(client: &Client, file: &Path) -> Result<Verdict, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("{}: {why}", file.display()));
    let ends = client.ends()?;
    let made = OpenOptions::new().write(true).create_new(true).open(file);
    let mut out = BufWriter::new(made.map_err(|e| failed(&e))?);
    let now = i64::try_from(SystemClock.now().0).unwrap_or(i64::MAX);
    let mut line = |text: &str| chain::write_line(&mut out, text).map_err(|e| failed(&e));
    line(&chain::file_begin(&ends.anchor, now))?;
    let mut check = Check::new(ends.anchor.clone());
    while check.reached().sequence < ends.head.sequence {
        let page = client.entries(check.reached().sequence)?;
        if page.is_empty() {
            break;
        }
        for entry in page.iter().take_while(|e| e.sequence <= ends.head.sequence) {
            if let Err(broken) = check.see(entry) {
                return Err(failed(&format!(
                    "{broken}; if old entries were dropped meanwhile, remove the file and export again"
                )));
            }
            line(&chain::shown(entry).to_string())?;
        }
    }
    let verdict = check.finish(&ends.head);
    if let Some(broken) = &verdict.broken {
        return Err(failed(broken));
    }
    line(&chain::file_end(&verdict.head, verdict.entries))?;
    let file_of = out.into_inner().map_err(|e| failed(&e.error()))?;
    file_of.sync_all().map_err(|e| failed(&e))?;
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line_that_says_who_what_and_why() {
        let record = json!({
            "at": "2026-11-22T15:00:00.000000Z", "actor": "u", "who": {"user_name": "admin"}, "kind": "user",
            "action": "updated", "id": "x", "from": {"address": "10.0.0.1"},
            "why": {"rule": "identity:update_user", "because": ["role:admin"]},
            "before": {"enabled": true}, "after": {"enabled": false},
        });
        let failed = json!({"at": "t", "kind": "sign-in", "action": "failed", "id": "", "actor": null,
            "reason": "wrong user or password"});
        let text = shown(&[record, failed]);
        for says in [
            "admin",
            "10.0.0.1",
            "user updated",
            "identity:update_user: role:admin",
            "{\"enabled\":false} (was {\"enabled\":true})",
            "wrong user or password",
        ] {
            assert!(text.contains(says), "{says} is not in:\n{text}");
        }
    }
}
