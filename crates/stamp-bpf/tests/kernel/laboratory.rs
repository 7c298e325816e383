//! Two hosts that a cable joins, with the programs at its ends.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use net_sys::tcx::{Hook, Order, TcxLink};
use stamp_bpf::{Knobs, LinkLayer, LocalAddress, PortUse, Program, Sizes, Tables};
use stamp_proto::reflector::{Policy, Refusal};
use stamp_proto::timestamp::Format;
use testkit::{Device, Namespace, Veth};

use crate::twin::publish;

/// How long a test waits for what is certain to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Cable {
    pub(crate) near: Host,
    pub(crate) far: Host,
}

pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    pub(crate) device: Device,
    pub(crate) addresses: [&'static str; 2],
}

/// The programs at the device of a host, for as long as this lives.
pub(crate) struct Hooked {
    pub(crate) tables: Tables,
    pub(crate) links: [TcxLink; 2],
}

impl Cable {
    pub(crate) fn new() -> Self {
        let [near, far] = ["near", "far"].map(|name| Namespace::create(name).unwrap());
        let veth = Veth::join((near.place(), "near0"), (far.place(), "far0")).unwrap();
        let near = Host::new(near, veth.near, ["10.7.0.2", "fd07::2"]);
        let far = Host::new(far, veth.far, ["10.7.0.1", "fd07::1"]);
        for host in [&near, &far] {
            host.device.ready(PATIENCE).unwrap();
        }
        Self { near, far }
    }
}

impl Host {
    fn new(namespace: Namespace, device: Device, addresses: [&'static str; 2]) -> Self {
        for (address, len) in addresses.iter().zip([24, 64]) {
            device.address(format!("{address}/{len}").parse().unwrap()).unwrap();
        }
        Self { namespace, device, addresses }
    }

    pub(crate) fn local(&self) -> Vec<LocalAddress> {
        let ifindex = self.device.index().unwrap();
        let local = |address: &&str| LocalAddress {
            ifindex,
            address: address.parse().unwrap(),
            member: None,
            loopback: false,
            mac: self.mac(),
        };
        self.addresses.iter().map(local).collect()
    }

    fn mac(&self) -> Option<[u8; 6]> {
        let octets = self.device.mac().unwrap()?;
        let octets = octets.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap());
        octets.collect::<Vec<_>>().try_into().ok()
    }

    /// Attaches a program in front of tc, in the driver of the device.
    pub(crate) fn attach_in_front(&self, program: &Program) -> OwnedFd {
        let ifindex = self.device.index().unwrap();
        self.namespace.run(|| attach_xdp(program.xdp().unwrap(), ifindex)).unwrap()
    }

    /// Attaches the programs, with port 862 for what `port` says.
    pub(crate) fn hook(&self, policy: &Policy, port: PortUse) -> Hooked {
        let tables = Tables::create(Sizes::default()).unwrap();
        let all = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap());
        tables.set_prefixes(&all, &[], &[]).unwrap();
        tables.set_ports(&BTreeMap::from([(862, port)])).unwrap();
        tables.set_addresses(&self.local()).unwrap();
        tables.set_keys(&policy.keys).unwrap();
        publish(&tables, u64::MAX);
        let links = self.attach(&tables, policy);
        Hooked { tables, links }
    }

    pub(crate) fn attach(&self, tables: &Tables, policy: &Policy) -> [TcxLink; 2] {
        let program = Program::load(tables, &Knobs::new(policy, Format::Ntp)).unwrap();
        let ifindex = self.device.index().unwrap();
        let ethernet = LinkLayer::Ethernet;
        let ends =
            [(program.ingress(ethernet), Hook::Ingress), (program.egress(ethernet), Hook::Egress)];
        let attach = || ends.map(|(fd, hook)| TcxLink::attach(fd, ifindex, hook, Order::First));
        self.namespace.run(attach).unwrap().map(Result::unwrap)
    }

    pub(crate) fn reflect(&self, policy: &Policy) -> Hooked {
        self.hook(policy, PortUse { reflector: true, ..PortUse::default() })
    }

    /// Whether sums are left to the device, and believed from it.
    pub(crate) fn offload(&self, on: bool) {
        let state = if on { "on" } else { "off" };
        let ethtool = self.namespace.command("ethtool");
        let ethtool = ethtool.args(["-K", self.device.name(), "tx", state, "rx", state]);
        ethtool.succeed(PATIENCE).unwrap();
    }

    /// A socket on an address of ours that waits for an answer no longer than it must.
    pub(crate) fn socket(&self, family: usize, port: u16) -> UdpSocket {
        self.socket_at(SocketAddr::new(self.addresses[family].parse().unwrap(), port))
    }

    pub(crate) fn socket_at(&self, address: SocketAddr) -> UdpSocket {
        let socket = self.namespace.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Where its reflector listens.
    pub(crate) fn reach(&self, family: usize) -> SocketAddr {
        SocketAddr::new(self.addresses[family].parse().unwrap(), 862)
    }
}

impl Hooked {
    /// What was refused, for whoever wonders why nothing came.
    pub(crate) fn refused(&self) -> Vec<(&'static str, u64)> {
        let counted = Refusal::ALL.map(|why| (why.reason(), self.tables.refused(why).unwrap()));
        counted.into_iter().filter(|&(_, count)| count > 0).collect()
    }
}

/// All four ways of two hosts to compute sums or leave that to their device.
pub(crate) const OFFLOADS: [(bool, bool); 4] =
    [(true, true), (true, false), (false, true), (false, false)];

fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32) -> OwnedFd {
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        flags: 1 << 2, // XDP_FLAGS_DRV_MODE
        ..Default::default()
    };
    let (program, device) = (program.as_raw_fd(), ifindex as i32);
    // SAFETY: the call reads one record of options, which is live and as large as it says.
    let link = unsafe {
        libbpf_sys::bpf_link_create(program, device, libbpf_sys::BPF_XDP, &raw const options)
    };
    assert!(link >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was made by the call above, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(link) }
}

/// Has the kernel send datagrams without a sum, as IPv4 allows.
pub(crate) fn without_sum(socket: &UdpSocket) {
    let one: libc::c_int = 1;
    // SAFETY: the option is a number, and the pointer is to a live one of this size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const one).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
