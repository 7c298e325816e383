//! The role of Session-Reflector.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use stamp_bpf::{Event, SlowKey};
use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::packet::Request;
use stamp_proto::reflector::{Answer, Arrival as Came, Clock, Reflector, Refusal, SessionKey};
use stamp_proto::statistics::{Bins, Distribution};
use stamp_proto::timestamp::Format;
use stamp_proto::tlv::TimestampMethod;

use super::copies::{Copies, Copy};
use super::{Answering, KeyFiles, Packet, Path};
use crate::awaited::Awaited;
use crate::clock::HostClock;
use crate::histogram::HistogramFile;
use crate::socket::{Leave, Socket};

/// A reflector, what it counted, and what it knows of the way to it.
#[derive(Debug)]
pub(crate) struct Reflecting {
    pub(crate) reflector: Reflector,
    pub(crate) format: Format,
    /// What was answered here, rather than by programs in the kernel.
    by_socket: Path,
    dropped: BTreeMap<&'static str, u64>,
    pub(crate) near_end: HashMap<SessionKey, Distribution>,
    pub(crate) bins: Option<Bins>,
    file: Option<HistogramFile>,
    /// Of all durations in the bins, in nanoseconds.
    pub(crate) sum_ns: i128,
    /// The sockets it answers by, as the service counts them, and what was sent by each.
    sockets: Vec<(usize, Awaited<(SessionKey, u32)>)>,
    copies: Copies,
    pub(crate) key_files: KeyFiles,
    /// Sessions that had no room when that was told last.
    told_refused: (u64, Option<MonoTime>),
    /// Member links by the index of their device.
    pub(crate) members: Vec<(u32, u16)>,
    /// The programs that answer for it, where there are some.
    pub(crate) kernel: Option<Answering>,
}

impl Reflecting {
    /// A reflector that has answered nothing.
    pub(crate) fn new(
        reflector: Reflector,
        format: Format,
        histogram: Option<(Bins, HistogramFile)>,
        sockets: &[usize],
    ) -> Self {
        let (bins, file) = histogram.unzip();
        let sockets = sockets.iter().map(|&at| (at, Awaited::new())).collect();
        let dropped = Refusal::ALL.iter().map(|refusal| (refusal.reason(), 0)).collect();
        Self {
            reflector,
            format,
            by_socket: Path::default(),
            dropped,
            near_end: HashMap::new(),
            bins,
            file,
            sum_ns: 0,
            sockets,
            copies: Copies::default(),
            members: Vec::new(),
            key_files: KeyFiles::default(),
            told_refused: (0, None),
            kernel: None,
        }
    }

    /// Whether packets to this socket are for it.
    pub(super) fn uses(&self, socket: usize) -> bool {
        self.sockets.iter().any(|(at, _)| *at == socket)
    }

    /// Answers a packet, or counts why not.
    pub(super) fn handle(
        &mut self,
        at: usize,
        socket: &mut Socket,
        packet: &Packet<'_>,
        host: &HostClock,
    ) {
        self.by_socket.requests += 1;
        if let Err(refusal) = self.answer(at, socket, packet, host) {
            *self.dropped.entry(refusal.reason()).or_default() += 1;
        }
    }

    /// Number of the member link that a device is.
    fn member(&self, ifindex: u32) -> Option<u16> {
        self.members.iter().find(|(index, _)| *index == ifindex).map(|(_, id)| *id)
    }

    /// Whether these programs answer for it.
    pub(super) fn is_answered_by(&self, kernel: usize) -> bool {
        self.kernel.as_ref().is_some_and(|answering| answering.kernel == kernel)
    }

    /// What each way of answering did.
    pub(crate) fn paths(&self) -> Vec<(&'static str, Path)> {
        let by_kernel = self.kernel.iter().flat_map(Answering::paths);
        by_kernel.chain([("socket", self.by_socket)]).collect()
    }

