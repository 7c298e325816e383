//! One thread that sends, receives, answers and gives up.
//!
//! Everything that has to do with time happens here, in the order in which the kernel
//! tells of it. Notices of what was sent are read before what was received, so that a
//! reply finds the better time of its request.

mod answering;
mod copies;
mod keys;
mod receive;
mod reflecting;
mod seats;
mod sending;

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use net_sys::Monitor;
use net_sys::host::ClockWatch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stamp_bpf::{Answered, Notice};
use stamp_proto::clock::MonoTime;

use crate::clock::{HostClock, monotonic};
use crate::control::{Command, Commands, Controls};
use crate::error::Error;
use crate::kernel::{Kernel, Lane};
use crate::outlet::Outlet;
use crate::resolver::Resolver;
use crate::socket::{LONGEST, Socket};
use crate::sync::{Discipline, Watch};

pub(crate) use answering::{Answering, Path};
pub(crate) use keys::KeyFiles;
use receive::Packet;
pub(crate) use reflecting::Reflecting;
pub(crate) use sending::{Plan as SendingPlan, Sending};

/// Both roles, as far as they are played, on their sockets.
#[derive(Debug)]
pub(crate) struct Service {
    clock: HostClock,
    watch: Watch,
    resolver: Option<Resolver>,
    clock_set: ClockWatch,
    sockets: Vec<Socket>,
    senders: Vec<Sending>,
    reflectors: Vec<Reflecting>,
    kernels: Vec<Kernel>,
    monitor: Monitor,
    commands: Commands,
    stopped: bool,
    /// Packets that belong to nobody.
    unsolicited: u64,
    looked: MonoTime,
}

/// What a service is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) clock: HostClock,
    /// Who tells of the clock.
    pub(crate) watch: Watch,
    /// Where the names of targets lead, if any have names.
    pub(crate) resolver: Option<Resolver>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) senders: Vec<Sending>,
    pub(crate) reflectors: Vec<Reflecting>,
    pub(crate) kernels: Vec<Kernel>,
}

/// What there is to look at.
#[derive(Debug, Clone, Copy)]
struct Ready {
    sockets: bool,
    commands: bool,
    devices: bool,
    /// The clock may have been set.
    clock: bool,
}

/// What is left when everything is over.
#[derive(Debug)]
pub(crate) struct Over {
    /// Whether it was told to stop before everything was done.
    pub(crate) stopped: bool,
    pub(crate) clock: HostClock,
    pub(crate) senders: Vec<Sending>,
    pub(crate) reflectors: Vec<Reflecting>,
}

impl Service {
    /// Everything that is needed, before the first packet.
    pub(crate) fn new(parts: Parts) -> Result<Self, Error> {
        let Parts { clock, watch, resolver, sockets, senders, reflectors, kernels } = parts;
        Ok(Self {
            clock,
            watch,
            resolver,
            clock_set: ClockWatch::start().map_err(Error::thread)?,
            sockets,
            senders,
            reflectors,
            kernels,
            monitor: Monitor::open_with_addresses()?,
            commands: Commands::new()?,
            stopped: false,
            unsolicited: 0,
            looked: monotonic(),
        })
    }

    /// Runs until it is told to stop or everything is done.
    pub(crate) fn run(mut self, outlet: &mut Outlet) -> Result<Over, Error> {
        let mut buffer = vec![0; LONGEST];
        outlet.begin(&self);
        while !self.is_over() {
            let ready = self.wait()?;
            if ready.commands {
                self.obey(outlet);
            }
            if ready.devices {
                self.look_at_devices()?;
            }
            self.hear_bells()?;
            if ready.sockets {
                self.read_all(&mut buffer)?;
            }
            self.send_due();
            self.handle_time(ready.clock)?;
            outlet.look(&self);
        }
        self.senders.iter_mut().for_each(Sending::finish);
        self.kernels.into_iter().try_for_each(Kernel::finish)?;
        Ok(Over {
            stopped: self.stopped,
            clock: self.clock,
            senders: self.senders,
            reflectors: self.reflectors,
        })
    }

    /// Controls that work from any thread.
    pub(crate) fn controls(&self) -> Controls {
        self.commands.controls()
    }

    /// The roles of Session-Sender.
    pub(crate) fn senders(&self) -> &[Sending] {
        &self.senders
    }

    /// The roles of Session-Reflector.
    pub(crate) fn reflectors(&self) -> &[Reflecting] {
        &self.reflectors
    }

