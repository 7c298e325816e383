use super::*;
use crate::survey::view::Blind;
use crate::survey::{Change, Key};

fn link(ifindex: u32, kind: &str) -> Link {
    Link {
        ifindex,
        name: format!("{kind}{ifindex}"),
        kind: Some(kind.to_owned()),
        up: true,
        ..Link::default()
    }
}

/// One end of a pair, whose other end lies in the namespace with this id.
fn veth(ifindex: u32, peer: u32, nsid: i32) -> Link {
    Link { peer_ifindex: Some(peer), link_netnsid: Nsid::new(nsid), ..link(ifindex, "veth") }
}

fn seen(link: &Link, side_here: bool) -> Seen {
    Seen { device: Device::of(link), side_here }
}

fn view(inode: u64, nsid: Option<i32>, devices: Vec<Seen>) -> View {
    View {
        namespace: Namespace { path: format!("/run/netns/{inode}").into(), inode },
        nsid: nsid.and_then(Nsid::new),
        devices: Ok(devices),
    }
}

fn blind(view: &View) -> View {
    View { devices: Err(Blind::NotRead), ..view.clone() }
}

/// What `work` tells of a book.
fn told(book: &mut Book, work: impl FnOnce(&mut Book, &mut Changes)) -> Vec<Change> {
    let mut changes = Changes::default();
    work(book, &mut changes);
    changes.into_list()
}

fn host_seen(book: &mut Book, link: &Link) -> Vec<Change> {
    told(book, |book, changes| {
        book.host_seen(link, Instant::now(), changes);
    })
}

fn viewed(book: &mut Book, view: &View) -> Vec<Change> {
    told(book, |book, changes| {
        book.viewed(view, Instant::now(), changes);
    })
}

fn only(changes: Vec<Change>) -> Change {
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes.into_iter().next().unwrap()
}

const fn inside(namespace: u64, ifindex: u32) -> Key {
    Key::Inside { namespace, ifindex }
}

#[test]
fn a_device_that_leads_elsewhere_appears_before_anything_is_known_of_its_peer() {
    let mut book = Book::default();
    let Change::Appeared(told) = only(host_seen(&mut book, &veth(5, 2, 0))) else {
        panic!("it is not new");
    };
    assert_eq!(told.key, Key::Host { ifindex: 5 });
    assert_eq!((told.nsid, told.pod), (Nsid::new(0), None));
    let nsid = Nsid::new(0).unwrap();
    assert_eq!(book.half_known(|id| id == nsid), [(5, 2, nsid)]);
    assert_eq!(book.half_known(|id| id != nsid), []);
}

#[test]
fn the_same_message_twice_is_no_news() {
    let mut book = Book::default();
    host_seen(&mut book, &veth(5, 2, 0));
    assert_eq!(host_seen(&mut book, &veth(5, 2, 0)), []);
}

#[test]
fn a_change_of_the_host_side_keeps_what_is_known_of_the_pod() {
    let mut book = Book::default();
    host_seen(&mut book, &veth(5, 2, 0));
    viewed(&mut book, &view(77, Some(0), vec![seen(&veth(2, 5, 9), true)]));
    let renamed = Link { name: "other".to_owned(), ..veth(5, 2, 0) };
    let Change::Changed(told) = only(host_seen(&mut book, &renamed)) else {
        panic!("it is not changed");
    };
    assert_eq!(told.host.unwrap().name, "other");
    assert!(told.pod.is_some() && told.namespace.is_some());
}

#[test]
fn a_peer_that_moved_takes_what_was_known_of_it_along() {
    let mut book = Book::default();
    host_seen(&mut book, &veth(5, 2, 0));
    viewed(&mut book, &view(77, Some(0), vec![seen(&veth(2, 5, 9), true)]));
    let Change::Changed(told) = only(host_seen(&mut book, &veth(5, 2, 1))) else {
        panic!("it is not changed");
    };
    assert_eq!((told.nsid, told.pod), (Nsid::new(1), None));
    assert_eq!(told.namespace, None);
}

#[test]
fn a_view_completes_the_crossings_that_lead_there_and_no_others() {
    let mut book = Book::default();
    host_seen(&mut book, &veth(5, 2, 0));
    host_seen(&mut book, &veth(6, 2, 1));
    let there = view(77, Some(0), vec![seen(&veth(2, 5, 9), true)]);
    let Change::Changed(told) = only(viewed(&mut book, &there)) else {
        panic!("it is not changed");
    };
    assert_eq!(told.key, Key::Host { ifindex: 5 });
    assert_eq!(told.pod.unwrap().ifindex, 2);
    assert_eq!(told.namespace.unwrap().inode, 77);
    assert_eq!(viewed(&mut book, &there), [], "nothing is new");
}

#[test]
fn a_device_that_only_has_the_index_of_the_peer_is_not_the_peer() {
    let strangers = [veth(2, 6, 9), link(2, "tun"), Link { link_netnsid: None, ..veth(2, 5, 9) }];
    for stranger in strangers {
        let mut book = Book::default();
        host_seen(&mut book, &veth(5, 2, 0));
        viewed(&mut book, &view(77, Some(0), vec![seen(&stranger, true)]));
        assert_eq!(book.crossings()[0].pod, None, "{stranger:?}");
    }
}

