//! Accepting connections and driving each of them.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::outbox::Lost;
use super::places::Place;
use super::stats::Refusal;
use super::timed_io::{Stalled, TimedIo};
use super::{Limits, Shared};

/// Accepts until `stop`, then waits for open connections within `deadline`.
pub(super) async fn accept_loop(
    listener: TcpListener,
    shared: Arc<Shared>,
    router: Router,
    stop: CancellationToken,
    deadline: Duration,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    admit(stream, &shared, &router, &stop, &mut connections).await;
                }
                // Out of descriptors: the backlog keeps the client until some are free.
                Err(error) => {
                    tracing::warn!(event = "http.accept_failed", %error, "Cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = timeout(deadline, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        connections.shutdown().await;
    }
}

async fn admit(
    stream: TcpStream,
    shared: &Arc<Shared>,
    router: &Router,
    stop: &CancellationToken,
    connections: &mut JoinSet<()>,
) {
    let Some(taken) = shared.places.take().await else {
        refuse(&stream, shared);
        return;
    };
    let open = Open::new(Arc::clone(shared));
    let (router, stop) = (router.clone(), stop.clone());
    connections.spawn(async move {
        let place = &taken.place;
        tokio::select! {
            () = serve(stream, &open.0, place, router, stop) => {}
            () = place.leave.cancelled() => open.0.stats.refused(Refusal::ConnectionLimit),
        }
        drop((open, taken));
    });
}

/// A client without a place is told so if one write can tell it; it is never waited for.
fn refuse(stream: &TcpStream, shared: &Shared) {
    shared.stats.refused(Refusal::ConnectionLimit);
    if shared.security.load().tls.is_none() {
        drop(stream.try_write(FULL));
    }
}

async fn serve(
    stream: TcpStream,
    shared: &Shared,
    place: &Arc<Place>,
    router: Router,
    stop: CancellationToken,
) {
    let limits = shared.limits;
    // Answers are written whole: waiting for more to send only delays their end.
    drop(stream.set_nodelay(true));
    // The kernel would hold megabytes for a client that does not read.
    set_socket_send_buffer_size(&stream, SEND_BUFFER).ok();
    let stream = TimedIo::new(stream, Arc::clone(place), limits.write, limits.idle);
    let security = shared.security.load_full();
    let Some(tls) = &security.tls else {
        return drive(stream, shared, place, router, stop).await;
    };
    let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
    match timeout(limits.header, handshake).await {
        Ok(Ok(stream)) => drive(stream, shared, place, router, stop).await,
        Ok(Err(_)) | Err(_) => shared.stats.refused(Refusal::TlsHandshake),
    }
}

async fn drive<S>(
    stream: S,
    shared: &Shared,
    place: &Arc<Place>,
    router: Router,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answering = Arc::clone(place).answer();
        let answer = router.clone().oneshot(request);
        async move {
            let answer = answer.await;
            drop(answering);
            answer.map_err(|never: Infallible| match never {})
        }
    });
    let connection = builder(&shared.limits).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        note(shared, &error);
    }
}

/// HTTP/1.1 only: with HTTP/2 one connection asks for many answers at once and can refuse to
/// take them while it is alive by every timer, and no scraper needs it.
fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header).max_buf_size(HEAD_LIMIT);
    builder
}

fn note(shared: &Shared, error: &(dyn Error + 'static)) {
    if let Some(refusal) = refusal(error) {
        shared.stats.refused(refusal);
    }
}

/// Why a connection ended badly, as far as it was the client's doing.
fn refusal(error: &(dyn Error + 'static)) -> Option<Refusal> {
    let mut causes = std::iter::successors(Some(error), |error| (**error).source());
    causes.find_map(|cause| {
        if let Some(stalled) = stalled(cause) {
            return Some(match stalled {
                Stalled::Writing => Refusal::WriteTimeout,
                Stalled::Idle => Refusal::IdleTimeout,
            });
        }
        if cause.is::<Lost>() {
            return Some(Refusal::WriteTimeout);
        }
        let error = cause.downcast_ref::<hyper::Error>()?;
        match (error.is_timeout(), error.is_parse()) {
            (true, _) => Some(Refusal::HeaderTimeout),
            (_, true) => Some(Refusal::Malformed),
            _ => None,
        }
    })
}

fn stalled(cause: &(dyn Error + 'static)) -> Option<Stalled> {
    let error = cause.downcast_ref::<std::io::Error>()?;
    error.get_ref()?.downcast_ref::<Stalled>().copied()
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Self {
        shared.stats.opened();
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.stats.closed();
    }
}

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
    Retry-After: 5\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\r\ntoo many connections\n";

/// Request line and headers together; hyper answers 431 above it.
const HEAD_LIMIT: usize = 16 << 10;

/// Octets that the kernel keeps for a connection; it takes this twice, for its own records.
const SEND_BUFFER: usize = 128 << 10;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
