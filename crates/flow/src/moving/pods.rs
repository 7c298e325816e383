//! Pods that give up their series because the limit was lowered.

use std::collections::BTreeSet;

use flow_model::{
    edge::{EdgeRecord, EdgeState, Exposure, Text},
    flow::Counts,
    snapshot::{PodRow, Snapshot},
};

/// Leaves the heaviest `limit` pods their series in what a new ledger begins with. What the
/// others have carried is retired; what their edges carry from now on goes to `other`.
pub(super) fn retire_lightest(past: &mut Snapshot, limit: usize) {
    let live = past.edges.iter().filter(|edge| edge.record.state == EdgeState::Live);
    let staying: BTreeSet<_> = live.filter_map(|edge| series_of(&edge.record)).collect();
    let mut rows: Vec<PodRow> = std::mem::take(&mut past.pods.rows);
    // A pod without an edge ends by itself, so it takes nobody's place.
    rows.sort_by_key(|pod| {
        let bytes: u64 = pod.counts.iter().map(|counts| counts.bytes).sum();
        (!staying.contains(&(pod.namespace, pod.name)), std::cmp::Reverse(bytes))
    });
    let ended = rows.split_off(limit.min(rows.len()));
    for (retired, counts) in past.pods.retired.iter_mut().zip(sum(&ended)) {
        *retired += counts;
    }
    let ended: BTreeSet<_> = ended.iter().map(|pod| (pod.namespace, pod.name)).collect();
    for record in past.edges.iter_mut().map(|edge| &mut edge.record) {
        if series_of(record).is_some_and(|pod| ended.contains(&pod)) {
            record.exposure = Exposure::Other;
            record.inherited = [Counts::ZERO; 2];
        }
    }
    past.pods.rows = rows;
}

fn series_of(record: &EdgeRecord) -> Option<(Text, Text)> {
    let identity = record.identity;
    (record.exposure == Exposure::Series).then_some((identity.namespace, identity.name))
}

fn sum(pods: &[PodRow]) -> [Counts; 2] {
    [0, 1].map(|direction| pods.iter().map(|pod| pod.counts[direction]).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{counts, edge, snapshot};

    fn pod(name: &str, bytes: u64) -> PodRow {
        let counts = [counts(1, bytes), counts(2, 10)];
        PodRow { name: Text::new(name).unwrap(), counts, ..snapshot().pods.rows[0] }
    }

    /// Pods a, b and c with an edge each, lightest first, and d, whose edge is going.
    fn past() -> Snapshot {
        let mut past = snapshot();
        past.pods.rows = vec![pod("a", 100), pod("b", 200), pod("c", 300), pod("d", 9000)];
        past.edges =
            [("a", 1), ("b", 2), ("c", 3)].map(|(name, id)| edge(id, name, EdgeState::Live)).into();
        past.edges.push(edge(4, "d", EdgeState::Draining));
        past
    }

    fn names(past: &Snapshot) -> Vec<&str> {
        past.pods.rows.iter().map(|pod| pod.name.as_str()).collect()
    }

    fn everything(past: &Snapshot) -> [Counts; 2] {
        let shown = sum(&past.pods.rows);
        [0, 1].map(|i| shown[i] + past.pods.other[i] + past.pods.retired[i])
    }

    #[test]
    fn the_lightest_pods_are_retired_and_the_sum_stays() {
        let mut past = past();
        let before = everything(&past);
        retire_lightest(&mut past, 2);
        assert_eq!(names(&past), ["c", "b"]);
        assert_eq!(everything(&past), before);
        assert_eq!(past.pods.retired, [counts(2, 9100), counts(4, 20)]);
    }

    #[test]
    fn edges_of_a_retired_pod_count_for_other_and_inherit_nothing() {
        let mut past = past();
        past.edges[0].record.inherited = [counts(7, 700); 2];
        retire_lightest(&mut past, 2);
        let shown = |at: usize| (past.edges[at].record.exposure, past.edges[at].record.inherited);
        assert_eq!(shown(0), (Exposure::Other, [Counts::ZERO; 2]));
        assert_eq!(shown(1), (Exposure::Series, [Counts::ZERO; 2]));
    }

    #[test]
    fn where_all_have_room_none_is_retired() {
        let (mut changed, past) = (past(), past());
        retire_lightest(&mut changed, 4);
        assert_eq!(changed.pods.retired, past.pods.retired);
        assert_eq!(changed.edges, past.edges);
        assert_eq!(names(&changed), ["c", "b", "a", "d"]);
    }
}
