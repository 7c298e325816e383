use super::{Between, Estimator, Offset, OffsetBook, OwnRate, Ppb, Settings};
use crate::clock::MonoTime;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

const S: i64 = 1_000_000_000;
const WINDOW: i64 = 60 * S;

fn at(ns: i64) -> MonoTime {
    MonoTime::from_ns(ns)
}

/// Another clock: where it stands against ours at a time.
struct Truth {
    offset_ns: i64,
    skew_ppb: i64,
}

impl Truth {
    fn at(&self, now: i64) -> i64 {
        self.offset_ns + (i128::from(now) * i128::from(self.skew_ppb) / 1_000_000_000) as i64
    }

    /// Lets a packet there and back tell its proof.
    fn sample(
        &self,
        estimator: &mut Estimator,
        t1: i64,
        forward: i64,
        reverse: i64,
        rate: Ppb,
    ) -> bool {
        let t2 = t1 + forward + self.at(t1 + forward);
        let (t3, t4) = (t2 + 10_000, t1 + forward + 10_000 + reverse);
        estimator.record(at(t1), t3 - t4, t2 - t1, rate)
    }
}

#[test]
fn the_interval_is_the_sum_of_the_smallest_delays_wide() {
    let truth = Truth { offset_ns: 5_000_000, skew_ppb: 0 };
    let mut estimator = Estimator::new(WINDOW);
    for n in 0..100 {
        let (forward, reverse) = (20_000 + n % 7 * 1_000, 30_000 + n % 11 * 3_000);
        assert!(truth.sample(&mut estimator, n * 10_000_000, forward, reverse, 0));
    }
    let offset = estimator.estimate(at(S)).unwrap();
    assert_eq!(offset.bound_ns, (20_000 + 30_000) / 2 + 1);
    assert_eq!(offset.offset_ns, 5_000_000 - 30_000 + 25_000);
    assert_eq!(offset.samples, 100);
    assert_eq!(offset.skew_ppb, None);
}

#[test]
fn a_late_packet_that_was_a_little_slower_proves_more_than_an_early_one() {
    let truth = Truth { offset_ns: 0, skew_ppb: 0 };
    let mut estimator = Estimator::new(WINDOW);
    let rate = 200_000;
    assert!(truth.sample(&mut estimator, 0, 20_000, 20_000, rate));
    assert!(truth.sample(&mut estimator, 900_000_000, 21_000, 21_000, rate));
    let offset = estimator.estimate(at(900_000_000)).unwrap();
    assert_eq!(offset.bound_ns, 21_000 + 1);
    // One that took a millisecond proves less than what was known before.
    assert!(truth.sample(&mut estimator, 950_000_000, 1_000_000, 1_000_000, rate));
    assert!(estimator.estimate(at(950_000_000)).unwrap().bound_ns < 40_000);
}

#[test]
fn nothing_is_known_before_the_first_sample() {
    assert_eq!(Estimator::new(WINDOW).estimate(at(0)), None);
}

#[test]
fn the_bound_grows_with_the_age_of_the_last_sample() {
    let mut estimator = Estimator::new(WINDOW);
    estimator.record(at(0), -100, 100, 15_000);
    assert_eq!(estimator.estimate(at(0)).unwrap().bound_ns, 101);
    assert_eq!(estimator.estimate(at(S)).unwrap().bound_ns, 101 + 15_000);
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let mut estimator = Estimator::new(WINDOW);
    estimator.record(at(0), -1, 1, 0);
    estimator.record(at(WINDOW + 1), -100, 100, 0);
    assert_eq!(estimator.estimate(at(WINDOW + 1)).unwrap().bound_ns, 101);
}

#[test]
fn an_offset_expires_with_its_last_sample() {
    let settings = Settings::default();
    assert_eq!((settings.window_ns, settings.expire_ns), (WINDOW, 120 * S));
    let mut estimator = Estimator::with(&settings);
    estimator.record(at(S), -100, 100, 0);
    estimator.record(at(10 * S), -50, 100, 0);
    assert!(estimator.estimate(at(130 * S)).is_some());
    assert_eq!(estimator.estimate(at(130 * S + 1)), None);
    assert!(Estimator::new(WINDOW).estimate(at(0)).is_none());
}

#[test]
fn the_rate_is_what_both_clocks_are_allowed_and_what_ours_was_changed_by() {
    let settings = Settings { max_skew: 7, max_skew_unsynced: 90, ..Settings::default() };
    assert_eq!([settings.rate(true, 0), settings.rate(false, 5)], [7, 95]);
    assert_eq!(settings.rate(false, u64::MAX), u64::MAX);
    let usual = Settings::default();
    assert_eq!([usual.rate(true, 0), usual.rate(false, 0)], [15_000, 200_000]);
}

#[test]
fn the_truth_stays_inside_while_our_own_clock_changes_its_rate() {
    let settings = Settings::default();
    let (mut own, mut estimator) = (OwnRate::new(WINDOW), Estimator::with(&settings));
    // Ours runs 400 ppm faster from second 30 on: the other one seems to fall behind.
    let truth = |now: i64| -400_000 * (now - 30 * S).max(0) / S;
    for n in 0..120_i64 {
        let now = n * S;
        own.record(at(now), if n < 30 { 0 } else { 400_000 });
        let rate = settings.rate(true, own.change());
        assert!(estimator.record(at(now), truth(now) - 50, truth(now) + 50, rate), "second {n}");
        let (low, high) = estimator.estimate(at(now)).unwrap().interval();
        assert!((low..=high).contains(&truth(now)));
    }
    assert_eq!((estimator.steps(), own.change()), (0, 0));
}

