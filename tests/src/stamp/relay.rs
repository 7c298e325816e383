//! A host that does to packets what a test wants, and knows what it did.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::PORT;
use super::cable::Detour;
use super::packet::{SIGNED, answered};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Passes,
    /// It is lost.
    Lost,
    /// It goes on twice.
    Doubled,
    /// It goes on behind the next one of its direction.
    Overtaken,
}

/// What is done to the packets of one direction.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// What becomes of each, by the number of its request.
    pub fate: fn(u32) -> Fate,
    /// For how long each is kept at least.
    pub delay: Duration,
}

impl Rule {
    /// All pass at once.
    pub const NONE: Self = Self { fate: |_| Fate::Passes, delay: Duration::ZERO };
}

/// How long each packet was here, by the number of its request.
pub type Dwell = BTreeMap<u32, Duration>;

/// Two threads between two hosts; dropping it ends them.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    ways: Vec<JoinHandle<Dwell>>,
}

impl Relay {
    /// Begins to relay, forward and reverse, for one address of a detour.
    ///
    /// # Panics
    ///
    /// If there are no sockets.
    pub fn start(detour: &Detour, entrance: IpAddr, [forward, reverse]: [Rule; 2]) -> Self {
        let far = detour.far.addresses.into_iter().find(|far| far.is_ipv4() == entrance.is_ipv4());
        let far = far.unwrap_or_else(|| panic!("a host has an address of each family"));
        let any = if far.is_ipv4() { "0.0.0.0" } else { "::" };
        let made = detour.middle.run(|| {
            let outward = UdpSocket::bind((any, 0))?;
            outward.connect((far, PORT))?;
            Ok::<_, std::io::Error>([UdpSocket::bind((entrance, PORT))?, outward])
        });
        let made = made.unwrap_or_else(|error| panic!("relay: {error}"));
        let [inward, outward] = made.unwrap_or_else(|error| panic!("relay: {error}"));
        let stop = Arc::new(AtomicBool::new(false));
        let asker = Arc::new(OnceLock::new());
        let clone = |socket: &UdpSocket| {
            socket.try_clone().unwrap_or_else(|error| panic!("relay: {error}"))
        };
        let ways = [
            Way::begin(&inward, &stop, forward, {
                let (outward, asker) = (clone(&outward), Arc::clone(&asker));
                move |packet: &[u8], from| {
                    asker.get_or_init(|| from);
                    outward.send(packet).is_ok()
                }
            }),
            Way::begin(&outward, &stop, reverse, {
                let inward = clone(&inward);
                move |packet: &[u8], _| {
                    asker.get().is_some_and(|to| inward.send_to(packet, to).is_ok())
                }
            }),
        ];
        Self { stop, ways: ways.into_iter().collect() }
    }

    /// Ends it; how long packets were here, forward and reverse.
    ///
    /// # Panics
    ///
    /// If a thread of it did.
    pub fn stop(mut self) -> [Dwell; 2] {
        self.stop.store(true, Ordering::Release);
        let mut ended = self.ways.drain(..).map(|way| match way.join() {
            Ok(dwell) => dwell,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        [ended.next().unwrap_or_default(), ended.next().unwrap_or_default()]
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// One direction.
struct Way<S> {
    socket: UdpSocket,
    rule: Rule,
    send: S,
    /// Packets that go on, in their order.
    queue: VecDeque<Kept>,
    overtaken: Option<Kept>,
    dwell: Dwell,
}

struct Kept {
    packet: Vec<u8>,
    from: SocketAddr,
    number: u32,
    came: Instant,
}

impl<S: Fn(&[u8], SocketAddr) -> bool + Send + 'static> Way<S> {
    fn begin(socket: &UdpSocket, stop: &Arc<AtomicBool>, rule: Rule, send: S) -> JoinHandle<Dwell> {
        let socket = socket.try_clone().unwrap_or_else(|error| panic!("relay: {error}"));
        let stop = Arc::clone(stop);
        let (queue, dwell) = (VecDeque::new(), Dwell::new());
        let mut way = Self { socket, rule, send, queue, overtaken: None, dwell };
        thread::spawn(move || {
            let began = Instant::now();
            while !stop.load(Ordering::Acquire) && began.elapsed() < LONGEST {
                way.turn();
            }
            way.dwell
        })
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let due = |kept: &Kept| kept.came + self.rule.delay;
        let wait = self.queue.front().map_or(LOOK, |kept| due(kept).saturating_duration_since(now));
        if wait.is_zero() {
            self.go_on();
        } else if let Some(kept) = self.hear(wait.min(LOOK)) {
            self.decide(kept);
        }
    }

    fn hear(&self, wait: Duration) -> Option<Kept> {
        let mut packet = vec![0; 2048];
        self.socket.set_read_timeout(Some(wait)).unwrap_or_else(|error| panic!("relay: {error}"));
        match self.socket.recv_from(&mut packet) {
            Ok((len, from)) => {
                let came = Instant::now();
                packet.truncate(len);
                let number = number(&packet);
                Some(Kept { packet, from, number, came })
            }
            // Refused: the other end does not listen yet, or any more.
            Err(error)
                if [
                    ErrorKind::WouldBlock,
                    ErrorKind::TimedOut,
                    ErrorKind::Interrupted,
                    ErrorKind::ConnectionRefused,
                ]
                .contains(&error.kind()) =>
            {
                None
            }
            Err(error) => panic!("relay: {error}"),
        }
    }

    fn decide(&mut self, kept: Kept) {
        let passed = self.overtaken.take();
        match (self.rule.fate)(kept.number) {
            Fate::Passes => self.queue.push_back(kept),
            Fate::Lost => {}
            Fate::Doubled => {
                let copy = Kept { packet: kept.packet.clone(), ..kept };
                self.queue.extend([copy, kept]);
            }
            Fate::Overtaken => self.overtaken = Some(kept),
        }
        self.queue.extend(passed);
    }

    fn go_on(&mut self) {
        let Some(kept) = self.queue.pop_front() else { return };
        self.dwell.insert(kept.number, kept.came.elapsed());
        assert!((self.send)(&kept.packet, kept.from), "a packet goes on from the relay");
    }
}

/// Number of the request that a packet is or answers: what answers has a time where a
/// request has nothing.
fn number(packet: &[u8]) -> u32 {
    let is_signed = packet.len() >= SIGNED;
    let time = if is_signed { 32..40 } else { 16..24 };
    let is_reply = packet.get(time).is_some_and(|time| time.iter().any(|octet| *octet != 0));
    if is_reply {
        return answered(packet, is_signed);
    }
    packet.first_chunk().copied().map_or(u32::MAX, u32::from_be_bytes)
}

/// How often it looks whether it shall end.
const LOOK: Duration = Duration::from_millis(20);
/// No relay works on for longer than a test.
const LONGEST: Duration = Duration::from_secs(60);
