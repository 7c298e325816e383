//! The kernel's reflector and the pure one, side by side.

use std::collections::BTreeMap;

use stamp_bpf::testrun::{self, Frame};
use stamp_bpf::{
    Event, Knobs, LinkLayer, LocalAddress, PortUse, Program, Publication, Sizes, Skew, SlowKey,
    SlowRequest, Tables,
};
use stamp_proto::auth::Key;
use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::packet::{Mode, Reply, Request};
use stamp_proto::reflector::{Arrival, Clock, Policy, Prefix, Reflector, Refusal};
use stamp_proto::timestamp::{Format, Timestamp};
use stamp_proto::tlv::SyncSource;
use testkit::Namespace;

use crate::frames::{Datagram, FAR_MAC, NEAR_MAC, Sum};
use crate::sums;

pub(crate) const NEXT: i32 = -1;
pub(crate) const DROP: i32 = 2;
pub(crate) const REDIRECT: i32 = 7;

/// Runs a test in a namespace of its own, in which this host is no router.
pub(crate) fn inside(test: impl FnOnce() + Send) {
    let namespace = Namespace::create("stamp").unwrap();
    namespace.set_sysctl("net/ipv4/conf/all/forwarding", "0").unwrap();
    namespace.set_sysctl("net/ipv6/conf/all/forwarding", "0").unwrap();
    namespace.run(test).unwrap();
}

/// What the kernel did with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// The frame as it would leave.
    Replied(Vec<u8>),
    Refused(Refusal),
    Slow(SlowRequest),
    /// Passed on untouched, and the reason that was counted.
    Passed(Option<Refusal>),
}

/// Prefixes beside the policy, which can't be asked for its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists {
    pub(crate) allow: Vec<Prefix>,
    pub(crate) deny: Vec<Prefix>,
    pub(crate) light: Vec<Prefix>,
}

impl Lists {
    pub(crate) fn all() -> Self {
        let allow = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap()).to_vec();
        Self { allow, ..Self::default() }
    }
}

/// Which of the programs a twin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Tc,
    Xdp,
}

pub(crate) struct Twin {
    pub(crate) tables: Tables,
    pub(crate) program: Program,
    pub(crate) knobs: Knobs,
    pub(crate) place: Place,
    pub(crate) pure: Reflector,
    pub(crate) format: Format,
    pub(crate) skew_ns: i64,
    pub(crate) mode: Mode,
    pub(crate) member: Option<u16>,
}

/// No limit of rate: time does not pass for the pure reflector as it does here.
pub(crate) fn unlimited() -> Policy {
    Policy { rate: 0, global_rate: 0, ..Policy::default() }
}

impl Twin {
    pub(crate) fn open() -> Self {
        Self::new(unlimited(), &Lists::all())
    }

    pub(crate) fn new(policy: Policy, lists: &Lists) -> Self {
        Self::with(policy, lists, Format::Ntp, Skew::default(), Sizes::default())
    }

    pub(crate) fn with(
        mut policy: Policy,
        lists: &Lists,
        format: Format,
        skew: Skew,
        sizes: Sizes,
    ) -> Self {
        policy.allow = lists.allow.iter().copied().collect();
        policy.deny = lists.deny.iter().copied().collect();
        policy.twamp_light = lists.light.iter().copied().collect();
        let tables = Tables::create(sizes).unwrap();
        tables.set_prefixes(&lists.allow, &lists.deny, &lists.light).unwrap();
        tables.set_keys(&policy.keys).unwrap();
        tables.set_provisioned(policy.provisioned.as_deref().unwrap_or_default()).unwrap();
        let known = policy.reflector_ports.iter();
        let mut ports: BTreeMap<u16, PortUse> =
            known.map(|&port| (port, PortUse { known: true, ..PortUse::default() })).collect();
        for port in [862, 863] {
            ports.entry(port).or_default().reflector = true;
        }
        tables.set_ports(&ports).unwrap();
        let knobs = Knobs::new(&policy, format).skewed(skew);
        let program = Program::load(&tables, &knobs).unwrap();
        let mode = policy.mode();
        let skew_ns = skew.ahead_ns;
        let mut twin = Self {
            tables,
            program,
            knobs,
            place: Place::Tc,
            pure: Reflector::new(policy),
            format,
            skew_ns,
            mode,
            member: None,
        };
        twin.name(None);
        publish(&twin.tables, u64::MAX);
        twin
    }

