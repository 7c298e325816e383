//! Places for connections, of which there are few.
//!
//! Who comes when all are taken gets the place of the client that has kept the listener
//! waiting longest. So no crowd of silent or slow clients keeps a scrape or a probe out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Vec<Arc<Place>>>,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    began: Instant,
    /// Nanoseconds after `began`: when the client last gave or took something.
    moved: AtomicU64,
    answering: AtomicBool,
    /// Somebody else needs the place.
    pub(super) leave: CancellationToken,
}

/// A place until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) place: Arc<Place>,
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(number: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(number)), taken: Mutex::default() }
    }

    /// A place: a free one, else the one of whoever has been waited for longest. None if
    /// every client is being answered.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Taken> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(self.enter(permit));
        }
        self.slowest()?.leave.cancel();
        let vacated = timeout(PATIENCE, Arc::clone(&self.free).acquire_owned()).await;
        Some(self.enter(vacated.ok()?.ok()?))
    }

    fn enter(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Taken {
        let place = Arc::new(Place::new());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push(Arc::clone(&place));
        Taken { place, places: Arc::clone(self), _permit: permit }
    }

    fn slowest(&self) -> Option<Arc<Place>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited_for = taken.iter().filter(|place| place.is_waited_for());
        waited_for.min_by_key(|place| place.last_move()).cloned()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            answering: AtomicBool::new(false),
            leave: CancellationToken::new(),
        }
    }

    /// The client gave or took something.
    pub(super) fn moved(&self) {
        let now = self.began.elapsed().as_nanos();
        self.moved.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The client waits for us until what is returned is dropped.
    pub(super) fn answer(self: Arc<Self>) -> Answering {
        self.answering.store(true, Ordering::Relaxed);
        Answering(self)
    }

    fn is_waited_for(&self) -> bool {
        !self.answering.load(Ordering::Relaxed) && !self.leave.is_cancelled()
    }

    fn last_move(&self) -> Instant {
        self.began + Duration::from_nanos(self.moved.load(Ordering::Relaxed))
    }
}

/// An answer is being prepared.
pub(super) struct Answering(Arc<Place>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.moved();
        self.0.answering.store(false, Ordering::Relaxed);
    }
}

/// For a connection to end that has been told to.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Places, Taken};

    /// Leaves when it is told to, as a connection does.
    fn obey(taken: Taken) {
        tokio::spawn(async move {
            taken.place.leave.cancelled().await;
            drop(taken);
        });
    }

    async fn two_taken() -> (Arc<Places>, [Taken; 2]) {
        let places = Arc::new(Places::new(2));
        let first = places.take().await.unwrap();
        let second = places.take().await.unwrap();
        (places, [first, second])
    }

    #[tokio::test]
    async fn whoever_is_waited_for_longest_makes_room() {
        let (places, [first, second]) = two_taken().await;
        let (early, late) = (first.place.leave.clone(), second.place.leave.clone());
        obey(first);
        obey(second);
        assert!(places.take().await.is_some());
        assert_eq!((early.is_cancelled(), late.is_cancelled()), (true, false));
    }

    #[tokio::test]
    async fn what_moves_or_is_being_answered_keeps_its_place() {
        let (places, [first, second]) = two_taken().await;
        first.place.moved();
        assert!(Arc::ptr_eq(&places.slowest().unwrap(), &second.place));
        let answering = Arc::clone(&second.place).answer();
        assert!(Arc::ptr_eq(&places.slowest().unwrap(), &first.place));
        let busy = Arc::clone(&first.place).answer();
        assert!(places.take().await.is_none());
        drop((answering, busy));
        assert!(places.slowest().is_some());
    }
}
