//! How fast the other clock gains on ours: the slope of a line between the proofs.

use super::Proof;

/// Slope, in parts in 10⁹, of the line that stays as far as it can from all proofs.
///
/// A linear programme: of all lines a·t + b, the one with the largest margin to the
/// lower limits below it and the upper limits above it. For a fixed slope the margin is
/// found at once, and it is concave in the slope.
pub(super) fn slope(proofs: impl Iterator<Item = (Proof, Proof)>) -> Option<i64> {
    let proofs: Vec<_> = proofs.collect();
    let (origin, end) = (proofs.first()?.0.at, proofs.last()?.0.at);
    if end.since(origin) < SHORTEST_NS {
        return None;
    }
    let base = proofs.first()?.0.limit_ns;
    let point = |proof: Proof| {
        (proof.at.since(origin) as f64 * 1e-9, proof.limit_ns.saturating_sub(base) as f64)
    };
    let lower: Vec<_> = proofs.iter().map(|&(lower, _)| point(lower)).collect();
    let upper: Vec<_> = proofs.iter().map(|&(_, upper)| point(upper)).collect();
    let margin = |slope: f64| {
        let highest =
            lower.iter().map(|(t, limit)| limit - slope * t).fold(f64::NEG_INFINITY, f64::max);
        let lowest = upper.iter().map(|(t, limit)| limit - slope * t).fold(f64::INFINITY, f64::min);
        lowest - highest
    };
    Some(steepest_margin(margin).round() as i64)
}

/// Where a concave function has its maximum, between the steepest slopes there can be.
fn steepest_margin(margin: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (-STEEPEST_PPB, STEEPEST_PPB);
    for _ in 0..ROUNDS {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if margin(left) < margin(right) {
            low = left;
        } else {
            high = right;
        }
    }
    f64::midpoint(low, high)
}

/// Below this a slope says more of the delays than of the clocks.
const SHORTEST_NS: i64 = 30_000_000_000;

/// The kernel slews a clock by 500 parts in 10⁶ at most, on either end.
const STEEPEST_PPB: f64 = 2_000_000.0;

/// Each round leaves two thirds: this many leave less than a thousandth of 1 ppb.
const ROUNDS: u32 = 60;