#[test]
fn a_step_of_the_other_clock_starts_the_window_over() {
    let mut estimator = Estimator::new(WINDOW);
    assert!(estimator.record(at(0), -100, 100, 0));
    assert!(!estimator.record(at(S), 5_000, 5_200, 0));
    assert_eq!(estimator.steps(), 1);
    assert_eq!(estimator.estimate(at(S)).unwrap().interval(), (4_999, 5_201));
}

#[test]
fn a_limit_is_as_old_as_its_request() {
    let truth = Truth { offset_ns: 0, skew_ppb: 6_737 };
    let mut estimator = Estimator::new(WINDOW);
    let (t1, forward, reverse) = (653_079_576, 11, 1_802_894);
    truth.sample(&mut estimator, t1, forward, reverse, 15_000);
    let t4 = t1 + forward + 10_000 + reverse;
    // The other clock has gained 12 ns since it was read, more than the way there took.
    let (low, high) = estimator.estimate(at(t4)).unwrap().interval();
    assert!((low..=high).contains(&truth.at(t4)), "{} outside of {low}..={high}", truth.at(t4));
}

#[test]
fn a_step_of_our_clock_moves_the_window() {
    let truth = Truth { offset_ns: 0, skew_ppb: 0 };
    let mut estimator = Estimator::new(WINDOW);
    truth.sample(&mut estimator, 0, 100, 100, 0);
    truth.sample(&mut estimator, 2 * S, 10, 10, 0);
    estimator.handle_local_step(5 * S, 30, at(S));
    let (low, high) = estimator.estimate(at(3 * S)).unwrap().interval();
    assert_eq!((low, high), (-5 * S - 131, -5 * S + 131));
}

#[test]
fn the_skew_is_found_after_half_a_minute() {
    for skew_ppb in [-50_000, -1_000, 0, 20_000] {
        let truth = Truth { offset_ns: -3 * S, skew_ppb };
        let mut estimator = Estimator::new(WINDOW);
        for n in 0..600_i64 {
            let noise = n * 7_919 % 5_000;
            truth.sample(&mut estimator, n * S / 10, 20_000 + noise, 21_000 + noise / 2, 200_000);
        }
        let told = estimator.estimate(at(60 * S)).unwrap().skew_ppb.unwrap();
        assert!((told - skew_ppb).abs() < 200, "{told} instead of {skew_ppb}");
    }
}

fn offset(offset_ns: i64, bound_ns: u64, measured_at: i64) -> Offset {
    Offset { offset_ns, bound_ns, skew_ppb: None, measured_at: at(measured_at), samples: 1 }
}

fn book() -> OffsetBook {
    let mut book = OffsetBook::new("here".into(), 120 * S);
    book.enter("a".into(), offset(1_000, 10, 0), 0);
    book.enter("b".into(), offset(-500, 20, 5), 0);
    book
}

#[test]
fn offsets_are_read_in_both_directions_and_through_this_node() {
    let between = |a, b| {
        book()
            .between(a, b, at(105))
            .map(|Between { offset_ns, bound_ns, age_ns }| (offset_ns, bound_ns, age_ns))
    };
    assert_eq!(between("here", "a"), Some((1_000, 10, 105)));
    assert_eq!(between("a", "here"), Some((-1_000, 10, 105)));
    assert_eq!(between("a", "b"), Some((-1_500, 30, 105)));
    assert_eq!(between("here", "here"), Some((0, 0, 0)));
    assert_eq!(between("a", "nowhere"), None);
}

#[test]
fn an_entry_loosens_with_age_and_expires() {
    let mut book = OffsetBook::new("here".into(), 120 * S);
    book.enter("a".into(), offset(0, 10, 0), 15_000);
    assert_eq!(book.between("here", "a", at(10 * S)).unwrap().bound_ns, 10 + 150_000);
    assert!(book.between("here", "a", at(120 * S)).is_some());
    assert!(book.between("here", "a", at(120 * S + 1)).is_none());
    book.remove("a");
    assert_eq!(book.nodes().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_truth_is_always_inside_the_interval(
        offset_ns in -10 * S..10 * S,
        skew_ppb in -15_000_i64..=15_000,
        delays in proptest::collection::vec((0_i64..2_000_000, 0_i64..2_000_000), 1..300),
        spacing in 1_000_000_i64..2 * S,
    ) {
        let truth = Truth { offset_ns, skew_ppb };
        let mut estimator = Estimator::new(WINDOW);
        for (n, (forward, reverse)) in delays.into_iter().enumerate() {
            let t1 = n as i64 * spacing;
            prop_assert!(truth.sample(&mut estimator, t1, forward, reverse, 15_001));
            for later in [0, spacing, 20 * S] {
                let now = t1 + forward + reverse + 10_000 + later;
                let (low, high) = estimator.estimate(at(now)).unwrap().interval();
                let offset = truth.at(now);
                prop_assert!((low..=high).contains(&offset), "{} outside of {}..={}", offset, low, high);
            }
        }
        prop_assert_eq!(estimator.steps(), 0);
    }

    #[test]
    fn hostile_samples_break_nothing(samples: Vec<(i64, i64, i64, u64)>) {
        let mut estimator = Estimator::new(WINDOW);
        for (now, lower, upper, rate) in samples {
            estimator.record(at(now), lower, upper, rate);
            if let Some(offset) = estimator.estimate(at(now)) {
                let (low, high) = offset.interval();
                prop_assert!(low <= high);
            }
            estimator.handle_local_step(upper, rate, at(lower));
        }
    }
}
