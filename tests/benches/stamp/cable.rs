//! Two namespaces and the link between them, on which nothing is sent but what is measured.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use fathom_tests::binary::SOON;
use fathom_tests::site::silent;
use fathom_tests::stamp::PORT;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};
use testkit::topology::Cidr;
use testkit::{Device, Namespace, Place, Veth};

/// A sender's end and a reflector's end; dropping it removes both.
pub(crate) struct Cable {
    pub(crate) near: Namespace,
    pub(crate) far: Namespace,
    pub(crate) veth: Veth,
    /// Keeps the kernel stamping packets where they enter a link, whoever is measured: it
    /// stamps there as long as any socket of the machine asks for it, else later.
    _stamping: OwnedFd,
}

impl Cable {
    /// Lays it, with `more` addresses at the far end.
    pub(crate) fn lay(more: u16) -> Self {
        let (near, far) = (silent("sender"), silent("reflector"));
        let veth = Veth::join((near.place(), "eth0"), (far.place(), "eth0")).unwrap();
        veth.near.address(Cidr::new(NEAR, 30).unwrap()).unwrap();
        veth.far.address(Cidr::new(FAR, 30).unwrap()).unwrap();
        for (from, to, address) in [(&veth.near, &veth.far, FAR), (&veth.far, &veth.near, NEAR)] {
            let mac = to.mac().unwrap().unwrap();
            from.neighbour(address, &mac).unwrap();
            from.ready(SOON).unwrap();
        }
        crowd(&near, &veth.far, more);
        Self { near, far, veth, _stamping: stamping() }
    }

    /// Drops what `filter` says as soon as the stack of `place` has it.
    pub(crate) fn sink(place: &Place, filter: &str) {
        let rules = format!(
            "table inet sink {{\n chain sink {{\n type filter hook input priority 0\n \
             udp {filter} {PORT} drop\n }}\n}}\n"
        );
        place.command("nft").args(["-f", "-"]).input(rules).succeed(SOON).unwrap();
    }

    /// Ends a [`Self::sink`].
    pub(crate) fn unblock(place: &Place) {
        place.command("nft").args(["delete", "table", "inet", "sink"]).succeed(SOON).unwrap();
    }
}

/// The `number`th of the many addresses.
pub(crate) fn one_of(number: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(CROWD) + u32::from(number) + 1)
}

fn crowd(near: &Namespace, far: &Device, more: u16) {
    if more == 0 {
        return;
    }
    let line = |number| format!("address add {}/32 dev {}\n", one_of(number), far.name());
    let batch: String = (0..more).map(line).collect();
    let command = far.place().command("ip").args(["-batch", "-"]).input(batch);
    command.succeed(SOON).unwrap();
    near.route(Cidr::new(CROWD, 22).unwrap(), FAR).unwrap();
}

fn stamping() -> OwnedFd {
    let none = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, none, None).unwrap();
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).unwrap();
    socket
}

pub(crate) const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
pub(crate) const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));
const CROWD: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);
