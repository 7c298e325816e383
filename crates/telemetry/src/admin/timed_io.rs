//! A stream that gives up on clients who stall.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::places::Place;

/// Ends with [`Stalled`] when the peer takes nothing or says nothing for too long.
///
/// The time to write runs from the first octet that the peer does not take until all that
/// was waiting is taken: a peer that takes one octet now and then gains nothing by it.
pub(super) struct TimedIo<S> {
    inner: S,
    place: Arc<Place>,
    write_limit: Duration,
    idle_limit: Duration,
    writing: Option<Pin<Box<Sleep>>>,
    idle: Pin<Box<Sleep>>,
}

impl<S> TimedIo<S> {
    pub(super) fn new(
        inner: S,
        place: Arc<Place>,
        write_limit: Duration,
        idle_limit: Duration,
    ) -> Self {
        let idle = Box::pin(sleep(idle_limit));
        Self { inner, place, write_limit, idle_limit, writing: None, idle }
    }

    fn wrote<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.moved();
            return outcome;
        }
        let limit = self.write_limit;
        let writing = self.writing.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(writing.as_mut().poll(cx));
        Poll::Ready(Err(Stalled::Writing.into()))
    }

    fn moved(&mut self) {
        self.place.moved();
        self.idle.as_mut().reset(Instant::now() + self.idle_limit);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(cx, buffer) {
            self.moved();
            return Poll::Ready(read);
        }
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(Err(Stalled::Idle.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, octets);
        self.wrote(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.wrote(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        if outcome.is_ready() {
            self.writing = None;
        }
        self.wrote(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.wrote(cx, outcome)
    }
}

/// How a peer stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stalled {
    #[error("the client does not take its answer")]
    Writing,
    #[error("the client is silent")]
    Idle,
}

impl From<Stalled> for io::Error {
    fn from(stalled: Stalled) -> Self {
        Self::new(io::ErrorKind::TimedOut, stalled)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::{Place, Stalled, TimedIo};

    const SOON: Duration = Duration::from_millis(50);
    const NEVER: Duration = Duration::from_secs(3600);

    fn stall(error: &std::io::Error) -> Option<Stalled> {
        error.get_ref()?.downcast_ref().copied()
    }

    #[tokio::test]
    async fn a_peer_that_takes_a_little_now_and_then_is_given_up() {
        let (near, mut far) = duplex(16);
        let mut near = TimedIo::new(near, Arc::new(Place::new()), SOON, NEVER);
        let sipping = tokio::spawn(async move {
            let mut one = [0];
            while far.read_exact(&mut one).await.is_ok() {
                tokio::time::sleep(SOON / 4).await;
            }
        });
        let error = near.write_all(&[0; 4096]).await.unwrap_err();
        assert_eq!(stall(&error), Some(Stalled::Writing));
        drop(near);
        sipping.await.unwrap();
    }

    #[tokio::test]
    async fn a_silent_peer_is_given_up_and_a_talking_one_is_not() {
        let (near, mut far) = duplex(16);
        let mut near = TimedIo::new(near, Arc::new(Place::new()), NEVER, SOON);
        far.write_all(b"hi").await.unwrap();
        let mut two = [0; 2];
        near.read_exact(&mut two).await.unwrap();
        let error = near.read_exact(&mut two).await.unwrap_err();
        assert_eq!(stall(&error), Some(Stalled::Idle));
    }
}
