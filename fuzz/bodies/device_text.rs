//! Any text as the value of `add`, `search` and `set_info`.

use virga_ring::builder::Builder;

use super::device_text::{Search, parse_add, parse_info, show};

/// Panics if a parser does, or if a device that was added is not found by the text it is shown as.
pub fn chew(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = parse_info(text);
    let search = Search::parse(text);
    let Ok((_, new)) = parse_add(text, 1.0) else {
        return;
    };
    let mut builder = Builder::create(1, 1.0, 0).expect("a sound builder");
    let Ok(id) = builder.add(new) else { return };
    let device = builder.device(id).expect("the device just added");
    // A search knows addresses only, no host names; what follows a name's first underscore is its meta text.
    let addresses = [&device.ip, &device.replication_ip];
    let plain = addresses.iter().all(|ip| ip.parse::<std::net::IpAddr>().is_ok());
    if plain && let Ok(search) = search {
        assert!(search.matches(device), "{text:?} does not find {device:?}");
    }
    if plain && !device.device.contains('_') {
        // Shown in quotes, searched for without them.
        let shown = show(device);
        let quoted = format!("\"{}\"", device.meta);
        let shown = shown.strip_suffix(&quoted).expect("the meta text comes last");
        let shown = &format!("{shown}{}", device.meta);
        let search = Search::parse(shown);
        let search = search.unwrap_or_else(|error| panic!("{shown:?}: {error}"));
        assert!(search.matches(device), "{shown:?} does not find {device:?}");
    }
}
