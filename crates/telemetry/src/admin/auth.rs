//! Basic authentication against bcrypt hashes.
//!
//! bcrypt is slow by design: checks run off the async threads, one at a time, with a short
//! queue, and what was found right is remembered under a keyed digest. An unknown user costs
//! the same as a wrong password.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use ring::hmac;
use ring::rand::SystemRandom;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// Too many checks wait already.
    Busy,
}

/// The users of one web configuration.
#[derive(Clone, Default)]
pub(super) struct Users {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    hashes: BTreeMap<String, String>,
    /// Stands in for users that do not exist.
    decoy: String,
    remembered: Remembered,
    queue: Semaphore,
    turn: Semaphore,
}

impl Users {
    /// Takes user names with hashes that were checked to be bcrypt.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Self {
        let Some(decoy) = hashes.values().max_by_key(|hash| cost(hash)).cloned() else {
            return Self::default();
        };
        let inner = Inner {
            hashes,
            decoy,
            remembered: Remembered::new(),
            queue: Semaphore::new(QUEUE),
            turn: Semaphore::new(1),
        };
        Self { inner: Some(Arc::new(inner)) }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.inner.is_none()
    }

    pub(super) async fn verify(&self, user: String, password: Vec<u8>) -> Verdict {
        let Some(inner) = &self.inner else {
            return Verdict::Right;
        };
        let digest = inner.remembered.digest(&user, &password);
        if digest.is_some_and(|digest| inner.remembered.contains(&digest)) {
            return Verdict::Right;
        }
        let Ok(_place) = inner.queue.try_acquire() else {
            return Verdict::Busy;
        };
        let Ok(_turn) = inner.turn.acquire().await else {
            return Verdict::Busy;
        };
        let checked = Arc::clone(inner);
        let check = tokio::task::spawn_blocking(move || checked.check(&user, &password));
        match check.await {
            Ok(true) => {
                digest.into_iter().for_each(|digest| inner.remembered.insert(digest));
                Verdict::Right
            }
            Ok(false) | Err(_) => Verdict::Wrong,
        }
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.inner.iter().flat_map(|inner| inner.hashes.keys());
        f.debug_set().entries(names).finish()
    }
}

impl Inner {
    fn check(&self, user: &str, password: &[u8]) -> bool {
        let known = self.hashes.get(user);
        let hash = known.unwrap_or(&self.decoy);
        bcrypt::verify(password, hash).unwrap_or(false) && known.is_some()
    }
}

/// Credentials found right, as digests under a key that never leaves the process.
struct Remembered {
    /// None when the kernel has no randomness: then nothing is remembered.
    key: Option<hmac::Key>,
    digests: Mutex<VecDeque<[u8; 32]>>,
}

impl Remembered {
    fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self { key, digests: Mutex::default() }
    }

    fn digest(&self, user: &str, password: &[u8]) -> Option<[u8; 32]> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        context.update(&user.len().to_le_bytes());
        context.update(user.as_bytes());
        context.update(password);
        context.sign().as_ref().try_into().ok()
    }

    fn contains(&self, digest: &[u8]) -> bool {
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let found = digests.iter().map(|known| known.ct_eq(digest));
        found.fold(subtle::Choice::from(0), |any, one| any | one).into()
    }

    fn insert(&self, digest: [u8; 32]) {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.push_back(digest);
        if digests.len() > REMEMBERED {
            digests.pop_front();
        }
    }
}

/// The cost factor of a hash, or none for what is no bcrypt hash.
pub(super) fn cost(hash: &str) -> Option<u32> {
    hash.parse::<bcrypt::HashParts>().ok().map(|parts| parts.get_cost())
}

const QUEUE: usize = 8;
const REMEMBERED: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::{QUEUE, REMEMBERED, Remembered, Users, Verdict, cost};

    fn users(cost: u32) -> Users {
        let hash = bcrypt::hash("right", cost).unwrap();
        Users::new(BTreeMap::from([("alice".to_owned(), hash)]))
    }

    async fn verify(users: &Users, user: &str, password: &str) -> Verdict {
        users.verify(user.to_owned(), password.as_bytes().to_vec()).await
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_right() {
        let users = users(4);
        assert_eq!(verify(&users, "alice", "right").await, Verdict::Right);
        assert_eq!(verify(&users, "alice", "wrong").await, Verdict::Wrong);
        assert_eq!(verify(&users, "bob", "right").await, Verdict::Wrong);
        assert_eq!(verify(&users, "alice", "right").await, Verdict::Right);
    }

    #[tokio::test]
    async fn an_unknown_user_costs_as_much_as_a_wrong_password() {
        let users = users(9);
        let mut took = Vec::new();
        for user in ["alice", "bob"] {
            let started = Instant::now();
            assert_eq!(verify(&users, user, "wrong").await, Verdict::Wrong);
            took.push(started.elapsed().as_secs_f64());
        }
        let ratio = took[1] / took[0];
        assert!(ratio > 0.1, "an unknown user was refused {:.0} times faster", 1.0 / ratio);
    }

    #[tokio::test]
    async fn a_flood_of_guesses_is_turned_away_but_known_credentials_pass() {
        let users = users(11);
        assert_eq!(verify(&users, "alice", "right").await, Verdict::Right);
        let guesses = (0..2 * QUEUE).map(|n| {
            let users = users.clone();
            tokio::spawn(async move { verify(&users, "alice", &format!("guess {n}")).await })
        });
        let guesses: Vec<_> = guesses.collect();
        tokio::task::yield_now().await;
        assert_eq!(verify(&users, "alice", "right").await, Verdict::Right);
        let mut busy = 0;
        for guess in guesses {
            busy += usize::from(guess.await.unwrap() == Verdict::Busy);
        }
        assert_eq!(busy, QUEUE);
    }

    #[test]
    fn memory_of_credentials_is_bounded() {
        let remembered = Remembered::new();
        let digest = |n: usize| remembered.digest("alice", &n.to_le_bytes()).unwrap();
        for n in 0..=REMEMBERED {
            remembered.insert(digest(n));
        }
        assert!(!remembered.contains(&digest(0)));
        assert!(remembered.contains(&digest(1)));
    }

    #[test]
    fn a_name_and_a_password_cannot_be_shifted_into_each_other() {
        let remembered = Remembered::new();
        assert_ne!(remembered.digest("ab", b"c"), remembered.digest("a", b"bc"));
    }

    #[test]
    fn the_cost_is_read_from_the_hash() {
        assert_eq!(cost(&bcrypt::hash("x", 4).unwrap()), Some(4));
        assert_eq!(cost("plain"), None);
    }
}
