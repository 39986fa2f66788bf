//! `virga admin`: what an operator does to devices of a running cloud.
//!
//! Talks to a process on this host through the control socket of its data
//! folder, as `virga status` does: whoever may open the folder may give orders.
//! The process passes them to the device's host by the node protocol, with the
//! cluster's secret, which this program does not read.
mod show;

use std::io::{ErrorKind, Write};
use std::path::Path;

use virga_object_wire::admin::{AdminAnswer, AdminRequest, Keep, KeptFile, Wanted};
use virga_object_wire::status::DeviceStatus;

use crate::Failure;
use crate::cli::{Admin, AdminVerb, DeviceVerb, KeptVerb, NowVerb, ScrubVerb};
use crate::control::{self, AdminCall, CloudStatus};
use crate::fsck::{self, FsckCall};

/// Files asked for at a time.
const PAGE: u32 = 500;
/// Most files listed in all; there may be more.
const MOST: usize = 20_000;

/// A device as the cloud names it.
struct Found {
    /// Address of its host; empty when the process is the whole cloud.
    node: String,
    status: DeviceStatus,
}

impl Found {
    fn shown(&self) -> String {
        match self.node.is_empty() {
            true => self.status.device.clone(),
            false => format!("{}/{}", self.node, self.status.device),
        }
    }
}

/// A running cloud, seen from one of its processes.
struct Cloud {
    runtime: tokio::runtime::Runtime,
    socket: std::path::PathBuf,
    status: CloudStatus,
    json: bool,
}

/// Does what was typed.
///
/// # Errors
/// Nobody answers, there is no such device, or it cannot be done: why.
pub fn run(flags: &Admin) -> Result<(), Failure> {
    let cloud = Cloud::open(&flags.data, flags.json)?;
    match &flags.verb {
        AdminVerb::Device { verb } => cloud.device(verb),
        AdminVerb::Reconcile {
            verb: NowVerb::Now { device },
        } => cloud.each(device.as_deref(), &AdminRequest::Reconcile),
        AdminVerb::Scrub {
            verb: ScrubVerb::Now { device },
        } => cloud.each(device.as_deref(), &AdminRequest::Scrub),
        AdminVerb::Scrub {
            verb: ScrubVerb::Status { device },
        } => {
            let devices = cloud.wanted(device.as_deref())?;
            cloud.say(&show::scrubs(&devices), || show::scrubs_json(&devices))
        }
        AdminVerb::Quarantine { verb } => cloud.kept(Keep::Quarantine, verb),
        AdminVerb::Stale { verb } => cloud.kept(Keep::Stale, verb),
        AdminVerb::Owed { device } => cloud.owed(device.as_deref()),
        AdminVerb::Fsck { account, repair } => {
            let call = FsckCall {
                account: account.clone(),
                repair: *repair,
            };
            let check = fsck::ask::check(&cloud.socket, &call, cloud.json);
            cloud.runtime.block_on(check)
        }
    }
}

