//! The network of a lab: a switch (a bridge in the harness's own namespace) and
//! a cable to each host's namespace, which can be cut, in one direction or
//! both, and slowed.
use super::sh;

/// The first three numbers of all addresses.
pub const SUBNET: &str = "10.77.0";
/// What a slowed cable carries: enough to go on, little enough to queue.
const SLOW: [&str; 7] = ["tbf", "rate", "3mbit", "burst", "16kb", "latency", "400ms"];

/// The switch with its hosts.
#[derive(Debug)]
pub struct Net {
    hosts: Vec<String>,
}

impl Net {
    /// A switch, and a host for each of the last numbers of their addresses.
    pub fn new(hosts: &[usize]) -> Self {
        sh(&["ip", "link", "add", "switch", "type", "bridge"]);
        sh(&["ip", "addr", "add", &format!("{SUBNET}.254/24"), "dev", "switch"]);
        sh(&["ip", "link", "set", "switch", "up"]);
        let address = |last: &usize| format!("{SUBNET}.{last}");
        let net = Self {
            hosts: hosts.iter().map(address).collect(),
        };
        net.hosts.iter().for_each(|host| net.plug(host));
        net
    }

    fn plug(&self, host: &str) {
        let port = port(host);
        sh(&["ip", "netns", "add", host]);
        sh(&[
            "ip", "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", host,
        ]);
        sh(&["ip", "link", "set", &port, "master", "switch", "up"]);
        sh(&[
            "ip",
            "-n",
            host,
            "addr",
            "add",
            &format!("{host}/24"),
            "dev",
            "eth0",
        ]);
        sh(&["ip", "-n", host, "link", "set", "eth0", "up"]);
        sh(&["ip", "-n", host, "link", "set", "lo", "up"]);
        // What comes from one of these addresses is not heard.
        nft(host, "add table inet lab");
        nft(host, "add set inet lab deaf { type ipv4_addr ; }");
        nft(
            host,
            "add chain inet lab in { type filter hook input priority 0 ; }",
        );
        nft(host, "add rule inet lab in ip saddr @deaf drop");
    }

    /// `to` hears nothing more of `from`, which does not notice by itself.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        nft(to, &format!("add element inet lab deaf {{ {from} }}"));
    }

    /// Neither hears the other.
    pub fn cut(&self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Nobody hears the host, and it hears nobody.
    pub fn isolate(&self, host: &str) {
        let others = self.hosts.iter().filter(|other| *other != host);
        others.for_each(|other| self.cut(host, other));
    }

    /// The cables of a host are slow, in both directions.
    pub fn slow(&self, host: &str) {
        sh(&[&["tc", "qdisc", "replace", "dev", &port(host), "root"], &SLOW[..]].concat());
        sh(&[
            &["tc", "-n", host, "qdisc", "replace", "dev", "eth0", "root"],
            &SLOW[..],
        ]
        .concat());
    }

    /// The cables of a host are as fast as ever.
    pub fn quicken(&self, host: &str) {
        sh(&["tc", "qdisc", "del", "dev", &port(host), "root"]);
        sh(&["tc", "-n", host, "qdisc", "del", "dev", "eth0", "root"]);
    }

    /// Everybody hears everybody again.
    pub fn heal(&self) {
        self.hosts
            .iter()
            .for_each(|host| nft(host, "flush set inet lab deaf"));
    }
}

/// The switch's end of a host's cable.
fn port(host: &str) -> String {
    let last = host.rsplit('.').next().unwrap_or_default();
    format!("port{last}")
}

fn nft(host: &str, rule: &str) {
    let enter = format!("--net=/run/netns/{host}");
    sh(&["nsenter", &enter, "nft", rule]);
}
