use crate::testing::{PATIENCE, eventually};
use crate::wake::{readable, wait};

use super::*;

/// A clock discipline that runs at the nominal rate and promises nothing.
fn nominal() -> libc::timex {
    // SAFETY: `timex` is made of plain numbers, for all of which zero is a value.
    let timex: libc::timex = unsafe { std::mem::zeroed() };
    libc::timex { tick: 10_000, ..timex }
}

#[test]
fn the_rate_is_that_of_the_tick_and_of_the_frequency_together() {
    for (tick, freq, ppb) in [
        (10_000, 0, 0),
        (10_000, 1 << 16, 1_000),
        (10_000, -(500 << 16), -500_000),
        (10_001, 0, 100_000),
        (9_999, 1 << 16, -99_000),
        (11_000, 500 << 16, 100_500_000),
        (10_000, 65, 0),
        (10_000, 66, 1),
    ] {
        let timex = libc::timex { tick, freq, ..nominal() };
        assert_eq!(ClockState::new(libc::TIME_OK, &timex).rate_ppb, ppb, "{tick} and {freq}");
    }
}

#[test]
fn a_rate_that_no_clock_has_ends_at_the_ends_of_the_numbers() {
    assert_eq!(rate_ppb(i64::MAX, i64::MAX), i64::MAX);
    assert_eq!(rate_ppb(i64::MIN, i64::MIN), i64::MIN);
}

#[test]
fn a_leap_second_is_told_until_it_is_over() {
    use libc::{STA_DEL, STA_INS, STA_UNSYNC, TIME_ERROR, TIME_INS, TIME_OK, TIME_OOP, TIME_WAIT};
    for (outcome, status, leap) in [
        (TIME_OK, 0, Leap::None),
        (TIME_OK, STA_INS, Leap::Insertion),
        (TIME_INS, STA_INS, Leap::Insertion),
        (TIME_OOP, STA_INS, Leap::Insertion),
        (TIME_WAIT, STA_INS, Leap::None),
        (TIME_WAIT, STA_DEL, Leap::None),
        (TIME_OK, STA_DEL, Leap::Deletion),
        (TIME_OK, STA_INS | STA_DEL, Leap::Insertion),
        (TIME_ERROR, STA_UNSYNC | STA_DEL, Leap::Deletion),
    ] {
        let state = ClockState::new(outcome, &libc::timex { status, ..nominal() });
        assert_eq!(state.leap, leap, "outcome {outcome}, status {status:#x}");
    }
}

#[test]
fn a_clock_is_synchronised_unless_the_kernel_doubts_it() {
    let state = |outcome, status| ClockState::new(outcome, &libc::timex { status, ..nominal() });
    assert!(state(libc::TIME_OK, libc::STA_PLL).synchronised);
    assert!(!state(libc::TIME_OK, libc::STA_UNSYNC).synchronised);
    assert!(!state(libc::TIME_ERROR, libc::STA_PLL).synchronised);
}

#[test]
fn errors_are_microseconds_and_never_below_nothing() {
    let timex = libc::timex { maxerror: 16_000_000, esterror: -1, tai: 37, ..nominal() };
    let state = ClockState::new(libc::TIME_OK, &timex);
    assert_eq!(state.max_error, Duration::from_secs(16));
    assert_eq!(state.estimated_error, Duration::ZERO);
    assert_eq!(state.tai_offset_seconds, 37);
}

#[test]
fn this_clock_has_a_state() {
    let state = clock_state().unwrap();
    // The kernel's own ceilings: 16 s for the claimed error, 10 % and 500 ppm for the rate.
    assert!(state.max_error <= Duration::from_secs(16), "{state:?}");
    assert!(state.rate_ppb.abs() <= 100_500_000, "{state:?}");
}

#[test]
#[ignore = "root: sets the clock by a microsecond and back"]
fn every_setting_of_the_clock_is_told_once() {
    let mut watch = ClockWatch::start().unwrap();
    // Somebody else may set the clock of this machine meanwhile, but not for ever.
    let quiet = |watch: &mut ClockWatch| {
        eventually("a clock left alone", || (!watch.was_set().unwrap()).then_some(()));
    };
    for _time in 0..3 {
        quiet(&mut watch);
        let moved = Moved::by_a_microsecond();
        assert!(wait(&mut [readable(&watch)], PATIENCE).unwrap(), "nobody would have woken up");
        assert!(watch.was_set().unwrap());
        quiet(&mut watch);
        drop(moved);
        assert!(watch.was_set().unwrap(), "setting it back is setting it");
    }
}

/// The clock is a microsecond ahead while this lives: too little for anybody to mind.
struct Moved;

impl Moved {
    fn by_a_microsecond() -> Self {
        move_clock(1_000);
        Self
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        move_clock(-1_000);
    }
}

/// Adds to the wall clock without reading it, so that nothing is lost between two calls.
fn move_clock(by_ns: i64) {
    let mut timex = nominal();
    timex.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
    timex.time.tv_sec = by_ns.div_euclid(1_000_000_000);
    timex.time.tv_usec = by_ns.rem_euclid(1_000_000_000);
    // SAFETY: the pointer is to a live local of the type that the call reads and fills.
    let outcome = unsafe { libc::adjtimex(&raw mut timex) };
    assert!(outcome >= 0, "adjtimex: {}", io::Error::last_os_error());
}
