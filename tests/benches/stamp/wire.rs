//! When packets passed both ends of the link, and the times they carried.
//!
//! Captures by tcpdump: its times are the kernel's wall clock, one for both ends. Bytes are
//! read here anew, by the tables of RFC 8762, so that the program does not vouch for itself.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use fathom_tests::binary::SOON;
use fathom_tests::stamp::PORT;
use tempfile::TempDir;
use testkit::Device;
use testkit::proc::{Process, Signal};

/// A capture at one end.
pub(crate) struct Tap {
    tcpdump: Process,
    file: PathBuf,
    _scratch: TempDir,
}

/// One test packet, as it passed.
pub(crate) struct Packet {
    /// When, in nanoseconds since 1970.
    pub(crate) at: i64,
    /// Which address of the reflector it was for or from.
    pub(crate) reflector: Ipv4Addr,
    pub(crate) content: Content,
}

/// What a test packet says, times in nanoseconds since 1970.
pub(crate) enum Content {
    Request { sequence: u32, t1: i64 },
    Reply { sequence: u32, t1: i64, t2: i64, t3: i64 },
}

/// A request and its reply, at both ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passage {
    /// Left the sender's end, reached the reflector's, left that, reached the sender's.
    pub(crate) wire: [i64; 4],
    /// T1, T2 and T3 as they stand in the reply.
    pub(crate) told: [i64; 3],
}

impl Tap {
    /// Returns once the kernel records. `packets` is how many there will be: with its buffer
    /// it makes tcpdump write once at the end, instead of beside each packet.
    pub(crate) fn start(device: &Device, packets: u64) -> Self {
        let scratch = tempfile::Builder::new().prefix("fathom-tap").tempdir().unwrap();
        let file = scratch.path().join("wire.pcap");
        let (count, filter) = (packets.to_string(), format!("udp port {PORT}"));
        let command = device
            .place()
            .command("tcpdump")
            .args(["-i", device.name(), "-n", "-p", "-Z", "root", "-s", "192", "-B", "65536"])
            .args(["--time-stamp-precision=nano", "-c", &count, "-w"])
            .arg(&file)
            .arg(filter);
        let mut tcpdump = command.spawn().unwrap();
        tcpdump.wait_for_stderr("listening on", SOON).unwrap();
        Self { tcpdump, file, _scratch: scratch }
    }

    /// What passed, in order, when nothing more will.
    pub(crate) fn end(self) -> Vec<Packet> {
        self.end_within(Duration::ZERO)
    }

    /// The same when what was announced has passed, or `more` is over.
    pub(crate) fn end_within(mut self, more: Duration) -> Vec<Packet> {
        let finished = match self.tcpdump.wait(more + RETIRED) {
            Ok(_) => self.tcpdump.finish(SOON),
            Err(_) => self.tcpdump.stop_by(Signal::INT, SOON),
        };
        let words = finished.unwrap().stderr;
        assert!(words.contains("\n0 packets dropped by kernel"), "a capture lost some: {words}");
        read(&fs::read(&self.file).unwrap())
    }
}

/// Joins what both ends saw of one session, by the request's number.
pub(crate) fn passages(sender: &[Packet], reflector: &[Packet]) -> BTreeMap<u32, Passage> {
    let [(sent, answered), (arrived, replied)] = [sender, reflector].map(by_number);
    let passage = |(number, &(t4w, told)): (&u32, &(i64, [i64; 3]))| {
        let wire = [*sent.get(number)?, *arrived.get(number)?, replied.get(number)?.0, t4w];
        Some((*number, Passage { wire, told }))
    };
    answered.iter().filter_map(passage).collect()
}

type Requests = BTreeMap<u32, i64>;
type Replies = BTreeMap<u32, (i64, [i64; 3])>;

fn by_number(packets: &[Packet]) -> (Requests, Replies) {
    let (mut requests, mut replies) = (Requests::new(), Replies::new());
    for packet in packets {
        match packet.content {
            Content::Request { sequence, .. } => {
                requests.insert(sequence, packet.at);
            }
            Content::Reply { sequence, t1, t2, t3 } => {
                replies.insert(sequence, (packet.at, [t1, t2, t3]));
            }
        }
    }
    (requests, replies)
}

/// A file of tcpdump with nanoseconds, of Ethernet.
fn read(file: &[u8]) -> Vec<Packet> {
    let (header, mut rest) = file.split_at(HEADER);
    assert_eq!((little(header, 0), little(header, 20)), (NANOSECONDS, ETHERNET));
    let mut packets = Vec::new();
    while let Some((record, behind)) = rest.split_at_checked(RECORD) {
        let (frame, behind) = behind.split_at(little(record, 8) as usize);
        let at = i64::from(little(record, 0)) * BILLION + i64::from(little(record, 4));
        packets.push(packet(at, frame));
        rest = behind;
    }
    packets
}

/// Ethernet, IPv4 without options, UDP: nothing else is sent on a cable.
fn packet(at: i64, frame: &[u8]) -> Packet {
    let payload = &frame[42..];
    // Open or authenticated, by length: nothing is longer than its base packet here.
    let (t1, zero, number, echo) = if payload.len() < 112 { OPEN } else { AUTHENTICATED };
    let reply = payload[zero..zero + 8] != [0; 8];
    let content = if reply {
        let [t1, t2, t3] = [echo, zero, t1].map(|at| time(payload, at));
        Content::Reply { sequence: big(payload, number), t1, t2, t3 }
    } else {
        Content::Request { sequence: big(payload, 0), t1: time(payload, t1) }
    };
    Packet { at, reflector: big(frame, if reply { 26 } else { 30 }).into(), content }
}

/// NTP into nanoseconds since 1970; this bench does not run in 2036.
fn time(octets: &[u8], at: usize) -> i64 {
    let (seconds, fraction) = (i64::from(big(octets, at)), i64::from(big(octets, at + 4)));
    (seconds - TO_1970) * BILLION + ((fraction * BILLION + (1 << 31)) >> 32)
}

fn big(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(octets[at..at + 4].try_into().unwrap())
}

fn little(octets: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(octets[at..at + 4].try_into().unwrap())
}

/// The kernel hands a block of frames over after a second at the latest.
const RETIRED: Duration = Duration::from_secs(3);
const HEADER: usize = 24;
const RECORD: usize = 16;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const BILLION: i64 = 1_000_000_000;
const TO_1970: i64 = 2_208_988_800;
/// Places of the packet's own time, of T2 in a reply, of the request's number and T1 in it.
/// RFC 8762 §4.2.1, §4.3.1; §4.2.2, §4.3.2.
const OPEN: (usize, usize, usize, usize) = (4, 16, 24, 28);
const AUTHENTICATED: (usize, usize, usize, usize) = (16, 32, 48, 64);
