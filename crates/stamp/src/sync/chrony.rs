//! What chronyd tells over its command protocol.

mod packet;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use stamp_proto::clock::MonoTime;

use self::packet::{Origin, Tracking};
use super::exchange::{Unheard, exchange, nonce};
use super::{Choice, Discipline, Source};
use crate::clock::monotonic;

/// Asks chronyd what it follows.
pub(super) fn ask(choice: &Choice<SocketAddr>, until: Instant) -> Result<Discipline, Unheard> {
    match choice {
        Choice::Off => Err(Unheard::Off),
        Choice::At(address) => ask_at(*address, until),
        Choice::Auto => {
            let [first, second] = USUAL;
            // It may listen on one family alone.
            match ask_at(first, until) {
                Err(Unheard::Unreachable(_)) => ask_at(second, until),
                told => told,
            }
        }
    }
}

fn ask_at(address: SocketAddr, until: Instant) -> Result<Discipline, Unheard> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    // From here on the kernel lets through only what comes from there.
    socket.connect(address)?;
    let (at, sequence) = (monotonic(), nonce() as u32);
    let request = [packet::request(sequence)];
    let tracking = exchange(&socket, &request, until, |reply| packet::tracking(sequence, reply))?;
    if !tracking.is_synchronised() {
        return Err(Unheard::Unsynchronised);
    }
    Ok(discipline(&tracking, at))
}

fn discipline(tracking: &Tracking, at: MonoTime) -> Discipline {
    let error_ns = Some(tracking.error_ns());
    let (source, error_ns) = match tracking.origin() {
        // Its error counts from itself, and says nothing about anybody else's time.
        Origin::Itself => (Source::Local, None),
        Origin::Server => (Source::Ntp, error_ns),
        Origin::Clock(name) => (clock(name), error_ns),
    };
    Discipline { source, error_ns, ptp: source == Source::Ptp, at }
}

/// What a clock is that somebody gave this name.
///
/// chronyd makes names of its drivers (PHC0, PPS1, SHM0, SOC2), and gpsd is what feeds the last
/// three; administrators write what stands behind them.
fn clock(name: [u8; 4]) -> Source {
    let has = |part: &[u8; 3]| name.windows(3).any(|window| window.eq_ignore_ascii_case(part));
    if PTP_NAMES.into_iter().any(has) {
        Source::Ptp
    } else if GNSS_NAMES.into_iter().any(has) {
        Source::Gnss
    } else {
        Source::Local
    }
}

const PTP_NAMES: [&[u8; 3]; 2] = [b"PHC", b"PTP"];

const GNSS_NAMES: [&[u8; 3]; 11] =
    [b"GPS", b"GNS", b"GLO", b"GAL", b"BDS", b"BEI", b"QZS", b"NME", b"PPS", b"SHM", b"SOC"];

const PORT: u16 = 323;

const USUAL: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), PORT),
];

#[cfg(test)]
mod tests;