    /// Requests that were not answered, by reason.
    pub(crate) fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let mut dropped = self.kernel.as_ref().map(Answering::dropped).unwrap_or_default();
        for (reason, amount) in &self.dropped {
            *dropped.entry(reason).or_default() += amount;
        }
        dropped
    }

    /// How many sessions there are, were refused for want of room, and were forgotten.
    pub(crate) fn session_counts(&self) -> [u64; 3] {
        let own = self.reflector.sessions();
        let by_kernel = self.kernel.as_ref().map_or([0; 3], |kernel| {
            let refused = kernel.happened(Event::SessionRefused);
            [kernel.session_count() as u64, refused, kernel.expired()]
        });
        let own = [own.len() as u64, own.refused(), own.expired()];
        std::array::from_fn(|n| own[n] + by_kernel[n])
    }

    /// Packets that were accepted with the previous key.
    pub(crate) fn old_keys(&self) -> u64 {
        let by_kernel = self.kernel.as_ref().map_or(0, |kernel| kernel.happened(Event::OldKey));
        self.reflector.old_keys() + by_kernel
    }

    fn answer(
        &mut self,
        at: usize,
        socket: &mut Socket,
        packet: &Packet<'_>,
        host: &HostClock,
    ) -> Result<(), Refusal> {
        let Packet { payload, datagram, arrival } = packet;
        let destination = datagram.told.destination.ok_or(Refusal::Internal)?;
        let destination = SocketAddr::new(destination, socket.port());
        let sequence = payload.first_chunk().map_or(0, |octets| u32::from_be_bytes(*octets));
        let key = SlowKey { source: datagram.source, destination, sequence };
        let left = self.kernel.as_ref().and_then(|kernel| kernel.left(&key));
        let came = Came {
            payload,
            source: datagram.source,
            destination,
            now: left.map_or(arrival.at.mono, |left| left.now),
            received: left.map_or(arrival.at.wall, |left| left.received),
            ttl: arrival.ttl,
            traffic_class: arrival.traffic_class,
            member: self.member(datagram.told.ifindex),
            source_mac: None,
        };
        let mut answer = self.decide(&came, &key, left.is_some(), host)?;
        let leave = Leave {
            destination: answer.wanted.destination,
            source: Some(answer.wanted.source),
            ifindex: if answer.wanted.same_link { datagram.told.ifindex } else { 0 },
            traffic_class: answer.wanted.traffic_class,
        };
        let sent = self.clock(host).encode(host.now().wall);
        self.reflector.stamp(&mut answer, sent);
        let count = socket.send(&answer.payload, &leave).map_err(|_| Refusal::NoRoute)?;
        self.by_socket.replies += 1;
        self.await_notice(at, count, &answer);
        self.note(&answer, payload, &came);
        self.copies.plan(Copy {
            due: host.now().mono,
            left: answer.copies.count.saturating_sub(1),
            socket: at,
            is_left: left.is_some(),
            leave,
            answer,
        });
        Ok(())
    }

    /// When the next copy of an answer is due.
    pub(super) fn next(&self) -> Option<MonoTime> {
        self.copies.next()
    }

    /// Sends the copies of answers that are due.
    pub(super) fn send_due(&mut self, host: &HostClock, sockets: &mut [Socket]) {
        let now = host.now().mono;
        for _ in 0..AT_ONCE {
            let Some(mut copy) = self.copies.take(now) else { return };
            self.renumber(&mut copy, now);
            let sent = self.clock(host).encode(host.now().wall);
            self.reflector.stamp(&mut copy.answer, sent);
            if let Ok(count) = sockets[copy.socket].send(&copy.answer.payload, &copy.leave) {
                self.by_socket.replies += 1;
                self.await_notice(copy.socket, count, &copy.answer);
            }
            copy.left -= 1;
            self.copies.plan(copy);
        }
    }

    fn renumber(&mut self, copy: &mut Copy, now: MonoTime) {
        let kernel = self.kernel.as_ref().filter(|_| copy.is_left);
        let session = copy.answer.session().copied();
        match (kernel, session) {
            (Some(kernel), Some(session)) => {
                let number = kernel.number(&session, now);
                number.into_iter().for_each(|number| copy.answer.renumber(number));
            }
            _ => self.reflector.repeat(&mut copy.answer),
        }
    }

    /// What the programs left to us has its session there too.
    fn decide(
        &mut self,
        came: &Came<'_>,
        key: &SlowKey,
        is_left: bool,
        host: &HostClock,
    ) -> Result<Answer, Refusal> {
        let clock = self.clock(host);
        let Some(kernel) = self.kernel.as_ref().filter(|_| is_left) else {
            return self.reflector.handle(came, &clock);
        };
        let mut enter = |session, request: &Request, is_numbered| {
            kernel.enter(&session, request, is_numbered, came.now)
        };
        let answer = self.reflector.handle_with(came, &clock, &mut enter);
        answer.inspect_err(|_| kernel.forget(key))
    }

    fn await_notice(&mut self, at: usize, count: u32, answer: &Answer) {
        let own = self.sockets.iter_mut().find(|(socket, _)| *socket == at);
        if let (Some((_, awaited)), Some(session)) = (own, answer.session()) {
            awaited.push(count, (*session, answer.sequence()));
        }
    }

    /// Takes over when a reply left, if it was one of ours: the next one of its session
    /// tells that in a Follow-Up.
    pub(super) fn handle_sent(
        &mut self,
        socket: usize,
        count: u32,
        left: WallTime,
        host: &HostClock,
    ) -> bool {
        let own = self.sockets.iter_mut().find(|(at, _)| *at == socket);
        let Some((session, sequence)) = own.and_then(|(_, awaited)| awaited.take(count)) else {
            return false;
        };
        let sent = self.clock(host).encode(left);
        self.reflector.handle_sent(&session, sequence, sent);
        true
    }

    /// What the reflector's clock says of the way to it, as it stands.
    fn note(&mut self, answer: &Answer, payload: &[u8], came: &Came<'_>) {
        let Ok(request) = Request::parse(answer.mode(), payload) else { return };
        let Some(sent) = request.timestamp.decode(request.error_estimate.format(), came.received)
        else {
            return;
        };
        let near_end_ns = came.received.since(sent);
        if let Some(session) = answer.session() {
            self.near_end.entry(*session).or_default().record(near_end_ns);
        }
        self.bin(near_end_ns);
    }

    /// Takes over what the programs say of the way to us.
    pub(super) fn record(&mut self, session: &SessionKey, near_end_ns: i64) {
        if self.near_end.len() < self.reflector.policy().max_sessions
            || self.near_end.contains_key(session)
        {
            self.near_end.entry(*session).or_default().record(near_end_ns);
        }
        self.bin(near_end_ns);
    }

    fn bin(&mut self, near_end_ns: i64) {
        if let Some(bins) = &mut self.bins {
            bins.record(near_end_ns);
            self.sum_ns += i128::from(near_end_ns);
        }
    }

    /// Brings the histogram file up to date.
    pub(crate) fn write_histogram(&self) {
        self.file.iter().for_each(|file| file.update(self.bins.as_ref()));
    }

    pub(super) fn expire(&mut self, now: MonoTime) {
        self.tell_of_room(now);
        self.reflector.expire(now);
        let by_kernel = match &mut self.kernel {
            None => Vec::new(),
            Some(kernel) => match kernel.expire(now) {
                Some(sessions) => sessions,
                None => return,
            },
        };
        let own = self.reflector.sessions().iter().map(|(key, _)| *key);
        let known: HashSet<SessionKey> = own.chain(by_kernel).collect();
        self.near_end.retain(|key, _| known.contains(key));
    }

    /// Tells once a minute that there is no room for more sessions.
    fn tell_of_room(&mut self, now: MonoTime) {
        let [_, refused, _] = self.session_counts();
        let (told, at) = self.told_refused;
        if refused > told && at.is_none_or(|at| now.since(at) >= MINUTE_NS) {
            self.told_refused = (refused, Some(now));
            tracing::warn!(
                event = "session.table_full",
                refused,
                "There is no room for more sessions: their requests are answered without a number"
            );
        }
    }

    fn clock(&self, host: &HostClock) -> Clock {
        let software = TimestampMethod::SoftwareLocal as u8;
        Clock {
            format: self.format,
            tai_offset_s: host.tai_offset_s().unwrap_or(0),
            error_estimate: host.error_estimate(self.format),
            source: host.source(),
            methods: [software, software],
        }
    }
}

const MINUTE_NS: i64 = 60_000_000_000;

/// So many of them before something else has its turn.
const AT_ONCE: usize = 256;
