//! Ports that nobody listens on.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

/// No port could be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The address cannot be bound at all.
    #[error("no port of {address} can be bound ({source}); is the address configured here?")]
    Bind {
        /// The address asked for.
        address: IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Every port the kernel offered had been given out before.
    #[error("all ports that the kernel offered were given out before; start a new process")]
    Exhausted,
}

/// A TCP port of `address` that is free, and that this process was not given before.
///
/// Ports belong to a namespace: ask inside [`crate::Place::run`] for one of a laboratory's.
pub fn free_tcp_port(address: IpAddr) -> Result<u16, PortError> {
    fresh(address, || TcpListener::bind((address, 0))?.local_addr().map(|a| a.port()))
}

/// The same for UDP.
pub fn free_udp_port(address: IpAddr) -> Result<u16, PortError> {
    fresh(address, || UdpSocket::bind((address, 0))?.local_addr().map(|a| a.port()))
}

fn fresh(address: IpAddr, bind: impl Fn() -> io::Result<u16>) -> Result<u16, PortError> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..ATTEMPTS {
        let port = bind().map_err(|source| PortError::Bind { address, source })?;
        if given.insert(port) {
            return Ok(port);
        }
    }
    Err(PortError::Exhausted)
}

/// Parallel tests must not be given the same port between two binds.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

const ATTEMPTS: usize = 1000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn no_port_is_given_out_twice() {
        let ports: BTreeSet<u16> = (0..50).map(|_| free_tcp_port(LOOPBACK).unwrap()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_given_port_can_be_bound() {
        let port = free_udp_port(LOOPBACK).unwrap();
        assert!(UdpSocket::bind((LOOPBACK, port)).is_ok());
    }

    #[test]
    fn a_foreign_address_is_refused_with_the_remedy() {
        let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let error = free_tcp_port(foreign).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }
}
