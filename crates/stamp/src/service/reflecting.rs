//! The role of Session-Reflector.

use std::collections::{BTreeMap, HashMap};

use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::packet::Request;
use stamp_proto::reflector::{Answer, Arrival as Came, Clock, Reflector, Refusal, SessionKey};
use stamp_proto::statistics::{Bins, Distribution};
use stamp_proto::timestamp::Format;
use stamp_proto::tlv::{SyncSource, TimestampMethod};

use super::Packet;
use crate::awaited::Awaited;
use crate::clock::HostClock;
use crate::histogram::HistogramFile;
use crate::socket::{Leave, Socket};

/// A reflector, what it counted, and what it knows of the way to it.
#[derive(Debug)]
pub(crate) struct Reflecting {
    pub(crate) reflector: Reflector,
    pub(crate) format: Format,
    pub(crate) requests: u64,
    pub(crate) replies: u64,
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    pub(crate) near_end: HashMap<SessionKey, Distribution>,
    pub(crate) bins: Option<Bins>,
    file: Option<HistogramFile>,
    /// Of all durations in the bins, in nanoseconds.
    pub(crate) sum_ns: i128,
    /// The sockets it answers by, as the service counts them, and what was sent by each.
    sockets: Vec<(usize, Awaited<(SessionKey, u32)>)>,
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
            requests: 0,
            replies: 0,
            dropped,
            near_end: HashMap::new(),
            bins,
            file,
            sum_ns: 0,
            sockets,
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
        if let Err(refusal) = self.answer(at, socket, packet, host) {
            *self.dropped.entry(refusal.reason()).or_default() += 1;
        }
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
        let came = Came {
            payload,
            source: datagram.source,
            destination: (destination, socket.port()).into(),
            now: arrival.at.mono,
            received: arrival.at.wall,
            ttl: arrival.ttl,
            traffic_class: arrival.traffic_class,
            member: None,
            source_mac: None,
        };
        let mut answer = self.reflector.handle(&came, &self.clock(host))?;
        self.requests += 1;
        let leave = Leave {
            destination: answer.wanted.destination,
            source: Some(answer.wanted.source),
            ifindex: if answer.wanted.same_link { datagram.told.ifindex } else { 0 },
            traffic_class: answer.wanted.traffic_class,
        };
        let sent = self.clock(host).encode(host.now().wall);
        self.reflector.stamp(&mut answer, sent);
        let count = socket.send(&answer.payload, &leave).map_err(|_| Refusal::NoRoute)?;
        self.replies += 1;
        self.await_notice(at, count, &answer);
        self.note(&answer, payload, &came);
        Ok(())
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
        let near_end = came.received.since(sent);
        if let Some(session) = answer.session() {
            self.near_end.entry(*session).or_default().record(near_end);
        }
        if let Some(bins) = &mut self.bins {
            bins.record(near_end);
            self.sum_ns += i128::from(near_end);
        }
    }

    /// Brings the histogram file up to date.
    pub(crate) fn write_histogram(&self) {
        self.file.iter().for_each(|file| file.update(self.bins.as_ref()));
    }

    pub(super) fn expire(&mut self, now: MonoTime) {
        self.reflector.expire(now);
        if self.near_end.len() > self.reflector.sessions().len() {
            let known: std::collections::HashSet<_> =
                self.reflector.sessions().iter().map(|(key, _)| *key).collect();
            self.near_end.retain(|key, _| known.contains(key));
        }
    }

    fn clock(&self, host: &HostClock) -> Clock {
        let software = TimestampMethod::SoftwareLocal as u8;
        Clock {
            format: self.format,
            tai_offset_s: host.tai_offset_s().unwrap_or(0),
            error_estimate: host.error_estimate(self.format),
            source: if host.local().synchronized { SyncSource::Ntp } else { SyncSource::Local },
            methods: [software, software],
        }
    }
}
