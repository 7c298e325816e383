//! What a test run can't show: packets whose octets lie outside the linear part, devices
//! without a link header, frames cut off inside the IP header, buffers of 64 KiB.
//!
//! A tun or tap device in a namespace of its own takes octets from us and hands them to
//! the program as any driver does.

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
};

use flow_bpf::{LinkLayer, Scope};
use flow_model::flow::{Counts, Direction, Parity};

use crate::{
    frames::{
        self, ARP, CTAG, Extension, GRE, ICMP, ICMPV6, IPV4, IPV6, MORE4, SYN, TCP, TEB, UDP, V4,
        ethernet, gre, ipv4, ipv6, ipv6_chain, tagged, udp, vxlan,
    },
    lab::{Lab, SLOT, sizes},
    parser::Bench,
    reference,
};

/// A device of ours with the program at its ingress.
struct Device {
    file: File,
    link_layer: LinkLayer,
    _hook: OwnedFd,
}

/// How the kernel is told to lay out and to cut a packet (`struct virtio_net_hdr`).
#[derive(Debug, Clone, Copy, Default)]
struct Layout {
    gso_type: u8,
    /// Octets of the linear part, where the packet is longer than a page.
    linear: u16,
    gso_size: u16,
    checksum_start: u16,
}

const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// The older kind: the datagram stays one and becomes IP fragments.
const GSO_UDP_FRAGMENTS: u8 = 3;

impl Layout {
    fn octets(self) -> Vec<u8> {
        let udp = matches!(self.gso_type, GSO_UDP | GSO_UDP_FRAGMENTS);
        let checksum_offset = if udp { 6_u16 } else { 16 };
        let needs_checksum = u8::from(self.gso_type != 0);
        let mut octets = vec![needs_checksum, self.gso_type];
        for field in [self.linear, self.gso_size, self.checksum_start, checksum_offset] {
            octets.extend(field.to_ne_bytes());
        }
        octets
    }
}

impl Device {
    fn send(&mut self, octets: &[u8], layout: Layout) {
        let packet = [layout.octets(), octets.to_vec()].concat();
        assert_eq!(self.file.write(&packet).unwrap(), packet.len(), "the device takes it whole");
    }

    /// Sends a packet and tells as how many frames and octets it was counted.
    fn counted(&mut self, bench: &mut Bench, octets: &[u8], layout: Layout) -> Counts {
        let mut wire = || bench.lab.totals(Parity::Even, SLOT)[Direction::Rx as usize].wire;
        let before = wire();
        self.send(octets, layout);
        let after = wire();
        Counts { packets: after.packets - before.packets, bytes: after.bytes - before.bytes }
    }

    /// Sends a packet and holds what was counted to the reference.
    fn check(&mut self, bench: &mut Bench, octets: &[u8], layout: Layout) {
        let packet = match self.link_layer {
            LinkLayer::Ethernet => reference::ethernet(octets),
            _ if octets[0] >> 4 == 4 => reference::bare(octets, IPV4),
            _ => reference::bare(octets, IPV6),
        };
        let segments = (layout.gso_size.into(), 0);
        bench.compare(octets, &packet, segments, |_| self.send(octets, layout));
    }
}

/// Runs a test with a device in a namespace that ends with it.
fn with_device(link_layer: LinkLayer, test: impl FnOnce(&mut Device, &mut Bench) + Send) {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            // SAFETY: only this thread changes its namespace, and it ends with the test.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(unshared, 0, "{}", std::io::Error::last_os_error());
            let lab = Lab::with(sizes(), Scope::Single { slot: SLOT, link_layer });
            let file = open_device(link_layer);
            let hook = attach(&lab, Direction::Rx, libbpf_sys::BPF_TCX_INGRESS);
            let mut device = Device { file, link_layer, _hook: hook };
            test(&mut device, &mut Bench::on(lab, Direction::Rx));
        });
        if let Err(panic) = run.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

const NAME: &std::ffi::CStr = c"probe0";

/// `struct ifreq` with flags in its union.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

impl Request {
    fn new(flags: i32) -> Self {
        let mut name = [0; 16];
        name[..NAME.count_bytes()].copy_from_slice(NAME.to_bytes());
        Self { name, flags: flags as i16, rest: [0; 22] }
    }
}

fn open_device(link_layer: LinkLayer) -> File {
    let kind = if link_layer == LinkLayer::Ethernet { libc::IFF_TAP } else { libc::IFF_TUN };
    let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    let request = Request::new(kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR);
    // SAFETY: the request is a whole `struct ifreq` that outlives the call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());

    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let up = Request::new(libc::IFF_UP);
    // SAFETY: as above.
    let raised = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const up) };
    assert_eq!(raised, 0, "{}", std::io::Error::last_os_error());
    file
}