    /// The same in front of tc.
    pub(crate) fn in_front(self) -> Self {
        let program = Program::load(&self.tables, &self.knobs.clone().xdp(true)).unwrap();
        Self { program, place: Place::Xdp, ..self }
    }

    /// Gives the device its addresses, and the number of the member link that it is.
    pub(crate) fn name(&mut self, member: Option<u16>) {
        let address = |text: &str| LocalAddress {
            ifindex: 1,
            address: text.parse().unwrap(),
            member,
            loopback: false,
            mac: Some(NEAR_MAC),
        };
        self.tables.set_addresses(&[address("10.0.0.1"), address("fd00::1")]).unwrap();
        self.member = member;
    }

    pub(crate) fn refusals(&self) -> Vec<u64> {
        Refusal::ALL.map(|why| self.tables.refused(why).unwrap()).to_vec()
    }

    /// Shows a datagram to the kernel alone.
    pub(crate) fn run(&self, datagram: &Datagram) -> Done {
        self.run_frame(datagram, &Frame::new(&datagram.frame()))
    }

    pub(crate) fn run_frame(&self, datagram: &Datagram, frame: &Frame<'_>) -> Done {
        let link = if datagram.link { LinkLayer::Ethernet } else { LinkLayer::None };
        let (before, slow) = (self.refusals(), self.tables.happened(Event::Slow).unwrap());
        let replies = match self.place {
            Place::Tc => Event::Replied,
            Place::Xdp => Event::XdpReplied,
        };
        let replied = self.tables.happened(replies).unwrap();
        let outcome = match self.place {
            Place::Tc => testrun::run(self.program.ingress(link), frame).unwrap(),
            Place::Xdp => in_terms_of_tc(self.program.xdp().unwrap(), frame),
        };
        let replied = self.tables.happened(replies).unwrap() - replied;
        let slow = self.tables.happened(Event::Slow).unwrap() - slow;
        let refusals: Vec<Refusal> = Refusal::ALL
            .into_iter()
            .zip(before.iter().zip(self.refusals()))
            .flat_map(|(why, (&before, after))| vec![why; (after - before) as usize])
            .collect();
        match (outcome.verdict, &refusals[..], replied, slow) {
            (REDIRECT, [], 1, 0) => Done::Replied(outcome.octets),
            (DROP, &[why], 0, 0) => Done::Refused(why),
            (NEXT, [], 0, 1) => {
                assert_eq!(outcome.octets, frame.octets, "what is passed on is untouched");
                let key = slow_key(datagram);
                let request = self.tables.slow_request(&key).unwrap().unwrap();
                self.tables.forget_slow_request(&key).unwrap();
                Done::Slow(request)
            }
            (NEXT, refusals @ ([] | [_]), 0, 0) => {
                assert_eq!(outcome.octets, frame.octets, "what is passed on is untouched");
                Done::Passed(refusals.first().copied())
            }
            other => panic!("{other:?} is no way to end"),
        }
    }

    /// What the pure reflector makes of the same datagram, if its answer leaves at `sent`.
    pub(crate) fn expect(
        &mut self,
        datagram: &Datagram,
        sent: Timestamp,
    ) -> Result<(Vec<u8>, u8), Refusal> {
        let arrival = Arrival {
            payload: &datagram.payload,
            source: datagram.source,
            destination: datagram.destination,
            now: monotonic(),
            received: wall().shifted(self.skew_ns),
            ttl: Some(datagram.ttl),
            traffic_class: datagram.tos,
            member: self.member,
            source_mac: datagram.link.then_some(FAR_MAC),
        };
        let mut answer = self.pure.handle(&arrival, &clock(self.format))?;
        self.pure.stamp(&mut answer, sent);
        Ok((answer.payload, answer.wanted.traffic_class))
    }

    /// Holds the kernel to the pure reflector, for a datagram whose sum is not wrong.
    pub(crate) fn compare(&mut self, datagram: &Datagram) -> Done {
        self.compare_by(datagram, None)
    }

