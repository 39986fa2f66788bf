//! Devices as text: how they are shown, added and searched for.
//!
//! The forms are swift-ring-builder's: `r1z2-10.0.0.1:6200R10.1.0.1:6300/sda_meta`,
//! for searches with `d7` in front and every part optional.
use virga_ring::Device;
use virga_ring::builder::address;
use virga_ring::builder::{DeviceInfo, NewDevice};

/// Text that is no device.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ParseDeviceError {
    #[error("Invalid add value: {0} (want [r<region>]z<zone>-<ip>:<port>[R<ip>:<port>]/<device>[_<meta>])")]
    Add(String),
    #[error(
        "Invalid <search-value>: '{0}' (want d<id>r<region>z<zone>-<ip>:<port>R<ip>:<port>/<device>_<meta>, any part of it)"
    )]
    Search(String),
    #[error(
        "Invalid set info change value: '{0}' (want <ip>:<port>[R<ip>:<port>]/<device>_<meta>, any part of it)"
    )]
    Change(String),
    #[error("{0:?} is neither an IP address nor a host name")]
    Address(String),
    #[error("{0:?} is not a number from 0 to {1}")]
    Number(String, u64),
}

/// `d0r1z2-10.0.0.1:6200R10.0.0.1:6200/sda_"meta"`.
pub(crate) fn show(device: &Device) -> String {
    format!(
        "d{}r{}z{}-{}:{}R{}:{}/{}_\"{}\"",
        device.id,
        device.region,
        device.zone,
        bracket(&device.ip),
        device.port,
        bracket(&device.replication_ip),
        device.replication_port,
        device.device,
        device.meta
    )
}

/// IPv6 addresses in brackets.
pub(crate) fn bracket(ip: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    }
}

/// What a device must be like; `None` is anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Search {
    pub(crate) id: Option<u32>,
    pub(crate) region: Option<u32>,
    pub(crate) zone: Option<u32>,
    pub(crate) ip: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) replication_ip: Option<String>,
    pub(crate) replication_port: Option<u16>,
    pub(crate) device: Option<String>,
    pub(crate) weight: Option<f64>,
    /// A part of the meta text.
    pub(crate) meta: Option<String>,
}

impl Search {
    pub(crate) fn matches(&self, device: &Device) -> bool {
        fn is<T: PartialEq>(want: &Option<T>, have: &T) -> bool {
            want.as_ref().is_none_or(|want| want == have)
        }
        let same_ip = |want: &Option<String>, have: &str| {
            want.is_none() || *want == address::normalize(have).or_else(|| Some(have.to_owned()))
        };
        is(&self.id, &device.id.0)
            && is(&self.region, &device.region)
            && is(&self.zone, &device.zone)
            && same_ip(&self.ip, &device.ip)
            && is(&self.port, &device.port)
            && same_ip(&self.replication_ip, &device.replication_ip)
            && is(&self.replication_port, &device.replication_port)
            && is(&self.device, &device.device)
            && is(&self.weight, &device.weight)
            && self
                .meta
                .as_ref()
                .is_none_or(|part| device.meta.contains(part.as_str()))
    }

    /// Reads a search value.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseDeviceError> {
        let mut rest = Rest(text);
        let mut it = Self {
            id: rest.tagged_number('d')?,
            region: rest.tagged_number('r')?,
            zone: rest.tagged_number('z')?,
            ..Self::default()
        };
        rest.skip('-');
        (it.ip, it.port) = rest.address()?;
        if rest.skip('R') {
            (it.replication_ip, it.replication_port) = rest.address()?;
        }
        it.device = rest.name();
        it.meta = rest.meta();
        if text.is_empty() || !rest.0.is_empty() {
            return Err(ParseDeviceError::Search(text.to_owned()));
        }
        Ok(it)
    }
}

/// Reads an add value. The region is `None` if the text gives none.
pub(crate) fn parse_add(text: &str, weight: f64) -> Result<(Option<u32>, NewDevice), ParseDeviceError> {
    let wrong = || ParseDeviceError::Add(text.to_owned());
    let mut rest = Rest(text);
    let region = rest.tagged_number('r')?;
    let zone = rest.tagged_number('z')?.ok_or_else(wrong)?;
    if !rest.skip('-') {
        return Err(wrong());
    }
    let (ip, port) = rest.host_and_port().ok_or_else(wrong)??;
    let (mut replication_ip, mut replication_port) = (None, None);
    if rest.skip('R') {
        let (ip, port) = rest.host_and_port().ok_or_else(wrong)??;
        (replication_ip, replication_port) = (Some(ip), Some(port));
    }
    let device = rest.name().ok_or_else(wrong)?;
    let meta = rest.meta().unwrap_or_default();
    if !rest.0.is_empty() {
        return Err(wrong());
    }
    let region_or_first = region.unwrap_or(1);
    let new = NewDevice {
        region: region_or_first,
        zone,
        ip,
        port,
        replication_ip,
        replication_port,
        device,
        weight,
        meta,
    };
    Ok((region, new))
}

/// Reads what `set_info` is to change.
pub(crate) fn parse_info(text: &str) -> Result<DeviceInfo, ParseDeviceError> {
    let mut rest = Rest(text);
    let mut info = DeviceInfo::default();
    (info.ip, info.port) = rest.address()?;
    if rest.skip('R') {
        (info.replication_ip, info.replication_port) = rest.address()?;
    }
    info.device = rest.name();
    info.meta = rest.meta();
    if !rest.0.is_empty() || info == DeviceInfo::default() {
        return Err(ParseDeviceError::Change(text.to_owned()));
    }
    Ok(info)
}

