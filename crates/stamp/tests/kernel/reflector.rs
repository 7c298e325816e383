//! What a reflector in the kernel does with packets of clients that are none of ours.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use serde_json::json;

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
