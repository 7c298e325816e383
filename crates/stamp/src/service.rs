//! One thread that sends, receives, answers and gives up.
//!
//! Everything that has to do with time happens here, in the order in which the kernel
//! tells of it. Notices of what was sent are read before what was received, so that a
//! reply finds the better time of its request.

mod receive;
mod reflecting;
mod sending;

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stamp_proto::clock::MonoTime;

use crate::clock::{HostClock, monotonic};
use crate::control::{Command, Commands, Controls};
use crate::error::Error;
use crate::outlet::Outlet;
use crate::socket::{LONGEST, Socket};

use receive::Packet;
pub(crate) use reflecting::Reflecting;
pub(crate) use sending::{Plan as SendingPlan, Sending};

/// Both roles, as far as they are played, on their sockets.
#[derive(Debug)]
pub(crate) struct Service {
    clock: HostClock,
    sockets: Vec<Socket>,
    senders: Vec<Sending>,
    reflectors: Vec<Reflecting>,
    commands: Commands,
    stopped: bool,
    /// Packets that belong to nobody.
    unsolicited: u64,
    looked: MonoTime,
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
    pub(crate) fn new(
        clock: HostClock,
        sockets: Vec<Socket>,
        senders: Vec<Sending>,
        reflectors: Vec<Reflecting>,
    ) -> Result<Self, Error> {
        let looked = monotonic();
        let commands = Commands::new()?;
        Ok(Self {
            clock,
            sockets,
            senders,
            reflectors,
            commands,
            stopped: false,
            unsolicited: 0,
            looked,
        })
    }

    /// Runs until it is told to stop or everything is done.
    pub(crate) fn run(mut self, outlet: &mut Outlet) -> Result<Over, Error> {
        let mut buffer = vec![0; LONGEST];
        outlet.begin(&self);
        while !self.is_over() {
            self.wait()?;
            self.obey(outlet);
            self.read_all(&mut buffer)?;
            self.send_due();
            self.handle_time()?;
            outlet.look(&self);
        }
        self.senders.iter_mut().for_each(Sending::finish);
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
                // Whoever asked may be gone.
                Command::Show(part, reply) => drop(reply.send(outlet.show(self, part))),
            }
        }
    }

    /// Until a packet comes, one is due, or a time is over.
    fn wait(&self) -> Result<(), Error> {
        let due = self
            .senders
            .iter()
            .filter_map(Sending::next)
            .fold(self.looked.after(LOOK_NS), MonoTime::min);
        let ns = due.since(monotonic()).max(0) as u64;
        let timeout = Timespec::try_from(Duration::from_nanos(ns)).unwrap_or_default();
        let mut waits: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
            .collect();
        waits.push(PollFd::from_borrowed_fd(self.commands.as_fd(), PollFlags::IN));
        match poll(&mut waits, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => {
                Err(Error::Socket { action: "waiting for packets", source: errno.into() })
            }
        }
    }

    fn send_due(&mut self) {
        let Self { senders, clock, sockets, .. } = self;
        senders.iter_mut().for_each(|sending| sending.send_due(clock, sockets));
    }

    fn handle_time(&mut self) -> Result<(), Error> {
        let now = monotonic();
        self.senders.iter_mut().for_each(|sending| sending.handle_timeout(now));
        if now.since(self.looked) < LOOK_NS {
            return Ok(());
        }
        self.looked = now;
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
            sending.judge(now);
        }
        self.reflectors.iter_mut().for_each(|reflecting| reflecting.expire(now));
        Ok(())
    }
}

/// How often the clock is looked at, and what is only told roughly.
const LOOK_NS: i64 = 1_000_000_000;