/// What is still to be read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, tag: char) -> bool {
        self.0.strip_prefix(tag).map(|rest| self.0 = rest).is_some()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !wanted(c)).unwrap_or(self.0.len());
        let (head, tail) = self.0.split_at(end);
        self.0 = tail;
        head
    }

    /// A number after its letter; nothing if the letter is not there.
    fn tagged_number(&mut self, tag: char) -> Result<Option<u32>, ParseDeviceError> {
        if !self.skip(tag) {
            return Ok(None);
        }
        let digits = self.take_while(|c| c.is_ascii_digit());
        let number = digits.parse();
        number
            .map(Some)
            .map_err(|_| ParseDeviceError::Number(digits.to_owned(), u32::MAX.into()))
    }

    /// `ip`, `[ip]`, `:port` or both; each optional.
    fn address(&mut self) -> Result<(Option<String>, Option<u16>), ParseDeviceError> {
        let ip = if self.0.starts_with('[') {
            let inside = self.take_while(|c| c != ']');
            self.skip(']');
            Some(inside.trim_start_matches('['))
        } else if self.0.starts_with(|c: char| c.is_ascii_digit()) {
            Some(self.take_while(|c| c.is_ascii_digit() || c == '.'))
        } else {
            None
        };
        // Addresses only: a host name cannot be told from what follows it.
        let spelled = |ip: &str| match ip.parse::<std::net::IpAddr>() {
            Ok(ip) => Ok(ip.to_string()),
            Err(_) => Err(ParseDeviceError::Address(ip.to_owned())),
        };
        let ip = ip.map(spelled).transpose()?;
        let port = if self.skip(':') {
            Some(port(self.take_while(|c| c.is_ascii_digit()))?)
        } else {
            None
        };
        Ok((ip, port))
    }

    /// `host:port` up to `R` or `/`; the host may be a name or bracketed.
    fn host_and_port(&mut self) -> Option<Result<(String, u16), ParseDeviceError>> {
        let host = if self.0.starts_with('[') {
            let inside = self.take_while(|c| c != ']');
            self.skip(']').then(|| inside.trim_start_matches('['))?
        } else {
            self.take_while(|c| c != ':' && c != '/')
        };
        if !self.skip(':') || host.is_empty() {
            return None;
        }
        Some(port(self.take_while(|c| c.is_ascii_digit())).map(|port| (host.to_owned(), port)))
    }

    /// `/device` up to an underscore.
    fn name(&mut self) -> Option<String> {
        self.skip('/').then(|| self.take_while(|c| c != '_').to_owned())
    }

    /// `_meta` to the end; quotes around it as the tool itself prints them stay out.
    fn meta(&mut self) -> Option<String> {
        self.skip('_').then(|| self.take_while(|_| true).to_owned())
    }
}

fn port(digits: &str) -> Result<u16, ParseDeviceError> {
    digits
        .parse()
        .map_err(|_| ParseDeviceError::Number(digits.to_owned(), u16::MAX.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_add_value_gives_every_field() {
        let (region, new) = parse_add("r3z2-[FE80::1]:6200R10.1.0.1:6300/sda_a_b", 7.5).unwrap();
        assert_eq!(region, Some(3));
        assert_eq!((new.zone, new.ip.as_str(), new.port), (2, "FE80::1", 6200));
        assert_eq!(
            (new.replication_ip.as_deref(), new.replication_port),
            (Some("10.1.0.1"), Some(6300))
        );
        assert_eq!(
            (new.device.as_str(), new.meta.as_str(), new.weight),
            ("sda", "a_b", 7.5)
        );
        let (region, new) = parse_add("z1-node:1/sdb", 1.0).unwrap();
        assert_eq!((region, new.region, new.ip.as_str()), (None, 1, "node"));
    }

    #[test]
    fn a_broken_add_value_is_an_error() {
        for bad in [
            "",
            "r1",
            "z1",
            "z1-",
            "z1-h/sda",
            "z1-h:1",
            "z1-h:x/sda",
            "z1-h:70000/s",
            "z-h:1/s",
            "z1-[::1:1/s",
            "r99999999999z1-h:1/s",
        ] {
            assert!(parse_add(bad, 1.0).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_search_value_matches_by_every_part_it_has() {
        let (_, new) = parse_add("r3z2-10.0.0.1:6200/sda_shiny disk", 1.0).unwrap();
        let mut builder = virga_ring::builder::Builder::create(4, 1.0, 0).unwrap();
        let id = builder.add(new).unwrap();
        let device = builder.device(id).unwrap();
        for yes in [
            "d0",
            "r3",
            "z2",
            "r3z2",
            "10.0.0.1",
            "z2-10.0.0.1",
            ":6200",
            "R10.0.0.1",
            "R:6200",
            "/sda",
            "_shiny",
            "d0r3z2-10.0.0.1:6200R10.0.0.1:6200/sda_shiny disk",
        ] {
            assert!(Search::parse(yes).unwrap().matches(device), "{yes}");
        }
        for no in ["d1", "r2", "z1", "10.0.0.2", ":1", "/sdb", "_dull"] {
            assert!(!Search::parse(no).unwrap().matches(device), "{no}");
        }
        for bad in ["", "x", "d", "r1x", "10.0.0", ":99999"] {
            assert!(Search::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            show(device),
            "d0r3z2-10.0.0.1:6200R10.0.0.1:6200/sda_\"shiny disk\""
        );
    }
}
