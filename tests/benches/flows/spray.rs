//! Many flows, each touched at the same pace.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testkit::EnterError;

use crate::ground::{Ground, Pod};

/// What each pod sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pattern {
    /// Flows of a pod.
    pub(crate) flows: u64,
    /// Addresses that they lead to.
    pub(crate) peers: u64,
    /// Time in which each flow gets one datagram.
    pub(crate) pass: Duration,
}

/// One thread in each pod; dropping it ends them.
pub(crate) struct Spray {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<io::Result<()>, EnterError>>>,
}

impl Spray {
    /// Starts in every pod of `ground`.
    pub(crate) fn start(ground: &Ground, pattern: Pattern) -> Self {
        let (stop, sent) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let start = |pod: &Pod| {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            let run = move || pattern.run(&stop, &sent);
            pod.namespace.thread("spray", run).unwrap()
        };
        let threads = ground.pods.iter().map(start).collect();
        Self { stop, sent, threads }
    }

    /// Datagrams of all pods so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Ends it and insists that everything went.
    pub(crate) fn end(mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.join().unwrap().unwrap().unwrap();
        }
    }
}

impl Drop for Spray {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl Pattern {
    fn run(self, stop: &AtomicBool, total: &AtomicU64) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let began = Instant::now();
        let mut sent = 0;
        while !stop.load(Ordering::Acquire) && began.elapsed() < LONGEST {
            let passes = began.elapsed().as_secs_f64() / self.pass.as_secs_f64();
            let due = (passes * self.flows as f64) as u64;
            for number in sent..due {
                let flow = number % self.flows;
                let peer = u32::from(FIRST_PEER) + (flow % self.peers) as u32;
                let port = FIRST_PORT + (flow / self.peers) as u16;
                socket.send_to(&[0; 64], (Ipv4Addr::from(peer), port))?;
            }
            total.fetch_add(due - sent, Ordering::AcqRel);
            sent = due;
            thread::sleep(PACE);
        }
        Ok(())
    }
}

const FIRST_PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FIRST_PORT: u16 = 1000;
const PACE: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(600);
