//! The role of Session-Reflector.

use std::collections::{BTreeMap, HashMap};

use stamp_proto::clock::MonoTime;
use stamp_proto::packet::Request;
use stamp_proto::reflector::{Arrival as Came, Clock, Reflector, Refusal, SessionKey};
use stamp_proto::sender::Arrival;
use stamp_proto::statistics::{Bins, Distribution};
use stamp_proto::timestamp::Format;
use stamp_proto::tlv::{SyncSource, TimestampMethod};

use crate::clock::HostClock;
use crate::socket::{Datagram, Leave, Socket};

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
    /// Of all durations in the bins, in nanoseconds.
    pub(crate) sum_ns: i128,
}

impl Reflecting {
    /// A reflector that has answered nothing.
    pub(crate) fn new(reflector: Reflector, format: Format, bins: Option<Bins>) -> Self {
        let dropped = Refusal::ALL.iter().map(|refusal| (refusal.reason(), 0)).collect();
        Self {
            reflector,
            format,
            requests: 0,
            replies: 0,
            dropped,
            near_end: HashMap::new(),
            bins,
            sum_ns: 0,
        }
    }

    /// Answers a packet, or counts why not.
    pub(super) fn handle(
        &mut self,
        socket: &mut Socket,
        datagram: &Datagram,
        payload: &[u8],
        arrival: &Arrival,
        host: &HostClock,
    ) {
        if let Err(refusal) = self.answer(socket, datagram, payload, arrival, host) {
            *self.dropped.entry(refusal.reason()).or_default() += 1;
        }
    }

    fn answer(
        &mut self,
        socket: &mut Socket,
        datagram: &Datagram,
        payload: &[u8],
        arrival: &Arrival,
        host: &HostClock,
    ) -> Result<(), Refusal> {
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
        socket.send(&answer.payload, &leave).map_err(|_| Refusal::NoRoute)?;
        self.replies += 1;
        self.note(&answer, payload, &came);
        Ok(())
    }

    /// What the reflector's clock says of the way to it, as it stands.
    fn note(&mut self, answer: &stamp_proto::reflector::Answer, payload: &[u8], came: &Came<'_>) {
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
