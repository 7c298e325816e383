//! Begin and end of overflow, told once each.

/// Watches how many insertions found no room.
#[derive(Debug)]
pub(crate) struct Overflow {
    seen: u64,
    began: Option<u64>,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Flows find no room.
    Begin,
    /// A whole epoch found room for all; this many insertions had not.
    End(u64),
}

impl Overflow {
    /// Starts from what pinned maps counted before this process.
    pub(crate) const fn new(seen: u64) -> Self {
        Self { seen, began: None }
    }

    /// Takes the count as of a drain.
    pub(crate) fn observe(&mut self, count: u64) -> Option<Turn> {
        let before = std::mem::replace(&mut self.seen, count);
        match (count > before, self.began) {
            (true, None) => {
                self.began = Some(before);
                Some(Turn::Begin)
            }
            (false, Some(began)) => {
                self.began = None;
                Some(Turn::End(count.saturating_sub(began)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begin_and_end_are_told_once_however_long_it_lasts() {
        let mut overflow = Overflow::new(100);
        let turns = [100, 107, 120, 120, 120, 121].map(|count| overflow.observe(count));
        let expected =
            [None, Some(Turn::Begin), None, Some(Turn::End(20)), None, Some(Turn::Begin)];
        assert_eq!(turns, expected);
    }

    #[test]
    fn maps_made_anew_do_not_begin_an_overflow() {
        let mut overflow = Overflow::new(100);
        assert_eq!(overflow.observe(0), None);
        assert_eq!(overflow.observe(3), Some(Turn::Begin));
    }
}
