//! `virga status`: the state of a running cloud as a table or as JSON.
use std::io::{ErrorKind, Write};

use comfy_table::{Table, presets};
use virga_node::health::State;

use crate::Failure;
use crate::cli;
use crate::control::{self, CloudStatus};

/// Prints the status of every process that runs on the data folder; as JSON,
/// one object for each.
///
/// # Errors
/// Nobody answers, or no process with the role does.
pub fn run(flags: &cli::Status) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let (mut answers, mut silent) = (Vec::new(), None);
    for socket in control::sockets(&flags.data)? {
        match runtime.block_on(control::ask(&socket)) {
            Ok(status) => answers.push(status),
            Err(why) => silent = Some(why),
        }
    }
    if let Some(role) = &flags.role {
        answers.retain(|status| status.roles.contains(role));
    }
    if answers.is_empty() {
        let data = flags.data.display();
        return Err(Failure::Failed(silent.unwrap_or_else(|| {
            format!("{data}: nothing of a cloud runs on this folder; start one with: virga up --data {data}")
        })));
    }
    for status in answers {
        let text = match flags.json {
            true => serde_json::to_string_pretty(&status).map_err(|e| e.to_string())?,
            false => render(&status),
        };
        // A reader that has seen enough (`| head`) is no failure.
        match writeln!(std::io::stdout(), "{text}") {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => break,
            written => written.map_err(|e| e.to_string())?,
        }
    }
    Ok(())
}

fn render(status: &CloudStatus) -> String {
    let mut parts = table(&["part", "state", "reason"]);
    for (name, state) in &status.parts {
        let (word, reason) = match state {
            State::Starting => ("starting", ""),
            State::Ready => ("ready", ""),
            State::Degraded(reason) => ("degraded", reason.as_str()),
            State::Failed(reason) => ("failed", reason.as_str()),
        };
        parts.add_row([name, word, reason]);
    }
    let mut devices = table(&["device", "state", "free", "of", "objects", "set aside"]);
    for d in &status.devices {
        devices.add_row([
            d.device.clone(),
            d.state.clone(),
            bytes(d.free),
            bytes(d.total),
            d.objects.to_string(),
            d.quarantined.to_string(),
        ]);
    }
    let mut sections = vec![parts];
    if !status.rings.is_empty() {
        sections.push(rings(status));
    }
    if !status.ring_changes.is_empty() {
        sections.push(ring_changes(status));
    }
    if !status.nodes.is_empty() {
        sections.push(nodes(status));
    }
    if !status.devices.is_empty() {
        sections.push(devices);
    }
    if !status.workers.is_empty() {
        sections.push(workers(status));
    }
    let sections: Vec<String> = sections.iter().map(Table::to_string).collect();
    let trouble = status
        .devices_error
        .as_ref()
        .map(|e| format!("\ndevices cannot be asked: {e}"));
    let mut text = format!(
        "virga {} (process {}: {})\n",
        status.version,
        status.pid,
        status.roles.join(", ")
    );
    let urls = [
        ("front door  ", &status.front_door),
        ("object store", &status.object_store),
    ];
    for (what, url) in urls {
        text.extend(url.as_ref().map(|url| format!("  {what}  {url}\n")));
    }
    format!(
        "{text}\n{}{}\n",
        sections.join("\n\n"),
        trouble.unwrap_or_default()
    )
}

fn rings(status: &CloudStatus) -> Table {
    let mut rings = table(&["ring", "version", "replicas", "partitions", "devices"]);
    for r in &status.rings {
        rings.add_row([
            r.ring.clone(),
            r.version.to_string(),
            r.replicas.to_string(),
            r.partitions.to_string(),
            r.devices.to_string(),
        ]);
    }
    rings
}

fn ring_changes(status: &CloudStatus) -> Table {
    let mut changes = table(&["ring change", "to version", "devices done", "of", "waits for"]);
    for c in &status.ring_changes {
        changes.add_row([
            c.ring.clone(),
            c.version.to_string(),
            c.done.to_string(),
            c.devices.to_string(),
            c.waiting.join("\n"),
        ]);
    }
    changes
}

fn nodes(status: &CloudStatus) -> Table {
    let mut nodes = table(&["object server", "state", "reason"]);
    for n in &status.nodes {
        let state = match n.trouble {
            None => "answers",
            Some(_) => "away",
        };
        nodes.add_row([
            n.node.clone(),
            state.to_owned(),
            n.trouble.clone().unwrap_or_default(),
        ]);
    }
    nodes
}

fn workers(status: &CloudStatus) -> Table {
    let mut workers = table(&["worker", "device", "looks", "done", "left", "last trouble"]);
    for w in &status.workers {
        workers.add_row([
            w.worker.clone(),
            w.device.clone(),
            w.rounds.to_string(),
            w.done.to_string(),
            w.left.to_string(),
            w.last_error.clone().unwrap_or_default(),
        ]);
    }
    workers
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Bytes for people: "1.5 GiB".
fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_shown_in_binary_units() {
        assert_eq!(
            (bytes(5), bytes(1536), bytes(1 << 40)),
            ("5 B".into(), "1.5 KiB".into(), "1.0 TiB".into())
        );
    }
}