#[test]
fn what_has_no_side_here_comes_and_goes_by_views() {
    let mut book = Book::default();
    let with = |devices: &[u32]| {
        let devices = devices.iter().map(|&i| seen(&link(i, "macvlan"), false));
        view(77, None, devices.collect())
    };
    assert_eq!(viewed(&mut book, &with(&[2, 3])).len(), 2);
    assert_eq!(viewed(&mut book, &with(&[2, 3])), []);
    let gone = only(viewed(&mut book, &with(&[3])));
    assert_eq!(gone, Change::Vanished(inside(77, 2)));
    let gone = told(&mut book, |book, changes| book.namespace_gone(77, changes));
    assert_eq!(only(gone), Change::Vanished(inside(77, 3)));
    assert_eq!(book.crossings(), []);
}

#[test]
fn the_same_index_in_two_namespaces_is_two_crossings() {
    let mut book = Book::default();
    for inode in [77, 78] {
        let tun = seen(&link(2, "tun"), false);
        assert_eq!(viewed(&mut book, &view(inode, None, vec![tun])).len(), 1);
    }
    let keys: Vec<_> = book.crossings().iter().map(|c| c.key).collect();
    assert_eq!(keys, [inside(77, 2), inside(78, 2)]);
}

#[test]
fn a_namespace_that_cannot_be_read_keeps_its_devices() {
    let mut book = Book::default();
    host_seen(&mut book, &veth(5, 2, 0));
    let devices = vec![seen(&veth(2, 5, 9), true), seen(&link(3, "macvlan"), false)];
    let there = view(77, Some(0), devices);
    viewed(&mut book, &there);
    let before = book.crossings();
    assert_eq!(viewed(&mut book, &blind(&there)), []);
    assert_eq!(book.crossings(), before);
}

#[test]
fn a_namespace_that_cannot_be_read_is_named_all_the_same() {
    let mut book = Book::default();
    host_seen(&mut book, &veth(5, 2, 0));
    viewed(&mut book, &blind(&view(77, Some(0), Vec::new())));
    let crossing = &book.crossings()[0];
    assert_eq!(crossing.namespace.as_ref().map(|n| n.inode), Some(77));
    assert_eq!(crossing.pod, None);
}

#[test]
fn a_peer_read_on_its_own_is_taken_only_if_it_is_the_peer() {
    let mut book = Book::default();
    host_seen(&mut book, &veth(5, 2, 0));
    let changes = told(&mut book, |book, changes| {
        assert!(!book.pod_seen(5, &veth(2, 6, 9), changes));
        assert!(!book.pod_seen(6, &veth(2, 6, 9), changes));
        assert!(book.pod_seen(5, &veth(2, 5, 9), changes));
    });
    let Change::Changed(told) = only(changes) else {
        panic!("it is not changed");
    };
    assert_eq!(told.pod.unwrap().ifindex, 2);
}

#[test]
fn devices_beyond_the_limit_are_counted() {
    let mut book = Book::default();
    let devices = 2..=(MAX_INSIDE as u32 + 4);
    let devices: Vec<_> = devices.map(|i| seen(&link(i, "dummy"), false)).collect();
    let crowded = view(77, None, devices);
    let surplus = book.viewed(&crowded, Instant::now(), &mut Changes::default());
    assert_eq!(surplus, 3);
    assert_eq!(book.crossings().len(), MAX_INSIDE);
}

#[test]
fn a_file_that_is_gone_is_no_longer_named() {
    let mut book = Book::default();
    host_seen(&mut book, &veth(5, 2, 0));
    viewed(&mut book, &view(77, Some(0), vec![seen(&veth(2, 5, 9), true)]));
    book.forget_files(|namespace| namespace.inode == 77);
    assert!(book.crossings()[0].namespace.is_some());
    book.forget_files(|_| false);
    assert_eq!(book.crossings()[0].namespace, None);
}

#[test]
fn what_becomes_known_in_one_batch_is_told_once_with_the_time_of_its_first_message() {
    let mut book = Book::default();
    let noticed = Instant::now();
    let changes = told(&mut book, |book, changes| {
        book.host_seen(&veth(5, 2, 0), noticed, changes);
        let there = view(77, Some(0), vec![seen(&veth(2, 5, 9), true)]);
        book.viewed(&there, Instant::now(), changes);
    });
    let Change::Appeared(told) = only(changes) else {
        panic!("it is not new");
    };
    assert!(told.pod.is_some());
    assert_eq!(told.noticed, noticed);
}

#[test]
fn one_that_goes_and_comes_back_in_one_batch_is_told_in_that_order() {
    let mut book = Book::default();
    host_seen(&mut book, &veth(5, 2, 0));
    let changes = told(&mut book, |book, changes| {
        book.host_gone(5, changes);
        book.host_seen(&veth(5, 3, 1), Instant::now(), changes);
        book.host_gone(9, changes);
    });
    let [Change::Vanished(gone), Change::Appeared(new)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!((*gone, new.key), (Key::Host { ifindex: 5 }, *gone));
}
