//! Summaries for people.

use std::fmt;

use crate::summary::{ReflectorSummary, SenderSummary, Stat, TargetSummary, WaySummary};

impl fmt::Display for SenderSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, target) in self.targets.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            target.fmt(f)?;
        }
        let clock = &self.local.clock;
        let state = if clock.synchronized { "synchronised" } else { "not synchronised" };
        match clock.error_ns {
            Some(ns) => {
                writeln!(f, "\nclock of this host: {state}, error up to {} ms", ms(ns as f64))
            }
            None => writeln!(f, "\nclock of this host: {state}, error unknown"),
        }
    }
}

impl fmt::Display for TargetSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packets = &self.packets;
        let share = packets.lost as f64 / packets.sent.max(1) as f64 * 100.0;
        writeln!(f, "{}", self.name)?;
        write!(
            f,
            "  packets sent {}, received {}, lost {} ({share:.2} %)",
            packets.sent, packets.received, packets.lost
        )?;
        if let (Some(forward), Some(reverse)) = (packets.lost_forward, packets.lost_reverse) {
            write!(
                f,
                ": {forward} on the way there, {reverse} on the way back, {} unknown",
                packets.lost_unknown
            )?;
        }
        writeln!(f)?;
        if packets.received == 0 {
            return writeln!(f, "  no valid reply ({})", self.cause.unwrap_or("no_reply"));
        }
        writeln!(
            f,
            "  {:<11}{:>12}{:>12}{:>12}{:>12}{:>12}",
            "ms", "min", "avg", "max", "last", "jitter"
        )?;
        row_of_way(f, "Near-end", &self.near_end)?;
        row_of_way(f, "Far-end", &self.far_end)?;
        row(f, "Roundtrip", self.roundtrip.as_ref(), None)?;
        match &self.offset {
            Some(offset) => {
                let (offset_ms, bound) = (ms(offset.offset_ns as f64), ms(offset.bound_ns as f64));
                writeln!(f, "  clock there minus clock here: {offset_ms} ms ± {bound} ms")
            }
            None => writeln!(f, "  clock there minus clock here: unknown"),
        }
    }
}

/// A delay whose clocks are not trusted is told as the interval in which it certainly is.
fn row_of_way(f: &mut fmt::Formatter<'_>, name: &str, way: &WaySummary) -> fmt::Result {
    if way.usable > 0 {
        return row(f, name, way.raw.as_ref(), way.jitter_ns);
    }
    let reason =
        way.unusable.iter().max_by_key(|(_, n)| **n).map_or("no times", |(reason, _)| reason);
    match (&way.lower, &way.upper) {
        (Some(lower), Some(upper)) => {
            writeln!(
                f,
                "  {name:<11} between {} and {} ({reason})",
                ms(lower.min as f64),
                ms(upper.max as f64)
            )
        }
        _ => writeln!(f, "  {name:<11} unknown ({reason})"),
    }
}

fn row(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    stat: Option<&Stat>,
    jitter: Option<f64>,
) -> fmt::Result {
    let Some(stat) = stat else { return writeln!(f, "  {name:<11} unknown") };
    let [min, mean, max, last] = [stat.min, stat.mean, stat.max, stat.last].map(|ns| ms(ns as f64));
    let jitter = jitter.map(ms).unwrap_or_default();
    writeln!(f, "  {name:<11}{min:>12}{mean:>12}{max:>12}{last:>12}{jitter:>12}")
}

impl fmt::Display for ReflectorSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requests {}, replies {}", self.requests, self.replies)?;
        for (reason, amount) in self.dropped.iter().filter(|(_, amount)| **amount > 0) {
            writeln!(f, "  dropped {reason}: {amount}")?;
        }
        for session in self.sessions.iter().flatten() {
            let near_end = session.near_end.map(|stat| {
                let [min, mean, max] = [stat.min, stat.mean, stat.max].map(|ns| ms(ns as f64));
                format!(", near-end {min} / {mean} / {max} ms")
            });
            let (src, sport, dst, ssid) = (&session.src, session.sport, &session.dst, session.ssid);
            let (received, lost) = (session.received, session.lost_forward);
            writeln!(
                f,
                "{src} port {sport} to {dst}, session {ssid}: received {received}, lost {lost}{}",
                near_end.unwrap_or_default()
            )?;
        }
        Ok(())
    }
}

fn ms(ns: f64) -> String {
    format!("{:.6}", ns / 1e6)
}
