//! The role of Session-Sender.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use stamp_bpf::Bell;
use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::packet::Shape;
use stamp_proto::sender::Moment;
use stamp_proto::timestamp::Format;

use super::{KeyFiles, Packet};
use crate::awaited::Awaited;
use crate::clock::{HostClock, Own, Step};
use crate::histogram::HistogramFile;
use crate::kernel::Lane;
use crate::resolver::choose;
use crate::samples::Samples;
use crate::socket::{Leave, Socket};
use crate::target::{Taken, Target, chosen_ssid};
use crate::timetable::Timetable;

/// All targets, and when they are due.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) targets: Vec<Target>,
    by_address: HashMap<SocketAddr, usize>,
    timetable: Timetable,
    /// The sockets it sends by, as the service counts them, and what was sent by each.
    sockets: Vec<(usize, Awaited<Sent>)>,
    pub(crate) plan: Plan,
    /// The programs that take the times of its packets, as the service counts them.
    pub(crate) kernel: Option<usize>,
    pub(crate) key_files: KeyFiles,
    /// How those are attached.
    pub(crate) lane: Option<Lane>,
    /// The earliest time at which a request may be over.
    timeout: Option<MonoTime>,
    /// The device that was named is gone, or switched off.
    pub(super) is_down: bool,
    payload: Vec<u8>,
}

/// What all targets have in common.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Device the packets leave by, or auto.
    pub(crate) device: String,
    /// Port they leave from.
    pub(crate) source_port: u16,
    /// Histograms of the targets, in their order.
    pub(crate) files: Vec<HistogramFile>,
    /// Where each reply is told.
    pub(crate) samples: Option<Samples>,
    /// Packets to each; 0 is without end.
    pub(crate) count: u32,
    /// When to send nothing more.
    pub(crate) end: Option<MonoTime>,
    /// Nanoseconds between two packets to one target.
    pub(crate) interval_ns: i64,
    /// DSCP and ECN of requests.
    pub(crate) traffic_class: u8,
    /// Format of T1.
    pub(crate) format: Format,
    /// Time within which a target must have answered to be up.
    pub(crate) patience_ns: i64,
}

/// A packet that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    target: usize,
    sequence: u32,
    at: Moment,
}

impl Sending {
    /// Targets with their timetable, on some of the service's sockets.
    pub(crate) fn new(
        targets: Vec<Target>,
        timetable: Timetable,
        plan: Plan,
        sockets: &[usize],
    ) -> Self {
        let by_address =
            targets.iter().enumerate().map(|(at, target)| (key(target.address), at)).collect();
        let sockets = sockets.iter().map(|&at| (at, Awaited::new())).collect();
        Self {
            targets,
            by_address,
            timetable,
            sockets,
            plan,
            kernel: None,
            lane: None,
            key_files: KeyFiles::default(),
            timeout: None,
            is_down: false,
            payload: Vec::new(),
        }
    }

    /// A target of both that is asked from one port: its replies could not be told apart.
    pub(crate) fn shared_with(&self, other: &Self) -> Option<&str> {
        let on_one_socket = self.sockets.iter().any(|(socket, _)| other.uses(*socket));
        let mut own = self.targets.iter().filter(|_| on_one_socket);
        let shared = own.find(|target| other.by_address.contains_key(&key(target.address)));
        shared.map(|target| target.name.as_str())
    }

    /// When something has to be done.
    pub(super) fn next(&self) -> Option<MonoTime> {
        let due = self.timetable.next().map(|due| self.plan.end.map_or(due, |end| due.min(end)));
        self.timeout.into_iter().chain(due).min()
    }

    /// Whether so much is sent that waking up for each reply would cost more than all else.
    pub(super) fn is_busy(&self) -> bool {
        let per_second = self.targets.len() as f64 * 1e9 / self.plan.interval_ns.max(1) as f64;
        self.kernel.is_some() && per_second > BUSY
    }

    /// True when nothing is left to send or to wait for.
    pub(super) fn is_over(&self) -> bool {
        let is_settled = |target: &Target| target.sender.ledger().open().is_empty();
        self.timetable.next().is_none() && self.targets.iter().all(is_settled)
    }

