//! Accepting connections and driving each of them.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

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
                Ok((stream, _)) => admit(stream, &shared, &router, &stop, &mut connections),
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

fn admit(
    stream: TcpStream,
    shared: &Arc<Shared>,
    router: &Router,
    stop: &CancellationToken,
    connections: &mut JoinSet<()>,
) {
    let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
        refuse(&stream, shared);
        return;
    };
    let open = Open::new(Arc::clone(shared));
    let (router, stop) = (router.clone(), stop.clone());
    connections.spawn(async move {
        serve(stream, &open.0, router, stop).await;
        drop((open, permit));
    });
}

/// A client above the limit is told so if one write can tell it; it is never waited for.
fn refuse(stream: &TcpStream, shared: &Shared) {
    shared.stats.refused(Refusal::ConnectionLimit);
    if shared.security.load().tls.is_none() {
        drop(stream.try_write(FULL));
    }
}

async fn serve(stream: TcpStream, shared: &Shared, router: Router, stop: CancellationToken) {
    let limits = shared.limits;
    // Answers are written whole: waiting for more to send only delays their end.
    drop(stream.set_nodelay(true));
    let stream = TimedIo::new(stream, limits.write, limits.idle);
    let security = shared.security.load_full();
    let Some(tls) = &security.tls else {
        return drive(stream, shared, router, stop).await;
    };
    let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(stream);
    match timeout(limits.header, handshake).await {
        Ok(Ok(stream)) => drive(stream, shared, router, stop).await,
        Ok(Err(_)) | Err(_) => shared.stats.refused(Refusal::TlsHandshake),
    }
}

async fn drive<S>(stream: S, shared: &Shared, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        let answer = router.clone().oneshot(request);
        async move { answer.await.map_err(|never: Infallible| match never {}) }
    });
    let builder = builder(&shared.limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut first_request = pin!(sleep(shared.limits.header));
    let (mut waiting, mut stopping) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    note(shared, &*error);
                }
                return;
            }
            // hyper times the head of a request only once it knows the version of HTTP.
            () = first_request.as_mut(), if waiting => {
                waiting = false;
                if !asked.load(Ordering::Relaxed) {
                    return shared.stats.refused(Refusal::HeaderTimeout);
                }
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEAD_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_LIMIT as u32)
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.write)
        .keep_alive_timeout(limits.header);
    builder
}

fn note(shared: &Shared, error: &(dyn Error + Send + Sync + 'static)) {
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

/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 16;

/// Octets buffered for one HTTP/2 stream.
const SEND_BUFFER: usize = 256 << 10;

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