    /// The same for a reply that is to be signed.
    pub(crate) fn compare_signed(&mut self, datagram: &Datagram, key: &Key) -> Done {
        self.compare_by(datagram, Some(key))
    }

    fn compare_by(&mut self, datagram: &Datagram, key: Option<&Key>) -> Done {
        // However long a test takes, its clock is never silent.
        publish(&self.tables, u64::MAX);
        let before = wall();
        let done = self.run(datagram);
        let after = wall();
        if let Done::Slow(request) = done {
            let at = request.received.shifted(-self.skew_ns);
            assert!(before <= at && at <= after, "T2 is the moment of arrival");
            return done;
        }
        if (self.place, &done) == (Place::Xdp, &Done::Passed(None)) {
            return done;
        }
        // The next answer may tell when this one left.
        let sent = match &done {
            Done::Replied(frame) => {
                Reply::parse(self.mode, datagram.payload_of(frame)).unwrap().timestamp
            }
            _ => Timestamp::ZERO,
        };
        let expected = self.expect(datagram, sent);
        match (&done, expected) {
            (Done::Refused(why), Err(expected)) => assert_eq!(*why, expected, "{datagram:?}"),
            (Done::Replied(frame), Ok((mut payload, traffic_class))) => {
                let sent = datagram.payload_of(frame);
                self.check_times(sent, [before, after]);
                copy_times(self.mode, sent, &mut payload);
                if let Some(key) = key {
                    key.sign(&mut payload);
                }
                check_frame(datagram, frame, &payload, traffic_class);
                assert!(self.place == Place::Tc || has_whole_sum(datagram, frame), "{datagram:x?}");
            }
            other => panic!("kernel and pure reflector differ: {other:x?} for {datagram:x?}"),
        }
        done
    }

    /// T2 and T3 are times within the run, in this order.
    fn check_times(&self, sent: &[u8], [before, after]: [WallTime; 2]) {
        let reply = Reply::parse(self.mode, sent).unwrap();
        let near = before.shifted(self.skew_ns + ahead_ns(self.format));
        let time = |at: Timestamp| {
            let time = at.decode(self.format, near).unwrap();
            time.shifted(-self.skew_ns - ahead_ns(self.format))
        };
        let (t2, t3) = (time(reply.receive_timestamp), time(reply.timestamp));
        // NTP's unit is a quarter of a nanosecond, cut off.
        assert!(
            before.shifted(-1) <= t2 && t2 <= t3 && t3 <= after,
            "{before:?} {t2:?} {t3:?} {after:?}"
        );
    }
}

/// In front of tc verdicts have other numbers.
fn in_terms_of_tc(program: std::os::fd::BorrowedFd<'_>, frame: &Frame<'_>) -> testrun::Outcome {
    let outcome = testrun::run_xdp(program, frame.octets).unwrap();
    let verdict = match outcome.verdict {
        1 => DROP,
        2 => NEXT,
        3 => REDIRECT,
        other => panic!("{other} is no verdict"),
    };
    testrun::Outcome { verdict, ..outcome }
}

/// A right sum, or none where the request had none.
pub(crate) fn has_whole_sum(datagram: &Datagram, frame: &[u8]) -> bool {
    let at = datagram.payload_at();
    match datagram.sum {
        Sum::Zero => frame[at - 2..at] == [0, 0],
        _ => frame[at - 2..at] != [0, 0] && datagram.is_sum_right(frame),
    }
}

fn check_frame(datagram: &Datagram, frame: &[u8], payload: &[u8], traffic_class: u8) {
    let at = datagram.payload_at();
    let sum = [frame[at - 2], frame[at - 1]];
    assert_eq!(frame, datagram.answered_by(payload, traffic_class, sum), "{datagram:x?}");
    let udp = &frame[at - 8..at + payload.len()];
    let (source, destination) = (datagram.source.ip(), datagram.destination.ip());
    match datagram.sum {
        Sum::Right => assert!(sums::is_right(destination, source, udp), "{datagram:x?}"),
        Sum::Zero => assert_eq!(sum, [0, 0]),
        // What a device was to complete, tc leaves to it; in front of tc there is none.
        Sum::Offloaded => (),
        other @ Sum::Wrong => panic!("{other:?} can't be compared: {datagram:x?}"),
    }
}