    /// Of what the programs could not tell, for want of room.
    pub(crate) fn lost_events(&self) -> u64 {
        self.kernels.iter().map(Kernel::lost_events).sum()
    }

    /// How programs are attached, where there are some.
    pub(crate) fn lane(&self) -> Option<Lane> {
        self.kernels.first().map(Kernel::lane)
    }

    /// The UDP ports in use.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let ports: BTreeSet<u16> = self.sockets.iter().map(Socket::port).collect();
        ports.into_iter().collect()
    }

    /// This host's clocks.
    pub(crate) const fn clock(&self) -> &HostClock {
        &self.clock
    }

    /// Packets that belonged to nobody.
    pub(crate) const fn unsolicited(&self) -> u64 {
        self.unsolicited
    }

    /// Sends nothing more; asked twice, waits for nothing either.
    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            self.senders.iter_mut().for_each(Sending::finish);
        }
        self.senders.iter_mut().for_each(Sending::stop);
    }

    /// A reflector goes on until it is told to stop, a sender until what it sent is answered
    /// or given up.
    fn is_over(&self) -> bool {
        let has_end = self.stopped || self.reflectors.is_empty();
        has_end && self.senders.iter().all(Sending::is_over)
    }

    fn obey(&mut self, outlet: &Outlet) {
        while let Some(command) = self.commands.next() {
            match command {
                Command::Stop => self.stop(),
                Command::Reload => self.read_keys(),
                // Whoever asked may be gone.
                Command::Show(part, reply) => drop(reply.send(outlet.show(self, part))),
            }
        }
    }

    /// Takes over what the key files hold by now; what can't be used leaves the old keys.
    fn read_keys(&mut self) {
        for reflecting in &mut self.reflectors {
            let kernel = reflecting.kernel.as_ref().map(|answering| answering.kernel);
            let kernel = kernel.and_then(|at| self.kernels.get_mut(at));
            tell_of_keys(reflecting.read_keys(kernel));
        }
        for sending in &mut self.senders {
            let kernel = sending.kernel.and_then(|at| self.kernels.get_mut(at));
            tell_of_keys(sending.read_keys(kernel));
        }
    }

    /// Until a packet comes, one is due, or a time is over; tells what there is to look at.
    fn wait(&self) -> Result<Ready, Error> {
        let due = self
            .senders
            .iter()
            .filter_map(Sending::next)
            .chain(self.reflectors.iter().filter_map(Reflecting::next))
            .fold(self.looked.after(LOOK_NS), MonoTime::min);
        // Replies have their times already: where many come, none wakes the thread.
        let is_busy = self.senders.iter().any(Sending::is_busy);
        let due = if is_busy { due.min(monotonic().after(BELLS_NS)) } else { due };
        let ns = due.since(monotonic()).max(0) as u64;
        let timeout = Timespec::try_from(Duration::from_nanos(ns)).unwrap_or_default();
        let mut waits: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
            .collect();
        waits.push(PollFd::from_borrowed_fd(self.commands.as_fd(), PollFlags::IN));
        waits.push(PollFd::from_borrowed_fd(self.monitor.as_fd(), PollFlags::IN));
        waits.push(PollFd::from_borrowed_fd(self.clock_set.as_fd(), PollFlags::IN));
        let bells = self.kernels.iter().map(Kernel::bell).filter(|_| !is_busy);
        waits.extend(bells.map(|bell| PollFd::from_borrowed_fd(bell, PollFlags::IN)));
        match poll(&mut waits, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::Socket { action: "waiting for packets", source: errno.into() });
            }
        }
        let (sockets, others) = waits.split_at(self.sockets.len());
        let is_ready = |wait: &PollFd<'_>| !wait.revents().is_empty();
        Ok(Ready {
            sockets: sockets.iter().any(is_ready),
            commands: others.first().is_some_and(is_ready),
            devices: others.get(1).is_some_and(is_ready),
            clock: others.get(2).is_some_and(is_ready),
        })
    }

    fn send_due(&mut self) {
        let Self { senders, reflectors, clock, sockets, .. } = self;
        senders.iter_mut().for_each(|sending| sending.send_due(clock, sockets));
        reflectors.iter_mut().for_each(|reflecting| reflecting.send_due(clock, sockets));
    }

    fn handle_time(&mut self, is_clock_ready: bool) -> Result<(), Error> {
        let now = monotonic();
        let own = self.clock.own();
        self.senders.iter_mut().for_each(|sending| sending.handle_timeout(now, own));
        let was_set = is_clock_ready && self.was_clock_set()?;
        if now.since(self.looked) < LOOK_NS && !was_set {
            return Ok(());
        }
        self.looked = now;
        self.look_at_discipline();
        self.follow_names();
        let step = self.clock.look()?;
        if let Some(step) = step {
            tracing::warn!(
                event = "clock.step",
                delta_ns = step.delta_ns,
                "The clock of this host was set"
            );
        }
        for sending in &mut self.senders {
            step.into_iter().for_each(|step| sending.handle_local_step(step));
            sending.judge(now, own);
        }
        self.reflectors.iter_mut().for_each(|reflecting| reflecting.expire(now));
        self.follow_devices(false);
        self.kernels.iter().try_for_each(|kernel| kernel.publish(&self.clock))
    }

    fn was_clock_set(&mut self) -> Result<bool, Error> {
        let was_set = self.clock_set.was_set();
        was_set.map_err(|source| Error::Socket { action: "watching the clock", source })
    }

    fn follow_names(&mut self) {
        let found: Vec<_> = self.resolver.iter().flat_map(Resolver::found).collect();
        for (named, addresses) in found {
            self.senders[named.sender].follow_name(named.target, &addresses);
        }
    }

    fn look_at_discipline(&mut self) {
        let told = self.watch.latest();
        let source = |told: Option<Discipline>| told.map(|told| told.source);
        if source(told) != source(self.clock.discipline()) {
            tracing::info!(
                event = "clock.source",
                source = told.map_or("unknown", |told| told.source.name()),
                error_ns = told.and_then(|told| told.error_ns),
                "Another source keeps the clock of this host"
            );
        }
        self.clock.set_discipline(told);
    }

    /// Follows devices that came, went, or are called otherwise.
    fn look_at_devices(&mut self) -> Result<(), Error> {
        let mut have_changed = false;
        while self.monitor.poll(Duration::ZERO)?.is_some() {
            have_changed = true;
        }
        if have_changed {
            self.follow_devices(true);
        }
        Ok(())
    }

    fn follow_devices(&mut self, have_changed: bool) {
        if have_changed {
            self.sockets.iter_mut().for_each(Socket::follow_device);
            for sending in &mut self.senders {
                if let Err(error) = sending.look_at_device() {
                    tracing::debug!(event = "device.unknown", %error, "A device can't be looked at");
                }
            }
        }
        for (at, kernel) in self.kernels.iter_mut().enumerate() {
            let mut followed = kernel.look_at_devices(have_changed);
            for (own, sending) in self.senders.iter_mut().enumerate() {
                if sending.kernel == Some(at) && (have_changed || !sending.is_seated()) {
                    let seated = sending.take_seats(own, kernel);
                    followed = followed.and(seated);
                }
            }
            // The sockets take the times of what the programs are not on.
            if let Err(error) = followed {
                tracing::warn!(event = "stamp.unattached", %error, "Programs can't follow a device");
            }
        }
    }

    /// Takes over what the programs have to tell.
    fn hear_bells(&mut self) -> Result<(), Error> {
        let own = self.clock.own();
        for (at, kernel) in self.kernels.iter_mut().enumerate() {
            for notice in kernel.ring()? {
                match notice {
                    Notice::Reply(bell) => {
                        if let Some((sender, target)) = kernel.owner(bell.index) {
                            self.senders[sender].handle_bell(target, &bell, own);
                        }
                    }
                    Notice::Answered(Answered { session, near_end_ns }) => {
                        let mut own = self.reflectors.iter_mut();
                        let own = own.find(|reflecting| reflecting.is_answered_by(at));
                        own.into_iter().for_each(|own| own.record(&session, near_end_ns));
                    }
                }
            }
        }
        Ok(())
    }
}

fn tell_of_keys(read: Result<bool, Error>) {
    match read {
        Ok(false) => {}
        Ok(true) => tracing::info!(event = "key.rotated", "Keys have changed"),
        Err(error) => {
            tracing::warn!(event = "key.kept", %error, "The keys stay what they were");
        }
    }
}

/// How long a reply may wait until it is counted, where many come.
const BELLS_NS: i64 = 10_000_000;

/// How often the clock is looked at, and what is only told roughly.
const LOOK_NS: i64 = 1_000_000_000;
