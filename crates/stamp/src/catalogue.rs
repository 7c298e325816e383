//! Every metric of the stamp system.

use telemetry::catalogue::Catalogue;
use telemetry::metric::{Metric, Unit};

const NONE: &[&str] = &[];
const TARGET: &[&str] = &["target"];
const TARGET_DIRECTION: &[&str] = &["target", "direction"];
const TARGET_REASON: &[&str] = &["target", "reason"];
const TARGET_FLAG: &[&str] = &["target", "flag"];

pub(crate) static PACKETS_SENT: Metric = Metric::counter(
    "fathom_stamp_packets_sent_total",
    Unit::Packets,
    "Requests handed to the kernel.",
    TARGET,
);
pub(crate) static PACKETS_RECEIVED: Metric = Metric::counter(
    "fathom_stamp_packets_received_total",
    Unit::Packets,
    "Valid first replies within the timeout.",
    TARGET,
);
pub(crate) static PACKETS_LOST: Metric = Metric::counter(
    "fathom_stamp_packets_lost_total",
    Unit::Packets,
    "Requests without a reply within the timeout, by the way on which it was lost; the directions add up to all losses.",
    TARGET_DIRECTION,
);
pub(crate) static PACKETS_LATE: Metric = Metric::counter(
    "fathom_stamp_packets_late_total",
    Unit::Packets,
    "First replies after the timeout; their requests stay counted as lost.",
    TARGET,
);
pub(crate) static PACKETS_DUPLICATE: Metric = Metric::counter(
    "fathom_stamp_packets_duplicate_total",
    Unit::Packets,
    "Further replies to one request, by the way on which a packet was doubled.",
    TARGET_DIRECTION,
);
pub(crate) static PACKETS_REORDERED: Metric = Metric::counter(
    "fathom_stamp_packets_reordered_total",
    Unit::Packets,
    "First copies that came behind a later one, by the way on which they were overtaken.",
    TARGET_DIRECTION,
);
pub(crate) static REPLIES_DISCARDED: Metric = Metric::counter(
    "fathom_stamp_replies_discarded_total",
    Unit::Packets,
    "Replies of which all or a part does not count, by reason.",
    TARGET_REASON,
);
pub(crate) static UNSOLICITED: Metric = Metric::counter(
    "fathom_stamp_unsolicited_total",
    Unit::Packets,
    "Packets to our port that belong to no session.",
    NONE,
);
pub(crate) static SEND_ERRORS: Metric = Metric::counter(
    "fathom_stamp_send_errors_total",
    Unit::Count("{error}"),
    "Requests that could not be sent or came back, by reason.",
    TARGET_REASON,
);
pub(crate) static SEND_OVERRUNS: Metric = Metric::counter(
    "fathom_stamp_send_overruns_total",
    Unit::Count("{slot}"),
    "Slots of the schedule in which nothing was sent because they were over.",
    TARGET,
);
pub(crate) static UNSTAMPED: Metric = Metric::counter(
    "fathom_stamp_unstamped_total",
    Unit::Packets,
    "Replies to requests of which the kernel did not say when they left; the time before the call was taken.",
    TARGET,
);
pub(crate) static RECOVERED: Metric = Metric::counter(
    "fathom_stamp_samples_recovered_total",
    Unit::Count("{sample}"),
    "Replies found in their slots before anything rang for them.",
    NONE,
);
pub(crate) static SEND_STACK: Metric = Metric::histogram(
    "fathom_stamp_send_stack_seconds",
    Unit::Seconds,
    "From the building of a request to its T1 at the edge of the device, where programs in the kernel take that.",
    NONE,
);
pub(crate) static EVENTS_LOST: Metric = Metric::counter(
    "fathom_stamp_events_lost_total",
    Unit::Count("{event}"),
    "Duplicates, and requests that the reflector answered, of which a full ring could not tell.",
    NONE,
);
pub(crate) static DSCP_CHANGED: Metric = Metric::counter(
    "fathom_stamp_dscp_changed_total",
    Unit::Packets,
    "Packets that arrived with another DSCP than they left with; forward is known with the CoS extension only, without it both ways show as reverse.",
    TARGET_DIRECTION,
);
pub(crate) static ECN_CE: Metric = Metric::counter(
    "fathom_stamp_ecn_ce_total",
    Unit::Packets,
    "Packets that arrived with congestion experienced (RFC 3168); forward is known with the CoS extension only.",
    TARGET_DIRECTION,
);
pub(crate) static TLV_FLAGS: Metric = Metric::counter(
    "fathom_stamp_tlv_flags_total",
    Unit::Count("{extension}"),
    "Extensions of replies by the flags that the reflector set: u not understood, m malformed, i integrity failed, c constrained.",
    TARGET_FLAG,
);
pub(crate) static TARGET_UP: Metric = Metric::gauge(
    "fathom_stamp_target_up",
    Unit::None,
    "1 when a reply came within three intervals or the timeout, whichever is longer; absent before the first verdict.",
    TARGET,
);
pub(crate) static TARGET_INFO: Metric = Metric::info(
    "fathom_stamp_target_info",
    "The target's address, how the session is protected and what is known of the reflector.",
    &["target", "address", "node", "mode", "reflector"],
);
pub(crate) static ROUNDTRIP: Metric = Metric::histogram(
    "fathom_stamp_roundtrip_seconds",
    Unit::Seconds,
    "Time on the network both ways, without that inside the reflector: (T4−T1)−(T3−T2), CLOCK_MONOTONIC here, the reflector's clock for its part.",
    TARGET,
);
pub(crate) static ROUNDTRIP_GROSS: Metric = Metric::histogram(
    "fathom_stamp_roundtrip_gross_seconds",
    Unit::Seconds,
    "Time from sending to the reply, T4−T1, CLOCK_MONOTONIC.",
    TARGET,
);
pub(crate) static RESIDENCE: Metric = Metric::histogram(
    "fathom_stamp_reflector_residence_seconds",
    Unit::Seconds,
    "Time inside the reflector, T3−T2, by its clock.",
    TARGET,
);
pub(crate) static ONE_WAY: Metric = Metric::histogram(
    "fathom_stamp_one_way_delay_seconds",
    Unit::Seconds,
    "Delay of one direction by both wall clocks, where both are synchronised and their errors are below a quarter of it.",
    TARGET_DIRECTION,
);
pub(crate) static ONE_WAY_UNUSABLE: Metric = Metric::counter(
    "fathom_stamp_one_way_unusable_total",
    Unit::Packets,
    "Samples whose delay of one direction is not trusted, by reason.",
    &["target", "direction", "reason"],
);
pub(crate) static ONE_WAY_LOWER: Metric = Metric::gauge(
    "fathom_stamp_one_way_delay_lower_seconds",
    Unit::Seconds,
    "Median of what the delay of one direction is at least, whatever the clocks say; since the start.",
    TARGET_DIRECTION,
);
pub(crate) static ONE_WAY_UPPER: Metric = Metric::gauge(
    "fathom_stamp_one_way_delay_upper_seconds",
    Unit::Seconds,
    "Median of what the delay of one direction is at most, whatever the clocks say; since the start.",
    TARGET_DIRECTION,
);
pub(crate) static VARIATION: Metric = Metric::histogram(
    "fathom_stamp_delay_variation_seconds",
    Unit::Seconds,
    "Delay beyond the smallest of the last minute (RFC 5481 PDV); a constant clock offset has no part in it.",
    TARGET_DIRECTION,
);
pub(crate) static IPDV: Metric = Metric::histogram(
    "fathom_stamp_ipdv_abs_seconds",
    Unit::Seconds,
    "Difference of the delays of two packets one behind the other (RFC 3393), absolute.",
    TARGET_DIRECTION,
);
pub(crate) static JITTER: Metric = Metric::gauge(
    "fathom_stamp_jitter_seconds",
    Unit::Seconds,
    "Smoothed difference of consecutive delays (RFC 3550).",
    TARGET_DIRECTION,
);
pub(crate) static OFFSET: Metric = Metric::gauge(
    "fathom_stamp_clock_offset_seconds",
    Unit::Seconds,
    "The reflector's clock minus this host's: the middle of the interval that the samples prove; absent when the clocks seem to be of two time scales.",
    TARGET,
);
pub(crate) static OFFSET_BOUND: Metric = Metric::gauge(
    "fathom_stamp_clock_offset_bound_seconds",
    Unit::Seconds,
    "Half the width of the interval in which the offset is, as long as the clocks drift apart below the stated rate.",
    TARGET,
);
pub(crate) static SKEW: Metric = Metric::gauge(
    "fathom_stamp_clock_skew_ratio",
    Unit::Ratio,
    "How fast the reflector's clock gains on this host's; 0.000001 is one part in a million. Absent below half a minute of samples.",
    TARGET,
);
pub(crate) static STEPS: Metric = Metric::counter(
    "fathom_stamp_clock_steps_total",
    Unit::Count("{step}"),
    "Times a clock was set or drifted faster than it may: the reflector's by target, this host's as local.",
    TARGET,
);
pub(crate) static SYNCHRONIZED: Metric = Metric::gauge(
    "fathom_stamp_clock_synchronized",
    Unit::None,
    "1 when the kernel says that this host's clock is synchronised.",
    NONE,
);
pub(crate) static CLOCK_ERROR: Metric = Metric::gauge(
    "fathom_stamp_clock_error_seconds",
    Unit::Seconds,
    "By how much this host's clock may be wrong, as the kernel says.",
    NONE,
);
pub(crate) static TAI: Metric = Metric::gauge(
    "fathom_stamp_clock_tai_offset_seconds",
    Unit::Seconds,
    "What TAI is ahead of UTC, as the kernel knows it; absent when nobody told it.",
    NONE,
);
pub(crate) static PEER_SYNCHRONIZED: Metric = Metric::gauge(
    "fathom_stamp_peer_clock_synchronized",
    Unit::None,
    "1 when the reflector says that its clock is synchronised.",
    TARGET,
);
pub(crate) static PEER_ERROR: Metric = Metric::gauge(
    "fathom_stamp_peer_clock_error_seconds",
    Unit::Seconds,
    "By how much the reflector says that its clock may be wrong; absent when it says nothing valid.",
    TARGET,
);
pub(crate) static SUSPECT: Metric = Metric::gauge(
    "fathom_stamp_timescale_suspect",
    Unit::None,
    "1 when the clocks are apart by 30 to 45 seconds, as TAI and UTC are: one end stamps in the wrong time scale.",
    TARGET,
);
pub(crate) static RECEIVED_TTL: Metric = Metric::gauge(
    "fathom_stamp_received_ttl",
    Unit::None,
    "TTL or hop limit with which the last packet of a direction arrived; forward as the reflector tells it.",
    TARGET_DIRECTION,
);
pub(crate) static USER_DELAY: Metric = Metric::histogram(
    "fathom_stamp_user_delay_seconds",
    Unit::Seconds,
    "The bins of --hist: round trips by target, and what the reflector sees of the way to it as reflector.",
    TARGET,
);
pub(crate) static REQUESTS: Metric = Metric::counter(
    "fathom_stamp_reflector_requests_total",
    Unit::Packets,
    "Requests that were answered or were to be, by protection and path.",
    &["mode", "path"],
);
pub(crate) static REPLIES: Metric = Metric::counter(
    "fathom_stamp_reflector_replies_total",
    Unit::Packets,
    "Replies sent, by protection and path.",
    &["mode", "path"],
);
pub(crate) static DROPPED: Metric = Metric::counter(
    "fathom_stamp_reflector_dropped_total",
    Unit::Packets,
    "Packets to the reflector that were not answered, by reason.",
    &["reason"],
);
pub(crate) static SESSIONS: Metric = Metric::gauge(
    "fathom_stamp_reflector_sessions",
    Unit::Count("{session}"),
    "Sessions that the reflector remembers.",
    NONE,
);
pub(crate) static SESSIONS_REFUSED: Metric = Metric::counter(
    "fathom_stamp_reflector_sessions_refused_total",
    Unit::Packets,
    "Requests answered without a session because there was no room for one.",
    NONE,
);
pub(crate) static SESSIONS_EXPIRED: Metric = Metric::counter(
    "fathom_stamp_reflector_sessions_expired_total",
    Unit::Count("{session}"),
    "Sessions that ended by silence.",
    NONE,
);
pub(crate) static OLD_KEY: Metric = Metric::counter(
    "fathom_stamp_reflector_old_key_total",
    Unit::Packets,
    "Packets accepted with the previous key.",
    NONE,
);
pub(crate) static CLOCK_SOURCE: Metric = Metric::info(
    "fathom_stamp_clock_source_info",
    "What keeps this host's clock, as its time daemons tell: ntp, ptp, gnss, local or unknown.",
    &["source"],
);
pub(crate) static BACKEND: Metric = Metric::info(
    "fathom_stamp_backend_info",
    "Who takes times and answers: the backend, its place in the kernel, and the kind of timestamps.",
    &["backend", "hook", "timestamps"],
);