    pub(super) fn send_due(&mut self, clock: &HostClock, sockets: &mut [Socket]) {
        if self.plan.end.is_some_and(|end| clock.now().mono >= end) {
            self.stop();
        }
        while let Some((target, missed)) = self.timetable.take(clock.now().mono) {
            self.targets[target].overruns += missed;
            self.send(target, clock, sockets);
            let sent = self.targets[target].sender.ledger().counts().sent;
            if self.plan.count > 0 && sent >= u64::from(self.plan.count) {
                self.timetable.remove(target);
            }
        }
    }

    /// A request that no socket takes is lost like one that the network drops.
    fn send(&mut self, at: usize, clock: &HostClock, all: &mut [Socket]) {
        let Self { targets, payload, plan, sockets, .. } = self;
        let target = &mut targets[at];
        let traffic_class = plan.traffic_class;
        let source = target.seat.as_ref().map(|seat| seat.ends().0.ip());
        let leave = Leave { destination: target.address, source, ifindex: 0, traffic_class };
        let ahead_s = match plan.format {
            Format::Ntp => 0,
            Format::Ptp => clock.tai_offset_s().unwrap_or(0),
        };
        let now = clock.now();
        target.begin(now.mono);
        let sequence =
            target.sender.request(now, ahead_s, clock.error_estimate(plan.format), payload);
        let over = now.mono.after(target.sender.settings().timeout_ns);
        self.timeout = Some(self.timeout.map_or(over, |timeout| timeout.min(over)));
        let mut own = sockets.iter_mut();
        let Some((socket, awaited)) =
            own.find(|(socket, _)| all[*socket].serves(target.address.ip()))
        else {
            target.handle_send_error(nix::errno::Errno::ENETUNREACH as i32);
            return;
        };
        match all[*socket].send(payload, &leave) {
            // Where the programs take the times, the socket is not asked for any.
            Ok(_) if target.seat.is_some() => {}
            Ok(count) => awaited.push(count, Sent { target: at, sequence, at: now }),
            Err(error) => target.handle_send_error(error.raw_os_error().unwrap_or_default()),
        }
    }

    /// Takes over when a packet left, if it was one of ours.
    pub(super) fn handle_sent(
        &mut self,
        socket: usize,
        count: u32,
        left: WallTime,
        now: Moment,
    ) -> bool {
        let own = self.sockets.iter_mut().find(|(at, _)| *at == socket);
        let Some(sent) = own.and_then(|(_, awaited)| awaited.take(count)) else { return false };
        let left = HostClock::before(now, left);
        // A time that cannot be that of this packet is of another one.
        if (0..=now.mono.since(sent.at.mono)).contains(&left.mono.since(sent.at.mono)) {
            self.targets[sent.target].sender.handle_sent(sent.sequence, left);
        }
        true
    }

    /// Takes over that a packet came back, if it was one of ours.
    pub(super) fn handle_refusal(&mut self, socket: usize, destination: SocketAddr) {
        if let Some(&at) = self.by_address.get(&key(destination)).filter(|_| self.uses(socket)) {
            self.targets[at].handle_refusal();
        }
    }

    /// Whether the packet was a reply to one of us, valid or not.
    pub(super) fn handle_reply(
        &mut self,
        socket: usize,
        source: SocketAddr,
        packet: &Packet<'_>,
        own: Own,
    ) -> bool {
        let Some(&at) = self.by_address.get(&source).filter(|_| self.uses(socket)) else {
            return false;
        };
        let target = &mut self.targets[at];
        if Shape::of(target.sender.settings().mode(), packet.payload) == Shape::Request {
            return false;
        }
        if let Ok(taken) = target.handle_reply(packet.payload, &packet.arrival, own) {
            let base = target.sender.settings().mode().base_len();
            let by = if target.seat.is_some() { KERNEL } else { SOCKET };
            self.tell(at, &taken, [by, SOCKET], packet.payload.get(base..).unwrap_or(&[]));
        }
        true
    }

