//! VLAN tags: what is inside is found, and a stripped tag is not counted.

use fathom_tests::crafted::{everywhere, key};
use testkit::truth::Amount;

use super::{FROM4, FROM6, UDP, V4, V6, to4, to6};

/// Frames with an outer tag pass a device once, which takes that tag out of the buffer.
#[test]
#[ignore = "root: needs network namespaces"]
fn one_and_two_tags_are_looked_through() {
    let frames = [
        "E/Dot1Q(vlan=5)/V4(1)/UDP(sport=1, dport=2)/Raw(b'x' * 10)",
        "Ether(src=E.src, dst=E.dst, type=0x88a8)/Dot1Q(vlan=7)/V4(2)/UDP(sport=3, dport=4)",
        "Ether(src=E.src, dst=E.dst, type=0x88a8)/Dot1Q(vlan=7)/Dot1Q(vlan=5)\
         /V4(3)/UDP(sport=5, dport=6)",
        "E/Dot1Q(vlan=7)/Dot1Q(vlan=5)/V6(4)/UDP(sport=7, dport=8)/Raw(b'x' * 20)",
        "E/Dot1Q(vlan=0, prio=3)/V6(5)/UDP(sport=9, dport=10)",
    ];
    let expected = [
        (key(FROM4, &to4(1), UDP, (1, 2)), V4 + 18 + 4),
        (key(FROM4, &to4(2), UDP, (3, 4)), V4 + 8 + 4),
        (key(FROM4, &to4(3), UDP, (5, 6)), V4 + 8 + 8),
        (key(FROM6, &to6(4), UDP, (7, 8)), V6 + 28 + 8),
        (key(FROM6, &to6(5), UDP, (9, 10)), V6 + 8 + 4),
    ];
    for view in everywhere(&frames) {
        let stripped = if view.passed_a_device { 4 } else { 0 };
        let rows = view.rows();
        for (key, bytes) in &expected {
            let amount = Amount::new(1, bytes - stripped);
            assert_eq!(rows.get(key), Some(&amount), "{key:?} stripped {stripped}");
        }
        assert_eq!(rows.len(), expected.len(), "{rows:#?}");
        assert!(view.classes().is_empty(), "{:?}", view.classes());
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_tag_without_anything_behind_it_is_still_counted() {
    let frames = [
        "Ether(src=E.src, dst=E.dst, type=0x8100)/Raw(bytes([0, 5]))",
        "E/Dot1Q(vlan=5, type=0x88b5)/Raw(b'x' * 46)",
        "E/Dot1Q(vlan=5)/ARP()",
        "E/Dot1Q(vlan=1)/Dot1Q(vlan=2)/Dot1Q(vlan=3)/Dot1Q(vlan=4)/V4(1)/UDP(sport=1, dport=2)",
    ];
    for view in everywhere(&frames) {
        let folded: Amount = view.classes().into_values().sum();
        assert_eq!(folded, view.total());
        assert!(view.rows().is_empty(), "{:#?}", view.rows());
        // A tag that is cut off may be dropped by the device before a hook behind it.
        let least = if view.passed_a_device { 3 } else { 4 };
        assert!(folded.packets >= least, "{folded:?}");
    }
}
