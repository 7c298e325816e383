//! What the last minute says, beside what all time says.

use super::Distribution;
use crate::clock::MonoTime;

/// The distribution of the last minute, which leaves it in steps of ten seconds.
///
/// Each step has a distribution of its own, so that none ever has to forget a value.
#[derive(Debug, Clone, Default)]
pub struct Rolling {
    steps: [Step; STEPS],
}

#[derive(Debug, Clone, Default)]
struct Step {
    number: i64,
    values: Distribution,
}

impl Rolling {
    /// Adds one value; one of a step that has left the minute already is not taken.
    pub fn record(&mut self, now: MonoTime, ns: i64) {
        let number = number(now);
        let step = &mut self.steps[number.rem_euclid(STEPS as i64) as usize];
        if step.number < number {
            *step = Step { number, ..Step::default() };
        }
        if step.number == number {
            step.values.record(ns);
        }
    }

    /// Everything of the minute that ends at `now`, between 50 and 60 seconds of it.
    pub fn window(&self, now: MonoTime) -> Distribution {
        let last = number(now);
        let mut window = Distribution::default();
        for number in last + 1 - STEPS as i64..=last {
            let step = &self.steps[number.rem_euclid(STEPS as i64) as usize];
            if step.number == number {
                window.merge(&step.values);
            }
        }
        window
    }

    /// Forgets everything: a clock has stepped, and values from before mislead.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

fn number(now: MonoTime) -> i64 {
    now.as_ns().div_euclid(STEP_NS)
}

const STEPS: usize = 6;
const STEP_NS: i64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::{Rolling, STEP_NS, STEPS};
    use crate::clock::MonoTime;
    use crate::statistics::{Distribution, Summary};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn at(ns: i64) -> MonoTime {
        MonoTime::from_ns(ns)
    }

    #[test]
    fn values_leave_after_a_minute_in_steps_of_ten_seconds() {
        let mut rolling = Rolling::default();
        for second in 0..70 {
            rolling.record(at(second * STEP_NS / 10), second);
        }
        let told = |second| {
            let summary = rolling.window(at(second * STEP_NS / 10)).summary();
            summary.map(|Summary { count, min, max, last, .. }| (count, min, max, last))
        };
        assert_eq!(told(69), Some((60, 10, 69, 69)));
        assert_eq!(told(79), Some((50, 20, 69, 69)));
        assert_eq!(told(119), Some((10, 60, 69, 69)));
        assert_eq!(told(120), None);
    }

    #[test]
    fn a_value_that_comes_behind_its_minute_is_not_taken() {
        let mut rolling = Rolling::default();
        rolling.record(at(100 * STEP_NS), 1);
        rolling.record(at(99 * STEP_NS), 2);
        rolling.record(at(94 * STEP_NS), 3);
        assert_eq!(rolling.window(at(100 * STEP_NS)).count(), 2);
        rolling.reset();
        assert_eq!(rolling.window(at(100 * STEP_NS)).count(), 0);
    }

    #[test]
    fn memory_is_that_of_the_octaves_in_use() {
        let mut rolling = Rolling::default();
        for n in 0..10_000 {
            rolling.record(at(n * STEP_NS / 10), 1_000_000 + n % 2);
        }
        let octaves: usize = rolling.steps.iter().map(|step| step.values.octaves.len()).sum();
        assert_eq!(octaves, STEPS);
    }

    proptest! {
        #[test]
        fn the_window_is_what_was_recorded_within_it(
            values in proptest::collection::vec((0_i64..3 * STEP_NS, -1_000_i64..1_000_000), 1..60),
        ) {
            let mut rolling = Rolling::default();
            let mut now = 0;
            let mut recorded = Vec::new();
            for (pause, ns) in values {
                now += pause;
                rolling.record(at(now), ns);
                recorded.push((now / STEP_NS, ns));
                let mut expected = Distribution::default();
                let within = |step: i64| now / STEP_NS - step < STEPS as i64;
                recorded.iter().filter(|(step, _)| within(*step)).for_each(|&(_, ns)| expected.record(ns));
                let told = rolling.window(at(now)).summary();
                let near = |a: Summary, b: Summary| a.stddev.abs_diff(b.stddev) <= 1 && Summary { stddev: 0, ..a } == Summary { stddev: 0, ..b };
                prop_assert!(told.zip(expected.summary()).is_some_and(|(a, b)| near(a, b)));
                prop_assert_eq!(rolling.window(at(now)).sum(), expected.sum());
            }
        }
    }
}
