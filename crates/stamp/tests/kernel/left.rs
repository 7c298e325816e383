//! Requests that the programs leave to user space.

use std::net::UdpSocket;

use serde_json::Value;

use crate::laboratory::Cable;

/// A request of session 9 with the extensions behind it.
fn request(sequence: u32, area: &[u8]) -> Vec<u8> {
    let mut request = vec![0; 44];
    request[..4].copy_from_slice(&sequence.to_be_bytes());
    request[4..12].copy_from_slice(&0xe8f0_0000_8000_0000_u64.to_be_bytes());
    request[12..16].copy_from_slice(&0x8001_0009_u32.to_be_bytes());
    request.extend(area);
    request
}

fn number(client: &UdpSocket, packet: &[u8]) -> u32 {
    client.send(packet).unwrap();
    let mut reply = [0; 4096];
    let len = client.recv(&mut reply).unwrap();
    assert_eq!(len, packet.len());
    u32::from_be_bytes(*reply.first_chunk().unwrap())
}

fn path(told: &Value, name: &str) -> u64 {
    told["paths"][name]["replies"].as_u64().unwrap_or_else(|| panic!("{told}"))
}

#[test]
#[ignore = "root: needs network namespaces"]
fn replies_of_both_are_numbered_by_one_session() {
    let cable = Cable::new();
    let reflector = cable.far.reflect("far0 --backend bpf");
    let client = cable.near.client("10.7.0.2", "10.7.0.1");
    // Seventeen extensions are one more than the programs look at.
    let many: Vec<u8> = (0..17).flat_map(|_| [0x80, 1, 0, 0]).collect();
    // And a packet that is longer than they read.
    let mut long = vec![0x80, 1, 0x05, 0x80];
    long.resize(4 + 0x580, 0xa5);
    let packets: [&[u8]; 6] = [&[], &many, &[], &[], &long, &[]];
    for (sequence, area) in (0..).zip(packets) {
        assert_eq!(number(&client, &request(sequence + 100, area)), sequence);
    }
    let told = reflector.stop();
    assert_eq!((path(&told, "tcx"), path(&told, "socket")), (4, 2), "{told}");
    assert_eq!(told["sessions"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["sessions"][0]["received"], 6, "{told}");
}
