//! Packets of which the kernel has not said yet when they left.

use std::collections::VecDeque;

/// A queue of what was sent through one socket, by the count of its notices.
#[derive(Debug)]
pub(crate) struct Awaited<T>(VecDeque<(u32, T)>);

impl<T> Awaited<T> {
    /// Nothing is awaited.
    pub(crate) const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Waits for the notice of packet `count`.
    pub(crate) fn push(&mut self, count: u32, packet: T) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((count, packet));
    }

    /// The packet that a notice is about, if it is one of these. Notices come in order:
    /// those before it do not come any more.
    pub(crate) fn take(&mut self, count: u32) -> Option<T> {
        let is_older = |other: u32| (other.wrapping_sub(count) as i32) < 0;
        while self.0.front().is_some_and(|(other, _)| is_older(*other)) {
            self.0.pop_front();
        }
        let (_, packet) = self.0.pop_front_if(|(other, _)| *other == count)?;
        Some(packet)
    }
}

/// Notices come within microseconds; more of them wait only where they never come.
const MOST: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::{Awaited, MOST};

    #[test]
    fn a_notice_finds_its_packet_and_skips_what_was_lost() {
        let mut awaited = Awaited::new();
        (0..5).for_each(|count| awaited.push(count, count * 10));
        assert_eq!(awaited.take(0), Some(0));
        assert_eq!(awaited.take(3), Some(30));
        assert_eq!(awaited.take(2), None);
        assert_eq!(awaited.take(9), None);
        assert_eq!(awaited.take(4), None);
    }

    #[test]
    fn counts_wrap() {
        let mut awaited = Awaited::new();
        [u32::MAX, 0, 1].into_iter().for_each(|count| awaited.push(count, count));
        assert_eq!(awaited.take(0), Some(0));
        assert_eq!(awaited.take(1), Some(1));
    }

    #[test]
    fn no_more_wait_than_there_is_room() {
        let mut awaited = Awaited::new();
        (0..MOST as u32 + 1).for_each(|count| awaited.push(count, count));
        assert_eq!(awaited.take(0), None);
        assert_eq!(awaited.take(1), Some(1));
    }
}
