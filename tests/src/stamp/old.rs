//! Packets as the replaced tool sent and answered them.
//!
//! Its clock went by TAI and called that UTC, its Error Estimates were 0, its sequence began
//! at 1 and its sessions had no number. A reply counted by its own sequence number.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use testkit::{EnterError, Place};

use super::packet::{OPEN, now, put, receive};

/// The port that it sent from and to.
pub const PORT: u16 = 862;

/// Numbers that it sent, and those of replies that came, as it counted them.
///
/// # Panics
///
/// If it has no socket.
pub fn measured(place: &Place, from: IpAddr, to: IpAddr, count: u32) -> [BTreeSet<u32>; 2] {
    let socket = bound(place, from);
    socket.connect((to, PORT)).unwrap_or_else(|error| panic!("old sender: {error}"));
    let (mut sent, mut heard) = (BTreeSet::new(), BTreeSet::new());
    for sequence in 1..=count {
        let mut packet = [0; OPEN];
        put(&mut packet, 0, &sequence.to_be_bytes());
        put(&mut packet, 4, &now(TAI).to_be_bytes());
        socket.send(&packet).unwrap_or_else(|error| panic!("old sender: {error}"));
        sent.insert(sequence);
        let reply = receive(&socket).filter(|reply| reply.len() >= OPEN);
        heard.extend(reply.and_then(|reply| reply.first_chunk().copied()).map(u32::from_be_bytes));
    }
    [sent, heard]
}

/// Its reflector; dropping it ends it.
#[derive(Debug)]
pub struct Reflector {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), EnterError>>>,
}

impl Reflector {
    /// Answers what comes to one address.
    ///
    /// # Panics
    ///
    /// If it has no socket.
    pub fn start(place: &Place, at: IpAddr) -> Self {
        let (socket, stop) = (bound(place, at), Arc::new(AtomicBool::new(false)));
        let thread = place.thread("old reflector", {
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Acquire) {
                    answer(&socket);
                }
            }
        });
        let thread = thread.unwrap_or_else(|error| panic!("old reflector: {error}"));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // What went wrong in it shows in what was measured.
        self.thread.take().map(JoinHandle::join);
    }
}

/// It turned packets round where they lay: what it did not write stayed.
fn answer(socket: &UdpSocket) {
    let mut packet = [0; 2048];
    let Ok((len, from)) = socket.recv_from(&mut packet) else { return };
    if len < OPEN {
        return;
    }
    let arrival = now(TAI).to_be_bytes();
    packet.copy_within(0..4, 24);
    packet.copy_within(4..12, 28);
    put(&mut packet, 12, &[0; 2]);
    put(&mut packet, 16, &arrival);
    put(&mut packet, 4, &now(TAI).to_be_bytes());
    // Whoever asked may be gone.
    socket.send_to(&packet[..len], from).ok();
}

fn bound(place: &Place, at: IpAddr) -> UdpSocket {
    let socket = place.run(|| {
        let socket = UdpSocket::bind((at, PORT))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok::<_, std::io::Error>(socket)
    });
    let socket = socket.unwrap_or_else(|error| panic!("old peer: {error}"));
    socket.unwrap_or_else(|error| panic!("old peer: {error}"))
}

/// What TAI is ahead of UTC since 2017.
const TAI: Duration = Duration::from_secs(37);
const PATIENCE: Duration = Duration::from_millis(500);