fn attach(lab: &Lab, direction: Direction, hook: libbpf_sys::bpf_attach_type) -> OwnedFd {
    // SAFETY: the name is terminated and outlives the call.
    let ifindex = unsafe { libc::if_nametoindex(NAME.as_ptr()) };
    let program = lab.program.fd(direction).unwrap().as_raw_fd();
    // SAFETY: takes descriptors and numbers only.
    let link = unsafe {
        libbpf_sys::bpf_link_create(program, ifindex.cast_signed(), hook, std::ptr::null())
    };
    assert!(link >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a descriptor that was just made has no other owner.
    unsafe { OwnedFd::from_raw_fd(link) }
}

/// Packets longer than a page, so that only `linear` octets of them are.
fn long_packets() -> Vec<(u16, Vec<u8>)> {
    let body = frames::body(6000);
    let tcp = frames::tcp([40_000, 443], SYN, 3, 6000);
    let options = V4 { option_words: 10, ..V4::default() };
    let chain = [
        Extension::HopByHop(1),
        Extension::Authentication(4),
        Extension::Fragment { id: 5, offset: 0, more: false },
        Extension::Destination(0),
    ];
    vec![
        (IPV4, ipv4(TCP, &tcp)),
        (IPV4, options.packet(TCP, &tcp)),
        (IPV4, ipv4(UDP, &udp([53, 5000], &body))),
        (IPV4, ipv4(ICMP, &frames::icmp(3, 4, 6000))),
        (IPV4, V4 { fragment: MORE4, id: 7, ..V4::default() }.packet(UDP, &udp([8, 9], &body))),
        (IPV4, V4 { fragment: 99, id: 7, ..V4::default() }.packet(UDP, &body)),
        (IPV6, ipv6(TCP, &tcp)),
        (IPV6, ipv6(ICMPV6, &frames::icmp(1, 4, 6000))),
        (IPV6, ipv6_chain(&chain, UDP, &udp([53, 5000], &body))),
        (IPV6, ipv6_chain(&[Extension::Routing(0); 7], UDP, &body)),
    ]
}

#[test]
#[ignore = "root: loads programs"]
fn octets_outside_the_linear_part_are_read_like_those_inside() {
    with_device(LinkLayer::Ethernet, |device, bench| {
        for (kind, packet) in long_packets() {
            let frame = ethernet(kind, &packet);
            for linear in (14..=130).chain([4000]) {
                device.check(bench, &frame, Layout { linear, ..Layout::default() });
            }
        }
        let arp = ethernet(ARP, &frames::body(6000));
        device.check(bench, &arp, Layout { linear: 14, ..Layout::default() });
    });
}

#[test]
#[ignore = "root: loads programs"]
fn frames_cut_off_inside_the_ip_header_are_short() {
    with_device(LinkLayer::Ethernet, |device, bench| {
        for (kind, packet) in long_packets() {
            let frame = ethernet(kind, &packet);
            for len in 14..=140 {
                device.check(bench, &frame[..len], Layout::default());
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_device_without_link_header_starts_at_the_ip_header() {
    with_device(LinkLayer::Ip, |device, bench| {
        for (_, packet) in long_packets() {
            for linear in (1..=116).chain([4000]) {
                device.check(bench, &packet, Layout { linear, ..Layout::default() });
            }
            for len in 1..=140 {
                device.check(bench, &packet[..len], Layout::default());
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn an_opaque_device_is_counted_and_not_parsed() {
    with_device(LinkLayer::Opaque, |device, bench| {
        let packet = ipv4(TCP, &frames::tcp([1, 2], 0, 0, 10));
        device.send(&packet, Layout::default());
        assert_eq!(bench.lab.event(flow_bpf::Event::LinkType), 1);
        bench.lab.assert_law(Parity::Even, SLOT);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_tag_that_the_kernel_strips_is_not_counted() {
    with_device(LinkLayer::Ethernet, |device, bench| {
        let packet = ipv6(UDP, &udp([5, 6], &[0; 50]));
        for tags in [&[CTAG][..], &[CTAG, CTAG], &[CTAG; 3]] {
            let stripped = tagged(&tags[1..], IPV6, &packet);
            let expected = reference::ethernet(&stripped);
            let frame = tagged(tags, IPV6, &packet);
            bench.compare(&stripped, &expected, (0, 0), |_| {
                device.send(&frame, Layout::default());
            });
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn buffers_of_64_kib_become_the_frames_that_the_wire_sees() {
    with_device(LinkLayer::Ethernet, |device, bench| {
        for payload in [1, 1447, 1448, 1449, 14_480, 65_000] {
            let tcp = frames::tcp([1, 2], 0, 3, payload);
            let datagram = udp([1, 2], &frames::body(payload));
            let cases = [
                (IPV4, ipv4(TCP, &tcp), GSO_TCP4, 34),
                (IPV6, ipv6(TCP, &tcp), GSO_TCP6, 54),
                (IPV4, ipv4(UDP, &datagram), GSO_UDP, 34),
                (IPV6, ipv6(UDP, &datagram), GSO_UDP, 54),
            ];
            for (kind, packet, gso_type, checksum_start) in cases {
                let frame = ethernet(kind, &packet);
                for linear in [14, checksum_start + 20, 4000] {
                    let layout = Layout { gso_type, linear, gso_size: 1448, checksum_start };
                    if usize::from(linear) < frame.len() {
                        device.check(bench, &frame, layout);
                    }
                }
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn tunnels_outside_the_linear_part_are_entered() {
    with_device(LinkLayer::Ethernet, |device, bench| {
        let inner = ethernet(IPV6, &ipv6(TCP, &frames::tcp([1, 2], 0, 2, 9000)));
        let outer = udp([7, 4789], &vxlan(&inner));
        let frames = [
            ethernet(IPV4, &ipv4(UDP, &outer)),
            ethernet(IPV4, &ipv4(GRE, &gre([true, true, false], TEB, &inner))),
        ];
        // A checksum near the front keeps the kernel from pulling the rest forward.
        let tcp = Layout { gso_type: GSO_TCP4, gso_size: 1400, checksum_start: 34, linear: 14 };
        for frame in frames {
            for linear in 14..=130 {
                device.check(bench, &frame, Layout { linear, ..tcp });
            }
        }
    });
}

/// What a socket may send to the port of a tunnel: a frame with far more headers than any
/// tunnel's, and nothing that looks like one.
fn tunnel_payloads() -> [Vec<u8>; 2] {
    let chain = [Extension::Destination(255); 3];
    let inner = ethernet(IPV6, &ipv6_chain(&chain, UDP, &udp([1, 2], &frames::body(100))));
    let mut lie = vxlan(&inner);
    lie.resize(60_000, 0);
    [lie, vec![0; 60_000]]
}

#[test]
#[ignore = "root: loads programs"]
fn a_datagram_to_the_port_of_a_tunnel_is_cut_as_any_other() {
    const SIZE: usize = 1400;
    with_device(LinkLayer::Ethernet, |device, bench| {
        for payload in tunnel_payloads() {
            let frames = payload.len().div_ceil(SIZE);
            for port in [4789, 8472, 6081, 5000] {
                let datagram = udp([7, port], &payload);
                for (kind, packet, headers) in
                    [(IPV4, ipv4(UDP, &datagram), 42), (IPV6, ipv6(UDP, &datagram), 62)]
                {
                    let checksum_start = headers as u16 - 8;
                    let layout = Layout {
                        gso_type: GSO_UDP,
                        gso_size: SIZE as u16,
                        checksum_start,
                        linear: checksum_start + 200,
                    };
                    let counted = device.counted(bench, &ethernet(kind, &packet), layout);
                    let bytes = payload.len() + frames * headers;
                    let expected = Counts { packets: frames as u64, bytes: bytes as u64 };
                    assert_eq!(counted, expected, "port {port}, {headers} octets of headers");
                }
            }
        }
        assert_eq!(bench.lab.event(flow_bpf::Event::GsoHeaders), 0, "no header was a riddle");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn the_fragments_of_a_datagram_repeat_its_ip_header_alone() {
    const SIZE: usize = 1400;
    with_device(LinkLayer::Ethernet, |device, bench| {
        for payload in [1393, 1400, 14_000, 60_000] {
            let datagram = udp([7, 4789], &frames::body(payload));
            // Behind 14 octets of Ethernet and, for IPv6, with 8 of a fragment header.
            for (kind, packet, start, repeated) in
                [(IPV4, ipv4(UDP, &datagram), 34, 34), (IPV6, ipv6(UDP, &datagram), 54, 62)]
            {
                let layout = Layout {
                    gso_type: GSO_UDP_FRAGMENTS,
                    gso_size: SIZE as u16,
                    checksum_start: start,
                    linear: start + 8,
                };
                let fragments = datagram.len().div_ceil(SIZE);
                let expected = Counts {
                    packets: fragments as u64,
                    bytes: (datagram.len() + fragments * repeated) as u64,
                };
                let counted = device.counted(bench, &ethernet(kind, &packet), layout);
                assert_eq!(counted, expected, "{payload} octets from {start}");
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn the_jumbo_option_of_large_buffers_is_on_no_frame() {
    const SIZE: usize = 1440;
    with_device(LinkLayer::Ethernet, |device, bench| {
        for payload in [65_536, 150_000, 180_000] {
            let tcp = frames::tcp([1, 2], 0, 3, payload);
            let jumbo = u32::try_from(tcp.len() + 8).unwrap().to_be_bytes();
            let option = [&[TCP, 0, 0xc2, 4][..], &jumbo].concat();
            let packet = [ipv6(0, &[]), option, tcp].concat();
            let layout = Layout {
                gso_type: GSO_TCP6,
                gso_size: SIZE as u16,
                checksum_start: 62,
                linear: 200,
            };
            let counted = device.counted(bench, &ethernet(IPV6, &packet), layout);
            let frames = payload.div_ceil(SIZE);
            let expected = Counts {
                packets: frames as u64,
                bytes: (payload + frames * (14 + 40 + 32)) as u64,
            };
            assert_eq!(counted, expected, "{payload} octets");
        }
    });
}

fn ip(words: &str) {
    let done = std::process::Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(done.success(), "ip {words}");
}

#[test]
#[ignore = "root: loads programs"]
fn what_a_sender_hears_of_its_own_broadcast_is_not_received() {
    with_device(LinkLayer::Ethernet, |device, bench| {
        // An address whose first half looks like the type of an IPv4 frame.
        ip("addr add 8.0.0.1/24 broadcast 8.0.0.255 dev probe0");
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let hears = std::net::UdpSocket::bind("0.0.0.0:4000").unwrap();
        hears.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.send_to(b"to all", "8.0.0.255:4000").unwrap();
        assert_eq!(hears.recv(&mut [0; 16]).unwrap(), 6, "the stack looped it back");
        assert_eq!(bench.lab.totals(Parity::Even, SLOT)[1].skb, Counts::ZERO);

        let others = ethernet(IPV4, &ipv4(UDP, &udp([9, 9], b"from the wire")));
        device.check(bench, &others, Layout::default());
    });
}

/// Sends a payload that the kernel is to cut into datagrams of this size.
fn send_segmented(payload: &[u8], size: i32, target: &str) {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: the option is an integer that outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    assert_eq!(socket.send_to(payload, target).unwrap(), payload.len());
}

#[test]
#[ignore = "root: loads programs"]
fn a_tunnel_on_a_port_of_its_own_is_counted_low_and_said_to_be() {
    const SIZE: usize = 1300;
    const PAYLOAD: usize = 60_000;
    const HEADERS: usize = 14 + 20 + 8 + 8 + 14 + 20 + 8;
    with_device(LinkLayer::Ethernet, |_, bench| {
        let _hook = attach(&bench.lab, Direction::Tx, libbpf_sys::BPF_TCX_EGRESS);
        ip("addr add 192.0.2.1/24 dev probe0");
        ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev probe0");
        let frames = PAYLOAD.div_ceil(SIZE);
        for (port, bytes, riddles) in
            [(4789, PAYLOAD + frames * HEADERS, 0), (14_789, PAYLOAD + HEADERS, 1)]
        {
            ip(&format!("link add vx type vxlan id 5 remote 192.0.2.2 dstport {port} dev probe0"));
            ip("addr add 198.51.100.1/24 dev vx");
            ip("link set vx up");
            ip("neigh add 198.51.100.2 lladdr 02:00:00:00:00:03 dev vx");
            send_segmented(&[0; PAYLOAD], SIZE as i32, "198.51.100.2:9");
            ip("link del vx");
            let wire = bench.lab.flows(Parity::Even);
            // The device may have said something by itself, too.
            let tunnels = wire.iter().filter(|flow| flow.key.dst_port == port);
            let tunnel = tunnels.max_by_key(|flow| flow.counts.bytes).unwrap();
            let expected = Counts { packets: frames as u64, bytes: bytes as u64 };
            assert_eq!(tunnel.counts, expected, "port {port}");
            assert_eq!(bench.lab.event(flow_bpf::Event::GsoHeaders), riddles, "port {port}");
        }
    });
}