/// All of them.
pub const CATALOGUE: Catalogue = Catalogue {
    title: "Stamp",
    metrics: &[
        &PACKETS_SENT,
        &PACKETS_RECEIVED,
        &PACKETS_LOST,
        &PACKETS_LATE,
        &PACKETS_DUPLICATE,
        &PACKETS_REORDERED,
        &REPLIES_DISCARDED,
        &UNSOLICITED,
        &SEND_ERRORS,
        &SEND_OVERRUNS,
        &UNSTAMPED,
        &RECOVERED,
        &SEND_STACK,
        &EVENTS_LOST,
        &DSCP_CHANGED,
        &ECN_CE,
        &TLV_FLAGS,
        &TARGET_UP,
        &TARGET_INFO,
        &ROUNDTRIP,
        &ROUNDTRIP_GROSS,
        &RESIDENCE,
        &ONE_WAY,
        &ONE_WAY_UNUSABLE,
        &ONE_WAY_LOWER,
        &ONE_WAY_UPPER,
        &VARIATION,
        &IPDV,
        &JITTER,
        &OFFSET,
        &OFFSET_BOUND,
        &SKEW,
        &STEPS,
        &SYNCHRONIZED,
        &CLOCK_ERROR,
        &TAI,
        &PEER_SYNCHRONIZED,
        &PEER_ERROR,
        &SUSPECT,
        &RECEIVED_TTL,
        &USER_DELAY,
        &REQUESTS,
        &REPLIES,
        &DROPPED,
        &SESSIONS,
        &SESSIONS_REFUSED,
        &SESSIONS_EXPIRED,
        &OLD_KEY,
        &CLOCK_SOURCE,
        &BACKEND,
    ],
};

#[cfg(test)]
mod tests {
    use telemetry::registry::{Build, Registry};

    use super::CATALOGUE;

    #[test]
    fn the_registry_accepts_the_catalogue() {
        let registry = Registry::new(Build { version: "", revision: "", rustc: "", target: "" });
        assert!(registry.collector("stamp", CATALOGUE).is_ok());
    }
}