/// T1 and its Error Estimate as the program wrote them, into what was computed without.
pub(crate) fn copy_t1(mode: Mode, from: &[u8], to: &mut [u8]) {
    let range = match mode {
        Mode::Open => 4..14,
        Mode::Authenticated => 16..26,
    };
    to[range.clone()].copy_from_slice(&from[range]);
}

/// T2 and T3 as they were measured, into what was computed without them.
fn copy_times(mode: Mode, from: &[u8], to: &mut [u8]) {
    let (t3, t2) = match mode {
        Mode::Open => (4..12, 16..24),
        Mode::Authenticated => (16..24, 32..40),
    };
    for range in [t3, t2] {
        to[range.clone()].copy_from_slice(&from[range]);
    }
}

pub(crate) fn slow_key(datagram: &Datagram) -> SlowKey {
    let sequence = datagram.payload.first_chunk().copied().map_or(0, u32::from_be_bytes);
    SlowKey { source: datagram.source, destination: datagram.destination, sequence }
}

pub(crate) fn publish(tables: &Tables, lease_until_ns: u64) {
    publish_before(tables, 0, lease_until_ns);
}

/// As if it had been published so many seconds ago.
pub(crate) fn publish_before(tables: &Tables, silent_s: i64, lease_until_ns: u64) {
    let mono = monotonic().as_ns();
    tables
        .publish(&Publication {
            offset_ns: offset_ns(),
            published_ns: (mono - silent_s * 1_000_000_000) as u64,
            lease_until_ns,
            tai_offset_s: tai_offset_s(),
            epoch: 1,
            error_estimate: estimate(),
            source: SyncSource::Gnss,
        })
        .unwrap();
}

/// Wall clock − monotonic clock, by the tightest of some bracketed readings: a test may
/// lose its CPU between two of them.
fn offset_ns() -> i64 {
    let bracketed = |_| {
        let before = monotonic().as_ns();
        let wall = wall().as_ns();
        let after = monotonic().as_ns();
        (after - before, wall - before - (after - before) / 2)
    };
    (0..16).map(bracketed).min().unwrap().1
}

fn estimate() -> ErrorEstimate {
    ErrorEstimate::from_bits(0x8ad2)
}

pub(crate) fn ahead_ns(format: Format) -> i64 {
    match format {
        Format::Ntp => 0,
        Format::Ptp => i64::from(tai_offset_s()) * 1_000_000_000,
    }
}

pub(crate) fn clock(format: Format) -> Clock {
    let z = if format == Format::Ptp { 0x4000 } else { 0 };
    Clock {
        format,
        tai_offset_s: tai_offset_s(),
        error_estimate: ErrorEstimate::from_bits(estimate().bits() | z),
        source: SyncSource::Gnss,
        methods: [2, 2],
    }
}

/// Zero on a machine that nobody told; then PTP times are UTC.
fn tai_offset_s() -> i32 {
    let [tai, utc] = [11, libc::CLOCK_REALTIME].map(read_clock);
    i32::try_from((tai - utc + 500_000_000) / 1_000_000_000).unwrap()
}

pub(crate) fn monotonic() -> MonoTime {
    MonoTime::from_ns(read_clock(libc::CLOCK_MONOTONIC))
}

pub(crate) fn wall() -> WallTime {
    WallTime::from_ns(read_clock(libc::CLOCK_REALTIME))
}

fn read_clock(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, to a live one.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut time) }, 0);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

pub(crate) fn request(mode: Mode, sequence: u32, ssid: u16) -> Vec<u8> {
    let mut payload = vec![0; mode.base_len()];
    let timestamp = Timestamp::encode(Format::Ntp, wall());
    let error_estimate = ErrorEstimate::from_bits(0x0001);
    Request { sequence, timestamp, error_estimate, ssid: Some(ssid) }.emit(mode, &mut payload);
    payload
}

pub(crate) fn open_request(sequence: u32, ssid: u16) -> Vec<u8> {
    request(Mode::Open, sequence, ssid)
}