impl Cloud {
    fn open(data: &Path, json: bool) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let mut silent = None;
        for socket in control::sockets(data)? {
            match runtime.block_on(control::ask(&socket)) {
                // One that only serves identity knows no devices.
                Ok(status) if !status.devices.is_empty() || !status.nodes.is_empty() => {
                    return Ok(Self {
                        runtime,
                        socket,
                        status,
                        json,
                    });
                }
                Ok(_) => {}
                Err(why) => silent = Some(why),
            }
        }
        let data = data.display();
        Err(Failure::Failed(silent.unwrap_or_else(|| {
            format!("{data}: nothing that knows of devices runs on this folder: name that of a proxy or an object server with --data")
        })))
    }

    fn all(&self) -> Vec<Found> {
        if self.status.nodes.is_empty() {
            let here = self.status.devices.iter();
            return here
                .map(|status| Found {
                    node: String::new(),
                    status: status.clone(),
                })
                .collect();
        }
        let nodes = self.status.nodes.iter();
        nodes
            .flat_map(|node| {
                node.devices.iter().map(|status| Found {
                    node: node.node.clone(),
                    status: status.clone(),
                })
            })
            .collect()
    }

    /// All devices, or the one that is meant.
    fn wanted(&self, name: Option<&str>) -> Result<Vec<Found>, Failure> {
        match name {
            None => Ok(self.all()),
            Some(name) => self.one(name).map(|found| vec![found]),
        }
    }

    fn one(&self, name: &str) -> Result<Found, Failure> {
        let all = self.all();
        let known: Vec<String> = all.iter().map(Found::shown).collect();
        // On one machine a device is also found under the address of its rings.
        let named = |found: &Found| {
            let last = name.rsplit('/').next().unwrap_or(name);
            found.shown() == name
                || found.status.device == name
                || (found.node.is_empty() && found.status.device == last)
        };
        let mut meant: Vec<Found> = all.into_iter().filter(named).collect();
        if let Some(exact) = meant.iter().position(|found| found.shown() == name) {
            return Ok(meant.swap_remove(exact));
        }
        match (meant.pop(), meant.is_empty()) {
            (Some(found), true) => Ok(found),
            (Some(_), false) => Err(Failure::Usage(format!(
                "{name} is on several hosts: say which: {}",
                known.join(", ")
            ))),
            (None, _) => {
                let away: Vec<&str> = self
                    .status
                    .nodes
                    .iter()
                    .filter(|node| node.trouble.is_some())
                    .map(|node| node.node.as_str())
                    .collect();
                let away = match away.is_empty() {
                    true => String::new(),
                    false => format!("; these hosts do not answer: {}", away.join(", ")),
                };
                Err(Failure::Usage(format!(
                    "no device {name}; there are: {}{away}",
                    known.join(", ")
                )))
            }
        }
    }

    fn ask(&self, found: &Found, request: AdminRequest) -> Result<AdminAnswer, Failure> {
        let call = AdminCall {
            node: found.node.clone(),
            device: found.status.device.clone(),
            request,
        };
        let answer = self.runtime.block_on(control::admin(&self.socket, &call));
        answer.map_err(|why| Failure::Failed(format!("{}: {why}", found.shown())))
    }

    /// The same for one device or all of them.
    fn each(&self, name: Option<&str>, request: &AdminRequest) -> Result<(), Failure> {
        let devices = self.wanted(name)?;
        for device in &devices {
            self.ask(device, request.clone())?;
        }
        let names: Vec<String> = devices.iter().map(Found::shown).collect();
        self.say(
            &format!("begun on {}; see how far: virga status", names.join(", ")),
            || serde_json::json!({ "begun": names }),
        )
    }

    fn device(&self, verb: &DeviceVerb) -> Result<(), Failure> {
        let (name, wanted, note) = match verb {
            DeviceVerb::List => {
                let all = self.all();
                return self.say(&show::devices(&all), || show::devices_json(&all));
            }
            DeviceVerb::Show { device } => {
                let found = [self.one(device)?];
                return self.say(&show::device(&found[0]), || show::devices_json(&found));
            }
            DeviceVerb::Drain { device, note } => (device, Wanted::Draining, note.clone()),
            DeviceVerb::ReadOnly { device, note } => (device, Wanted::ReadOnly, note.clone()),
            DeviceVerb::Undrain { device } | DeviceVerb::Active { device } => {
                (device, Wanted::Active, String::new())
            }
        };
        let found = self.one(name)?;
        self.ask(&found, AdminRequest::Order { wanted, note })?;
        let shown = found.shown();
        let said = match wanted {
            Wanted::Draining => format!(
                "{shown} takes no writes any more and gives what it holds to others; see how far: virga status --watch"
            ),
            Wanted::ReadOnly => format!("{shown} takes no writes any more"),
            Wanted::Active => format!("{shown} takes writes again and is brought what it missed"),
        };
        self.say(&said, || serde_json::json!({ "device": shown, "wanted": wanted }))
    }

    fn kept(&self, keep: Keep, verb: &KeptVerb) -> Result<(), Failure> {
        match verb {
            KeptVerb::List { device } => {
                let mut all = Vec::new();
                for found in self.wanted(device.as_deref())? {
                    let files = self.files(&found, keep)?;
                    all.extend(files.into_iter().map(|file| (found.shown(), file)));
                }
                self.say(&show::files(&all), || show::files_json(&all))
            }
            KeptVerb::Show { device, name } => {
                let found = self.one(device)?;
                let name = name.clone();
                let AdminAnswer::Shown { line, bytes } =
                    self.ask(&found, AdminRequest::Show { keep, name })?
                else {
                    return Err(unexpected());
                };
                self.say(
                    &show::shown(&line, &bytes),
                    || serde_json::json!({ "line": line, "bytes": hex::encode(&bytes) }),
                )
            }
            KeptVerb::Purge { device, names, all } => {
                let found = self.one(device)?;
                let names = match all {
                    true => self
                        .files(&found, keep)?
                        .into_iter()
                        .map(|file| file.name)
                        .collect(),
                    false => names.clone(),
                };
                for name in &names {
                    let name = name.clone();
                    self.ask(&found, AdminRequest::Purge { keep, name })?;
                }
                self.say(
                    &format!("{} removed from {}", names.len(), found.shown()),
                    || serde_json::json!({ "device": found.shown(), "removed": names }),
                )
            }
        }
    }

    fn files(&self, found: &Found, keep: Keep) -> Result<Vec<KeptFile>, Failure> {
        let mut all: Vec<KeptFile> = Vec::new();
        loop {
            let after = all.last().map_or_else(String::new, |file| file.name.clone());
            let request = AdminRequest::Files {
                keep,
                after,
                limit: PAGE,
            };
            let AdminAnswer::Files(page) = self.ask(found, request)? else {
                return Err(unexpected());
            };
            let more = page.len() == PAGE as usize;
            all.extend(page);
            if !more || all.len() >= MOST {
                return Ok(all);
            }
        }
    }

    fn owed(&self, name: Option<&str>) -> Result<(), Failure> {
        let mut all = Vec::new();
        for found in self.wanted(name)? {
            let AdminAnswer::Owed(rows) = self.ask(&found, AdminRequest::Owed)? else {
                return Err(unexpected());
            };
            all.extend(rows.into_iter().map(|row| (found.shown(), row)));
        }
        self.say(&show::owed(&all), || show::owed_json(&all))
    }

    fn say(&self, text: &str, json: impl Fn() -> serde_json::Value) -> Result<(), Failure> {
        let text = match self.json {
            true => serde_json::to_string_pretty(&json()).map_err(|e| e.to_string())?,
            false => text.to_owned(),
        };
        // A reader that has seen enough (`| head`) is no failure.
        match writeln!(std::io::stdout(), "{text}") {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::Failed(e.to_string())),
            _ => Ok(()),
        }
    }
}

fn unexpected() -> Failure {
    Failure::Failed("the host answered something else: is it another version of virga?".to_owned())
}
