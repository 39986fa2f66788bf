//! Addresses of servers: checked, and brought to one spelling.
//!
//! Two spellings of one address would be two servers to the tier tree.
use std::net::{IpAddr, Ipv6Addr};

/// The one spelling of an address or host name: host names in lower case, IPv6 in
/// its canonical form (as `inet_ntop` gives it). `None` if it is neither.
pub fn normalize(address: &str) -> Option<String> {
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if let Ok(v6) = bare.parse::<Ipv6Addr>() {
        return Some(v6.to_string());
    }
    if let Ok(IpAddr::V4(v4)) = address.parse::<IpAddr>() {
        return Some(v4.to_string());
    }
    is_host_name(address).then(|| address.to_ascii_lowercase())
}

fn is_host_name(name: &str) -> bool {
    if name.is_empty() || name.len() > 255 {
        return false;
    }
    let mut labels = name.strip_suffix('.').unwrap_or(name).split('.');
    // A name that ends in a number is a mistyped address (10.0.0.256).
    if labels
        .clone()
        .next_back()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
    {
        return false;
    }
    labels.all(|label| {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let len = label.len();
        (1..=63).contains(&len)
            && label.bytes().all(legal)
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn one_server_has_one_spelling() {
        for (given, want) in [
            ("127.0.0.1", "127.0.0.1"),
            ("FE80:0::1", "fe80::1"),
            ("[fe80::0:1]", "fe80::1"),
            ("Node-1.Example", "node-1.example"),
        ] {
            assert_eq!(normalize(given).as_deref(), Some(want));
        }
        let mistyped = ["10.0.0.256", "10.0.0.1R10.1.0.1", "10.0.0", "7"];
        for bad in ["", "-a", "a b", "a..b", "[::1", "é", &"a".repeat(64)]
            .iter()
            .chain(&mistyped)
        {
            assert_eq!(normalize(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_name_is_as_long_as_dns_lets_it_be() {
        let label = "a".repeat(63);
        let longest = [label.as_str(); 4].join(".");
        assert_eq!(longest.len(), 255);
        for (name, good) in [
            (label.clone(), true),
            (longest.clone(), true),
            (format!("{longest}."), false),
            (format!("b.{longest}"), false),
            ("node.".to_owned(), true),
            ("node-".to_owned(), false),
            ("-node.b".to_owned(), false),
            ("node_1".to_owned(), false),
            ("7.node".to_owned(), true),
            ("node.7".to_owned(), false),
            (".".to_owned(), false),
        ] {
            assert_eq!(normalize(&name).is_some(), good, "{name}");
        }
    }
}
