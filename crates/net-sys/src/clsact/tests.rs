use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use super::*;
use crate::bpf::program_id;
use crate::host::{Capabilities, drop_capabilities_except};
use crate::testing::{Namespace, inside, node_and_pod, program};

const NEXT: i32 = -1;
const HANDLE: u32 = 0x0fa7;

fn id(program: &OwnedFd) -> u32 {
    program_id(program.as_fd()).unwrap()
}

fn tc(args: &[&str]) -> String {
    let output = Command::new("tc").args(args).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tc {args:?}: {words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A foreign filter, made by tc in the namespace of the calling thread.
fn foreign_filter(hook: &str, preference: &str) {
    tc(&[
        "filter", "add", "dev", "lo", hook, "protocol", "all", "pref", preference, "u32", "match",
        "u32", "0", "0", "classid", "1:1",
    ]);
}

fn in_namespace(label: &str, work: impl FnOnce(Clsact) + Send) {
    let namespace = Namespace::create(label).unwrap();
    inside(&namespace, || work(Clsact::open().unwrap()));
}

const INGRESS: Place = Place::new(1, Hook::Ingress, 1, HANDLE);

#[test]
fn the_information_word_has_the_protocol_in_network_order() {
    assert_eq!(filter::info(1).to_ne_bytes()[..2], 3_u16.to_be_bytes());
    assert_eq!(filter::info(0xabcd) >> 16, 0xabcd);
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn a_qdisc_is_made_once_and_removed_when_unused() {
    in_namespace("qdisc", |mut clsact| {
        assert_eq!(clsact.qdisc(1).unwrap(), None);
        assert_eq!(clsact.ensure_qdisc(1).unwrap(), Ensured::Created);
        assert_eq!(clsact.ensure_qdisc(1).unwrap(), Ensured::Existed);
        assert_eq!(clsact.qdisc(1).unwrap(), Some(Qdisc::Clsact));
        assert_eq!(clsact.remove_unused_qdisc(1).unwrap(), Removal::Removed);
        assert_eq!(clsact.remove_unused_qdisc(1).unwrap(), Removal::Absent);
    });
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn an_ingress_qdisc_of_the_older_kind_is_left_alone() {
    in_namespace("ingress", |mut clsact| {
        tc(&["qdisc", "add", "dev", "lo", "ingress"]);
        assert_eq!(clsact.qdisc(1).unwrap(), Some(Qdisc::Ingress));
        assert!(matches!(clsact.ensure_qdisc(1), Err(ClsactError::IngressQdisc)));
        assert!(matches!(clsact.remove_unused_qdisc(1), Err(ClsactError::IngressQdisc)));
        assert!(tc(&["qdisc", "show", "dev", "lo"]).contains("ingress"));
    });
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn a_filter_is_attached_read_back_replaced_and_deleted() {
    in_namespace("life", |mut clsact| {
        let (old, new) = (program(NEXT), program(NEXT));
        clsact.ensure_qdisc(1).unwrap();
        for hook in [Hook::Ingress, Hook::Egress] {
            let place = Place { hook, ..INGRESS };
            clsact.attach(place, old.as_fd(), "counter").unwrap();
            let filters = clsact.filters(1, hook).unwrap();
            let [filter] = &filters[..] else { unreachable!("{filters:?}") };
            assert_eq!((filter.preference, filter.handle, filter.chain), (1, HANDLE, 0));
            let bpf = filter.bpf.as_ref().unwrap();
            assert_eq!(bpf.program_id, Some(id(&old)));
            assert_eq!(bpf.name.as_deref(), Some("counter"));
            assert!(bpf.direct_action && bpf.tag.is_some());
            clsact.replace(place, id(&old), new.as_fd(), "counter").unwrap();
            assert_eq!(clsact.filters(1, hook).unwrap()[0].program_id(), Some(id(&new)));
            clsact.detach(place, id(&new)).unwrap();
            assert_eq!(clsact.filters(1, hook).unwrap(), []);
        }
    });
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn tc_sees_the_filter_as_direct_action() {
    in_namespace("tc", |mut clsact| {
        let next = program(NEXT);
        clsact.ensure_qdisc(1).unwrap();
        clsact.attach(INGRESS, next.as_fd(), "counter").unwrap();
        let shown = tc(&["filter", "show", "dev", "lo", "ingress"]);
        let expected = ["pref 1 bpf", "handle 0xfa7", "counter", "direct-action"];
        assert!(expected.iter().all(|part| shown.contains(part)), "{shown}");
    });
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn a_preference_with_a_foreign_filter_is_not_taken() {
    in_namespace("foreign", |mut clsact| {
        let next = program(NEXT);
        clsact.ensure_qdisc(1).unwrap();
        foreign_filter("ingress", "1");
        let before = tc(&["filter", "show", "dev", "lo", "ingress"]);
        let outcome = clsact.attach(INGRESS, next.as_fd(), "counter");
        assert!(matches!(outcome, Err(ClsactError::PreferenceTaken { preference: 1 })));
        let behind = Place { preference: 2, ..INGRESS };
        clsact.attach(behind, next.as_fd(), "counter").unwrap();
        let kinds: Vec<_> = clsact.filters(1, Hook::Ingress).unwrap();
        assert!(kinds.iter().any(|filter| filter.kind == "u32" && filter.preference == 1));
        clsact.detach(behind, id(&next)).unwrap();
        assert_eq!(tc(&["filter", "show", "dev", "lo", "ingress"]), before);
        let removal = clsact.remove_unused_qdisc(1).unwrap();
        assert!(matches!(removal, Removal::InUse { filters } if filters > 0), "{removal:?}");
    });
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn a_program_that_took_our_place_is_neither_replaced_nor_deleted() {
    in_namespace("usurper", |mut clsact| {
        let (theirs, ours) = (program(NEXT), program(NEXT));
        clsact.ensure_qdisc(1).unwrap();
        clsact.attach(INGRESS, theirs.as_fd(), "theirs").unwrap();
        let again = clsact.attach(INGRESS, ours.as_fd(), "ours");
        assert!(matches!(again, Err(ClsactError::PreferenceTaken { .. })));
        let expected = id(&ours);
        let replaced = clsact.replace(INGRESS, expected, ours.as_fd(), "ours");
        assert!(matches!(replaced, Err(ClsactError::NotOurs { .. })));
        let deleted = clsact.detach(INGRESS, expected);
        assert!(matches!(deleted, Err(ClsactError::NotOurs { .. })));
        assert_eq!(clsact.filters(1, Hook::Ingress).unwrap()[0].program_id(), Some(id(&theirs)));
    });
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn a_filter_that_vanished_is_not_made_anew_by_a_replacement() {
    in_namespace("vanished", |mut clsact| {
        let next = program(NEXT);
        clsact.ensure_qdisc(1).unwrap();
        let outcome = clsact.replace(INGRESS, id(&next), next.as_fd(), "counter");
        assert_eq!(outcome.map_err(|error| error.reason()), Err("not_found"));
        assert_eq!(clsact.filters(1, Hook::Ingress).unwrap(), []);
    });
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn a_device_that_is_gone_is_no_device() {
    let (node, _pod) = node_and_pod();
    let next = program(NEXT);
    inside(&node, || {
        let ifindex = crate::Route::open().unwrap().link("host0", None).unwrap().ifindex;
        let mut clsact = Clsact::open().unwrap();
        clsact.ensure_qdisc(ifindex).unwrap();
        node.ip(["link", "delete", "host0"]).unwrap();
        assert_eq!(clsact.qdisc(ifindex).unwrap_or(None), None);
        let place = Place { ifindex, ..INGRESS };
        let outcomes = [
            clsact.ensure_qdisc(ifindex).map(|_| ()),
            clsact.attach(place, next.as_fd(), "counter"),
        ];
        for outcome in outcomes {
            assert_eq!(outcome.map_err(|error| error.reason()), Err("no_device"));
        }
    });
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn a_place_that_the_kernel_would_choose_is_refused() {
    in_namespace("unplaced", |mut clsact| {
        let next = program(NEXT);
        for place in [Place { preference: 0, ..INGRESS }, Place { handle: 0, ..INGRESS }] {
            let outcome = clsact.attach(place, next.as_fd(), "counter");
            assert!(matches!(outcome, Err(ClsactError::Unplaced)), "{place:?}");
        }
    });
}

#[test]
#[ignore = "root: gives up capabilities on a thread"]
fn without_the_capability_nothing_is_changed() {
    in_namespace("caps", |mut clsact| {
        clsact.ensure_qdisc(1).unwrap();
        let next = program(NEXT);
        drop_capabilities_except(Capabilities::EMPTY).unwrap();
        let mut clsact = Clsact::open().unwrap();
        let outcome = clsact.attach(INGRESS, next.as_fd(), "counter");
        assert_eq!(outcome.map_err(|error| error.reason()), Err("not_permitted"));
    });
}

#[test]
#[ignore = "root: changes traffic control in a namespace"]
fn two_writers_with_handles_of_their_own_do_not_share_a_preference() {
    in_namespace("two", |mut clsact| {
        let next = program(NEXT);
        clsact.ensure_qdisc(1).unwrap();
        clsact.attach(INGRESS, next.as_fd(), "one").unwrap();
        let other = Place { handle: HANDLE + 1, ..INGRESS };
        let outcome = clsact.attach(other, next.as_fd(), "two");
        assert!(matches!(outcome, Err(ClsactError::PreferenceTaken { .. })), "{outcome:?}");
        assert_eq!(clsact.filters(1, Hook::Ingress).unwrap().len(), 1);
    });
}
