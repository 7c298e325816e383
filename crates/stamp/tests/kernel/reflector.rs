//! What a reflector in the kernel does with packets of clients that are none of ours.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use serde_json::json;
use stamp::settings::Host;

use crate::laboratory::{Cable, PORT};

fn request(sequence: u32) -> [u8; 44] {
    let mut request = [0; 44];
    request[..4].copy_from_slice(&sequence.to_be_bytes());
    request[4..12].copy_from_slice(&0xe8f0_0000_8000_0000_u64.to_be_bytes());
    request[12..14].copy_from_slice(&0x8001_u16.to_be_bytes());
    request
}

fn ask(client: &UdpSocket, request: &[u8]) -> Option<Vec<u8>> {
    client.send(request).unwrap();
    let mut reply = [0; 2048];
    client.recv(&mut reply).ok().map(|len| reply[..len].to_vec())
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_plain_client_gets_every_reply_whatever_the_offloads_and_lengths() {
    let cable = Cable::new();
    let reflector = cable.far.reflect("far0 --backend bpf --rate 0");
    let mut asked = 0;
    for offloads in ["on", "off"] {
        for (host, device) in [(&cable.near, "near0"), (&cable.far, "far0")] {
            let set = host
                .place()
                .command("ethtool")
                .args(["-K", device, "tx", offloads, "rx", offloads]);
            set.succeed(crate::laboratory::PATIENCE).unwrap();
        }
        for (from, to) in cable.near.addresses.into_iter().zip(cable.far.addresses) {
            let client = cable.near.client(from, to);
            for padding in [0, 4, 5, 7, 64, 65, 200] {
                let mut packet = request(asked).to_vec();
                if padding > 0 {
                    packet.extend([0x80, 1, 0, padding as u8 - 4].iter().copied());
                    packet.resize(44 + padding, 0xa5);
                }
                let reply = ask(&client, &packet);
                let reply = reply.unwrap_or_else(|| panic!("{offloads} {to} {padding}"));
                assert_eq!(reply.len(), packet.len());
                assert_eq!(reply[24..28], asked.to_be_bytes());
                assert_ne!(reply[16..24], [0; 8]);
                asked += 1;
            }
        }
    }
    let told = reflector.stop();
    assert_eq!([&told["requests"], &told["replies"]], [&json!(asked); 2], "{told}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_reply_is_never_answered_even_from_the_reflectors_own_port() {
    let cable = Cable::new();
    let far = cable.far.reflect("far0 --backend bpf");
    let near = cable.near.reflect("near0 --backend bpf");
    // From the reflector's own port of the near host, as if it had asked.
    let mut packet = Vec::new();
    for part in [PORT, PORT, 8 + 44, 0] {
        packet.extend(part.to_be_bytes());
    }
    packet.extend(request(7));
    cable.near.place().run(|| send_raw(&packet)).unwrap();
    crate::laboratory::until("the reply has come to its end", || {
        near.show("/reflector")["dropped"]["loop_guard"] == 1
    });
    let (near, far) = (near.stop(), far.stop());
    assert_eq!([&far["requests"], &far["replies"]], [&json!(1); 2], "{far}");
    assert_eq!(near["replies"], 0, "{near}");
}

/// Sends a UDP packet of any source port.
fn send_raw(packet: &[u8]) {
    let flags = SockFlag::empty();
    let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Udp).unwrap();
    let to: SockaddrIn = "10.7.0.1:0".parse().unwrap();
    sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty()).unwrap();
}

#[test]
#[ignore = "root: needs network namespaces"]
fn in_front_of_tc_the_same_is_answered_and_told_apart() {
    let cable = Cable::new();
    let far = cable.far.reflect("far0 --backend bpf --xdp");
    // What a veth sends back by XDP arrives only where there is a program as well.
    let near = cable.near.reflect("near0 --backend bpf --xdp");
    for (from, to) in cable.near.addresses.into_iter().zip(cable.far.addresses) {
        let client = cable.near.client(from, to);
        let reply = ask(&client, &request(3)).unwrap();
        assert_eq!(reply[24..28], 3_u32.to_be_bytes());
    }
    let told = far.stop();
    assert_eq!(told["paths"]["xdp"], json!({ "requests": 2, "replies": 2 }), "{told}");
    assert_eq!(told["paths"]["tcx"], json!({ "requests": 0, "replies": 0 }), "{told}");
    assert_eq!(near.stop()["replies"], 0);
    let error = cable.far.try_begin(&["lo --backend bpf --xdp"], &[], &Host::default());
    assert!(error.err().unwrap().to_string().contains("XDP"), "lo has none");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn who_asks_for_several_replies_gets_them_numbered_where_that_is_allowed() {
    let cable = Cable::new();
    let caps = "--control-max-count 5 --control-max-rate 1000000 --control-max-bytes 10000";
    // Three replies of 60 octets, a millisecond apart. RFC 10052.
    let mut packet = request(1).to_vec();
    packet[14..16].copy_from_slice(&9_u16.to_be_bytes());
    packet.extend([0x80, 12, 0, 12, 0, 60, 0, 3]);
    packet.extend(1_000_000_u32.to_be_bytes());
    packet.extend([0; 4]);
    for backend in ["bpf", "socket"] {
        for (flags, replies) in [(caps, 3), ("", 1)] {
            let reflector = cable.far.reflect(&format!("far0 --backend {backend} {flags}"));
            let client = cable.near.client("10.7.0.2", "10.7.0.1");
            client.send(&packet).unwrap();
            let mut reply = [0; 2048];
            let received = std::iter::from_fn(|| {
                let len = client.recv(&mut reply).ok()?;
                Some((len, u32::from_be_bytes(*reply.first_chunk().unwrap())))
            });
            let expected: Vec<_> = (0..replies).map(|number| (packet.len(), number)).collect();
            assert_eq!(received.collect::<Vec<_>>(), expected, "{backend} {flags}");
            let told = reflector.stop();
            assert_eq!(told["replies"], replies, "{told}");
            assert_eq!(told["sessions"][0]["transmitted"], replies, "{told}");
        }
    }
}
