//! Requests at a steady rate, or as many as one processor sends, from one thread.

use std::io::{self, ErrorKind, IoSlice};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use rustix::thread::{CpuSet, sched_setaffinity};
use stamp_proto::auth::Key;
use stamp_proto::clock::WallTime;
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::packet::{Mode, Request};
use stamp_proto::timestamp::{Format, Timestamp};

use fathom_tests::stamp::PORT;

use crate::cable::{Cable, FAR};
use crate::cost::Meter;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    /// Packets a second; none is as many as go.
    pub(crate) rate: Option<u32>,
    pub(crate) duration: Duration,
    pub(crate) signed: bool,
    /// The only processor to send on.
    pub(crate) pinned: Option<usize>,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) packets: u64,
    pub(crate) elapsed: Duration,
    /// Of the sending thread.
    pub(crate) processor: Duration,
}

impl Stream {
    /// Sends it all from the near end of `cable`.
    pub(crate) fn run(self, cable: &Cable) -> Sent {
        let work = move || self.send();
        let thread = cable.near.place().thread("stream", work).unwrap();
        thread.join().unwrap().unwrap().unwrap()
    }

    fn send(self) -> io::Result<Sent> {
        if let Some(number) = self.pinned {
            let mut only = CpuSet::new();
            only.set(number);
            sched_setaffinity(None, &only)?;
        }
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((FAR, PORT))?;
        // Ready before the clock starts: to sign costs more than to send.
        let packets = requests(self.amount(), self.signed);
        let (meter, began) = (Meter::thread(), Instant::now());
        let (mut sent, mut next) = (0, 0);
        while began.elapsed() < self.duration {
            let due = self.due(began.elapsed()).min(sent + BATCH);
            if due == sent {
                std::thread::sleep(PACE);
                continue;
            }
            next %= packets.len();
            let end = (next + (due - sent) as usize).min(packets.len());
            let count = batch(&socket, &packets[next..end])?;
            (sent, next) = (sent + count as u64, next + count);
        }
        Ok(Sent { packets: sent, elapsed: began.elapsed(), processor: meter.used() })
    }

    /// Packets that should have gone by `elapsed`.
    fn due(self, elapsed: Duration) -> u64 {
        self.rate.map_or(u64::MAX / 2, |rate| (elapsed.as_secs_f64() * f64::from(rate)) as u64)
    }

    /// Packets to prepare: a signed one may not be sent twice.
    fn amount(self) -> u32 {
        let rate = self.rate.unwrap_or(MOST_A_SECOND);
        if self.signed { (f64::from(rate) * self.duration.as_secs_f64()) as u32 + 1 } else { 4096 }
    }
}

fn batch(socket: &UdpSocket, packets: &[Vec<u8>]) -> io::Result<usize> {
    let payloads: Vec<_> = packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
    let mut control: Vec<_> = packets.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let messages = payloads.iter().zip(&mut control);
    let mut messages: Vec<_> = messages.map(|(one, none)| MMsgHdr::new(one, none)).collect();
    match sendmmsg(socket, &mut messages, SendFlags::empty()).map_err(io::Error::from) {
        // Nobody listens where packets are dropped, and now and then the kernel says so.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused) => Ok(0),
        sent => sent,
    }
}

fn requests(amount: u32, signed: bool) -> Vec<Vec<u8>> {
    let secret: Vec<u8> = (0..32).collect();
    let (mode, key) =
        if signed { (Mode::Authenticated, Some(Key::new(&secret))) } else { (Mode::Open, None) };
    let now = jiff::Timestamp::now().as_nanosecond() as i64;
    let request = |sequence: u32| {
        let mut payload = vec![0; mode.base_len()];
        let time = WallTime::from_ns(now + i64::from(sequence) * 1_000);
        Request {
            sequence,
            timestamp: Timestamp::encode(Format::Ntp, time),
            error_estimate: ErrorEstimate::from_bits(0x0ad2),
            ssid: Some(77),
        }
        .emit(mode, &mut payload);
        if let Some(key) = &key {
            key.sign(&mut payload);
        }
        payload
    };
    (0..amount).map(request).collect()
}

/// A millisecond of packets is sent in one go.
const PACE: Duration = Duration::from_millis(1);
/// So many at most, that a late thread does not overrun what it catches up with.
const BATCH: u64 = 64;
/// More than one processor signs or answers.
const MOST_A_SECOND: u32 = 400_000;
