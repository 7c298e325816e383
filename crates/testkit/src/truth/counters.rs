//! Interface counters by `ip -s -j link show`.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Amount, TruthError};
use crate::proc::try_wait_for;
use crate::topology::Device;

/// One reading of a device's counters, or the difference of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// What the device received.
    pub rx: Side,
    /// What the device sent.
    pub tx: Side,
}

/// One direction of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
pub struct Side {
    /// Buffers that passed and their bytes; with segmentation offload a buffer is many frames.
    #[serde(flatten)]
    pub amount: Amount,
    /// Frames with an error.
    pub errors: u64,
    /// Frames that were dropped by the device.
    pub dropped: u64,
}

impl Counters {
    /// The difference to an `earlier` reading, nothing if any counter fell.
    pub fn since(self, earlier: Self) -> Option<Self> {
        Some(Self { rx: self.rx.since(earlier.rx)?, tx: self.tx.since(earlier.tx)? })
    }
}

impl Side {
    fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            amount: self.amount.since(earlier.amount)?,
            errors: self.errors.checked_sub(earlier.errors)?,
            dropped: self.dropped.checked_sub(earlier.dropped)?,
        })
    }
}

impl Device {
    /// Reads its counters.
    pub fn counters(&self) -> Result<Counters, TruthError> {
        let answer = self.place().ip(["-s", "-j", "link", "show", "dev", self.name()])?;
        let links = answer.json::<Vec<Reading>>()?;
        let found = links.into_iter().find(|link| link.ifname == self.name());
        found.and_then(|link| link.stats64).map(|s| Counters { rx: s.rx, tx: s.tx }).ok_or_else(
            || TruthError::Form { program: "ip", line: answer.text().chars().take(200).collect() },
        )
    }

    /// How its counters changed since an `earlier` reading.
    pub fn counters_since(&self, earlier: Counters) -> Result<Counters, TruthError> {
        let now = self.counters()?;
        now.since(earlier).ok_or_else(|| TruthError::Reset { device: self.name().to_owned() })
    }

    /// Waits until its counters stood still for `calm`: nothing is on its way any more.
    pub fn quiet(&self, calm: Duration, within: Duration) -> Result<Counters, TruthError> {
        let (mut last, mut since) = (self.counters()?, Instant::now());
        try_wait_for("quiet link", within, || {
            let now = self.counters()?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
            Ok((since.elapsed() >= calm).then_some(now))
        })
    }
}

#[derive(Debug, Deserialize)]
struct Reading {
    #[serde(default)]
    ifname: String,
    stats64: Option<Stats>,
}

#[derive(Debug, Deserialize)]
struct Stats {
    rx: Side,
    tx: Side,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"ifname":"v1","stats64":{
        "rx":{"bytes":70,"packets":1,"errors":0,"dropped":2,"over_errors":0,"multicast":0},
        "tx":{"bytes":18446744073709551615,"packets":3,"errors":4,"dropped":5,"carrier_errors":0,
              "collisions":0}}}"#;

    #[test]
    fn a_reading_keeps_every_counter_apart() {
        let stats = serde_json::from_str::<Reading>(ANSWER).unwrap().stats64.unwrap();
        let rx = Side { amount: Amount::new(1, 70), errors: 0, dropped: 2 };
        let tx = Side { amount: Amount::new(3, u64::MAX), errors: 4, dropped: 5 };
        assert_eq!((stats.rx, stats.tx), (rx, tx));
    }

    #[test]
    fn a_counter_that_fell_has_no_difference() {
        let side = |packets| Side { amount: Amount::new(packets, 10), ..Side::default() };
        let (old, new) = (Counters { rx: side(5), ..Counters::default() }, Counters::default());
        assert_eq!(new.since(old), None);
        let grown = Counters { rx: side(7), ..Counters::default() }.since(old).unwrap();
        assert_eq!(grown.rx.amount, Amount::new(2, 0));
    }
}
