//! A device without a link header, whose frames are ours to write and to read.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use net_sys::tcx::{Hook, Order, TcxLink};
use stamp_bpf::{Knobs, LinkLayer, LocalAddress, PortUse, Program, Sizes, Tables};
use stamp_proto::packet::{Mode, Shape};
use stamp_proto::timestamp::Format;
use testkit::proc::wait_for;
use testkit::{Device, Namespace};

use crate::frames::Datagram;
use crate::laboratory::PATIENCE;
use crate::twin::{open_request, publish, unlimited};

/// `struct ifreq` with flags in its union.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Opens a tun device of the calling thread's namespace, which is there from now on.
fn open_device(name: &str) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .unwrap();
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    let mut request = Request { name: [0; 16], flags, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the call reads and writes one request, which is live and as large as it says.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    file
}

fn attach(tables: &Tables, ifindex: u32) -> TcxLink {
    let program = Program::load(tables, &Knobs::new(&unlimited(), Format::Ntp)).unwrap();
    TcxLink::attach(program.ingress(LinkLayer::None), ifindex, Hook::Ingress, Order::First).unwrap()
}

/// What leaves by the device from the reflector's port.
fn reply(file: &mut File, datagram: &Datagram) -> Option<Vec<u8>> {
    let mut octets = [0; 2000];
    let len = file.read(&mut octets).ok()?;
    let at = datagram.payload_at();
    let ours = octets[at - 8..at - 6] == 862_u16.to_be_bytes() && len >= at;
    ours.then(|| octets[..len].to_vec())
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_device_without_a_link_header_answers_by_itself() {
    let namespace = Namespace::create("bare").unwrap();
    let mut file = namespace.run(|| open_device("bare0")).unwrap();
    let device = Device::named(namespace.place(), "bare0");
    device.up().unwrap();
    let addresses = [("10.0.0.1", 24), ("fd00::1", 64)];
    for (address, len) in addresses {
        device.address(format!("{address}/{len}").parse().unwrap()).unwrap();
    }
    let tables = Tables::create(Sizes::default()).unwrap();
    let all = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap());
    tables.set_prefixes(&all, &[], &[]).unwrap();
    let port = PortUse { reflector: true, ..PortUse::default() };
    tables.set_ports(&[(862, port)].into_iter().collect()).unwrap();
    let ifindex = device.index().unwrap();
    let local = addresses.map(|(address, _)| LocalAddress {
        ifindex,
        address: address.parse().unwrap(),
        member: None,
        loopback: false,
        mac: None,
    });
    tables.set_addresses(&local).unwrap();
    publish(&tables, u64::MAX);
    let link = namespace.run(|| attach(&tables, ifindex)).unwrap();
    for datagram in [Datagram::v4(&open_request(3, 42)), Datagram::v6(&open_request(3, 42))] {
        let datagram = Datagram { link: false, ..datagram };
        file.write_all(&datagram.frame()).unwrap();
        let frame = wait_for("the reply", PATIENCE, || reply(&mut file, &datagram)).unwrap();
        let payload = datagram.payload_of(&frame);
        assert_eq!(Shape::of(Mode::Open, payload), Shape::Reply);
        let at = datagram.payload_at();
        let sum = [frame[at - 2], frame[at - 1]];
        assert_eq!(frame, datagram.answered_by(payload, 46 << 2, sum));
        assert!(datagram.is_sum_right(&frame));
    }
    drop(link);
}
