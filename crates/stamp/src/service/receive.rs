//! What comes: notices, replies, requests, and what is none of these.

use std::net::{IpAddr, SocketAddr};

use stamp_proto::clock::WallTime;
use stamp_proto::sender::Arrival;

use super::Service;
use crate::error::Error;
use crate::socket::{Datagram, Notice, Socket, Told};

impl Service {
    /// Reads all sockets empty: before each packet what is said of those that were sent, so
    /// that a reply finds the better time of its request.
    pub(super) fn read_all(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        for at in 0..self.sockets.len() {
            for _ in 0..AT_ONCE {
                self.read_notices(at)?;
                let received = receive(&self.sockets[at], buffer)?;
                let Some(datagram) = received else { break };
                self.handle(at, &datagram, &buffer[..datagram.len]);
            }
        }
        Ok(())
    }

    fn read_notices(&mut self, at: usize) -> Result<(), Error> {
        for _ in 0..AT_ONCE {
            let notice = self.sockets[at].notice();
            let notice = notice
                .map_err(|source| Error::Socket { action: "reading what was sent", source })?;
            match notice {
                None => return Ok(()),
                Some(Notice::Sent { count, at: left }) => self.handle_sent(at, count, left),
                Some(Notice::Refused { destination: Some(destination), .. }) => {
                    self.senders
                        .iter_mut()
                        .for_each(|sending| sending.handle_refusal(at, destination));
                }
                Some(Notice::Refused { .. } | Notice::Other) => {}
            }
        }
        Ok(())
    }

    fn handle_sent(&mut self, at: usize, count: u32, left: WallTime) {
        let now = self.clock.now();
        let Self { senders, reflectors, clock, .. } = self;
        let by_sender = senders.iter_mut().any(|sending| sending.handle_sent(at, count, left, now));
        if !by_sender {
            // What nobody waits for any more is of nobody.
            reflectors.iter_mut().any(|reflecting| reflecting.handle_sent(at, count, left, clock));
        }
    }

    /// A packet from a target to the port we send from is a reply, unless its structure
    /// says that it is a request to the reflector on that port.
    fn handle(&mut self, at: usize, datagram: &Datagram, payload: &[u8]) {
        let now = self.clock.now();
        let moment = datagram.told.at.map_or(now, |wall| self.clock.received(now, wall));
        let Told { ttl, traffic_class, .. } = datagram.told;
        let arrival = Arrival { at: moment, ttl, traffic_class };
        let packet = Packet { payload, datagram, arrival };
        let own = self.clock.own();
        let Self { senders, reflectors, sockets, clock, .. } = self;
        if senders
            .iter_mut()
            .any(|sending| sending.handle_reply(at, canonical(datagram.source), &packet, own))
        {
            return;
        }
        match reflectors.iter_mut().find(|reflecting| reflecting.uses(at)) {
            Some(reflecting) => reflecting.handle(at, &mut sockets[at], &packet, clock),
            None => self.unsolicited += 1,
        }
    }
}

/// A packet that came, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) payload: &'a [u8],
    pub(super) datagram: &'a Datagram,
    pub(super) arrival: Arrival,
}

/// An error that belongs to a packet sent earlier is in the error queue as well.
fn receive(socket: &Socket, buffer: &mut [u8]) -> Result<Option<Datagram>, Error> {
    for _ in 0..AT_ONCE {
        match socket.receive(buffer) {
            Ok(received) => return Ok(received),
            Err(error) if is_of_a_packet(&error) => {}
            Err(source) => return Err(Error::Socket { action: "receiving packets", source }),
        }
    }
    Ok(None)
}

fn is_of_a_packet(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    let of_packets = [
        Errno::ECONNREFUSED,
        Errno::EHOSTUNREACH,
        Errno::ENETUNREACH,
        Errno::EMSGSIZE,
        Errno::EPROTO,
        Errno::EINTR,
        Errno::EACCES,
        Errno::EHOSTDOWN,
        Errno::ENOPROTOOPT,
        Errno::EOPNOTSUPP,
        Errno::ENETDOWN,
    ];
    error.raw_os_error().is_some_and(|code| of_packets.contains(&Errno::from_raw(code)))
}

/// Packets are compared by address and port alone.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

/// So many packets of one socket before the next one has its turn.
const AT_ONCE: usize = 256;
