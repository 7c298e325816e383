//! What must hold of every document, whatever was measured.

use std::collections::{BTreeMap, BTreeSet};

use testkit::truth::Amount;

use crate::document::{Direction, Document, Total};
use crate::measure::Outcome;

/// Every law that needs no further condition.
///
/// # Panics
///
/// If one does not hold.
pub fn hold(outcome: &Outcome) {
    let document = &outcome.document;
    assert_eq!(document.schema, "fathom.flows/1");
    flows_and_folded_are_their_hook(document);
    rows_are_unique(document);
    rows_are_in_order(document);
    totals_are_the_hooks(document);
    assert_eq!(document.audit.flow_law_packets, 0, "{:?}", document.audit);
    assert_eq!(document.audit.flow_law_bytes, 0, "{:?}", document.audit);
}

/// Buffers of every hook are the change of the kernel's counter, and the program knows.
///
/// # Panics
///
/// If one differs by a single packet or byte.
pub fn counters_are_met(outcome: &Outcome) {
    let document = &outcome.document;
    for ((edge, direction), bracket) in &outcome.brackets {
        let hook = document.hook(edge, *direction);
        let counted = bracket.exact();
        assert_eq!(hook.buffers(), counted, "buffers of {edge} {direction:?}");
        assert_eq!((hook.drift_packets, hook.drift_bytes), (0, 0), "{hook:?}");
    }
    assert_eq!(document.audit.interface_law, "ok", "{:?}", document.audit);
}

/// Without segmentation a buffer is a frame.
///
/// # Panics
///
/// If a hook counted them differently.
pub fn buffers_are_frames(document: &Document) {
    for hook in &document.hooks {
        assert_eq!(hook.wire(), hook.buffers(), "{hook:?}");
    }
}

fn flows_and_folded_are_their_hook(document: &Document) {
    let mut sums = BTreeMap::<_, Amount>::new();
    for row in &document.flows {
        *sums.entry((&row.edge, row.direction)).or_default() += row.wire();
    }
    for row in &document.folded {
        *sums.entry((&row.edge, row.direction)).or_default() += Amount::new(row.packets, row.bytes);
    }
    for hook in &document.hooks {
        let sum = sums.remove(&(&hook.edge, hook.direction));
        let (edge, direction) = (&hook.edge, hook.direction);
        assert_eq!(
            sum.unwrap_or_default(),
            hook.wire(),
            "rows and folded of {edge} {direction:?} are its hook"
        );
    }
    assert!(sums.is_empty(), "rows without a hook: {sums:?}");
}

fn rows_are_unique(document: &Document) {
    let mut seen = BTreeSet::new();
    for row in &document.flows {
        let key = (&row.edge, row.direction, row.family, row.key());
        assert!(seen.insert(key), "a second row of {key:?}");
    }
    let mut seen = BTreeSet::new();
    for row in &document.folded {
        let key = (&row.edge, row.direction, &row.class);
        assert!(seen.insert(key), "a second folded row of {key:?}");
    }
}

fn rows_are_in_order(document: &Document) {
    for pair in document.flows.windows(2) {
        let [first, second] = pair else { continue };
        assert!(
            first.bytes >= second.bytes,
            "rows by bytes, descending: {first:?} before {second:?}"
        );
    }
}

fn totals_are_the_hooks(document: &Document) {
    for (direction, total) in
        [(Direction::Tx, document.totals.tx), (Direction::Rx, document.totals.rx)]
    {
        let mut sum = Total::default();
        let hooks = document.hooks.iter();
        for hook in hooks.filter(|hook| hook.direction == direction) {
            sum.packets += hook.packets;
            sum.bytes += hook.bytes;
            sum.skbs += hook.skbs;
            sum.skb_bytes += hook.skb_bytes;
        }
        assert_eq!(total, sum, "totals of {direction:?}");
    }
}
