//! Frames built by hand, with answers worked out by hand, at all four places a hook can be.

mod extensions;
mod fragments;
mod lengths;
mod protocols;
mod tags;

use std::collections::BTreeMap;

use fathom_tests::crafted::View;
use testkit::truth::{Amount, FlowKey};

const ETHERNET: u64 = 14;
const V4: u64 = ETHERNET + 20;
const V6: u64 = ETHERNET + 40;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The address that scapy's `V4(host)` is sent to.
fn to4(host: u8) -> String {
    format!("198.51.100.{host}")
}

/// The address that scapy's `V6(host)` is sent to.
fn to6(host: u8) -> String {
    format!("2001:db8::2:{host:x}")
}

const FROM4: &str = "192.0.2.1";
const FROM6: &str = "2001:db8::1";

/// Every hook has exactly these rows and classes, and the kernel's counters to the byte.
fn assert_seen(views: &[View], rows: &[(FlowKey, Amount)], classes: &[(&str, Amount)]) {
    let rows: BTreeMap<FlowKey, Amount> = rows.iter().copied().collect();
    let classes: BTreeMap<_, _> =
        classes.iter().map(|(class, amount)| ((*class).to_owned(), *amount)).collect();
    assert_eq!(views.len(), 4);
    for view in views {
        let hook = &view.outcome.document.hooks[0];
        let place = format!("{} {}", hook.place, hook.interface);
        for (key, amount) in &rows {
            assert_eq!(view.rows().get(key), Some(amount), "{key:?} at {place}");
        }
        assert_eq!(view.rows().len(), rows.len(), "{:#?} at {place}", view.rows());
        assert_eq!(view.classes(), classes, "at {place}");
        assert_eq!(view.total(), view.counted(), "at {place}");
        let unparsed = classes.get("unparsed").copied().unwrap_or_default();
        assert_eq!(view.unparsed(), unparsed.packets, "at {place}");
    }
}
