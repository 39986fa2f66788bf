//! Where one name lives and how to look there: what swift-get-nodes says.
use std::path::PathBuf;

use serde_json::{Value, json};
use virga_ring::{Device, NameHash, Partition, Ring, file};

use crate::cli::Nodes;
use crate::device_text::bracket;
use crate::report::{Report, VerbError};
use crate::secrets::SwiftConf;
use crate::store::Files;

/// What is asked about.
struct Target {
    account: Option<String>,
    container: Option<String>,
    object: Option<String>,
}

/// The ring asked, by what it holds.
struct Place {
    ring: PathBuf,
    /// `objects-1`, `containers`: the folder on a device, as Swift lays it out.
    folder: String,
    policy: Option<u32>,
    /// The name does not go with the ring.
    warning: Option<&'static str>,
    /// A `swift.conf` to take the secrets from.
    conf: Option<PathBuf>,
}

pub(super) fn nodes(files: &Files, options: &Nodes) -> Result<Report, VerbError> {
    let target = Target::read(options)?;
    let place = Place::find(files, options, &target)?;
    let ring = file::load(&place.ring)?;
    let hash = match (&target.account, options.partition) {
        (Some(account), None) => {
            let secrets = options.secrets.path(place.conf.as_deref())?;
            Some(secrets.hash(account, target.container.as_deref(), target.object.as_deref()))
        }
        _ => None,
    };
    let part = match (options.partition, &hash) {
        (Some(part), _) => Partition(part),
        (None, Some(hash)) => ring.partition(hash),
        (None, None) => return Err(no_target()),
    };
    if u64::from(part.0) >= ring.partition_count() {
        return Err(VerbError::usage(
            format!("the ring has no partition {part}"),
            format!("it has 0 to {}", ring.partition_count() - 1),
        ));
    }
    let primaries: Vec<&Device> = ring.primaries(part).map(|(_, device)| device).collect();
    let count = if options.all { usize::MAX } else { primaries.len() };
    let handoffs: Vec<&Device> = ring
        .handoffs(part)
        .take(count)
        .map(|(_, device)| device)
        .collect();
    let found = Found {
        ring: &ring,
        part,
        hash,
        target: &target,
        place: &place,
        primaries,
        handoffs,
    };
    Ok(Report::done(found.text(), found.json()))
}

fn no_target() -> VerbError {
    VerbError::usage(
        "No target specified",
        "give ACCOUNT [CONTAINER [OBJECT]] or -p PARTITION",
    )
}

impl Target {
    fn read(options: &Nodes) -> Result<Self, VerbError> {
        let mut names = options.names.clone();
        if options.quoted {
            for name in &mut names {
                *name = unquote(name)?;
            }
        }
        if let [whole] = names.as_slice() {
            names = whole
                .trim_matches('/')
                .splitn(3, '/')
                .map(str::to_owned)
                .collect();
        }
        if names.len() > 3 {
            return Err(VerbError::usage(
                "Invalid arguments: more than account, container and object",
                "quote names with spaces",
            ));
        }
        let mut names = names.into_iter().map(|name| (!name.is_empty()).then_some(name));
        let mut next = || names.next().flatten();
        let it = Self {
            account: next(),
            container: next(),
            object: next(),
        };
        if it.account.is_none() && options.partition.is_none() {
            return Err(no_target());
        }
        if it.object.is_some() && it.container.is_none() {
            return Err(VerbError::usage(
                "No container specified",
                "an object lies in a container",
            ));
        }
        Ok(it)
    }

    fn name(&self) -> Option<String> {
        let parts = [&self.account, &self.container, &self.object];
        let given: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        (!given.is_empty()).then(|| given.join("/"))
    }
}

impl Place {
    fn find(files: &Files, options: &Nodes, target: &Target) -> Result<Self, VerbError> {
        let folder = &files.builder;
        if !folder.is_dir() {
            if options.policy_name.is_some() {
                return Err(VerbError::usage(
                    format!("{} is no folder", folder.display()),
                    "with --policy-name, FILE is the folder that holds the rings and swift.conf",
                ));
            }
            let file = files.ring.file_name().unwrap_or_default().to_string_lossy();
            let stem = file.strip_suffix(".ring.gz").unwrap_or(&file);
            return Ok(Self::of(files.ring.clone(), stem, target));
        }
        let conf = folder.join("swift.conf");
        let stem = match (&options.policy_name, target) {
            (Some(name), _) => {
                let Some(index) = SwiftConf::read(&conf)?.policy(name) else {
                    return Err(VerbError::usage(
                        format!("No policy named {name:?}"),
                        format!(
                            "the policies are the sections [storage-policy:N] of {}",
                            conf.display()
                        ),
                    ));
                };
                match index {
                    0 => "object".to_owned(),
                    index => format!("object-{index}"),
                }
            }
            (None, Target { object: Some(_), .. }) => "object".to_owned(),
            (
                None,
                Target {
                    container: Some(_), ..
                },
            ) => "container".to_owned(),
            (None, Target { account: Some(_), .. }) => "account".to_owned(),
            (None, _) => {
                return Err(VerbError::usage(
                    "a partition of which ring?",
                    "name the ring file, or a storage policy with -P",
                ));
            }
        };
        let mut it = Self::of(folder.join(format!("{stem}.ring.gz")), &stem, target);
        if options.policy_name.is_some() {
            it.policy = Some(policy_of(&stem).unwrap_or(0));
        }
        it.conf = Some(conf);
        Ok(it)
    }

