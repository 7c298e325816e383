//! The last quarter of an hour of one target, second by second.

use serde::Serialize;
use stamp_proto::sender::Moment;
use stamp_proto::statistics::Second;

use crate::clock::HostClock;
use crate::service::Sending;

/// One second. A second without a packet is left out.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// When it began, in nanoseconds since 1970.
    at: String,
    sent: u32,
    received: u32,
    lost: u32,
    roundtrip: Option<Roundtrip>,
    near_lower_ns: Option<i64>,
    far_lower_ns: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Roundtrip {
    count: u32,
    min_ns: i64,
    mean_ns: i64,
    max_ns: i64,
}

/// The last seconds of the target with a name; none when there is no such target.
pub(crate) fn series(
    clock: &HostClock,
    senders: &[Sending],
    name: &str,
    seconds: u32,
) -> Option<Vec<Row>> {
    let now = clock.now();
    let mut targets = senders.iter().flat_map(|sending| &sending.targets);
    let target = targets.find(|target| target.name == name)?;
    Some(target.series.seconds(now.mono, seconds).map(|second| Row::of(now, &second)).collect())
}

impl Row {
    fn of(now: Moment, second: &Second) -> Self {
        let roundtrip = second.roundtrip.map(|spread| Roundtrip {
            count: second.count,
            min_ns: spread.min_ns,
            mean_ns: spread.mean_ns,
            max_ns: spread.max_ns,
        });
        Self {
            at: (now.wall.as_ns() - now.mono.since(second.at)).to_string(),
            sent: second.sent,
            received: second.received,
            lost: second.lost,
            roundtrip,
            near_lower_ns: second.near_lower_ns,
            far_lower_ns: second.far_lower_ns,
        }
    }
}
