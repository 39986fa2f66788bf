//! `virga status`: the state of a running cloud as a table or as JSON.
use comfy_table::{Table, presets};
use virga_node::health::State;

use crate::cli;
use crate::control::{self, CloudStatus};

/// Prints the status of the cloud in the data folder.
///
/// # Errors
/// A sentence for the person who asked.
pub fn run(flags: &cli::Status) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let status = runtime.block_on(control::ask(&flags.data.join("control.sock")))?;
    if flags.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&status).map_err(|e| e.to_string())?
        );
    } else {
        println!("{}", render(&status));
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
    let trouble = status
        .devices_error
        .as_ref()
        .map(|e| format!("\ndevices cannot be asked: {e}"));
    format!(
        "virga {} (process {})\n  front door    {}\n  object store  {}\n\n{parts}\n\n{devices}{}",
        status.version,
        status.pid,
        status.front_door,
        status.object_store,
        trouble.unwrap_or_default()
    )
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
