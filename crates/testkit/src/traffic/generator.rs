//! A running load: two threads, one in each namespace.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::pace::Course;
use super::tally::Report;
use super::{Load, Path, tcp, udp};
use crate::namespace::EnterError;
use crate::proc::{Late, wait_until};

/// Why a load did not run as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrafficError {
    /// A namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The server cannot listen.
    #[error("nobody can listen on {target} ({source}); is the address configured there?")]
    Listen {
        /// The address asked for.
        target: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The sizes make no datagrams.
    #[error("a datagram of {size} bytes cannot be sent; use 1 to {MOST_PAYLOAD}")]
    Size {
        /// The size asked for.
        size: usize,
    },
    /// One side broke off.
    #[error("the {side} of {target} broke off ({source}); is there a route between the two?")]
    Broken {
        /// `client` or `server`.
        side: &'static str,
        /// The server's address.
        target: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is not finished in time.
    #[error(transparent)]
    Late(#[from] Late),
    /// A thread of it panicked, which is a bug here.
    #[error("the {side} of {target} panicked; see its message on standard error")]
    Panicked {
        /// `client` or `server`.
        side: &'static str,
        /// The server's address.
        target: SocketAddr,
    },
    /// A command failed.
    #[error(transparent)]
    Process(#[from] crate::proc::ProcessError),
}

/// A load that runs; dropping it ends it.
#[derive(Debug)]
pub struct Generator {
    target: SocketAddr,
    counts_connections: bool,
    course: Arc<Course>,
    client: Option<Side>,
    server: Option<Side>,
}

type Side = JoinHandle<Result<io::Result<()>, EnterError>>;

impl Generator {
    /// Starts a load; the server listens when this returns.
    pub fn start(load: &Load, path: &Path) -> Result<Self, TrafficError> {
        match load.clone() {
            Load::Bulk { rate, limit } => Self::tcp(path, tcp::Bulk { rate, limit }),
            Load::Requests { question, answer, rate, limit } => {
                Self::tcp(path, tcp::Requests { question, answer, rate, limit })
            }
            Load::Datagrams { sizes, rate, limit } => {
                Self::udp(path, udp::Datagrams::new(sizes, rate, limit)?)
            }
        }
    }

    /// The account so far.
    pub fn report(&self) -> Report {
        let connections = self.course.connections.read().received_messages;
        Report {
            target: self.target,
            connections: self.counts_connections.then_some(connections),
            client: self.course.client.read(),
            server: self.course.server.read(),
        }
    }

    /// Whether both sides have come to their end.
    pub fn is_finished(&self) -> bool {
        [&self.client, &self.server].into_iter().flatten().all(JoinHandle::is_finished)
    }

    /// Ends it now: the client sends no more, the server takes what is on its way.
    pub fn stop(self) -> Result<Report, TrafficError> {
        self.course.stop();
        self.join()
    }

    /// Waits until it ends by its limit or its lifetime.
    pub fn finish(self, within: Duration) -> Result<Report, TrafficError> {
        wait_until("end of the traffic", within, || self.is_finished())?;
        self.join()
    }

    fn tcp(path: &Path, load: impl tcp::Exchange) -> Result<Self, TrafficError> {
        let bound = path.server.run(|| TcpListener::bind(path.target))?;
        let (listener, target) = listening(bound, path, TcpListener::local_addr)?;
        let load = Arc::new(load);
        let serve = Arc::clone(&load);
        Self::launch(
            path,
            target,
            true,
            move |course| tcp::serve(&*serve, &listener, course),
            move |course| load.ask(target, course),
        )
    }

    fn udp(path: &Path, load: udp::Datagrams) -> Result<Self, TrafficError> {
        let bound = path.server.run(|| UdpSocket::bind(path.target))?;
        let (socket, target) = listening(bound, path, UdpSocket::local_addr)?;
        Self::launch(
            path,
            target,
            false,
            move |course| udp::receive(&socket, course),
            move |course| load.send(target, course),
        )
    }

    fn launch(
        path: &Path,
        target: SocketAddr,
        counts_connections: bool,
        serve: impl FnOnce(&Course) -> io::Result<()> + Send + 'static,
        ask: impl FnOnce(&Course) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, TrafficError> {
        let course = Arc::new(Course::new(path.lifetime));
        // The guard exists before the threads: if the second cannot start, the first ends.
        let mut made = Self { target, counts_connections, course, client: None, server: None };
        let course = Arc::clone(&made.course);
        made.server = Some(path.server.thread("traffic-server", move || serve(&course))?);
        let course = Arc::clone(&made.course);
        let client = path.client.thread("traffic-client", move || {
            let done = Done(&course);
            let outcome = ask(&course);
            drop(done);
            outcome
        });
        made.client = Some(client.inspect_err(|_| made.course.finish_client())?);
        Ok(made)
    }

    fn join(mut self) -> Result<Report, TrafficError> {
        self.end()?;
        Ok(self.report())
    }

    /// Waits for both sides; the client's error is the one that explains the server's.
    fn end(&mut self) -> Result<(), TrafficError> {
        let client = self.client.take().map_or(Ok(()), |side| self.outcome("client", side));
        // Also when it could not enter its namespace and never ran.
        self.course.finish_client();
        let server = self.server.take().map_or(Ok(()), |side| self.outcome("server", side));
        client.and(server)
    }

    fn outcome(&self, side: &'static str, thread: Side) -> Result<(), TrafficError> {
        let target = self.target;
        match thread.join() {
            Ok(Ok(outcome)) => {
                outcome.map_err(|source| TrafficError::Broken { side, target, source })
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(TrafficError::Panicked { side, target }),
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.course.stop();
        // An error has nobody to go to: whoever wants to know ends it by `stop` or `finish`.
        self.end().ok();
    }
}

/// Tells the server that the client is done, also if it panicked.
struct Done<'a>(&'a Course);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.finish_client();
    }
}

fn listening<S>(
    bound: io::Result<S>,
    path: &Path,
    address: impl Fn(&S) -> io::Result<SocketAddr>,
) -> Result<(S, SocketAddr), TrafficError> {
    let with_address = bound.and_then(|socket| {
        let address = address(&socket)?;
        Ok((socket, address))
    });
    with_address.map_err(|source| TrafficError::Listen { target: path.target, source })
}

/// Largest UDP payload over IPv4.
pub(super) const MOST_PAYLOAD: usize = 65_507;