    /// Takes over what the programs tell of a reply to one of us.
    pub(super) fn handle_bell(&mut self, at: usize, bell: &Bell, own: Own) {
        let taken = self.targets[at].handle_bell(bell, own);
        // Of a further copy nothing is known but its number.
        if let Some(taken) = taken.filter(|_| !bell.duplicate) {
            self.tell(at, &taken, [KERNEL; 2], &bell.extensions);
        }
    }

    /// Gives up what is over. No request is over before the time that was noted when the
    /// oldest of them left, whatever was answered since.
    pub(super) fn handle_timeout(&mut self, now: MonoTime, own: Own) {
        if self.timeout.is_some_and(|timeout| timeout <= now) {
            self.give_up(now, own);
        }
    }

    fn give_up(&mut self, now: MonoTime, own: Own) {
        for at in 0..self.targets.len() {
            for taken in self.targets[at].recover(now, own) {
                self.tell(at, &taken, [KERNEL; 2], &[]);
            }
            self.targets[at].sender.handle_timeout(now);
        }
        self.timeout = self.targets.iter().filter_map(|target| target.sender.poll_timeout()).min();
    }

    /// Goes on with the target at another address, which is another session.
    pub(super) fn follow_name(&mut self, at: usize, found: &[IpAddr]) {
        let target = &mut self.targets[at];
        let Some(address) = choose(target.address, found) else { return };
        if self.by_address.contains_key(&key(address)) {
            tracing::warn!(event = "target.shared", name = target.name, %address, "A name has the address of another target");
            return;
        }
        tracing::info!(event = "target.moved", name = target.name, %address, "A name has another address");
        self.by_address.remove(&key(target.address));
        self.by_address.insert(key(address), at);
        target.address = address;
        target.begin_again(chosen_ssid());
    }

    fn tell(&mut self, at: usize, taken: &Taken, methods: [&'static str; 2], area: &[u8]) {
        if let Some(samples) = &mut self.plan.samples {
            samples.write(&self.targets[at].name, taken, methods, area);
        }
    }

    pub(super) fn handle_local_step(&mut self, step: Step) {
        for target in &mut self.targets {
            target.tally.handle_local_step(step);
            // What the other end remembers of a signed session is newer than now.
            if step.delta_ns < 0 && target.sender.settings().keys.is_some() {
                target.begin_again(chosen_ssid());
            }
        }
    }

    pub(super) fn judge(&mut self, now: MonoTime, own: Own) {
        // Losses that nothing explains are called unknown some time behind their timeout.
        self.give_up(now, own);
        let patience = self.plan.patience_ns;
        for target in &mut self.targets {
            if self.is_down {
                target.blame_device();
            }
            target.judge(now, patience);
        }
    }

    /// The sockets it sends by, as the service counts them.
    pub(crate) fn sockets(&self) -> Vec<usize> {
        self.sockets.iter().map(|(at, _)| *at).collect()
    }

    /// Whether it sends by this socket.
    pub(crate) fn uses(&self, socket: usize) -> bool {
        self.sockets.iter().any(|(at, _)| *at == socket)
    }

    /// Brings the histogram files up to date.
    pub(crate) fn write_histograms(&self) {
        for (file, target) in self.plan.files.iter().zip(&self.targets) {
            file.update(target.tally.bins.as_ref());
        }
    }

    /// Sends nothing more.
    pub(super) fn stop(&mut self) {
        (0..self.targets.len()).for_each(|target| self.timetable.remove(target));
    }

    pub(super) fn finish(&mut self) {
        self.targets.iter_mut().for_each(|target| target.sender.finish());
        if let Some(samples) = &mut self.plan.samples {
            samples.flush();
        }
    }
}

/// Packets a second from which on replies are counted when there is time.
const BUSY: f64 = 100.0;

/// Who took a time.
const KERNEL: &str = "kernel";
const SOCKET: &str = "socket";

/// The scope of a link-local address is not told with what comes from it.
pub(super) fn key(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}
