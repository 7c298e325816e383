//! Bytes and packets of connections as the kernel's connection tracking accounts for them.

use std::net::IpAddr;
use std::str::FromStr;

use super::{Amount, TruthError};
use crate::namespace::{COMMAND_DEADLINE, Place};

/// Connection tracking with accounting in one namespace.
#[derive(Debug, Clone)]
pub struct Conntrack {
    place: Place,
}

impl Conntrack {
    /// Switches tracking and accounting on, for connections that begin afterwards.
    pub fn enable(place: &Place) -> Result<Self, TruthError> {
        // The kernel only tracks where a rule asks for it.
        let nft = place.command("nft").args(["-f", "-"]).input(RULES);
        nft.succeed(COMMAND_DEADLINE)?;
        place.set_sysctl("net/netfilter/nf_conntrack_acct", "1")?;
        Ok(Self { place: place.clone() })
    }

    /// All connections of both families.
    pub fn connections(&self) -> Result<Vec<Connection>, TruthError> {
        let mut all = self.list("ipv4")?;
        all.append(&mut self.list("ipv6")?);
        Ok(all)
    }

    fn list(&self, family: &str) -> Result<Vec<Connection>, TruthError> {
        let list = self.place.command("conntrack").args(["-L", "-f", family]);
        let answer = list.succeed(COMMAND_DEADLINE)?.text();
        answer.lines().filter(|line| !line.trim().is_empty()).map(str::parse).collect()
    }
}

/// One tracked connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// Protocol number of the IP header.
    pub protocol: u8,
    /// The direction that began.
    pub original: Way,
    /// The other one.
    pub reply: Way,
}

/// One direction of a connection.
///
/// Bytes are those of IP packets, without the link header. Unlike an interface it sees what TCP
/// hands down as one buffer as one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Way {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port, if the protocol has ports.
    pub source_port: Option<u16>,
    /// Destination port, if the protocol has ports.
    pub destination_port: Option<u16>,
    /// What passed; absent for a connection that began before accounting was on.
    pub amount: Option<Amount>,
}

impl FromStr for Connection {
    type Err = TruthError;

    fn from_str(line: &str) -> Result<Self, TruthError> {
        parse(line).ok_or_else(|| TruthError::Form { program: "conntrack", line: line.to_owned() })
    }
}

fn parse(line: &str) -> Option<Connection> {
    let protocol = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let pairs: Vec<_> =
        line.split_ascii_whitespace().filter_map(|word| word.split_once('=')).collect();
    let reply_at = pairs.iter().rposition(|(name, _)| *name == "src")?;
    let (original, reply) = pairs.split_at_checked(reply_at)?;
    Some(Connection { protocol, original: way(original)?, reply: way(reply)? })
}

fn way(pairs: &[(&str, &str)]) -> Option<Way> {
    let value = |wanted| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let number = |wanted| value(wanted).and_then(|text| text.parse::<u64>().ok());
    Some(Way {
        source: value("src")?.parse().ok()?,
        destination: value("dst")?.parse().ok()?,
        source_port: value("sport").and_then(|port| port.parse().ok()),
        destination_port: value("dport").and_then(|port| port.parse().ok()),
        amount: number("packets").zip(number("bytes")).map(|(p, b)| Amount::new(p, b)),
    })
}

const RULES: &str = "\
table inet fathom_truth {
    chain tracked {
        type filter hook prerouting priority 0; policy accept;
        ct state new accept
    }
    chain sent {
        type filter hook output priority 0; policy accept;
        ct state new accept
    }
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_told_apart() {
        let line = "tcp      6 117 TIME_WAIT src=10.0.0.1 dst=10.0.0.2 sport=4000 dport=80 \
            packets=6 bytes=400 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=4000 packets=5 \
            bytes=9000 [ASSURED] mark=0 use=1";
        let connection: Connection = line.parse().unwrap();
        assert_eq!(connection.protocol, 6);
        assert_eq!(connection.original.destination_port, Some(80));
        assert_eq!(connection.original.amount, Some(Amount::new(6, 400)));
        assert_eq!(connection.reply.amount, Some(Amount::new(5, 9000)));
    }

    #[test]
    fn an_unanswered_connection_without_accounting_has_no_amount() {
        let line = "udp      17 29 src=fd00::1 dst=fd00::2 sport=5 dport=53 [UNREPLIED] \
            src=fd00::2 dst=fd00::1 sport=53 dport=5 mark=0 use=1";
        let connection: Connection = line.parse().unwrap();
        assert_eq!((connection.original.amount, connection.reply.amount), (None, None));
    }

    #[test]
    fn a_protocol_without_ports_has_none() {
        let line = "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 packets=1 bytes=84 \
            src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=7 packets=1 bytes=84 mark=0 use=1";
        assert_eq!(line.parse::<Connection>().unwrap().original.source_port, None);
    }

    #[test]
    fn nonsense_is_quoted_back() {
        let error = "tcp six src".parse::<Connection>().unwrap_err();
        assert!(error.to_string().contains("`tcp six src`"), "{error}");
    }
}
