//! UDP: datagrams of given sizes in one direction.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::generator::{MOST_PAYLOAD, TrafficError};
use super::pace::{Course, GRACE, POLL, Pacer};

/// What the client sends.
#[derive(Debug)]
pub(super) struct Datagrams {
    sizes: Vec<usize>,
    rate: Option<u64>,
    limit: Option<u64>,
}

impl Datagrams {
    pub(super) fn new(
        sizes: Vec<usize>,
        rate: Option<u64>,
        limit: Option<u64>,
    ) -> Result<Self, TrafficError> {
        let wrong = |size: &&usize| **size == 0 || **size > MOST_PAYLOAD;
        if let Some(&size) = sizes.iter().find(wrong) {
            return Err(TrafficError::Size { size });
        }
        if sizes.is_empty() {
            return Err(TrafficError::Size { size: 0 });
        }
        Ok(Self { sizes, rate, limit })
    }

    pub(super) fn send(&self, target: SocketAddr, course: &Course) -> io::Result<()> {
        let socket = UdpSocket::bind(unspecified(target))?;
        socket.connect(target)?;
        socket.set_write_timeout(Some(POLL))?;
        let mut pacer = Pacer::new(self.rate);
        let mut left = self.limit.unwrap_or(u64::MAX);
        for size in self.sizes.iter().cycle() {
            if left == 0 || !pacer.admit(1, course) {
                break;
            }
            if send_one(&socket, PAYLOAD.get(..*size).unwrap_or(&PAYLOAD), course)? {
                left -= 1;
            }
        }
        Ok(())
    }
}

/// Takes datagrams until the client is done and what it sent has come, or no more comes.
pub(super) fn receive(socket: &UdpSocket, course: &Course) -> io::Result<()> {
    enlarge(socket)?;
    socket.set_read_timeout(Some(POLL))?;
    let mut buffer = vec![0; MOST_PAYLOAD + 1];
    let mut quiet_since = None;
    loop {
        match socket.recv(&mut buffer) {
            Ok(bytes) => {
                course.server.received(bytes);
                course.server.received_whole();
                quiet_since = None;
            }
            Err(error) if is_pause(&error) => {
                let since: Instant = *quiet_since.get_or_insert_with(Instant::now);
                if course.is_client_done() && since.elapsed() >= GRACE {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
        if course.is_client_done() && has_everything(course) {
            return Ok(());
        }
    }
}

fn has_everything(course: &Course) -> bool {
    course.server.read().received_messages >= course.client.read().sent_messages
}

/// Whether the datagram went; the kernel's queue may be full for a while.
fn send_one(socket: &UdpSocket, payload: &[u8], course: &Course) -> io::Result<bool> {
    match socket.send(payload) {
        Ok(bytes) => {
            course.client.sent(bytes);
            course.client.sent_whole();
            Ok(true)
        }
        Err(error) if is_pause(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bursts must not be lost at the receiver, which would look like loss on the way.
fn enlarge(socket: &UdpSocket) -> io::Result<()> {
    // Beyond the administrator's limit with CAP_NET_ADMIN, else up to it.
    set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER)
        .or_else(|_| set_socket_recv_buffer_size(socket, RECEIVE_BUFFER))?;
    Ok(())
}

const fn unspecified(target: SocketAddr) -> SocketAddr {
    match target {
        SocketAddr::V4(_) => SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::V6(_) => SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}

fn is_pause(error: &io::Error) -> bool {
    let full = Some(rustix::io::Errno::NOBUFS.raw_os_error());
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
        || error.raw_os_error() == full
}

const RECEIVE_BUFFER: usize = 16 << 20;

static PAYLOAD: [u8; MOST_PAYLOAD] = [0x5a; MOST_PAYLOAD];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_make_no_datagram_are_refused() {
        for sizes in [vec![], vec![0], vec![100, MOST_PAYLOAD + 1]] {
            assert!(matches!(Datagrams::new(sizes, None, None), Err(TrafficError::Size { .. })));
        }
        assert!(Datagrams::new(vec![1, MOST_PAYLOAD], None, None).is_ok());
    }
}