    /// The folder on a device follows from the name asked about and the ring's name.
    fn of(ring: PathBuf, stem: &str, target: &Target) -> Self {
        let policy = policy_of(stem);
        let objects = policy.map_or_else(|| "objects".to_owned(), |policy| format!("objects-{policy}"));
        let (folder, warning) = match target {
            Target { object: Some(_), .. } => (objects, None),
            Target {
                container: Some(_), ..
            } => (
                "containers".to_owned(),
                (stem != "container")
                    .then_some("WARNING: account/container specified but ring not named \"container\""),
            ),
            Target { account: Some(_), .. } => (
                "accounts".to_owned(),
                (stem != "account").then_some("WARNING: account specified but ring not named \"account\""),
            ),
            _ if policy.is_some() => (objects, None),
            _ => (format!("{stem}s"), None),
        };
        Self {
            ring,
            folder,
            // Of a mere partition nobody knows that it is one of objects.
            policy: policy.filter(|_| target.object.is_some()),
            warning,
            conf: None,
        }
    }
}

/// The storage policy of `object-N`.
fn policy_of(stem: &str) -> Option<u32> {
    stem.strip_prefix("object-")?.parse().ok()
}

struct Found<'a> {
    ring: &'a Ring,
    part: Partition,
    hash: Option<NameHash>,
    target: &'a Target,
    place: &'a Place,
    primaries: Vec<&'a Device>,
    handoffs: Vec<&'a Device>,
}

impl Found<'_> {
    /// `objects/5743883/0d1/<hash>`, or down to the partition only.
    fn path(&self) -> String {
        let (folder, part) = (&self.place.folder, self.part);
        match self.hash.map(|hash| hash.to_string()) {
            Some(hash) => format!("{folder}/{part}/{}/{hash}", &hash[29..]),
            None => format!("{folder}/{part}"),
        }
    }

    fn curl(&self, device: &Device) -> String {
        let mut line = format!(
            "curl -g -I -XHEAD \"http://{}:{}/{}/{}/{}\"",
            bracket(&device.ip),
            device.port,
            device.device,
            self.part,
            quote(self.target.name().as_deref().unwrap_or("None"))
        );
        if let Some(policy) = self.place.policy {
            line += &format!(" -H \"X-Backend-Storage-Policy-Index: {policy}\"");
        }
        line + " --path-as-is"
    }

    fn ssh(&self, device: &Device) -> String {
        format!(
            "ssh {} \"ls -lah ${{DEVICE:-/srv/node*}}/{}/{}\"",
            device.ip,
            device.device,
            self.path()
        )
    }

    fn text(&self) -> String {
        let hash = self
            .hash
            .map_or_else(|| "None".to_owned(), |hash| hash.to_string());
        let mut text = self
            .place
            .warning
            .map_or_else(String::new, |warning| format!("{warning}\n"));
        if let Some(account) = &self.target.account {
            text += &format!("\nAccount  \t{}\n", quote(account));
        }
        if let Some(container) = &self.target.container {
            text += &format!("Container\t{}\n", quote(container));
        }
        if let Some(object) = &self.target.object {
            text += &format!("Object   \t{}\n\n\n", quote(object));
        }
        text += &format!("Partition\t{}\nHash     \t{hash}\n\n", self.part);
        let server = |device: &Device| {
            format!(
                "Server:Port Device\t{}:{} {}",
                device.ip, device.port, device.device
            )
        };
        self.lines(&mut text, server, "\t [Handoff]");
        text += "\n\n";
        self.lines(&mut text, |device| self.curl(device), " # [Handoff]");
        text += "\n\nUse your own device location of servers:\nsuch as \"export DEVICE=/srv/node\"\n";
        self.lines(&mut text, |device| self.ssh(device), " # [Handoff]");
        text += "\nnote: `/srv/node*` is used as default value of `devices`, the real value is set in the config file on each storage node.\n";
        text += "note: the curl and ssh lines are for servers of Swift. Virga's keep objects in the segment log of the device, found by partition and hash, and listings in its index: no file carries the name.\n";
        text
    }

    fn lines(&self, text: &mut String, line: impl Fn(&Device) -> String, handoff: &str) {
        for device in &self.primaries {
            *text += &format!("{}\n", line(device));
        }
        for device in &self.handoffs {
            *text += &format!("{}{handoff}\n", line(device));
        }
    }

    fn json(&self) -> Value {
        let node = |device: &&Device| {
            json!({
                "id": device.id, "region": device.region, "zone": device.zone, "ip": device.ip, "port": device.port,
                "device": device.device, "curl": self.curl(device), "ssh": self.ssh(device),
            })
        };
        json!({
            "ring": self.place.ring, "ring_version": self.ring.version(), "name": self.target.name(), "partition": self.part,
            "hash": self.hash.map(|hash| hash.to_string()), "path": self.path(),
            "primaries": self.primaries.iter().map(node).collect::<Vec<_>>(),
            "handoffs": self.handoffs.iter().map(node).collect::<Vec<_>>(),
        })
    }
}

/// Percent-encodes all but letters, digits and `_.-~/`, as Python's `quote` does.
fn quote(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// Undoes percent-encoding; what is no escape stays.
fn unquote(name: &str) -> Result<String, VerbError> {
    let bytes = name.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let value = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out)
        .map_err(|_| VerbError::usage(format!("{name:?} is not UTF-8 when unquoted"), "names are UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_pythons_and_unquoting_undoes_it() {
        assert_eq!(quote("a/c d/\u{e9}%~"), "a/c%20d/%C3%A9%25~");
        assert_eq!(unquote("a%20b%C3%A9%zz%").unwrap(), "a b\u{e9}%zz%");
        assert!(unquote("%ff").is_err());
    }
}
