//! Who is at the other end of a connection, and from where a request comes.
//!
//! The two differ when a balancer stands before us. What it says of its clients
//! (`X-Forwarded-For`) is believed of the addresses that the operator names,
//! and of nobody else: anybody can write a header.
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

/// The other end of a connection; an extension of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether the connection is inside TLS.
    pub secure: bool,
}

/// From where a request comes, as far as can be known; an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(pub IpAddr);

/// An address, or a network in CIDR notation: "10.0.0.0/8".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// What is no network.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no address and no network: write 10.0.0.1, 10.0.0.0/8 or fd00::/8")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    /// Whether `address` lies in it.
    pub fn holds(&self, address: IpAddr) -> bool {
        // As numbers of 128 bits, IPv4 at the top.
        let number = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
            IpAddr::V6(ip) => u128::from(ip),
        };
        let address = plain(address);
        if address.is_ipv4() != self.address.is_ipv4() {
            return false;
        }
        // Shifted out as a whole, nothing is compared.
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        (number(address) ^ number(self.address)) & mask == 0
    }
}

/// An IPv4 address that came over an IPv6 socket, as what it is.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

impl Source {
    /// From where a request of `peer` comes: from the peer, or, if that is one
    /// of the `trusted`, from the last address of `X-Forwarded-For` that is not.
    pub fn of_request(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let mut source = plain(peer);
        let lines = headers.get_all("x-forwarded-for");
        let named: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .collect();
        for name in named.into_iter().rev() {
            if !trusted.iter().any(|network| network.holds(source)) {
                break;
            }
            // Some write the port too. What is no address ends what is known.
            let address = name.parse().ok();
            let address = address.or_else(|| name.parse::<SocketAddr>().ok().map(|a| a.ip()));
            let Some(address) = address else { break };
            source = plain(address);
        }
        Self(source)
    }

    /// What a limit counts as one: an IPv4 address, or the network of an IPv6
    /// one, since whoever has one address of it has all 2^64.
    pub fn whole(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) >> 64 << 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(peer: &str, forwarded: &[&'static str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<Network> = trusted.iter().map(|n| n.parse().unwrap()).collect();
        Source::of_request(peer.parse().unwrap(), &headers, &trusted)
            .0
            .to_string()
    }

    #[test]
    fn a_forwarded_address_is_believed_of_trusted_proxies_only() {
        assert_eq!(source("9.9.9.9", &["1.1.1.1"], &[]), "9.9.9.9");
        assert_eq!(source("9.9.9.9", &["1.1.1.1"], &["10.0.0.0/8"]), "9.9.9.9");
        assert_eq!(source("10.1.2.3", &["1.1.1.1"], &["10.0.0.0/8"]), "1.1.1.1");
        assert_eq!(source("10.1.2.3", &[], &["10.0.0.0/8"]), "10.1.2.3");
    }

    #[test]
    fn what_the_client_itself_wrote_is_passed_over() {
        // The client invented 8.8.8.8; the outer proxy added the client.
        let said = ["8.8.8.8, 1.1.1.1", "10.0.0.7:4711"];
        assert_eq!(source("10.0.0.9", &said, &["10.0.0.0/24"]), "1.1.1.1");
        assert_eq!(
            source("10.0.0.9", &["1.1.1.1, junk"], &["10.0.0.0/24"]),
            "10.0.0.9"
        );
    }

    #[test]
    fn networks_of_both_kinds_hold_what_they_should() {
        let holds = |network: &str, ip: &str| {
            let network: Network = network.parse().unwrap();
            network.holds(ip.parse().unwrap())
        };
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("192.168.4.0/22", "192.168.7.255") && !holds("192.168.4.0/22", "192.168.8.0"));
        assert!(holds("10.0.0.1", "10.0.0.1") && !holds("10.0.0.1", "10.0.0.2"));
        assert!(holds("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(holds("fd00::/8", "fdff::1") && !holds("fd00::/8", "fe00::1"));
        for wrong in ["", "10.0.0.0/33", "fd00::/129", "ten", "10.0.0.0/x"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let whole = |ip: &str| Source(ip.parse().unwrap()).whole().to_string();
        assert_eq!(whole("fd00:1:2:3:4:5:6:7"), whole("fd00:1:2:3::1"));
        assert_ne!(whole("fd00:1:2:3::1"), whole("fd00:1:2:4::1"));
        assert_eq!(whole("10.0.0.1"), "10.0.0.1");
    }
}
