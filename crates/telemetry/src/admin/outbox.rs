//! Answers on their way to clients.
//!
//! A client decides how long it takes to read, and many may read at once. So all answers
//! together have a bound: when they hold more, the oldest lose what is left of them, and
//! their connections end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::Shared;

/// All answers that are being sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    parcels: Mutex<VecDeque<Weak<Parcel>>>,
}

/// One answer; any number of clients may be reading it.
#[derive(Debug)]
pub(super) struct Parcel {
    octets: Mutex<Option<Bytes>>,
    length: usize,
}

/// Marks a response whose body is a parcel already.
#[derive(Debug, Clone, Copy)]
struct Posted;

impl Outbox {
    /// Takes an answer in, and gives up the oldest that there is no room for beside it.
    pub(super) fn post(&self, octets: Bytes) -> Arc<Parcel> {
        let parcel = Arc::new(Parcel { length: octets.len(), octets: Mutex::new(Some(octets)) });
        let mut parcels = self.parcels.lock().unwrap_or_else(PoisonError::into_inner);
        parcels.retain(|parcel| parcel.strong_count() > 0);
        parcels.push_back(Arc::downgrade(&parcel));
        let alive = parcels.iter().filter_map(Weak::upgrade);
        let mut held: usize = alive.map(|parcel| parcel.length).sum();
        while held > ROOM && parcels.len() > FEWEST {
            if let Some(oldest) = parcels.pop_front().and_then(|parcel| parcel.upgrade()) {
                held -= oldest.length;
                oldest.lose();
            }
        }
        parcel
    }
}

impl Parcel {
    /// A response that sends it.
    pub(super) fn response(self: &Arc<Self>) -> Response {
        let mut response = Response::new(self.body());
        response.extensions_mut().insert(Posted);
        response
    }

    fn body(self: &Arc<Self>) -> Body {
        Body::new(Reading { parcel: Arc::clone(self), at: 0 })
    }

    /// Whether it was not given up.
    pub(super) fn is_whole(&self) -> bool {
        self.octets.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn lose(&self) {
        *self.octets.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A copy, so that what a connection has not sent yet holds no more than itself.
    fn copy_from(&self, at: usize) -> Option<Bytes> {
        let octets = self.octets.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = octets.as_ref()?.get(at..)?;
        Some(Bytes::copy_from_slice(rest.get(..CHUNK).unwrap_or(rest)))
    }
}

/// Makes a parcel of every answer that is ready as a whole and not small.
pub(super) async fn parcelled(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let length = response.body().size_hint().exact();
    let small = length.is_none_or(|length| length <= CHUNK as u64);
    if small || response.extensions().get::<Posted>().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(whole) => Response::from_parts(parts, shared.outbox.post(whole.to_bytes()).body()),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A client's place in a parcel.
struct Reading {
    parcel: Arc<Parcel>,
    at: usize,
}

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = Lost;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let chunk = self.parcel.copy_from(self.at).ok_or(Lost);
        self.at += chunk.as_ref().map_or(0, Bytes::len);
        Poll::Ready(Some(chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.parcel.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.parcel.length - self.at) as u64)
    }
}

/// The rest of an answer was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("newer answers needed the room; read faster, or ask again")]
pub(super) struct Lost;

/// Octets of all answers together. A page of metrics with the default limits has about 2 MB.
const ROOM: usize = 32 << 20;

/// This many answers are kept, however large they are.
const FEWEST: usize = 4;

/// Octets that are handed to a connection at once.
const CHUNK: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::{Bytes, CHUNK, FEWEST, Outbox, ROOM};

    #[test]
    fn the_oldest_answers_make_room_for_the_newest() {
        let outbox = Outbox::default();
        let quarter = || outbox.post(vec![0; ROOM / 8].into());
        let first = quarter();
        let others: Vec<_> = (0..7).map(|_| quarter()).collect();
        assert!(first.copy_from(0).is_some(), "eight of them just fit");
        let ninth = quarter();
        assert!(first.copy_from(0).is_none() && !first.is_whole());
        assert!(others.iter().chain([&ninth]).all(|kept| kept.is_whole()));
    }

    #[test]
    fn the_newest_answers_are_kept_however_large_they_are() {
        let outbox = Outbox::default();
        let large: Vec<_> = (0..=FEWEST).map(|_| outbox.post(vec![0; ROOM].into())).collect();
        let kept = large.iter().map(|parcel| parcel.copy_from(0).is_some());
        assert_eq!(kept.collect::<Vec<_>>(), [false, true, true, true, true]);
    }

    #[test]
    fn what_nobody_reads_any_more_needs_no_room() {
        let outbox = Outbox::default();
        let first = outbox.post(vec![0; ROOM / 2].into());
        (0..2 * FEWEST).for_each(|_| drop(outbox.post(vec![0; ROOM / 2].into())));
        assert!(first.copy_from(0).is_some());
    }

    #[test]
    fn an_answer_is_read_in_chunks_to_its_end() {
        let parcel = Outbox::default().post(Bytes::from(vec![7; CHUNK + 1]));
        assert_eq!(parcel.copy_from(0).map(|chunk| chunk.len()), Some(CHUNK));
        assert_eq!(parcel.copy_from(CHUNK).map(|chunk| chunk.len()), Some(1));
        assert_eq!(parcel.copy_from(CHUNK + 1).map(|chunk| chunk.len()), Some(0));
    }
}
