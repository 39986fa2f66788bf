//! `virga status`: whether a running cloud is well, why not, and what is being
//! done about it ([`report`]), as text or as JSON; again and again, or until all
//! is well ([`wait`]). The exit code says it too.
mod movement;
mod report;
pub(crate) mod text;
mod wait;

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use virga_node::clock::{Clock, SystemClock};
use virga_node::health::State;
use virga_object_wire::status::ScrubStatus;

use crate::Failure;
use crate::cli;
use crate::control::{self, CloudStatus};
use crate::health::Health;
use text::{bytes, span, table};

/// All is well, also while data moves.
const WELL: u8 = 0;
/// Something is the matter.
const ILL: u8 = 1;

/// Prints the status of every process that runs on the data folder; as JSON,
/// one object for each. The exit code is 0 when all is well and 1 when not.
///
/// # Errors
/// Nobody answers, or no process with the role does (`Usage`: exit code 2, it
/// cannot be told); all is not well in time.
pub fn run(flags: &cli::Status) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let mut ask = || ask(&runtime, flags);
    if flags.watch {
        wait::watch(|| Ok(texts(&ask()?).join("\n")))?;
        return Ok(ExitCode::from(WELL));
    }
    if flags.wait {
        let said = if flags.json { None } else { Some("all is well") };
        wait::wait(flags.timeout.map(Duration::from_secs), said, &mut ask)?;
        if !flags.json {
            return Ok(ExitCode::from(WELL));
        }
    }
    let answers = ask().map_err(cannot_tell)?;
    let texts = match flags.json {
        true => answers
            .iter()
            .map(|status| serde_json::to_string_pretty(status).map_err(|e| e.to_string()))
            .collect::<Result<_, _>>()?,
        false => texts(&answers),
    };
    for text in texts {
        // A reader that has seen enough (`| head`) is no failure.
        match writeln!(std::io::stdout(), "{text}") {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => break,
            written => written.map_err(|e| e.to_string())?,
        }
    }
    Ok(ExitCode::from(code(&answers)))
}

/// Nobody to ask is another exit code than something being the matter.
fn cannot_tell(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(why) | Failure::Usage(why) => Failure::Usage(why),
    }
}

/// Whether any of them says that something is the matter.
fn code(answers: &[CloudStatus]) -> u8 {
    let ill = |health: Health| health >= Health::Degraded;
    match answers.iter().any(|status| ill(status.health.health)) {
        true => ILL,
        false => WELL,
    }
}

/// Every process on the folder, with the role if one is asked for.
fn ask(runtime: &tokio::runtime::Runtime, flags: &cli::Status) -> Result<Vec<CloudStatus>, Failure> {
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
    Ok(answers)
}

fn texts(answers: &[CloudStatus]) -> Vec<String> {
    answers.iter().map(render).collect()
}

fn render(status: &CloudStatus) -> String {
    let bars = std::io::stdout().is_terminal();
    let health = report::render(&status.health, SystemClock.now(), bars);
    let mut sections = vec![health, parts(status).to_string()];
    let tables = [
        (!status.rings.is_empty()).then(|| rings(status)),
        movement::changes(status),
        (!status.nodes.is_empty()).then(|| nodes(status)),
        devices(status),
    ];
    sections.extend(tables.iter().flatten().map(Table::to_string));
    sections.extend(movement::render(status, SystemClock.now()));
    if !status.workers.is_empty() {
        sections.push(workers(status).to_string());
    }
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

fn parts(status: &CloudStatus) -> Table {
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
    parts
}

fn devices(status: &CloudStatus) -> Option<Table> {
    let here = status.devices.iter().map(|device| (String::new(), device));
    let everywhere = status.nodes.iter().flat_map(|node| {
        node.devices
            .iter()
            .map(|device| (format!("{}/", node.node), device))
    });
    let all: Vec<_> = match status.nodes.is_empty() {
        true => here.collect(),
        false => everywhere.collect(),
    };
    if all.is_empty() {
        return None;
    }
    let mut devices = table(&[
        "device",
        "state",
        "free",
        "of",
        "objects",
        "bytes",
        "set aside",
        "scrub",
    ]);
    for (node, d) in all {
        devices.add_row([
            format!("{node}{}", d.device),
            d.state.to_string(),
            bytes(d.free),
            bytes(d.total),
            d.objects.to_string(),
            bytes(d.bytes),
            format!("{} bad, {} stale", d.bad_files, d.stale_files),
            scrub(&d.scrub),
        ]);
    }
    Some(devices)
}

/// "12 of 40 segments; last pass ended 3 h ago, 0 damaged".
fn scrub(scrub: &ScrubStatus) -> String {
    let done = scrub.segments - scrub.left.min(scrub.segments);
    let now = match scrub.began {
        Some(_) => format!(
            "{done} of {} segments, {} damaged; ",
            scrub.segments, scrub.damaged
        ),
        None => String::new(),
    };
    let last = match scrub.pass_ended {
        Some(ended) => {
            let ago = span(SystemClock.now().since(ended));
            format!("last pass ended {ago} ago, {} damaged", scrub.last_damaged)
        }
        None => "no whole pass yet".to_owned(),
    };
    now + &last
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
