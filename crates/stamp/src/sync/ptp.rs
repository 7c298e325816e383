//! What ptp4l tells over its management socket.

mod management;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with,
};
use stamp_proto::clock::MonoTime;

use self::management::{Asker, DefaultDataSet, GrandmasterSettings, PortDataSet, PortState};
use self::management::{Question, TimeStatus};
use super::exchange::{Unheard, exchange};
use super::{Choice, Discipline, STALE_NS, Source};
use crate::clock::monotonic;

/// What has been heard of ptp4l so far.
#[derive(Debug, Default)]
pub(super) struct Ptp {
    /// Its PTP domain: it is deaf to all others.
    domain: Option<u8>,
    following: Option<Following>,
}

/// Measurements against a master.
#[derive(Debug)]
struct Following {
    /// When the master's last word arrived, by a clock of ptp4l's choice.
    ingress: i64,
    /// When that was first seen.
    seen: MonoTime,
    /// Whether it took the place of another, and so arrived when it was seen.
    is_fresh: bool,
    /// By how much the clock was off, the latest last.
    offsets: VecDeque<u64>,
}

impl Ptp {
    /// Asks ptp4l what it follows.
    pub(super) fn ask(
        &mut self,
        choice: &Choice<PathBuf>,
        until: Instant,
    ) -> Result<Discipline, Unheard> {
        let told = connected(choice).and_then(|socket| self.ask_over(&socket, until));
        if told.is_err() && !matches!(told, Err(Unheard::Unproven | Unheard::Stale)) {
            // Perhaps it is started again, with another domain or another master.
            *self = Self::default();
        }
        told
    }

    fn ask_over(&mut self, socket: &OwnedFd, until: Instant) -> Result<Discipline, Unheard> {
        let mut asker = Asker::new();
        let clock: DefaultDataSet = self.put(socket, &mut asker, ALL_PORTS, until)?;
        let mut is_master = false;
        for port in 1..=clock.ports.min(MOST_PORTS) {
            let PortDataSet { state } = self.put(socket, &mut asker, port, until)?;
            match state {
                PortState::Slave => {
                    let status = self.put(socket, &mut asker, ALL_PORTS, until)?;
                    return self.follow(status, monotonic());
                }
                PortState::Master => is_master = true,
                PortState::Other => {}
            }
        }
        if !is_master {
            return Err(Unheard::Unsynchronised);
        }
        self.following = None;
        Ok(master(self.put(socket, &mut asker, ALL_PORTS, until)?, monotonic()))
    }

    /// Puts a question, in each usual domain until one of them is known to be heard.
    fn put<Q: Question>(
        &mut self,
        socket: &OwnedFd,
        asker: &mut Asker,
        port: u16,
        until: Instant,
    ) -> Result<Q, Unheard> {
        let (known, usual) = (self.domain.as_slice(), USUAL_DOMAINS.as_slice());
        let domains = if known.is_empty() { usual } else { known };
        let asked = asker.next(Q::ID, port);
        let requests: Vec<_> = domains.iter().map(|&domain| asked.request(domain)).collect();
        let (domain, answer) = exchange(socket, &requests, until, |packet| {
            let (domain, answer) = asked.response(packet)?;
            let parsed = answer.and_then(|body| Q::parse(body).ok_or(Unheard::Malformed));
            Some(parsed.map(|answer| (domain, answer)))
        })?;
        self.domain = Some(domain);
        Ok(answer)
    }

    /// What a measurement is worth, `now`.
    fn follow(&mut self, status: TimeStatus, now: MonoTime) -> Result<Discipline, Unheard> {
        let TimeStatus { offset_ns, ingress, has_grandmaster } = status;
        if !has_grandmaster {
            return Err(Unheard::Unsynchronised);
        }
        let following = self.following.get_or_insert_with(|| Following {
            ingress,
            seen: now,
            is_fresh: false,
            offsets: VecDeque::with_capacity(OFFSETS),
        });
        following.note(offset_ns, ingress, now);
        let at = following.seen;
        match (now.since(at) <= STALE_NS, following.is_fresh) {
            (true, true) => {
                let error_ns = Some(following.error_ns());
                Ok(Discipline { source: Source::Ptp, error_ns, ptp: true, at: now })
            }
            (true, false) => Err(Unheard::Unproven),
            (false, _) => Err(Unheard::Stale),
        }
    }
}

impl Following {
    fn note(&mut self, offset_ns: i64, ingress: i64, now: MonoTime) {
        if ingress != self.ingress {
            (self.ingress, self.seen, self.is_fresh) = (ingress, now, true);
        }
        if self.offsets.len() == OFFSETS {
            self.offsets.pop_front();
        }
        self.offsets.push_back(offset_ns.unsigned_abs());
    }

    fn error_ns(&self) -> u64 {
        self.offsets.iter().max().copied().unwrap_or(u64::MAX).saturating_add(MARGIN_NS)
    }
}

/// A clock that others follow is as good as it says of itself.
fn master(settings: GrandmasterSettings, at: MonoTime) -> Discipline {
    let error_ns = settings.accuracy_ns.map(|error| error.saturating_add(MARGIN_NS));
    Discipline { source: settings.source, error_ns, ptp: true, at }
}

fn connected(choice: &Choice<PathBuf>) -> Result<OwnedFd, Unheard> {
    match choice {
        Choice::Off => Err(Unheard::Off),
        Choice::At(path) => connect_to(path),
        // The first is for those who only read, which releases before 4.0 do not have.
        Choice::Auto => {
            let [read_only, other] = USUAL_PATHS.map(Path::new);
            connect_to(read_only).or_else(|_| connect_to(other))
        }
    }
}

/// A socket to `path` with a name of the kernel's choice.
///
/// The name is in the network namespace and not in the file system: ptp4l finds its way back
/// from another container too, and there is nothing to remove.
fn connect_to(path: &Path) -> Result<OwnedFd, Unheard> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new_unnamed())?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

const USUAL_PATHS: [&str; 2] = ["/var/run/ptp4lro", "/var/run/ptp4l"];

/// What it is unless told otherwise, and in the profiles of telecommunication (G.8275.1 and .2),
/// of broadcasting (ST 2059-2) and of power supply (C37.238).
const USUAL_DOMAINS: [u8; 5] = [0, 24, 44, 127, 254];

const ALL_PORTS: u16 = 0xffff;

/// Each is asked for its state.
const MOST_PORTS: u16 = 32;

/// Reads of which the worst counts.
const OFFSETS: usize = 10;

/// For what lies between its clock and the one that is read.
const MARGIN_NS: u64 = 1_000;

#[cfg(test)]
mod tests;
