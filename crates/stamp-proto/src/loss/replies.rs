//! The reflector's own numbers: which have arrived, and for which request.

/// How a reply stands to those that came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    /// Its number is the highest until now.
    Ahead,
    /// Its number is new, but a higher one came first.
    Behind,
    /// Its number came before, for the same request.
    Again,
    /// Its number came before for another request, or is behind all that is remembered.
    Restarted,
}

/// The last replies of a session by the reflector's number.
#[derive(Debug)]
pub(super) struct Replies {
    ring: Box<[Option<Entry>]>,
    highest: Option<i64>,
    /// The number up to which everything is decided; absent while nothing tells from
    /// which number the reflector counts.
    passed: Option<i64>,
    /// The latest request among those that are decided.
    top: Option<u64>,
    /// Added to the reflector's number: one that starts over goes on above all that was.
    shift: i64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    r: i64,
    s: u64,
    first: bool,
}

/// What lies between two cuts.
#[derive(Debug, Default)]
pub(super) struct Crossed {
    /// Numbers that never arrived; absent when nothing tells from where to count.
    pub(super) missing: Option<u64>,
    /// Requests that reached the reflector behind a later one.
    pub(super) overtaken: u64,
}

impl Replies {
    pub(super) fn new(window: usize) -> Self {
        Self {
            ring: vec![None; window].into_boxed_slice(),
            highest: None,
            passed: None,
            top: None,
            shift: 0,
        }
    }

    /// Notes that number `r` answered request `s`, for the `first` time or not, when
    /// `sent` requests had been sent.
    pub(super) fn insert(&mut self, r: u32, s: u64, first: bool, sent: u64) -> (i64, Copy) {
        let Some(highest) = self.highest else {
            return (self.begin(r, s, first, sent), Copy::Ahead);
        };
        let ahead = r.wrapping_sub((highest - self.shift) as u32) as i32;
        let r = highest + i64::from(ahead);
        if i64::from(ahead) <= -(self.ring.len() as i64) {
            return (r, Copy::Restarted);
        }
        match self.at(r) {
            Some(entry) if entry.s == s => return (r, Copy::Again),
            Some(_) => return (r, Copy::Restarted),
            None => *self.at_mut(r) = Some(Entry { r, s, first }),
        }
        self.highest = Some(highest.max(r));
        (r, if ahead > 0 { Copy::Ahead } else { Copy::Behind })
    }

    /// Starts over with number `r`, above all numbers that were before.
    pub(super) fn begin_again(&mut self, r: u32, s: u64, first: bool) -> i64 {
        let above = self.highest.map_or(0, |highest| highest + self.ring.len() as i64 + 1);
        self.shift = above - i64::from(r);
        self.passed = None;
        self.note(above, s, first);
        above
    }

    /// Moves the cut to number `r`.
    pub(super) fn pass(&mut self, r: i64) -> Crossed {
        let remembered = r - self.ring.len() as i64;
        let from = self.passed;
        self.passed = from.max(Some(r));
        let (mut seen, mut overtaken) = (0, 0);
        for number in from.unwrap_or(remembered).max(remembered) + 1..=r {
            let Some(Entry { s, first, .. }) = self.at(number) else { continue };
            seen += 1;
            overtaken += u64::from(first && self.top.is_some_and(|top| s < top));
            self.top = self.top.max(Some(s));
        }
        Crossed { missing: from.map(|from| (r - from).max(0) as u64 - seen), overtaken }
    }

    /// A session that begins with us counts from 0; a number that our requests cannot
    /// have reached is proof of a session before, of which nothing is known.
    fn begin(&mut self, r: u32, s: u64, first: bool, sent: u64) -> i64 {
        let r = i64::from(r);
        self.passed = (r < sent as i64).then_some(-1);
        self.note(r, s, first);
        r
    }

    fn note(&mut self, r: i64, s: u64, first: bool) {
        *self.at_mut(r) = Some(Entry { r, s, first });
        self.highest = Some(r);
    }

    fn at(&self, r: i64) -> Option<Entry> {
        self.ring[self.index(r)].filter(|entry| entry.r == r)
    }

    fn at_mut(&mut self, r: i64) -> &mut Option<Entry> {
        let index = self.index(r);
        &mut self.ring[index]
    }

    fn index(&self, r: i64) -> usize {
        r as usize & (self.ring.len() - 1)
    }
}
